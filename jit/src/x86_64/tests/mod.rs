//! Emitted code is run on the host and compared with what operations mean.

mod arithmetic;

use crate::Options;
use crate::features::Features;
use crate::ir::{Address, Block, Check, End, Fill, Function, Inst, Op, Operand, Reg, Unit};
use crate::native::{Native, nothing};
use crate::opt::Passes;
use ebpfvm_asm::{Pc, Size};

/// The registers that an operation may write.
pub(super) fn writable() -> impl Iterator<Item = Reg> + Clone {
    (0..Reg::COUNT as u8).map(Reg::new).filter(|reg| *reg != Reg::FP)
}

/// Values at which operations behave otherwise than a little further.
pub(super) const EDGES: [u64; 14] = [
    0,
    1,
    2,
    7,
    0x7f,
    0x80,
    0x8000,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x1_0000_0000,
    0x0123_4567_89ab_cdef,
    i64::MIN as u64,
    u64::MAX,
];

pub(super) fn options(features: Features) -> Options {
    Options { features, is_metered: false, passes: Passes::NONE }
}

/// The features that this processor can be asked for: none, and all that it has.
pub(super) fn feature_sets() -> [Features; 2] {
    [Features::NONE, Features::detect()]
}

/// A unit of one block that ends with an exit.
pub(super) fn straight(ops: impl IntoIterator<Item = Op>) -> Unit {
    let inst = |(index, op)| Inst { op, pc: Pc(index as u32) };
    let insts: Vec<Inst> = ops.into_iter().enumerate().map(inst).collect();
    let block = Block { insts, end: End::Exit, ..Block::new(Pc(0)) };
    let function = Function { start: Pc(0), entry: 0, cost: 0, stack_bytes: 0, is_callback: false };
    Unit {
        functions: vec![function],
        blocks: vec![block],
        callees: Vec::new(),
        crosses: false,
        is_checked: false,
    }
}

/// Registers as they are at the top of the entry's stack frame, one after the other.
type Regs = [u64; Reg::COUNT];

fn place(reg: Reg) -> Address {
    Address::new(Reg::FP, -8 * (1 + reg.index() as i32))
}

/// Operations with code around that takes all registers from the frame and puts them back.
pub(super) struct OnRegisters(Native);

impl OnRegisters {
    pub(super) fn new(ops: &[Op], features: Features) -> OnRegisters {
        let load = |dst| Op::Load {
            size: Size::Dw,
            fill: Fill::Zero,
            swap: false,
            check: Check::None,
            dst,
            at: place(dst),
        };
        let store = |src| Op::Store {
            size: Size::Dw,
            swap: false,
            check: Check::None,
            src: Operand::Reg(src),
            at: place(src),
        };
        let ops = writable().map(load).chain(ops.iter().copied()).chain(writable().map(store));
        OnRegisters(Native::new(&straight(ops), &nothing(), &options(features)))
    }

    /// The registers after the operations.
    pub(super) fn run(&mut self, mut regs: Regs) -> Regs {
        for (index, value) in regs.iter().enumerate() {
            let end = self.0.stack.0.len() - 8 * index;
            self.0.stack.0[end - 8..end].copy_from_slice(&value.to_le_bytes());
        }
        self.0.run([0; 5]).expect("code without an end but its own");
        for (index, value) in regs.iter_mut().enumerate() {
            let end = self.0.stack.0.len() - 8 * index;
            *value = u64::from_le_bytes(self.0.stack.0[end - 8..end].try_into().expect("8 bytes"));
        }
        regs
    }
}
