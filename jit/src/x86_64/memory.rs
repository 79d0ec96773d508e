//! Loads, stores, and arithmetic in memory.

use super::basic::{Arith, Src, sign_load, sized};
use super::encode::Opcode;
use super::masm::X64;
use super::regs::{Gpr, Mem, R10, R11};
use crate::ir::{Address, Binary, Check, Fill, Operand};
use crate::masm::Site;
use ebpfvm_asm::Width::{W32, W64};
use ebpfvm_asm::{AluOp, Size};

/// What a load does beside loading.
#[derive(Clone, Copy, Debug)]
pub(super) struct LoadAs {
    pub(super) size: Size,
    pub(super) fill: Fill,
    pub(super) swap: bool,
}

impl X64<'_> {
    /// `dst = *at`, filled up, without a check.
    pub(super) fn load_as(&mut self, load: LoadAs, dst: Gpr, at: Mem) {
        let LoadAs { size, fill, swap } = load;
        let width = if size == Size::Dw { W64 } else { W32 };
        match (swap, size, fill) {
            (true, Size::W | Size::Dw, _) if self.features.movbe => {
                self.code.op(Opcode::three(0xf0).at(width), dst.0, at);
            }
            (true, Size::W | Size::Dw, _) => {
                self.load_zero(size, dst, at);
                self.bswap(width, dst);
            }
            (true, Size::H, _) => {
                self.load_zero(size, dst, at);
                self.rotate_half(dst);
            }
            (_, _, Fill::Zero) => self.load_zero(size, dst, at),
            (_, _, Fill::Sign(width)) => self.code.op(sign_load(size, width), dst.0, at),
        }
    }

    pub(super) fn load(
        &mut self,
        load: LoadAs,
        check: Check,
        dst: Gpr,
        at: Address,
        site: Site<'_>,
    ) {
        if let Check::Context { offset, size } = check {
            return self.load_context(load, (offset, size), dst, at, site);
        }
        self.load_anywhere(load, check, dst, at, site);
    }

    /// `*at = src`, without a check; r11 may be overwritten.
    pub(super) fn store_as(&mut self, size: Size, swap: bool, at: Mem, src: Operand) {
        let width = if size == Size::Dw { W64 } else { W32 };
        if let (Operand::Imm(_), true) = (src, self.plan.is_blinded) {
            self.operand(width, src.into());
            return match swap {
                true => self.store_swapped(size, at, R11),
                false => self.store(size, at, R11),
            };
        }
        match src {
            Operand::Reg(src) if swap => self.store_swapped(size, at, src.into()),
            Operand::Reg(src) => self.store(size, at, src.into()),
            Operand::Imm(imm) if swap => {
                let swapped = swapped(size, imm);
                match i32::try_from(swapped) {
                    Ok(imm) => self.store_imm(size, at, imm),
                    Err(_) => {
                        self.set(R11, swapped as u64);
                        self.store(size, at, R11);
                    }
                }
            }
            Operand::Imm(imm) => self.store_imm(size, at, imm),
        }
    }

    fn store_swapped(&mut self, size: Size, at: Mem, src: Gpr) {
        if size == Size::B {
            return self.store(size, at, src);
        }
        if self.features.movbe {
            let opcode = Opcode::three(0xf1);
            let opcode = match size {
                Size::Dw => opcode.wide(),
                Size::H => opcode.word(),
                _ => opcode,
            };
            return self.code.op(opcode, src.0, at);
        }
        self.swap(size, R11, src);
        self.store(size, at, R11);
    }

    /// `*at = *at op rhs`
    pub(super) fn update(&mut self, op: Binary, size: Size, at: Mem, rhs: Src, site: Site<'_>) {
        let op = match op {
            Binary::Alu(AluOp::Add) => Arith::Add,
            Binary::Alu(AluOp::Sub) => Arith::Sub,
            Binary::Alu(AluOp::Or) => Arith::Or,
            Binary::Alu(AluOp::And) => Arith::And,
            Binary::Alu(AluOp::Xor) => Arith::Xor,
            // Others have no form with memory on the left.
            op => {
                let width = if size == Size::Dw { W64 } else { W32 };
                self.load_zero(size, R11, at);
                self.binary(op, width, R11, R11, rhs, site);
                return self.store(size, at, R11);
            }
        };
        let width = if size == Size::Dw { W64 } else { W32 };
        match self.operand(width, rhs) {
            Src::Imm(imm) => self.arith_mem_imm(op, size, at, imm),
            Src::Reg(src) => self.code.op(sized((op as u8) << 3, size), src.0, at),
            Src::Mem(from) => {
                self.load_zero(size, R10, from);
                self.code.op(sized((op as u8) << 3, size), R10.0, at);
            }
        }
    }
}

/// The low bytes of an immediate swapped, sign-extended.
fn swapped(size: Size, imm: i32) -> i64 {
    match size {
        Size::B => i64::from(imm as i8),
        Size::H => i64::from((imm as i16).swap_bytes()),
        Size::W => i64::from(imm.swap_bytes()),
        Size::Dw => i64::from(imm).swap_bytes(),
    }
}
