//! The same bench programs on every engine: native C, this project's interpreter, and the
//! interpreters of other crates.
//!
//! `cargo bench -p ebpfvm-benches --bench interpreters` checks that all engines agree, measures
//! them and prints run times as multiples of native code.

pub mod code;
pub mod engine;
pub mod large_object;
pub mod maps;
pub mod memory;
pub mod table;
pub mod verification;
pub mod workload;
