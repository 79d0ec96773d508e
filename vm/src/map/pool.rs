//! Values of maps that grow as owners come: chunks that are never freed while the map lives.
//!
//! A value that is given back is zeroed when it is given out again, the oldest first: a program that
//! still holds its address reads and writes a value of this map, whoever it belongs to by then.

use super::budget::{Budget, Reservation};
use super::kind::Shape;
use super::memory::{LINE, OutOfMemory};
use super::special::Special;
use super::values::{Lanes, Values};
use std::collections::VecDeque;
use std::sync::Arc;

/// What a chunk takes about, if a value is not larger, in bytes.
const CHUNK_BYTES: u64 = 4096;

/// What the map keeps besides for each value, in bytes: its key and place in the tree.
const ENTRY_BYTES: u64 = LINE as u64;

/// The values of a map that has no capacity but memory.
pub(super) struct Pool {
    value_bytes: usize,
    lanes: Lanes,
    chunk_values: usize,
    chunk_bytes: u64,
    /// The most that all chunks may take, in bytes.
    limit_bytes: u64,
    special: Arc<Special>,
    /// What all maps of the machine may take, in bytes.
    budget: Option<(Arc<Budget>, u64)>,
    /// The chunks' part of it.
    reserved: Vec<Reservation>,
    chunks: Vec<Values>,
    /// Values of the chunks that were never given out start here.
    fresh: usize,
    free: VecDeque<usize>,
}

impl Pool {
    /// A pool of a map's values that has none yet.
    pub(super) fn of(shape: &Shape<'_>) -> Pool {
        let pool = Pool::new(
            shape.def.value_bytes as usize,
            shape.lanes,
            shape.limits.map_bytes,
            shape.special.clone(),
        );
        Pool { budget: shape.budget.map(|b| (b.clone(), shape.limits.total_bytes)), ..pool }
    }

    fn new(value_bytes: usize, lanes: Lanes, limit_bytes: u64, special: Arc<Special>) -> Pool {
        let bytes = |count: usize| {
            let values = Values::bytes(count, value_bytes, lanes).unwrap_or(u64::MAX);
            values.saturating_add(count as u64 * ENTRY_BYTES)
        };
        let chunk_values = (CHUNK_BYTES / bytes(1)).max(1) as usize;
        Pool {
            value_bytes,
            lanes,
            chunk_values,
            chunk_bytes: bytes(chunk_values),
            limit_bytes,
            special,
            budget: None,
            reserved: Vec::new(),
            chunks: Vec::new(),
            fresh: 0,
            free: VecDeque::new(),
        }
    }

    /// A value that is zero, on all CPUs.
    ///
    /// # Errors
    /// If there is no memory for more, or the limit is reached.
    pub(super) fn allocate(&mut self) -> Result<usize, OutOfMemory> {
        if let Some(index) = self.free.pop_front() {
            let (values, at) = self.at(index);
            values.clear_all(at);
            return Ok(index);
        }
        if self.fresh == self.chunks.len() * self.chunk_values {
            if self.bytes().saturating_add(self.chunk_bytes) > self.limit_bytes {
                return Err(OutOfMemory);
            }
            if let Some((budget, limit_bytes)) = &self.budget {
                let part = budget.reserve(self.chunk_bytes, *limit_bytes);
                self.reserved.push(part.map_err(|_| OutOfMemory)?);
            }
            let chunk = Values::zeroed(self.chunk_values, self.value_bytes, self.lanes)?;
            self.chunks.push(chunk.with_special(&self.special));
        }
        self.fresh += 1;
        Ok(self.fresh - 1)
    }

    /// Takes a value back. What its special fields stand for ends.
    pub(super) fn release(&mut self, index: usize) {
        let (values, at) = self.at(index);
        values.free_all(at);
        self.free.push_back(index);
    }

    /// The chunk of a value that was given out, and the value's place there.
    pub(super) fn at(&self, index: usize) -> (&Values, usize) {
        (&self.chunks[index / self.chunk_values], index % self.chunk_values)
    }

    /// The first address of the value that has all of `bytes` bytes at an address, whether or not
    /// it is given out.
    pub(super) fn value_at(&self, address: usize, bytes: usize) -> Option<usize> {
        let found = |values: &Values| Some(values.slab().value_at(address, bytes)?.0);
        self.chunks.iter().find_map(found)
    }

    /// What the values take, in bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.chunks.len() as u64 * self.chunk_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::map::Cpu;

    #[test]
    fn grows_to_its_limit_and_gives_out_again_what_comes_back() {
        let mut pool = Pool::new(24, Lanes::Shared, 3 * CHUNK_BYTES, Special::none());
        let mut indices = Vec::new();
        while let Ok(index) = pool.allocate() {
            let (values, at) = pool.at(index);
            assert_eq!(values.read_all(at), [0; 24]);
            values.write(at, Cpu(0), &[7; 24]);
            indices.push(index);
        }
        assert!(indices.len() >= 3 * 40 && pool.bytes() <= 3 * CHUNK_BYTES);
        for &index in &indices[..2] {
            pool.release(index);
        }
        for &index in &indices[..2] {
            assert_eq!(pool.allocate(), Ok(index), "the oldest first");
            let (values, at) = pool.at(index);
            assert_eq!(values.read_all(at), [0; 24]);
        }
        assert!(pool.allocate().is_err());
    }

    #[test]
    fn large_values_have_chunks_of_their_own() {
        let mut pool = Pool::new(1 << 16, Lanes::PerCpu(3), 1 << 20, Special::none());
        let count = std::iter::from_fn(|| pool.allocate().ok()).count();
        assert_eq!(count, 5, "of 192 KiB and a little each");
    }
}
