//! Follows all paths (`do_check`).

use super::{Past, Pending};
use crate::apply;
use crate::reject::{LimitReason, Reason, Rejection};
use crate::report::{path, state_text, way};
use crate::state::{State, SubprogId};
use crate::step::{Flow, Step};
use crate::subject::Subject;
use ebpfvm_asm::{Insn, Pc};
use std::time::Instant;

/// Instructions between two looks at the clock.
const INSNS_PER_TIME_CHECK: u32 = 1024;

/// Follows the program from its entry, then every global function that is called on some path
/// (`do_check_main`, `do_check_subprogs`).
///
/// # Errors
/// Why the program is rejected.
pub(crate) fn follow_subprogs(
    subject: &Subject<'_>,
    past: &mut Past,
) -> Result<(), Box<Rejection>> {
    let start = Instant::now();
    follow_subprog(subject, past, SubprogId(0), start)?;
    // Judging one may call others for the first time, before it or after it.
    while past.subprogs.iter().any(|s| s.called && !s.judged) {
        for next in 0..past.subprogs.len() {
            if past.subprogs[next].called && !past.subprogs[next].judged {
                let id = SubprogId(next as u32);
                follow_subprog(subject, past, id, start)?;
                past.subprogs[next].judged = true;
                path::global_is_safe(subject, past, id);
            }
        }
    }
    // Engines keep what is saved around fast calls.
    let subprogs = subject.structure.subprogs.iter().zip(&past.subprogs);
    let stacks = subprogs.map(|(subprog, memory)| (subprog.start, memory.stack_bytes)).collect();
    past.facts.stacks(stacks);
    leave_out_fast_calls(subject, past);
    Ok(())
}

/// Takes what is saved around fast calls off the stacks of functions, as Linux leaves it out
/// (`remove_fastcall_spills_fills`).
fn leave_out_fast_calls(subject: &Subject<'_>, past: &mut Past) {
    for (subprog, memory) in subject.structure.subprogs.iter().zip(&mut past.subprogs) {
        if subprog.has_fast_calls && !subprog.keeps_fast_call_stack && !memory.uses_fast_call_stack
        {
            memory.stack_bytes = u32::from(subprog.fast_call_stack.unsigned_abs());
        }
    }
}

/// Follows one function from its beginning (`do_check_common`).
///
/// # Errors
/// Why the program is rejected.
pub(crate) fn follow_subprog(
    subject: &Subject<'_>,
    past: &mut Past,
    subprog: SubprogId,
    start: Instant,
) -> Result<(), Box<Rejection>> {
    path::begin(subject, past, subprog);
    past.explored.clear();
    past.loops.clear();
    past.pending.clear();
    let mut state = apply::entry_state(subject, past, subprog).map_err(|reason| {
        path::end(subject, past, None, &reason);
        Box::new(Rejection::from(reason))
    })?;
    past.touched = super::Touched::ALL;
    let mut forked = false;
    loop {
        let here = state.pc;
        let flow = visit(subject, past, &mut state, &mut forked, start).map_err(|reason| {
            path::end(subject, past, Some(here), &reason);
            let registers = state_text(subject, &state);
            let way = way(subject, past, &state);
            Box::new(Rejection { reason, pc: Some(here), registers, way })
        })?;
        match flow {
            Flow::Next => {
                let slots = subject.program.code.get(here).map_or(1, |insn| insn.slots());
                state.last_pc = here;
                state.pc.0 += slots as u32;
            }
            Flow::Goto(target) => {
                state.last_pc = here;
                state.pc = target;
            }
            Flow::Return(target) => {
                state.last_pc = here;
                state.pc = target;
                forked = true;
            }
            Flow::End => {
                past.touched = super::Touched::ALL;
                past.end_path(subject, &state);
                past.liveness.settle(subject, &state, &mut past.log);
                let Some(Pending { state: next, log_position }) = past.pending.pop() else { break };
                if !past.log.is_full() {
                    past.log.cut(log_position);
                }
                let mut history = std::mem::replace(&mut state, next).history;
                // The branch's history has no room to grow; that of the path that ended has.
                history.clear();
                history.extend_from_slice(&state.history);
                state.history = history;
                forked = true;
            }
        }
    }
    if !past.log.is_full() {
        past.log.cut(0);
    }
    Ok(())
}

