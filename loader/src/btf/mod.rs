//! Types: reading them from bytes, and showing values and declarations through them.

pub mod c;
pub(crate) mod copy;
pub mod dedup;
pub(crate) mod ext;
pub(crate) mod fixup;
pub mod read;
pub mod value;
pub(crate) mod wire;
pub mod write;
