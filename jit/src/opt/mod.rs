//! The optimiser: passes between verdict and emission, each a function on a [`Unit`].
//!
//! Every pass keeps what a program does: results, memory, calls in their order, and where it traps.
//! Fuel is counted as before, by edge and call. A pass may be switched off by its name.

use crate::ir::Unit;
use ebpfvm_verifier::Facts;

/// What passes may ask.
#[derive(Clone, Copy, Debug)]
pub struct Given<'a> {
    /// What the verifier found out; none for programs that are checked.
    pub facts: Option<&'a Facts>,
    /// Whether [`Reg::SPARE`](crate::ir::Reg::SPARE) is free.
    pub has_spare: bool,
}

/// A pass.
pub struct Pass {
    /// Its name, for switching it off.
    pub name: &'static str,
    /// What it does, in a line.
    pub about: &'static str,
    /// Does it.
    pub run: fn(&mut Unit, &Given<'_>),
}

/// The passes, in the order in which they run. A name may occur more than once.
pub const PASSES: &[Pass] = &[];
