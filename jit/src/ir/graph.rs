//! Where control comes from: predecessors of blocks, and an order in which they are visited.

use super::{Block, Unit};

impl Block {
    /// The blocks where control may go from here: along edges, and to the block that is taken if a
    /// guard fails.
    pub fn successors(&self) -> impl Iterator<Item = usize> + use<> {
        let otherwise = (!self.guards.is_empty()).then_some(self.otherwise as usize);
        self.end.edges().map(|edge| edge.to as usize).chain(otherwise)
    }
}

/// The predecessors of all blocks.
#[derive(Clone, Debug, Default)]
pub struct Preds {
    /// Where each block's begin in `from`, and the end of the last.
    first: Vec<u32>,
    from: Vec<u32>,
}

impl Preds {
    /// Of a unit. A block that another reaches along both edges has it twice.
    pub fn of(unit: &Unit) -> Preds {
        let mut first = vec![0; unit.blocks.len() + 1];
        for block in &unit.blocks {
            block.successors().for_each(|to| first[to] += 1);
        }
        let mut sum = 0;
        for end in &mut first {
            sum += *end;
            *end = sum;
        }
        let mut from = vec![0; sum as usize];
        // Backwards, so that `first` comes down from the ends to the beginnings.
        for (number, block) in unit.blocks.iter().enumerate().rev() {
            for to in block.successors() {
                first[to] -= 1;
                from[first[to] as usize] = number as u32;
            }
        }
        Preds { first, from }
    }

    /// Of a block.
    pub fn of_block(&self, block: usize) -> &[u32] {
        &self.from[self.first[block] as usize..self.first[block + 1] as usize]
    }
}

impl Unit {
    /// The blocks that control can come to, each after those that come before it on paths without
    /// loops (reverse post-order).
    pub fn visiting_order(&self) -> Vec<u32> {
        let mut order = Vec::with_capacity(self.blocks.len());
        let mut is_seen = vec![false; self.blocks.len()];
        // A block and how many of its successors were visited.
        let mut path: Vec<(u32, u8)> = Vec::new();
        for function in self.functions.iter().rev() {
            if !std::mem::replace(&mut is_seen[function.entry as usize], true) {
                path.push((function.entry, 0));
            }
            while let Some((block, done)) = path.last_mut() {
                match self.blocks[*block as usize].successors().nth((*done).into()) {
                    Some(next) => {
                        *done += 1;
                        if !std::mem::replace(&mut is_seen[next], true) {
                            path.push((next as u32, 0));
                        }
                    }
                    None => {
                        order.push(*block);
                        path.pop();
                    }
                }
            }
        }
        order.reverse();
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::eval::unit_of;

    #[test]
    fn predecessors_are_those_with_an_edge() {
        let unit = unit_of(
            "r0 = 0\nagain: r0 += 1\nif r0 < 9 goto again\nif r1 == 0 goto out\nr0 = 1\nout: exit",
        );
        let preds = Preds::of(&unit);
        let all: Vec<&[u32]> = (0..unit.blocks.len()).map(|block| preds.of_block(block)).collect();
        assert_eq!(all, [&[][..], &[0, 1], &[1], &[2], &[2, 3], &[]]);
        assert_eq!(unit.visiting_order(), [0, 1, 2, 3, 4]);
    }
}
