//! Blocks as they are read: where no pass changes them, their operations stand in one row, which is
//! cheaper to make than a list for each.

use super::{Block, End, Guard, Inst, Unit};
use crate::link::Callee;
use crate::needs::Needs;
use ebpfvm_asm::Pc;

/// Blocks one after the other.
#[derive(Debug, Default)]
pub(crate) struct Row {
    /// The operations of all.
    insts: Vec<Inst>,
    blocks: Vec<Piece>,
    /// What those need that were appended since the last block.
    needs: Needs,
}

/// A block of a row. Its operations begin where those of the one before end.
#[derive(Debug)]
struct Piece {
    start: Pc,
    /// How many operations it and those before have.
    insts: u32,
    end: End,
    end_pc: Pc,
    needs: Needs,
}

impl Row {
    /// An empty one, with room.
    pub(crate) fn with_capacity(blocks: usize, insts: usize) -> Row {
        let (insts, blocks) = (Vec::with_capacity(insts), Vec::with_capacity(blocks));
        Row { insts, blocks, needs: Needs::default() }
    }

    /// The instruction of the last operation since the last block, if there is one.
    pub(crate) fn last_pc(&self) -> Option<Pc> {
        let first = self.blocks.last().map_or(0, |block| block.insts as usize);
        self.insts[first..].last().map(|inst| inst.pc)
    }

    /// Appends an operation.
    #[inline(always)]
    pub(crate) fn push(&mut self, inst: Inst, callees: &[Callee]) {
        self.needs |= Needs::of_op(&inst.op, callees);
        self.insts.push(inst);
    }

    /// What was appended since the last block is one: what it needs.
    #[inline(always)]
    pub(crate) fn close(&mut self, start: Pc, end: End, end_pc: Pc) -> Needs {
        let needs = std::mem::take(&mut self.needs) | Needs::of_end(&end);
        self.blocks.push(Piece { start, insts: self.insts.len() as u32, end, end_pc, needs });
        needs
    }

    /// Puts operations in the place of each.
    pub(crate) fn expand<I: Iterator<Item = Inst>>(
        &mut self,
        callees: &[Callee],
        by: impl Fn(&Inst) -> I,
    ) {
        let Row { insts, blocks, .. } = std::mem::take(self);
        let mut insts = insts.iter();
        let mut done = 0;
        for Piece { start, insts: last, end, end_pc, .. } in blocks {
            let count = last - std::mem::replace(&mut done, last);
            let insts = insts.by_ref().take(count as usize);
            insts.flat_map(&by).for_each(|inst| self.push(inst, callees));
            self.close(start, end, end_pc);
        }
    }
}

impl Unit<Row> {
    /// With blocks that can be changed.
    pub(crate) fn into_unit(self) -> Unit {
        let Unit { functions, blocks, callees, crosses, is_checked, found } = self;
        let block = |number| {
            let Listed { start, insts, end, end_pc, .. } = blocks.get(number);
            Block { insts: insts.to_vec(), end: *end, end_pc, ..Block::new(start) }
        };
        let blocks = (0..blocks.len() as u32).map(block).collect();
        Unit { functions, blocks, callees, crosses, is_checked, found }
    }
}

/// A block, to read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Listed<'a> {
    pub(crate) start: Pc,
    pub(crate) insts: &'a [Inst],
    pub(crate) end: &'a End,
    pub(crate) end_pc: Pc,
    pub(crate) guards: &'a [Guard],
    pub(crate) otherwise: u32,
}

/// Blocks that can be read, by number.
pub(crate) trait Blocks {
    /// How many there are.
    fn len(&self) -> usize;

    /// How many operations they have.
    fn inst_count(&self) -> usize;

    /// One of them.
    fn get(&self, number: u32) -> Listed<'_>;

    /// Its end.
    fn end(&self, number: u32) -> &End {
        self.get(number).end
    }

    /// Where it goes on if a guard fails.
    fn otherwise(&self, number: u32) -> Option<u32> {
        let Listed { guards, otherwise, .. } = self.get(number);
        (!guards.is_empty()).then_some(otherwise)
    }

    /// What it needs.
    fn needs(&self, number: u32, callees: &[Callee]) -> Needs;
}

impl Blocks for Vec<Block> {
    fn len(&self) -> usize {
        self.as_slice().len()
    }

    fn inst_count(&self) -> usize {
        self.iter().map(|block| block.insts.len()).sum()
    }

    fn get(&self, number: u32) -> Listed<'_> {
        let Block { start, ref insts, ref end, end_pc, ref guards, otherwise } =
            self[number as usize];
        Listed { start, insts, end, end_pc, guards, otherwise }
    }

    fn needs(&self, number: u32, callees: &[Callee]) -> Needs {
        let Listed { insts, end, guards, .. } = self.get(number);
        let needs = Needs::of(insts, end, callees);
        if guards.is_empty() { needs } else { needs | Needs::CALLS }
    }
}

impl Blocks for Row {
    fn len(&self) -> usize {
        self.blocks.len()
    }

    fn inst_count(&self) -> usize {
        self.insts.len()
    }

    fn get(&self, number: u32) -> Listed<'_> {
        let Piece { start, insts: last, ref end, end_pc, .. } = self.blocks[number as usize];
        let first = number.checked_sub(1).map_or(0, |before| self.blocks[before as usize].insts);
        let insts = &self.insts[first as usize..last as usize];
        Listed { start, insts, end, end_pc, guards: &[], otherwise: 0 }
    }

    fn end(&self, number: u32) -> &End {
        &self.blocks[number as usize].end
    }

    fn otherwise(&self, _: u32) -> Option<u32> {
        None
    }

    fn needs(&self, number: u32, _: &[Callee]) -> Needs {
        self.blocks[number as usize].needs
    }
}
