//! Which paths are followed, in which order, and when two of them are one.
//!
//! Knows no operation of the language: what an instruction does is [`crate::apply`]'s.
//!
//! - [`Past`]: everything that outlives a path
//! - [`run`]: follows all paths of a function (`do_check`)
//! - [`mod@prune`]: whether a state was seen before (`is_state_visited`)
//! - [`mod@equal`]: when a state is covered by another (`states_equal`)
//! - [`mod@precision`]: which numbers matter exactly (`mark_chain_precision`)
//! - [`mod@liveness`]: which stack slots are read later (`liveness.c`)

mod backtrack;
mod clean;
mod equal;
mod explored;
mod history;
mod ids;
mod liveness;
mod loops;
mod past;
mod precision;
mod prune;
mod run;

pub(crate) use explored::{Explored, StateId};
pub(crate) use history::{BEFORE_START, HistoryEntry, Linked, LinkedValue, StackAccess};
pub(crate) use liveness::StackLiveness;
pub(crate) use loops::Loops;
pub(crate) use past::{
    LoopCallback, MapAtCall, Past, Pending, Pointer, Sanitation, SubprogMemory, Touched,
};
pub(crate) use run::follow_subprogs;

#[cfg(test)]
mod tests;
