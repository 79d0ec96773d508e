//! The time of a given world.

/// Clocks that begin at given times and go on together: by [`World::advance`](super::World::advance),
/// and by a step with each question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Clock {
    /// `CLOCK_MONOTONIC` at the start, in nanoseconds.
    pub monotonic_ns: u64,
    /// `CLOCK_BOOTTIME` at the start, in nanoseconds.
    pub boot_ns: u64,
    /// `CLOCK_TAI` at the start, in nanoseconds.
    pub tai_ns: u64,
    /// How much time passes after each question, in nanoseconds.
    pub step_ns: u64,
}

impl Clock {
    /// Clocks that all stand at one time.
    pub fn starting_at(ns: u64) -> Clock {
        Clock { monotonic_ns: ns, boot_ns: ns, tai_ns: ns, step_ns: 0 }
    }

    /// Sets how much time passes after each question.
    pub fn step(mut self, ns: u64) -> Clock {
        self.step_ns = ns;
        self
    }
}
