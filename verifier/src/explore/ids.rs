//! Which id of a state stands for which id of an old one.

/// A one-to-one relation of ids, built up while two states are compared (`struct bpf_idmap`).
///
/// It is kept between comparisons for its memory only; each begins with [`IdMap::reset`].
#[derive(Debug, Default)]
pub(crate) struct IdMap {
    pairs: Vec<(u32, u32)>,
    last: u32,
}

impl IdMap {
    /// Forgets all pairs. `last_id` is the last id that was given out.
    pub(crate) fn reset(&mut self, last_id: u32) {
        self.pairs.clear();
        self.last = last_id;
    }

    /// An id that no state has.
    pub(crate) fn fresh(&mut self) -> u32 {
        self.last += 1;
        self.last
    }

    /// Whether `new` stands for `old`, or may from now on: both have an id or none has, and neither
    /// is already paired with another (`check_ids`).
    pub(crate) fn check(&mut self, old: u32, new: u32) -> bool {
        if old == 0 || new == 0 {
            return old == new;
        }
        for pair in &self.pairs {
            if pair.0 == old {
                return pair.1 == new;
            }
            if pair.1 == new {
                return false;
            }
        }
        self.pairs.push((old, new));
        true
    }
}
