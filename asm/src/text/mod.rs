//! Programs as text: assembler and disassembler.
//!
//! Two dialects are read and written, one module each with the same parts: [`Dialect::PseudoC`],
//! the C-like form of LLVM and of the kernel's log, and [`Dialect::Mnemonic`], the words of
//! bpf_conformance and uBPF. Both take their words and operators from the instruction table and
//! share lexer, [assembler](assemble()) and [listing].
//!
//! A program is a line an instruction; `;` separates several on a line, `#` and `//` begin a
//! comment, `name:` marks the next instruction. Numbers are decimal or hexadecimal.
//!
//! ```
//! use ebpfvm_asm::text::{Dialect, NoSymbols, Style, assemble, listing};
//!
//! let code = assemble("r0 = 1\nif r1 == 0 goto out\nr0 = 2\nout: exit", Dialect::Auto)?;
//! assert_eq!(
//!     listing(&code, Style::Mnemonic, &NoSymbols),
//!     "\tmov %r0, 1\n\tjeq %r1, 0, L3\n\tmov %r0, 2\nL3:\n\texit\n"
//! );
//! # Ok::<(), ebpfvm_asm::text::TextError>(())
//! ```

mod assemble;
mod cursor;
mod error;
mod lex;
mod listing;
mod mnemonic;
mod pseudo_c;

pub use assemble::{assemble, assemble_with};
pub use error::{TextError, TextErrorKind};
pub use listing::{ListedLine, listed_lines, listing};

use crate::code::Pc;
use crate::insn::Insn;
use pseudo_c::Spelling;

/// A language that the assembler reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Dialect {
    /// Whichever the first instruction that is in only one of them is written in.
    #[default]
    Auto,
    /// `r0 = *(u32 *)(r1 + 4)`: LLVM's pseudo-C. The spellings of the kernel's log are taken too.
    PseudoC,
    /// `ldxw %r0, [%r1+4]`: the mnemonics of bpf_conformance and uBPF. The label `exit` names the
    /// first `exit` if no other place.
    Mnemonic,
}

/// A form that the disassembler writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Style {
    /// LLVM's pseudo-C, extended where LLVM writes different instructions alike; reads back as the
    /// same program.
    #[default]
    PseudoC,
    /// Exactly as `llvm-objdump -d --no-show-raw-insn` of LLVM 19. 32-bit atomics that fetch are as
    /// with `--mcpu=v4`; what LLVM 19 does not know is as in later releases.
    Llvm,
    /// Exactly as the verifier's log of Linux 6.18, with the opcode in parentheses.
    Kernel,
    /// The mnemonics; reads back as the same program.
    Mnemonic,
}

/// Names that the language does not know by itself. Everything is unknown by default.
pub trait Symbols {
    /// The name of a helper, such as `bpf_map_lookup_elem`.
    fn helper(&self, _id: u32) -> Option<String> {
        None
    }

    /// The number of the helper with this name.
    fn helper_id(&self, _name: &str) -> Option<u32> {
        None
    }

    /// The name of a kernel function.
    fn kfunc(&self, _btf_id: i32, _btf_index: i16) -> Option<String> {
        None
    }

    /// The function that contains `pc`: its name and where it starts, at or before `pc`.
    fn function(&self, _pc: Pc) -> Option<(String, Pc)> {
        None
    }

    /// The label that marks `pc`, for jumps and calls to it.
    fn label(&self, _pc: Pc) -> Option<String> {
        None
    }
}

/// Knows no name.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoSymbols;

impl Symbols for NoSymbols {}

/// Writes one instruction, which stands at `pc`.
pub fn print(insn: &Insn, pc: Pc, style: Style, symbols: &dyn Symbols) -> String {
    match style {
        Style::PseudoC => pseudo_c::print(insn, pc, Spelling::Lossless, symbols),
        Style::Llvm => pseudo_c::print(insn, pc, Spelling::Llvm, symbols),
        Style::Kernel => pseudo_c::print(insn, pc, Spelling::Kernel, symbols),
        Style::Mnemonic => mnemonic::print(insn, pc, symbols),
    }
}

/// The instruction in [`Style::PseudoC`], with offsets instead of labels.
impl std::fmt::Display for Insn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&print(self, Pc(0), Style::PseudoC, &NoSymbols))
    }
}

/// The label at the place that an offset at `pc` leads to.
fn target(pc: Pc, offset: i32, symbols: &dyn Symbols) -> Option<String> {
    symbols.label(pc.jump(offset)?)
}

/// A number as LLVM writes it: `0x5`, `-0x5`.
fn hex(value: i64) -> String {
    let sign = if value < 0 { "-" } else { "" };
    format!("{sign}{:#x}", value.unsigned_abs())
}
