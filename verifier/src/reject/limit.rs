//! Reasons of limits.

use super::table::reasons;

reasons! {
    /// Which limit of the verifier a program exceeds.
    pub enum LimitReason in "limit";
    /// More instructions were followed than the limit.
    TooComplex { processed: u32 } = "too_complex", E2BIG,
        "BPF program is too large. Processed {processed} insn";
    /// More branches wait than the limit.
    TooManyBranches { pending: usize } = "too_many_branches", E2BIG,
        "The sequence of {pending} jumps is too complex.";
    /// The time that the options give is over.
    OutOfTime { ms: u128 } = "out_of_time", EAGAIN, "verification took longer than {ms} ms";
    /// The verifier met a state that should not be: it rejects.
    Internal { what: String } = "internal", EFAULT, "verifier bug: {what}";
}
