//! Timers fire: when the embedder says how late it is.

use super::{Due, Firing, Running, State, TimerId, Timers};
use crate::instance::{Instance, Outcome};
use crate::map::MapRef;
use crate::trap::Trap;
use crate::vm::Vm;
use ebpfvm_asm::Pc;
use std::sync::Arc;

/// A timer that has fired.
#[derive(Clone, Debug)]
pub struct Fired {
    /// Name of the map that it lies in.
    pub map: String,
    /// The key of its element.
    pub key: Vec<u8>,
    /// Name of the program whose function ran.
    pub program: String,
    /// When it was due, in nanoseconds of the monotonic clock.
    pub due_ns: u64,
    /// What the function brought; 0 is the only result that the verifier lets pass.
    pub outcome: Result<Outcome, Box<Trap>>,
}

/// What [`Vm::fire_timers`] brought.
#[derive(Clone, Debug, Default)]
pub struct TimerRun {
    /// The timers that fired, in order.
    pub fired: Vec<Fired>,
    /// What is left of the fuel. Without any, timers may be due that did not fire.
    pub fuel_left: u64,
}

/// What a timer that is due needs to fire.
struct Ready {
    firing: Firing,
    map: MapRef,
    value: usize,
    program: Arc<Instance>,
    function: Pc,
}

impl State {
    /// Takes the timer that is due first, but not after `until_ns`. One whose callback still runs
    /// waits for it.
    fn take_due(&mut self, until_ns: u64) -> Option<Ready> {
        let is_due = |(due, _): &(&Due, &usize)| due.ns <= until_ns && due.ns != u64::MAX;
        let (address, ready) =
            self.queue.iter().take_while(is_due).find_map(|(due, address)| {
                // What has been taken hold of is not let go while the lock is held.
                let timer = self.timers.get(address).filter(|timer| !self.is_running(timer.id))?;
                let callback = timer.callback.as_ref()?;
                let ready = Ready {
                    firing: Firing { id: timer.id, due_ns: due.ns },
                    map: timer.map.upgrade()?,
                    value: timer.value,
                    program: callback.program.clone(),
                    function: callback.function,
                };
                Some((*address, ready))
            })?;
        self.stop(address);
        let thread = std::thread::current().id();
        self.running.push(Running { id: ready.firing.id, thread, cancelling: 0 });
        Some(ready)
    }
}

/// Tells those who wait that a callback has ended, also when it ends by a panic of the host's.
struct Ends<'a>(&'a Timers, TimerId);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.lock().running.retain(|running| running.id != self.1);
        self.0.ended.notify_all();
    }
}

impl Vm {
    /// Fires the timers that are due at a time of the monotonic clock, in order of time, and those
    /// that they start and that are due then as well: calls their functions with the map, the key
    /// and the value. Before each the host's clock is taken to the time when it was due, if it can be
    /// moved ([`Host::wait_until`](crate::Host::wait_until)). All functions together have `fuel`.
    ///
    /// Timers fire nowhere else: a machine whose embedder never calls this has timers that never
    /// fire.
    pub fn fire_timers(&self, until_ns: u64, fuel: u64) -> TimerRun {
        let mut run = TimerRun { fired: Vec::new(), fuel_left: fuel };
        let Some(timers) = self.timers() else { return run };
        while run.fuel_left > 0 {
            let ready = timers.lock().take_due(until_ns);
            let Some(Ready { firing, map, value, program, function }) = ready else { break };
            let ends = Ends(&timers, firing.id);
            self.host().wait_until(firing.due_ns);
            let key = map.key_of(value).unwrap_or_default();
            let (outcome, fuel_used) =
                program.run_timer(function, &map, &key, value, firing, run.fuel_left);
            run.fuel_left = run.fuel_left.saturating_sub(fuel_used.max(1));
            run.fired.push(Fired {
                map: map.def().name.clone(),
                key,
                program: program.program().name.clone(),
                due_ns: firing.due_ns,
                outcome,
            });
            drop(ends);
        }
        run
    }

    /// When the next timer is due, on the monotonic clock; none if none is started.
    pub fn next_timer_ns(&self) -> Option<u64> {
        let timers = self.timers()?;
        let state = timers.lock();
        let first = state.queue.first_key_value().map(|(due, _)| due.ns);
        first.filter(|ns| *ns != u64::MAX)
    }
}
