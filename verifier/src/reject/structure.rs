//! Reasons of the shape of the code.

use super::table::reasons;

reasons! {
    /// Why the code is refused before it is followed.
    pub enum StructureReason in "structure";
    /// `callx`, which Linux has not.
    CallThroughRegister { pc: u32 } = "call_through_register", EINVAL, "unknown opcode 8d";
    /// A function that does not end with an exit or a jump.
    FallsThrough = "falls_through", EINVAL, "last insn is not an exit or jmp";
    /// A jump to outside of its function.
    JumpOutOfRange { from: u32, to: i64 } = "jump_out_of_range", EINVAL,
        "jump out of range from insn {from} to {to}";
    /// A jump into the second half of a wide instruction.
    JumpIntoWide { pc: u32 } = "jump_into_wide", EINVAL,
        "jump into the middle of ldimm64 insn {pc}";
    /// An instruction that no way leads to.
    Unreachable { pc: u32 } = "unreachable", EINVAL, "unreachable insn {pc}";
    /// A loop in an unprivileged program.
    BackEdge { from: u32, to: u32 } = "back_edge", EINVAL, "back-edge from insn {from} to {to}";
    /// A call of something that is no code.
    CallToNowhere = "call_to_nowhere", EINVAL, "call to invalid destination";
    /// Functions need privileges.
    FunctionsNeedPrivilege = "functions_need_privilege", EPERM,
        "loading/calling other bpf or kernel functions are allowed for CAP_BPF and CAP_SYS_ADMIN";
    /// More functions than Linux takes.
    TooManyFunctions = "too_many_functions", E2BIG, "too many subprograms";
    /// The types of the functions are not about the functions of the code, or a function that may end
    /// early returns no number.
    FunctionTypes { problem: String } = "function_types", EINVAL, "{problem}";
    /// The source lines are out of order, or a function begins with none.
    SourceLines { problem: String } = "source_lines", EINVAL, "{problem}";
    /// An instruction names a map that the program does not have.
    NoMap { fd: i64 } = "no_map", EBADF, "fd {fd} is not pointing to valid bpf_map";
    /// More maps than Linux takes.
    TooManyMaps { pc: u32 } = "too_many_maps", E2BIG,
        "The total number of maps per program has reached the limit of 64";
    /// An offset into a map value beyond all values.
    MapOffset { offset: u32 } = "map_offset", EINVAL,
        "direct value offset of {offset} is not allowed";
    /// The address of a value of a map whose values have none.
    NoDirectValue = "no_direct_value", EINVAL,
        "no direct value access support for this map type";
    /// An offset beyond the map's value, or a map with several.
    NoPlaceInValue { bytes: u32, offset: u32 } = "no_place_in_value", EINVAL,
        "invalid access to map value pointer, value_size={bytes} off={offset}";
    /// More functions call each other than there may be frames.
    TooManyFrames { frames: usize } = "too_many_frames", E2BIG,
        "the call stack of {frames} frames is too deep !";
    /// Tail calls from a function whose callers use much stack.
    TailCallTooDeep { depth: u32 } = "tail_call_too_deep", EACCES,
        "tail_calls are not allowed when call stack of previous frames is {depth} bytes. Too large";
    /// The stacks of a chain of calls do not fit.
    StacksTooLarge { calls: usize, depth: u32 } = "stacks_too_large", EACCES,
        "combined stack size of {calls} calls is {depth}. Too large";
    /// The stack of one function does not fit.
    StackTooLarge { index: usize, bytes: u32 } = "stack_too_large", EACCES,
        "stack size of subprog {index} is {bytes}. Too large";
}
