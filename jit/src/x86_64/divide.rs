//! Division and modulo, and products of twice the width: what the processor does in rax and rdx.
//!
//! A division by zero gives 0 and its rest is the dividend; the smallest number by -1 gives itself,
//! rest 0 (RFC 9669, section 4.1). Both are put aside.

use super::basic::{Arith, Src};
use super::masm::{Aside, X64};
use super::regs::{Gpr, Mem, R10, R11, RAX, RDX};
use crate::ir::{End, Reg, RegSet};
use crate::masm::{Label, Site};
use ebpfvm_asm::AluOp;
use ebpfvm_asm::Width::{self, W64};

/// A division whose divisor is 0 or -1.
#[derive(Clone, Copy, Debug)]
pub(super) struct RareDivisor {
    pub(super) from: Label,
    pub(super) back: Label,
    op: AluOp,
    width: Width,
    divisor: Gpr,
}

/// What division takes away from the program for a moment.
struct Saved {
    /// Where the right side is.
    rhs: Gpr,
    /// Whether rax is in r10.
    keeps_rax: bool,
    rdx: Kept,
}

enum Kept {
    Nowhere,
    /// In r11.
    Register,
    Stack,
}

impl X64<'_> {
    /// `dst = lhs op rhs`, a division.
    pub(super) fn divide(
        &mut self,
        op: AluOp,
        width: Width,
        dst: Gpr,
        lhs: Gpr,
        rhs: Src,
        site: Site<'_>,
    ) {
        let is_rest = matches!(op, AluOp::Mod | AluOp::Smod);
        if let Src::Imm(imm) = rhs
            && self.divide_simply(op, width, dst, lhs, imm)
        {
            return;
        }
        let saved = self.put_aside(width, dst, rhs, site);
        self.divide_in_place(op, width, lhs, saved.rhs, matches!(rhs, Src::Imm(_)));
        self.take_back(width, saved, dst, if is_rest { RDX } else { RAX });
    }

    /// The dividend is taken to rax, and the results are in rax and rdx.
    fn divide_in_place(&mut self, op: AluOp, width: Width, lhs: Gpr, divisor: Gpr, is_known: bool) {
        let is_signed = matches!(op, AluOp::Sdiv | AluOp::Smod);
        if lhs != RAX {
            self.mov(width, RAX, lhs);
        }
        let rare = match is_known {
            true => None,
            false => {
                let (from, back) = (self.new_label(), self.new_label());
                if is_signed {
                    self.lea(width, RDX, Mem::new(divisor, 1));
                    self.arith(Arith::Cmp, width, RDX, Src::Imm(1));
                    self.jump_if(0x6, from);
                } else {
                    self.test(width, divisor, Src::Reg(divisor));
                    self.jump_if(0x4, from);
                }
                self.aside.push(Aside::Rare(RareDivisor { from, back, op, width, divisor }));
                Some(back)
            }
        };
        if is_signed {
            if width == W64 {
                self.code.byte(0x48);
            }
            self.code.byte(0x99);
            self.unary(7, width, divisor);
        } else {
            self.set(RDX, 0);
            self.unary(6, width, divisor);
        }
        if let Some(back) = rare {
            self.bind_here(back);
        }
    }

    /// The results for a divisor of 0, and -1 if numbers are signed: in rax or rdx.
    pub(super) fn divide_rarely(&mut self, rare: &RareDivisor) {
        let RareDivisor { from, back, op, width, divisor } = *rare;
        self.bind_here(from);
        if matches!(op, AluOp::Sdiv | AluOp::Smod) {
            let zero = self.new_label();
            self.test(width, divisor, Src::Reg(divisor));
            self.jump_if(0x4, zero);
            match op {
                AluOp::Sdiv => self.unary(3, width, RAX),
                _ => self.set(RDX, 0),
            }
            self.jump_to(back);
            self.bind_here(zero);
        }
        match op {
            AluOp::Div | AluOp::Sdiv => self.set(RAX, 0),
            _ => self.mov(width, RDX, RAX),
        }
        self.jump_to(back);
    }

    /// Constant divisors that need no division. Others than these are neither 0 nor -1.
    fn divide_simply(&mut self, op: AluOp, width: Width, dst: Gpr, lhs: Gpr, imm: i32) -> bool {
        match (op, imm) {
            (AluOp::Div | AluOp::Sdiv, 0) => self.set(dst, 0),
            (AluOp::Mod | AluOp::Smod, 0) => self.mov(width, dst, lhs),
            (AluOp::Sdiv, -1) => {
                self.mov(width, dst, lhs);
                self.unary(3, width, dst);
            }
            (AluOp::Smod, -1) => self.set(dst, 0),
            _ => return false,
        }
        true
    }

    /// The upper half of the product of 128 bits, by the instructions that put it into rdx.
    pub(super) fn wide_product(
        &mut self,
        is_signed: bool,
        dst: Gpr,
        lhs: Gpr,
        rhs: Src,
        site: Site<'_>,
    ) {
        let saved = self.put_aside(W64, dst, rhs, site);
        self.mov(W64, RAX, lhs);
        self.unary(if is_signed { 5 } else { 4 }, W64, saved.rhs);
        self.take_back(W64, saved, dst, RDX);
    }

    /// Copies what is in rax and rdx if it is needed, and the right side to where neither is.
    fn put_aside(&mut self, width: Width, dst: Gpr, rhs: Src, site: Site<'_>) -> Saved {
        let keeps_rax = dst != RAX && !self.is_dead(site, 0);
        let keeps_rdx = dst != RDX && !self.is_dead(site, 3);
        if keeps_rax || rhs == Src::Reg(RAX) {
            self.mov(W64, R10, RAX);
        }
        if rhs == Src::Reg(RDX) {
            self.mov(W64, R11, RDX);
        }
        let (rhs, takes_r11) = match rhs {
            Src::Reg(RAX) => (R10, false),
            Src::Reg(RDX) => (R11, false),
            Src::Reg(src) => (src, false),
            Src::Imm(_) | Src::Mem(_) => {
                let free = if keeps_rax { R11 } else { R10 };
                self.mov_src(width, free, rhs);
                (free, keeps_rax)
            }
        };
        let rdx = match (keeps_rdx, takes_r11) {
            (false, _) => Kept::Nowhere,
            (true, false) => {
                if rhs != R11 {
                    self.mov(W64, R11, RDX);
                }
                Kept::Register
            }
            (true, true) => {
                self.push(RDX);
                Kept::Stack
            }
        };
        Saved { rhs, keeps_rax, rdx }
    }

    /// Moves a result to its place, and the others back.
    fn take_back(&mut self, width: Width, saved: Saved, dst: Gpr, result: Gpr) {
        if dst != result {
            self.mov(width, dst, result);
        }
        if saved.keeps_rax {
            self.mov(W64, RAX, R10);
        }
        match saved.rdx {
            Kept::Nowhere => {}
            Kept::Register => self.mov(W64, RDX, R11),
            Kept::Stack => self.pop(RDX),
        }
    }

    /// Whether nothing reads a register of the program after an operation, as far as its block tells.
    pub(super) fn is_dead(&self, site: Site<'_>, number: u8) -> bool {
        /// Farther on the answer comes too late to be worth the time.
        const REACH: usize = 16;
        let reg = Reg::new(number);
        let plan = self.plan;
        for inst in site.rest.iter().take(REACH) {
            if inst.op.uses(plan.callees).has(reg) {
                return false;
            }
            if inst.op.writes().has(reg) {
                return !plan.is_checked || !RegSet::CALL.has(reg) || inst.op.pure_dst().is_some();
            }
        }
        // What a function leaves in its arguments is seen by callers that are not verified.
        site.rest.len() <= REACH && *site.end == End::Exit && number != 0 && !plan.is_checked
    }
}
