//! Statements that touch memory.

use super::function::Function;
use super::{Generator, Rules};
use ebpfvm_asm::{AluOp, AtomicOp, Insn, Reg, Size, Width};

/// Bytes that a pointer reaches.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// The pointer.
    pub(super) base: Reg,
    /// The first byte, from the pointer.
    pub(super) low: i16,
    /// The byte after the last.
    pub(super) high: i16,
}

impl Generator<'_> {
    /// An address for an access of a size: now and then one that is just outside.
    pub(super) fn address(&mut self, function: &Function, size: Size, aligned: bool) -> (Reg, i16) {
        let place = self.draw.one(&function.places);
        let bytes = size.bytes() as i16;
        let step = if aligned || self.rules == Rules::Linux { bytes } else { 1 };
        // Beside a value of a map is another, and it is not said which.
        let is_value = place.base == Reg::R0;
        if self.rules == Rules::Rfc && !is_value && self.draw.once_in(400) {
            let edge = self.draw.one(&[place.low - 1, place.high - bytes + 1, place.high]);
            return (place.base, edge);
        }
        let count = (place.high - place.low - bytes) / step + 1;
        (place.base, place.low + self.draw.below(count as usize) as i16 * step)
    }

    /// A load, a store, an atomic operation, directly or by a computed index.
    pub(super) fn access(&mut self, function: &Function) {
        let size = self.draw.one(&Size::ALL);
        let reg = self.draw.one(&function.numbers);
        match self.draw.below(16) {
            0..4 => {
                let (base, offset) = self.address(function, size, false);
                self.builder.load(size, reg, base, offset);
            }
            4 | 5 => {
                let size = self.draw.one(&[Size::B, Size::H, Size::W]);
                let (base, offset) = self.address(function, size, false);
                self.builder.load_sx(size, reg, base, offset);
            }
            6..9 => {
                let (base, offset) = self.address(function, size, false);
                let src = self.operand(function);
                self.builder.store(size, base, offset, src);
            }
            9 | 10 => self.atomic(function, reg),
            11 => self.ordered(function, size, reg),
            12 | 13 if function.numbers.len() > 1 => self.indexed(function, size),
            14 => self.spill(function, reg),
            15 if self.rules == Rules::Rfc && self.draw.once_in(8) => self.packet(function, reg),
            _ => self.compute(function),
        }
    }

    fn atomic(&mut self, function: &Function, src: Reg) {
        let size = self.draw.one(&[Size::W, Size::Dw]);
        let op = self.draw.one(&AtomicOp::ALL);
        let (mut base, mut offset) = self.address(function, size, self.rules == Rules::Linux);
        if self.rules == Rules::Linux && !matches!(op, AtomicOp::Rmw(_)) {
            // Linux 6.18 loses track of what is fetched from a stack.
            (base, offset) = (function.places[0].base, (offset & 31) & -(size.bytes() as i16));
        }
        if op == AtomicOp::Cmpxchg && !function.numbers.contains(&Reg::R0) {
            return;
        }
        self.builder.atomic(op, size, base, offset, src);
        if self.rules == Rules::Linux && op == AtomicOp::Cmpxchg && size == Size::W {
            // Linux 6.18 may leave the upper half as it was, if all of r0 is not read at once.
            self.builder.mov(Reg::R0, Reg::R0);
        }
    }

    fn ordered(&mut self, function: &Function, size: Size, reg: Reg) {
        let (base, offset) = self.address(function, size, true);
        self.builder.insn(match self.draw.below(2) {
            0 => Insn::LoadAcquire { size, dst: reg, base, offset },
            _ => Insn::StoreRelease { size, base, offset, src: reg },
        });
    }

    /// An access to the memory at a masked index.
    fn indexed(&mut self, function: &Function, size: Size) {
        let index = self.draw.one(&function.numbers);
        let Some(pointer) = function.numbers.iter().copied().find(|reg| *reg != index) else {
            return;
        };
        let spare = self.memory_bytes - size.bytes() as i16;
        // The largest mask that keeps the index inside.
        let mask = (1i32 << (i32::BITS - 1 - (i32::from(spare) + 1).leading_zeros())) - 1;
        let mask = mask & self.draw.one(&[-1, -1, !7, 7]);
        let width = self.width();
        self.builder.alu(width, AluOp::And, index, mask);
        let base = function.places[0].base;
        match self.draw.below(2) {
            0 => self.builder.mov(pointer, base).add(pointer, index),
            _ => self.builder.mov(pointer, index).add(pointer, base),
        };
        match self.draw.below(3) {
            0 => {
                self.builder.load(size, pointer, pointer, 0);
            }
            1 => {
                let imm = self.imm();
                self.builder.store(size, pointer, 0, imm).mov(pointer, imm);
            }
            _ => {
                self.builder.store(size, pointer, 0, index).mov(pointer, index);
            }
        }
    }

    /// Puts a pointer on the stack, gets it back, and covers it.
    fn spill(&mut self, function: &Function, reg: Reg) {
        let Some(stack) = function.places.iter().find(|p| p.base == Reg::R10).copied() else {
            return;
        };
        let offset = stack.low + 8 * self.draw.below((-stack.low / 8) as usize) as i16;
        let base = self.draw.one(&function.places).base;
        self.builder.store(Size::Dw, Reg::R10, offset, base);
        if base != Reg::R10 {
            self.builder.mov(base, 0).load(Size::Dw, base, Reg::R10, offset);
        } else if self.rules == Rules::Rfc {
            self.builder.load(Size::Dw, reg, Reg::R10, offset);
            self.builder.alu(Width::W64, AluOp::Sub, reg, Reg::R10);
        }
        self.builder.store(Size::Dw, Reg::R10, offset, 0);
    }

    fn packet(&mut self, function: &Function, index: Reg) {
        if !function.numbers.contains(&Reg::R0) {
            return;
        }
        let size = self.draw.one(&[Size::B, Size::H, Size::W]);
        let offset = self.draw.below(self.memory_bytes as usize) as i32;
        match self.draw.below(2) {
            0 => self.builder.insn(Insn::LoadAbs { size, offset }),
            _ => {
                self.builder.alu(Width::W32, AluOp::And, index, 7);
                self.builder.insn(Insn::LoadInd { size, index, offset })
            }
        };
    }
}
