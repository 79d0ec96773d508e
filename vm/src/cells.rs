//! Copies that helpers show to functions of the program: keys of elements, the numbers of dynptrs.
//!
//! A function may leave a pointer to its argument where its caller finds it, so a cell stays where
//! it is until the run ends; it is used again, for arguments of the same size. Only the helper that
//! has taken a cell writes to it.

use crate::map::memory::{Memory, OutOfMemory, words_for};

/// A cell that a helper has taken.
#[derive(Clone, Copy)]
pub(crate) struct Cell(usize);

struct Slot {
    memory: Memory,
    bytes: usize,
    is_taken: bool,
}

/// The cells of a run.
#[derive(Default)]
pub(crate) struct Cells(Vec<Slot>);

impl Cells {
    /// A cell of so many bytes that nobody uses.
    pub(crate) fn take(&mut self, bytes: usize) -> Result<Cell, OutOfMemory> {
        let fits = |slot: &Slot| !slot.is_taken && slot.bytes == bytes;
        let index = match self.0.iter().position(fits) {
            Some(index) => index,
            None => {
                let memory = Memory::zeroed(words_for(bytes).max(1))?;
                self.0.push(Slot { memory, bytes, is_taken: false });
                self.0.len() - 1
            }
        };
        self.0[index].is_taken = true;
        Ok(Cell(index))
    }

    /// Lets others have a cell.
    pub(crate) fn put_back(&mut self, cell: Cell) {
        self.0[cell.0].is_taken = false;
    }

    /// Writes to a cell, as many bytes as it has.
    pub(crate) fn write(&self, cell: Cell, bytes: &[u8]) {
        let slot = &self.0[cell.0];
        debug_assert_eq!(bytes.len(), slot.bytes);
        slot.memory.write(0, bytes);
    }

    /// Where a cell is.
    pub(crate) fn address(&self, cell: Cell) -> u64 {
        self.0[cell.0].memory.pointer(0).as_ptr().addr() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_used_again_where_they_are() {
        let mut cells = Cells::default();
        let first = cells.take(4).unwrap();
        let place = cells.address(first);
        let second = cells.take(4).unwrap();
        assert_ne!(cells.address(second), place);
        cells.put_back(first);
        let other = cells.take(12).unwrap();
        assert_ne!(cells.address(other), place);
        assert_eq!((cells.take(4).map(|cell| cells.address(cell))).unwrap(), place);
    }
}
