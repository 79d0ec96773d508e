//! Reasons of memory accesses.

use super::table::reasons;

reasons! {
    /// Why a load, a store or memory given to a helper is refused.
    pub enum AccessReason in "access";
    /// A field that the context does not allow so.
    Context { offset: i64, bytes: i64 }
        = "context", EACCES, "invalid bpf_context access off={offset} size={bytes}";
}
