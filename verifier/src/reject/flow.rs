//! Reasons of functions, returns, references and locks.

use super::table::reasons;

reasons! {
    /// Why the way of control is refused.
    pub enum FlowReason in "flow";
    /// The same state again with no way out.
    InfiniteLoop { pc: u32, current: String, old: String } = "infinite_loop", EINVAL,
        "infinite loop detected at insn {pc}\ncur state:{current}\nold state:{old}";

    /// More functions would run at once than the limit.
    CallTooDeep { frames: usize } = "call_too_deep", E2BIG,
        "the call stack of {frames} frames is too deep";
    /// A global function is called while a lock is held.
    GlobalCallLocked = "global_call_locked", EINVAL,
        "global function calls are not allowed while holding a lock,\n\
         use static function instead";
    /// A global function that may sleep is called where nothing may.
    GlobalCallSleeps = "global_call_sleeps", EINVAL,
        "global functions that may sleep are not allowed in non-sleepable context,\n\
         i.e., in a RCU/IRQ/preempt-disabled section, or in\n\
         a non-sleepable BPF program context";
    /// Arguments do not match the types of a global function; what is wrong with them is logged
    /// before.
    GlobalCallArguments { func: u32, name: String } = "global_call_arguments", EINVAL,
        "Caller passes invalid args into func#{func} ('{name}')";
    /// The types of a global function cannot be judged.
    GlobalTypes { problem: String } = "global_types", EINVAL, "{problem}";
    /// A pointer for a number that a function takes.
    ArgumentNoNumber { reg: u8 } = "argument_no_number", EINVAL, "R{reg} is not a scalar";
    /// Something else for the context that a function takes.
    ArgumentNoContext { arg: usize } = "argument_no_context", EINVAL,
        "arg#{arg} expects pointer to ctx";
    /// A pointer that may be null for one that may not.
    ArgumentNull { arg: usize } = "argument_null", EINVAL,
        "arg#{arg} is expected to be non-NULL";
    /// Something else for a dynptr that a function takes.
    ArgumentNoDynptr { arg: usize } = "argument_no_dynptr", EINVAL,
        "arg#{arg} expected pointer to stack or const struct bpf_dynptr";
    /// Something else for an address in an arena.
    ArgumentNoArena { reg: u8 } = "argument_no_arena", EINVAL,
        "R{reg} is not a pointer to arena or scalar.";

    /// A function returns a place of a stack.
    ReturnsStack = "returns_stack", EINVAL, "cannot return stack pointer to the caller";
    /// A callback returns something else than a number.
    CallbackReturnsNoNumber = "callback_returns_no_number", EACCES, "R0 not a scalar value";
    /// A program shows an address.
    ReturnsPointer = "returns_pointer", EACCES, "R0 leaks addr as return value";
    /// A global function returns something else than a number.
    GlobalReturnsNoNumber { kind: String } = "global_returns_no_number", EINVAL,
        "At subprogram exit the register R0 is not a scalar value ({kind})";
    /// A program or callback whose result is bounded returns something else than a number.
    ReturnUnknown { place: &'static str, kind: String } = "return_unknown", EINVAL,
        "{place} the register R0 is not a known value ({kind})";
    /// A result outside of what is allowed.
    ReturnRange { place: &'static str, smin: i64, smax: i64, min: i64, max: i64 }
        = "return_range", EINVAL,
        "{place} the register R0 has{} should have been in [{min}, {max}]",
        SignedRange { smin: *smin, smax: *smax };
    /// A function whose address is taken in a program without types of functions.
    CallbackUntyped = "callback_untyped", EINVAL, "missing btf func_info";
    /// A global function whose address is taken.
    CallbackGlobal = "callback_global", EINVAL, "callback function not static";
    /// A callback is given a map that cannot be walked.
    MapNotIterable = "map_not_iterable", ENOTSUPP, "callback function not allowed for map";
    /// Too many branches wait when a callback that runs later is added.
    TooManyLaterCallbacks { pending: usize } = "too_many_later_callbacks", E2BIG,
        "The sequence of {pending} jumps is too complex for async cb.";

    /// References that nobody can release any more. `unreleased` has a line for each.
    ReferenceLeak { unreleased: String, place: &'static str } = "reference_leak", EINVAL,
        "{unreleased}{place} would lead to reference leak";
    /// A lock is held where the program may end.
    LockHeld { place: &'static str } = "lock_held", EINVAL,
        "{place} cannot be used inside bpf_spin_lock-ed region";
    /// An RCU read section is open where the program may end.
    RcuLocked { place: &'static str } = "rcu_locked", EINVAL,
        "{place} cannot be used inside bpf_rcu_read_lock-ed region";
    /// Preemption is disabled where the program may end.
    PreemptionDisabled { place: &'static str } = "preemption_disabled", EINVAL,
        "{place} cannot be used inside bpf_preempt_disable-ed region";

    /// A legacy packet load in a program of another type.
    LegacyLoadType = "legacy_load_type", EINVAL,
        "BPF_LD_[ABS|IND] instructions not allowed for this program type";
    /// A legacy packet load, which may end the program, in a callback.
    LegacyLoadInCallback = "legacy_load_in_callback", EINVAL,
        "cannot use BPF_LD_[ABS|IND] within callback";
    /// A legacy packet load without the context in `r6`.
    LegacyLoadContext = "legacy_load_context", EINVAL,
        "at the time of BPF_LD_ABS|IND R6 != pointer to skb";
}

/// Signed bounds in a sentence, without those that tell nothing (`verbose_invalid_scalar`).
struct SignedRange {
    smin: i64,
    smax: i64,
}

impl std::fmt::Display for SignedRange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.smin > i64::MIN {
            write!(f, " smin={}", self.smin)?;
        }
        if self.smax < i64::MAX {
            write!(f, " smax={}", self.smax)?;
        }
        if self.smin == i64::MIN && self.smax == i64::MAX {
            f.write_str(" unknown scalar value")?;
        }
        Ok(())
    }
}
