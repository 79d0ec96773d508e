//! What is judged: the program with everything about it that does not change on the way.

use crate::cfg::Structure;
use crate::load;
use crate::log::Log;
use crate::options::Options;
use crate::reject::{ProgramReason, Reason};
use crate::report::frame;
use crate::state::MapId;
use ebpfvm_asm::Pc;
use ebpfvm_spec::attach::AttachType;
use ebpfvm_spec::btf::{Btf, SpecialField};
use ebpfvm_spec::helper::HelperProto;
use ebpfvm_spec::load_flags;
use ebpfvm_spec::map::{MapDef, MapFlags, MapOrigin};
use ebpfvm_spec::platform::{Platform, ProgTypeDef};
use ebpfvm_spec::program::Program;

/// Bytes of a map's name that Linux keeps (`BPF_OBJ_NAME_LEN` less the end).
const MAP_NAME_BYTES: usize = 15;

/// Licences that are compatible with the GPL (`include/linux/license.h`).
const GPL_COMPATIBLE: [&str; 6] =
    ["GPL", "GPL v2", "GPL and additional rights", "Dual BSD/GPL", "Dual MIT/GPL", "Dual MPL/GPL"];

/// A map of the program as the verifier sees it.
#[derive(Clone, Debug)]
pub(crate) struct MapInfo {
    /// Its definition, with the flags that its kind implies.
    pub(crate) def: MapDef,
    /// Of a map of maps, what its inner maps are.
    pub(crate) inner: Option<MapId>,
    /// Whether its contents are those of its [`MapOrigin`] for good: no side can write them.
    pub(crate) constant: bool,
}

impl MapInfo {
    fn new(def: &MapDef, inner: Option<MapId>) -> MapInfo {
        // Data sections that programs may not write are frozen by the one who loads the object.
        let constant =
            def.flags.has(MapFlags::RDONLY_PROG) && matches!(def.origin, MapOrigin::Section { .. });
        let flags = MapFlags(def.flags.0 | def.map_type.implied_flags());
        MapInfo { def: MapDef { flags, ..def.clone() }, inner, constant }
    }

    /// Fields of its values that programs may touch only through helpers.
    pub(crate) fn fields(&self) -> &[SpecialField] {
        &self.def.special
    }

    /// The initial contents of a map that is constant.
    pub(crate) fn contents(&self) -> Option<&[u8]> {
        match &self.def.origin {
            MapOrigin::Section { data, .. } if self.constant => Some(data),
            _ => None,
        }
    }
}

/// The program that is judged and what it relies on.
pub(crate) struct Subject<'a> {
    /// The program.
    pub(crate) program: &'a Program,
    /// The world it is judged in.
    pub(crate) platform: &'a Platform,
    /// How it is judged.
    pub(crate) options: &'a Options,
    /// What its type is given.
    pub(crate) def: &'a ProgTypeDef,
    /// Its attach type, after what a load makes of 0.
    pub(crate) attach_type: AttachType,
    /// Its maps, then the inner definitions of maps of maps.
    pub(crate) maps: Vec<MapInfo>,
    /// Functions, successors, live registers.
    pub(crate) structure: Structure,
}

impl<'a> Subject<'a> {
    /// The program, if it may be loaded and its code has a shape that can be followed.
    ///
    /// # Errors
    /// Why it is refused.
    pub(crate) fn new(
        program: &'a Program,
        platform: &'a Platform,
        options: &'a Options,
        log: &mut Log,
    ) -> Result<Subject<'a>, Reason> {
        let Some(def) = platform.prog_type(program.prog_type) else {
            let name = program.prog_type.name().to_owned();
            return Err(if program.prog_type.since().is_empty() {
                ProgramReason::Type { name }.into()
            } else {
                Reason::unsupported(format!("program type {name}"))
            });
        };
        let maps = map_table(&program.maps);
        load::check(program, def, options)?;
        let attach_type = def.attach_type(program.attach_type).unwrap_or(program.attach_type);
        Structure::check_function_records(program)?;
        frame::functions(log, Structure::function_starts(program, options)?);
        load::check_maps(program, &maps)?;
        load::check_needs(program)?;
        let structure = Structure::of(program, platform, options, attach_type)?;
        load::check_sleepable(program)?;
        Ok(Subject { program, platform, options, def, attach_type, maps, structure })
    }

    /// The map with this id.
    pub(crate) fn map(&self, id: MapId) -> &MapInfo {
        &self.maps[id.0 as usize]
    }

    /// The name of a map as Linux keeps it: cut off, and none of the inner definition of a map of
    /// maps.
    pub(crate) fn map_name(&self, id: MapId) -> &str {
        if id.0 as usize >= self.program.maps.len() {
            return "";
        }
        let name = &self.map(id).def.name;
        let mut end = name.len().min(MAP_NAME_BYTES);
        while !name.is_char_boundary(end) {
            end -= 1;
        }
        &name[..end]
    }

    /// The types of the program.
    pub(crate) fn btf(&self) -> Option<&'a Btf> {
        self.program.btf.as_deref()
    }

    /// Whether the program was loaded with this flag of [`load_flags`].
    pub(crate) fn has_flag(&self, flag: u32) -> bool {
        self.program.flags & flag != 0
    }

    /// Whether accesses to packets must be aligned (`strict_alignment`); those to other memory
    /// always are.
    pub(crate) fn strict_alignment(&self) -> bool {
        // x86 takes unaligned accesses, so packets are only strict when asked for.
        self.has_flag(load_flags::STRICT_ALIGNMENT) && !self.has_flag(load_flags::ANY_ALIGNMENT)
    }

    /// Whether the program must hold on paths that only speculation takes (`bypass_spec_v1`).
    pub(crate) fn is_speculation_followed(&self) -> bool {
        !self.options.privileges.perfmon
    }

    /// The prototype of a helper as this program sees it.
    pub(crate) fn helper(&self, id: u32) -> Option<&'a HelperProto> {
        self.platform.helper_for(id, self.program.prog_type, self.attach_type)
    }

    /// Whether the licence lets the program call helpers that ask for the GPL
    /// (`license_is_gpl_compatible`).
    pub(crate) fn is_gpl_compatible(&self) -> bool {
        GPL_COMPATIBLE.contains(&self.program.license.as_str())
    }

    /// The instruction at `pc`.
    pub(crate) fn insn(&self, pc: Pc) -> Result<&'a ebpfvm_asm::Insn, Reason> {
        self.program.code.get(pc).ok_or_else(|| Reason::internal(format!("no instruction at {pc}")))
    }
}

/// The maps of a program with the inner definitions of its maps of maps after them.
pub(crate) fn map_table(defs: &[MapDef]) -> Vec<MapInfo> {
    let mut maps: Vec<MapInfo> = Vec::with_capacity(defs.len());
    let mut inner_maps = Vec::new();
    for def in defs {
        let inner = def.inner.as_deref().map(|inner| {
            inner_maps.push(MapInfo::new(inner, None));
            MapId((defs.len() + inner_maps.len() - 1) as u32)
        });
        maps.push(MapInfo::new(def, inner));
    }
    maps.extend(inner_maps);
    maps
}
