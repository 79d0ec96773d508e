//! The same bench programs on every engine: native C, this project's engines, and the
//! engines of other crates.
//!
//! `cargo bench -p ebpfvm-benches --bench engines` checks that all engines agree, measures
//! them and prints run times as multiples of native code.

pub mod bench_program;
pub mod chart;
pub mod compile;
pub mod engine;
pub mod host;
pub mod large_object;
pub mod maps;
pub mod measure;
pub mod memory;
pub mod table;
pub mod target;
pub mod verification;
pub mod workload;
