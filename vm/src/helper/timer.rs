//! Timers (`kernel/bpf/helpers.c`).

use super::{Call, Outcome};
use crate::timer::Clock;
use ebpfvm_spec::Errno;

/// `timer_init(timer, map, flags)`: the flags are the number of a clock.
pub(super) fn init(call: &mut Call<'_, '_>) -> Outcome {
    let map = call.map_ref(2)?;
    let value = call.timer_value(1, &map)?;
    let clock = match call.arg(3) {
        0 => Clock::Realtime,
        1 => Clock::Monotonic,
        7 => Clock::Boottime,
        _ => return Err(Errno::EINVAL.into()),
    };
    // Nobody is left to fire it.
    let timers = call.timers().ok_or(Errno::EPERM)?;
    let id = timers.make(call.arg(1) as usize, value, &map, clock)?;
    call.mark_timer(1, id)?;
    Ok(0)
}

/// `timer_set_callback(timer, function)`
pub(super) fn set_callback(call: &mut Call<'_, '_>) -> Outcome {
    call.check_timer(1)?;
    let (program, function) = call.callback_later(2)?;
    let program = program.ok_or(Errno::EPERM)?;
    let timers = call.timers().ok_or(Errno::EINVAL)?;
    timers.set_callback(call.arg(1) as usize, program, function)?;
    Ok(0)
}

/// `timer_start(timer, nsecs, flags)`: `BPF_F_TIMER_ABS` gives the time itself,
/// `BPF_F_TIMER_CPU_PIN` asks for this CPU.
pub(super) fn start(call: &mut Call<'_, '_>) -> Outcome {
    const ABSOLUTE: u64 = 1;
    const PINNED: u64 = 2;
    call.check_timer(1)?;
    let flags = call.flags(3, ABSOLUTE | PINNED)?;
    let (address, ns) = (call.arg(1) as usize, call.arg(2));
    let timers = call.timers().ok_or(Errno::EINVAL)?;
    let clock = timers.clock(address)?;
    let now = call.timer_now();
    let due = match flags & ABSOLUTE {
        // A time that does not fit is one that never comes (`ktime_add_safe`).
        0 => now.checked_add(ns).filter(|due| ns <= i64::MAX as u64 && *due <= i64::MAX as u64),
        _ => Some(monotonic(call, clock, ns)),
    };
    timers.start(address, due)?;
    Ok(0)
}

/// A time of a clock on the monotonic clock. What is negative for the kernel is long gone.
fn monotonic(call: &Call<'_, '_>, clock: Clock, ns: u64) -> u64 {
    let host = call.host();
    let clock_now = match clock {
        Clock::Monotonic => return if ns > i64::MAX as u64 { 0 } else { ns },
        Clock::Realtime => host.realtime_ns(),
        Clock::Boottime => host.boot_ns(),
    };
    let ns = if ns > i64::MAX as u64 { 0 } else { ns };
    match ns.checked_sub(clock_now) {
        Some(left) => host.monotonic_ns().saturating_add(left),
        None => host.monotonic_ns().saturating_sub(clock_now - ns),
    }
}

/// `timer_cancel(timer)`: 1 if it was started, else 0.
pub(super) fn cancel(call: &mut Call<'_, '_>) -> Outcome {
    call.check_timer(1)?;
    let timers = call.timers().ok_or(Errno::EINVAL)?;
    Ok(timers.cancel(call.arg(1) as usize, call.firing())?.into())
}
