//! The result of `ebpfvm inspect`.

mod needs;
mod program;
mod types;

pub(crate) use needs::{Need, Needs};
pub(crate) use program::ProgramReport;
pub(crate) use types::{Extern, Global, TypesReport};

use ebpfvm_asm::ByteOrder;
use ebpfvm_loader::btf::c;
use ebpfvm_loader::{LinkOptions, Object, ProgramInfo};
use ebpfvm_spec::MapDef;
use ebpfvm_spec::btf::Btf;
use ebpfvm_spec::map::{InitialValue, MapOrigin};
use serde::Serialize;

/// What an object file holds and what it needs.
#[derive(Serialize)]
pub(crate) struct Inspection {
    pub(crate) file: String,
    pub(crate) byte_order: &'static str,
    pub(crate) license: String,
    pub(crate) programs: Vec<ProgramReport>,
    pub(crate) maps: Vec<MapReport>,
    pub(crate) globals: Vec<Global>,
    pub(crate) externs: Vec<Extern>,
    pub(crate) btf: Option<TypesReport>,
    pub(crate) needs: Needs,
}

/// A map.
#[derive(Serialize)]
pub(crate) struct MapReport {
    pub(crate) name: String,
    #[serde(rename = "type")]
    pub(crate) map_type: &'static str,
    pub(crate) key_bytes: u32,
    pub(crate) key_type: Option<String>,
    pub(crate) value_bytes: u32,
    pub(crate) value_type: Option<String>,
    pub(crate) max_entries: u32,
    /// Names of creation flags.
    pub(crate) flags: Option<String>,
    pub(crate) pinned: bool,
    /// The data section whose content it is.
    pub(crate) section: Option<String>,
    /// Entries that it begins with: index and what is named.
    pub(crate) values: Vec<(u32, String)>,
}

impl Inspection {
    /// Looks at an object.
    pub(crate) fn of(object: &Object, target: Option<&Btf>) -> Inspection {
        let options = LinkOptions { target_btf: target, ..LinkOptions::default() };
        let report = |info: &ProgramInfo| {
            ProgramReport::new(info, object.link_for(&info.name, &options).as_ref())
        };
        let programs = object.programs().iter().map(report).collect();
        Inspection {
            file: object.file().into(),
            byte_order: match object.byte_order() {
                ByteOrder::Little => "little",
                ByteOrder::Big => "big",
            },
            license: object.license().into(),
            programs,
            maps: object.maps().iter().map(|def| MapReport::new(object, def)).collect(),
            globals: types::globals(object),
            externs: types::externs(object),
            btf: object.btf().map(|btf| TypesReport::new(btf)),
            needs: Needs::of(object),
        }
    }
}

impl MapReport {
    fn new(object: &Object, def: &MapDef) -> MapReport {
        let spelled = |id: Option<_>| {
            let text = c::declaration(object.btf()?, id?, "").ok()?;
            Some(text.trim().to_string()).filter(|text| !text.is_empty())
        };
        let named = |value: &InitialValue| match value {
            InitialValue::Program(name) => name.clone(),
            InitialValue::Map(index) => {
                object.maps().get(*index as usize).map_or(String::new(), |def| def.name.clone())
            }
        };
        let section = match &def.origin {
            MapOrigin::Section { section, .. } => Some(section.clone()),
            MapOrigin::Declared => None,
        };
        MapReport {
            name: def.name.clone(),
            map_type: def.map_type.name(),
            key_bytes: def.key_bytes,
            key_type: spelled(def.key_type).filter(|_| section.is_none()),
            value_bytes: def.value_bytes,
            // The "type" of a data section is a list of variables.
            value_type: spelled(def.value_type).filter(|_| section.is_none()),
            max_entries: def.max_entries,
            flags: (def.flags.0 != 0).then(|| def.flags.to_string()),
            pinned: def.pinned,
            section,
            values: def.values.iter().map(|(index, value)| (*index, named(value))).collect(),
        }
    }
}
