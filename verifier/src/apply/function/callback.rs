//! Functions that helpers call back (`push_callback_call`).

use super::{check_depth, global, new_frame};
use crate::explore::{LoopCallback, Pending, Touched};
use crate::reject::{FlowReason, Reason};
use crate::state::{DynptrKind, Frame, Kind, MapRef, Role, State, SubprogId, Value};
use crate::step::Step;
use crate::subject::Subject;
use ebpfvm_asm::{CallTarget, Insn, Pc, Reg};
use ebpfvm_spec::helper::{Arg, Callback};
use ebpfvm_spec::linux::ITERABLE;
use ebpfvm_spec::program::FuncInfo;
use smallvec::smallvec;

/// Results of callbacks that run while the helper does: go on, or stop.
const GO_ON_OR_STOP: (i64, i64) = (0, 1);
/// Results of callbacks that run later.
const NOTHING: (i64, i64) = (0, 0);
/// How many times a loop runs is the helper's first argument.
const ROUNDS: Reg = Reg::R1;

/// That a function may be called back: it is followed with what the helper gives it, so it must not be
/// one that is judged apart (`check_ld_imm`).
///
/// # Errors
/// If it is global, or its types do not tell.
pub(crate) fn check_callback(subject: &Subject<'_>, func: SubprogId) -> Result<(), Reason> {
    let shape = subject.structure.subprog(func);
    let is_typed = |f: &FuncInfo| f.start == shape.start && f.type_id.is_some();
    if subject.btf().is_none() || !subject.program.funcs.iter().any(is_typed) {
        return Err(FlowReason::CallbackUntyped.into());
    }
    if shape.is_global {
        return Err(FlowReason::CallbackGlobal.into());
    }
    Ok(())
}

/// Adds the path through `func`, which the helper that is called here calls back, unless it is known
/// that it does not. The helper's arguments are checked and still in their registers.
///
/// The path that goes on after the call is that without another round.
///
/// # Errors
/// If the callback cannot be followed.
pub(crate) fn enter_callback(
    step: &mut Step<'_, '_>,
    callback: Callback,
    func: SubprogId,
) -> Result<(), Reason> {
    if callback == Callback::Loop {
        note_loop(step, func)?;
        step.mark_precise(ROUNDS)?;
        if u64::from(step.state.frame().callback_depth) >= step.reg(ROUNDS).scalar.full.umax {
            step.state.frame_mut().callback_depth = 0;
            if step.past.log.is_full() {
                let frame = step.state.current();
                let text = format_args!("frame{frame} bpf_loop iteration limit reached\n");
                step.past.log.write(text);
            }
            return Ok(());
        }
    }
    // Only for what it logs and remembers: the arguments of the helper are not those of the callback.
    global::check_arguments(step, func)?;
    if callback.is_later() {
        enter_later(step, callback, func)
    } else {
        enter(step, callback, func)
    }
}

/// Adds the path through a callback that runs while the helper does.
fn enter(step: &mut Step<'_, '_>, callback: Callback, func: SubprogId) -> Result<(), Reason> {
    let start = step.subject.structure.subprog(func).start;
    check_depth(step.state)?;
    let mut frame = new_frame(step.state, func, step.pc);
    frame.role = Role::Callback(callback);
    frame.return_range = GO_ON_OR_STOP;
    set_arguments(step, callback, &mut frame)?;
    let state = step.fork(start, false)?;
    state.callback_unroll_depth += 1;
    state.frame_mut().callback_depth += 1;
    state.frames.push(frame.into());
    step.past.touched = Touched::ALL;
    step.state.frame_mut().callback_depth = 0;
    Ok(())
}

/// Adds the path through a callback that runs when the program has long ended (`push_async_cb`):
/// nothing of the caller is known there.
fn enter_later(step: &mut Step<'_, '_>, callback: Callback, func: SubprogId) -> Result<(), Reason> {
    let start = step.subject.structure.subprog(func).start;
    step.past.subprogs[func.0 as usize].is_later_callback = true;
    let mut state = State::entry(func, start);
    state.last_pc = step.pc;
    state.first_pc = Pc(0);
    let mut frame = Frame::new(0, func, None);
    frame.role = Role::LaterCallback(callback);
    frame.return_range = NOTHING;
    frame.async_entries = step.state.frame().async_entries + 1;
    set_arguments(step, callback, &mut frame)?;
    state.frames = smallvec![frame.into()];
    step.past.touched = Touched::ALL;
    let log_position = step.past.log.position();
    step.past.pending.push(Pending { state, log_position });
    let pending = step.past.pending.len();
    if pending > step.subject.options.limits.pending {
        return Err(FlowReason::TooManyLaterCallbacks { pending }.into());
    }
    Ok(())
}

