//! Accesses of programs that nobody has verified: their address is compared with the region that is
//! likely, and looked for by the machine if that does not have it.

use super::basic::{Arith, Src};
use super::masm::{Aside, X64};
use super::memory::LoadAs;
use super::regs::{FUEL, Gpr, Mem, R8, R10, R11, RAX, RBP, RCX, RDI, RDX, RSI, STATE};
use crate::ir::{Address, Check, Fill, Guard, Operand};
use crate::link::access;
use crate::masm::{Label, Site};
use crate::plan::Frame;
use crate::state::{Region, State};
use ebpfvm_asm::Width::W64;
use ebpfvm_asm::{Pc, Size};
use std::mem::offset_of;

/// An access whose address the likely region does not have.
#[derive(Clone, Copy, Debug)]
pub(super) struct Search {
    from: Label,
    pc: Pc,
    at: Address,
    access: u64,
    does: Does,
}

/// What is done with the address that was found.
#[derive(Clone, Copy, Debug)]
enum Does {
    /// The access goes on with it, from here, in r10.
    GoesOn(Label),
    /// A store that may be one to the context: it is done here, and goes on after the access.
    Store { size: Size, swap: bool, src: Operand, after: Label },
    /// A load that may be one of the context: it is done here, and goes on after the access.
    Load { load: LoadAs, dst: Gpr, after: Label },
}

/// What a checked program may see of the registers that C functions overwrite, and the fuel.
const SEEN: [Gpr; 7] = [RAX, RDI, RSI, RDX, RCX, R8, FUEL];

impl Search {
    pub(super) fn pc(&self) -> Pc {
        self.pc
    }
}

