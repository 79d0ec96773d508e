//! Data sections as maps with one value (`bpf_object__init_global_data_maps` of libbpf).

use super::Maps;
use crate::elf::{Elf, Section};
use crate::error::{Problem, Result};
use ebpfvm_spec::btf::{Btf, Kind, KindTag, Linkage, TypeId};
use ebpfvm_spec::map::MapOrigin;
use ebpfvm_spec::{MapDef, MapFlags, MapType};
use std::sync::Arc;

/// How much memory the data sections of an object may take together, in bytes. A `.bss` section
/// takes no room in the file, so nothing else limits what a small file can claim.
const MAX_DATA_BYTES: u64 = 64 << 20;

/// `BPF_OBJ_NAME_LEN` without the terminating zero.
const MAX_NAME_BYTES: usize = 15;
/// Room that a section's suffix has at least, as long as `.rodata`.
const MIN_SUFFIX_BYTES: usize = 7;

/// Whether the name is `base` or `base.something`.
fn is_or_under(name: &str, base: &str) -> bool {
    name.strip_prefix(base).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// What the programs may do with a data section; none if it is none.
fn flags(section: &Section<'_>) -> Option<u32> {
    let name = section.name.as_str();
    let is_data = section.is_progbits() && !section.is_code();
    if is_data && is_or_under(name, ".rodata") {
        Some(MapFlags::RDONLY_PROG)
    } else if is_data && is_or_under(name, ".data")
        || section.is_nobits() && is_or_under(name, ".bss")
    {
        Some(0)
    } else {
        None
    }
}

pub(super) fn read(
    elf: &Elf<'_>,
    btf: Option<&Btf>,
    object_name: &str,
    maps: &mut Maps,
) -> Result<()> {
    let mut total = 0;
    for (index, section) in elf.sections.iter().enumerate() {
        let Some(flags) = flags(section) else { continue };
        if section.bytes == 0 {
            continue;
        }
        total += section.bytes.min(MAX_DATA_BYTES + 1);
        if total > MAX_DATA_BYTES {
            let problem = Problem::DataTooLarge { bytes: total, limit: MAX_DATA_BYTES };
            return Err(problem.in_section(&section.name));
        }
        let data: Arc<[u8]> = if section.is_nobits() {
            vec![0; section.bytes as usize].into()
        } else {
            section.data.into()
        };
        let value_type = btf.and_then(|b| b.find(&section.name, KindTag::Datasec));
        let mmapable = btf.zip(value_type).is_some_and(|(b, t)| has_global(b, t));
        let mut def = MapDef::new(
            map_name(object_name, &section.name),
            MapType::Array,
            4,
            data.len() as u32,
            1,
        );
        def.flags = MapFlags(flags | if mmapable { MapFlags::MMAPABLE } else { 0 });
        def.value_type = value_type;
        def.origin = MapOrigin::Section { section: section.name.clone(), data };
        maps.by_section.insert(index, maps.defs.len() as u32);
        maps.defs.push(def);
    }
    Ok(())
}

/// The map of `.kconfig`.
pub(super) fn config(object_name: &str, btf: &Btf, data: Vec<u8>) -> MapDef {
    let section = crate::externs::KCONFIG;
    let name = map_name(object_name, section);
    let mut def = MapDef::new(name, MapType::Array, 4, data.len() as u32, 1);
    // Externs have names, so a host could address them.
    def.flags = MapFlags(MapFlags::RDONLY_PROG | MapFlags::MMAPABLE);
    def.value_type = btf.find(section, KindTag::Datasec);
    def.origin = MapOrigin::Section { section: section.into(), data: data.into() };
    def
}

/// Globals of the address space of arenas are the first pages of the object's arena, as libbpf
/// places them on Linux 6.18 (it uses the last ones where the kernel takes such large offsets).
pub(super) fn read_arena(elf: &Elf<'_>, maps: &mut Maps) -> Result<()> {
    const NAME: &str = ".addr_space.1";
    /// Arenas are measured in pages of the usual machines.
    const PAGE_BYTES: u64 = 4096;
    let Some(index) = elf.section_index(NAME) else { return Ok(()) };
    let section = &elf.sections[index];
    if !section.is_progbits() || section.bytes == 0 {
        return Ok(());
    }
    let Some(map) = maps.defs.iter().position(|d| d.map_type == MapType::Arena) else {
        let what = "the number of arenas for the globals of the section";
        return Err(Problem::Size { what, found: 0, expected: "1".into() }.in_section(NAME));
    };
    let def = &mut maps.defs[map];
    let arena = u64::from(def.max_entries) * PAGE_BYTES;
    if section.bytes > arena {
        let (what, found) = ("the size of the globals", section.bytes);
        let expected = format!("at most the {arena} bytes of arena '{}'", def.name);
        return Err(Problem::Size { what, found, expected }.in_section(NAME));
    }
    def.origin = MapOrigin::Section { section: NAME.into(), data: section.data.into() };
    maps.arena = Some((index, map as u32));
    Ok(())
}

/// Whether a host could address a variable of the section by name: one is not static.
fn has_global(btf: &Btf, section: TypeId) -> bool {
    let Some(Kind::Datasec { vars, .. }) = btf.kind(section) else { return false };
    btf.list(vars).iter().any(|v| {
        matches!(btf.kind(v.type_id), Some(Kind::Var { linkage, .. }) if linkage != Linkage::Static)
    })
}

/// The name of the map of a data section (`internal_map_name` of libbpf): the object's name, cut so
/// that the section's name fits; custom sections such as `.data.mine` keep their name.
fn map_name(object: &str, section: &str) -> String {
    if section.get(1..).is_some_and(|rest| rest.contains('.')) {
        return section.into();
    }
    let suffix_bytes = section.len().clamp(MIN_SUFFIX_BYTES, MAX_NAME_BYTES);
    let prefix = object.bytes().take(MAX_NAME_BYTES - suffix_bytes);
    prefix
        .chain(section.bytes().take(suffix_bytes))
        .map(|b| {
            let allowed = b.is_ascii_alphanumeric() || b == b'_' || b == b'.';
            if allowed { char::from(b) } else { '_' }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::map_name;

    #[test]
    fn names_are_libbpfs() {
        assert_eq!(map_name("firewall_prog", ".rodata"), "firewall.rodata");
        assert_eq!(map_name("firewall_prog", ".bss"), "firewall.bss");
        assert_eq!(map_name("a-b", ".data"), "a_b.data");
        assert_eq!(map_name("firewall", ".data.mine"), ".data.mine");
    }
}