/// Puts the arguments of a callback into its registers (`set_*_callback_state`).
fn set_arguments(
    step: &mut Step<'_, '_>,
    callback: Callback,
    frame: &mut Frame,
) -> Result<(), Reason> {
    let context = |step: &Step<'_, '_>| argument(step, |arg| matches!(arg, Arg::CallbackCtx));
    let element = |map: MapRef| [Kind::MapPtr(map), Kind::MapKey(map), Kind::MapValue(map)];
    let arguments: &mut [Value] = &mut frame.regs[super::ARGUMENTS];
    match callback {
        Callback::MapElement => {
            let map = argument(step, |arg| matches!(arg, Arg::Map))?;
            let map_ref = map.map().ok_or_else(|| Reason::internal("a map is no map"))?;
            if !ITERABLE.contains(step.subject.map(map_ref.map).def.map_type) {
                return Err(FlowReason::MapNotIterable.into());
            }
            arguments[..3].copy_from_slice(&element(map_ref).map(Value::pointer));
            arguments[0] = map;
            arguments[3] = context(step)?;
        }
        Callback::Loop => {
            arguments[0] = step.unknown();
            arguments[1] = context(step)?;
        }
        Callback::Timer => {
            let timer = argument(step, |arg| matches!(arg, Arg::Timer))?;
            let map = timer.map().ok_or_else(|| Reason::internal("a timer outside of maps"))?;
            arguments[..3].copy_from_slice(&element(map).map(Value::pointer));
        }
        Callback::UserRingbuf => {
            let kind = Kind::Dynptr { kind: DynptrKind::Local, first_slot: true };
            arguments[0] = Value::pointer(kind).with_id(step.new_id());
            arguments[1] = context(step)?;
        }
        Callback::FindVma => {
            return Err(Reason::unsupported("callbacks with pointers to kernel types"));
        }
    }
    Ok(())
}

/// The argument of the helper that is called here, by its kind.
fn argument(step: &Step<'_, '_>, is_it: impl Fn(&Arg) -> bool) -> Result<Value, Reason> {
    find_argument(step, is_it).map(|reg| *step.reg(reg))
}

fn find_argument(step: &Step<'_, '_>, is_it: impl Fn(&Arg) -> bool) -> Result<Reg, Reason> {
    let Insn::Call { target: CallTarget::Helper(id) } = step.subject.insn(step.pc)? else {
        return Err(Reason::internal("only helpers call back"));
    };
    let proto = step.subject.helper(*id);
    let index = proto.and_then(|proto| proto.args.iter().position(is_it));
    let reg = index.and_then(|index| Reg::new(index as u8 + 1));
    reg.ok_or_else(|| Reason::internal("a callback without the argument that it is given"))
}

/// Linux writes the loop into the program's code if all paths come with the same function and
/// without flags, so that these must then be known exactly (`update_loop_inline_state`).
fn note_loop(step: &mut Step<'_, '_>, func: SubprogId) -> Result<(), Reason> {
    let before = step.past.insn_mut(step.pc).loop_callback;
    if before == LoopCallback::Several {
        return Ok(());
    }
    let flags = Reg::new(find_argument(step, |arg| matches!(arg, Arg::CallbackCtx))?.number() + 1);
    let flags = flags.ok_or_else(|| Reason::internal("a loop without flags"))?;
    let mut now = LoopCallback::Several;
    if step.reg(flags).is_null() {
        step.mark_precise(flags)?;
        if before == LoopCallback::None || before == LoopCallback::One(func) {
            now = LoopCallback::One(func);
        }
    }
    step.past.insn_mut(step.pc).loop_callback = now;
    Ok(())
}
