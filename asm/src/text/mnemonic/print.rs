//! Writes one instruction in mnemonics.

use super::words::Form;
use crate::code::Pc;
use crate::insn::{CallTarget, Imm64, Insn, Operand, Reg};
use crate::text::{Symbols, target};

/// Writes `insn`, which stands at `pc`.
pub(in crate::text) fn print(insn: &Insn, pc: Pc, symbols: &dyn Symbols) -> String {
    let word = Form::of(insn).word();
    let operands = operands(insn, pc, symbols);
    if operands.is_empty() { word } else { format!("{word} {operands}") }
}

fn operands(insn: &Insn, pc: Pc, symbols: &dyn Symbols) -> String {
    let goal = |offset: i32| target(pc, offset, symbols).unwrap_or_else(|| format!("{offset:+}"));
    match *insn {
        Insn::Alu { dst, src, .. } => format!("%{dst}, {}", operand(src)),
        Insn::Neg { dst, .. } | Insn::Endian { dst, .. } => format!("%{dst}"),
        Insn::Movsx { dst, src, .. } => format!("%{dst}, %{src}"),
        Insn::AddrSpaceCast { dst, src, to, from } => format!("%{dst}, %{src}, {to}, {from}"),
        Insn::LoadImm { dst, value } => format!("%{dst}, {}", imm64(value, goal)),
        Insn::Load { dst, base, offset, .. }
        | Insn::LoadSx { dst, base, offset, .. }
        | Insn::LoadAcquire { dst, base, offset, .. } => {
            format!("%{dst}, {}", address(base, offset))
        }
        Insn::Store { base, offset, src, .. } => {
            format!("{}, {}", address(base, offset), operand(src))
        }
        Insn::Atomic { base, offset, src, .. } | Insn::StoreRelease { base, offset, src, .. } => {
            format!("{}, %{src}", address(base, offset))
        }
        Insn::LoadAbs { offset, .. } => offset.to_string(),
        Insn::LoadInd { index, offset, .. } => format!("%{index}, {offset}"),
        Insn::Jump { offset, .. } => goal(offset),
        Insn::JumpIf { dst, src, offset, .. } => {
            format!("%{dst}, {}, {}", operand(src), goal(offset.into()))
        }
        Insn::MayGoto { offset } => goal(offset.into()),
        Insn::Call { target } => match target {
            CallTarget::Helper(id) => match symbols.helper(id) {
                Some(name) => format!("{name}#{id}"),
                None => id.to_string(),
            },
            CallTarget::Local { offset } => goal(offset),
            CallTarget::Kfunc { btf_id, btf_index: 0 } => btf_id.to_string(),
            CallTarget::Kfunc { btf_id, btf_index } => format!("{btf_id}, {btf_index}"),
            CallTarget::Reg(reg) => format!("%{reg}"),
        },
        Insn::Exit => String::new(),
    }
}

fn operand(operand: Operand) -> String {
    match operand {
        Operand::Reg(reg) => format!("%{reg}"),
        Operand::Imm(imm) => imm.to_string(),
    }
}

fn address(base: Reg, offset: i16) -> String {
    if offset == 0 { format!("[%{base}]") } else { format!("[%{base}{offset:+}]") }
}

fn imm64(value: Imm64, goal: impl Fn(i32) -> String) -> String {
    match value {
        Imm64::Value(value) => format!("{value:#x}"),
        Imm64::MapFd(fd) => fd.to_string(),
        Imm64::MapFdValue { fd, offset } => format!("{fd}, {offset}"),
        Imm64::Variable { btf_id, btf_fd } => format!("{btf_id}, {btf_fd}"),
        Imm64::Func { offset } => goal(offset),
        Imm64::MapIdx(index) => index.to_string(),
        Imm64::MapIdxValue { index, offset } => format!("{index}, {offset}"),
    }
}
