//! Loops whose paths are not all followed yet (`bpf_scc_visit`).
//!
//! A path that comes back to a covered state inside a loop ends before it is known which numbers of
//! that state matter. It is remembered as a back edge; when everything inside the loop was
//! followed, what matters is carried along the back edges until nothing changes.

use super::{Explored, Past, StateId};
use crate::reject::Reason;
use crate::state::State;
use crate::subject::Subject;
use ebpfvm_asm::Pc;
use std::collections::HashMap;

/// Rounds over the back edges of a loop before all their numbers are taken to matter.
const MAX_ROUNDS: usize = 64;

/// One run through a loop: the calls that lead to it, and the loop.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct LoopRun {
    callsites: Vec<Pc>,
    scc: u32,
}

/// A path that ended in a covered state inside a loop.
#[derive(Debug)]
struct BackEdge {
    state: State,
    equal: StateId,
}

#[derive(Debug, Default)]
struct Visit {
    /// The first state inside the loop; none when all its paths were followed.
    entry: Option<StateId>,
    back_edges: Vec<BackEdge>,
}

/// The loops that were met.
#[derive(Debug, Default)]
pub(crate) struct Loops {
    visits: HashMap<LoopRun, Visit>,
}

/// The loop that a state is in: that of its outermost frame which is in one.
fn loop_run(subject: &Subject<'_>, state: &State) -> Option<LoopRun> {
    let mut callsites = Vec::new();
    for frame in 0..state.frames.len() {
        let pc = state.frame_pc(frame);
        match subject.structure.at(pc).scc {
            0 => callsites.push(pc),
            scc => return Some(LoopRun { callsites, scc }),
        }
    }
    None
}

impl Loops {
    /// Forgets all loops: another function is judged.
    pub(crate) fn clear(&mut self) {
        self.visits.clear();
    }

    /// Whether paths through the loop that the state is in ended before it was known what matters
    /// (`incomplete_read_marks`).
    pub(crate) fn is_unfinished(&self, subject: &Subject<'_>, state: &State) -> bool {
        // Most programs have no such loop at all.
        !self.visits.is_empty()
            && loop_run(subject, state)
                .and_then(|run| self.visits.get(&run))
                .is_some_and(|visit| !visit.back_edges.is_empty())
    }

    /// A state was kept: it may be the first of its loop (`maybe_enter_scc`).
    pub(crate) fn enter(&mut self, subject: &Subject<'_>, explored: &Explored, id: StateId) {
        if let Some(run) = loop_run(subject, &explored.node(id).state) {
            self.visits.entry(run).or_default().entry.get_or_insert(id);
        }
    }

    /// A path ended in a state that `equal` covers, inside a loop (`add_scc_backedge`).
    pub(crate) fn add_backedge(
        &mut self,
        subject: &Subject<'_>,
        explored: &mut Explored,
        equal: StateId,
        state: &State,
    ) {
        if let Some(run) = loop_run(subject, &explored.node(equal).state) {
            explored.node_mut(equal).pins += 1;
            let back_edge = BackEdge { state: state.clone(), equal };
            self.visits.entry(run).or_default().back_edges.push(back_edge);
        }
    }
}

impl Past {
    /// All paths from a state were followed. If it was the first of its loop, what matters is
    /// carried along the loop's back edges (`maybe_exit_scc`, `propagate_backedges`).
    ///
    /// # Errors
    /// As [`Past::propagate_precision`].
    pub(super) fn leave_loop(&mut self, subject: &Subject<'_>, id: StateId) -> Result<(), Reason> {
        if self.loops.visits.is_empty() {
            return Ok(());
        }
        let Some(run) = loop_run(subject, &self.explored.node(id).state) else { return Ok(()) };
        let Some(visit) = self.loops.visits.get_mut(&run) else { return Ok(()) };
        if visit.entry != Some(id) {
            return Ok(());
        }
        visit.entry = None;
        let back_edges = std::mem::take(&mut visit.back_edges);
        self.counts.states -= back_edges.len() as u32;
        let mut settled = false;
        for _ in 0..MAX_ROUNDS {
            let mut changed = false;
            for edge in &back_edges {
                changed |= self.propagate_precision(subject, edge.equal, &edge.state)?;
            }
            if !changed {
                settled = true;
                break;
            }
        }
        for edge in &back_edges {
            if !settled {
                self.mark_all_precise(&edge.state);
            }
            self.explored.node_mut(edge.equal).pins -= 1;
            if self.explored.release(edge.equal) {
                self.counts.states -= 1;
            }
        }
        Ok(())
    }

    /// Takes all numbers on the way to a state to matter (`mark_all_scalars_precise`).
    fn mark_all_precise(&mut self, state: &State) {
        let mut next = state.parent;
        while let Some(id) = next {
            let kept = &mut self.explored.node_mut(id).state;
            kept.change(|v| v.is_number() && !v.precise, |v| v.precise = true);
            next = kept.parent;
        }
    }
}
