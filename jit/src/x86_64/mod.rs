//! Code for x86_64.
//!
//! - `regs`: where registers live
//! - `encode`: how an instruction is written; `labels`: jumps
//! - `basic`: instructions by what they do, on any operands
//! - `alu`, `divide`, `memory`, `atomic`: operations
//! - `check`: accesses of programs that nobody has verified
//! - `blind`: constants that are not to be seen
//! - `abi`, `call`: the ways in and out
//! - `masm`: all of it behind the seam

mod abi;
mod alu;
mod atomic;
mod basic;
mod blind;
mod call;
mod check;
mod divide;
mod encode;
mod labels;
mod masm;
mod memory;
mod regs;
#[cfg(all(test, target_arch = "x86_64", target_os = "linux"))]
mod tests;

pub(crate) use masm::X64;
