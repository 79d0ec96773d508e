//! Instructions by what they do, in their shortest forms.

use super::encode::{Opcode, Operand, Vex};
use super::labels::Way;
use super::masm::X64;
use super::regs::{Gpr, Mem, R11, RAX};
use crate::masm::Label;
use ebpfvm_asm::Width::{self, W32, W64};
use ebpfvm_asm::{JmpOp, Size};

/// The operations that the processor has in all forms, with their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arith {
    Add = 0,
    Or = 1,
    And = 4,
    Sub = 5,
    Xor = 6,
    Cmp = 7,
}

/// Shifts and rotates, with their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shift {
    Rotl = 0,
    Left = 4,
    Right = 5,
    Signed = 7,
}

/// An operand on the right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Src {
    Reg(Gpr),
    Mem(Mem),
    Imm(i32),
}

impl Src {
    pub(super) fn has(self, reg: Gpr) -> bool {
        match self {
            Src::Reg(src) => src == reg,
            Src::Mem(mem) => mem.has(reg),
            Src::Imm(_) => false,
        }
    }
}

/// The code of a condition after a comparison, or after `test` for [`JmpOp::Set`]. Its lowest bit
/// negates it.
pub(super) const fn condition(op: JmpOp) -> u8 {
    match op {
        JmpOp::Eq => 0x4,
        JmpOp::Ne | JmpOp::Set => 0x5,
        JmpOp::Lt => 0x2,
        JmpOp::Ge => 0x3,
        JmpOp::Le => 0x6,
        JmpOp::Gt => 0x7,
        JmpOp::Slt => 0xc,
        JmpOp::Sge => 0xd,
        JmpOp::Sle => 0xe,
        JmpOp::Sgt => 0xf,
    }
}

/// The opcode that loads a value of a size, filled up with zeros to 64 bits.
pub(super) const fn zero_load(size: Size) -> Opcode {
    match size {
        Size::B => Opcode::two(0xb6).byte_rm(),
        Size::H => Opcode::two(0xb7),
        Size::W => Opcode::one(0x8b),
        Size::Dw => Opcode::one(0x8b).wide(),
    }
}

/// The opcode that loads a value of a size, filled up with its sign to a width.
pub(super) fn sign_load(size: Size, width: Width) -> Opcode {
    match size {
        Size::B => Opcode::two(0xbe).byte_rm().at(width),
        Size::H => Opcode::two(0xbf).at(width),
        Size::W if width == W64 => Opcode::one(0x63).wide(),
        Size::W | Size::Dw => Opcode::one(0x8b).at(width),
    }
}

/// An opcode for 8 bits whose next is that for more, at a size.
pub(super) const fn sized(opcode: u8, size: Size) -> Opcode {
    match size {
        Size::B => Opcode::one(opcode).byte_reg(),
        Size::H => Opcode::one(opcode + 1).word(),
        Size::W => Opcode::one(opcode + 1),
        Size::Dw => Opcode::one(opcode + 1).wide(),
    }
}

const SHLX: Vex = Vex { map: 2, prefix: 1, opcode: 0xf7 };
const SHRX: Vex = Vex { map: 2, prefix: 3, opcode: 0xf7 };
const SARX: Vex = Vex { map: 2, prefix: 2, opcode: 0xf7 };
const RORX: Vex = Vex { map: 3, prefix: 3, opcode: 0xf0 };
const ANDN: Vex = Vex { map: 2, prefix: 0, opcode: 0xf2 };
const MULX: Vex = Vex { map: 2, prefix: 3, opcode: 0xf6 };

