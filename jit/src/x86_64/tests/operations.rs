//! Every operation with registers and addresses of all kinds, drawn at random.

use super::{EDGES, feature_sets, on_registers};
use crate::features::Features;
use crate::ir::eval::{self, Input, WINDOW};
use crate::ir::{Address, Binary, Check, Cond, Fill, Op, Operand, Place, Reg};
use crate::native::{Mode, Native, emitted};
use ebpfvm_asm::{AluOp, AtomicOp, JmpOp, Size, Width};

/// Draws the same values in every run.
pub(super) struct Draw(u64);

impl Draw {
    pub(super) fn new(seed: u64) -> Draw {
        Draw(seed)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        (self.0 >> 33) % end
    }

    fn of<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len() as u64) as usize]
    }

    fn bool(&mut self) -> bool {
        self.below(2) == 1
    }

    fn reg(&mut self) -> Reg {
        Reg::new(self.of(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11]))
    }

    fn imm(&mut self) -> i32 {
        self.of(&[0, 1, -1, 5, 127, 128, -128, -129, 255, 256, 0xffff, 0x8000, i32::MAX, i32::MIN])
    }

    fn operand(&mut self) -> Operand {
        if self.bool() { Operand::Reg(self.reg()) } else { Operand::Imm(self.imm()) }
    }

    fn width(&mut self) -> Width {
        self.of(&Width::ALL)
    }

    fn fill(&mut self, size: Size) -> Fill {
        match self.below(3) {
            0 if size.bytes() < 4 => Fill::Sign(Width::W32),
            1 if size != Size::Dw => Fill::Sign(Width::W64),
            _ => Fill::Zero,
        }
    }

    /// An address whose base has the middle of the window, and whose index is small.
    fn address(&mut self) -> Address {
        let base = self.reg();
        let index = (self.bool(), self.reg(), self.below(4) as u8);
        let index = (index.0 && index.1 != base).then_some((index.1, index.2));
        Address { base, index, offset: self.of(&[0, 1, 8, -8, 127, 128, -128, -130]) }
    }

    fn cond(&mut self) -> Cond {
        let op = self.of(&JmpOp::ALL);
        if self.bool() {
            let size = self.of(&[Size::W, Size::Dw]);
            return Cond { op, size, lhs: Place::Reg(self.reg()), rhs: self.operand() };
        }
        let size = self.of(&Size::ALL);
        Cond { op, size, lhs: Place::Memory(self.address()), rhs: self.operand() }
    }

    pub(super) fn op(&mut self) -> Op {
        const PLAIN: [AluOp; 5] = [AluOp::Add, AluOp::Sub, AluOp::And, AluOp::Or, AluOp::Xor];
        let (dst, src, width, size) = (self.reg(), self.reg(), self.width(), self.of(&Size::ALL));
        let check = Check::None;
        match self.below(16) {
            0 => Op::Const { dst, value: self.of(&EDGES) },
            1 => Op::Move { width, dst, src },
            2 => Op::Extend { size, fill: self.fill(size), dst, src },
            3 => Op::Swap { size: self.of(&[Size::H, Size::W, Size::Dw]), dst, src },
            4 => Op::Neg { width, dst, src },
            5 => {
                let shift = self.below(64) as u8;
                Op::Bits { shift, bits: 1 + self.below(64 - u64::from(shift)) as u8, dst, src }
            }
            6 => {
                let ops = [AluOp::Mul, AluOp::Add, AluOp::Sub, AluOp::And, AluOp::Or, AluOp::Xor];
                let others = [Binary::MulHigh, Binary::SmulHigh, Binary::AndNot];
                let op = match self.below(2) {
                    0 => Binary::Alu(self.of(&ops)),
                    _ => self.of(&others),
                };
                Op::BinaryLoad { op, width, dst, lhs: src, at: self.address() }
            }
            7 => {
                let op = Binary::Alu(self.of(&PLAIN));
                Op::Update { op, size, at: self.address(), rhs: self.operand() }
            }
            8 => Op::Lea { width, dst, at: self.address() },
            9 | 10 => {
                let swap = size != Size::B && self.bool();
                let fill = if swap { Fill::Zero } else { self.fill(size) };
                Op::Load { size, fill, swap, check, dst, at: self.address() }
            }
            11 => {
                let swap = size != Size::B && self.bool();
                Op::Store { size, swap, check, src: self.operand(), at: self.address() }
            }
            12 | 13 => {
                let size = self.of(&[Size::W, Size::Dw]);
                Op::Atomic { op: self.of(&AtomicOp::ALL), size, check, src, at: self.address() }
            }
            14 if self.bool() => Op::LoadAcquire { size, check, dst, at: self.address() },
            14 => Op::StoreRelease { size, check, src, at: self.address() },
            _ => Op::Select { cond: self.cond(), dst, then: src, other: self.reg() },
        }
    }
}

