//! What blocks ask of their functions and of the whole program, gathered while they are made.

use crate::ir::{Check, End, Inst, Op, RegSet};
use crate::link::Callee;

/// What is asked for, as bits: those of several blocks are or-ed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Needs(u32);

impl Needs {
    /// The machine is called.
    pub(crate) const CALLS: Needs = Needs(1 << 24);
    /// A function of the program is called.
    pub(crate) const CALLS_FUNCTION: Needs = Needs(1 << 25);
    /// It is the first one.
    pub(crate) const CALLS_FIRST: Needs = Needs(1 << 26);
    /// The run may be stopped.
    pub(crate) const STOPS: Needs = Needs(1 << 27);
    /// The state of the run is read.
    pub(crate) const STATE: Needs = Needs(1 << 28);
    /// Rounds are counted (`may_goto`).
    pub(crate) const ROUNDS: Needs = Needs(1 << 29);
    /// Fuel is paid.
    pub(crate) const COSTS: Needs = Needs(1 << 30);
    /// A helper is called that may do anything.
    pub(crate) const HELPERS: Needs = Needs(1 << 31);

    /// Where the registers begin that are read; those that are written are the lowest bits.
    const USES: u32 = 12;

    /// What a block needs.
    pub(crate) fn of(insts: &[Inst], end: &End, callees: &[Callee]) -> Needs {
        let mut needs = Needs::of_end(end);
        insts.iter().for_each(|inst| needs |= Needs::of_op(&inst.op, callees));
        needs
    }

    /// What an operation needs. In line little is left of this where its kind is known.
    #[inline(always)]
    pub(crate) fn of_op(op: &Op, callees: &[Callee]) -> Needs {
        let needs = match *op {
            // The frame pointer that it is given is not that of the function.
            Op::CallLocal { function: 0 } => return Needs::CALLS_FUNCTION | Needs::CALLS_FIRST,
            Op::CallLocal { .. } => return Needs::CALLS_FUNCTION,
            Op::Packet { .. } => Needs::CALLS | Needs::STOPS,
            Op::Call { callee } => Needs::of_callee(&callees[callee as usize]),
            Op::Load { check, .. }
            | Op::Store { check, .. }
            | Op::Atomic { check, .. }
            | Op::LoadAcquire { check, .. }
            | Op::StoreRelease { check, .. }
                if check != Check::None =>
            {
                Needs::CALLS | Needs::STOPS
            }
            _ => Needs::default(),
        };
        needs | Needs(u32::from(op.writes().0)) | Needs::reading(op.uses(callees))
    }

    fn of_callee(callee: &Callee) -> Needs {
        let needs = match callee {
            Callee::Array(array) if array.lane_bytes == 0 => Needs::default(),
            Callee::Array(_) | Callee::Cpu => Needs::STATE,
            Callee::Lookup(_) => Needs::CALLS | Needs::STOPS,
            callee if callee.is_helper() => Needs::CALLS | Needs::STOPS,
            _ => Needs::CALLS,
        };
        if callee.changes_regions() { needs | Needs::HELPERS } else { needs }
    }

    /// What the end of a block needs.
    #[inline(always)]
    pub(crate) fn of_end(end: &End) -> Needs {
        let (needs, cost) = match *end {
            End::Jump(edge) => (Needs::default(), edge.cost),
            End::Branch { cond, then, other } => {
                (Needs::reading(cond.uses()), then.cost | other.cost)
            }
            End::MayGoto { then, other } => (Needs::ROUNDS, then.cost | other.cost),
            End::FellOff => (Needs::STOPS, 0),
            End::Exit => (Needs::default(), 0),
        };
        if cost == 0 { needs } else { needs | Needs::COSTS }
    }

    #[inline]
    fn reading(uses: RegSet) -> Needs {
        Needs(u32::from(uses.0) << Needs::USES)
    }

    /// Whether any of these is asked for.
    pub(crate) fn has(self, any: Needs) -> bool {
        self.0 & any.0 != 0
    }

    /// The registers that are written.
    pub(crate) fn writes(self) -> RegSet {
        RegSet(self.0 as u16 & ((1 << Needs::USES) - 1))
    }

    /// The registers that are read, but by calls of functions.
    pub(crate) fn uses(self) -> RegSet {
        RegSet((self.0 >> Needs::USES) as u16 & ((1 << Needs::USES) - 1))
    }
}

impl std::ops::BitOr for Needs {
    type Output = Needs;
    #[inline]
    fn bitor(self, other: Needs) -> Needs {
        Needs(self.0 | other.0)
    }
}

impl std::ops::BitOrAssign for Needs {
    #[inline]
    fn bitor_assign(&mut self, other: Needs) {
        self.0 |= other.0;
    }
}
