//! Random programs and bytes, and what has to hold for them.
//!
//! [`draw`] takes choices from bytes, so that a coverage-guided fuzzer and a seed drive the same
//! code. [`mod@generate`] makes programs of them, [`mutate`] changes what [`seeds`] finds in the
//! project. [`oracle`] says what has to hold; for programs it compares with [`mod@reference`], a
//! machine made of the instruction set's definition alone. A [`Target`] is a name for a generator
//! with its oracle, and [`mod@minimise`] finds a smaller program that fails in the same way.
//!
//! [`coverage`] says how often each pass of the compiler changes what is generated.
//!
//! `cargo test` runs every target for some seeds; the program `fuzz_smoke` runs them for as long as
//! one likes. The directory `targets` has them for cargo-fuzz.
#![forbid(unsafe_code)]

pub mod coverage;
pub mod draw;
pub mod generate;
pub mod minimise;
pub mod mutate;
pub mod oracle;
pub mod reference;
pub mod seeds;
pub mod target;

pub use target::Target;
