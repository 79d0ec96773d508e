//! The maps of an object, in libbpf's order: those declared in `.maps`, then the legacy `maps`
//! section, then one for each data section, for the configuration and for each `.struct_ops` table.

mod data;
pub(crate) mod declared;
mod legacy;
mod struct_ops;

use crate::elf::{Elf, Home};
use crate::error::{MapProblem, Problem, Result};
use crate::functions::Functions;
use ebpfvm_spec::MapDef;
use ebpfvm_spec::btf::Btf;
use std::collections::HashMap;

/// Section of BTF map definitions.
pub(crate) const DECLARED: &str = ".maps";
/// Section of legacy map definitions.
pub(crate) const LEGACY: &str = "maps";

/// The maps and where references to them point.
#[derive(Debug, Default)]
pub(crate) struct Maps {
    pub(crate) defs: Vec<MapDef>,
    /// By section and offset of the definition.
    pub(crate) by_place: HashMap<(usize, u64), u32>,
    /// By data section.
    pub(crate) by_section: HashMap<usize, u32>,
    /// The map of configuration values.
    pub(crate) config: Option<u32>,
    /// The section of the arena's globals and the arena that they live in.
    pub(crate) arena: Option<(usize, u32)>,
}

impl Maps {
    /// Reads all definitions. `object_name` is the prefix of data maps' names.
    pub(crate) fn read(
        elf: &Elf<'_>,
        btf: Option<&Btf>,
        functions: &Functions,
        object_name: &str,
    ) -> Result<Maps> {
        let mut maps = Maps::default();
        if let Some(section) = elf.section_index(DECLARED) {
            let btf = btf.ok_or_else(|| Problem::MapsWithoutBtf.in_section(DECLARED))?;
            declared::read(elf, section, btf, functions, &mut maps)?;
        }
        if let Some(section) = elf.section_index(LEGACY) {
            legacy::read(elf, section, &mut maps)?;
        }
        data::read(elf, btf, object_name, &mut maps)?;
        data::read_arena(elf, &mut maps)?;
        if let Some(btf) = btf {
            maps.defs.iter_mut().for_each(|def| def.find_special(btf));
        }
        Ok(maps)
    }

    /// Adds the map of `.kconfig`, which is a section of the types only.
    pub(crate) fn add_config(&mut self, object_name: &str, btf: &Btf, data: Vec<u8>) {
        self.config = Some(self.defs.len() as u32);
        self.defs.push(data::config(object_name, btf, data));
    }

    /// Adds the maps of `.struct_ops`.
    pub(crate) fn add_struct_ops(
        &mut self,
        elf: &Elf<'_>,
        btf: &Btf,
        functions: &Functions,
    ) -> Result<()> {
        struct_ops::read(elf, btf, functions, self)
    }

    fn add(&mut self, section: usize, offset: u64, def: MapDef) {
        self.by_place.insert((section, offset), self.defs.len() as u32);
        self.defs.push(def);
    }
}

/// Longest name of a map in bytes. A record of the file takes few bytes, its name is a copy.
const MAX_NAME_BYTES: usize = 255;

/// Checks a map's name and that its definition begins at or behind `end`, where the last one ended.
fn check_place(name: &str, offset: u64, end: u64) -> std::result::Result<(), MapProblem> {
    match () {
        () if name.len() > MAX_NAME_BYTES => Err(MapProblem::LongName(name.len())),
        () if offset < end => Err(MapProblem::Overlap { offset, end }),
        () => Ok(()),
    }
}

/// A problem of one map.
fn of_map(map: &str, problem: MapProblem) -> Problem {
    Problem::Map { map: map.into(), problem }
}

/// The global symbols defined in a section: offset, name, size.
fn symbols_in<'a>(
    elf: &'a Elf<'_>,
    section: usize,
) -> impl Iterator<Item = &'a crate::elf::Symbol> + 'a {
    elf.symbols
        .iter()
        .filter(move |s| s.home == Home::Section(section) && !s.is_section && !s.name.is_empty())
}
