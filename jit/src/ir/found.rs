//! What has been found out about a unit, for passes to share.
//!
//! Each pass may ask for the shape of a unit and for what matters where. While passes run one after the
//! other ([`Unit::share`]), the answers are kept from pass to pass, as far as each pass says that they
//! still hold: [`Unit::keeps_shape`], [`Unit::keeps_live`]. Otherwise every question is answered anew.

use super::Unit;
use super::graph::Shape;
use super::live::Live;
use std::sync::Arc;

/// Answers about a unit. They are no part of what it is: all are equal.
#[derive(Clone, Debug, Default)]
pub struct Found {
    is_sharing: bool,
    shape: Option<Arc<Shape>>,
    live: Option<Arc<Live>>,
    keeps_shape: bool,
    keeps_live: bool,
}

impl PartialEq for Found {
    fn eq(&self, _: &Found) -> bool {
        true
    }
}

impl Eq for Found {}

impl Unit {
    /// Begins to keep answers from step to step, or ends it.
    pub(crate) fn share(&mut self, is_sharing: bool) {
        self.found = Found { is_sharing, ..Found::default() };
    }

    /// Drops the answers that the step before has not kept.
    pub(crate) fn settle(&mut self) {
        let found = &mut self.found;
        if !std::mem::take(&mut found.keeps_shape) {
            found.shape = None;
        }
        if !std::mem::take(&mut found.keeps_live) {
            found.live = None;
        }
    }

    /// The edges are those that they were when the step began.
    pub(crate) fn keeps_shape(&mut self) {
        self.found.keeps_shape = true;
    }

    /// No register matters at the beginning or end of a block that did not matter there before: the
    /// step has changed nothing, or single blocks such that each reads no more of what was there
    /// before it, and leaves what it left in all registers that mattered.
    pub(crate) fn keeps_live(&mut self) {
        self.found.keeps_live = true;
    }

    /// How control goes through the unit.
    pub fn shape(&mut self) -> Arc<Shape> {
        if let Some(shape) = &self.found.shape {
            debug_assert!(shape.is_of(self), "kept by a step that changed edges");
            return shape.clone();
        }
        let shape = Arc::new(Shape::of(self));
        if self.found.is_sharing {
            self.found.shape = Some(shape.clone());
        }
        shape
    }

    /// Takes out all operations whose results nobody needs.
    pub fn prune(&mut self) {
        let shape = self.shape();
        let live = Live::prune(self, &shape);
        self.found.live = self.found.is_sharing.then(|| Arc::new(live));
    }

    /// The registers that matter, or did before some that do no more.
    pub fn live(&mut self) -> Arc<Live> {
        if let Some(live) = &self.found.live {
            debug_assert!(live.holds(&Live::of(self)), "kept by a step after which more matters");
            return live.clone();
        }
        let shape = self.shape();
        let live = Arc::new(Live::on(self, &shape));
        if self.found.is_sharing {
            self.found.live = Some(live.clone());
        }
        live
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::eval::unit_of;

    #[test]
    fn answers_are_kept_while_they_hold() {
        let mut unit = unit_of("if r1 == 0 goto out\nr0 = 1\nout: exit");
        let ask = |unit: &mut Unit| (unit.shape(), unit.live());
        let are_same = |a: &(Arc<Shape>, Arc<Live>), b: &(Arc<Shape>, Arc<Live>)| {
            (Arc::ptr_eq(&a.0, &b.0), Arc::ptr_eq(&a.1, &b.1))
        };
        let alone = ask(&mut unit);
        assert_eq!(are_same(&alone, &ask(&mut unit)), (false, false), "nobody said so");
        unit.share(true);
        let first = ask(&mut unit);
        unit.keeps_shape();
        unit.keeps_live();
        unit.settle();
        assert_eq!(are_same(&first, &ask(&mut unit)), (true, true));
        unit.keeps_shape();
        unit.settle();
        assert_eq!(are_same(&first, &ask(&mut unit)), (true, false));
        unit.settle();
        assert_eq!(are_same(&first, &ask(&mut unit)), (false, false));
        unit.share(false);
        assert_eq!(are_same(&ask(&mut unit), &ask(&mut unit)), (false, false));
    }

    #[test]
    #[should_panic(expected = "kept by a step")]
    #[cfg(debug_assertions)]
    fn what_does_not_hold_is_noticed() {
        let mut unit = unit_of("r0 = r1\nexit");
        unit.share(true);
        unit.live();
        unit.blocks[0].insts.clear();
        unit.keeps_live();
        unit.settle();
        unit.live();
    }
}
