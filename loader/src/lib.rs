//! From the bytes of an object file to programs.
//!
//! Everything here is a pure function of bytes: no host, no clock, no verdict. Bytes may be hostile;
//! they give a [`LoadError`] that names file, section and offset, and never a panic, nor memory or
//! time beyond a multiple of their length.
//!
//! - [`object`]: an [`Object`] and its programs, maps and types
//! - [`section_name`]: what `SEC("...")` says about a program
//! - [`btf`]: types from bytes
//! - [`core_relo`]: adapting accesses to the types of a target kernel
//! - [`kconfig`]: the configuration that `.kconfig` variables are read from
//! - [`kernel_symbols`]: the addresses that `.ksyms` variables without a type are
//! - [`static_linker`]: several object files to one
//! - [`needs`]: what a kernel must have to load the programs
//! - [`error`]: what can be wrong
#![forbid(unsafe_code)]

pub mod btf;
pub mod core_relo;
mod elf;
pub mod error;
mod externs;
mod functions;
pub mod kconfig;
pub mod kernel_symbols;
mod link;
mod maps;
pub mod needs;
pub mod object;
mod resolve;
pub mod section_name;
pub mod static_linker;

pub use btf::read::{parse_btf, parse_btf_file};
pub use btf::write::encode_btf;
pub use elf::RelocKind;
pub use error::{LoadError, Place, Problem};
pub use externs::POISON_KFUNC;
pub use kconfig::Kconfig;
pub use kernel_symbols::KernelSymbols;
pub use object::{Absent, LinkOptions, LinkedProgram, Object, ProgramInfo, RelocInfo};
pub use static_linker::link_objects;
