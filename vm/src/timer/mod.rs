//! Timers in values of maps (`kernel/bpf/helpers.c`).
//!
//! They belong to the machine and are known by the address of their field. The field itself holds a
//! number that stands for "made", so that the map tells when it goes with its element
//! ([`Map::on_free`]); nothing else is read from it, for a program without a verdict writes there what
//! it likes.
//!
//! One lock guards all timers. While it is held no map is used and nothing is dropped that holds one:
//! maps tell of fields that go with locks of their own held.
//!
//! A timer keeps its program alive, and that its maps, until it is cancelled or the last [`Vm`] of the
//! machine goes; programs hold timers weakly.
//!
//! [`Vm`]: crate::Vm

mod fire;

pub use fire::{Fired, TimerRun};

use crate::instance::Instance;
use crate::map::{FreedField, Map, MapRef};
use ebpfvm_asm::Pc;
use ebpfvm_spec::Errno;
use ebpfvm_spec::btf::SpecialKind;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::ThreadId;

/// Identity of a timer from `timer_init` until its field goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TimerId(pub(crate) u64);

/// The timer whose callback runs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Firing {
    pub(crate) id: TimerId,
    /// When it was due, on the monotonic clock.
    pub(crate) due_ns: u64,
}

/// What runs when a timer fires.
struct Callback {
    program: Arc<Instance>,
    function: Pc,
}

/// When a timer fires, on the monotonic clock; of several at the same time the one first that was
/// started first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Due {
    ns: u64,
    order: u64,
}

struct Timer {
    id: TimerId,
    clock: Clock,
    map: Weak<Map>,
    /// Address of the value that it lies in.
    value: usize,
    callback: Option<Callback>,
    due: Option<Due>,
}

/// The clock of a timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Clock {
    Realtime,
    Monotonic,
    Boottime,
}

/// A callback that runs.
struct Running {
    id: TimerId,
    thread: ThreadId,
    /// Other callbacks that cancel this timer just now.
    cancelling: u32,
}

#[derive(Default)]
struct State {
    /// By the address of the field.
    timers: BTreeMap<usize, Timer>,
    /// The started ones, by what they are started for.
    queue: BTreeMap<Due, usize>,
    running: Vec<Running>,
    /// Maps that tell this machine of fields that go.
    maps: BTreeSet<u32>,
    last_id: u64,
    last_order: u64,
}

/// The timers of a machine.
#[derive(Default)]
pub(crate) struct Timers {
    state: Mutex<State>,
    /// A callback has ended.
    ended: Condvar,
}

impl State {
    fn is_running(&self, id: TimerId) -> bool {
        self.running.iter().any(|running| running.id == id)
    }

    fn is_cancelled_by_another(&self, id: TimerId) -> bool {
        self.running.iter().any(|running| running.id == id && running.cancelling > 0)
    }

    fn count_cancelling(&mut self, id: TimerId, by: i32) {
        if let Some(running) = self.running.iter_mut().find(|running| running.id == id) {
            running.cancelling = running.cancelling.saturating_add_signed(by);
        }
    }

    fn stop(&mut self, address: usize) -> bool {
        let due = self.timers.get_mut(&address).and_then(|timer| timer.due.take());
        due.is_some_and(|due| self.queue.remove(&due).is_some())
    }

    fn remove(&mut self, address: usize) -> Option<Timer> {
        self.stop(address);
        self.timers.remove(&address)
    }
}

impl Timers {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a timer (`bpf_timer_init`); returns what its field is to hold.
    ///
    /// # Errors
    /// `EBUSY` if it is made already; `EPERM` if the map's timers are another machine's.
    pub(crate) fn make(
        self: &Arc<Timers>,
        address: usize,
        value: usize,
        map: &MapRef,
        clock: Clock,
    ) -> Result<TimerId, Errno> {
        let mut state = self.lock();
        if state.timers.contains_key(&address) {
            return Err(Errno::EBUSY);
        }
        if !state.maps.contains(&map.id()) {
            let timers = Arc::downgrade(self);
            let told = map.on_free(Box::new(move |field| {
                if let Some(timers) = timers.upgrade() {
                    timers.field_goes(field);
                }
            }));
            if !told {
                return Err(Errno::EPERM);
            }
            state.maps.insert(map.id());
        }
        state.last_id += 1;
        let id = TimerId(state.last_id);
        let map = Arc::downgrade(map);
        let timer = Timer { id, clock, map, value, callback: None, due: None };
        state.timers.insert(address, timer);
        Ok(id)
    }

