//! Reasons of functions, returns, references and locks.

use super::table::reasons;

reasons! {
    /// Why the way of control is refused.
    pub enum FlowReason in "flow";
    /// The same state again with no way out.
    InfiniteLoop { pc: u32, current: String, old: String } = "infinite_loop", EINVAL,
        "infinite loop detected at insn {pc}\ncur state:{current}\nold state:{old}";
}
