//! Functions of the program: calls, callbacks, returns.
//!
//! A static function is followed at each of its calls, in a frame of its own; a global one is judged
//! apart, and its calls are only held against its types. A callback is followed as a branch of the
//! call of the helper that calls it back.

mod callback;
mod global;
mod leak;
mod leave;
mod returns;
mod widen;

pub(crate) use callback::{check_callback, enter_callback};
pub(crate) use global::{contract_of, log_no_contract};
pub(crate) use leak::check_leaks;
pub(crate) use leave::leave;
pub(crate) use widen::{earlier_round, widen};

use crate::explore::Touched;
use crate::reject::{FlowReason, Reason};
use crate::report::path;
use crate::state::{Frame, MAX_FRAMES, State, SubprogId, Value};
use crate::step::{Flow, Step};
use ebpfvm_asm::{Pc, Reg};

/// What a program must be rid of when it ends.
const PROGRAM_EXIT: &str = "BPF_EXIT instruction in main prog";
/// The registers of arguments.
const ARGUMENTS: std::ops::RangeInclusive<usize> = Reg::R1.index()..=Reg::R5.index();
/// The registers that a call leaves without a value.
const CALLER_SAVED: std::ops::RangeInclusive<usize> = Reg::R0.index()..=Reg::R5.index();

/// A call of a function of the program (`check_func_call`).
///
/// # Errors
/// If a global function cannot be called here, or too many functions run.
pub(crate) fn call(step: &mut Step<'_, '_>, offset: i32) -> Result<Flow, Reason> {
    let subject = step.subject;
    let callee = step.pc.jump(offset).and_then(|pc| subject.structure.subprog_at(pc));
    let callee = callee.ok_or_else(|| Reason::internal("no function begins where a call goes"))?;
    let fits = global::check_arguments(step, callee)?;
    if subject.structure.subprog(callee).is_global {
        return global::call(step, callee, fits);
    }
    check_depth(step.state)?;
    let mut frame = new_frame(step.state, callee, step.pc);
    frame.regs[ARGUMENTS].copy_from_slice(&step.state.frame().regs[ARGUMENTS]);
    clear_caller_saved(step);
    step.state.frames.push(frame.into());
    step.past.touched = Touched::ALL;
    path::entered(subject, step.past, step.state);
    Ok(Flow::Goto(subject.structure.subprog(callee).start))
}

/// The end of a function or of the program (`process_bpf_exit_full`).
///
/// # Errors
/// If something is still held, or the result is not allowed.
pub(crate) fn exit(step: &mut Step<'_, '_>) -> Result<Flow, Reason> {
    let is_outermost = step.state.current() == 0;
    check_leaks(step, PROGRAM_EXIT, is_outermost)?;
    if !is_outermost {
        return leave(step).map(Flow::Return);
    }
    returns::check_result(step)?;
    Ok(Flow::End)
}

/// That one more function may run (`setup_func_entry`).
fn check_depth(state: &State) -> Result<(), Reason> {
    let frames = state.frames.len();
    if frames < MAX_FRAMES {
        Ok(())
    } else {
        Err(FlowReason::CallTooDeep { frames: frames + 1 }.into())
    }
}

/// The frame of a function that the running one calls at `callsite`, without arguments.
fn new_frame(state: &State, callee: SubprogId, callsite: Pc) -> Frame {
    Frame::new(state.frames.len() as u8, callee, Some(callsite))
}

/// Takes the values of the registers that calls use (`clear_caller_saved_regs`).
pub(crate) fn clear_caller_saved(step: &mut Step<'_, '_>) {
    for number in CALLER_SAVED {
        step.past.touched.regs |= 1 << number;
        step.state.frame_mut().regs[number] = Value::UNINIT;
    }
}
