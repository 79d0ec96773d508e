//! Who uses a function's frame, and how.

use crate::ir::{Address, Cond, End, Op, Operand, Place, Reg, RegSet, Unit};
use ebpfvm_asm::{Size, Width};

/// What an operation does with the frame.
pub(super) enum Touch {
    Nothing,
    Reads(Address, Size),
    Writes(Address, Size),
    /// Reads and writes, and needs not happen if nobody reads the result.
    Updates(Address, Size),
    /// Takes its address.
    Takes,
}

/// What an operation does with the frame.
pub(super) fn touch(op: &Op) -> Touch {
    let direct = |at: Address| at.base == Reg::FP && at.index.is_none();
    let frame = RegSet::of(Reg::FP);
    let has_frame = |set: RegSet| set.without(frame) != set;
    match *op {
        // The callee gets a frame of its own.
        Op::Call { .. } | Op::CallLocal { .. } => Touch::Nothing,
        Op::Load { at, size, .. } | Op::LoadAcquire { at, size, .. } if direct(at) => {
            Touch::Reads(at, size)
        }
        Op::BinaryLoad { at, width, lhs, .. } if direct(at) && lhs != Reg::FP => {
            Touch::Reads(at, if width == Width::W32 { Size::W } else { Size::Dw })
        }
        Op::Store { at, size, src, .. } if direct(at) && src != Operand::Reg(Reg::FP) => {
            Touch::Writes(at, size)
        }
        Op::Update { at, size, rhs, .. } if direct(at) && rhs != Operand::Reg(Reg::FP) => {
            Touch::Updates(at, size)
        }
        Op::Atomic { at, size, src, .. } if direct(at) && src != Reg::FP => Touch::Reads(at, size),
        Op::StoreRelease { at, size, src, .. } if direct(at) && src != Reg::FP => {
            Touch::Reads(at, size)
        }
        Op::Select { cond, then, other, .. }
            if has_frame(cond.uses()) && then != Reg::FP && other != Reg::FP =>
        {
            in_cond(&cond)
        }
        ref op if has_frame(op.uses(&[])) => Touch::Takes,
        _ => Touch::Nothing,
    }
}

fn in_cond(cond: &Cond) -> Touch {
    match cond.lhs {
        Place::Memory(at)
            if at.base == Reg::FP && at.index.is_none() && cond.rhs != Operand::Reg(Reg::FP) =>
        {
            Touch::Reads(at, cond.size)
        }
        _ => match cond.uses().has(Reg::FP) {
            true => Touch::Takes,
            false => Touch::Nothing,
        },
    }
}

/// What the end of a block does with the frame.
pub(super) fn touch_end(end: &End) -> Touch {
    match end {
        End::Branch { cond, .. } => in_cond(cond),
        _ => Touch::Nothing,
    }
}

/// The function of each block, and for each function whether anybody may have the address of its frame. One
/// more stands for blocks that control does not come to.
pub(super) fn owners(unit: &Unit) -> (Vec<u32>, Vec<bool>) {
    let nobody = unit.functions.len() as u32;
    let mut owner = vec![nobody; unit.blocks.len()];
    let mut path = Vec::new();
    for (number, function) in unit.functions.iter().enumerate() {
        path.push(function.entry as usize);
        while let Some(block) = path.pop() {
            if owner[block] == nobody {
                owner[block] = number as u32;
                path.extend(unit.blocks[block].successors());
            }
        }
    }
    let mut takes = vec![false; unit.functions.len()];
    takes.push(true);
    for (block, owner) in unit.blocks.iter().zip(&owner) {
        if takes[*owner as usize] {
            continue;
        }
        let ops = block.insts.iter().map(|inst| touch(&inst.op));
        let taken = ops.chain([touch_end(&block.end)]).any(|touch| matches!(touch, Touch::Takes));
        takes[*owner as usize] |= taken || !block.guards.is_empty();
    }
    (owner, takes)
}
