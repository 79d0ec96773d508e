//! Statements in the manner of compiled C, which an optimiser knows: rotates, bytes put together, bit
//! fields, divisions by constants, selections, addresses with an index, counters in memory, and what
//! computes nothing that is read.

use super::function::Function;
use super::{Generator, Place, Rules};
use ebpfvm_asm::{AluOp, EndianOp, Imm64, Insn, JmpOp, Operand, Reg, Size, Width};

/// Divisors with a form of their own, and some without.
const DIVISORS: [i32; 16] = [1, 2, 3, 5, 7, 10, 12, 25, 64, 100, 641, 1000, 4096, -1, -7, i32::MIN];

/// Operations that are their own in memory and in addresses.
const SIMPLE: [AluOp; 5] = [AluOp::Add, AluOp::Sub, AluOp::And, AluOp::Or, AluOp::Xor];

const SHIFTS: [AluOp; 3] = [AluOp::Lsh, AluOp::Rsh, AluOp::Arsh];

impl Generator<'_> {
    /// One of them.
    pub(super) fn idiom(&mut self, function: &Function) {
        match self.draw.below(20) {
            0 => self.rotate(function),
            1 | 2 => self.bytes_together(function),
            3 => self.swap(function),
            4 => self.field(function),
            5 => self.divide(function),
            6 | 7 => self.selection(function),
            8 => self.copies(function),
            9 | 10 => self.counter(function),
            11 => self.operand_in_memory(function),
            12 => self.scaled(function),
            13 => self.unread(function),
            14 => self.decided(function),
            15 => self.test(function),
            16 => self.extended(function),
            17 => self.pressure(function),
            18 => self.burst(function),
            _ => self.outside(function),
        }
    }

    fn number(&mut self, function: &Function) -> Reg {
        self.draw.one(&function.numbers)
    }

    /// A register that holds a number, and another if there is one.
    fn two(&mut self, function: &Function) -> (Reg, Reg) {
        let first = self.draw.below(function.numbers.len());
        let second = first + 1 + self.draw.below(function.numbers.len().max(2) - 1);
        (function.numbers[first], function.numbers[second % function.numbers.len()])
    }

    /// Mostly gives a register a number that no compiler knows.
    fn unknown(&mut self, function: &Function, reg: Reg) {
        if self.draw.below(4) > 0 {
            let (base, offset) = self.address(function, Size::Dw, false);
            self.builder.load(Size::Dw, reg, base, offset);
        }
    }

    /// Often ends the life of a temporary, as compiled code does.
    fn end(&mut self, reg: Reg) {
        if self.draw.below(2) == 0 {
            let imm = self.imm();
            self.builder.mov(reg, imm);
        }
    }

    /// Shifts up and down, put together.
    fn rotate(&mut self, function: &Function) {
        let ((a, b), width) = (self.two(function), self.width());
        self.unknown(function, a);
        let bits = width.bits() as i32;
        let left = 1 + self.draw.below(bits as usize - 1) as i32;
        let right = if self.draw.once_in(8) { 1 + left % (bits - 1) } else { bits - left };
        let (first, second) = match self.draw.below(2) {
            0 => (AluOp::Lsh, AluOp::Rsh),
            _ => (AluOp::Rsh, AluOp::Lsh),
        };
        let copy = self.draw.one(&[width, width, Width::W64]);
        let third = function.numbers.iter().copied().find(|reg| *reg != a && *reg != b);
        if let (Some(third), 0) = (third, self.draw.below(2)) {
            // The number stays where it is.
            self.builder.alu(copy, AluOp::Mov, b, a).alu(width, first, b, left);
            self.builder.alu(copy, AluOp::Mov, third, a).alu(width, second, third, right);
            self.builder.alu(width, AluOp::Or, b, third);
            return self.end(third);
        }
        self.builder.alu(copy, AluOp::Mov, b, a);
        let (one, other) = ((a, first, left), (b, second, right));
        for (reg, op, by) in if self.draw.below(2) == 0 { [one, other] } else { [other, one] } {
            self.builder.alu(width, op, reg, by);
        }
        let join = self.draw.one(&[AluOp::Or, AluOp::Or, AluOp::Add, AluOp::Xor]);
        let (to, from) = if self.draw.below(2) == 0 { (a, b) } else { (b, a) };
        self.builder.alu(width, join, to, from);
        if from != to {
            self.end(from);
        }
    }

    /// Loads of neighbouring bytes or words, put together in one order or the other.
    fn bytes_together(&mut self, function: &Function) {
        let (sum, part) = self.two(function);
        let place = self.draw.one(&function.places);
        let (whole, size) = self.draw.one(&[
            (Size::H, Size::B),
            (Size::W, Size::B),
            (Size::W, Size::H),
            (Size::Dw, Size::B),
            (Size::Dw, Size::W),
        ]);
        let (bytes, step) = (whole.bytes() as i16, size.bytes() as i16);
        let room = place.high - place.low - bytes;
        if room < 0 || sum == part {
            return;
        }
        let at = place.low + self.draw.below(room as usize + 1) as i16;
        let aligned = self.rules == Rules::Linux || self.draw.below(2) == 0;
        let at = if aligned { at & !(step - 1) } else { at };
        let count = bytes / step;
        let reversed = self.draw.below(2) == 0;
        let width = if whole == Size::Dw { Width::W64 } else { self.width() };
        let join = self.draw.one(&[AluOp::Or, AluOp::Or, AluOp::Add]);
        let broken = self.draw.once_in(8).then(|| self.draw.below(count as usize) as i16);
        let horner = self.draw.below(3) == 0;
        for i in 0..count {
            let place_of = if reversed { count - 1 - i } else { i };
            let mut offset = at + step * place_of;
            if broken == Some(i) {
                offset = at;
            }
            let to = if i == 0 { sum } else { part };
            self.builder.load(size, to, place.base, offset);
            let up = i32::from(i) * size.bits() as i32;
            match (i, horner) {
                (0, _) => {}
                (_, true) => {
                    self.builder.alu(width, AluOp::Lsh, sum, size.bits() as i32);
                    self.builder.alu(width, join, sum, part);
                }
                (_, false) => {
                    self.builder.alu(width, AluOp::Lsh, part, up);
                    self.builder.alu(width, join, sum, part);
                }
            }
        }
    }

    /// Bytes in the other order: by the instruction, beside a load or store, or by shifts and masks.
    fn swap(&mut self, function: &Function) {
        let (a, b) = self.two(function);
        let size = self.draw.one(&[Size::H, Size::W, Size::Dw]);
        let op = self.draw.one(&[EndianOp::ToBe, EndianOp::Bswap, EndianOp::Bswap]);
        self.unknown(function, a);
        match self.draw.below(4) {
            0 => {
                let (base, offset) = self.address(function, size, false);
                self.builder.load(size, a, base, offset).endian(op, size, a);
            }
            1 => {
                let (base, offset) = self.address(function, size, false);
                let stored = if self.draw.once_in(4) { Size::H } else { size };
                self.builder.endian(op, size, a).store(stored, base, offset, a);
            }
            2 => {
                self.builder.endian(op, size, a).endian(op, size, a);
            }
            _ => {
                let width = self.width();
                self.builder.alu(width, AluOp::Mov, b, a);
                self.builder.alu(width, AluOp::And, a, 0xff).alu(width, AluOp::Lsh, a, 8);
                self.builder.alu(width, AluOp::Rsh, b, 8);
                if self.draw.below(4) > 0 {
                    self.builder.alu(width, AluOp::And, b, 0xff);
                }
                self.builder.alu(width, AluOp::Or, a, b);
            }
        }
    }

    /// A shift and a mask, in either order, or two shifts.
    fn field(&mut self, function: &Function) {
        let (reg, width) = (self.number(function), self.width());
        let bits = width.bits() as usize;
        self.unknown(function, reg);
        let by = self.draw.below(bits) as i32;
        let mask = (1u64 << (1 + self.draw.below(31))) - 1;
        let mask =
            if self.draw.once_in(6) { (mask << self.draw.below(8)) as i32 } else { mask as i32 };
        let shift = self.draw.one(&SHIFTS);
        match self.draw.below(4) {
            0 | 1 => {
                let masks = self.draw.one(&[width, width, Width::W64, Width::W32]);
                self.builder.alu(width, shift, reg, by).alu(masks, AluOp::And, reg, mask);
            }
            2 => {
                self.builder.alu(width, AluOp::And, reg, mask).alu(width, shift, reg, by);
            }
            _ => {
                let down = by + self.draw.below(bits - by as usize) as i32;
                let op = self.draw.one(&[AluOp::Rsh, AluOp::Arsh]);
                self.builder.alu(width, AluOp::Lsh, reg, by).alu(width, op, reg, down);
            }
        }
    }

    /// Division or remainder by a constant, at once or from a register.
    fn divide(&mut self, function: &Function) {
        let ((a, b), width) = (self.two(function), self.width());
        let op = self.draw.one(&[AluOp::Div, AluOp::Mod, AluOp::Sdiv, AluOp::Smod]);
        let by = match self.draw.below(3) {
            0 => self.imm(),
            _ => self.draw.one(&DIVISORS),
        };
        let by = if by == 0 { 3 } else { by };
        self.unknown(function, a);
        match self.draw.below(4) {
            0 => {
                self.builder.mov(b, by).alu(width, op, a, b);
            }
            // Quotient and remainder of the same.
            1 => {
                self.builder.mov(b, a).alu(width, op, a, by);
                self.builder.alu(width, AluOp::Mod, b, by);
            }
            2 => {
                self.builder.alu(width, op, a, b);
            }
            _ => {
                self.builder.alu(width, op, a, by);
            }
        }
    }

    /// One of two values, by a jump over the other.
    fn selection(&mut self, function: &Function) {
        let (to, of) = self.two(function);
        let (over, end) = (self.builder.new_label(), self.builder.new_label());
        let (width, op) = (self.width(), self.draw.one(&JmpOp::ALL));
        let (then, other) = (self.operand(function), self.operand(function));
        let against = match self.draw.below(3) {
            0 => other,
            1 => self.operand(function),
            _ => Operand::Imm(self.draw.one(&[0, 1, -1, 64])),
        };
        let moves = self.draw.one(&[Width::W64, Width::W64, Width::W32]);
        self.unknown(function, of);
        match self.draw.below(3) {
            0 => {
                self.builder.alu(moves, AluOp::Mov, to, then);
                self.builder.jump_if(width, op, of, against, over);
                self.builder.alu(moves, AluOp::Mov, to, other);
            }
            1 => {
                self.builder.jump_if(width, op, of, against, over);
                self.builder.alu(moves, AluOp::Mov, to, then).jump(end).label(over);
                self.builder.alu(moves, AluOp::Mov, to, other).label(end);
                return;
            }
            // The smaller or greater one.
            _ => {
                self.builder.jump_if(width, op, to, of, over).mov(to, of);
            }
        }
        self.builder.label(over);
    }

    /// Moves there and back, with something between.
    fn copies(&mut self, function: &Function) {
        let (a, b) = self.two(function);
        let (first, second) = (self.width(), self.width());
        self.builder.alu(first, AluOp::Mov, b, a);
        match self.draw.below(3) {
            0 => self.compute(function),
            1 => {
                let insn = self.alu(function, second, b);
                self.builder.insn(insn);
            }
            _ => {}
        }
        self.builder.alu(second, AluOp::Mov, a, b);
        if self.draw.below(3) == 0 {
            self.builder.mov32(a, a);
        }
    }

    /// A number in memory or on the stack that is loaded, changed and stored again.
    pub(super) fn counter(&mut self, function: &Function) {
        let (reg, other) = self.two(function);
        let size = self.draw.one(&Size::ALL);
        let (base, offset) = self.address(function, size, false);
        let width = if size == Size::Dw { Width::W64 } else { self.width() };
        let op = self.draw.one(&SIMPLE);
        let by = match self.draw.below(3) {
            0 => Operand::Reg(other),
            1 => Operand::Imm(1),
            _ => Operand::Imm(self.imm()),
        };
        self.builder.load(size, reg, base, offset).alu(width, op, reg, by);
        self.builder.store(size, base, offset, reg);
        match self.draw.below(4) {
            0 | 1 => {
                self.builder.mov(reg, 0);
            }
            2 => {
                let again = self.draw.one(&[size, Size::B]);
                self.builder.load(again, other, base, offset);
            }
            _ => {}
        }
    }

    /// An operation or a comparison with what has just been loaded, and is not read again.
    fn operand_in_memory(&mut self, function: &Function) {
        let (a, b) = self.two(function);
        let size = self.draw.one(&[Size::W, Size::Dw, Size::B]);
        let width = if size == Size::Dw { Width::W64 } else { self.width() };
        let (base, offset) = self.address(function, size, false);
        self.builder.load(size, b, base, offset);
        if self.draw.below(2) == 0 {
            let op = self.draw.one(&[AluOp::Add, AluOp::Sub, AluOp::Xor, AluOp::Mul, AluOp::Or]);
            self.builder.alu(width, op, a, b);
        } else {
            let over = self.builder.new_label();
            let against = self.operand(function);
            let op = self.draw.one(&JmpOp::ALL);
            self.builder.jump_if(width, op, b, against, over);
            self.compute(function);
            self.builder.label(over);
        }
        if self.draw.below(4) > 0 {
            let imm = self.imm();
            self.builder.mov(b, imm);
        }
    }

    /// Sums as addresses have them: a base, an index times 1, 2, 4 or 8, an offset. Sometimes one is
    /// accessed.
    fn scaled(&mut self, function: &Function) {
        let (a, b) = self.two(function);
        let (width, by) = (self.width(), self.draw.below(4) as i32);
        let place = self.draw.one(&function.places);
        let size = match self.rules {
            Rules::Rfc => self.draw.one(&Size::ALL),
            Rules::Linux => Size::ALL[by as usize],
        };
        let elements = (place.high - place.low - size.bytes() as i16) >> by;
        if a != b && elements > 0 && self.draw.below(2) == 0 {
            // A power of two less one that keeps the index inside.
            let mask = (1i32 << (i32::from(elements) + 1).ilog2()) - 1;
            let from = if self.draw.below(2) == 0 { b } else { a };
            self.builder.mov(a, from).alu(width, AluOp::And, a, mask);
            self.builder.alu(Width::W64, AluOp::Lsh, a, by);
            let pointer = if self.draw.below(2) == 0 {
                self.builder.mov(b, place.base).add(b, a);
                b
            } else {
                self.builder.add(a, place.base);
                a
            };
            if self.draw.below(3) == 0 {
                let src = if pointer == a { b } else { a };
                self.builder.store(size, pointer, place.low, src);
            } else {
                self.builder.load(size, a, pointer, place.low);
            }
            self.builder.mov(b, 1);
            if pointer == a {
                self.builder.mov(a, b);
            }
            return;
        }
        let (imm, then) = (self.imm(), self.operand(function));
        self.unknown(function, b);
        self.builder.alu(width, AluOp::Lsh, a, by).alu(width, AluOp::Add, a, b);
        self.builder.alu(width, AluOp::Add, a, imm);
        if self.draw.below(3) == 0 {
            self.builder.alu(width, AluOp::Add, a, then);
        }
    }

    /// Results and stores that nothing reads.
    fn unread(&mut self, function: &Function) {
        let (reg, other) = self.two(function);
        match self.draw.below(4) {
            0 => {
                self.compute(function);
                let imm = self.imm();
                self.builder.mov(reg, imm);
            }
            1 => {
                let size = self.draw.one(&Size::ALL);
                let (base, offset) = self.address(function, size, false);
                self.builder.store(size, base, offset, other).store(size, base, offset, reg);
            }
            2 => {
                let (base, offset) = self.address(function, Size::Dw, false);
                self.builder.load(Size::Dw, reg, base, offset).mov(reg, other);
            }
            _ => {
                self.builder.mov(reg, reg).add(reg, 0).alu(Width::W64, AluOp::Or, reg, 0);
                self.builder.alu(Width::W64, AluOp::Mul, reg, 1);
            }
        }
    }

    /// A jump on constants.
    fn decided(&mut self, function: &Function) {
        let ((a, b), over) = (self.two(function), self.builder.new_label());
        let (first, second) = (self.imm(), self.imm());
        let (width, op) = (self.width(), self.draw.one(&JmpOp::ALL));
        if self.draw.below(2) == 0 {
            self.builder.load_imm(a, Imm64::Value(first as u64));
        } else {
            self.builder.mov(a, first);
        }
        if self.draw.below(2) == 0 {
            let step = self.draw.one(&SIMPLE);
            self.builder.alu(width, step, a, second);
        }
        match self.draw.below(3) {
            0 => {
                self.builder.mov(b, second).jump_if(width, op, a, b, over);
            }
            _ => {
                self.builder.jump_if(width, op, a, second, over);
            }
        }
        self.compute(function);
        self.builder.label(over);
    }

    /// A jump on the result of an operation.
    fn test(&mut self, function: &Function) {
        let ((a, b), over) = (self.two(function), self.builder.new_label());
        let (width, second) = (self.width(), self.width());
        let op = self.draw.one(&[AluOp::And, AluOp::And, AluOp::Sub, AluOp::Xor, AluOp::Add]);
        let by = self.operand(function);
        self.unknown(function, b);
        if self.draw.below(2) == 0 {
            self.builder.mov(a, b);
        }
        self.builder.alu(width, op, a, by);
        let jump = self.draw.one(&[JmpOp::Eq, JmpOp::Ne, JmpOp::Sgt, JmpOp::Slt, JmpOp::Ge]);
        self.builder.jump_if(second, jump, a, self.draw.one(&[0, 0, 1, -1]), over);
        match self.draw.below(2) {
            0 => {
                self.builder.mov(a, 3);
            }
            _ => self.compute(function),
        }
        self.builder.label(over);
    }

    /// Parts that are extended, twice, or where the upper half is zero anyway.
    fn extended(&mut self, function: &Function) {
        let (a, b) = self.two(function);
        let size = self.draw.one(&[Size::B, Size::H, Size::W]);
        match self.draw.below(4) {
            0 => {
                let (base, offset) = self.address(function, size, false);
                self.builder.load(size, a, base, offset);
                self.builder.alu(Width::W32, AluOp::And, a, self.draw.one(&[0xff, 0xffff, -1]));
            }
            1 => {
                self.unknown(function, b);
                self.builder.alu(Width::W32, AluOp::Add, a, b).mov32(a, a);
                self.builder.alu(Width::W64, AluOp::Lsh, a, 32);
                let op = self.draw.one(&[AluOp::Rsh, AluOp::Arsh]);
                self.builder.alu(Width::W64, op, a, 32);
            }
            2 => {
                let (base, offset) = self.address(function, size, false);
                self.builder.load(size, a, base, offset);
                self.builder.movsx(Width::W64, size, b, a);
            }
            _ => {
                self.builder.movsx(Width::W64, size, a, b).mov32(b, a);
            }
        }
    }

    /// Shifts, products and quotients of the registers for which processors have ideas of their own.
    fn pressure(&mut self, function: &Function) {
        let special: Vec<Reg> = [Reg::R0, Reg::R3, Reg::R4]
            .into_iter()
            .filter(|reg| function.numbers.contains(reg))
            .collect();
        if special.is_empty() {
            return self.compute(function);
        }
        for _ in 0..=self.draw.below(3) {
            let any = self.number(function);
            self.unknown(function, any);
            let (a, b) = (self.draw.one(&special), self.draw.one(&special));
            let (dst, src) = self.draw.one(&[(a, b), (a, any), (any, a)]);
            let op = self.draw.one(&[
                AluOp::Lsh,
                AluOp::Rsh,
                AluOp::Arsh,
                AluOp::Div,
                AluOp::Mod,
                AluOp::Sdiv,
                AluOp::Smod,
                AluOp::Mul,
            ]);
            let width = self.width();
            self.builder.insn(Insn::Alu { width, op, dst, src: src.into() });
        }
    }

    /// Several accesses by one pointer.
    pub(super) fn burst(&mut self, function: &Function) {
        let place = self.draw.one(&function.places);
        let mut one = function.clone();
        one.places = vec![place];
        for _ in 0..=1 + self.draw.below(4) {
            let (size, reg) = (self.draw.one(&Size::ALL), self.number(function));
            let (base, offset) = self.address(&one, size, false);
            match self.draw.below(3) {
                0 => {
                    let src = self.operand(function);
                    self.builder.store(size, base, offset, src)
                }
                _ => self.builder.load(size, reg, base, offset),
            };
        }
    }
}

/// A pointer to the start of a value of a map, while it is one.
pub(super) fn value_at(base: Reg, bytes: i16) -> Place {
    Place { base, low: 0, high: bytes }
}
