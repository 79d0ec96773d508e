//! Neighbours that an engine may join into one operation, and jumps between them.

use super::function::Function;
use super::{Generator, Rules};
use ebpfvm_asm::{AluOp, Insn, JmpOp, Label, Operand, Reg, Size, Width};

/// Numbers that registers and memory may well hold.
const LIKELY: [i32; 8] = [0, 1, -1, 7, -32, 0x7fff_ffff, i32::MIN, 255];

impl Generator<'_> {
    /// A pair or a chain of three, often with a jump to one that is not the first.
    pub(super) fn pair(&mut self, function: &Function) {
        let inside = (self.draw.below(4) == 0).then(|| self.builder.new_label());
        let end = self.builder.new_label();
        if let Some(inside) = inside {
            self.jump(function, inside);
        }
        let dst = self.draw.one(&function.numbers);
        match self.draw.below(6) {
            0 | 1 => {
                self.move_to(function, dst);
                self.mark(inside);
                let width = self.width();
                let second = self.alu(function, width, dst);
                self.builder.insn(second);
            }
            2 => self.extension(function, dst, inside),
            3 => {
                if self.draw.below(2) == 0 {
                    self.move_to(function, dst);
                }
                self.add(dst);
                self.mark(inside);
                self.compare(function, dst, end);
                self.compute(function);
            }
            4 => {
                let known = self.load(function, dst);
                self.mark(inside);
                match known {
                    Some(known) => self.compare_with(dst, known, end),
                    None => self.compare(function, dst, end),
                }
                self.compute(function);
            }
            _ => {
                self.add(dst);
                self.mark(inside);
                self.add(dst);
            }
        }
        self.builder.label(end);
    }

    fn mark(&mut self, label: Option<Label>) {
        if let Some(label) = label {
            self.builder.label(label);
        }
    }

    fn jump(&mut self, function: &Function, to: Label) {
        let dst = self.draw.one(&function.numbers);
        self.compare(function, dst, to);
    }

    fn move_to(&mut self, function: &Function, dst: Reg) {
        let (width, src) = (self.width(), self.draw.one(&function.numbers));
        self.builder.alu(width, AluOp::Mov, dst, src);
    }

    fn add(&mut self, dst: Reg) {
        const STEPS: [i32; 8] = [1, -1, 8, -32768, 32767, 32768, -32769, i32::MIN];
        let (width, imm) = (self.width(), self.draw.one(&STEPS));
        let op = self.draw.one(&[AluOp::Add, AluOp::Add, AluOp::Sub]);
        self.builder.alu(width, op, dst, imm);
    }

    /// Shifts up and down, by the same count or another.
    fn extension(&mut self, function: &Function, dst: Reg, inside: Option<Label>) {
        if self.draw.below(2) == 0 {
            self.move_to(function, dst);
        }
        let (width, count) = (self.width(), self.draw.one(&[32, 48, 56, 16, 31, 63]));
        let count = match self.rules {
            Rules::Rfc => count,
            Rules::Linux => count & (width.bits() as i32 - 1),
        };
        self.builder.alu(width, AluOp::Lsh, dst, count);
        self.mark(inside);
        let count = if self.draw.once_in(8) { count ^ 8 } else { count };
        let op = self.draw.one(&[AluOp::Rsh, AluOp::Arsh]);
        self.builder.alu(width, op, dst, count);
    }

    /// A load, half of the time of a number stored just before: that number.
    fn load(&mut self, function: &Function, dst: Reg) -> Option<i32> {
        let size = self.draw.one(&Size::ALL);
        let place = self.draw.one(&function.places);
        let bytes = size.bytes() as i16;
        let count = ((place.high - place.low) / bytes) as usize;
        let offset = place.low + self.draw.below(count) as i16 * bytes;
        let known = (self.draw.below(2) == 0).then(|| self.draw.one(&LIKELY));
        if let Some(known) = known {
            // Of eight bytes perhaps only the low half.
            let size = if self.draw.below(2) == 0 { size.min(Size::W) } else { size };
            self.builder.store(size, place.base, offset, known);
        }
        self.builder.insn(match self.draw.below(8) {
            0 if size != Size::Dw => Insn::LoadSx { size, dst, base: place.base, offset },
            _ => Insn::Load { size, dst, base: place.base, offset },
        });
        known
    }

    fn compare_with(&mut self, dst: Reg, imm: i32, to: Label) {
        let (width, op) = (self.width(), self.draw.one(&[JmpOp::Eq, JmpOp::Ne]));
        self.builder.jump_if(width, op, dst, imm, to);
    }

    /// A jump on a register, compared with a number that it may well have.
    fn compare(&mut self, function: &Function, dst: Reg, to: Label) {
        let op = self.draw.one(&[JmpOp::ALL.as_slice(), &[JmpOp::Eq, JmpOp::Ne]].concat());
        let (width, src) = (self.width(), self.operand(function));
        let src = match self.draw.below(2) {
            0 => Operand::Imm(self.draw.one(&LIKELY)),
            _ => src,
        };
        let width = if self.draw.below(2) == 0 { Width::W64 } else { width };
        self.builder.jump_if(width, op, dst, src, to);
    }
}
