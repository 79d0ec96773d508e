//! Tables of functions for the kernel: each variable in `.struct_ops` is a map of its own
//! (`init_struct_ops_maps` of libbpf). The programs that its members name are its initial values, by
//! the index of the member in the object's type; the rest of the table is its data
//! (`bpf_object__collect_st_ops_relos`).

use super::{Maps, check_place, of_map};
use crate::elf::{Elf, Home, Reloc, RelocKind};
use crate::error::{MapProblem, Result};
use crate::functions::Functions;
use crate::section_name;
use ebpfvm_asm::slot::SLOT_BYTES;
use ebpfvm_spec::btf::{Btf, Compound, Kind, KindTag, Member};
use ebpfvm_spec::map::{InitialValue, MapOrigin};
use ebpfvm_spec::{MapDef, MapFlags, MapType, ProgType};

/// Sections of tables; those with `.link` are attached by a link.
const SECTIONS: [&str; 4] =
    [".struct_ops", ".struct_ops.link", "?.struct_ops", "?.struct_ops.link"];

/// A table: where it lies in its section, and what it is made of.
struct Table<'a> {
    start: u64,
    end: u64,
    members: &'a [Member],
    /// Index of its map.
    map: usize,
}

pub(super) fn read(elf: &Elf<'_>, btf: &Btf, functions: &Functions, maps: &mut Maps) -> Result<()> {
    for (index, section) in elf.sections.iter().enumerate() {
        if !section.is_progbits() || !SECTIONS.contains(&section.name.as_str()) {
            continue;
        }
        let datasec = btf.find(&section.name, KindTag::Datasec);
        let Some(Kind::Datasec { vars, .. }) = datasec.and_then(|id| btf.kind(id)) else {
            continue;
        };
        let mut last_end = 0;
        let mut tables = Vec::new();
        for var in btf.list(vars) {
            let (name, offset) = (btf.name(var.type_id), u64::from(var.offset));
            let fault = |p| of_map(name, p).at(&section.name, offset);
            check_place(name, offset, last_end).map_err(fault)?;
            last_end = offset + u64::from(var.bytes);
            let what = "the table";
            let type_id = match btf.kind(var.type_id) {
                Some(Kind::Var { type_id, .. }) => type_id,
                _ => var.type_id,
            };
            let (id, kind) =
                btf.resolve(type_id).map_err(|error| fault(MapProblem::Layout { what, error }))?;
            let Kind::Compound { compound: Compound::Struct, bytes, members } = kind else {
                let (what, found) = (what.into(), format!("of kind {}", kind.tag().name()));
                return Err(fault(MapProblem::Shape { what, found, expected: "a struct" }));
            };
            let end = (var.offset as usize).checked_add(bytes as usize);
            let data = end.and_then(|end| section.data.get(var.offset as usize..end));
            let Some(data) = data.filter(|_| bytes <= var.bytes) else {
                let (bytes, section_bytes) = (bytes.into(), section.bytes);
                return Err(fault(MapProblem::Outside { offset, bytes, section_bytes }));
            };
            let mut def = MapDef::new(name, MapType::StructOps, 4, bytes, 1);
            def.flags = MapFlags(if section.name.ends_with(".link") { MapFlags::LINK } else { 0 });
            def.value_type = Some(id);
            let section = section.name.clone();
            def.origin = MapOrigin::Section { section, data: data.into() };
            let (start, end, map) = (offset, offset + u64::from(bytes), maps.defs.len());
            tables.push(Table { start, end, members: btf.list(members), map });
            maps.add(index, offset, def);
        }
        for reloc in &section.relocs {
            let after = tables.partition_point(|t| t.start <= reloc.offset);
            let table = after.checked_sub(1).map(|i| &tables[i]);
            let Some(table) = table.filter(|t| reloc.offset < t.end) else {
                let symbol = elf.symbol_name(&elf.symbols[reloc.symbol]);
                let problem = MapProblem::Value { symbol, expected: "in a table of functions" };
                return Err(of_map(&section.name, problem).at(&section.name, reloc.offset));
            };
            let def = &mut maps.defs[table.map];
            let value = function(elf, btf, functions, table, reloc);
            let value = value.map_err(|p| of_map(&def.name, p).at(&section.name, reloc.offset))?;
            def.values.push(value);
        }
    }
    Ok(())
}

/// The program that a relocation puts into a table, with the index of its member.
fn function(
    elf: &Elf<'_>,
    btf: &Btf,
    functions: &Functions,
    table: &Table<'_>,
    reloc: &Reloc,
) -> std::result::Result<(u32, InitialValue), MapProblem> {
    let symbol = &elf.symbols[reloc.symbol];
    let wrong = |expected| MapProblem::Value { symbol: elf.symbol_name(symbol), expected };
    if reloc.kind != RelocKind::ABS64 {
        return Err(wrong("a pointer of 8 bytes (R_BPF_64_ABS64)"));
    }
    let bits = (reloc.offset - table.start) * 8;
    let member = table.members.iter().position(|m| u64::from(m.bit_offset) == bits);
    let member = member.ok_or_else(|| wrong("at the offset of a member"))?;
    let pointee = match btf.resolve(table.members[member].type_id) {
        Ok((_, Kind::Ptr(to))) => btf.resolve(to).ok(),
        _ => None,
    };
    if !matches!(pointee, Some((_, Kind::FuncProto { .. }))) {
        return Err(wrong("for a member that is a pointer to a function"));
    }
    let program = "a program in a section 'struct_ops' of this object";
    let Home::Section(home) = symbol.home else { return Err(wrong(program)) };
    let slot = u32::try_from(symbol.value / SLOT_BYTES as u64).ok();
    let slot = slot.filter(|_| symbol.value.is_multiple_of(SLOT_BYTES as u64));
    let found = slot.and_then(|slot| functions.at(home, slot)).map(|i| &functions.list[i]);
    let row = section_name::meaning(&elf.sections[home].name).row;
    match (found, row.map(|r| r.prog_type)) {
        (Some(f), Some(ProgType::StructOps)) => {
            Ok((member as u32, InitialValue::Program(f.name.clone())))
        }
        _ => Err(wrong(program)),
    }
}