impl X64<'_> {
    /// `dst = src`. At 64 bits from a register to itself there is nothing to do.
    pub(super) fn mov(&mut self, width: Width, dst: Gpr, src: Gpr) {
        if dst != src || width == W32 {
            self.code.op(Opcode::one(0x8b).at(width), dst.0, src);
        }
    }

    /// `dst = value`
    pub(super) fn set(&mut self, dst: Gpr, value: u64) {
        if value == 0 {
            self.code.op(Opcode::one(0x33), dst.0, dst);
        } else if let Ok(value) = u32::try_from(value) {
            if dst.0 >= 8 {
                self.code.byte(0x41);
            }
            self.code.byte(0xb8 | dst.0 & 7);
            self.code.imm32(value as i32);
        } else if let Ok(value) = i32::try_from(value as i64) {
            self.code.op(Opcode::one(0xc7).wide(), 0, dst);
            self.code.imm32(value);
        } else {
            self.code.byte(0x48 | dst.0 >> 3);
            self.code.byte(0xb8 | dst.0 & 7);
            self.code.0.extend_from_slice(&value.to_le_bytes());
        }
    }

    /// `dst = dst op src`, or the comparison of both.
    pub(super) fn arith(&mut self, op: Arith, width: Width, dst: Gpr, src: Src) {
        let number = op as u8;
        match src {
            Src::Reg(src) => self.code.op(Opcode::one(number << 3 | 3).at(width), dst.0, src),
            Src::Mem(src) => self.code.op(Opcode::one(number << 3 | 3).at(width), dst.0, src),
            Src::Imm(imm) => self.arith_imm(op, width, dst, imm),
        }
    }

    /// The carry is another where 128 is added or subtracted.
    fn arith_imm(&mut self, op: Arith, width: Width, dst: Gpr, imm: i32) {
        // 128 fits into a byte if it is taken away.
        let (op, imm) = match (op, imm) {
            (Arith::Add, 128) => (Arith::Sub, -128),
            (Arith::Sub, 128) => (Arith::Add, -128),
            other => other,
        };
        // What is zero above stays so.
        let width = if op == Arith::And && imm >= 0 { W32 } else { width };
        let number = op as u8;
        if let Ok(imm) = i8::try_from(imm) {
            self.code.op(Opcode::one(0x83).at(width), number, dst);
            self.code.byte(imm as u8);
        } else if dst == RAX {
            if width == W64 {
                self.code.byte(0x48);
            }
            self.code.byte(number << 3 | 5);
            self.code.imm32(imm);
        } else {
            self.code.op(Opcode::one(0x81).at(width), number, dst);
            self.code.imm32(imm);
        }
    }

    /// `dst += imm`, with the carry.
    pub(super) fn add_for_carry(&mut self, dst: Gpr, imm: i32) {
        match i8::try_from(imm) {
            Ok(imm) => {
                self.code.op(Opcode::one(0x83).wide(), Arith::Add as u8, dst);
                self.code.byte(imm as u8);
            }
            Err(_) => {
                self.code.op(Opcode::one(0x81).wide(), Arith::Add as u8, dst);
                self.code.imm32(imm);
            }
        }
    }

    /// `*at = *at op imm`, or the comparison of both.
    pub(super) fn arith_mem_imm(&mut self, op: Arith, size: Size, at: Mem, imm: i32) {
        let number = op as u8;
        match size {
            Size::B => {
                self.code.op(Opcode::one(0x80), number, at);
                self.code.byte(imm as u8);
            }
            _ if i8::try_from(imm).is_ok() => {
                self.code.op(sized(0x82, size), number, at);
                self.code.byte(imm as u8);
            }
            // An immediate of 16 bits makes decoders stumble.
            Size::H => {
                self.set(R11, u64::from(imm as u16));
                self.code.op(sized(number << 3, size), R11.0, at);
            }
            Size::W | Size::Dw => {
                self.code.op(sized(0x80, size), number, at);
                self.code.imm32(imm);
            }
        }
    }

    /// `dst * src`, the lower half.
    pub(super) fn mul(&mut self, width: Width, dst: Gpr, lhs: impl Operand, imm: i32) {
        match i8::try_from(imm) {
            Ok(imm) => {
                self.code.op(Opcode::one(0x6b).at(width), dst.0, lhs);
                self.code.byte(imm as u8);
            }
            Err(_) => {
                self.code.op(Opcode::one(0x69).at(width), dst.0, lhs);
                self.code.imm32(imm);
            }
        }
    }

    /// Shifts by a constant, which is less than the width.
    pub(super) fn shift_imm(&mut self, shift: Shift, width: Width, dst: Gpr, count: u8) {
        if count == 1 {
            self.code.op(Opcode::one(0xd1).at(width), shift as u8, dst);
        } else {
            self.code.op(Opcode::one(0xc1).at(width), shift as u8, dst);
            self.code.byte(count);
        }
    }

    /// Shifts by `cl`.
    pub(super) fn shift_cl(&mut self, shift: Shift, width: Width, dst: Gpr) {
        self.code.op(Opcode::one(0xd3).at(width), shift as u8, dst);
    }

    /// Shifts by a register (BMI2), if it is no rotate.
    pub(super) fn shift_by(&mut self, shift: Shift, width: Width, dst: Gpr, src: Gpr, count: Gpr) {
        let vex = match shift {
            Shift::Left => SHLX,
            Shift::Right => SHRX,
            _ => SARX,
        };
        self.code.vex(vex, width, dst, count, src);
    }

    /// `dst = src rotated to the right` (BMI2)
    pub(super) fn rorx(&mut self, width: Width, dst: Gpr, src: Gpr, count: u8) {
        self.code.vex(RORX, width, dst, Gpr(0), src);
        self.code.byte(count);
    }

    /// `dst = !not & rm` (BMI1)
    pub(super) fn andn(&mut self, width: Width, dst: Gpr, not: Gpr, rm: Gpr) {
        self.code.vex(ANDN, width, dst, not, rm);
    }

    /// `high:low = rdx * rm`, unsigned (BMI2)
    pub(super) fn mulx(&mut self, high: Gpr, low: Gpr, rm: Gpr) {
        self.code.vex(MULX, W64, high, low, rm);
    }

    /// `not`, `neg`, `mul`, `imul`, `div`, `idiv`: 2 to 7.
    pub(super) fn unary(&mut self, number: u8, width: Width, reg: Gpr) {
        self.code.op(Opcode::one(0xf7).at(width), number, reg);
    }

    /// `dst = the address`
    pub(super) fn lea(&mut self, width: Width, dst: Gpr, at: Mem) {
        match at {
            Mem { base, index: None, offset: 0 } => self.mov(width, dst, base),
            Mem { base, index: None, offset } if base == dst => {
                self.arith_imm(Arith::Add, width, dst, offset);
            }
            _ => self.code.op(Opcode::one(0x8d).at(width), dst.0, at),
        }
    }

    /// `test`: for zero and sign of `reg & src`.
    pub(super) fn test(&mut self, width: Width, reg: Gpr, src: Src) {
        match src {
            Src::Reg(src) => self.code.op(Opcode::one(0x85).at(width), src.0, reg),
            Src::Mem(src) => self.code.op(Opcode::one(0x85).at(width), reg.0, src),
            Src::Imm(imm @ 0..=0xff) => {
                self.code.op(Opcode::one(0xf6).byte_rm(), 0, reg);
                self.code.byte(imm as u8);
            }
            Src::Imm(imm) => {
                let width = if imm >= 0 { W32 } else { width };
                self.code.op(Opcode::one(0xf7).at(width), 0, reg);
                self.code.imm32(imm);
            }
        }
    }

    /// `*at = src`
    pub(super) fn store(&mut self, size: Size, at: Mem, src: Gpr) {
        self.code.op(sized(0x88, size), src.0, at);
    }

    /// `*at = imm`, sign-extended.
    pub(super) fn store_imm(&mut self, size: Size, at: Mem, imm: i32) {
        self.code.op(sized(0xc6, size), 0, at);
        match size {
            Size::B => self.code.byte(imm as u8),
            Size::H => self.code.0.extend_from_slice(&(imm as i16).to_le_bytes()),
            Size::W | Size::Dw => self.code.imm32(imm),
        }
    }

    /// `dst = *at`, filled up with zeros.
    pub(super) fn load_zero(&mut self, size: Size, dst: Gpr, at: Mem) {
        self.code.op(zero_load(size), dst.0, at);
    }

    pub(super) fn push(&mut self, reg: Gpr) {
        if reg.0 >= 8 {
            self.code.byte(0x41);
        }
        self.code.byte(0x50 | reg.0 & 7);
    }

    pub(super) fn pop(&mut self, reg: Gpr) {
        if reg.0 >= 8 {
            self.code.byte(0x41);
        }
        self.code.byte(0x58 | reg.0 & 7);
    }

    pub(super) fn jump_to(&mut self, to: Label) {
        self.labels.refer(&mut self.code.0, to, Way::Jump);
    }

    pub(super) fn jump_if(&mut self, condition: u8, to: Label) {
        self.labels.refer(&mut self.code.0, to, Way::Branch(condition));
    }

    pub(super) fn call_label(&mut self, to: Label) {
        self.labels.refer(&mut self.code.0, to, Way::Call);
    }

    pub(super) fn new_label(&mut self) -> Label {
        self.labels.label()
    }

    pub(super) fn bind_here(&mut self, label: Label) {
        // From elsewhere one comes with other flags.
        self.flags = None;
        self.labels.bind(label, &self.code.0);
    }
}
