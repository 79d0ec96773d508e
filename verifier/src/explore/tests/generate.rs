//! Random programs that are often accepted, and whose safety hangs on what paths have in common.

use ebpfvm_asm::{
    AluOp, AtomicOp, CallTarget, Code, Imm64, Insn, JmpOp, Operand, Reach, Reg, RmwOp, Size, Width,
};

/// A sequence of numbers that look random (xorshift).
#[derive(Clone)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Random {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        (0..4).for_each(|_| {
            random.next();
        });
        random
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d).rotate_left(23)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() >> 16) as usize % limit
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}

/// Registers that hold numbers all the time.
const NUMBERS: [u8; 7] = [0, 2, 3, 6, 7, 8, 9];
/// Numbers that meet each other often.
const CONSTANTS: [i32; 12] = [0, 1, 2, 4, 7, 8, 15, 16, 24, 64, -1, -8];
/// Slots that are in use, and the bytes of the stack below which nothing is.
const SLOTS: usize = 4;

fn reg(number: u8) -> Reg {
    Reg::new(number).expect("a register of the generator")
}

fn mov(dst: u8, src: Operand) -> Insn {
    Insn::Alu { width: Width::W64, op: AluOp::Mov, dst: reg(dst), src }
}

struct Generator<'r> {
    random: &'r mut Random,
    insns: Vec<Insn>,
    /// Where functions other than the entry are called: to be pointed at them.
    calls: Vec<usize>,
    /// The counter of the loop around, which stays as it is.
    counter: Option<u8>,
    in_entry: bool,
}

/// A program.
pub(super) fn program(random: &mut Random) -> Code {
    let mut generator =
        Generator { random, insns: Vec::new(), calls: Vec::new(), counter: None, in_entry: true };
    generator.function(14);
    let calls = std::mem::take(&mut generator.calls);
    generator.in_entry = false;
    let callee = generator.insns.len();
    if !calls.is_empty() {
        generator.function(5);
    }
    for call in calls {
        let offset = (callee - call - 1) as i32;
        generator.insns[call] = Insn::Call { target: CallTarget::Local { offset } };
    }
    generator.insns.into_iter().collect()
}

