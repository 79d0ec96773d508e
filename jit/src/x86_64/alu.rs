//! Arithmetic on registers, with three operands where the processor has two.

use super::basic::{Arith, Shift, Src, condition, sign_load, zero_load};
use super::encode::{Opcode, Rm};
use super::masm::{Flags, X64};
use super::regs::{Gpr, Mem, R10, R11, RCX, RDX};
use crate::ir::{Binary, Cond, Fill, Operand, Place};
use crate::masm::{Masm, Site};
use ebpfvm_asm::Width::{self, W32, W64};
use ebpfvm_asm::{AluOp, JmpOp, Size};

impl From<Operand> for Src {
    #[inline]
    fn from(operand: Operand) -> Src {
        match operand {
            Operand::Reg(reg) => Src::Reg(reg.into()),
            Operand::Imm(imm) => Src::Imm(imm),
        }
    }
}

impl X64<'_> {
    /// `dst = lhs op rhs`; `rhs` is no immediate that a shift or product needs in a register.
    pub(super) fn binary(
        &mut self,
        op: Binary,
        width: Width,
        dst: Gpr,
        lhs: Gpr,
        rhs: Src,
        site: Site<'_>,
    ) {
        use AluOp::{Add, And, Mul, Or, Sub, Xor};
        let rhs = match op {
            Binary::Alu(Add | Sub | Mul | And | Or | Xor) | Binary::AndNot => {
                self.operand(width, rhs)
            }
            _ => rhs,
        };
        let alu = match op {
            Binary::Alu(alu) => alu,
            Binary::Rotl => return self.shift(Shift::Rotl, width, dst, lhs, rhs),
            Binary::MulHigh => return self.mul_high(false, width, dst, lhs, rhs, site),
            Binary::SmulHigh => return self.mul_high(true, width, dst, lhs, rhs, site),
            Binary::AndNot => return self.and_not(width, dst, lhs, rhs),
        };
        match alu {
            AluOp::Add => self.add(width, dst, lhs, rhs),
            AluOp::Sub => self.sub(width, dst, lhs, rhs),
            AluOp::Mul => self.product(width, dst, lhs, rhs),
            AluOp::Or => self.arith3(Arith::Or, width, dst, lhs, rhs),
            AluOp::And => self.and(width, dst, lhs, rhs),
            AluOp::Xor => self.arith3(Arith::Xor, width, dst, lhs, rhs),
            AluOp::Lsh => self.shift(Shift::Left, width, dst, lhs, rhs),
            AluOp::Rsh => self.shift(Shift::Right, width, dst, lhs, rhs),
            AluOp::Arsh => self.shift(Shift::Signed, width, dst, lhs, rhs),
            AluOp::Div | AluOp::Sdiv | AluOp::Mod | AluOp::Smod => {
                self.divide(alu, width, dst, lhs, rhs, site);
            }
            AluOp::Mov => self.mov_src(width, dst, rhs),
        }
    }

    /// `dst = src`
    pub(super) fn mov_src(&mut self, width: Width, dst: Gpr, src: Src) {
        match src {
            Src::Reg(src) => self.mov(width, dst, src),
            Src::Mem(at) => self.code.op(Opcode::one(0x8b).at(width), dst.0, at),
            Src::Imm(_) if dst != R11 && self.plan.is_blinded => {
                let src = self.operand(width, src);
                self.mov_src(width, dst, src);
            }
            Src::Imm(_) if self.plan.is_blinded => {
                self.operand(width, src);
            }
            Src::Imm(imm) if width == W32 => self.set(dst, u64::from(imm as u32)),
            Src::Imm(imm) => self.set(dst, i64::from(imm) as u64),
        }
    }

    fn arith3(&mut self, op: Arith, width: Width, dst: Gpr, lhs: Gpr, rhs: Src) {
        if dst == lhs {
            self.arith(op, width, dst, rhs);
        } else if rhs == Src::Reg(dst) && op != Arith::Sub {
            self.arith(op, width, dst, Src::Reg(lhs));
        } else if rhs.has(dst) {
            self.mov(width, R10, lhs);
            self.arith(op, width, R10, rhs);
            return self.mov(width, dst, R10);
        } else {
            self.mov(width, dst, lhs);
            self.arith(op, width, dst, rhs);
        }
        self.has_result(dst, width, matches!(op, Arith::And | Arith::Or | Arith::Xor));
    }

    /// The flags are those of the result.
    fn has_result(&mut self, reg: Gpr, width: Width, is_logic: bool) {
        self.flags = Some((Flags::Result { reg, width, is_logic }, self.offset()));
    }

    fn add(&mut self, width: Width, dst: Gpr, lhs: Gpr, rhs: Src) {
        match rhs {
            Src::Reg(src) if dst != lhs && dst != src => {
                self.lea(width, dst, Mem { base: lhs, index: Some((src, 0)), offset: 0 });
            }
            Src::Imm(imm) if dst != lhs => self.lea(width, dst, Mem::new(lhs, imm)),
            _ => self.arith3(Arith::Add, width, dst, lhs, rhs),
        }
    }

    fn sub(&mut self, width: Width, dst: Gpr, lhs: Gpr, rhs: Src) {
        match rhs {
            Src::Imm(imm) if dst != lhs && imm != i32::MIN => {
                self.lea(width, dst, Mem::new(lhs, -imm));
            }
            Src::Reg(src) if src == dst && dst != lhs => {
                self.unary(3, width, dst);
                self.arith(Arith::Add, width, dst, Src::Reg(lhs));
            }
            _ => self.arith3(Arith::Sub, width, dst, lhs, rhs),
        }
    }

    fn and(&mut self, width: Width, dst: Gpr, lhs: Gpr, rhs: Src) {
        match rhs {
            Src::Imm(0xff) => self.code.op(zero_load(Size::B), dst.0, lhs),
            Src::Imm(0xffff) => self.code.op(zero_load(Size::H), dst.0, lhs),
            // What is zero above stays so, and a shorter instruction copies it.
            Src::Imm(0..) => self.arith3(Arith::And, W32, dst, lhs, rhs),
            _ => self.arith3(Arith::And, width, dst, lhs, rhs),
        }
    }

    fn product(&mut self, width: Width, dst: Gpr, lhs: Gpr, rhs: Src) {
        let imul = Opcode::two(0xaf).at(width);
        let rhs = match rhs {
            Src::Imm(imm) => return self.times(width, dst, lhs, imm),
            Src::Reg(src) if src == dst => return self.code.op(imul, dst.0, lhs),
            Src::Reg(src) => Rm::Reg(src),
            Src::Mem(at) => Rm::Mem(at),
        };
        let is_in_rhs = matches!(rhs, Rm::Mem(at) if at.has(dst)) && dst != lhs;
        let product = if is_in_rhs { R10 } else { dst };
        if product != lhs {
            self.mov(width, product, lhs);
        }
        self.code.op(imul, product.0, rhs);
        if is_in_rhs {
            self.mov(width, dst, product);
        }
    }

    /// A product with a constant: a shift and a sum take two cycles, a multiplication three.
    fn times(&mut self, width: Width, dst: Gpr, lhs: Gpr, factor: i32) {
        let one_less = factor.wrapping_sub(1);
        match factor {
            3 | 5 | 9 => {
                let index = Some((lhs, one_less.trailing_zeros() as u8));
                self.lea(width, dst, Mem { base: lhs, index, offset: 0 });
            }
            2.. if factor.count_ones() == 1 => {
                self.shift_const(Shift::Left, width, dst, lhs, factor.trailing_zeros() as u8);
            }
            7.. if one_less.count_ones() == 1 || factor.wrapping_add(1).count_ones() == 1 => {
                let (sum, shift) = match one_less.count_ones() {
                    1 => (Arith::Add, one_less.trailing_zeros()),
                    _ => (Arith::Sub, factor.trailing_ones()),
                };
                let given = if dst == lhs { R10 } else { lhs };
                if dst == lhs {
                    self.mov(width, given, lhs);
                }
                self.shift_const(Shift::Left, width, dst, lhs, shift as u8);
                self.arith3(sum, width, dst, dst, Src::Reg(given));
            }
            _ => self.mul(width, dst, lhs, factor),
        }
    }

    fn and_not(&mut self, width: Width, dst: Gpr, lhs: Gpr, rhs: Src) {
        let not = match rhs {
            Src::Imm(imm) => return self.and(width, dst, lhs, Src::Imm(!imm)),
            Src::Reg(not) => not,
            Src::Mem(_) => {
                self.mov_src(width, R11, rhs);
                R11
            }
        };
        if self.features.bmi1 {
            return self.andn(width, dst, not, lhs);
        }
        self.mov(width, R10, not);
        self.unary(2, width, R10);
        self.arith(Arith::And, width, R10, Src::Reg(lhs));
        self.mov(width, dst, R10);
    }

    fn shift(&mut self, shift: Shift, width: Width, dst: Gpr, lhs: Gpr, rhs: Src) {
        let count = match rhs {
            Src::Imm(imm) => {
                let count = imm as u8 & (width.bits() - 1) as u8;
                return self.shift_const(shift, width, dst, lhs, count);
            }
            Src::Reg(count) => count,
            Src::Mem(_) => {
                self.mov_src(W32, R11, rhs);
                R11
            }
        };
        if self.features.bmi2 && shift != Shift::Rotl {
            return self.shift_by(shift, width, dst, lhs, count);
        }
        if count == RCX && dst != RCX {
            if dst != lhs {
                self.mov(width, dst, lhs);
            }
            return self.shift_cl(shift, width, dst);
        }
        self.mov(width, R10, lhs);
        if count == RCX {
            self.shift_cl(shift, width, R10);
        } else {
            // The count is put into rcx, and what was there aside.
            self.code.op(Opcode::one(0x87).wide(), count.0, RCX);
            self.shift_cl(shift, width, R10);
            self.code.op(Opcode::one(0x87).wide(), count.0, RCX);
        }
        self.mov(width, dst, R10);
    }

    fn shift_const(&mut self, shift: Shift, width: Width, dst: Gpr, lhs: Gpr, count: u8) {
        if count == 0 {
            self.mov(width, dst, lhs);
        } else if shift == Shift::Rotl && dst != lhs && self.features.bmi2 {
            self.rorx(width, dst, lhs, width.bits() as u8 - count);
        } else if shift == Shift::Left && dst != lhs && count == 1 {
            self.lea(width, dst, Mem { base: lhs, index: Some((lhs, 0)), offset: 0 });
        } else {
            if dst != lhs {
                self.mov(width, dst, lhs);
            }
            self.shift_imm(shift, width, dst, count);
            if shift != Shift::Rotl {
                self.has_result(dst, width, false);
            }
        }
    }

    /// `dst = (src >> shift) & ((1 << bits) - 1)`
    pub(super) fn bits(&mut self, shift: u8, bits: u8, dst: Gpr, src: Gpr) {
        let end = shift + bits;
        let width = if end <= 32 { W32 } else { W64 };
        let takes_mov = dst != src || (end == 32 && shift == 0);
        match (shift, bits) {
            (0, 8) => return self.code.op(zero_load(Size::B), dst.0, src),
            (0, 16) => return self.code.op(zero_load(Size::H), dst.0, src),
            _ if takes_mov => self.mov(width, dst, src),
            _ => {}
        }
        if u32::from(end) == width.bits() {
            if shift != 0 {
                self.shift_imm(Shift::Right, width, dst, shift);
            }
            return;
        }
        if bits > 32 {
            // A mask that is no immediate: the bits above are shifted out.
            self.shift_imm(Shift::Left, W64, dst, 64 - end);
            return self.shift_imm(Shift::Right, W64, dst, 64 - bits);
        }
        if shift != 0 {
            self.shift_imm(Shift::Right, width, dst, shift);
        }
        match bits {
            8 => self.code.op(zero_load(Size::B), dst.0, dst),
            16 => self.code.op(zero_load(Size::H), dst.0, dst),
            32 => self.mov(W32, dst, dst),
            _ => self.arith(Arith::And, W32, dst, Src::Imm(((1_u32 << bits) - 1) as i32)),
        }
    }

    /// `dst = low part of src`, filled up.
    pub(super) fn extend(&mut self, size: Size, fill: Fill, dst: Gpr, src: Gpr) {
        match (size, fill) {
            (Size::Dw, _) => self.mov(W64, dst, src),
            (_, Fill::Zero) => self.code.op(zero_load(size), dst.0, src),
            (_, Fill::Sign(width)) => self.code.op(sign_load(size, width), dst.0, src),
        }
    }

    /// `dst = bytes of the low part of src, swapped`
    pub(super) fn swap(&mut self, size: Size, dst: Gpr, src: Gpr) {
        let width = if size == Size::Dw { W64 } else { W32 };
        if size.bytes() <= 2 {
            self.code.op(zero_load(size), dst.0, src);
            if size == Size::H {
                self.rotate_half(dst);
            }
            return;
        }
        if dst != src {
            self.mov(width, dst, src);
        }
        self.bswap(width, dst);
    }

    /// Swaps the two bytes of a value of 16 bits.
    pub(super) fn rotate_half(&mut self, reg: Gpr) {
        self.code.op(Opcode::one(0xc1).word(), Shift::Rotl as u8, reg);
        self.code.byte(8);
    }

    pub(super) fn bswap(&mut self, width: Width, reg: Gpr) {
        let rex = u8::from(width == W64) << 3 | reg.0 >> 3;
        if rex != 0 {
            self.code.byte(0x40 | rex);
        }
        self.code.byte(0x0f);
        self.code.byte(0xc8 | reg.0 & 7);
    }

    /// Sets the flags; the code of the condition.
    pub(super) fn compare(&mut self, cond: &Cond) -> u8 {
        if matches!(&self.flags, Some((flags, at)) if *at == self.offset() && flags.are_of(cond)) {
            return condition(cond.op);
        }
        let width = if cond.size == Size::Dw { W64 } else { W32 };
        let rhs = self.operand(width, cond.rhs.into());
        match cond.lhs {
            Place::Reg(lhs) => self.compare_reg(cond.op, width, lhs.into(), rhs),
            Place::Memory(at) => self.compare_mem(cond, at.into(), rhs),
        }
        condition(cond.op)
    }

    fn compare_reg(&mut self, op: JmpOp, width: Width, lhs: Gpr, rhs: Src) {
        match rhs {
            _ if op == JmpOp::Set => self.test(width, lhs, rhs),
            Src::Imm(0) => self.test(width, lhs, Src::Reg(lhs)),
            _ => self.arith(Arith::Cmp, width, lhs, rhs),
        }
    }

    fn compare_mem(&mut self, cond: &Cond, at: Mem, rhs: Src) {
        match (rhs, cond.op) {
            (Src::Imm(imm), JmpOp::Set) => {
                self.load_zero(cond.size, R10, at);
                let width = if cond.size == Size::Dw { W64 } else { W32 };
                let imm = match cond.size {
                    Size::B => i32::from(imm as u8),
                    Size::H => i32::from(imm as u16),
                    Size::W | Size::Dw => imm,
                };
                self.test(width, R10, Src::Imm(imm));
            }
            (Src::Imm(imm), _) => self.arith_mem_imm(Arith::Cmp, cond.size, at, imm),
            (Src::Reg(rhs), JmpOp::Set) => {
                self.code.op(super::basic::sized(0x84, cond.size), rhs.0, at);
            }
            (Src::Reg(rhs), _) => {
                self.code.op(super::basic::sized(0x38, cond.size), rhs.0, at);
            }
            (Src::Mem(_), _) => {}
        }
    }

    /// `dst = if cond { then } else { other }`; right behind another of the same condition it takes that
    /// one's flags.
    pub(super) fn select(&mut self, cond: &Cond, dst: Gpr, then: Gpr, other: Gpr) {
        let condition = self.compare(cond);
        let (condition, src) = if dst == then { (condition ^ 1, other) } else { (condition, then) };
        if dst != then {
            self.mov(W64, dst, other);
        }
        self.code.op(Opcode::two(0x40 | condition).wide(), dst.0, src);
    }

    /// The upper half of a product.
    fn mul_high(
        &mut self,
        is_signed: bool,
        width: Width,
        dst: Gpr,
        lhs: Gpr,
        rhs: Src,
        site: Site<'_>,
    ) {
        if width == W32 {
            // Both fit into 64 bits.
            let fill = if is_signed { Fill::Sign(W64) } else { Fill::Zero };
            match rhs {
                Src::Imm(_) => self.mov_src(if is_signed { W64 } else { W32 }, R11, rhs),
                Src::Reg(src) => self.extend(Size::W, fill, R11, src),
                Src::Mem(at) if is_signed => self.code.op(sign_load(Size::W, W64), R11.0, at),
                Src::Mem(at) => self.load_zero(Size::W, R11, at),
            }
            self.extend(Size::W, fill, R10, lhs);
            self.code.op(Opcode::two(0xaf).wide(), R10.0, R11);
            self.shift_imm(Shift::Right, W64, R10, 32);
            return self.mov(W32, dst, R10);
        }
        if !is_signed && self.features.bmi2 {
            // One factor is in rdx, and any register takes the result.
            let src = match rhs {
                Src::Reg(src) if src != RDX => src,
                _ => {
                    self.mov_src(W64, R10, rhs);
                    R10
                }
            };
            let keeps = dst != RDX && lhs != RDX && !self.is_dead(site, 3);
            if keeps {
                self.mov(W64, R11, RDX);
            }
            self.mov(W64, RDX, lhs);
            self.mulx(dst, R10, src);
            if keeps {
                self.mov(W64, RDX, R11);
            }
            return;
        }
        self.wide_product(is_signed, dst, lhs, rhs, site);
    }
}