    /// Ends a timer whose element goes (`bpf_timer_cancel_and_free`). A callback that runs goes on.
    fn field_goes(&self, field: FreedField) {
        if field.kind == SpecialKind::Timer {
            let timer = self.lock().remove(field.address);
            drop(timer);
        }
    }

    /// Sets what runs when a timer fires (`bpf_timer_set_callback`).
    ///
    /// # Errors
    /// `EINVAL` if it is not made.
    pub(crate) fn set_callback(
        &self,
        address: usize,
        program: Arc<Instance>,
        function: Pc,
    ) -> Result<(), Errno> {
        let callback = Some(Callback { program, function });
        let before = match self.lock().timers.get_mut(&address) {
            Some(timer) => std::mem::replace(&mut timer.callback, callback),
            None => return Err(Errno::EINVAL),
        };
        drop(before);
        Ok(())
    }

    /// The clock of a timer that can be started.
    ///
    /// # Errors
    /// `EINVAL` if it is not made or has no callback.
    pub(crate) fn clock(&self, address: usize) -> Result<Clock, Errno> {
        let state = self.lock();
        let timer = state.timers.get(&address).filter(|timer| timer.callback.is_some());
        timer.map(|timer| timer.clock).ok_or(Errno::EINVAL)
    }

    /// Starts a timer, anew if it is started already (`bpf_timer_start`). None: it is never due.
    ///
    /// # Errors
    /// As [`Timers::clock`].
    pub(crate) fn start(&self, address: usize, due_ns: Option<u64>) -> Result<(), Errno> {
        let mut state = self.lock();
        let ready = state.timers.get(&address).is_some_and(|timer| timer.callback.is_some());
        if !ready {
            return Err(Errno::EINVAL);
        }
        state.stop(address);
        state.last_order += 1;
        let due = Due { ns: due_ns.unwrap_or(u64::MAX), order: state.last_order };
        state.queue.insert(due, address);
        if let Some(timer) = state.timers.get_mut(&address) {
            timer.due = Some(due);
        }
        Ok(())
    }

    /// Cancels a timer and waits for its callback to end (`bpf_timer_cancel`); whether it was
    /// started. `firing` is the timer whose callback asks.
    ///
    /// # Errors
    /// `EINVAL` if it is not made; `EDEADLK` if the callback would wait for itself, or for one that
    /// waits for it.
    pub(crate) fn cancel(&self, address: usize, firing: Option<Firing>) -> Result<bool, Errno> {
        let mut state = self.lock();
        let id = state.timers.get(&address).map(|timer| timer.id).ok_or(Errno::EINVAL)?;
        let here = std::thread::current().id();
        // What runs on this thread waits for us, whoever called it.
        let waits_for_us = |running: &Running| running.id == id && running.thread == here;
        if firing.is_some_and(|firing| firing.id == id) || state.running.iter().any(waits_for_us) {
            return Err(Errno::EDEADLK);
        }
        if firing.is_some_and(|firing| state.is_cancelled_by_another(firing.id)) {
            return Err(Errno::EDEADLK);
        }
        let callback = state.timers.get_mut(&address).and_then(|timer| timer.callback.take());
        if firing.is_some() {
            state.count_cancelling(id, 1);
        }
        while state.is_running(id) {
            state = self.ended.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        // It may have gone meanwhile, and another have been made in its place.
        let is_same = state.timers.get(&address).is_some_and(|timer| timer.id == id);
        let was_started = is_same && state.stop(address);
        drop(state);
        drop(callback);
        Ok(was_started)
    }
}
