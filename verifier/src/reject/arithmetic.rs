//! Reasons of arithmetic and comparisons.

use super::table::reasons;

reasons! {
    /// Why an arithmetic instruction or a comparison is refused.
    pub enum ArithmeticReason in "arithmetic";
    /// A register that holds nothing.
    Uninitialized { reg: u8 } = "uninitialized", EACCES, "R{reg} !read_ok";
    /// A store into `r10`.
    FramePointer = "frame_pointer", EACCES, "frame pointer is read only";
}
