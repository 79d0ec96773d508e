//! Runs a program: the outermost loop around the [handlers](super::handler).
//!
//! A handler carries out one operation and calls the next one's handler as the last thing it does.
//! An optimising compiler makes that call a jump, so that every operation has a dispatch of its own
//! and the state stays in registers. Nothing relies on it: control comes back here after
//! [`SLICE`] units of fuel and after every [`OpCode::Pause`](super::op::OpCode::Pause), so that
//! calls never nest deep.

use super::handler::{Exit, MAY_GOTO_LOOPS, leave_call};
use crate::instance::Instance;
use crate::memory::Stack;
use crate::run::Run;
use crate::trap::{Trap, TrapKind};
use ebpfvm_asm::Reg;

/// Fuel that handlers use before they come back: the depth of the native stack, at the worst.
const SLICE: i64 = if cfg!(debug_assertions) { 256 } else { 4096 };

/// Runs a program from its first instruction.
///
/// # Errors
/// The trap that stopped it.
///
/// # Safety
/// A program whose form for [`Run::trust`] has no checks must be safe to run on this context:
/// accepted by the verifier, or seen to run without a trap in checked mode on the very same memory.
pub(crate) unsafe fn exec(
    run: &mut Run<'_>,
    entry: &Instance,
    stack: &mut Stack,
) -> Result<u64, Box<Trap>> {
    run.regions.set_stack(stack.memory.as_mut_ptr() as u64);
    run.frames = stack.callers.as_mut_ptr();
    run.instance = entry;
    run.may_goto = MAY_GOTO_LOOPS;
    let form = entry.form(run.trust, run.memory_bytes);
    run.ip = form.ops.as_ptr();
    let mut regs = [0u64; Reg::COUNT];
    (regs[1], regs[2]) = run.ctx.registers();
    // SAFETY: the stack has all frames.
    regs[10] = unsafe { run.enter_frame(form.stack_bytes) };

    loop {
        let slice = run.fuel_left.min(SLICE);
        run.fuel_left -= slice;
        let (base, len) = run.regions.any_load();
        let state: *mut Run<'_> = run;
        // SAFETY: `ip` is an operation of the current instance, the registers are those of this
        // run, and `state` is the only way to it until the handlers return.
        let exit =
            unsafe { ((*run.ip).run)(run.ip, regs.as_mut_ptr(), state.cast(), slice, base, len) };
        match exit {
            Exit::Return => return Ok(regs[0]),
            Exit::Pause if run.fuel_left >= 0 => {}
            Exit::Pause => {
                run.trap = Some(TrapKind::OutOfFuel(run.fuel));
                break;
            }
            Exit::Trap => break,
            Exit::Nest => {
                // SAFETY: as for this call: the program is as safe to run as the one that chose it.
                regs[0] = unsafe { nest(run) }?;
                // SAFETY: the registers are those of this run, and a function made the call.
                if let Some(ip) = unsafe { leave_call(run, regs.as_mut_ptr()) } {
                    run.ip = ip;
                }
            }
        }
    }
    // SAFETY: `entry` outlives this call, and an instance that a tail call entered is kept alive by
    // `run.held`.
    let instance = unsafe { &*run.instance };
    let form = instance.form(run.trust, run.memory_bytes);
    // SAFETY: a handler leaves `ip` at an operation of the instance's form.
    let index = unsafe { run.ip.offset_from(form.ops.as_ptr()) };
    let kind = run.trap.take().unwrap_or(TrapKind::FellOff);
    Err(instance.trap(form.pcs[index as usize], kind))
}

/// Runs the program that a function has made a tail call to. It cannot reach the frames of the
/// functions that wait, so they are put aside; Linux, too, counts its calls anew.
///
/// # Errors
/// The trap that stopped it.
///
/// # Safety
/// As [`exec`].
unsafe fn nest(run: &mut Run<'_>) -> Result<u64, Box<Trap>> {
    let Some(next) = run.next.take() else { return Ok(0) };
    let (instance, frames, depth, may_goto) = (run.instance, run.frames, run.depth, run.may_goto);
    let aside = run.regions.put_frames_aside();
    run.depth = 0;
    run.fuel_left -= next.form(run.trust, run.memory_bytes).pcs.len() as i64;
    run.held.push(next.clone());
    // SAFETY: the caller's promise. At most 33 tail calls nest.
    let result = unsafe { exec(run, &next, &mut Stack::new()) };
    run.regions.take_frames_back(aside);
    (run.instance, run.frames, run.depth, run.may_goto) = (instance, frames, depth, may_goto);
    result
}
