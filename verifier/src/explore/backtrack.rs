//! One instruction backwards: which registers and slots before it made those that matter after it.

use super::history::{HistoryEntry, LinkedValue};
use crate::state::MAX_FRAMES;
use crate::subject::Subject;
use ebpfvm_asm::{AluOp, CallTarget, Insn, Operand, Pc, Reg};
use std::fmt;

/// Registers that hold arguments.
const ARGUMENTS: u16 = 0b11_1110;

/// The registers and slots of each frame whose exact values matter (`struct backtrack_state`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    /// The frame that runs at the instruction that was looked at last.
    pub(super) frame: usize,
    /// By frame, a bit a register.
    pub(super) regs: [u16; MAX_FRAMES],
    /// By frame, a bit a slot.
    pub(super) slots: [u64; MAX_FRAMES],
}

/// What going back over an instruction cannot tell: then all numbers are taken to matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lost;

impl Wanted {
    /// Whether nothing is wanted any more.
    pub(super) fn is_empty(&self) -> bool {
        // Nothing is wanted of frames above the one that runs: they are left only when empty.
        let frames = self.regs.iter().zip(&self.slots).take(self.frame + 1);
        frames.fold(0, |all, (regs, slots)| all | u64::from(*regs) | slots) == 0
    }

    fn has(&self, reg: Reg) -> bool {
        self.regs[self.frame] >> reg.index() & 1 == 1
    }

    fn want(&mut self, reg: Reg) {
        self.regs[self.frame] |= 1 << reg.index();
    }

    fn drop(&mut self, reg: Reg) {
        self.regs[self.frame] &= !(1 << reg.index());
    }

    fn want_operand(&mut self, src: Operand) {
        match src {
            Operand::Reg(reg) if reg != Reg::R10 => self.want(reg),
            _ => {}
        }
    }

    fn has_arguments(&self) -> bool {
        self.regs[self.frame] & ARGUMENTS != 0
    }

    fn enter(&mut self) -> Result<(), Lost> {
        if self.frame + 1 == MAX_FRAMES {
            return Err(Lost);
        }
        self.frame += 1;
        Ok(())
    }

    fn leave(&mut self) -> Result<(), Lost> {
        self.frame = self.frame.checked_sub(1).ok_or(Lost)?;
        Ok(())
    }

    fn has_linked(&self, place: LinkedValue) -> bool {
        match place {
            LinkedValue::Reg { frame, reg } => self.regs[frame as usize] >> reg & 1 == 1,
            LinkedValue::Slot { frame, slot } => self.slots[frame as usize] >> slot & 1 == 1,
        }
    }

    /// If one of the numbers that were refined together is wanted, all are (`bt_sync_linked_regs`).
    fn spread(&mut self, entry: Option<&HistoryEntry>) {
        let Some(entry) = entry else { return };
        if entry.linked.is_empty() || !entry.linked.iter().any(|place| self.has_linked(*place)) {
            return;
        }
        for place in entry.linked.iter() {
            match *place {
                LinkedValue::Reg { frame, reg } => self.regs[frame as usize] |= 1 << reg,
                LinkedValue::Slot { frame, slot } => self.slots[frame as usize] |= 1 << slot,
            }
        }
    }

    /// A value came from the slot that the instruction read, if it read a slot whole.
    fn want_slot(&mut self, entry: Option<&HistoryEntry>) {
        // What is loaded from elsewhere has no history.
        if let Some(access) = entry.and_then(|entry| entry.stack) {
            self.slots[access.frame as usize] |= 1 << access.slot;
        }
    }

    /// The slot that the instruction wrote need not be wanted further back. Tells whether it was.
    fn drop_slot(&mut self, entry: Option<&HistoryEntry>) -> bool {
        let Some(access) = entry.and_then(|entry| entry.stack) else { return false };
        let slots = &mut self.slots[access.frame as usize];
        let bit = 1 << access.slot;
        let had = *slots & bit != 0;
        *slots &= !bit;
        had
    }

