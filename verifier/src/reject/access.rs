//! Reasons of memory accesses.

use super::table::reasons;
use std::fmt;

/// What a range of bytes had to lie in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Area {
    /// The key of a map.
    MapKey,
    /// The value of a map.
    MapValue,
    /// What is known of a packet, through a pointer in this register with this id.
    Packet {
        /// Number of the register.
        reg: u8,
        /// What pointers with the same variable offset share.
        id: u32,
    },
    /// Other memory.
    Memory,
}

/// Bytes that lie outside of what they had to lie in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outside {
    /// What they had to lie in.
    pub area: Area,
    /// Its size in bytes.
    pub limit: u32,
    /// Where they begin.
    pub offset: i32,
    /// How many they are.
    pub bytes: u32,
}

impl fmt::Display for Outside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Outside { area, limit, offset, bytes } = *self;
        match area {
            Area::MapKey => {
                write!(f, "invalid access to map key, key_size={limit} off={offset} size={bytes}")
            }
            Area::MapValue => write!(
                f,
                "invalid access to map value, value_size={limit} off={offset} size={bytes}"
            ),
            Area::Packet { reg, id } => write!(
                f,
                "invalid access to packet, off={offset} size={bytes}, \
                 R{reg}(id={id},off={offset},r={limit})"
            ),
            Area::Memory => {
                write!(f, "invalid access to memory, mem_size={limit} off={offset} size={bytes}")
            }
        }
    }
}

