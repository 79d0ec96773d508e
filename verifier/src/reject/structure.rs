//! Reasons of the shape of the code.

use super::table::reasons;

reasons! {
    /// Why the code is refused before it is followed.
    pub enum StructureReason in "structure";
    /// `callx`, which Linux has not.
    CallThroughRegister { pc: u32 } = "call_through_register", EINVAL,
        "unknown opcode 8d";
    /// A function without an end.
    FallsThrough { pc: u32 } = "falls_through", EINVAL, "last insn is not an exit or jmp";
}
