//! What a linker would fill in: clang leaves sizes of data sections and offsets of global variables
//! zero, because only the symbol table knows them (`btf_fixup_datasec` of libbpf).

use crate::elf::{Elf, Home};
use crate::error::BtfProblem;
use ebpfvm_spec::btf::{Btf, BtfBuilder, Kind, Linkage, SectionVar, TypeId};
use std::collections::HashMap;

/// Sections that exist only in BTF.
pub(crate) const VIRTUAL: [&str; 2] = [".kconfig", ".ksyms"];

/// Fills in sizes and offsets of data sections from the file, and makes hidden symbols static.
pub(crate) fn fix(elf: &Elf<'_>, b: &mut BtfBuilder) -> Result<(), BtfProblem> {
    let symbols: HashMap<(usize, &str), usize> = elf
        .symbols
        .iter()
        .enumerate()
        .filter(|(_, s)| !s.is_local && !s.name.is_empty())
        .filter_map(|(i, s)| match s.home {
            Home::Section(home) => Some(((home, s.name.as_str()), i)),
            _ => None,
        })
        .collect();
    let sections: Vec<(TypeId, String, Kind)> = b
        .so_far()
        .iter_own()
        .filter(|(_, t)| matches!(t.kind, Kind::Datasec { .. }))
        .map(|(id, t)| (id, b.so_far().str(t.name).to_string(), t.kind))
        .collect();
    for (id, name, kind) in sections {
        let Kind::Datasec { bytes, vars } = kind else { continue };
        if VIRTUAL.contains(&name.as_str()) {
            continue;
        }
        // A section that the file does not have: its variables were optimised away.
        let Some(home) = elf.section_index(&name) else { continue };
        let fix_offsets = bytes == 0;
        let bytes =
            if fix_offsets { elf.sections[home].bytes.min(u32::MAX.into()) as u32 } else { bytes };
        let mut vars: Vec<SectionVar> = b.so_far().list(vars).to_vec();
        for var in &mut vars {
            fix_var(elf, b, &symbols, home, var, fix_offsets)?;
        }
        vars.sort_by_key(|v| v.offset);
        let vars = b.span(vars);
        b.replace(id, Kind::Datasec { bytes, vars });
    }
    Ok(())
}

fn fix_var(
    elf: &Elf<'_>,
    b: &mut BtfBuilder,
    symbols: &HashMap<(usize, &str), usize>,
    home: usize,
    var: &mut SectionVar,
    fix_offset: bool,
) -> Result<(), BtfProblem> {
    let btf: &Btf = b.so_far();
    let Some(Kind::Var { type_id, linkage: Linkage::Global }) = btf.kind(var.type_id) else {
        return Ok(());
    };
    let name = btf.name(var.type_id);
    let Some(symbol) = symbols.get(&(home, name)).map(|i| &elf.symbols[*i]) else {
        let section = elf.sections[home].name.clone();
        return Err(BtfProblem::NoSymbol { name: name.into(), section });
    };
    if fix_offset {
        var.offset = symbol.value.min(u32::MAX.into()) as u32;
    }
    if symbol.is_hidden && var.type_id >= btf.first_own() {
        b.replace(var.type_id, Kind::Var { type_id, linkage: Linkage::Static });
    }
    Ok(())
}
