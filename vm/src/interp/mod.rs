//! The interpreter: decodes once into a compact form ([`op`]) and dispatches on that ([`exec`]).

pub(crate) mod exec;
pub(crate) mod lower;
pub(crate) mod op;
