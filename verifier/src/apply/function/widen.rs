//! Numbers that change from round to round of a callback or `may_goto` loop are forgotten, so that
//! the rounds become alike.

use crate::explore::Past;
use crate::state::{Frame, State, Value};
use ebpfvm_asm::Pc;
use std::rc::Rc;

/// The frames of the last round through `pc` on the path to `state` (`find_prev_entry`).
pub(crate) fn earlier_round(past: &Past, state: &State, pc: Pc) -> Option<Vec<Rc<Frame>>> {
    let bucket = past.explored.bucket(pc, state.frame().callsite);
    let candidates = past.explored.in_bucket(bucket).iter().rev();
    let mut nodes = candidates.map(|id| past.explored.node(*id));
    let earlier = nodes.find(|node| {
        let old = &node.state;
        old.pc == pc && node.branches > 0 && old.depth < state.depth && old.has_callsites_of(state)
    })?;
    Some(earlier.state.frames.to_vec())
}

/// Makes numbers of `state` that differ from those of the earlier round `unknown`, unless their
/// exact values matter (`widen_imprecise_scalars`).
pub(crate) fn widen(earlier: &[Rc<Frame>], state: &mut State, unknown: Value) {
    let mut ids = IdPairs::default();
    for (number, old) in earlier.iter().enumerate().rev() {
        let Some(now) = state.frames.get_mut(number) else { continue };
        for i in 0..old.regs.len() {
            if has_changed(&old.regs[i], &now.regs[i], &mut ids) {
                Rc::make_mut(now).regs[i] = unknown;
            }
        }
        let slots = old.stack.len().min(now.stack.len());
        for i in 0..slots {
            let (Some(then), Some(slot)) = (old.stack.get(i), now.stack.get(i)) else { continue };
            if then.is_spilled()
                && slot.is_spilled()
                && has_changed(&then.value, &slot.value, &mut ids)
                && let Some(slot) = Rc::make_mut(now).stack.get_mut(i)
            {
                slot.value = unknown;
            }
        }
    }
}

/// Whether both are numbers whose exact values do not matter, and not the same ones
/// (`maybe_widen_reg`).
fn has_changed(old: &Value, now: &Value, ids: &mut IdPairs) -> bool {
    if !old.is_number() || !now.is_number() || old.precise || now.precise {
        return false;
    }
    let alike = old.offset == now.offset && old.scalar == now.scalar;
    !(alike && ids.agree((old.id, old.link as u8), (now.id, now.link as u8)))
}

/// An id with how its holder hangs together with the others.
type LinkedId = (u32, u8);

/// Which ids of the earlier round stand for which of now (`check_ids`).
#[derive(Default)]
struct IdPairs(Vec<(LinkedId, LinkedId)>);

impl IdPairs {
    fn agree(&mut self, old: LinkedId, now: LinkedId) -> bool {
        if old.0 == 0 || now.0 == 0 {
            return old.0 == now.0;
        }
        match self.0.iter().find(|(a, b)| *a == old || *b == now) {
            Some(pair) => *pair == (old, now),
            None => {
                self.0.push((old, now));
                true
            }
        }
    }
}
