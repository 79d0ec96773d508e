//! Runs: with checks, without, and for timers; what is made ready before one and given back after.
//!
//! Only what the verifier accepted runs without checks, or what the caller vouches for.

use super::Instance;
use crate::context::Context;
use crate::interp::exec::{exec, exec_function};
use crate::map::MapRef;
use crate::memory::Stack;
use crate::packet::MIN_BYTES;
use crate::run::{PacketClone, Redirect, Run, Trust};
use crate::timer::Firing;
use crate::trap::{Trap, TrapKind};
use ebpfvm_asm::{CallTarget, Insn, Pc};
use std::sync::Arc;

/// What a run brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What the program returned: `r0`.
    pub retval: u64,
    /// Where it sent its packet.
    pub redirect: Option<Redirect>,
    /// Copies of its packet that it sent, in order.
    pub clones: Vec<PacketClone>,
    /// Fuel used. The number of instructions executed is not above it by more than the program's
    /// length: loops and calls cost fuel, one pass over the program is free.
    pub fuel_used: u64,
}

impl Instance {
    /// Runs the program. One that the verifier accepted runs without checks; of any other, every
    /// access is compared with the memory that it was given. A loop costs fuel.
    ///
    /// # Errors
    /// The trap that stopped it.
    pub fn run(&self, ctx: &mut Context, fuel: u64) -> Result<Outcome, Box<Trap>> {
        self.run_trusting(ctx, fuel, Trust::Verified)
    }

    /// Runs the program with checks, whether or not the verifier accepted it.
    ///
    /// # Errors
    /// The trap that stopped it.
    pub fn run_checked(&self, ctx: &mut Context, fuel: u64) -> Result<Outcome, Box<Trap>> {
        self.run_trusting(ctx, fuel, Trust::Nothing)
    }

    /// Runs a function of the program for a timer: `callback(map, key, value)`. Returns the fuel used
    /// as well.
    pub(crate) fn run_timer(
        &self,
        function: Pc,
        map: &MapRef,
        key: &[u8],
        value: usize,
        firing: Firing,
        fuel: u64,
    ) -> (Result<Outcome, Box<Trap>>, u64) {
        let prog_type = self.prog_type();
        // The function is not given the context; a packet has at least its link-layer header.
        let blank = self.vm.context(prog_type, &[]);
        let blank = blank.or_else(|_| self.vm.context(prog_type, &[0; MIN_BYTES]));
        let stop = |what: String| (Err(self.trap(function, TrapKind::Unsupported(what))), 0);
        let mut ctx = match blank {
            Ok(ctx) => ctx,
            Err(error) => return stop(error.to_string()),
        };
        if let Err(trap) = self.expect_context(&mut ctx) {
            return (Err(trap), 0);
        }
        let mut run = Run::new(&mut ctx, self.program().attach_type, fuel, Trust::Verified);
        run.firing = Some(firing);
        let Ok(cell) = run.cells.take(key.len()) else {
            return stop("there is no memory left for the key".into());
        };
        run.cells.write(cell, key);
        let key_at = run.cells.address(cell);
        run.regions.lend("map key", key_at, key.len() as u64, false);
        if !self.maps.iter().any(|held| Arc::ptr_eq(held, map)) {
            run.regions.add_slabs(map.slabs());
            run.inner_maps.push(map.clone());
        }
        let Some(entry) = self.callable(&run, function) else {
            return stop("the timer's function is not there".into());
        };
        run.fuel_left -= i64::from(entry.extent().slots);
        let args = [Arc::as_ptr(map) as u64, key_at, value as u64, 0, 0];
        let result = match run.fuel_left {
            // SAFETY: as in `run_trusting`; the verifier judged the function with these arguments.
            0.. => unsafe { exec_function(&mut run, self, &mut Stack::new(), entry, args) },
            _ => Err(self.trap(function, TrapKind::OutOfFuel(fuel))),
        };
        let fuel_used = run.fuel_used();
        (self.finish(&mut run, result), fuel_used)
    }

    /// Runs the program without checks.
    ///
    /// # Errors
    /// The trap that stopped it: out of fuel, a missing helper, too many nested calls.
    ///
    /// # Safety
    /// The program must be safe to run on this context. That is so if it has run in checked mode
    /// without a trap on the same memory and depends on nothing else, such as time.
    pub unsafe fn run_unchecked(&self, ctx: &mut Context, fuel: u64) -> Result<Outcome, Box<Trap>> {
        self.expect_context(ctx)?;
        if ctx.def().is_some() {
            let what = "running without checks needs a verified program or plain memory";
            return Err(self.trap(Pc(0), TrapKind::Unsupported(what.into())));
        }
        let mut run = Run::new(ctx, self.program().attach_type, fuel, Trust::Everything);
        // SAFETY: the caller's promise.
        let result = unsafe { exec(&mut run, self, &mut Stack::new()) };
        self.finish(&mut run, result)
    }

