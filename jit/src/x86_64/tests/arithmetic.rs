//! Operations on registers, with every pair of registers and edge values.

use super::{EDGES, OnRegisters, feature_sets};
use crate::ir::eval;
use crate::ir::{Binary, Op, Operand, Reg};
use ebpfvm_asm::{AluOp, Width};

/// The registers that operations treat in ways of their own, and two others.
fn places() -> impl Iterator<Item = Reg> + Clone {
    [0, 1, 3, 4, 6, 11].into_iter().map(Reg::new)
}

fn operations() -> impl Iterator<Item = Binary> {
    let alu = AluOp::ALL.into_iter().filter(|op| *op != AluOp::Mov).map(Binary::Alu);
    alu.chain([Binary::Rotl, Binary::MulHigh, Binary::SmulHigh, Binary::AndNot])
}

/// Registers that all differ.
fn regs() -> [u64; Reg::COUNT] {
    std::array::from_fn(|index| 0x1111_2222_3333_4440 + 0x0101_0101_0101_0101 * index as u64)
}

#[test]
fn operations_with_two_registers() {
    for features in feature_sets() {
        for (op, width) in operations().flat_map(|op| Width::ALL.map(|width| (op, width))) {
            let triples = places().flat_map(|dst| {
                places().flat_map(move |lhs| places().map(move |rhs| (dst, lhs, rhs)))
            });
            for (dst, lhs, rhs) in triples {
                let op_of = Op::Binary { op, width, dst, lhs, rhs: Operand::Reg(rhs) };
                let mut code = OnRegisters::new(&[op_of], features);
                let pairs = EDGES.iter().flat_map(|a| EDGES.map(|b| (*a, b)));
                for (left, right) in pairs {
                    let mut before = regs();
                    before[lhs.index()] = left;
                    before[rhs.index()] = right;
                    let mut after = before;
                    after[dst.index()] =
                        eval::binary(op, width, before[lhs.index()], before[rhs.index()]);
                    assert_eq!(code.run(before), after, "{op_of:?} of {left:#x}, {right:#x}");
                }
            }
        }
    }
}

#[test]
fn operations_with_an_immediate() {
    const IMMEDIATES: [i32; 24] = [
        0,
        1,
        -1,
        2,
        3,
        5,
        7,
        8,
        9,
        10,
        15,
        17,
        31,
        32,
        33,
        63,
        127,
        128,
        -128,
        255,
        0xffff,
        0x1_0000,
        i32::MAX,
        i32::MIN,
    ];
    for features in feature_sets() {
        for (op, width) in operations().flat_map(|op| Width::ALL.map(|width| (op, width))) {
            for (dst, lhs) in places().flat_map(|dst| places().map(move |lhs| (dst, lhs))) {
                for imm in IMMEDIATES {
                    let op_of = Op::Binary { op, width, dst, lhs, rhs: Operand::Imm(imm) };
                    let mut code = OnRegisters::new(&[op_of], features);
                    for left in EDGES {
                        let mut before = regs();
                        before[lhs.index()] = left;
                        let mut after = before;
                        after[dst.index()] = eval::binary(op, width, left, i64::from(imm) as u64);
                        assert_eq!(code.run(before), after, "{op_of:?} of {left:#x}");
                    }
                }
            }
        }
    }
}
