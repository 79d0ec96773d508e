//! Where control can go from an instruction.

use ebpfvm_asm::{CallTarget, Code, Insn, Pc};

/// The places that control can go to from one instruction, at most two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ways {
    ways: [i64; 2],
    count: u8,
}

impl Ways {
    const NONE: Ways = Ways { ways: [0; 2], count: 0 };

    fn to(places: &[i64]) -> Ways {
        let mut all = Ways::NONE;
        for (way, place) in all.ways.iter_mut().zip(places) {
            *way = *place;
            all.count += 1;
        }
        all
    }

    /// The places as slots; one that is no slot of the program is an error of the program.
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = i64> + '_ {
        self.ways[..self.count as usize].iter().copied()
    }
}

/// The slot that a jump or function offset at `pc` names.
pub(crate) fn target(pc: Pc, offset: i32) -> i64 {
    i64::from(pc.0) + 1 + i64::from(offset)
}

/// The ways within a function: calls come back (`bpf_insn_successors`).
pub(crate) fn successors(pc: Pc, insn: &Insn) -> Ways {
    let next = i64::from(pc.0) + insn.slots() as i64;
    match *insn {
        Insn::Exit => Ways::NONE,
        Insn::Jump { offset, .. } => Ways::to(&[target(pc, offset)]),
        Insn::JumpIf { offset, .. } | Insn::MayGoto { offset } => {
            Ways::to(&[next, target(pc, offset.into())])
        }
        _ => Ways::to(&[next]),
    }
}

/// The ways that may be taken, those into called functions and callbacks among them
/// (`visit_insn`). The first is to what follows, if any.
pub(crate) fn edges(pc: Pc, insn: &Insn) -> Ways {
    match insn.function_offset() {
        Some(offset) => Ways::to(&[i64::from(pc.0) + insn.slots() as i64, target(pc, offset)]),
        None => successors(pc, insn),
    }
}

/// The jump's own target, of instructions that jump.
pub(crate) fn jump_target(pc: Pc, insn: &Insn) -> Option<i64> {
    insn.jump_offset().map(|offset| target(pc, offset))
}

/// The place as a position, if it is a slot of the code.
pub(crate) fn slot(code: &Code, place: i64) -> Option<Pc> {
    let pc = u32::try_from(place).ok()?;
    ((pc as usize) < code.len()).then_some(Pc(pc))
}

/// Whether the instruction calls a function of the program directly.
pub(crate) const fn is_local_call(insn: &Insn) -> bool {
    matches!(insn, Insn::Call { target: CallTarget::Local { .. } })
}
