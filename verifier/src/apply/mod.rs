//! What an instruction makes of a state: one function a kind of instruction.
//!
//! Each asks [`crate::check`] whether its needs are met, then changes the state of the [`Step`] and
//! tells where the path goes on. Nothing here compares states or chooses paths.

mod alu;
mod atomic;
pub(crate) mod call;
mod entry;
mod function;
mod jump;
mod legacy;
mod linked;
mod load_imm;
mod may_goto;
mod memory;
mod null;
mod packet;
mod pointer;
pub(crate) mod reference;
mod sanitize;
#[cfg(test)]
mod tests;

pub(crate) use entry::entry_state;

use crate::reject::{Reason, StructureReason};
use crate::step::{Flow, Step};
use ebpfvm_asm::{CallTarget, Insn};

/// Judges one instruction and applies it to the state (`do_check_insn`).
///
/// # Errors
/// Why the program is rejected.
pub(crate) fn apply(step: &mut Step<'_, '_>, insn: &Insn) -> Result<Flow, Reason> {
    if matches!(
        insn,
        Insn::Jump { .. }
            | Insn::JumpIf { .. }
            | Insn::MayGoto { .. }
            | Insn::Call { .. }
            | Insn::Exit
    ) {
        step.past.counts.jumps += 1;
    }
    match *insn {
        Insn::Alu { width, op, dst, src } => alu::alu(step, width, op, dst, src),
        Insn::Neg { width, dst } => alu::neg(step, width, dst),
        Insn::Movsx { width, from, dst, src } => alu::movsx(step, width, from, dst, src),
        Insn::Endian { op, size, dst } => alu::endian(step, op, size, dst),
        Insn::AddrSpaceCast { .. } => Err(Reason::unsupported("addr_space_cast (arena)")),
        Insn::LoadImm { dst, value } => load_imm::load_imm(step, dst, value),
        Insn::Load { size, dst, base, offset } => {
            memory::load(step, memory::Load { dst, base, offset, size, sign_extends: false })
        }
        Insn::LoadSx { size, dst, base, offset } => {
            memory::load(step, memory::Load { dst, base, offset, size, sign_extends: true })
        }
        Insn::Store { size, base, offset, src } => memory::store(step, base, offset, size, src),
        Insn::Atomic { op, size, base, offset, src } => {
            atomic::read_modify_write(step, op, size, base, offset, src)
        }
        Insn::LoadAcquire { size, dst, base, offset } => {
            atomic::load_acquire(step, size, dst, base, offset)
        }
        Insn::StoreRelease { size, base, offset, src } => {
            atomic::store_release(step, size, base, offset, src)
        }
        Insn::LoadAbs { size, .. } => legacy::load_abs(step, size),
        Insn::LoadInd { size, index, .. } => legacy::load_ind(step, size, index),
        Insn::Jump { offset, .. } => jump::jump(step, offset),
        Insn::JumpIf { width, op, dst, src, offset } => {
            jump::jump_if(step, width, op, dst, src, offset)
        }
        Insn::MayGoto { offset } => may_goto::may_goto(step, offset),
        Insn::Call { target: CallTarget::Helper(id) } => call::helper(step, id),
        Insn::Call { target: CallTarget::Local { offset } } => function::call(step, offset),
        Insn::Call { target: CallTarget::Kfunc { btf_id, .. } } => {
            Err(Reason::unsupported(format!("kernel function {btf_id}")))
        }
        Insn::Call { target: CallTarget::Reg(_) } => {
            Err(StructureReason::CallThroughRegister { pc: step.pc.0 }.into())
        }
        Insn::Exit => function::exit(step),
    }
}
