//! The eBPF machine: maps, helpers, contexts, the interpreter, and the face for embedders.

pub mod map;
