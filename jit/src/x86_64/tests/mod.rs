//! Emitted code is run on the host and compared with what operations mean.

mod arithmetic;
mod machine;
mod operations;
mod reading;
mod units;

use crate::features::Features;
use crate::ir::eval::Input;
use crate::ir::{Address, Block, Check, End, Fill, Found, Function, Inst, Op, Operand, Reg, Unit};
use crate::native::{Mode, Native};
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
        found: Found::default(),
    }
}

/// Operations with code around that takes all registers from the window, one after the other, and puts
/// them back.
pub(super) fn on_registers(ops: &[Op]) -> Unit {
    let place = |reg: Reg| Address::new(Reg::R1, 8 * reg.index() as i32);
    let load = |dst| Op::Load {
        size: Size::Dw,
        fill: Fill::Zero,
        swap: false,
        check: Check::None,
        dst,
        at: place(dst),
    };
    let store = |src, at| Op::Store {
        size: Size::Dw,
        swap: false,
        check: Check::None,
        src: Operand::Reg(src),
        at,
    };
    // The address of the window is kept in the frame, and r1 comes last.
    let kept = Address::new(Reg::FP, -8);
    let others = writable().filter(|reg| *reg != Reg::R1);
    let before = [store(Reg::R1, kept)].into_iter().chain(others.clone().map(load));
    let before = before.chain([load(Reg::R1)]);
    let get = |dst, at| match load(dst) {
        Op::Load { size, fill, swap, check, dst, .. } => {
            Op::Load { size, fill, swap, check, dst, at }
        }
        op => op,
    };
    let r1 = Address::new(Reg::FP, -16);
    let after = [store(Reg::R1, r1), get(Reg::R1, kept)].into_iter();
    let after = after.chain(others.map(|reg| store(reg, place(reg))));
    let last = [get(Reg::R2, r1), store(Reg::R2, place(Reg::R1))];
    let ops = before.chain(ops.iter().copied()).chain(after).chain(last);
    let mut unit = straight(ops);
    unit.functions[0].stack_bytes = 16;
    unit
}

/// The code of operations on registers.
pub(super) struct OnRegisters(Box<Native>);

impl OnRegisters {
    pub(super) fn new(ops: &[Op], features: Features) -> OnRegisters {
        OnRegisters(Native::new(
            &on_registers(ops),
            Mode { features, is_metered: false, is_blinded: false },
        ))
    }

    /// The registers after the operations.
    pub(super) fn run(&mut self, regs: [u64; Reg::COUNT]) -> [u64; Reg::COUNT] {
        let window = regs.iter().flat_map(|value| value.to_le_bytes()).collect();
        let outcome = self.0.run(&Input { window, fuel: 0, salt: 0 });
        outcome.result.expect("code without an end but its own");
        let mut words = outcome.window.chunks_exact(8);
        std::array::from_fn(|_| {
            let word = words.next().expect("as many words as before");
            u64::from_le_bytes(word.try_into().expect("8 bytes"))
        })
    }
}
