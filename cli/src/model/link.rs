//! The result of `ebpfvm link`.

use ebpfvm_loader::Object;
use serde::Serialize;

/// A linked object.
#[derive(Serialize)]
pub(crate) struct Linked {
    /// Size of the file in bytes.
    pub(crate) bytes: usize,
    /// Names of its programs.
    pub(crate) programs: Vec<String>,
    /// Names of its maps.
    pub(crate) maps: Vec<String>,
    /// The number of its types.
    pub(crate) types: usize,
}

impl Linked {
    pub(crate) fn new(object: &Object, bytes: usize) -> Linked {
        Linked {
            bytes,
            programs: object.programs().iter().map(|p| p.name.clone()).collect(),
            maps: object.maps().iter().map(|m| m.name.clone()).collect(),
            // Without void.
            types: object.btf().map_or(0, |btf| btf.len() - 1),
        }
    }
}
