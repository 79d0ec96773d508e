//! The result of `ebpfvm asm`.

use serde::Serialize;

/// An assembled program.
#[derive(Serialize)]
pub(crate) struct Assembled {
    /// Size in slots of 8 bytes.
    pub(crate) slots: usize,
    /// The instructions in hex.
    pub(crate) code: String,
}
