//! Spin locks in values of maps (`kernel/bpf/helpers.c`).
//!
//! A program holds one at a time and gives it back before it ends; the verifier sees to that. What
//! runs with checks traps instead, and any run that ends with a lock gives it back.

use super::{Call, Outcome};

/// `spin_lock(lock)`
pub(super) fn lock(call: &mut Call<'_, '_>) -> Outcome {
    call.lock(1)?;
    Ok(0)
}

/// `spin_unlock(lock)`
pub(super) fn unlock(call: &mut Call<'_, '_>) -> Outcome {
    call.unlock(1)?;
    Ok(0)
}