    /// Runs the program in checked mode and, if it ends, once more without checks from the same
    /// start, and gives what the second run brought. The first run shows that the second is safe:
    /// both find the same bytes at the same addresses, so they do the same.
    ///
    /// That holds for programs on plain memory that depend on nothing else. Others, which have maps
    /// or call helpers, run in checked mode only. This serves to compare the two modes.
    ///
    /// # Errors
    /// The trap that stopped either run.
    pub fn run_both(&self, ctx: &mut Context, fuel: u64) -> Result<Outcome, Box<Trap>> {
        self.expect_context(ctx)?;
        let closed = self.maps.is_empty() && self.helpers.is_empty() && !self.calls_by_register();
        let Some(start) = ctx.memory().filter(|_| closed).map(<[u8]>::to_vec) else {
            return self.run(ctx, fuel);
        };
        let mut stack = Box::new(Stack::new());
        let mut run = Run::new(ctx, self.program().attach_type, fuel, Trust::Nothing);
        // SAFETY: checked mode asks nothing of the program.
        let result = unsafe { exec(&mut run, self, &mut stack) };
        self.finish(&mut run, result)?;
        ctx.set_memory(&start);
        let mut run = Run::new(ctx, self.program().attach_type, fuel, Trust::Everything);
        // SAFETY: the same program has just run in checked mode without a trap. It starts with the
        // same registers, with the same bytes in the same memory and on the same stack, whose
        // frames are zero when they are entered; nothing else can tell it another way.
        let result = unsafe { exec(&mut run, self, &mut stack) };
        self.finish(&mut run, result)
    }

    #[inline]
    fn run_trusting(
        &self,
        ctx: &mut Context,
        fuel: u64,
        trust: Trust,
    ) -> Result<Outcome, Box<Trap>> {
        self.expect_context(ctx)?;
        if trust == Trust::Verified {
            self.expect_room(ctx)?;
        }
        let mut run = Run::new(ctx, self.program().attach_type, fuel, trust);
        // SAFETY: only programs that the verifier accepted run without checks, on the context that
        // their type has in this machine.
        let result = unsafe { exec(&mut run, self, &mut Stack::new()) };
        self.finish(&mut run, result)
    }

    /// Whether the program calls helpers that are known only when it runs.
    fn calls_by_register(&self) -> bool {
        let by_register = |insn: &Insn| matches!(insn, Insn::Call { target: CallTarget::Reg(_) });
        self.program().code.iter().any(|(_, insn)| by_register(insn))
    }

    pub(crate) fn expect_context(&self, ctx: &mut Context) -> Result<(), Box<Trap>> {
        if ctx.prog_type() == self.program().prog_type {
            if ctx.has_layout(self.layout.as_ref()) {
                let ready = ctx.prepare(self.program().attach_type);
                return ready.map_err(|what| self.trap(Pc(0), TrapKind::Unsupported(what)));
            }
            let what =
                "the context has another layout than this machine gives to the program's type";
            return Err(self.trap(Pc(0), TrapKind::Unsupported(what.into())));
        }
        let (has, needs) = (ctx.prog_type().name(), self.program().prog_type.name());
        let what = format!("the program is of type {needs}, the context of type {has}");
        Err(self.trap(Pc(0), TrapKind::Unsupported(what)))
    }

    /// Refuses a context that ends before what the program reaches, as Linux does when a program is
    /// attached or test-run.
    #[inline]
    pub(crate) fn expect_room(&self, ctx: &Context) -> Result<(), Box<Trap>> {
        let (has, needs) = (ctx.room(), self.needs());
        let short = |what, needed: u32, given: u32| {
            Err(self.trap(Pc(0), TrapKind::Short { what, needed, given }))
        };
        if has.context_bytes < needs.context_bytes {
            return short("context", needs.context_bytes, has.context_bytes);
        }
        if has.buffer_bytes < needs.buffer_bytes {
            return short("buffer", needs.buffer_bytes, has.buffer_bytes);
        }
        Ok(())
    }

    /// Ends a run: a lock that the program holds is given back, and so are records that it reserved
    /// and did not submit.
    #[inline]
    pub(crate) fn finish(
        &self,
        run: &mut Run<'_>,
        result: Result<u64, Box<Trap>>,
    ) -> Result<Outcome, Box<Trap>> {
        run.lock = None;
        run.ctx.end();
        for address in run.regions.granted() {
            let programs = std::iter::once(self).chain(run.held.iter().map(|i| &**i));
            let maps = programs.flat_map(|i| &i.maps).chain(&run.inner_maps);
            maps.for_each(|map| map.take_back(address));
        }
        let (fuel_used, redirect) = (run.fuel_used(), run.redirect.take());
        let clones = std::mem::take(&mut run.clones);
        Ok(Outcome { retval: result?, redirect, clones, fuel_used })
    }
}