reasons! {
    /// Why a load, a store or memory given to a helper is refused.
    pub enum AccessReason in "access";
    /// A register that does not hold a pointer to memory, or one that may be null.
    NoMemory { reg: u8, found: String } = "no_memory", EACCES,
        "R{reg} invalid mem access '{found}'";
    /// A register that does not hold a pointer to memory, where a helper takes one.
    NoMemoryArgument { reg: u8, found: String } = "no_memory_argument", EACCES,
        "R{reg} type={found} expected=fp";
    /// A field that the context does not allow so.
    Context { offset: i64, bytes: i64 }
        = "context", EACCES, "invalid bpf_context access off={offset} size={bytes}";
    /// One instruction for pointers that need different code.
    MixedPointers = "mixed_pointers", EINVAL,
        "same insn cannot be used with different pointers";
    /// A pointer with an offset below 0.
    NegativeOffset { found: String, reg: u8, offset: i32 } = "negative_offset", EACCES,
        "negative offset {found} ptr R{reg} off={offset} disallowed";
    /// A pointer that must not be moved.
    Moved { found: String, reg: u8, offset: i32 } = "moved", EACCES,
        "dereference of modified {found} ptr R{reg} off={offset} disallowed";
    /// A pointer that must not be moved by an unknown number.
    VariableOffset { found: String, bits: String } = "variable_offset", EACCES,
        "variable {found} access var_off={bits} disallowed";

    /// An offset that is no multiple of the size.
    Misaligned { what: &'static str, bits: String, fixed: i32, offset: i32, bytes: u32 }
        = "misaligned", EACCES,
        "misaligned {what}access off {bits}+{fixed}+{offset} size {bytes}";
    /// The same in a packet, of which the third byte is aligned.
    MisalignedPacket { bits: String, fixed: i32, offset: i32, bytes: u32 }
        = "misaligned_packet", EACCES,
        "misaligned packet access off 2+{bits}+{fixed}+{offset} size {bytes}";

    /// A pointer as a number where others see it.
    Leak { reg: u8, into: &'static str } = "leak", EACCES, "R{reg} leaks addr into {into}";
    /// A spilled pointer that an atomic operation would use as a number.
    LeakFromStack { offset: i32 } = "leak_from_stack", EACCES,
        "leaking pointer from stack off {offset}";

    /// An index that may be negative.
    NegativeIndex { reg: u8 } = "negative_index", EACCES,
        "R{reg} min value is negative, either use unsigned index or do a if (index >=0) check.";
    /// An index without an upper bound.
    UnboundedIndex { reg: u8 } = "unbounded_index", EACCES,
        "R{reg} unbounded memory access, make sure to bounds check any such access";
    /// The lowest address is outside.
    OutsideAtMin { access: Outside, reg: u8 } = "outside_at_min", EACCES,
        "{access}\nR{reg} min value is outside of the allowed memory range";
    /// The highest address is outside.
    OutsideAtMax { access: Outside, reg: u8 } = "outside_at_max", EACCES,
        "{access}\nR{reg} max value is outside of the allowed memory range";
    /// Bytes that were not compared with the end of the packet.
    OutsidePacket { access: Outside, reg: u8 } = "outside_packet", EACCES,
        "{access}\nR{reg} offset is outside of the packet";
    /// Any byte of a packet pointer that is known to be beyond its end.
    BeyondPacket { reg: u8 } = "beyond_packet", EINVAL,
        "R{reg} offset is outside of the packet";
    /// A size that may be negative.
    NegativeSize { reg: u8 } = "negative_size", EACCES,
        "R{reg} min value is negative, either use unsigned or 'var &= const'";
    /// A size without an upper bound.
    UnboundedSize { reg: u8 } = "unbounded_size", EACCES,
        "R{reg} unbounded memory access, use 'var &= const' or 'if (var < const)'";
    /// A size that may be 0 where a helper takes none.
    ZeroSize { reg: u8, min: i64, max: i64 } = "zero_size", EACCES,
        "R{reg} invalid zero-sized read: u64=[{min},{max}]";
    /// No bytes where a helper takes some.
    Nothing = "nothing", EACCES, "invalid zero-sized read";

    /// A store to the key of a map.
    StoreToKey { reg: u8 } = "store_to_key", EACCES, "write to change key R{reg} not allowed";
    /// A store to memory that is only read.
    ReadOnly { reg: u8, found: String } = "read_only", EACCES,
        "R{reg} cannot write into {found}";
    /// A store to a map that programs only read.
    ReadOnlyMap { value_bytes: u32, offset: i32, bytes: u32 } = "read_only_map", EACCES,
        "write into map forbidden, value_size={value_bytes} off={offset} size={bytes}";
    /// A load from a map that programs only write.
    WriteOnlyMap { value_bytes: u32, offset: i32, bytes: u32 } = "write_only_map", EACCES,
        "read from map forbidden, value_size={value_bytes} off={offset} size={bytes}";
    /// A field of a map value that helpers alone may touch.
    SpecialField { name: &'static str } = "special_field", EACCES,
        "{name} cannot be accessed directly by load/store";
    /// A kernel pointer in a map value, given to a helper as memory.
    KptrArgument = "kptr_argument", EACCES, "kptr cannot be accessed indirectly by helper";
    /// A kernel pointer in a map value, somewhere.
    KptrVariable = "kptr_variable", EACCES, "kptr access cannot have variable offset";
    /// A part of a kernel pointer in a map value.
    KptrMisaligned { expected: u32, offset: i64 } = "kptr_misaligned", EACCES,
        "kptr access misaligned expected={expected} off={offset}";
    /// Less than a kernel pointer in a map value.
    KptrSize = "kptr_size", EACCES, "kptr access size must be BPF_DW";
    /// The kernel's own struct of a map, for a program that must not see it.
    MapStruct { name: &'static str } = "map_struct", EPERM,
        "'struct {name}' access is allowed only to CAP_PERFMON and CAP_SYS_ADMIN";
    /// Memory before the kernel's own struct of a map.
    BeforeMapStruct { reg: u8, name: &'static str, offset: i32 } = "before_map_struct", EACCES,
        "R{reg} is {name} invalid negative access: off={offset}";
    /// A store to the kernel's own struct of a map.
    StoreToMapStruct { name: &'static str } = "store_to_map_struct", EACCES,
        "only read from {name} is supported";

    /// A store to a packet by a program that only reads packets.
    ReadOnlyPacket = "read_only_packet", EACCES, "cannot write into packet";
    /// Bytes that flow keys do not have.
    FlowKeys { offset: i32, bytes: u32 } = "flow_keys", EACCES,
        "invalid access to flow keys off={offset} size={bytes}";
    /// A field that a socket does not show so.
    Socket { reg: u8, found: String, offset: i32, bytes: u32 } = "socket", EACCES,
        "R{reg} invalid {found} access off={offset} size={bytes}";
    /// Bytes before a buffer.
    BeforeBuffer { reg: u8, what: &'static str, offset: i32, bytes: u32 }
        = "before_buffer", EACCES,
        "R{reg} invalid {what} buffer access: off={offset}, size={bytes}";
    /// A buffer at an unknown offset.
    VariableBuffer { reg: u8, offset: i32, bits: String } = "variable_buffer", EACCES,
        "R{reg} invalid variable buffer offset: off={offset}, var_off={bits}";

    /// Stack below its lowest byte, or what of it was not used yet.
    BelowStack { what: &'static str, reg: u8, offset: i32, bytes: u32 } = "below_stack", EACCES,
        "invalid {what} stack R{reg} off={offset} size={bytes}";
    /// Above the stack.
    AboveStack { what: &'static str, reg: u8, offset: i32, bytes: u32 } = "above_stack", EINVAL,
        "invalid {what} stack R{reg} off={offset} size={bytes}";
    /// Maybe below the stack.
    MaybeBelowStack { what: &'static str, reg: u8, bits: String, offset: i32, bytes: u32 }
        = "maybe_below_stack", EACCES,
        "invalid variable-offset {what} stack R{reg} var_off={bits} off={offset} size={bytes}";
    /// Maybe above the stack.
    MaybeAboveStack { what: &'static str, reg: u8, bits: String, offset: i32, bytes: u32 }
        = "maybe_above_stack", EINVAL,
        "invalid variable-offset {what} stack R{reg} var_off={bits} off={offset} size={bytes}";
    /// A place on the stack without bounds.
    UnboundedStack { what: &'static str, reg: u8 } = "unbounded_stack", EACCES,
        "invalid unbounded variable-offset {what} stack R{reg}";
    /// An unknown place on the stack, in a program that may not.
    SecretStackIndex { reg: u8, bits: String } = "secret_stack_index", EACCES,
        "R{reg} variable offset stack access prohibited for !root, var_off={bits}";
    /// An unknown place on the stack, changed in place.
    VariableStack { bits: String, offset: i32, bytes: u32 } = "variable_stack", EACCES,
        "variable offset stack pointer cannot be passed into helper function; \
         var_off={bits} off={offset} size={bytes}";
    /// A load of stack that holds nothing, or pointers in part.
    StackRead { offset: i32, byte: u32, bytes: u32 } = "stack_read", EACCES,
        "invalid read from stack off {offset}+{byte} size {bytes}";
    /// Stack given to a helper that holds nothing or what helpers must not read.
    StackArgument { reg: u8, offset: i32, byte: u32, bytes: u32 } = "stack_argument", EACCES,
        "invalid read from stack R{reg} off {offset}+{byte} size {bytes}";
    /// The same at an unknown offset.
    VariableStackArgument { reg: u8, bits: String, byte: u32, bytes: u32 }
        = "variable_stack_argument", EACCES,
        "invalid read from stack R{reg} var_off {bits}+{byte} size {bytes}";
    /// Stack given to a helper to be filled, with a dynptr in it.
    DynptrInBuffer { offset: i32 } = "dynptr_in_buffer", EACCES,
        "potential write to dynptr at off={offset} disallowed";
    /// A part of a spilled pointer is overwritten.
    CorruptSpill = "corrupt_spill", EACCES, "attempt to corrupt spilled pointer on stack";
    /// A pointer spilled in part.
    SpillSize = "spill_size", EACCES, "invalid size of register spill";
    /// A part of a spilled pointer is loaded.
    FillSize = "fill_size", EACCES, "invalid size of register fill";
    /// A pointer to this frame's stack, stored where it outlives the frame.
    StackPointerInCaller = "stack_pointer_in_caller", EINVAL,
        "cannot spill pointers to stack into stack frame of the caller";
    /// A store somewhere over a spilled pointer.
    VariableStoreOverSpill { pc: u32, offset: i32 } = "variable_store_over_spill", EINVAL,
        "spilled ptr in range of var-offset stack write; insn {pc}, ptr off: {offset}";
    /// A store somewhere, as if it had initialised everything.
    VariableStoreOverNothing { pc: u32, offset: i32 } = "variable_store_over_nothing", EINVAL,
        "uninit stack in range of var-offset write prohibited for !root; insn {pc}, off: {offset}";

    /// An atomic operation on what stores alone, or nobody, may change.
    AtomicStore { reg: u8, found: String } = "atomic_store", EACCES,
        "BPF_ATOMIC stores into R{reg} {found} is not allowed";
    /// A load with acquire order from what takes none.
    AtomicLoad { reg: u8, found: String } = "atomic_load", EACCES,
        "BPF_ATOMIC loads from R{reg} {found} is not allowed";
    /// An atomic operation on less than 4 bytes.
    AtomicSize = "atomic_size", EINVAL, "invalid atomic operand size";
}
