//! Calls of helpers (`check_helper_call`): may this program call it here, do its arguments fit, what
//! does it give.
//!
//! Everything about a helper comes from its prototype; no number or name decides anything here.
//!
//! - [`argument`]: one argument after another (`check_func_arg`)
//! - [`map`]: the map, its keys and values
//! - [`dynptr`]: dynptrs on the stack
//! - [`field`]: spin locks and timers in map values
//! - [`text`]: constant strings and formats
//! - [`result`]: what `r0` holds afterwards

mod argument;
pub(crate) mod dynptr;
mod field;
mod map;
mod result;
mod text;

use crate::apply::{function, memory, reference};
use crate::options::Privileges;
use crate::reject::{CallReason, Reason};
use crate::state::{MapRef, SubprogId};
use crate::step::{Flow, Step};
use ebpfvm_asm::{Pc, Reg};
use ebpfvm_spec::helper::{Arg, Callback, DynptrUse, Effect, HelperProto, Ret};
use ebpfvm_spec::load_flags;

/// The registers of arguments, in order.
const ARGUMENTS: [Reg; 5] = [Reg::R1, Reg::R2, Reg::R3, Reg::R4, Reg::R5];

/// What the arguments of a call told (`struct bpf_call_arg_meta`).
#[derive(Clone, Copy, Debug, Default)]
struct Call {
    /// The map that is given, or that has the timer that is given.
    map: Option<MapRef>,
    /// The key, if it is known.
    key: Option<i64>,
    /// The reference that an argument holds; 0 for none.
    ref_id: u32,
    /// The argument that is released.
    released: Option<Reg>,
    /// The greatest value of the last [`Arg::Size`].
    largest_size: u64,
    /// The value of the [`Arg::AllocSize`].
    alloc_bytes: u32,
    /// Stack that the helper fills.
    buffer: Option<memory::Buffer>,
    /// The function that is called back.
    callback: Option<(Callback, SubprogId)>,
    /// The id of the dynptr that is read.
    dynptr: u32,
    /// The reference of the dynptr that is read.
    dynptr_ref: u32,
}

impl Call {
    /// Remembers stack that the helper fills.
    fn keep(&mut self, buffer: Option<memory::Buffer>) {
        self.buffer = buffer.or(self.buffer);
    }
}

/// A call of the helper with this number.
pub(crate) fn helper(step: &mut Step<'_, '_>, id: u32) -> Result<Flow, Reason> {
    let unlocks = |proto: &HelperProto| proto.effects.has(Effect::UNLOCKS);
    if step.state.active_lock.is_some() && !step.subject.platform.helper(id).is_some_and(unlocks) {
        return Err(CallReason::LockHeld.into());
    }
    let proto = find(step, id)?;
    check_place(step, proto)?;
    let mut call = Call::default();
    for (i, reg) in ARGUMENTS.into_iter().enumerate() {
        if proto.args[i] == Arg::None {
            break;
        }
        argument::check(step, &mut call, proto, i, reg)?;
    }
    map::record(step, &call, proto)?;
    if let Some(buffer) = call.buffer {
        memory::fill(step, buffer)?;
    }
    release(step, &call, proto)?;
    check_whole(step, proto)?;
    if let Some((callback, func)) = call.callback {
        function::enter_callback(step, callback, func)?;
    }
    function::clear_caller_saved(step);
    result::write(step, &call, proto)?;
    map::check_kind(step, &call, proto)?;
    if proto.ret == Ret::TailCall {
        return tail_call(step);
    }
    if proto.effects.has(Effect::CHANGES_PACKET) {
        reference::invalidate_packet(step);
    }
    Ok(Flow::Next)
}

/// What is known after a tail call. One that succeeds ends the function that runs with any result
/// and a changed packet; one that fails changes nothing.
fn tail_call(step: &mut Step<'_, '_>) -> Result<Flow, Reason> {
    if step.state.current() == 0 {
        return Ok(Flow::Next);
    }
    // Success is followed first.
    step.fork(Pc(step.pc.0 + 1), false)?;
    reference::invalidate_packet(step);
    step.write_unknown(Reg::R0);
    // What the function reads of other frames must be known before states behind the call are
    // compared (`prepare_func_exit`).
    let past = &mut *step.past;
    past.liveness.settle(step.subject, step.state, &mut past.log);
    function::leave(step).map(Flow::Goto)
}

