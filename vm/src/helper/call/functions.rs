//! Functions of the program that helpers call: at once, or when a timer fires.

use super::Call;
use crate::instance::{Instance, func_of_token};
use crate::interp::exec::{Callable, call_back};
use crate::map::{Map, Slab};
use crate::run::atomic;
use crate::timer::{Firing, TimerId, Timers};
use crate::trap::TrapKind;
use ebpfvm_asm::{AtomicOp, Pc, Size};
use ebpfvm_spec::btf::SpecialKind;
use ebpfvm_spec::context::Direction;
use std::sync::Arc;

impl<'c> Call<'c, '_> {
    /// Calls a function of the program that an argument names, from within the helper; returns its
    /// `r0`.
    ///
    /// # Errors
    /// What stopped the function, which then stops the run: the helper passes it on. A trap if the
    /// argument is no function of the program.
    pub fn callback(&mut self, number: usize, args: [u64; 5]) -> Result<u64, TrapKind> {
        let function = self.function(number)?;
        // SAFETY: the program that has called the helper is running, with checks or accepted by the
        // verifier, and so is the function with what the prototype says that it is given.
        unsafe { call_back(self.run, function, args) }
    }

    /// The function of the program that an argument names.
    fn function(&self, number: usize) -> Result<Callable<'c>, TrapKind> {
        let pc = func_of_token(self.arg(number));
        let function = pc.and_then(|pc| self.instance.callable(self.run, pc));
        function.ok_or_else(|| self.bad_arg(number, "is not a function of the program"))
    }

    /// The function of the program that an argument names, to be called when the helper is long
    /// done; no program if it is about to go.
    ///
    /// # Errors
    /// A trap if the argument is no function of the program.
    pub(crate) fn callback_later(
        &self,
        number: usize,
    ) -> Result<(Option<Arc<Instance>>, Pc), TrapKind> {
        self.function(number)?;
        let function = func_of_token(self.arg(number)).unwrap_or_default();
        Ok((self.instance.to_hold(), function))
    }

    /// The timers of the machine; none if nobody can fire them any more.
    pub(crate) fn timers(&self) -> Option<Arc<Timers>> {
        self.instance.vm().timers()
    }

    /// Where the value of the map begins in whose timer field an argument points to.
    ///
    /// # Errors
    /// A trap if it does not point to one.
    pub(crate) fn timer_value(&self, number: usize, map: &Map) -> Result<usize, TrapKind> {
        let address = self.arg(number) as usize;
        let field = map.def().special.iter().find(|field| field.kind == SpecialKind::Timer);
        let value = field.and_then(|field| {
            let start = |slab: &Slab| slab.value_at(address, field.bytes as usize);
            let (start, _) = map.slabs().iter().find_map(start)?;
            (start + field.offset as usize == address).then_some(start)
        });
        value.ok_or_else(|| self.bad_arg(number, "is not the timer in a value of the map"))
    }

    /// Marks the timer field that an argument points to as made. The caller has found it with
    /// [`Call::timer_value`].
    ///
    /// # Errors
    /// A trap if programs may not write there.
    pub(crate) fn mark_timer(&mut self, number: usize, id: TimerId) -> Result<(), TrapKind> {
        self.check(number, 8, Direction::Write)?;
        let address = self.arg(number);
        // SAFETY: 8 bytes of a map's value, checked above or by the verifier. The map, which may take
        // the number away at any time, uses it as an atomic too.
        unsafe { atomic(AtomicOp::Xchg, Size::Dw, address, id.0, 0) };
        Ok(())
    }

    /// Checks that an argument may be a timer: no more is needed, for they are known by address.
    ///
    /// # Errors
    /// A trap if it points to nothing that programs may write.
    pub(crate) fn check_timer(&mut self, number: usize) -> Result<(), TrapKind> {
        self.check(number, 16, Direction::Write)
    }

    /// The timer in whose callback this is.
    pub(crate) fn firing(&self) -> Option<Firing> {
        self.run.firing
    }

    /// The time that timers count from: it may be later than the host's when they fire ahead of it.
    pub(crate) fn timer_now(&self) -> u64 {
        let due = self.run.firing.map_or(0, |firing| firing.due_ns);
        self.host().monotonic_ns().max(due)
    }
}
