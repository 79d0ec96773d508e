//! A program prepared for many runs on one context.

use super::{Native, stopped};
use crate::context::Context;
use crate::instance::Instance;
use crate::interp::exec::exec;
use crate::memory::Stack;
use crate::run::{Run, Trust};
use crate::trap::Trap;
use ebpfvm_jit::State;

/// A program with a context that it runs on again and again. What can be done once is done once:
/// a call of compiled code that calls no helpers costs a few nanoseconds.
pub struct Prepared<'a> {
    instance: &'a Instance,
    run: Run<'a>,
    stack: Box<Stack>,
    /// What is entered, if nothing else is to be done for a run.
    alone: Option<Alone<'a>>,
}

/// Code that calls nothing that knows of the run: it leaves the context where it is, and the run as it was
/// before, unless it stops.
struct Alone<'a> {
    native: &'a Native,
    /// What the code gets in `r1` and `r2`.
    args: [u64; 2],
    /// Whether the code counts its fuel.
    is_metered: bool,
}

impl Instance {
    /// Prepares runs on a context, each with this much fuel. As with [`Instance::run`], a program that
    /// the verifier accepted runs without checks. A run begins with the context as the one before has
    /// left it.
    ///
    /// # Errors
    /// The context is not one that the program takes.
    pub fn prepare<'a>(
        &'a self,
        ctx: &'a mut Context,
        fuel: u64,
    ) -> Result<Prepared<'a>, Box<Trap>> {
        self.expect_context(ctx)?;
        self.expect_room(ctx)?;
        let has_no_rounds = ctx.has_no_rounds();
        let mut run = Run::new(ctx, self.program().attach_type, fuel, Trust::Verified);
        let native = self.native(&run).and_then(|native| native.as_ref().ok());
        let alone = native.filter(|native| has_no_rounds && native.is_alone);
        let mut stack = Box::new(Stack::new());
        if let Some(native) = alone {
            run.regions.set_stack(stack.memory.as_mut_ptr() as u64);
            run.regions.push_native_frame(native.functions[0].stack_bytes);
            run.instance = self;
            run.checked = native.is_checked;
            run.regions.state.stop = State::RETURNED;
        }
        let alone = alone.map(|native| {
            let (r1, r2) = run.ctx.registers();
            let is_metered = run.metered || native.is_checked;
            Alone { native, args: [r1, r2], is_metered }
        });
        Ok(Prepared { instance: self, run, stack, alone })
    }
}

impl Prepared<'_> {
    /// Runs the program; what it returns.
    ///
    /// # Errors
    /// The trap that stopped it.
    #[inline]
    pub fn run(&mut self) -> Result<u64, Box<Trap>> {
        let Some(alone) = &self.alone else { return self.run_anew() };
        let Alone { native, args: [r1, r2], is_metered } = *alone;
        let run = &mut self.run;
        let run: *mut Run<'_> = run;
        // SAFETY: the code is that of a verified program or has checks; the context is the one that it
        // was prepared for, and the first frame was entered then. As in `enter`, the run is used
        // through this pointer alone until the code has ended.
        unsafe {
            let state = &raw mut (*run).regions.state;
            if is_metered {
                (*state).fuel = (*run).fuel as i64;
            }
            if native.uses_cpu {
                (*state).cpu = self.instance.cpu();
            }
            let value = native.code.enter(state, [r1, r2, 0, 0, 0]);
            match (*state).stop {
                State::RETURNED => Ok(value),
                _ => Err(stopped_alone(&mut *run, self.instance)),
            }
        }
    }

    /// Runs the program with everything around it.
    fn run_anew(&mut self) -> Result<u64, Box<Trap>> {
        let run = &mut self.run;
        run.begin_again();
        // SAFETY: only programs that the verifier accepted run without checks, on the context that
        // their type has in this machine.
        let result = unsafe { exec(run, self.instance, &mut self.stack) };
        self.instance.finish(run, result).map(|outcome| outcome.retval)
    }
}

/// Why code has stopped; the next run begins as if it had not.
#[cold]
fn stopped_alone(run: &mut Run<'_>, instance: &Instance) -> Box<Trap> {
    let trap = stopped(run, instance);
    (run.regions.state.stop, run.regions.state.depth) = (State::RETURNED, 0);
    trap
}
