//! The interpreter: decodes once into a compact form ([`op`]) and dispatches on that ([`exec`]).

pub(crate) mod exec;
mod fuse;
pub(crate) mod handler;
mod lookup;
pub(crate) mod lower;
pub(crate) mod op;
