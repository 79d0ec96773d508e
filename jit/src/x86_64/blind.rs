//! Constants of the program that are not to be seen in the code: the code has them changed by random
//! bits, and changes them back.
//!
//! Who can choose constants could choose bytes that mean something when they are executed from their
//! middle. Only a fault in the host could lead there; this takes the bytes away.
//! Counts of shifts, and offsets of accesses, of 16 bits, stay.

use super::basic::{Arith, Shift, Src};
use super::masm::X64;
use super::regs::{Gpr, R10, R11};
use ebpfvm_asm::Width::{self, W32, W64};
use std::hash::{BuildHasher, RandomState};

/// Random bits.
#[derive(Debug, Default)]
pub(super) struct Bits(u64);

impl Bits {
    pub(super) fn new() -> Bits {
        // A hasher begins with a random key.
        Bits(RandomState::new().hash_one(0) | 1)
    }

    /// The next ones (xorshift64*, Vigna 2016).
    fn next(&mut self) -> u32 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) as u32
    }
}

impl X64<'_> {
    /// `dst = value`, a value that the program has chosen. If constants are hidden another register may
    /// be overwritten: r11, or r10 if that is the result.
    pub(super) fn constant(&mut self, dst: Gpr, value: u64) {
        if !self.plan.is_blinded || value == 0 {
            return self.set(dst, value);
        }
        let (high, low) = ((value >> 32) as u32, value as u32);
        if high == 0 {
            return self.hidden(dst, low);
        }
        self.hidden(dst, high);
        self.shift_imm(Shift::Left, W64, dst, 32);
        let other = if dst == R11 { R10 } else { R11 };
        self.hidden(other, low);
        self.arith(Arith::Or, W64, dst, Src::Reg(other));
    }

    fn hidden(&mut self, dst: Gpr, value: u32) {
        let bits = self.random.next();
        self.set(dst, u64::from(value ^ bits));
        self.arith(Arith::Xor, W32, dst, Src::Imm(bits as i32));
    }

    /// An operand, in r11 if it is a constant that is to be hidden.
    pub(super) fn operand(&mut self, width: Width, src: Src) -> Src {
        match src {
            Src::Imm(imm) if self.plan.is_blinded => {
                let value = i64::from(imm) as u64;
                match width {
                    W32 => self.constant(R11, value & u64::from(u32::MAX)),
                    // A negative one is made of its 32 bits, so that r10 stays as it is.
                    W64 if imm < 0 => {
                        self.constant(R11, value & u64::from(u32::MAX));
                        self.code.op(super::basic::sign_load(ebpfvm_asm::Size::W, W64), R11.0, R11);
                    }
                    W64 => self.constant(R11, value),
                }
                Src::Reg(R11)
            }
            src => src,
        }
    }
}
