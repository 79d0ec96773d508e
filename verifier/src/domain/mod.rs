//! What is known about a number: pure values and functions, no program state.
//!
//! A [`Scalar`] is the reduced product of a [`Tnum`] (known bits) and the [`Bounds`] of the value
//! and of its low half, each signed and unsigned. Its precision is that of Linux 6.18, neither less
//! nor more: verdicts, logs and the number of explored states depend on it.
//!
//! Everything is generic in the [`Word`], so that the code that runs on 64 bits with their 32-bit
//! half is checked exhaustively on 8 bits with their 4-bit half. `Scalar` without a parameter is
//! the 64-bit one.
//!
//! - [`Scalar`]: constructors, [`sync`](Scalar::sync), `contains`, `is_subset`
//! - [`alu()`], [`neg`], [`movsx`], [`endian`], [`load`], [`load_sx`]: what instructions compute
//! - [`pointer_add`], [`pointer_sub`]: offsets of pointers
//! - [`linked`]: what a register learns from another one that differs by a constant
//! - [`branch_taken`], [`refine`], [`refine_same`]: what comparisons tell
//! - [`Scalar::text`]: the spelling of the kernel's log
//!
//! # Empty values
//! Refinement can meet a contradiction on a branch that is never taken. Bounds of which one is
//! greater than the other are the bottom of the domain; [`Scalar::contradiction`] finds them, and
//! [`Scalar::settle`] does what Linux then does (`reg_bounds_sanity_check`): it forgets the bounds
//! and goes on, so that the branch is still explored. Leaving such a branch out would be sound, but
//! would accept programs that Linux refuses.

mod alu;
mod bounds;
mod compare;
mod int;
mod scalar;
#[cfg(test)]
pub(crate) mod tests;
mod text;
mod tnum;

pub use alu::{
    alu, endian, fork_sign, linked, load, load_sx, movsx, neg, pointer_add, pointer_sub,
};
pub use bounds::Bounds;
pub use compare::{Branch, Refined, branch_taken, refine, refine_same};
pub use int::{Int, Word};
pub use scalar::{Contradiction, Scalar, Violation};
pub use text::ScalarText;
pub use tnum::Tnum;
