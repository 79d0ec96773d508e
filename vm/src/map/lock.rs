//! The lock in a value (`struct bpf_spin_lock`): 4 bytes that programs and the host share.
//!
//! 0 is free. Nobody waits for ever: a program that was not verified can write what it likes there.

use ebpfvm_spec::Errno;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::time::{Duration, Instant};

/// How long somebody waits for a lock. Who holds one does little: longer than that only a holder
/// that is not given the processor takes, or one that is not there.
pub(crate) const WAIT: Duration = Duration::from_secs(5);

/// A lock that is held until this is dropped.
pub(crate) struct Guard<'a>(&'a AtomicU32);

/// Takes a lock (`__bpf_spin_lock`).
///
/// # Errors
/// `ETIMEDOUT` if it is not free within [`WAIT`].
pub(crate) fn take(cell: &AtomicU32) -> Result<Guard<'_>, Errno> {
    take_within(cell, WAIT)
}

fn take_within(cell: &AtomicU32, wait: Duration) -> Result<Guard<'_>, Errno> {
    const SPINS: u32 = 64;
    let mut started: Option<Instant> = None;
    loop {
        for _ in 0..SPINS {
            if cell.load(Relaxed) == 0 && cell.compare_exchange(0, 1, Acquire, Relaxed).is_ok() {
                return Ok(Guard(cell));
            }
            std::hint::spin_loop();
        }
        match started {
            None => started = Some(Instant::now()),
            Some(started) if started.elapsed() >= wait => return Err(Errno::ETIMEDOUT),
            Some(_) => {}
        }
        std::thread::yield_now();
    }
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        self.0.store(0, Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_holds_it_at_a_time() {
        let cell = AtomicU32::new(0);
        let first = take(&cell).unwrap();
        let short = Duration::from_millis(1);
        assert_eq!(take_within(&cell, short).err(), Some(Errno::ETIMEDOUT));
        drop(first);
        assert!(take_within(&cell, short).is_ok());
        assert_eq!(cell.load(Relaxed), 0);
    }
}
