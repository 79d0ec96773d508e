//! Runs a program: the outermost loop around the [handlers](super::handler).
//!
//! A handler carries out one operation and calls the next one's handler as the last thing it does.
//! An optimising compiler makes that call a jump, so that every operation has a dispatch of its own
//! and the state stays in registers. Nothing relies on it: control comes back here after
//! a slice of fuel and after every [`OpCode::Pause`](super::op::OpCode::Pause), so that
//! calls never nest deep.

use super::handler::{Exit, MAY_GOTO_LOOPS, leave_call};
use super::lower::Function;
use super::op::Op;
use crate::instance::Instance;
use crate::memory::{MAX_FRAMES, Stack};
use crate::native;
use crate::run::{Frame, Run};
use crate::trap::{Trap, TrapKind};
use ebpfvm_asm::{Pc, Reg};
use ebpfvm_jit::functions::Extent;

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
    let (r1, r2) = run.ctx.registers();
    if let Some(native) = entry.native(run) {
        let native = native.as_ref().map_err(|why| entry.cannot_compile(why))?;
        // SAFETY: the caller's promise.
        return unsafe { native::start(run, entry, stack, native.entry(), [r1, r2, 0, 0, 0]) };
    }
    let form = entry.form(run.trust, &run.room);
    let mut regs = [0; Reg::COUNT];
    (regs[1], regs[2]) = (r1, r2);
    // SAFETY: the caller's promise; the program's first operation.
    unsafe { start(run, entry, stack, form.ops.as_ptr(), form.stack_bytes, regs) }
}

/// A function of a program, as the engine that runs the program has it.
#[derive(Clone, Copy)]
pub(crate) enum Callable<'a> {
    /// In the interpreter's form.
    Lowered(Function),
    /// As machine code.
    Native(native::Entry<'a>),
}

impl Callable<'_> {
    /// What it costs and reaches.
    pub(crate) fn extent(&self) -> Extent {
        match self {
            Callable::Lowered(function) => function.extent,
            Callable::Native(entry) => entry.extent(),
        }
    }
}

