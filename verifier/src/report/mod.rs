//! How states, paths and statistics are shown: the log of Linux 6.18, to the letter.
//!
//! - `state`: registers, stacks, references
//! - `insn`: instructions
//! - [`path`]: what is written while a path is followed
//! - `way`: which way led to a rejection; not part of the log
//! - [`frame`]: what is written before the first and after the last path
//!
//! Nothing is formatted unless the log is on. The one difference to Linux's text is that no address
//! of a map is shown: Linux prints `0x0` for those who may not see it, and so does this log always.

pub(crate) mod frame;
mod insn;
pub(crate) mod path;
mod state;
mod way;

pub(crate) use insn::InsnText;
pub(crate) use state::{StateText, state_text};
pub(crate) use way::way;
pub use way::{Turn, WayStep};