/// Looks at the instruction where the path stands: ends the path if its state was seen before,
/// applies the instruction if not.
fn visit(
    subject: &Subject<'_>,
    past: &mut Past,
    state: &mut State,
    forked: &mut bool,
    start: Instant,
) -> Result<Flow, Reason> {
    let pc = state.pc;
    let insn = subject.insn(pc)?;
    let shape = subject.structure.at(pc);
    past.counts.processed += 1;
    let limits = &subject.options.limits;
    if past.counts.processed > limits.processed {
        return Err(LimitReason::TooComplex { processed: past.counts.processed }.into());
    }
    if past.counts.processed.is_multiple_of(INSNS_PER_TIME_CHECK)
        && let Some(ms) = limits.time_ms
        && start.elapsed().as_millis() > u128::from(ms)
    {
        return Err(LimitReason::OutOfTime { ms: u128::from(ms) }.into());
    }
    if shape.is_prune_point && past.is_visited(subject, state)? {
        path::seen_before(past, state, *forked);
        return Ok(Flow::End);
    }
    if shape.is_jump_point {
        state.record_jump();
    }
    path::before_insn(subject, past, state, forked);
    if let Some(witness) = &mut past.witness {
        witness.push(state.clone());
    }
    if !state.speculative {
        past.insn_mut(pc).seen = true;
        past.facts.reach(pc);
    }
    if state.speculative && past.insn_mut(pc).no_speculation {
        return Ok(Flow::End);
    }
    past.liveness.begin(state);
    if state.frames.len() > 1 && may_return(insn) {
        // What the function reads of other frames must be known before states behind the call are
        // compared (`prepare_func_exit`).
        past.liveness.settle(subject, state, &mut past.log);
    }
    let frames = state.frames.len();
    let flow = apply::apply(&mut Step { subject, past, state, pc }, insn);
    match flow {
        // What only speculation would do wrong is not rejected: speculation is stopped before it.
        Err(reason) if state.speculative && is_stopped_by_barrier(&reason) => {
            path::end(subject, past, Some(pc), &reason);
            past.liveness.commit(state, pc);
            let memory = past.insn_mut(pc);
            memory.no_speculation = true;
            memory.sanitation = None;
            Ok(Flow::End)
        }
        Err(reason) => Err(reason),
        Ok(flow) => {
            past.liveness.commit(state, pc);
            match insn {
                Insn::JumpIf { .. } => {
                    if !state.speculative {
                        let to = if let Flow::Goto(to) = flow { to } else { Pc(pc.0 + 1) };
                        past.note_way(subject, pc, to);
                    }
                    path::after_jump(subject, past, state, pc);
                }
                Insn::Exit if flow != Flow::End => *forked = true,
                _ => {}
            }
            if state.frames.len() > frames {
                past.touched = super::Touched::ALL;
            }
            if state.speculative && past.insn_mut(pc).no_speculation_behind {
                return Ok(Flow::End);
            }
            Ok(flow)
        }
    }
}

/// Whether a path can return from its function at the instruction.
const fn may_return(insn: &Insn) -> bool {
    matches!(insn, Insn::Exit | Insn::LoadAbs { .. } | Insn::LoadInd { .. })
}

/// Whether an error on a speculative path only needs a barrier (`error_recoverable_with_nospec`).
fn is_stopped_by_barrier(reason: &Reason) -> bool {
    use ebpfvm_spec::errno::Errno;
    !matches!(reason, Reason::Limit(_) | Reason::Unsupported(_))
        && matches!(reason.errno(), Errno::EPERM | Errno::EACCES | Errno::EINVAL)
}