impl Instance {
    /// The function that starts at `pc`, if one does that is called or of which the address is taken.
    pub(crate) fn callable(&self, run: &Run<'_>, pc: Pc) -> Option<Callable<'_>> {
        match self.native(run) {
            Some(native) => native.as_ref().ok()?.function(pc).map(Callable::Native),
            None => self.form(run.trust, &run.room).function(pc).map(Callable::Lowered),
        }
    }

    #[cold]
    fn cannot_compile(&self, why: &str) -> Box<Trap> {
        self.trap(Pc(0), TrapKind::Unsupported(format!("the program was not compiled: {why}")))
    }
}

/// Runs one of a program's functions, not called by any other, with these arguments.
///
/// # Errors
/// The trap that stopped it.
///
/// # Safety
/// As [`exec`].
pub(crate) unsafe fn exec_function(
    run: &mut Run<'_>,
    entry: &Instance,
    stack: &mut Stack,
    function: Callable<'_>,
    args: [u64; 5],
) -> Result<u64, Box<Trap>> {
    let function = match function {
        // SAFETY: the caller's promise.
        Callable::Native(code) => return unsafe { native::start(run, entry, stack, code, args) },
        Callable::Lowered(function) => function,
    };
    let form = entry.form(run.trust, &run.room);
    let mut regs = [0; Reg::COUNT];
    regs[1..6].copy_from_slice(&args);
    let ip = &form.ops[function.op as usize];
    // SAFETY: the caller's promise; the function's first operation.
    unsafe { start(run, entry, stack, ip, function.extent.stack_bytes, regs) }
}

/// Goes on at an operation of a program, in the first frame of the stack.
///
/// # Safety
/// As [`exec`]; the operation is one of the program's form.
unsafe fn start(
    run: &mut Run<'_>,
    entry: &Instance,
    stack: &mut Stack,
    ip: *const Op,
    stack_bytes: u32,
    mut regs: [u64; Reg::COUNT],
) -> Result<u64, Box<Trap>> {
    run.regions.set_stack(stack.memory.as_mut_ptr() as u64);
    run.frames = stack.callers.as_mut_ptr();
    run.instance = entry;
    run.may_goto = MAY_GOTO_LOOPS;
    run.ip = ip;
    // SAFETY: the stack has all frames; the rest is the caller's promise.
    unsafe {
        regs[10] = run.enter_frame(stack_bytes);
        drive(run, &mut regs)
    }
}

/// Calls a function of the program that runs, for a helper that it has called.
///
/// # Errors
/// What stopped the function; where it did is left in [`Run::trapped`].
///
/// # Safety
/// As [`exec`]; the run is in a call of a helper.
pub(crate) unsafe fn call_back(
    run: &mut Run<'_>,
    function: Callable<'_>,
    args: [u64; 5],
) -> Result<u64, TrapKind> {
    if run.regions.frames() == MAX_FRAMES {
        return Err(TrapKind::CallDepth);
    }
    run.fuel_left -= i64::from(function.extent().slots);
    if run.fuel_left < 0 {
        return Err(TrapKind::OutOfFuel(run.fuel));
    }
    // SAFETY: the instance is alive, see `drive`.
    let instance = unsafe { &*run.instance };
    let function = match function {
        Callable::Native(code) => {
            // SAFETY: there is a frame left; the rest is the caller's promise.
            let result = unsafe { native::enter(run, instance, code, args) };
            run.regions.pop_native_frame();
            return result.map_err(|trap| keep(run, trap));
        }
        Callable::Lowered(function) => function,
    };
    let form = instance.form(run.trust, &run.room);
    let mut regs = [0; Reg::COUNT];
    regs[1..6].copy_from_slice(&args);
    let (ip, may_goto) = (run.ip, run.may_goto);
    // Where the function returns to, the run ends for the helper.
    let frame = Frame { ip: form.end(), instance, saved: [0; 4], may_goto };
    // SAFETY: `depth` is below `MAX_FRAMES`.
    unsafe { (*run.frames.add(run.depth)).write(frame) };
    run.depth += 1;
    run.may_goto = MAY_GOTO_LOOPS;
    run.ip = &form.ops[function.op as usize];
    // SAFETY: there is a frame left, see above; the rest is the caller's promise.
    let result = unsafe {
        regs[10] = run.enter_frame(function.extent.stack_bytes);
        drive(run, &mut regs)
    };
    run.ip = ip;
    result.map_err(|trap| keep(run, trap))
}

/// Keeps where a function was stopped that a helper has called.
fn keep(run: &mut Run<'_>, trap: Box<Trap>) -> TrapKind {
    let kind = trap.kind.clone();
    run.trapped = Some(trap);
    kind
}

/// Carries out operations from [`Run::ip`] until the program returns, or the function that a helper
/// has called.
///
/// # Safety
/// As [`exec`]. `ip` is an operation of the current instance, the registers are those of this run.
unsafe fn drive(run: &mut Run<'_>, regs: &mut [u64; Reg::COUNT]) -> Result<u64, Box<Trap>> {
    loop {
        let slice = run.next_slice();
        let (base, len) = run.regions.any_load();
        let state: *mut Run<'_> = run;
        // SAFETY: the caller's promise, and `state` is the only way to the run until the handlers
        // return.
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
    if let Some(trap) = run.trapped.take() {
        return Err(trap);
    }
    // SAFETY: the entry outlives this call, and an instance that a tail call entered is kept alive
    // by `run.held`.
    let instance = unsafe { &*run.instance };
    let form = instance.form(run.trust, &run.room);
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
pub(crate) unsafe fn nest(run: &mut Run<'_>) -> Result<u64, Box<Trap>> {
    let Some(next) = run.next.take() else { return Ok(0) };
    let (instance, frames, depth, may_goto) = (run.instance, run.frames, run.depth, run.may_goto);
    let aside = run.regions.put_frames_aside();
    run.depth = 0;
    run.fuel_left -= next.program().code.len() as i64;
    if run.fuel_left < 0 {
        return Err(next.trap(Pc(0), TrapKind::OutOfFuel(run.fuel)));
    }
    run.held.push(next.clone());
    // SAFETY: the caller's promise. At most 33 tail calls nest.
    let result = unsafe { exec(run, &next, &mut Stack::new()) };
    run.regions.take_frames_back(aside);
    (run.instance, run.frames, run.depth, run.may_goto) = (instance, frames, depth, may_goto);
    result
}
