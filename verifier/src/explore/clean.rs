//! Takes out of finished states what nobody reads (`clean_live_states`).

use super::Past;
use crate::reject::Reason;
use crate::state::State;
use crate::subject::Subject;

impl Past {
    /// Cleans the finished states of a bucket that could cover `state`.
    ///
    /// # Errors
    /// [`Reason::internal`] if live slots cannot be told.
    pub(super) fn clean_finished(
        &mut self,
        _subject: &Subject<'_>,
        _bucket: usize,
        _state: &State,
    ) -> Result<(), Reason> {
        Ok(())
    }
}