impl X64<'_> {
    /// The place of an access that the program may make there, or the run stops. It is r10 if it is
    /// checked.
    pub(super) fn checked(
        &mut self,
        check: Check,
        at: Address,
        size: Size,
        writes: bool,
        site: Site<'_>,
    ) -> Mem {
        let does = Does::GoesOn(self.new_label());
        self.checked_then(check, at, access(size.bytes(), writes, true), site, does)
    }

    fn checked_then(
        &mut self,
        check: Check,
        at: Address,
        access: u64,
        site: Site<'_>,
        does: Does,
    ) -> Mem {
        if check == Check::None {
            return at.into();
        }
        let from = self.new_label();
        let (bytes, writes) = (access as u16, access >> 16 & 1 != 0);
        match does {
            Does::GoesOn(_) => {
                self.lea(W64, R10, at.into());
                self.mov(W64, R11, R10);
            }
            _ => self.lea(W64, R11, at.into()),
        }
        self.compare_region(check, u32::from(bytes), writes, site.frame, from);
        self.aside.push(Aside::Search(Search { from, pc: site.pc, at, access, does }));
        match does {
            Does::GoesOn(back) => {
                self.bind_here(back);
                Mem::new(R10, 0)
            }
            _ => at.into(),
        }
    }

    /// Goes to a place unless the region has so many bytes at the address in r11, which is overwritten.
    pub(super) fn compare_region(
        &mut self,
        check: Check,
        bytes: u32,
        writes: bool,
        frame: &Frame,
        otherwise: Label,
    ) {
        let region = match check {
            Check::None => return,
            Check::Frame => {
                let Some(room) = frame.stack_bytes.checked_sub(bytes) else {
                    return self.jump_to(otherwise);
                };
                self.arith(Arith::Sub, W64, R11, Src::Reg(RBP));
                self.arith(Arith::Add, W64, R11, Src::Imm(frame.stack_bytes as i32));
                self.arith(Arith::Cmp, W64, R11, Src::Imm(room as i32));
                return self.jump_if(0x7, otherwise);
            }
            Check::Window => offset_of!(State, window),
            Check::Last | Check::Context { .. } => offset_of!(State, last),
        };
        let length = match writes {
            true => offset_of!(Region, write_bytes),
            false => offset_of!(Region, read_bytes),
        };
        let base = Mem::state(region + offset_of!(Region, base));
        self.arith(Arith::Sub, W64, R11, Src::Mem(base));
        self.add_for_carry(R11, bytes as i32);
        // An address just below the region wraps around.
        self.jump_if(0x2, otherwise);
        self.arith(Arith::Cmp, W64, R11, Src::Mem(Mem::state(region + length)));
        self.jump_if(0x7, otherwise);
    }

    pub(super) fn compare_guard(&mut self, guard: &Guard, frame: &Frame, otherwise: Label) {
        self.lea(W64, R11, guard.at.into());
        self.compare_region(guard.check, guard.bytes, guard.writes, frame, otherwise);
    }

    /// A load that goes to the context if its base is the context.
    pub(super) fn load_context(
        &mut self,
        load: LoadAs,
        (offset, size): (u16, Size),
        dst: Gpr,
        at: Address,
        site: Site<'_>,
    ) {
        let (other, after) = (self.new_label(), self.new_label());
        let base = Gpr::from(at.base);
        self.arith(Arith::Cmp, W64, base, Src::Mem(Mem::state(offset_of!(State, context))));
        self.jump_if(0x5, other);
        self.load_zero(size, dst, Mem::new(base, offset.into()));
        if let Fill::Sign(_) = load.fill {
            self.extend(load.size, load.fill, dst, dst);
        }
        self.bind_here(after);
        let does = Does::Load { load, dst, after };
        let access = access(load.size.bytes(), false, false);
        self.aside.push(Aside::Search(Search { from: other, pc: site.pc, at, access, does }));
    }

    /// A load that may be one of the context, as far as the machine knows.
    pub(super) fn load_anywhere(
        &mut self,
        load: LoadAs,
        check: Check,
        dst: Gpr,
        at: Address,
        site: Site<'_>,
    ) {
        let after = self.new_label();
        let access = access(load.size.bytes(), false, false);
        let does = Does::Load { load, dst, after };
        let at = self.checked_then(check, at, access, site, does);
        self.load_as(load, dst, at);
        self.bind_here(after);
    }

    pub(super) fn store_anywhere(
        &mut self,
        (size, swap): (Size, bool),
        check: Check,
        src: Operand,
        at: Address,
        site: Site<'_>,
    ) {
        let after = self.new_label();
        if let Check::Context { offset, size: host } = check {
            return self.store_context((size, swap), (offset, host), src, at, site, after);
        }
        let access = access(size.bytes(), true, false);
        let does = Does::Store { size, swap, src, after };
        let at = self.checked_then(check, at, access, site, does);
        self.store_as(size, swap, at, src);
        self.bind_here(after);
    }

    /// A store that goes to the context if its base is the context.
    fn store_context(
        &mut self,
        (size, swap): (Size, bool),
        (offset, host): (u16, Size),
        src: Operand,
        at: Address,
        site: Site<'_>,
        after: Label,
    ) {
        let other = self.new_label();
        let base = Gpr::from(at.base);
        self.arith(Arith::Cmp, W64, base, Src::Mem(Mem::state(offset_of!(State, context))));
        self.jump_if(0x5, other);
        self.extended(size, swap, src);
        self.store(host, Mem::new(base, offset.into()), R11);
        self.bind_here(after);
        let access = access(size.bytes(), true, false);
        let does = Does::Store { size, swap, src, after };
        self.aside.push(Aside::Search(Search { from: other, pc: site.pc, at, access, does }));
    }

    /// What a store stores, filled up with zeros, into r11.
    fn extended(&mut self, size: Size, swap: bool, src: Operand) {
        self.mov_src(W64, R11, src.into());
        match swap {
            true => self.swap(size, R11, R11),
            false => self.extend(size, Fill::Zero, R11, R11),
        }
    }

    /// Looks for the memory, and goes back.
    pub(super) fn search(&mut self, search: &Search) {
        let Search { from, pc, at, access, does } = *search;
        self.bind_here(from);
        if !matches!(does, Does::GoesOn(_)) {
            self.lea(W64, R10, at.into());
        }
        self.store_imm(Size::W, Mem::state(offset_of!(State, pc)), pc.0 as i32);
        self.set(R11, access);
        let find = self.find();
        self.call_label(find);
        match does {
            Does::GoesOn(back) => self.jump_to(back),
            Does::Load { load, dst, after } => {
                let (cell, plain) = (Mem::state(offset_of!(State, cell)), self.new_label());
                self.lea(W64, R11, cell);
                self.arith(Arith::Cmp, W64, R10, Src::Reg(R11));
                self.jump_if(0x5, plain);
                // What the context gives may have more bytes than the access: a pointer.
                self.load_zero(Size::Dw, dst, cell);
                match load.swap {
                    true => self.swap(load.size, dst, dst),
                    false if load.fill == Fill::Zero => {}
                    false => self.extend(load.size, load.fill, dst, dst),
                }
                self.jump_to(after);
                self.bind_here(plain);
                self.load_as(load, dst, Mem::new(R10, 0));
                self.jump_to(after);
            }
            Does::Store { size, swap, src, after } => {
                let (cell, plain) = (Mem::state(offset_of!(State, cell)), self.new_label());
                self.lea(W64, R11, cell);
                self.arith(Arith::Cmp, W64, R10, Src::Reg(R11));
                self.jump_if(0x5, plain);
                self.store_as(size, swap, cell, src);
                let commit = self.commit();
                self.call_label(commit);
                self.jump_to(after);
                self.bind_here(plain);
                self.store_as(size, swap, Mem::new(R10, 0), src);
                self.jump_to(after);
            }
        }
    }

    /// Returns to who looks for memory if a region that the run has at hand has it: the one compared
    /// before was only the likely one. Address and access stay in r10 and r11.
    fn search_known(&mut self) {
        let (hit, writes, missed) = (self.new_label(), self.new_label(), self.new_label());
        [RAX, RCX].into_iter().for_each(|reg| self.push(reg));
        // The current frame, whose size the run knows.
        self.load_zero(Size::W, RAX, Mem::state(offset_of!(State, depth)));
        let frame = Mem { index: Some((RAX, 2)), ..Mem::state(offset_of!(State, frame_bytes)) };
        self.load_zero(Size::W, RCX, frame);
        self.mov(W64, RAX, R10);
        self.arith(Arith::Sub, W64, RAX, Src::Reg(RBP));
        self.arith(Arith::Add, W64, RAX, Src::Reg(RCX));
        // In the frame: 0 <= rax and rax + bytes <= rcx. Frames are small, so nothing overflows here.
        self.arith(Arith::Cmp, W64, RAX, Src::Reg(RCX));
        let outside = self.new_label();
        self.jump_if(0x7, outside);
        self.arith(Arith::Sub, W64, RCX, Src::Reg(RAX));
        self.extend(Size::H, Fill::Zero, RAX, R11);
        self.arith(Arith::Cmp, W64, RCX, Src::Reg(RAX));
        self.jump_if(0x3, hit);
        self.bind_here(outside);
        self.extend(Size::H, Fill::Zero, RCX, R11);
        // bt r11d, 16
        [0x41, 0x0f, 0xba, 0xe3, 16].into_iter().for_each(|byte| self.code.byte(byte));
        self.jump_if(0x2, writes);
        for length in [offset_of!(Region, read_bytes), offset_of!(Region, write_bytes)] {
            for region in [offset_of!(State, window), offset_of!(State, last)] {
                let next = self.new_label();
                self.mov(W64, RAX, R10);
                let base = Mem::state(region + offset_of!(Region, base));
                self.arith(Arith::Sub, W64, RAX, Src::Mem(base));
                self.arith(Arith::Add, W64, RAX, Src::Reg(RCX));
                self.jump_if(0x2, next);
                self.arith(Arith::Cmp, W64, RAX, Src::Mem(Mem::state(region + length)));
                self.jump_if(0x6, hit);
                self.bind_here(next);
            }
            if length == offset_of!(Region, read_bytes) {
                self.jump_to(missed);
                self.bind_here(writes);
            }
        }
        self.jump_to(missed);
        self.bind_here(hit);
        [RCX, RAX].into_iter().for_each(|reg| self.pop(reg));
        self.code.byte(0xc3);
        self.bind_here(missed);
        [RCX, RAX].into_iter().for_each(|reg| self.pop(reg));
    }

    /// The place that a function of the machine says to stop at, if it gives 0.
    pub(super) fn runtime_thunk(&mut self, address: usize, finds: bool) {
        if finds {
            self.search_known();
        }
        SEEN.into_iter().for_each(|reg| self.push(reg));
        if finds {
            self.mov(W64, RDI, R10);
            self.mov(W64, RSI, R11);
            self.mov(W64, RDX, STATE);
        } else {
            self.mov(W64, RDI, STATE);
        }
        self.call_machine(address);
        self.mov(W64, R10, RAX);
        SEEN.into_iter().rev().for_each(|reg| self.pop(reg));
        self.test(W64, R10, Src::Reg(R10));
        let stopped = self.stop_label(State::STOPPED);
        self.jump_if(0x4, stopped);
        self.code.byte(0xc3);
    }
}
