//! What would make a rejected program pass, for the reasons that people meet most.

/// Help against one reason.
struct Hint {
    /// Code of the reason.
    code: &'static str,
    /// What the message has in it; empty for any.
    message: &'static str,
    /// What helps.
    help: &'static str,
}

const fn hint(code: &'static str, message: &'static str, help: &'static str) -> Hint {
    Hint { code, message, help }
}

const NULL_CHECK: &str = "the pointer may be null: test it first, `if (!ptr) return ...;`, in the \
    same function, and use the tested variable";
const PACKET_CHECK: &str = "compare with the end of the packet first: `if (ptr + size > data_end) \
    return ...;`, for this pointer and all bytes that are accessed";
const INDEX_BOUND: &str = "bound the number before it is used: `if (i >= SIZE) return ...;` on an \
    unsigned variable, or `i &= SIZE - 1` for a power of two; what is tested must be what is used";
const UNINITIALIZED: &str = "on this way nothing was stored to the register: give the variable a \
    value on every way; calls lose r1 to r5";

/// Help by reason; the first row that fits counts.
const HINTS: &[Hint] = &[
    hint("access.no_memory", "_or_null'", NULL_CHECK),
    hint(
        "access.no_memory",
        "'scalar'",
        "a number is used as an address: the pointer was lost, by arithmetic, by a store of fewer \
         than 8 bytes, or because a helper made packet pointers invalid; load it again",
    ),
    hint("access.no_memory_argument", "_or_null'", NULL_CHECK),
    hint("arithmetic.maybe_null", "", NULL_CHECK),
    hint("access.outside_packet", "", PACKET_CHECK),
    hint("access.beyond_packet", "", PACKET_CHECK),
    hint("access.unbounded_index", "", INDEX_BOUND),
    hint("access.outside_at_max", "", INDEX_BOUND),
    hint("access.negative_index", "", "make the number unsigned, or test `i >= 0` too"),
    hint(
        "access.outside_at_min",
        "",
        "the offset is outside of the memory even at its smallest: compare it with the size of the \
         value or record",
    ),
    hint("access.negative_size", "", "make the size unsigned, or mask it: `size &= SIZE - 1`"),
    hint(
        "access.unbounded_size",
        "",
        "bound the size by that of the buffer: `if (size > sizeof(buffer)) return ...;`, on an \
         unsigned variable",
    ),
    hint("access.zero_size", "", "exclude zero: `if (!size) return ...;`"),
    hint(
        "access.context",
        "",
        "the context of this program type has no such field at this place, or it is not to be \
         accessed so; `ebpfvm inspect --types` shows what the object takes it for",
    ),
    hint(
        "access.moved",
        "",
        "access the context as `ctx->field`, with no arithmetic on the pointer before",
    ),
    hint(
        "access.variable_offset",
        "",
        "access the context as `ctx->field`, with no arithmetic on the pointer before",
    ),
    hint("access.stack_read", "", "initialise the variable: `struct key key = {};`"),
    hint(
        "access.stack_argument",
        "",
        "initialise all bytes, those between the members too: `__builtin_memset(&key, 0, sizeof(key));`",
    ),
    hint(
        "access.misaligned",
        "",
        "access it in smaller parts, or align the variable: `__attribute__((aligned(8)))`",
    ),
    hint(
        "access.read_only_packet",
        "",
        "programs of this type only read packets; XDP and tc programs may write",
    ),
    hint("access.read_only_map", "", "programs may not write this map: constants are in .rodata"),
    hint(
        "access.leak",
        "",
        "user space could read an address there; store a number instead, or the bytes that it \
         points to",
    ),
    hint("arithmetic.uninitialized", "", UNINITIALIZED),
    hint("arithmetic.division_by_zero", "", "divide by a number that is not the constant 0"),
    hint("arithmetic.unbounded_min", "", INDEX_BOUND),
    hint("arithmetic.far_min", "", INDEX_BOUND),
    hint(
        "arithmetic.pointer_operator",
        "",
        "pointers only take addition and subtraction of numbers; calculate with the number first",
    ),
    hint(
        "arithmetic.narrow_pointer",
        "",
        "keep pointers in 64-bit variables: `void *` or `__u64`, not `__u32`",
    ),
    hint(
        "call.not_allowed",
        "",
        "this program type has no such helper; docs/helpers.md tells which types have it",
    ),
    hint("call.unknown", "", "there is no such helper in Linux 6.18"),
    hint("call.license", "", "declare it: `char LICENSE[] SEC(\"license\") = \"GPL\";`"),
    hint("call.type", "_or_null ", NULL_CHECK),
    hint(
        "call.type",
        "expected=fp",
        "the helper takes the address of memory, such as a variable on the stack",
    ),
    hint("call.type", "expected=ctx", "the helper takes the context as the program was given it"),
    hint("call.unknown_size", "", "the size must be a constant on every way to the call"),
    hint("call.lock_held", "", "give the lock back before the call: bpf_spin_unlock"),
    hint(
        "flow.reference_leak",
        "",
        "give back what was acquired on every way: bpf_ringbuf_submit or bpf_ringbuf_discard for \
         records, bpf_sk_release for sockets",
    ),
    hint("flow.lock_held", "", "call bpf_spin_unlock on every way"),
    hint(
        "flow.return_range",
        "",
        "this program type may only return the values in the brackets, on every way",
    ),
    hint("flow.return_unknown", "", "return a number on every way"),
    hint("flow.returns_pointer", "", "return a number, not an address"),
    hint(
        "flow.infinite_loop",
        "",
        "nothing that the loop tests changes in it: count a variable towards the bound, or take \
         bpf_loop",
    ),
    hint(
        "limit.too_complex",
        "",
        "the loops have too many rounds or the code too many ways: lower the bounds, take bpf_loop, \
         or put parts into global functions, which are judged once",
    ),
    hint("limit.too_many_branches", "", "put parts into global functions, or lower loop bounds"),
    hint("structure.falls_through", "", "a function must end with `exit` or a jump back"),
    hint("structure.unreachable", "", "take the instruction away; nothing leads to it"),
    hint("structure.back_edge", "", "loops need the privilege CAP_BPF"),
    hint(
        "structure.stacks_too_large",
        "",
        "functions that call each other have 512 bytes of stack together: move buffers into a \
         per-CPU array",
    ),
    hint(
        "structure.stack_too_large",
        "",
        "a function has 512 bytes of stack: move buffers into a per-CPU array",
    ),
    hint(
        "structure.call_through_register",
        "",
        "Linux has no calls through registers: compile with optimisation, so that they are resolved",
    ),
];

/// What helps against a reason, by its code and message.
pub(super) fn help(code: &str, message: &str) -> Option<&'static str> {
    let fits = |hint: &&Hint| hint.code == code && message.contains(hint.message);
    HINTS.iter().find(fits).map(|hint| hint.help)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reject::Reason;

    #[test]
    fn hints_are_for_reasons_that_there_are() {
        for (index, hint) in HINTS.iter().enumerate() {
            let Hint { code, message, help } = hint;
            assert!(Reason::codes().any(|known| known == *code), "{code}");
            assert!(!help.is_empty() && !help.ends_with('.'), "{code}: {help}");
            let hides = |other: &Hint| other.code == *code && message.contains(other.message);
            assert!(!HINTS[..index].iter().any(hides), "{code}: a row before hides this one");
        }
    }
}
