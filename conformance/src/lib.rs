//! Test vectors for eBPF, the engines that they run on, and the runner that brings them together.
//!
//! A [`Vector`] is a program, the memory that it is given and what it must give: a value or a
//! refusal. Vectors are data files in the format of bpf_conformance (`conformance/vectors`). An
//! [`Engine`] runs programs: an interpreter, a JIT, the Linux kernel. The [`runner`] runs every
//! vector on every engine; no vector knows an engine, no engine knows a vector.
//!
//! - [`vector`]: the file format
//! - [`cases`]: annotated programs with the verdict that they must get
//! - [`corpus`]: verdicts on many programs, ours beside those of Linux
//! - [`engine`]: the trait and what an engine may answer
//! - [`files`]: files below a folder
//! - [`machine`]: this project's machine as an engine, interpreted or compiled
//! - [`judge`]: who says whether a program is accepted: the verifier, the running kernel
//! - [`kernel`]: the Linux kernel as an engine
//! - [`object`]: programs of object files with their maps, here and on the kernel
//! - [`plugin`]: the protocol of the bpf_conformance runner
//! - [`runner`]: directories of vectors, verdicts, reports
#![forbid(unsafe_code)]

pub mod cases;
pub mod corpus;
pub mod engine;
pub mod files;
pub mod judge;
pub mod kernel;
pub mod machine;
pub mod object;
pub mod plugin;
pub mod runner;
pub mod vector;

pub use engine::{Engine, Outcome, Unavailable};
pub use runner::{ConformError, Report, Summary, Verdict, conform, engines};
pub use vector::{Expected, Vector, VectorError};
