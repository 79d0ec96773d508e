//! Spills and fills around calls that leave the other registers alone (`mark_fastcall_patterns`).
//!
//! clang saves registers around calls of helpers marked `bpf_fastcall`, for kernels that do not know
//! the mark, in the lowest slots of the stack and nowhere else. Linux leaves the pairs out, and
//! then the function needs less stack.

use super::{RegSet, Structure};
use ebpfvm_asm::{CallTarget, Code, Insn, Operand, Pc, Reg, Size};
use ebpfvm_spec::helper::{Arg, Effect, HelperProto, Ret};

/// Registers that a call need not preserve: `r0` to `r5`.
const CALLER_SAVED: RegSet = RegSet(0b11_1111);
/// The most pairs around a call.
const MAX_PAIRS: u32 = 6;

/// Marks the pairs, and notes from which offset on each function's stack holds nothing else.
pub(crate) fn mark<'a>(
    code: &Code,
    structure: &mut Structure,
    helper: impl Fn(u32) -> Option<&'a HelperProto>,
) {
    let mut is_target = vec![false; code.len()];
    for to in code.iter().filter_map(|(pc, insn)| pc.jump(insn.jump_offset()?)) {
        if let Some(is_target) = is_target.get_mut(to.index()) {
            *is_target = true;
        }
    }
    for index in 0..structure.subprogs.len() {
        let (start, end) = (structure.subprogs[index].start.0, structure.subprogs[index].end.0);
        let spills = (start..end).filter_map(|slot| spill(code, Pc(slot)));
        let lowest = spills.map(|(_, offset)| offset).min().unwrap_or(0).min(0);
        for slot in start..end {
            let Some(Insn::Call { target: CallTarget::Helper(id) }) = code.get(Pc(slot)) else {
                continue;
            };
            let Some(proto) = helper(*id) else { continue };
            let call = Call { code, is_target: &is_target, pc: Pc(slot), lowest };
            let pairs = call.pairs(preserved(proto));
            if pairs == 0 {
                continue;
            }
            for distance in 1..=pairs {
                structure.insns[(slot - distance) as usize].in_fast_call = true;
                structure.insns[(slot + distance) as usize].in_fast_call = true;
            }
            let subprog = &mut structure.subprogs[index];
            if proto.effects.has(Effect::FAST_CALL) {
                subprog.has_fast_calls = true;
            } else {
                // The call may change what was saved: these pairs stay.
                subprog.keeps_fast_call_stack = true;
            }
            let first = lowest + 8 * pairs as i16;
            subprog.fast_call_stack = subprog.fast_call_stack.min(first);
        }
    }
}

/// The registers that a helper leaves alone if it keeps to the contract.
fn preserved(proto: &HelperProto) -> RegSet {
    let mut clobbered = RegSet::NONE;
    if proto.ret != Ret::Void {
        clobbered = clobbered.with(0);
    }
    for (number, arg) in (1..).zip(&proto.args) {
        if *arg != Arg::None {
            clobbered = clobbered.with(number);
        }
    }
    RegSet(CALLER_SAVED.0 & !clobbered.0)
}

/// The register and offset of a spill to this frame's stack.
fn spill(code: &Code, pc: Pc) -> Option<(Reg, i16)> {
    match *code.get(pc)? {
        Insn::Store { size: Size::Dw, base: Reg::R10, offset, src: Operand::Reg(reg) } => {
            Some((reg, offset))
        }
        _ => None,
    }
}

/// The register and offset of a fill from this frame's stack.
fn fill(code: &Code, pc: Pc) -> Option<(Reg, i16)> {
    match *code.get(pc)? {
        Insn::Load { size: Size::Dw, base: Reg::R10, offset, dst } => Some((dst, offset)),
        _ => None,
    }
}

struct Call<'a> {
    code: &'a Code,
    /// Whether a jump leads to the slot.
    is_target: &'a [bool],
    pc: Pc,
    lowest: i16,
}

impl Call<'_> {
    /// The number of pairs around the call that save `preserved` registers, each in its own slot
    /// from the lowest up, the innermost lowest.
    fn pairs(&self, mut preserved: RegSet) -> u32 {
        for distance in 1..=MAX_PAIRS {
            let Some(before) = self.pc.0.checked_sub(distance).map(Pc) else { return distance - 1 };
            let after = Pc(self.pc.0 + distance);
            // A jump to the first spill is fine, one into the pattern is not.
            let is_entered = [before.index() + 1, after.index()]
                .iter()
                .any(|slot| self.is_target.get(*slot).is_some_and(|is_target| *is_target));
            let offset = self.lowest + 8 * (distance as i16 - 1);
            let pair = spill(self.code, before).zip(fill(self.code, after));
            let fits = pair.is_some_and(|(spilled, filled)| {
                spilled == filled && spilled.1 == offset && preserved.has(spilled.0.index())
            });
            if is_entered || !fits {
                return distance - 1;
            }
            if let Some(((reg, _), _)) = pair {
                preserved = RegSet(preserved.0 & !(1 << reg.index()));
            }
        }
        MAX_PAIRS
    }
}
