//! Definitions as plain structs in the section `maps`: `struct bpf_map_def` of libbpf before 1.0, or
//! iproute2's `struct bpf_elf_map`.

use super::{Maps, of_map, symbols_in};
use crate::elf::Elf;
use crate::error::{MapProblem, Problem, Result};
use ebpfvm_asm::ByteOrder;
use ebpfvm_spec::{MapDef, MapFlags, MapType};

/// type, key_size, value_size, max_entries, map_flags
const WORDS: usize = 5;
/// iproute2 adds id, pinning, inner_id, inner_idx.
const IPROUTE2_WORDS: usize = 9;
/// iproute2's `PIN_GLOBAL_NS`: pinned by name.
const PIN_GLOBAL: u32 = 2;

pub(super) fn read(elf: &Elf<'_>, section: usize, maps: &mut Maps) -> Result<()> {
    let content = &elf.sections[section];
    let mut symbols: Vec<_> = symbols_in(elf, section).collect();
    symbols.sort_by_key(|s| s.value);
    symbols.dedup_by_key(|s| s.value);
    if symbols.is_empty() {
        return Ok(());
    }
    let at = |offset: u64, problem: Problem| problem.at(&content.name, offset);
    // All definitions of a file have the same form, so they share the section evenly.
    let count = symbols.len();
    let bytes = content.data.len() / count;
    if !content.data.len().is_multiple_of(count) || bytes < WORDS * 4 || !bytes.is_multiple_of(4) {
        let what = "the size of the definitions";
        let expected = format!("{count} times the same size of at least {} bytes", WORDS * 4);
        let found = content.data.len() as u64;
        return Err(Problem::Size { what, found, expected }.in_section(&content.name));
    }
    for symbol in symbols {
        let (offset, name) = (symbol.value, symbol.name.as_str());
        let fault = |problem| at(offset, of_map(name, problem));
        let start = usize::try_from(offset).ok().filter(|s| s % bytes == 0);
        let Some(definition) = start.and_then(|s| content.data.get(s..s.checked_add(bytes)?))
        else {
            let section_bytes = content.data.len() as u64;
            return Err(fault(MapProblem::Outside { offset, bytes: bytes as u64, section_bytes }));
        };
        let words: Vec<u32> = definition
            .as_chunks::<4>()
            .0
            .iter()
            .map(|w| match elf.order {
                ByteOrder::Little => u32::from_le_bytes(*w),
                ByteOrder::Big => u32::from_be_bytes(*w),
            })
            .collect();
        let map_type = MapType::from_number(words[0])
            .ok_or_else(|| fault(MapProblem::UnknownType(words[0])))?;
        let mut def = MapDef::new(name, map_type, words[1], words[2], words[3]);
        def.flags = MapFlags(words[4]);
        // iproute2's id and pinning may be set; anything else that is not zero means something that
        // is not known.
        let iproute2 = words.len() == IPROUTE2_WORDS;
        let unknown = if iproute2 { &words[7..] } else { &words[WORDS..] };
        if let Some(word) = unknown.iter().find(|w| **w != 0) {
            let what = "a field beyond map_flags".to_string();
            let found = word.to_string();
            return Err(fault(MapProblem::Shape { what, found, expected: "0" }));
        }
        def.pinned = iproute2 && words[6] == PIN_GLOBAL;
        maps.add(section, offset, def);
    }
    Ok(())
}
