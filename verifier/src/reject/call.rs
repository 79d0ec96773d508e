//! Reasons of helper calls.

use super::table::reasons;

reasons! {
    /// Why a call of a helper is refused.
    pub enum CallReason in "call";
    /// A number that no helper has.
    Unknown { name: String, id: u32 } = "unknown", EINVAL, "invalid func {name}#{id}";
}
