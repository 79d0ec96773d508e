//! Random programs give the same on the interpreter and on the kernel.
//!
//! The programs compute on scalars, memory and stack in every way that the verifier cannot object
//! to, with jumps forward only; at the end `r0` is a hash of all registers, memory and stack.

use ebpfvm::host::Random;
use ebpfvm_asm::builder::Builder;
use ebpfvm_asm::text::{NoSymbols, Style, listing};
use ebpfvm_asm::{
    AluOp, AtomicOp, Code, EndianOp, Imm64, Insn, JmpOp, Operand, Reg, Size, Slot, Width,
};
use ebpfvm_conformance::kernel::KernelEngine;
use ebpfvm_conformance::machine::MachineEngine;
use ebpfvm_conformance::{Engine, Outcome};
use ebpfvm_kernel::report_skip;

const PROGRAMS: u64 = 2000;
const INSNS: u32 = 60;
/// Bytes of memory, and of the stack, that programs use.
const BYTES: i16 = 64;

/// Registers that hold numbers; `r1` is the memory, `r10` the stack.
const SCALARS: [Reg; 9] =
    [Reg::R0, Reg::R2, Reg::R3, Reg::R4, Reg::R5, Reg::R6, Reg::R7, Reg::R8, Reg::R9];

struct Generator {
    random: Random,
    builder: Builder,
}

