//! Calls: of the machine, of its data, of functions of the program.

use super::basic::{Arith, Shift, Src};
use super::masm::{Aside, X64};
use super::regs::{FUEL, Gpr, Mem, R8, R10, R11, RAX, RBP, RCX, RDI, RDX, RSI, RSP, STATE};
use crate::ir::{Check, Reg, RegSet};
use crate::link::{Answer, Array, Callee, Lookup, Trusting};
use crate::masm::{Label, Site};
use crate::plan::Frame;
use crate::state::{FRAME_BYTES, Region, State};
use dynasmrt::dynasm;
use ebpfvm_asm::Width::{W32, W64};
use ebpfvm_asm::{Pc, Size};
use std::mem::offset_of;

/// The registers of the arguments.
const ARGS: [Gpr; 5] = [RDI, RSI, RDX, RCX, R8];

/// A lookup that the helper does, because something is not as was likely.
#[derive(Clone, Copy, Debug)]
pub(super) struct Elsewhere {
    from: Label,
    back: Label,
    pub(super) pc: Pc,
    frame: u32,
    site: u32,
}

impl X64<'_> {
    pub(super) fn call(&mut self, callee: Callee, site: Site<'_>) {
        let runtime = self.plan.runtime;
        match callee {
            Callee::Helper { site: number, .. }
            | Callee::Trusting(Trusting { site: number, .. }) => {
                self.call_helper(number, site.pc, site.frame);
            }
            Callee::TailCall { site: number, .. } => {
                self.set_site(number);
                self.call_answering(runtime.tail_call, site.pc, site.frame);
            }
            Callee::ByNumber { register } => {
                let number = Mem::state(offset_of!(State, number));
                self.store(Size::Dw, number, register.into());
                self.call_answering(runtime.by_number, site.pc, site.frame);
            }
            Callee::Direct { address, .. } => {
                self.save_args();
                self.call_machine_metered(address);
                self.restore_args();
            }
            Callee::Array(array) => self.element(array),
            Callee::Cpu => self.load_zero(Size::W, RAX, Mem::state(offset_of!(State, cpu))),
            Callee::Table { address, table } => {
                self.save_args();
                self.set(RDI, table as u64);
                self.call_machine_metered(address);
                self.restore_args();
            }
            Callee::Lookup(lookup) => self.look_up_checked(&lookup, site),
        }
    }

    /// A lookup where `r1` and the key are compared first, or known.
    fn look_up_checked(&mut self, lookup: &Lookup, site: Site<'_>) {
        let (from, back) = (self.new_label(), self.new_label());
        if !lookup.is_map_known {
            self.set(R10, lookup.map);
            self.arith(Arith::Cmp, W64, RDI, Src::Reg(R10));
            self.jump_if(0x5, from);
        }
        if lookup.key != Check::None {
            self.mov(W64, R11, RSI);
            self.compare_region(lookup.key, lookup.key_bytes, false, site.frame, from);
        }
        self.call(lookup.way.into(), site);
        self.bind_here(back);
        if !lookup.is_map_known || lookup.key != Check::None {
            let (pc, frame) = (site.pc, site.frame.number);
            let elsewhere = Elsewhere { from, back, pc, frame, site: lookup.site };
            self.aside.push(Aside::Lookup(elsewhere));
        }
    }

    /// What the helper does with another map, or a key from elsewhere.
    pub(super) fn look_up_elsewhere(&mut self, lookup: Elsewhere) {
        let frame = &self.plan.frames[lookup.frame as usize];
        self.bind_here(lookup.from);
        self.call_helper(lookup.site, lookup.pc, frame);
        self.jump_to(lookup.back);
    }

    fn call_helper(&mut self, number: u32, pc: Pc, frame: &Frame) {
        self.set_site(number);
        self.call_answering(self.plan.runtime.helper, pc, frame);
    }

    fn set_site(&mut self, number: u32) {
        self.store_imm(Size::W, Mem::state(offset_of!(State, site)), number as i32);
    }

    /// Calls a function of the machine that takes the five arguments and gives an [`Answer`].
    fn call_answering(&mut self, address: usize, pc: Pc, frame: &Frame) {
        self.write_pc(pc);
        self.save_args();
        if self.plan.is_metered {
            self.store_fuel();
        }
        self.mov(W64, FUEL, STATE);
        self.call_machine(address);
        self.take_answer(frame);
    }

    /// Goes on, or leaves the function or the run, as the machine has answered.
    fn take_answer(&mut self, frame: &Frame) {
        let is_checked = self.plan.is_checked;
        let way = if is_checked { R10 } else { RDX };
        self.mov(W64, way, RDX);
        self.restore_args();
        if self.plan.is_metered {
            self.load_fuel();
        }
        self.test(W64, way, Src::Reg(way));
        let number = frame.number as usize;
        let from = match self.answers[number] {
            Some(label) => label,
            None => {
                let from = self.new_label();
                self.answers[number] = Some(from);
                self.aside.push(Aside::Answer { from, way, frame: frame.number });
                from
            }
        };
        self.jump_if(0x5, from);
    }

    /// Where the machine does not want the program to go on.
    pub(super) fn answer(&mut self, from: Label, way: Gpr, frame: u32) {
        self.bind_here(from);
        self.arith(Arith::Cmp, W32, way, Src::Imm(Answer::STOP as i32));
        let stopped = self.stop_label(State::STOPPED);
        self.jump_if(0x4, stopped);
        let frame = &self.plan.frames[frame as usize];
        self.end_function(frame);
    }

    pub(super) fn packet(&mut self, size: Size, index: Option<Reg>, offset: i32, site: Site<'_>) {
        self.write_pc(site.pc);
        self.save_args();
        if self.plan.is_metered {
            self.store_fuel();
        }
        match index {
            Some(index) if self.plan.is_blinded => {
                self.mov(W32, R10, Gpr::from(index));
                let offset = self.operand(W32, Src::Imm(offset));
                self.arith(Arith::Add, W32, R10, offset);
                self.mov(W32, RDI, R10);
            }
            Some(index) => self.lea(W32, RDI, Mem::new(index.into(), offset)),
            None => self.constant(RDI, u64::from(offset as u32)),
        }
        self.set(RSI, size.bytes().into());
        self.mov(W64, RDX, STATE);
        self.call_machine(self.plan.runtime.packet);
        self.take_answer(site.frame);
    }

    /// What arguments are does not change by a call, where nobody has verified that it is not read.
    fn save_args(&mut self) {
        if self.plan.is_checked {
            ARGS.into_iter().for_each(|reg| self.push(reg));
            self.arith(Arith::Sub, W64, RSP, Src::Imm(8));
        }
    }

    fn restore_args(&mut self) {
        if self.plan.is_checked {
            self.arith(Arith::Add, W64, RSP, Src::Imm(8));
            ARGS.into_iter().rev().for_each(|reg| self.pop(reg));
        }
    }

    pub(super) fn call_machine(&mut self, address: usize) {
        self.set(R10, address as u64);
        dynasm!(self.code ; .arch x64 ; call r10);
    }

    /// Calls a function that knows nothing of the run.
    fn call_machine_metered(&mut self, address: usize) {
        if self.plan.is_metered {
            self.store_fuel();
        }
        self.call_machine(address);
        if self.plan.is_metered {
            self.load_fuel();
        }
    }

    /// The address of the element whose number is at r2, or 0.
    fn element(&mut self, array: Array) {
        let none = self.new_label();
        self.load_zero(Size::W, R10, Mem::new(RSI, 0));
        self.set(RAX, 0);
        self.arith(Arith::Cmp, W32, R10, Src::Imm(array.entries as i32));
        self.jump_if(0x3, none);
        let shift = array.stride.trailing_zeros() as u8;
        if array.stride.is_power_of_two() && shift <= 3 {
            self.set(RAX, array.base);
            self.lea(W64, RAX, Mem { base: RAX, index: Some((R10, shift)), offset: 0 });
        } else {
            self.scale(R10, array.stride.into());
            self.set(RAX, array.base);
            self.arith(Arith::Add, W64, RAX, Src::Reg(R10));
        }
        if array.lane_bytes != 0 {
            self.load_zero(Size::W, R10, Mem::state(offset_of!(State, cpu)));
            self.scale(R10, array.lane_bytes);
            self.arith(Arith::Add, W64, RAX, Src::Reg(R10));
        }
        self.bind_here(none);
    }

    /// `reg *= factor`
    fn scale(&mut self, reg: Gpr, factor: u64) {
        match i32::try_from(factor) {
            _ if factor.is_power_of_two() => {
                let shift = factor.trailing_zeros() as u8;
                self.shift_imm(Shift::Left, W64, reg, shift);
            }
            Ok(factor) => self.mul(W64, reg, reg, factor),
            Err(_) => {
                self.set(R11, factor);
                self.code.op(super::encode::Opcode::two(0xaf).wide(), reg.0, R11);
            }
        }
    }

    pub(super) fn call_function(&mut self, number: u32, site: Site<'_>) {
        let plan = self.plan;
        let function = &plan.functions[number as usize];
        if plan.tracks_frames {
            self.count_frame(site.pc, function.stack_bytes);
        }
        if plan.is_metered {
            self.pay(function.cost);
            let stop = self.stop_at(function.start, State::OUT_OF_FUEL);
            self.jump_if(0x8, stop);
        }
        let moves_frame = plan.keeps(Reg::FP);
        if moves_frame {
            self.lea(W64, RBP, Mem::new(RBP, -(FRAME_BYTES as i32)));
        }
        self.call_label(Label(plan.block_count() as u32 + number));
        if moves_frame {
            self.lea(W64, RBP, Mem::new(RBP, FRAME_BYTES as i32));
        }
        if plan.tracks_frames {
            let depth = Mem::state(offset_of!(State, depth));
            self.arith_mem_imm(Arith::Sub, Size::W, depth, 1);
        }
        if plan.is_checked {
            // It may have been the frame that is gone.
            for field in [offset_of!(Region, read_bytes), offset_of!(Region, write_bytes)] {
                self.store_imm(Size::Dw, Mem::state(offset_of!(State, last) + field), 0);
            }
        }
    }
}

/// What a C function of the machine may overwrite beside the registers of the program.
const _: () = assert!(RegSet::CALL.has(Reg::SPARE));
const _: () = assert!(RAX.0 == 0 && RDX.0 == 2 && RCX.0 == 1);