/// The prototype of the helper as this program sees it.
fn find<'a>(step: &Step<'a, '_>, id: u32) -> Result<&'a HelperProto, Reason> {
    let subject = step.subject;
    let may = |proto: &&HelperProto| {
        let privileges = subject.options.privileges;
        (privileges.bpf || !proto.effects.has(Effect::NEEDS_BPF))
            && (privileges.perfmon || !proto.effects.has(Effect::NEEDS_PERFMON))
            // Only root has what they do not name.
            && (privileges == Privileges::ALL || !proto.effects.has(Effect::NEEDS_ADMIN))
    };
    if let Some(proto) = subject.helper(id).filter(may) {
        return Ok(proto);
    }
    let name = subject.platform.helper(id).map(|proto| proto.name.to_string());
    match name {
        Some(name) => Err(CallReason::NotAllowed { name, id }.into()),
        // The number 0 is kept free.
        None if id == 0 => Err(CallReason::NotAllowed { name: "unspec".into(), id }.into()),
        None => Err(CallReason::Unknown { name: "unknown".into(), id: id as i32 }.into()),
    }
}

/// Whether the helper may be called here.
fn check_place(step: &Step<'_, '_>, proto: &HelperProto) -> Result<(), Reason> {
    let effects = proto.effects;
    let (subject, state) = (step.subject, &*step.state);
    if effects.has(Effect::GPL_ONLY) && !subject.is_gpl_compatible() {
        return Err(CallReason::License.into());
    }
    if effects.has(Effect::SOME_HOOKS) {
        return Err(unsupported(proto));
    }
    let sleeps = effects.has(Effect::MAY_SLEEP)
        || effects.has(Effect::SLEEPS_IF_SLEEPABLE) && subject.has_flag(load_flags::SLEEPABLE);
    if !sleeps {
        return Ok(());
    }
    let (name, id) = (proto.name.to_string(), proto.id);
    if !state.sleepable {
        Err(CallReason::Sleeps.into())
    } else if state.rcu_locked {
        Err(CallReason::SleepsInRcu { name, id }.into())
    } else if state.preempt_locks != 0 {
        Err(CallReason::SleepsWithoutPreemption { name, id }.into())
    } else {
        Ok(())
    }
}

/// Ends the reference that an argument holds, if the helper does.
fn release(step: &mut Step<'_, '_>, call: &Call, proto: &HelperProto) -> Result<(), Reason> {
    let Some(reg) = call.released else { return Ok(()) };
    if proto.args.contains(&Arg::Dynptr(DynptrUse::ReleaseRingbuf)) {
        return dynptr::release(step, reg);
    }
    if call.ref_id != 0 && reference::release(step, call.ref_id) {
        return Ok(());
    }
    Err(CallReason::NotAcquired { name: proto.name.to_string(), id: proto.id }.into())
}

/// What the helper asks of its arguments together, or of the state.
fn check_whole(step: &mut Step<'_, '_>, proto: &HelperProto) -> Result<(), Reason> {
    match proto.ret {
        Ret::TailCall => function::check_leaks(step, "tail_call", true),
        // It cannot fail, so it takes no flags that it could refuse.
        Ret::MapValue => {
            if !step.reg(Reg::R2).is_null() {
                return Err(CallReason::StorageFlags.into());
            }
            step.mark_precise(Reg::R2)
        }
        _ if proto.args.contains(&Arg::ConstStr) => text::check_format(step, proto),
        _ if proto.args.contains(&Arg::Dynptr(DynptrUse::NewLocal)) => {
            dynptr::check_memory(step.reg(Reg::R1))
        }
        _ => Ok(()),
    }
}

/// A helper that needs kernel types.
fn unsupported(proto: &HelperProto) -> Reason {
    Reason::unsupported(format!("helper {} ({})", proto.id, proto.name))
}
