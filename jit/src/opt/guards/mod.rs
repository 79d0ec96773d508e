//! Checks of many accesses at once, in units with checks.
//!
//! A [`Guard`](crate::ir::Guard) before a block compares a range of memory with the region that the
//! accesses probably go to. If it is inside, the block runs without these checks; if not, control goes
//! to a copy of the block that has them all, so that a run stops where it would have stopped.
//!
//! What is inside for certain needs neither: the frame at a known offset, values that a lookup gave.
//!
//! Sound: what a guard has seen to be inside a region can be touched until the regions change, which
//! only calls and packet loads can do; no guard reaches over one. A guard never passes because of
//! what the machine would find elsewhere: fields of the context are never behind one.

mod access;
mod counted;
mod holds;
mod inside;
mod loops;
mod regions;
mod straight;

use super::Given;
use crate::ir::Unit;

/// The pass.
pub(super) fn run(unit: &mut Unit, _given: &Given<'_>) {
    if unit.is_checked {
        let nearby = inside::run(unit);
        regions::run(unit);
        let blocks = unit.blocks.len();
        loops::run(unit, &nearby);
        straight::run(unit, blocks);
    } else {
        unit.keeps_shape();
        unit.keeps_live();
    }
}

#[cfg(test)]
mod tests;
