//! Blocks as they are read: where no pass changes them, their operations stand in one row, which is
//! cheaper to make than a list for each.

use super::{Block, End, Guard, Inst, Unit};
use ebpfvm_asm::Pc;

/// Blocks one after the other.
#[derive(Debug, Default)]
pub(crate) struct Row {
    /// The operations of all.
    pub(crate) insts: Vec<Inst>,
    blocks: Vec<Piece>,
}

/// A block of a row. Its operations begin where those of the one before end.
#[derive(Debug)]
struct Piece {
    start: Pc,
    /// How many operations it and those before have.
    insts: u32,
    end: End,
    end_pc: Pc,
}

impl Row {
    /// An empty one, with room.
    pub(crate) fn with_capacity(blocks: usize, insts: usize) -> Row {
        Row { insts: Vec::with_capacity(insts), blocks: Vec::with_capacity(blocks) }
    }

    /// How many blocks there are.
    pub(crate) fn len(&self) -> usize {
        self.blocks.len()
    }

    /// The instruction of the last operation since the last block, if there is one.
    pub(crate) fn last_pc(&self) -> Option<Pc> {
        let first = self.blocks.last().map_or(0, |block| block.insts as usize);
        self.insts[first..].last().map(|inst| inst.pc)
    }

    /// What was appended since the last block is one.
    pub(crate) fn close(&mut self, start: Pc, end: End, end_pc: Pc) {
        self.blocks.push(Piece { start, insts: self.insts.len() as u32, end, end_pc });
    }

    /// Replaces each operation by several.
    pub(crate) fn expand<I: Iterator<Item = Inst>>(&mut self, mut by: impl FnMut(&Inst) -> I) {
        let insts = std::mem::take(&mut self.insts);
        let mut insts = insts.iter();
        let mut done = 0;
        for block in &mut self.blocks {
            let count = block.insts - std::mem::replace(&mut done, block.insts);
            insts.by_ref().take(count as usize).for_each(|inst| self.insts.extend(by(inst)));
            block.insts = self.insts.len() as u32;
        }
    }
}

impl Unit<Row> {
    /// With blocks that can be changed.
    pub(crate) fn into_unit(self) -> Unit {
        let Unit { functions, blocks, callees, crosses, is_checked, found } = self;
        let block = |block: Listed<'_>| Block {
            insts: block.insts.to_vec(),
            end: *block.end,
            end_pc: block.end_pc,
            ..Block::new(block.start)
        };
        let blocks = blocks.list().map(block).collect();
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

/// Blocks that can be read.
pub(crate) trait Blocks {
    /// All of them, in order.
    fn list(&self) -> impl ExactSizeIterator<Item = Listed<'_>>;
}

impl Blocks for Vec<Block> {
    fn list(&self) -> impl ExactSizeIterator<Item = Listed<'_>> {
        self.iter().map(|block| Listed {
            start: block.start,
            insts: &block.insts,
            end: &block.end,
            end_pc: block.end_pc,
            guards: &block.guards,
            otherwise: block.otherwise,
        })
    }
}

impl Blocks for Row {
    fn list(&self) -> impl ExactSizeIterator<Item = Listed<'_>> {
        let mut rest = &self.insts[..];
        let mut done = 0;
        self.blocks.iter().map(move |block| {
            let count = block.insts - std::mem::replace(&mut done, block.insts);
            let (insts, others) = rest.split_at(count as usize);
            rest = others;
            let (start, end, end_pc) = (block.start, &block.end, block.end_pc);
            Listed { start, insts, end, end_pc, guards: &[], otherwise: 0 }
        })
    }
}
