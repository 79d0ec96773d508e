//! The pseudo-C of LLVM and of the kernel's log.

mod access;
mod parse;
mod print;

pub(super) use parse::{looks_like, parse};
pub(super) use print::{Spelling, print};