    /// Goes back over the instruction at `pc` (`backtrack_insn`).
    ///
    /// `next` is the instruction that was followed after it, and `entry` what was remembered of it.
    ///
    /// # Errors
    /// If that cannot be told.
    pub(super) fn back_over(
        &mut self,
        subject: &Subject<'_>,
        pc: Pc,
        next: Option<Pc>,
        entry: Option<&HistoryEntry>,
    ) -> Result<(), Lost> {
        // The second half of a wide instruction is met on the way back.
        let Some(insn) = subject.program.code.get(pc) else { return Ok(()) };
        self.spread(entry);
        match *insn {
            Insn::Alu { op: AluOp::Mov, dst, src, .. } => {
                if !self.has(dst) {
                    return Ok(());
                }
                self.drop(dst);
                self.want_operand(src);
            }
            Insn::Movsx { dst, src, .. } | Insn::AddrSpaceCast { dst, src, .. } => {
                if !self.has(dst) {
                    return Ok(());
                }
                self.drop(dst);
                self.want_operand(Operand::Reg(src));
            }
            Insn::Alu { dst, src, .. } => {
                if !self.has(dst) {
                    return Ok(());
                }
                self.want_operand(src);
            }
            Insn::Neg { .. } | Insn::Endian { .. } => return Ok(()),
            Insn::LoadImm { dst, .. } => {
                self.drop(dst);
                return Ok(());
            }
            Insn::Load { dst, .. } | Insn::LoadSx { dst, .. } | Insn::LoadAcquire { dst, .. } => {
                if !self.has(dst) {
                    return Ok(());
                }
                self.drop(dst);
                self.want_slot(entry);
            }
            Insn::Atomic { op, base, src, .. } => match op.fetches_into(src) {
                Some(into) => {
                    if !self.has(into) {
                        return Ok(());
                    }
                    self.drop(into);
                    self.want_slot(entry);
                }
                None => self.back_over_store(base, Some(src), entry)?,
            },
            Insn::Store { base, src, .. } => {
                let src = if let Operand::Reg(src) = src { Some(src) } else { None };
                self.back_over_store(base, src, entry)?;
            }
            Insn::StoreRelease { base, src, .. } => {
                self.back_over_store(base, Some(src), entry)?;
            }
            Insn::LoadAbs { .. } | Insn::LoadInd { .. } => {
                if self.has(Reg::R0) {
                    return Err(Lost);
                }
                if next.is_some_and(|next| next.0 != pc.0 + 1) {
                    // The way on which it returned from its function.
                    self.enter()?;
                }
                return Ok(());
            }
            Insn::Call { target } => return self.back_over_call(subject, pc, next, target, entry),
            Insn::Exit => return self.back_over_exit(subject, next),
            Insn::JumpIf { dst, src: Operand::Reg(src), .. } => {
                if !self.has(dst) && !self.has(src) {
                    return Ok(());
                }
                // Both sides are needed for what the comparison told of one of them.
                let (dst_is_stack, src_is_stack) =
                    entry.map_or((false, false), |entry| entry.compares_stack);
                if !src_is_stack {
                    self.want(src);
                }
                if !dst_is_stack {
                    self.want(dst);
                }
            }
            Insn::JumpIf { .. } | Insn::Jump { .. } | Insn::MayGoto { .. } => {}
        }
        self.spread(entry);
        Ok(())
    }

    fn back_over_store(
        &mut self,
        base: Reg,
        src: Option<Reg>,
        entry: Option<&HistoryEntry>,
    ) -> Result<(), Lost> {
        if self.has(base) {
            // A number was the address: the difference of two pointers came here.
            return Err(Lost);
        }
        if self.drop_slot(entry)
            && let Some(src) = src
        {
            self.want(src);
        }
        Ok(())
    }

    fn back_over_call(
        &mut self,
        subject: &Subject<'_>,
        pc: Pc,
        next: Option<Pc>,
        target: CallTarget,
        entry: Option<&HistoryEntry>,
    ) -> Result<(), Lost> {
        let came_back = next.is_some_and(|next| next.0 == pc.0 + 1);
        if let CallTarget::Local { offset } = target {
            let callee = pc.jump(offset).and_then(|start| subject.structure.subprog_at(start));
            let callee = callee.ok_or(Lost)?;
            if subject.structure.subprog(callee).is_global {
                if !came_back || self.has_arguments() {
                    return Err(Lost);
                }
                self.drop(Reg::R0);
                return Ok(());
            }
            // The beginning of the callee was left: only arguments can be wanted of its frame.
            let args = self.leave_callee(self.regs[self.frame] & ARGUMENTS)?;
            self.regs[self.frame] |= args;
            return Ok(());
        }
        if subject.structure.at(pc).calls_callback && !came_back {
            // The beginning of a callback: its arguments are the helper's.
            self.leave_callee(self.regs[self.frame] & ARGUMENTS)?;
            return Ok(());
        }
        self.drop(Reg::R0);
        if self.has_arguments() {
            return Err(Lost);
        }
        if !came_back {
            // A tail call in a function: on success the function returns to its caller.
            self.enter()?;
        }
        self.spread(entry);
        Ok(())
    }

    /// Goes from a callee to the frame that called it; gives `args`, which the callee wants no more.
    fn leave_callee(&mut self, args: u16) -> Result<u16, Lost> {
        if self.regs[self.frame] != args || self.slots[self.frame] != 0 {
            return Err(Lost);
        }
        self.regs[self.frame] = 0;
        self.leave()?;
        Ok(args)
    }

    fn back_over_exit(&mut self, subject: &Subject<'_>, next: Option<Pc>) -> Result<(), Lost> {
        // Functions return behind their call, callbacks to the call of the helper itself.
        let before = next.and_then(|next| next.0.checked_sub(1));
        let before = before.and_then(|pc| subject.program.code.get(Pc(pc)));
        let is_call = matches!(before, Some(Insn::Call { target: CallTarget::Local { .. } }));
        if is_call && self.has_arguments() {
            return Err(Lost);
        }
        let result = is_call && self.has(Reg::R0);
        self.drop(Reg::R0);
        self.enter()?;
        if result {
            self.want(Reg::R0);
        }
        Ok(())
    }
}

/// Registers as the log writes them: `r0,r2` (`bpf_fmt_reg_mask`).
pub(super) struct RegMask(pub(super) u16);

impl fmt::Display for RegMask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let set = (0..u16::BITS).filter(|bit| self.0 >> bit & 1 == 1);
        for (count, reg) in set.enumerate() {
            write!(f, "{}r{reg}", if count == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

/// Slots as the log writes them: `-8,-24` (`bpf_fmt_stack_mask`).
pub(super) struct SlotMask(pub(super) u64);

impl fmt::Display for SlotMask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let set = (0..u64::BITS as i32).filter(|bit| self.0 >> bit & 1 == 1);
        for (count, slot) in set.enumerate() {
            write!(f, "{}{}", if count == 0 { "" } else { "," }, -8 * (slot + 1))?;
        }
        Ok(())
    }
}
