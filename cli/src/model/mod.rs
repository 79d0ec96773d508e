//! What commands find out, as values: the JSON output is these structs as they stand.

pub(crate) mod asm;
pub(crate) mod data;
pub(crate) mod disasm;
pub(crate) mod effects;
pub(crate) mod inspect;
pub(crate) mod link;
pub(crate) mod maps;
pub(crate) mod native;
pub(crate) mod run;
pub(crate) mod socket;
pub(crate) mod verify;
