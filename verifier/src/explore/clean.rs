//! Notes what of finished states nobody reads (`clean_live_states`).

use super::Past;
use crate::options::Precision;
use crate::state::State;
use crate::subject::Subject;

impl Past {
    /// Notes what of the finished states of a bucket counts, of those that could cover `state`.
    ///
    /// Nothing is taken out of them: their frames are shared, and a note is smaller than a copy.
    pub(super) fn clean_finished(&mut self, subject: &Subject<'_>, bucket: usize, state: &State) {
        if subject.options.precision == Precision::Full {
            return;
        }
        for index in 0..self.explored.in_bucket(bucket).len() {
            let id = self.explored.in_bucket(bucket)[index];
            let node = self.explored.node(id);
            if node.branches > 0
                || node.live.is_some()
                || node.state.pc != state.pc
                || !node.state.has_callsites_of(state)
                || self.loops.is_unfinished(node.visit)
            {
                continue;
            }
            let live = self.liveness.live(subject, &node.state);
            self.explored.node_mut(id).live = Some(live);
        }
    }
}
