//! What an object's programs need of a kernel.

use ebpfvm_asm::table::Cpu;
use ebpfvm_loader::{Object, needs};
use serde::Serialize;

/// What a kernel must have.
#[derive(Serialize)]
pub(crate) struct Needs {
    /// The oldest release of Linux that has everything that is not optional and whose age is known.
    pub(crate) linux: String,
    /// What decides that; none if every release with programs has everything.
    pub(crate) because: Option<Need>,
    /// The `-mcpu` level of the instructions.
    pub(crate) cpu: &'static str,
    /// The helpers that demand a GPL-compatible licence.
    pub(crate) gpl_helpers: Vec<String>,
    pub(crate) list: Vec<Need>,
}

/// Something that a kernel must have.
#[derive(Serialize)]
pub(crate) struct Need {
    /// Kind in words.
    pub(crate) kind: &'static str,
    pub(crate) name: String,
    /// The release that brought it; none if it is not known.
    pub(crate) since: Option<String>,
    /// Why kernels without it will do; none if they will not.
    pub(crate) optional: Option<&'static str>,
    /// Where it is needed first.
    #[serde(rename = "where")]
    pub(crate) site: String,
}

impl Needs {
    pub(crate) fn of(object: &Object) -> Needs {
        let needs = object.needs();
        Needs {
            linux: needs.release().to_string(),
            because: needs.newest().map(Need::new),
            cpu: match needs.cpu {
                Cpu::V1 => "v1",
                Cpu::V2 => "v2",
                Cpu::V3 => "v3",
                Cpu::V4 => "v4",
            },
            list: needs.list.iter().map(Need::new).collect(),
            gpl_helpers: needs.gpl_helpers,
        }
    }
}

impl Need {
    fn new(need: &needs::Need) -> Need {
        Need {
            kind: need.kind.name(),
            name: need.name.clone(),
            since: need.since.map(|since| since.to_string()),
            optional: need.optional,
            site: need.site.to_string(),
        }
    }
}
