//! The loops of the program: strongly connected components (`compute_scc`).

use super::{Structure, ways};
use ebpfvm_asm::{Code, Pc};

/// What Tarjan's algorithm knows of a slot.
#[derive(Clone, Copy, Default)]
struct Mark {
    /// Order of discovery, from 1; 0 before that.
    order: u32,
    /// The earliest one on the stack that can be reached.
    low: u32,
    on_stack: bool,
}

/// Numbers the loops from 1: components of several instructions, jumps to themselves, and calls of
/// helpers that call back, which come again to the same call.
pub(crate) fn number(code: &Code, structure: &mut Structure) {
    let mut marks = vec![Mark::default(); code.len()];
    let mut stack: Vec<Pc> = Vec::new();
    let mut open: Vec<(Pc, usize)> = Vec::new();
    let (mut order, mut components) = (0, 0);
    for (root, _) in code.iter() {
        if marks[root.index()].order != 0 {
            continue;
        }
        open.push((root, 0));
        while let Some((pc, taken)) = open.last_mut() {
            let (pc, at) = (*pc, *taken);
            if at == 0 && marks[pc.index()].order == 0 {
                order += 1;
                marks[pc.index()] = Mark { order, low: order, on_stack: true };
                stack.push(pc);
            }
            *taken += 1;
            let Some(insn) = code.get(pc) else {
                open.pop();
                continue;
            };
            let ways = ways::successors(pc, insn);
            if let Some(place) = ways.iter().nth(at) {
                let Some(next) = ways::slot(code, place) else { continue };
                let mark = marks[next.index()];
                if mark.order == 0 {
                    open.push((next, 0));
                } else if mark.on_stack {
                    let low = &mut marks[pc.index()].low;
                    *low = (*low).min(mark.order);
                }
                continue;
            }
            open.pop();
            let mark = marks[pc.index()];
            if let Some((parent, _)) = open.last() {
                let low = &mut marks[parent.index()].low;
                *low = (*low).min(mark.low);
            }
            if mark.low != mark.order {
                continue;
            }
            let is_loop = stack.last() != Some(&pc)
                || ways.iter().any(|place| place == i64::from(pc.0))
                || structure.insns[pc.index()].calls_callback;
            components += u32::from(is_loop);
            while let Some(member) = stack.pop() {
                marks[member.index()].on_stack = false;
                structure.insns[member.index()].scc = if is_loop { components } else { 0 };
                if member == pc {
                    break;
                }
            }
        }
    }
}
