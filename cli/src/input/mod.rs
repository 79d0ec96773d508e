//! What commands read.

pub(crate) mod context;
pub(crate) mod field;
pub(crate) mod file;
pub(crate) mod globals;
pub(crate) mod hex;
pub(crate) mod map;
pub(crate) mod object;
pub(crate) mod order;
pub(crate) mod pins;
pub(crate) mod socket;
pub(crate) mod target;
pub(crate) mod value;
pub(crate) mod world;
