//! The mnemonics of bpf_conformance and uBPF.

mod parse;
mod print;
mod words;

pub(super) use parse::{looks_like, parse};
pub(super) use print::print;
