//! Calls of helpers (`check_helper_call`).

use crate::reject::Reason;
use crate::step::{Flow, Step};

/// A call of the helper with this number.
pub(crate) fn helper(_step: &mut Step<'_, '_>, id: u32) -> Result<Flow, Reason> {
    Err(Reason::unsupported(format!("helper {id}")))
}
