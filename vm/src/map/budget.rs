//! The memory of all maps of a machine.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The bytes of the maps that there are.
#[derive(Debug, Default)]
pub(crate) struct Budget(AtomicU64);

/// A part of a budget, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Reservation {
    budget: Arc<Budget>,
    bytes: u64,
}

impl Budget {
    /// The bytes in use.
    pub(crate) fn in_use(&self) -> u64 {
        self.0.load(Relaxed)
    }

    /// Takes bytes, unless there are more than `limit` then.
    ///
    /// # Errors
    /// The bytes in use.
    pub(super) fn reserve(self: &Arc<Budget>, bytes: u64, limit: u64) -> Result<Reservation, u64> {
        let more = |used: u64| used.checked_add(bytes).filter(|sum| *sum <= limit);
        self.0.fetch_update(Relaxed, Relaxed, more)?;
        Ok(Reservation { budget: self.clone(), bytes })
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.budget.0.fetch_sub(self.bytes, Relaxed);
    }
}
