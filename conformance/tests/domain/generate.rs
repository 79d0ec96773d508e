//! Random programs on scalars.

use ebpfvm::host::Random;
use ebpfvm_asm::{AluOp, EndianOp, Imm64, Insn, JmpOp, Operand, Reg, Size, Width};

const STEPS: u32 = 14;
/// The registers that are followed.
pub(crate) const REGS: [Reg; 3] = [Reg::R6, Reg::R7, Reg::R8];

/// One step of a random program.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    /// Arithmetic on followed registers.
    Compute(Insn),
    /// Stores a register to the stack and loads its low part.
    Reload { size: Size, signed: bool, dst: Reg, src: Reg },
    /// Loads bytes from the stack of which nothing is known.
    Load { size: Size, signed: bool, dst: Reg },
    /// A comparison, and which of its sides the program goes on with; the other one ends.
    Compare { width: Width, op: JmpOp, dst: Reg, src: Operand, taken: bool },
}

pub(crate) struct Generator(pub(crate) Random);

impl Generator {
    pub(crate) fn below(&mut self, n: u32) -> u32 {
        self.0.next_u32() % n
    }

    pub(crate) fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u32) as usize]
    }

    /// Mostly values at the edges of intervals, widths and masks.
    pub(crate) fn number(&mut self) -> u64 {
        let any = u64::from(self.0.next_u32()) << 32 | u64::from(self.0.next_u32());
        match self.below(6) {
            0 => any,
            1 => any >> self.below(64),
            2 => (any as i64 >> self.below(64)) as u64,
            3 => u64::from(self.below(20)).wrapping_sub(8),
            4 => 1u64.rotate_left(self.below(64)).wrapping_sub(u64::from(self.below(4))),
            _ => self.one(&[u64::MAX, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff, 1 << 63, 1 << 32]),
        }
    }

    fn operand(&mut self) -> Operand {
        match self.below(3) {
            0 => Operand::Reg(self.one(&REGS)),
            _ => Operand::Imm(self.number() as i32),
        }
    }

    fn compute(&mut self) -> Insn {
        let width = self.one(&Width::ALL);
        let (dst, src) = (self.one(&REGS), self.one(&REGS));
        match self.below(24) {
            0 | 1 => Insn::Neg { width, dst },
            2 | 3 => {
                let from = match width {
                    Width::W32 => self.one(&[Size::B, Size::H]),
                    Width::W64 => self.one(&[Size::B, Size::H, Size::W]),
                };
                Insn::Movsx { width, from, dst, src }
            }
            4 => Insn::LoadImm { dst, value: Imm64::Value(self.number()) },
            5 if self.below(4) == 0 => {
                let size = self.one(&[Size::H, Size::W, Size::Dw]);
                Insn::Endian { op: self.one(&EndianOp::ALL), size, dst }
            }
            _ => {
                let op = self.one(&AluOp::ALL);
                let src = match (op, self.operand()) {
                    (AluOp::Lsh | AluOp::Rsh | AluOp::Arsh, Operand::Imm(count)) => {
                        let usual = self.one(&[8, 16, 24, 31, 32, 48, 56, 63, count]);
                        Operand::Imm(usual & (width.bits() as i32 - 1))
                    }
                    (AluOp::Div | AluOp::Sdiv | AluOp::Mod | AluOp::Smod, Operand::Imm(0)) => {
                        Operand::Imm(3)
                    }
                    // These forget everything; less often, then.
                    (AluOp::Div | AluOp::Sdiv | AluOp::Mod | AluOp::Smod, Operand::Reg(_))
                        if self.below(4) != 0 =>
                    {
                        return Insn::Alu { width, op: AluOp::And, dst, src: Operand::Reg(src) };
                    }
                    (_, src) => src,
                };
                Insn::Alu { width, op, dst, src }
            }
        }
    }

    /// A random program.
    pub(crate) fn steps(&mut self) -> Vec<Step> {
        let mut steps = Vec::new();
        for _ in 0..STEPS {
            if self.below(5) < 3 {
                steps.push(Step::Compare {
                    width: self.one(&Width::ALL),
                    op: self.one(&JmpOp::ALL),
                    dst: self.one(&REGS),
                    src: self.operand(),
                    taken: self.below(2) == 0,
                });
                continue;
            }
            let (signed, dst, src) = (self.below(2) == 0, self.one(&REGS), self.one(&REGS));
            let sizes = &Size::ALL[..if signed { 3 } else { 4 }];
            let size = self.one(sizes);
            if self.below(16) == 0 {
                // A sign as a mask, of which the kernel follows both values apart.
                let (width, op) = (self.one(&Width::ALL), AluOp::Arsh);
                let src = Operand::Imm(width.bits() as i32 - 1);
                steps.push(Step::Compute(Insn::Alu { width, op, dst, src }));
                let (width, op) = (self.one(&Width::ALL), self.one(&[AluOp::And, AluOp::Or]));
                let src = Operand::Imm(self.number() as i32);
                steps.push(Step::Compute(Insn::Alu { width, op, dst, src }));
                continue;
            }
            let step = match self.below(12) {
                0 => Step::Reload { size, signed, dst, src },
                1 => Step::Load { size, signed, dst },
                _ => Step::Compute(self.compute()),
            };
            steps.push(step);
            // Copies share a number, and what is learned of one is then learned of the other. An
            // operation that changes nothing takes the copy its number.
            if let Step::Compute(
                Insn::Alu { op: AluOp::Mov, dst, src: Operand::Reg(_), .. }
                | Insn::Movsx { dst, .. },
            )
            | Step::Reload { dst, .. } = step
            {
                let (width, op, src) = (Width::W64, AluOp::Xor, Operand::Imm(0));
                steps.push(Step::Compute(Insn::Alu { width, op, dst, src }));
            }
        }
        steps
    }

    /// A comparison with a constant, which ends the program on one side.
    pub(crate) fn comparison(&mut self, dst: Reg) -> Step {
        let (width, op) = (self.one(&Width::ALL), self.one(&JmpOp::ALL));
        let src = Operand::Imm(self.number() as i32);
        Step::Compare { width, op, dst, src, taken: self.below(2) == 0 }
    }

    /// A program that puts registers into ranges by which a pointer may be moved, and the moves.
    pub(crate) fn moves(&mut self) -> (Vec<Step>, Vec<(AluOp, Reg)>) {
        let width = Width::W64;
        let mut steps = Vec::new();
        for dst in REGS {
            let mut then = |op, imm: u64| {
                let src = Operand::Imm(imm as i32);
                steps.push(Step::Compute(Insn::Alu { width, op, dst, src }));
            };
            then(AluOp::And, self.number() >> self.below(16) & 0xfff_ffff);
            match self.below(4) {
                0 => then(AluOp::Or, self.number() & 0xff_ffff),
                1 => then(AluOp::Sub, self.number() & 0xff_ffff),
                2 => then(AluOp::Add, self.number() & 0xff_ffff),
                _ => {}
            }
        }
        let op = |random: u32| if random == 0 { AluOp::Sub } else { AluOp::Add };
        let moves = (0..4).map(|_| (op(self.below(3)), self.one(&REGS))).collect();
        (steps, moves)
    }
}
