//! The ways in and out: how the machine enters code, what functions keep, how a run stops.
//!
//! The machine enters a program as `extern "C" fn(r1, r2, r3, r4, r5, state) -> r0`. The registers that
//! C functions keep are saved once, there; where the stack then is, is written to
//! [`State::unwind`], and a run that stops goes back to it from any depth.

use super::basic::{Arith, Src};
use super::masm::{Aside, X64};
use super::regs::{FUEL, Gpr, Mem, R10, RAX, RBP, RSP, STATE};
use crate::ir::{Reg, RegSet};
use crate::masm::Label;
use crate::plan::Frame;
use crate::state::State;
use dynasmrt::{DynasmApi, dynasm};
use ebpfvm_asm::Width::{W32, W64};
use ebpfvm_asm::{Pc, Size};
use std::mem::offset_of;

impl X64<'_> {
    /// The registers that are saved where the machine enters.
    fn saved(&self) -> impl DoubleEndedIterator<Item = Gpr> + use<> {
        let (kept, needs_state) = (self.plan.kept, self.plan.needs_state);
        let kept = (6..=10).map(Reg::new).filter(move |reg| kept.has(*reg)).map(Gpr::from);
        kept.chain(needs_state.then_some(STATE))
    }

    fn is_in_line(&self, frame: &Frame) -> bool {
        frame.number == 0 && self.plan.enters_in_line
    }

    /// Bytes of the stack below the saved registers: to align it, and with the rounds of a `may_goto`.
    fn room_bytes(&self, frame: &Frame) -> (i32, bool) {
        let saved = match self.is_in_line(frame) {
            true => self.saved().count(),
            false => frame.kept.iter().count(),
        };
        let words = 1 + saved + usize::from(frame.counts_rounds);
        let aligns = frame.calls && !words.is_multiple_of(2);
        (8 * (i32::from(aligns) + i32::from(frame.counts_rounds)), aligns)
    }

    pub(super) fn enter_from_machine(&mut self, frame: &Frame, function: Label) {
        self.saved().for_each(|reg| self.push(reg));
        let plan = self.plan;
        if plan.keeps(Reg::FP) {
            // The state is still where it came in.
            self.load_zero(Size::Dw, RBP, Mem::new(FUEL, offset_of!(State, frame_top) as i32));
        }
        if plan.needs_state {
            self.mov(W64, STATE, FUEL);
        }
        if plan.stops {
            self.store(Size::Dw, Mem::state(offset_of!(State, unwind)), RSP);
            self.store_imm(Size::W, Mem::state(offset_of!(State, stop)), State::RETURNED as i32);
        }
        if plan.tracks_frames {
            self.load_zero(Size::W, R10, Mem::state(offset_of!(State, depth)));
            self.set_frame_bytes(frame.stack_bytes);
        }
        if plan.is_metered {
            self.load_fuel();
        }
        if plan.is_checked {
            self.set(RAX, 0);
            let kept = RegSet(plan.kept.0 & RegSet::KEPT.0);
            kept.iter().for_each(|reg| self.set(reg.into(), 0));
        }
        if !self.is_in_line(frame) {
            let aligns = self.saved().count().is_multiple_of(2);
            if aligns {
                self.arith(Arith::Sub, W64, RSP, Src::Imm(8));
            }
            self.call_label(function);
            if aligns {
                self.arith(Arith::Add, W64, RSP, Src::Imm(8));
            }
            self.return_to_machine();
        }
    }

    /// The size of the frame whose number is in r10.
    pub(super) fn set_frame_bytes(&mut self, bytes: u32) {
        let offset = offset_of!(State, frame_bytes) as i32;
        let at = Mem { base: STATE, index: Some((R10, 2)), offset };
        self.store_imm(Size::W, at, bytes as i32);
    }

    pub(super) fn load_fuel(&mut self) {
        self.load_zero(Size::Dw, FUEL, Mem::state(offset_of!(State, fuel)));
    }

    pub(super) fn store_fuel(&mut self) {
        self.store(Size::Dw, Mem::state(offset_of!(State, fuel)), FUEL);
    }

    fn return_to_machine(&mut self) {
        if self.plan.is_metered {
            self.store_fuel();
        }
        self.saved().rev().for_each(|reg| self.pop(reg));
        self.code.byte(0xc3);
    }

    pub(super) fn begin_function(&mut self, frame: &Frame) {
        frame.kept.iter().for_each(|reg| self.push(reg.into()));
        if self.room_bytes(frame).1 {
            self.arith(Arith::Sub, W64, RSP, Src::Imm(8));
        }
        if frame.counts_rounds {
            let rounds = self.plan.rounds as i32;
            dynasm!(self.code ; .arch x64 ; push rounds);
        }
        self.zero_stack(frame.stack_bytes as i32);
    }

    pub(super) fn end_function(&mut self, frame: &Frame) {
        let (bytes, _) = self.room_bytes(frame);
        if bytes != 0 {
            self.arith(Arith::Add, W64, RSP, Src::Imm(bytes));
        }
        if self.is_in_line(frame) {
            return self.return_to_machine();
        }
        let kept: Vec<Reg> = frame.kept.iter().collect();
        kept.into_iter().rev().for_each(|reg| self.pop(reg.into()));
        self.code.byte(0xc3);
    }

    /// Goes to a place if there are no rounds left: once that is so it stays so.
    pub(super) fn count_one_round(&mut self, to: Label) {
        dynasm!(self.code ; .arch x64 ; dec QWORD [rsp]);
        self.jump_if(0x8, to);
    }

    /// Sets the lowest bytes of the frame to zero, a multiple of 8.
    fn zero_stack(&mut self, bytes: i32) {
        let vector = match bytes {
            ..16 => 8,
            32.. if self.features.avx => 32,
            _ => 16,
        };
        match vector {
            8 => {}
            16 => dynasm!(self.code ; .arch x64 ; xorps xmm0, xmm0),
            _ => dynasm!(self.code ; .arch x64 ; vxorps xmm0, xmm0, xmm0),
        }
        let mut done = 0;
        while done < bytes {
            // The last one may set some bytes again.
            let offset = (done - bytes).min(-vector);
            match vector {
                8 => self.store_imm(Size::Dw, Mem::new(RBP, offset), 0),
                16 if offset >= -128 => {
                    dynasm!(self.code ; .arch x64 ; movups [BYTE rbp + offset as i8], xmm0);
                }
                16 => dynasm!(self.code ; .arch x64 ; movups [rbp + offset], xmm0),
                _ if offset >= -128 => {
                    dynasm!(self.code ; .arch x64 ; vmovups [BYTE rbp + offset as i8], ymm0);
                }
                _ => dynasm!(self.code ; .arch x64 ; vmovups [rbp + offset], ymm0),
            }
            done += vector;
        }
    }

    /// A place that stops the run at an instruction.
    pub(super) fn stop_at(&mut self, pc: Pc, why: u32) -> Label {
        let from = self.new_label();
        self.aside.push(Aside::Stop { from, pc, why });
        from
    }

    pub(super) fn write_pc(&mut self, pc: Pc) {
        self.store_imm(Size::W, Mem::state(offset_of!(State, pc)), pc.0 as i32);
    }

    /// A place that stops the run; where the program is, is known.
    pub(super) fn stop_label(&mut self, why: u32) -> Label {
        match self.stops[why as usize] {
            Some(label) => label,
            None => {
                let label = self.new_label();
                self.stops[why as usize] = Some(label);
                label
            }
        }
    }

    /// The ways out of a run that stops.
    pub(super) fn write_stops(&mut self) {
        let unwind = self.new_label();
        for why in 0..self.stops.len() {
            if let Some(label) = self.stops[why] {
                self.bind_here(label);
                self.store_imm(Size::W, Mem::state(offset_of!(State, stop)), why as i32);
                self.jump_to(unwind);
            }
        }
        self.bind_here(unwind);
        if self.stops.iter().any(Option::is_some) {
            self.load_zero(Size::Dw, RSP, Mem::state(offset_of!(State, unwind)));
            self.return_to_machine();
        }
    }

    pub(super) fn pay(&mut self, cost: u32) {
        self.arith(Arith::Sub, W64, FUEL, Src::Imm(cost as i32));
    }

    /// The number of the next frame into r10, and into the state.
    pub(super) fn count_frame(&mut self, pc: Pc, stack_bytes: u32) {
        let depth = Mem::state(offset_of!(State, depth));
        self.load_zero(Size::W, R10, depth);
        self.arith(Arith::Add, W32, R10, Src::Imm(1));
        if self.plan.is_checked {
            self.arith(Arith::Cmp, W32, R10, Src::Imm(crate::state::MAX_FRAMES as i32));
            let stop = self.stop_at(pc, State::CALL_DEPTH);
            self.jump_if(0x3, stop);
        }
        self.store(Size::W, depth, R10);
        self.set_frame_bytes(stack_bytes);
    }
}
