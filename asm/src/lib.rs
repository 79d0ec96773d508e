//! The eBPF language: what an instruction is, how it is encoded, spelled and what it computes.
//!
//! Everything that knows an opcode number reads it from one [table](table::TABLE). After
//! [decoding](decode::decode) an instruction is an [`Insn`], a plain enum in which nothing is
//! hidden: nobody has to look into `offset`, `imm` or `src` again to learn that a division is
//! signed or that a 64-bit load names a map.
//!
//! - [`table`]: the instruction set, one row an operation
//! - [`insn`]: the decoded instruction and its parts
//! - [`mod@decode`], [`mod@encode`]: between [`Slot`]s (8 bytes) and [`Insn`]s
//! - [`code`]: a whole program, addressed by [`Pc`]
//! - [`builder`]: programs written in Rust
//! - [`text`]: programs as text, assembler and disassembler
//! - `arbitrary`: random instructions for fuzzing, with the feature of that name
//! - [`semantics`]: what each operation computes
//!
//! The crate does no I/O and depends on no other crate of the workspace.
#![forbid(unsafe_code)]

#[cfg(feature = "arbitrary")]
pub mod arbitrary;
pub mod builder;
pub mod code;
pub mod decode;
pub mod encode;
pub mod insn;
mod reference;
pub mod semantics;
pub mod slot;
pub mod table;
pub mod text;

pub use builder::{BuildError, Builder, Label, Target};
pub use code::{Code, Pc, TargetError};
pub use decode::{DecodeError, DecodeErrorKind, decode};
pub use encode::{EncodeError, encode};
pub use insn::{
    AluOp, AtomicOp, CallTarget, EndianOp, Imm64, Insn, JmpOp, Operand, Reach, Reg, RmwOp, Size,
    Width,
};
pub use reference::reference;
pub use slot::{ByteOrder, Slot};
pub use table::Op;
