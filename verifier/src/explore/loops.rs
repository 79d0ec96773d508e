//! Loops whose paths are not all followed yet (`bpf_scc_visit`).
//!
//! A path that comes back to a covered state inside a loop ends before it is known which numbers of
//! that state matter. It is remembered as a back edge; when everything inside the loop was
//! followed, what matters is carried along the back edges until nothing changes.

use super::{Past, StateId};
use crate::log::Log;
use crate::state::{MAX_FRAMES, State};
use crate::subject::Subject;
use std::collections::HashMap;
use std::fmt;

/// Rounds over the back edges of a loop before all their numbers are taken to matter
/// (`MAX_BACKEDGE_ITERS`).
const MAX_ROUNDS: usize = 64;

/// One run through a loop: the calls that lead to it, and the loop (`struct bpf_scc_callchain`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct LoopRun {
    /// Calls, 0 behind the last one.
    calls: [u32; MAX_FRAMES],
    scc: u32,
}

/// As the log writes it (`format_callchain`).
impl fmt::Display for LoopRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(")?;
        for call in self.calls.iter().take_while(|call| **call != 0) {
            write!(f, "{call},")?;
        }
        write!(f, "{})", self.scc)
    }
}

/// The loop that a state is in: that of its outermost frame which is in one
/// (`compute_scc_callchain`).
fn loop_run(subject: &Subject<'_>, state: &State) -> Option<LoopRun> {
    let mut calls = [0; MAX_FRAMES];
    for (frame, call) in calls.iter_mut().enumerate().take(state.frames.len()) {
        let pc = state.frame_pc(frame);
        match subject.structure.at(pc).scc {
            0 => *call = pc.0,
            scc => return Some(LoopRun { calls, scc }),
        }
    }
    None
}

/// Number of a run through a loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct VisitId(u32);

/// A path that ended in a covered state inside a loop.
#[derive(Debug)]
struct BackEdge {
    state: State,
    equal: StateId,
}

#[derive(Debug)]
struct Visit {
    run: LoopRun,
    /// The first state inside the loop; none when all its paths were followed.
    entry: Option<StateId>,
    back_edges: Vec<BackEdge>,
    /// Retired states that the way of a back edge may lead through.
    lingering: Vec<StateId>,
}

/// The loops that were met.
#[derive(Debug, Default)]
pub(crate) struct Loops {
    visits: Vec<Visit>,
    by_run: HashMap<LoopRun, VisitId>,
}

impl Loops {
    /// Forgets all loops: another function is judged.
    pub(crate) fn clear(&mut self) {
        self.visits.clear();
        self.by_run.clear();
    }

    /// Whether paths through the loop ended before it was known what matters
    /// (`incomplete_read_marks`).
    #[inline]
    pub(crate) fn is_unfinished(&self, visit: Option<VisitId>) -> bool {
        visit.is_some_and(|visit| !self.visits[visit.0 as usize].back_edges.is_empty())
    }

    /// A state is about to be kept under this id: it may be the first of its loop
    /// (`maybe_enter_scc`).
    pub(crate) fn enter(
        &mut self,
        subject: &Subject<'_>,
        state: &State,
        id: StateId,
        log: &mut Log,
    ) -> Option<VisitId> {
        let run = loop_run(subject, state)?;
        let visits = &mut self.visits;
        let visit = *self.by_run.entry(run).or_insert_with(|| {
            visits.push(Visit { run, entry: None, back_edges: Vec::new(), lingering: Vec::new() });
            VisitId(visits.len() as u32 - 1)
        });
        let entry = &mut self.visits[visit.0 as usize].entry;
        if entry.is_none() {
            *entry = Some(id);
            if log.is_full() {
                log.write(format_args!("SCC enter {run}\n"));
            }
        }
        Some(visit)
    }

    /// A retired state is not let go, as its loop is unfinished.
    pub(crate) fn linger(&mut self, visit: VisitId, id: StateId) {
        self.visits[visit.0 as usize].lingering.push(id);
    }
}

impl Past {
    /// A path ended in a state that `equal` covers, inside a loop (`add_scc_backedge`).
    pub(super) fn add_backedge(&mut self, equal: StateId, state: &State) {
        // Every kept state inside a loop has a visit; one outside of all loops needs no edge.
        let Some(visit) = self.explored.node(equal).visit else { return };
        let visit = &mut self.loops.visits[visit.0 as usize];
        if self.log.is_full() {
            self.log.write(format_args!("SCC backedge {}\n", visit.run));
        }
        visit.back_edges.push(BackEdge { state: state.clone(), equal });
        self.counts.states += 1;
        self.note_peak();
    }

    /// All paths from a state were followed. If it was the first of its loop, what matters is
    /// carried along the loop's back edges (`maybe_exit_scc`, `propagate_backedges`).
    pub(super) fn leave_loop(&mut self, subject: &Subject<'_>, id: StateId) {
        let Some(visit_id) = self.explored.node(id).visit else { return };
        let visit = &mut self.loops.visits[visit_id.0 as usize];
        if visit.entry != Some(id) {
            return;
        }
        if self.log.is_full() {
            self.log.write(format_args!("SCC exit {}\n", visit.run));
        }
        visit.entry = None;
        // The edges stay until their marks are made: states on their ways must not be let go.
        let back_edges = std::mem::take(&mut visit.back_edges);
        let lingering = std::mem::take(&mut visit.lingering);
        self.counts.states -= back_edges.len() as u32;
        let mut settled = back_edges.is_empty();
        for _ in 0..=MAX_ROUNDS {
            let mut changed = false;
            for edge in back_edges.iter().rev() {
                changed |= self.propagate_precision(subject, edge.equal, &edge.state);
            }
            if !changed {
                settled = true;
                break;
            }
        }
        if !settled {
            if self.log.is_full() {
                self.log.write(format_args!("propagate_backedges: too many iterations\n"));
            }
            for edge in back_edges.iter().rev() {
                self.mark_all_precise(&edge.state);
            }
        }
        // Linux counts these to the end; nothing refers to them any more.
        for id in lingering {
            self.explored.free(id);
        }
    }
}