impl Generator {
    fn below(&mut self, n: u32) -> u32 {
        self.random.next_u32() % n
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u32) as usize]
    }

    /// Edge values half of the time.
    fn number(&mut self) -> u64 {
        let any = u64::from(self.random.next_u32()) << 32 | u64::from(self.random.next_u32());
        match self.below(4) {
            0 => any,
            1 => any >> self.below(64),
            2 => 1u64.rotate_left(self.below(64)).wrapping_sub(u64::from(self.below(3))),
            _ => self.one(&[0, 1, u64::MAX, 0x8000_0000, 0xffff_ffff, 1 << 63, 1 << 32]),
        }
    }

    fn operand(&mut self) -> Operand {
        match self.below(2) {
            0 => Operand::Reg(self.one(&SCALARS)),
            _ => Operand::Imm(self.number() as i32),
        }
    }

    /// A place in memory or on the stack, aligned.
    fn place(&mut self, size: Size) -> (Reg, i16) {
        let bytes = size.bytes() as i16;
        let offset = self.below((BYTES / bytes) as u32) as i16 * bytes;
        match self.below(2) {
            0 => (Reg::R1, offset),
            _ => (Reg::R10, offset - BYTES),
        }
    }

    fn insn(&mut self) -> Insn {
        let width = self.one(&Width::ALL);
        let (dst, reg) = (self.one(&SCALARS), self.one(&SCALARS));
        let size = self.one(&Size::ALL);
        match self.below(16) {
            0 => Insn::Neg { width, dst },
            1 => {
                let sizes: &[Size] = match width {
                    Width::W32 => &[Size::B, Size::H],
                    Width::W64 => &[Size::B, Size::H, Size::W],
                };
                Insn::Movsx { width, from: self.one(sizes), dst, src: reg }
            }
            2 => {
                let size = self.one(&[Size::H, Size::W, Size::Dw]);
                Insn::Endian { op: self.one(&EndianOp::ALL), size, dst }
            }
            3 => Insn::LoadImm { dst, value: Imm64::Value(self.number()) },
            4 => {
                let (base, offset) = self.place(size);
                Insn::Load { size, dst, base, offset }
            }
            5 => {
                let size = self.one(&[Size::B, Size::H, Size::W]);
                let (base, offset) = self.place(size);
                Insn::LoadSx { size, dst, base, offset }
            }
            6 => {
                let (base, offset) = self.place(size);
                Insn::Store { size, base, offset, src: self.operand() }
            }
            7 | 8 => {
                let size = self.one(&[Size::W, Size::Dw]);
                let op = self.one(&AtomicOp::ALL);
                let (base, offset) = match (self.place(size), op) {
                    (place, AtomicOp::Rmw(_)) => place,
                    // Linux 6.18 loses track of a value that an atomic operation fetches from the
                    // stack, and may drop a branch on it as dead.
                    ((Reg::R10, offset), _) => (Reg::R1, offset + BYTES),
                    (place, _) => place,
                };
                Insn::Atomic { op, size, base, offset, src: reg }
            }
            _ => {
                let op = self.one(&AluOp::ALL);
                let src = match (op, self.operand()) {
                    // The verifier refuses these, though their results are defined.
                    (AluOp::Div | AluOp::Sdiv | AluOp::Mod | AluOp::Smod, Operand::Imm(0)) => {
                        Operand::Imm(3)
                    }
                    (AluOp::Lsh | AluOp::Rsh | AluOp::Arsh, Operand::Imm(count)) => {
                        Operand::Imm(count & (width.bits() as i32 - 1))
                    }
                    (_, src) => src,
                };
                Insn::Alu { width, op, dst, src }
            }
        }
    }

    /// Appends an instruction.
    fn step(&mut self) {
        let insn = self.insn();
        self.builder.insn(insn);
        // Linux 6.18 on x86-64 leaves the upper half of r0 as it was after a 32-bit compare and
        // exchange that hits, if it sees all of r0 read only on a path that it prunes. Reading all
        // of r0 at once keeps it right.
        if let Insn::Atomic { op: AtomicOp::Cmpxchg, size: Size::W, .. } = insn {
            self.builder.mov(Reg::R0, Reg::R0);
        }
    }

    fn program(mut self) -> Code {
        for offset in (-BYTES..0).step_by(8) {
            self.builder.store(Size::Dw, Reg::R10, offset, offset as i32);
        }
        for (i, reg) in SCALARS.into_iter().enumerate() {
            self.builder.load(Size::Dw, reg, Reg::R1, i as i16 % (BYTES / 8) * 8);
        }
        let mut left = INSNS;
        while left > 0 {
            left -= 1;
            if self.below(8) > 0 {
                self.step();
                continue;
            }
            let over = self.builder.new_label();
            let (width, op) = (self.one(&Width::ALL), self.one(&JmpOp::ALL));
            let (dst, src) = (self.one(&SCALARS), self.operand());
            self.builder.jump_if(width, op, dst, src, over);
            for _ in 0..=self.below(4) {
                self.step();
            }
            self.builder.label(over);
        }
        let mix = |builder: &mut Builder, src: Reg| {
            builder.alu(Width::W64, AluOp::Mul, Reg::R0, 31);
            builder.add(Reg::R0, src);
        };
        for reg in &SCALARS[1..] {
            mix(&mut self.builder, *reg);
        }
        for offset in (0..BYTES).step_by(8) {
            for (base, offset) in [(Reg::R1, offset), (Reg::R10, offset - BYTES)] {
                self.builder.load(Size::Dw, Reg::R2, base, offset);
                mix(&mut self.builder, Reg::R2);
            }
        }
        self.builder.exit();
        self.builder.build().expect("all labels are placed")
    }
}

#[test]
fn interpreter_and_kernel_agree() {
    let kernel = match KernelEngine::new() {
        Ok(kernel) => kernel,
        Err(e) => return report_skip("interpreter_and_kernel_agree", e),
    };
    let interpreter = MachineEngine::checked();
    for seed in 0..PROGRAMS {
        let mut generator = Generator { random: Random::new(seed), builder: Builder::new() };
        let memory: Vec<u8> =
            (0..BYTES / 8).flat_map(|_| generator.number().to_ne_bytes()).collect();
        let code = generator.program();
        let slots: Vec<Slot> = code.encode().unwrap();
        let got = interpreter.run(&slots, Some(&memory));
        let expected = kernel.run(&slots, Some(&memory));
        let text = || listing(&code, Style::Mnemonic, &NoSymbols);
        assert!(matches!(expected, Outcome::Value(_)), "seed {seed}: {expected}\n{}", text());
        assert_eq!(got, expected, "seed {seed}, memory {memory:02x?}\n{}", text());
    }
}