impl Generator<'_> {
    fn function(&mut self, items: usize) {
        if self.in_entry {
            self.unknown();
        } else {
            self.insns.push(mov(0, Operand::Reg(Reg::R2)));
        }
        for number in [6, 7, 8, 9] {
            let value = if self.random.below(3) == 0 {
                Operand::Reg(Reg::R0)
            } else {
                Operand::Imm(self.random.pick(&CONSTANTS))
            };
            self.insns.push(mov(number, value));
        }
        if self.in_entry {
            (0..SLOTS).for_each(|slot| self.spill(slot));
        }
        let count = 4 + self.random.below(items);
        (0..count).for_each(|_| self.item());
        if self.in_entry || self.random.below(2) == 0 {
            self.insns.push(mov(0, Operand::Imm(0)));
        }
        self.insns.push(Insn::Exit);
    }

    fn number(&mut self) -> u8 {
        loop {
            let number = self.random.pick(&NUMBERS);
            if Some(number) != self.counter {
                return number;
            }
        }
    }

    fn operand(&mut self) -> Operand {
        if self.random.below(3) == 0 {
            Operand::Reg(reg(self.random.pick(&NUMBERS)))
        } else {
            Operand::Imm(self.random.pick(&CONSTANTS))
        }
    }

    fn width(&mut self) -> Width {
        if self.random.below(3) == 0 { Width::W32 } else { Width::W64 }
    }

    /// A number that nothing is known of but its width; registers that calls destroy hold numbers
    /// again.
    fn unknown(&mut self) {
        self.insns.push(Insn::Call { target: CallTarget::Helper(7) });
        self.refill();
    }

    fn refill(&mut self) {
        for number in [2, 3] {
            let imm = self.random.pick(&CONSTANTS);
            self.insns.push(mov(number, Operand::Imm(imm)));
        }
    }

    fn spill(&mut self, slot: usize) {
        let src = Operand::Reg(reg(self.random.pick(&NUMBERS)));
        let offset = -8 * (slot as i16 + 1);
        self.insns.push(Insn::Store { size: Size::Dw, base: Reg::R10, offset, src });
    }

    fn item(&mut self) {
        match self.random.below(21) {
            0..=3 => self.arithmetic(),
            4 => {
                let (dst, src) = (self.number(), self.random.pick(&NUMBERS));
                self.insns.push(mov(dst, Operand::Reg(reg(src))));
            }
            5 | 6 => {
                let slot = self.random.below(SLOTS);
                self.spill(slot);
            }
            7 | 8 => {
                let offset = -8 * (self.random.below(SLOTS) as i16 + 1);
                let dst = reg(self.number());
                self.insns.push(Insn::Load { size: Size::Dw, dst, base: Reg::R10, offset });
            }
            9 => self.narrow(),
            10 => self.unknown(),
            11 | 12 => self.bound(),
            13..=15 => self.branch(),
            16 | 17 => self.offset(),
            18 => self.guarded(),
            19 => self.round(),
            _ => self.call_or_exchange(),
        }
    }

    fn arithmetic(&mut self) {
        const OPS: [AluOp; 10] = [
            AluOp::Add,
            AluOp::Sub,
            AluOp::And,
            AluOp::Or,
            AluOp::Xor,
            AluOp::Mul,
            AluOp::Lsh,
            AluOp::Rsh,
            AluOp::Arsh,
            AluOp::Mod,
        ];
        let (width, op, dst) = (self.width(), self.random.pick(&OPS), reg(self.number()));
        let src = match op {
            AluOp::Lsh | AluOp::Rsh | AluOp::Arsh => Operand::Imm(self.random.pick(&[0, 1, 3, 31])),
            AluOp::Mod => Operand::Imm(self.random.pick(&[1, 2, 8, 16])),
            _ => self.operand(),
        };
        self.insns.push(Insn::Alu { width, op, dst, src });
        if self.random.below(8) == 0 {
            let dst = reg(self.number());
            self.insns.push(Insn::Movsx { width: Width::W64, from: Size::B, dst, src: dst });
        }
    }

    /// Bytes of a slot are read or written.
    fn narrow(&mut self) {
        let size = self.random.pick(&[Size::B, Size::H, Size::W]);
        let place = self.random.below(8 * SLOTS / size.bytes() as usize) + 1;
        let offset = -((place * size.bytes() as usize) as i16);
        let insn = if self.random.below(2) == 0 {
            Insn::Load { size, dst: reg(self.number()), base: Reg::R10, offset }
        } else {
            Insn::Store { size, base: Reg::R10, offset, src: self.operand() }
        };
        self.insns.push(insn);
    }

    /// A number becomes small.
    fn bound(&mut self) {
        let dst = reg(self.number());
        let src = Operand::Imm(self.random.pick(&[1, 7, 8, 15]));
        self.insns.push(Insn::Alu { width: Width::W64, op: AluOp::And, dst, src });
    }

    fn comparison(&mut self, offset: i16) -> Insn {
        let op = self.random.pick(&JmpOp::ALL);
        let (width, dst, src) = (self.width(), reg(self.random.pick(&NUMBERS)), self.operand());
        Insn::JumpIf { width, op, dst, src, offset }
    }

    /// Some items are left out on one way; perhaps others on the other.
    fn branch(&mut self) {
        let at = self.insns.len();
        let jump = self.comparison(0);
        self.insns.push(jump);
        let then = self.random.below(3);
        (0..=then).for_each(|_| self.simple());
        if self.random.below(3) == 0 {
            let over = self.insns.len();
            self.insns.push(Insn::Jump { reach: Reach::Near, offset: 0 });
            self.insns[at] = self.insns[at].retarget((over - at) as i32).expect("it is near");
            self.simple();
            let offset = (self.insns.len() - over - 1) as i32;
            self.insns[over] = Insn::Jump { reach: Reach::Near, offset };
        } else {
            let offset = (self.insns.len() - at - 1) as i32;
            self.insns[at] = self.insns[at].retarget(offset).expect("it is near");
        }
    }

    fn simple(&mut self) {
        match self.random.below(5) {
            0 => self.arithmetic(),
            1 => {
                let slot = self.random.below(SLOTS);
                self.spill(slot);
            }
            2 => self.bound(),
            _ => {
                let (dst, imm) = (self.number(), self.random.pick(&CONSTANTS));
                self.insns.push(mov(dst, Operand::Imm(imm)));
            }
        }
    }

    /// A number is an offset into the stack.
    fn offset(&mut self) {
        let number = self.random.pick(&NUMBERS);
        if self.random.below(3) > 0 {
            let src = Operand::Imm(self.random.pick(&[7, 15, 24]));
            let offset = 1;
            let (width, dst) = (Width::W64, reg(number));
            // Too great a number is no offset.
            self.insns.push(Insn::JumpIf { width, op: JmpOp::Le, dst, src, offset });
            self.insns.push(mov(number, Operand::Imm(0)));
        }
        self.insns.push(mov(1, Operand::Reg(Reg::R10)));
        let src = Operand::Reg(reg(number));
        self.insns.push(Insn::Alu { width: Width::W64, op: AluOp::Add, dst: Reg::R1, src });
        let offset = -8 * SLOTS as i16;
        let size = self.random.pick(&[Size::B, Size::Dw]);
        let insn = if self.random.below(2) == 0 {
            Insn::Load { size, dst: reg(self.number()), base: Reg::R1, offset }
        } else {
            Insn::Store { size, base: Reg::R1, offset, src: self.operand() }
        };
        self.insns.push(insn);
    }

    /// An access that is never right, on a way that may never be taken.
    fn guarded(&mut self) {
        let jump = self.comparison(1);
        self.insns.push(jump);
        let src = Operand::Imm(0);
        self.insns.push(Insn::Store { size: Size::Dw, base: Reg::R10, offset: 8, src });
    }

    /// A loop that counts down.
    fn round(&mut self) {
        if self.counter.is_some() {
            return self.simple();
        }
        let counter = self.random.pick(&[8, 9]);
        let rounds = self.random.pick(&[2, 3, 5]);
        self.insns.push(mov(counter, Operand::Imm(rounds)));
        let start = self.insns.len();
        self.counter = Some(counter);
        let count = 1 + self.random.below(4);
        for _ in 0..count {
            match self.random.below(3) {
                0 => self.branch(),
                1 => self.offset(),
                _ => self.simple(),
            }
        }
        self.counter = None;
        let (width, dst) = (Width::W64, reg(counter));
        self.insns.push(Insn::Alu { width, op: AluOp::Add, dst, src: Operand::Imm(-1) });
        let offset = start as i32 - self.insns.len() as i32 - 1;
        let offset = i16::try_from(offset).expect("it is near");
        self.insns.push(Insn::JumpIf { width, op: JmpOp::Ne, dst, src: Operand::Imm(0), offset });
    }

    fn call_or_exchange(&mut self) {
        if self.in_entry && self.random.below(2) == 0 {
            self.insns.push(mov(1, Operand::Imm(1)));
            self.calls.push(self.insns.len());
            self.insns.push(Insn::Exit);
            self.refill();
            return;
        }
        if !self.in_entry {
            return self.simple();
        }
        let offset = -8 * (self.random.below(SLOTS) as i16 + 1);
        let op = self.random.pick(&[
            AtomicOp::Fetch(RmwOp::Add),
            AtomicOp::Rmw(RmwOp::Or),
            AtomicOp::Xchg,
            AtomicOp::Cmpxchg,
        ]);
        let src = reg(self.number());
        self.insns.push(Insn::Atomic { op, size: Size::Dw, base: Reg::R10, offset, src });
        let dst = reg(self.number());
        let value = Imm64::Value(self.random.next() >> 40);
        self.insns.push(Insn::LoadImm { dst, value });
    }
}
