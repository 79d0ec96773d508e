//! Reasons of arithmetic and comparisons.

use super::table::reasons;

reasons! {
    /// Why an arithmetic instruction or a comparison is refused.
    pub enum ArithmeticReason in "arithmetic";
    /// A register that holds nothing.
    Uninitialized { reg: u8 } = "uninitialized", EACCES, "R{reg} !read_ok";
    /// A store into `r10`.
    FramePointer = "frame_pointer", EACCES, "frame pointer is read only";
    /// Division by the immediate 0.
    DivisionByZero = "division_by_zero", EINVAL, "div by zero";
    /// An immediate shift of the whole width or more.
    Shift { by: i32 } = "shift", EINVAL, "invalid shift {by}";
    /// A negation or byte swap of a pointer.
    PointerOperand { reg: u8 } = "pointer_operand", EACCES,
        "R{reg} pointer arithmetic prohibited";
    /// A sign-extending move of a pointer.
    PointerSignExtension { reg: u8 } = "pointer_sign_extension", EACCES,
        "R{reg} sign-extension part of pointer";
    /// A 32-bit move of a pointer.
    PartialCopy { reg: u8 } = "partial_copy", EACCES, "R{reg} partial copy of pointer";
    /// Two pointers, and the operation is not a subtraction that may show a number.
    TwoPointers { reg: u8, op: &'static str } = "two_pointers", EACCES,
        "R{reg} pointer {op} pointer prohibited";
    /// A 32-bit operation on a pointer.
    NarrowPointer { reg: u8 } = "narrow_pointer", EACCES,
        "R{reg} 32-bit pointer arithmetic prohibited";
    /// Arithmetic on a pointer that may be null.
    MaybeNull { reg: u8, kind: String } = "maybe_null", EACCES,
        "R{reg} pointer arithmetic on {kind} prohibited, null-check it first";
    /// Arithmetic on a pointer whose offset must stay as it is.
    PointerKind { reg: u8, kind: String } = "pointer_kind", EACCES,
        "R{reg} pointer arithmetic on {kind} prohibited";
    /// A constant that is too far.
    FarConstant { kind: String, by: i64 } = "far_constant", EINVAL,
        "math between {kind} pointer and {by} is not allowed";
    /// A fixed offset that is too far.
    FarOffset { kind: String, offset: i32 } = "far_offset", EINVAL,
        "{kind} pointer offset {offset} is not allowed";
    /// An offset of which no smallest value is known.
    UnboundedMin { kind: String } = "unbounded_min", EINVAL,
        "math between {kind} pointer and register with unbounded min value is not allowed";
    /// An offset whose smallest value is too far.
    FarMin { kind: String, min: i64 } = "far_min", EINVAL,
        "value {min} makes {kind} pointer be out of bounds";
    /// A number less a pointer.
    SubtractedPointer { reg: u8 } = "subtracted_pointer", EACCES,
        "R{reg} tried to subtract pointer from scalar";
    /// A stack pointer less a number.
    StackSubtraction { reg: u8 } = "stack_subtraction", EACCES,
        "R{reg} subtraction from stack pointer prohibited";
    /// And, or, exclusive or with a pointer.
    PointerBits { reg: u8, op: &'static str } = "pointer_bits", EACCES,
        "R{reg} bitwise operator {op} on pointer prohibited";
    /// Any other operation with a pointer.
    PointerOperator { reg: u8, op: &'static str } = "pointer_operator", EACCES,
        "R{reg} pointer arithmetic with {op} operator prohibited";
    /// A variable offset into the stack, of a program without privileges.
    VariableStack { reg: u8, bits: String, offset: i64 } = "variable_stack", EACCES,
        "R{reg} variable stack access prohibited for !root, var_off={bits} off={offset}";
    /// A stack pointer that leaves the stack, of a program without privileges.
    BeyondStack { reg: u8, offset: i64 } = "beyond_stack", EACCES,
        "R{reg} stack pointer arithmetic goes out of range, prohibited for !root; off={offset}";
    /// A pointer that leaves its map value, of a program without privileges.
    BeyondMapValue { reg: u8, access: String } = "beyond_map_value", EACCES,
        "{access}\nR{reg} pointer arithmetic of map value goes out of range, \
         prohibited for !root";
    /// An offset that may be negative or not, of a program without privileges.
    MixedSigns { reg: u8 } = "mixed_signs", EACCES,
        "R{reg} has unknown scalar with mixed signed bounds, \
         pointer arithmetic with it prohibited for !root";
    /// A kind of pointer whose arithmetic cannot be masked.
    UnmaskedKind { reg: u8 } = "unmasked_kind", EACCES,
        "R{reg} has pointer with unsupported alu operation, \
         pointer arithmetic with it prohibited for !root";
    /// An instruction that must be masked differently on different paths.
    DifferentPaths { reg: u8, verb: &'static str } = "different_paths", EACCES,
        "R{reg} tried to {verb} from different maps, paths or scalars, \
         pointer arithmetic with it prohibited for !root";
    /// A pointer that is out of bounds before the operation already.
    BeyondBounds { reg: u8, verb: &'static str } = "beyond_bounds", EACCES,
        "R{reg} tried to {verb} beyond pointer bounds, \
         pointer arithmetic with it prohibited for !root";
    /// Too many branches wait to follow speculation too.
    NoSpeculation { reg: u8, pending: String } = "no_speculation", ENOMEM,
        "{pending}\nR{reg} could not be pushed for speculative verification, \
         pointer arithmetic with it prohibited for !root";
    /// A comparison that would show a pointer as a number.
    Comparison { reg: u8 } = "comparison", EACCES, "R{reg} pointer comparison prohibited";
    /// Bounds that contradict themselves, when the load asks to be told.
    Invariants { what: &'static str, violation: String } = "invariants", EFAULT,
        "verifier bug: REG INVARIANTS VIOLATION ({what}): {violation}";
}