/// The address at which an operation accesses memory.
fn address_in(mut op: Op) -> Option<Address> {
    match op {
        Op::Lea { .. } => None,
        Op::Select { cond: Cond { lhs: Place::Memory(at), .. }, .. } => Some(at),
        _ => op.access_mut().map(|(at, _)| *at),
    }
}

/// The memory of a run that begins with its registers: such that the address is inside.
fn window(draw: &mut Draw, at: Option<Address>) -> Vec<u8> {
    let mut regs: [u64; Reg::COUNT] = std::array::from_fn(|_| draw.of(&EDGES));
    if let Some(at) = at {
        regs[at.base.index()] = WINDOW + 256;
        if let Some((index, _)) = at.index {
            regs[index.index()] = draw.below(9);
        }
    }
    let mut bytes: Vec<u8> = regs.iter().flat_map(|value| value.to_le_bytes()).collect();
    // Values that comparisons find equal, and others.
    let r0 = regs[0].to_le_bytes();
    bytes.extend((bytes.len()..512).map(|at| r0[at % 8]));
    if draw.bool() {
        bytes[200..].iter_mut().for_each(|byte| *byte = draw.of(&[0, 1, 0x7f, 0x80, 0xff]));
    }
    bytes
}

#[test]
fn operations_do_what_they_mean() {
    let mut draw = Draw::new(1);
    let [none, all] = feature_sets();
    let some = Features { bmi1: false, ..all };
    for round in 0..30_000 {
        let op = draw.op();
        let unit = on_registers(&[op]);
        let features = [none, all, some][round % 3];
        let mut native =
            Native::new(&unit, Mode { features, is_metered: false, is_blinded: round % 4 == 0 });
        for _ in 0..4 {
            let input = Input { window: window(&mut draw, address_in(op)), fuel: 0, salt: 0 };
            let (expected, got) = (eval::run(&unit, &input), native.run(&input));
            assert!(
                expected == got,
                "{op:?} {features:?} {input:?}\nexpected {expected:?}\ngot      {got:?}\n{:02x?}",
                native.emitted.code
            );
        }
    }
}

/// Some take the flags of the one before; those that changed what is compared do not.
#[test]
fn selects_in_a_row_do_what_they_mean() {
    let mut draw = Draw::new(2);
    let [none, all] = feature_sets();
    let mut shared = 0;
    for round in 0..2_000 {
        let cond = draw.cond();
        let mut select =
            || Op::Select { cond, dst: draw.reg(), then: draw.reg(), other: draw.reg() };
        let ops = [select(), select(), select()];
        let at = address_in(ops[0]);
        // Addresses stay in the window.
        if at.is_some() && ops.iter().any(|op| (op.writes().0 & cond.uses().0) != 0) {
            continue;
        }
        let unit = on_registers(&ops);
        let mode = Mode {
            features: [none, all][round % 2],
            is_metered: false,
            is_blinded: round % 4 == 0,
        };
        let mut native = Native::new(&unit, mode);
        let alone = |op: &Op| emitted(&on_registers(&[*op]), mode).code.len();
        let around = emitted(&on_registers(&[]), mode).code.len();
        let apart: usize = ops.iter().map(|op| alone(op) - around).sum();
        shared += usize::from(native.emitted.code.len() < around + apart);
        for _ in 0..4 {
            let input = Input { window: window(&mut draw, at), fuel: 0, salt: 0 };
            let (expected, got) = (eval::run(&unit, &input), native.run(&input));
            assert!(expected == got, "{ops:?}\nexpected {expected:?}\ngot      {got:?}");
        }
    }
    assert!(shared > 1_000, "{shared}");
}
