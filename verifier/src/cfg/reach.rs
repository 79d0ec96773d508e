//! Which instructions can be reached, and where states are compared (`check_cfg`).

use super::{InsnShape, Structure, ways};
use crate::options::Options;
use crate::reject::{Reason, StructureReason};
use ebpfvm_asm::{CallTarget, Code, Insn, Pc};
use ebpfvm_spec::helper::{Arg, HelperProto};
use ebpfvm_spec::program::Program;

/// What a depth-first walk knows of a slot.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Seen {
    No,
    /// The walk is below it.
    Open,
    Done,
}

/// Checks that every instruction can be reached and none jumps into the middle of another; for
/// unprivileged programs, that there is no loop.
///
/// # Errors
/// The first instruction that is wrong.
pub(crate) fn check(code: &Code, options: &Options) -> Result<(), Reason> {
    let mut seen = vec![Seen::No; code.len()];
    // Instructions that the walk is below, with the number of their edges that were taken.
    let mut open: Vec<(Pc, usize)> = Vec::new();
    let enter = |seen: &mut Vec<Seen>, open: &mut Vec<(Pc, usize)>, pc: Pc| {
        seen[pc.index()] = Seen::Open;
        open.push((pc, 0));
    };
    if !code.is_empty() {
        enter(&mut seen, &mut open, Pc(0));
    }
    while let Some((pc, taken)) = open.last_mut() {
        let pc = *pc;
        // What stands in the middle of a wide instruction does nothing and goes on.
        let next = match code.get(pc) {
            Some(insn) => ways::edges(pc, insn).iter().nth(*taken),
            None if *taken == 0 => Some(i64::from(pc.0) + 1),
            None => None,
        };
        let Some(place) = next else {
            seen[pc.index()] = Seen::Done;
            open.pop();
            continue;
        };
        *taken += 1;
        let Some(to) = ways::slot(code, place) else {
            return Err(StructureReason::JumpOutOfRange { from: pc.0, to: place }.into());
        };
        match seen[to.index()] {
            Seen::No => enter(&mut seen, &mut open, to),
            Seen::Open if !options.privileges.bpf => {
                return Err(StructureReason::BackEdge { from: pc.0, to: to.0 }.into());
            }
            Seen::Open | Seen::Done => {}
        }
    }
    for (pc, insn) in code.iter() {
        if seen[pc.index()] == Seen::No {
            return Err(StructureReason::Unreachable { pc: pc.0 }.into());
        }
        if insn.slots() == 2 && seen[pc.index() + 1] != Seen::No {
            return Err(StructureReason::JumpIntoWide { pc: pc.0 }.into());
        }
    }
    Ok(())
}

/// Marks where states are compared and where the way of a path is recorded.
pub(crate) fn mark<'a>(
    program: &Program,
    structure: &mut Structure,
    helper: impl Fn(u32) -> Option<&'a HelperProto>,
) {
    let mut mark = |place: i64, how: fn(&mut InsnShape)| {
        if let Some(pc) = ways::slot(&program.code, place) {
            how(&mut structure.insns[pc.index()]);
        }
    };
    let arrive = |shape: &mut InsnShape| {
        shape.is_prune_point = true;
        shape.is_jump_point = true;
    };
    for (pc, insn) in program.code.iter() {
        let here = i64::from(pc.0);
        let next = here + insn.slots() as i64;
        match *insn {
            Insn::Jump { offset, .. } => mark(ways::target(pc, offset), arrive),
            Insn::JumpIf { offset, .. } => {
                mark(here, |s| s.is_prune_point = true);
                mark(ways::target(pc, offset.into()), arrive);
            }
            Insn::MayGoto { offset } => {
                mark(here, |s| {
                    s.is_prune_point = true;
                    s.is_checkpoint = true;
                });
                mark(ways::target(pc, offset.into()), arrive);
            }
            Insn::Call { target } => {
                // The way back from a function is no straight line.
                mark(next, arrive);
                if let CallTarget::Helper(id) = target {
                    for callback in callbacks(helper(id)) {
                        if callback.is_later() {
                            mark(here, |s| s.is_prune_point = true);
                        } else {
                            mark(here, |s| {
                                s.is_prune_point = true;
                                s.is_jump_point = true;
                                s.is_checkpoint = true;
                                s.calls_callback = true;
                            });
                        }
                    }
                }
            }
            _ => {}
        }
        if let Some(offset) = insn.function_offset() {
            mark(next, arrive);
            mark(here, |s| s.is_prune_point = true);
            mark(ways::target(pc, offset), arrive);
        }
    }
}

/// The callbacks that a helper takes.
fn callbacks(
    proto: Option<&HelperProto>,
) -> impl Iterator<Item = ebpfvm_spec::helper::Callback> + '_ {
    proto.into_iter().flat_map(|p| &p.args).filter_map(|arg| match arg {
        Arg::Callback(callback) => Some(*callback),
        _ => None,
    })
}

/// What calls within functions pass on to their callers: that packet pointers become invalid, that
/// the call may sleep (`merge_callee_effects`).
pub(crate) fn spread_effects<'a>(
    program: &Program,
    structure: &mut Structure,
    helper: impl Fn(u32) -> Option<&'a HelperProto>,
) {
    use ebpfvm_spec::helper::Effect;
    let mut calls = Vec::new();
    for (pc, insn) in program.code.iter() {
        let caller = structure.insns[pc.index()].subprog.0 as usize;
        if let Insn::Call { target: CallTarget::Helper(id) } = *insn
            && let Some(proto) = helper(id)
        {
            let subprog = &mut structure.subprogs[caller];
            subprog.changes_packet |= proto.effects.has(Effect::CHANGES_PACKET);
            subprog.might_sleep |= proto.effects.has(Effect::MAY_SLEEP);
        }
        if let Some(offset) = insn.function_offset()
            && let Some(start) = ways::slot(&program.code, ways::target(pc, offset))
            && let Some(callee) = structure.subprog_at(start)
        {
            calls.push((caller, callee.0 as usize));
        }
    }
    let mut changed = true;
    while changed {
        changed = false;
        for (caller, callee) in &calls {
            let callee = &structure.subprogs[*callee];
            let (packet, sleep) = (callee.changes_packet, callee.might_sleep);
            let caller = &mut structure.subprogs[*caller];
            changed |= packet && !caller.changes_packet || sleep && !caller.might_sleep;
            caller.changes_packet |= packet;
            caller.might_sleep |= sleep;
        }
    }
}
