//! Which registers are read later (`compute_live_registers`).

use super::{RegSet, Structure, ways};
use ebpfvm_asm::{AluOp, AtomicOp, CallTarget, Code, Insn, Operand, Reg};
use ebpfvm_spec::helper::{Arg, HelperProto};

/// The registers that an instruction reads and those that it overwrites (`compute_insn_live_regs`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Use {
    reads: RegSet,
    writes: RegSet,
}

const fn of(regs: &[Reg]) -> RegSet {
    let mut set = RegSet::NONE;
    let mut i = 0;
    while i < regs.len() {
        set = set.with(regs[i].index());
        i += 1;
    }
    set
}

const NONE: RegSet = RegSet::NONE;
/// Registers that a call does not preserve.
const CALLER_SAVED: RegSet = of(&[Reg::R0, Reg::R1, Reg::R2, Reg::R3, Reg::R4, Reg::R5]);
const ARGUMENTS: [Reg; 5] = [Reg::R1, Reg::R2, Reg::R3, Reg::R4, Reg::R5];
/// For instructions about which nothing is known.
const ALL: RegSet = RegSet(u16::MAX);

/// The register of an operand, if it is one.
fn operand(src: Operand) -> RegSet {
    match src {
        Operand::Reg(reg) => of(&[reg]),
        Operand::Imm(_) => NONE,
    }
}

fn usage<'a>(insn: &Insn, helper: &impl Fn(u32) -> Option<&'a HelperProto>) -> Use {
    let (reads, writes) = match *insn {
        Insn::Alu { op: AluOp::Mov, dst, src, .. } => (operand(src), of(&[dst])),
        Insn::Alu { dst, src, .. } => (operand(src).or(of(&[dst])), of(&[dst])),
        Insn::Neg { dst, .. } | Insn::Endian { dst, .. } => (of(&[dst]), of(&[dst])),
        Insn::Movsx { dst, src, .. } | Insn::AddrSpaceCast { dst, src, .. } => {
            (of(&[src]), of(&[dst]))
        }
        Insn::LoadImm { dst, .. } => (NONE, of(&[dst])),
        Insn::Load { dst, base, .. }
        | Insn::LoadSx { dst, base, .. }
        | Insn::LoadAcquire { dst, base, .. } => (of(&[base]), of(&[dst])),
        Insn::Store { base, src, .. } => (operand(src).or(of(&[base])), NONE),
        Insn::StoreRelease { base, src, .. } => (of(&[base, src]), NONE),
        Insn::Atomic { op: AtomicOp::Cmpxchg, base, src, .. } => {
            (of(&[base, src, Reg::R0]), of(&[Reg::R0]))
        }
        Insn::Atomic { op, base, src, .. } => {
            (of(&[base, src]), op.fetches_into(src).map_or(NONE, |reg| of(&[reg])))
        }
        Insn::LoadAbs { .. } | Insn::LoadInd { .. } => (ALL, NONE),
        Insn::Jump { .. } | Insn::MayGoto { .. } => (NONE, NONE),
        Insn::JumpIf { dst, src, .. } => (operand(src).or(of(&[dst])), NONE),
        Insn::Call { target } => {
            let arguments = match target {
                CallTarget::Helper(id) => helper(id)
                    .map(|proto| proto.args.iter().take_while(|a| **a != Arg::None).count()),
                _ => None,
            };
            (of(&ARGUMENTS[..arguments.unwrap_or(ARGUMENTS.len())]), CALLER_SAVED)
        }
        Insn::Exit => (of(&[Reg::R0]), NONE),
    };
    Use { reads, writes }
}

/// Computes the registers that are live before each instruction.
pub(crate) fn compute<'a>(
    code: &Code,
    structure: &mut Structure,
    helper: impl Fn(u32) -> Option<&'a HelperProto>,
) {
    let uses: Vec<_> = code.iter().map(|(pc, insn)| (pc, *insn, usage(insn, &helper))).collect();
    let mut changed = true;
    while changed {
        changed = false;
        // Backwards, so that straight code needs one round.
        for (pc, insn, usage) in uses.iter().rev() {
            let mut after = RegSet::NONE;
            for place in ways::successors(*pc, insn).iter() {
                if let Some(next) = ways::slot(code, place) {
                    after = after.or(structure.insns[next.index()].live_regs);
                }
            }
            let before = RegSet(after.0 & !usage.writes.0).or(usage.reads);
            let live = &mut structure.insns[pc.index()].live_regs;
            changed |= *live != before;
            *live = before;
        }
    }
}
