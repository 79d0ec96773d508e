//! Results as text.

pub(crate) mod diff;
pub(crate) mod disasm;
pub(crate) mod failure;
pub(crate) mod fields;
pub(crate) mod hex;
pub(crate) mod inspect;
pub(crate) mod maps;
pub(crate) mod native;
pub(crate) mod run;
pub(crate) mod style;
pub(crate) mod verify;
