//! Tables of functions for the kernel: each variable in `.struct_ops` is a map of its own
//! (`init_struct_ops_maps` of libbpf). They are listed; the functions they name are not resolved,
//! because that needs the kernel's type of the table.

use super::{Maps, check_place, of_map};
use crate::elf::Elf;
use crate::error::{MapProblem, Result};
use ebpfvm_spec::btf::{Btf, Compound, Kind, KindTag};
use ebpfvm_spec::map::MapOrigin;
use ebpfvm_spec::{MapDef, MapFlags, MapType};

/// Sections of tables; those with `.link` are attached by a link.
const SECTIONS: [&str; 4] =
    [".struct_ops", ".struct_ops.link", "?.struct_ops", "?.struct_ops.link"];
/// `BPF_F_LINK`
const LINK: u32 = 1 << 13;

pub(super) fn read(elf: &Elf<'_>, btf: &Btf, maps: &mut Maps) -> Result<()> {
    for (index, section) in elf.sections.iter().enumerate() {
        if !section.is_progbits() || !SECTIONS.contains(&section.name.as_str()) {
            continue;
        }
        let datasec = btf.find(&section.name, KindTag::Datasec);
        let Some(Kind::Datasec { vars, .. }) = datasec.and_then(|id| btf.kind(id)) else {
            continue;
        };
        let mut last_end = 0;
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
            let Kind::Compound { compound: Compound::Struct, bytes, .. } = kind else {
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
            def.flags = MapFlags(if section.name.ends_with(".link") { LINK } else { 0 });
            def.value_type = Some(id);
            let section = section.name.clone();
            def.origin = MapOrigin::Section { section, data: data.into() };
            maps.add(index, offset, def);
        }
    }
    Ok(())
}
