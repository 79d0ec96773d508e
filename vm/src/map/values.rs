//! The values of a map, by index and CPU.

use super::lock;
use super::memory::{LINE, Memory, OutOfMemory, WORD, words_for};
use super::special::Special;
use super::{Cpu, Slab};
use ebpfvm_spec::Errno;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

/// How many instances a value has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lanes {
    /// One for all CPUs.
    Shared,
    /// One for each of so many CPUs.
    PerCpu(u32),
}

impl Lanes {
    pub(super) fn count(self) -> usize {
        match self {
            Lanes::Shared => 1,
            Lanes::PerCpu(cpus) => cpus as usize,
        }
    }

    /// The size in bytes of what the host reads and writes for one key: the value, or the values of
    /// all CPUs after one another, each rounded up to 8 bytes (`bpf_map_value_size`).
    pub(super) fn host_value_bytes(self, value_bytes: u32) -> usize {
        match self {
            Lanes::Shared => value_bytes as usize,
            Lanes::PerCpu(cpus) => cpus as usize * words_for(value_bytes as usize) * WORD,
        }
    }
}

/// Values at equal distances: those of CPU 0, then those of CPU 1, and so on.
///
/// The values of different CPUs never share a cache line.
pub(super) struct Values {
    memory: Arc<Memory>,
    /// Word of the first value.
    first: usize,
    /// Words from value to value.
    stride: usize,
    /// Values from CPU to CPU.
    lane_values: usize,
    lanes: Lanes,
    value_bytes: usize,
    special: Arc<Special>,
}

impl Values {
    /// Allocates `count` zeroed values for each lane.
    pub(super) fn zeroed(
        count: usize,
        value_bytes: usize,
        lanes: Lanes,
    ) -> Result<Values, OutOfMemory> {
        let stride = words_for(value_bytes).max(1);
        let lane_values = lane_values(count, stride, lanes).ok_or(OutOfMemory)?;
        let words =
            lane_values.checked_mul(stride).and_then(|words| words.checked_mul(lanes.count()));
        let memory = Arc::new(Memory::zeroed(words.ok_or(OutOfMemory)?)?);
        let special = Special::none();
        Ok(Values { memory, first: 0, stride, lane_values, lanes, value_bytes, special })
    }

    /// Values that lie in elements of `stride` words, the first at a word of `memory`.
    pub(super) fn within(
        memory: Arc<Memory>,
        first: usize,
        stride: usize,
        count: usize,
        value_bytes: usize,
    ) -> Values {
        let (lanes, special) = (Lanes::Shared, Special::none());
        Values { memory, first, stride, lane_values: count, lanes, value_bytes, special }
    }

    /// The values have these special fields.
    pub(super) fn with_special(mut self, special: &Arc<Special>) -> Values {
        self.special = special.clone();
        self
    }

    /// The bytes that [`zeroed`](Values::zeroed) allocates; `None` if no number holds them.
    pub(super) fn bytes(count: usize, value_bytes: usize, lanes: Lanes) -> Option<u64> {
        let stride = words_for(value_bytes).max(1);
        let values = lane_values(count, stride, lanes)?.checked_mul(lanes.count())?;
        values.checked_mul(stride)?.checked_mul(WORD)?.try_into().ok()
    }

    /// The value of a lane.
    ///
    /// `None` for a CPU that the map does not have.
    #[inline]
    pub(super) fn pointer(&self, index: usize, cpu: Cpu) -> Option<NonNull<u8>> {
        Some(self.memory.pointer(self.word(index, cpu)?))
    }

    /// The value of the first lane, which of shared values is the only one.
    #[inline]
    pub(super) fn shared_pointer(&self, index: usize) -> NonNull<u8> {
        self.memory.pointer(self.first + index * self.stride)
    }

    #[inline]
    fn word(&self, index: usize, cpu: Cpu) -> Option<usize> {
        let lane = match self.lanes {
            Lanes::Shared => 0,
            Lanes::PerCpu(cpus) if cpu.0 < cpus => cpu.0 as usize,
            Lanes::PerCpu(_) => return None,
        };
        Some(self.first + (lane * self.lane_values + index) * self.stride)
    }

    /// Copies a value in, for one CPU; does nothing for a CPU that the map does not have. Special
    /// fields stay.
    pub(super) fn write(&self, index: usize, cpu: Cpu, value: &[u8]) {
        debug_assert_eq!(value.len(), self.value_bytes);
        if let Some(word) = self.word(index, cpu) {
            self.special.write(&self.memory, word, value);
        }
    }

    /// Copies a value in as the host writes it: all lanes. Special fields stay.
    pub(super) fn write_all(&self, index: usize, value: &[u8]) {
        match self.lanes {
            Lanes::Shared => self.write(index, Cpu(0), value),
            Lanes::PerCpu(_) => {
                let padded = words_for(self.value_bytes) * WORD;
                for (cpu, lane) in (0..).map(Cpu).zip(value.chunks_exact(padded)) {
                    self.write(index, cpu, &lane[..self.value_bytes]);
                }
            }
        }
    }

    /// Copies a value in while its lock is held (`copy_map_value_locked`).
    ///
    /// # Errors
    /// `EINVAL` of values without a lock, `ETIMEDOUT` if it does not become free.
    pub(super) fn write_locked(&self, index: usize, value: &[u8]) -> Result<(), Errno> {
        let _guard = lock::take(self.lock_of(index)?)?;
        self.write(index, Cpu(0), value);
        Ok(())
    }

    /// Makes a value zero on all CPUs. Special fields stay.
    pub(super) fn clear_all(&self, index: usize) {
        for lane in 0..self.lanes.count() {
            if let Some(word) = self.word(index, Cpu(lane as u32)) {
                self.special.clear(&self.memory, word, self.value_bytes);
            }
        }
    }

    /// Copies a value out as the host reads it: all lanes, with special fields as of fresh values.
    pub(super) fn read_all(&self, index: usize) -> Vec<u8> {
        let mut out = vec![0; self.lanes.host_value_bytes(self.value_bytes as u32)];
        let lane_bytes = out.len() / self.lanes.count();
        for (cpu, lane) in (0..).map(Cpu).zip(out.chunks_exact_mut(lane_bytes.max(1))) {
            if let Some(word) = self.word(index, cpu) {
                self.memory.read(word, &mut lane[..self.value_bytes]);
                self.special.mask(lane);
            }
        }
        out
    }

    /// Copies a value out while its lock is held.
    ///
    /// # Errors
    /// As [`Values::write_locked`].
    pub(super) fn read_locked(&self, index: usize) -> Result<Vec<u8>, Errno> {
        let _guard = lock::take(self.lock_of(index)?)?;
        Ok(self.read_all(index))
    }

    fn lock_of(&self, index: usize) -> Result<&AtomicU32, Errno> {
        let word = self.word(index, Cpu(0)).ok_or(Errno::EINVAL)?;
        self.special.lock_of(&self.memory, word).ok_or(Errno::EINVAL)
    }

    /// Whether values have a lock.
    pub(super) fn has_lock(&self) -> bool {
        self.special.lock().is_some()
    }

    /// Ends what the special fields of a value stand for, on one CPU.
    #[inline]
    pub(super) fn free(&self, index: usize, cpu: Cpu) {
        if let Some(word) = self.word(index, cpu).filter(|_| !self.special.is_none()) {
            self.special.free(&self.memory, word);
        }
    }

    /// Ends what the special fields of a value stand for, on all CPUs.
    #[inline]
    pub(super) fn free_all(&self, index: usize) {
        if !self.special.is_none() {
            (0..self.lanes.count() as u32).for_each(|cpu| self.free(index, Cpu(cpu)));
        }
    }

    /// Where the values lie.
    pub(super) fn slab(&self) -> Slab {
        Slab {
            base: self.memory.address() + self.first * WORD,
            stride: self.stride * WORD,
            value_bytes: self.value_bytes,
            count: self.lane_values * self.lanes.count(),
            readable: true,
            writable: true,
        }
    }
}

impl Drop for Values {
    /// The map ends, and with it what its fields stand for, also of elements that are not in use:
    /// a program may have used one that was just removed.
    fn drop(&mut self) {
        if self.special.is_noticed() {
            (0..self.lane_values).for_each(|index| self.free_all(index));
        }
    }
}

/// How many values a lane has room for, such that the next lane starts at a cache line.
fn lane_values(count: usize, stride: usize, lanes: Lanes) -> Option<usize> {
    const LINE_WORDS: usize = LINE / WORD;
    match lanes {
        Lanes::Shared => Some(count),
        // So many values of this stride end at a line: `LINE_WORDS / gcd(LINE_WORDS, stride)`.
        Lanes::PerCpu(_) => {
            let group = LINE_WORDS >> stride.trailing_zeros().min(LINE_WORDS.trailing_zeros());
            count.checked_next_multiple_of(group)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_start_at_cache_lines() {
        for value_bytes in [1, 8, 9, 16, 24, 40, 64, 65, 200] {
            for count in [1, 2, 3, 17] {
                let values = Values::zeroed(count, value_bytes, Lanes::PerCpu(3)).unwrap();
                for cpu in 0..3 {
                    let start = values.pointer(0, Cpu(cpu)).unwrap();
                    assert_eq!(start.addr().get() % LINE, 0, "{value_bytes} x {count}");
                }
                assert!(values.pointer(0, Cpu(3)).is_none());
                let bytes = Values::bytes(count, value_bytes, Lanes::PerCpu(3)).unwrap();
                assert_eq!(bytes as usize, values.memory.words().len() * WORD);
            }
        }
    }

    #[test]
    fn the_host_sees_all_lanes_padded() {
        let values = Values::zeroed(2, 3, Lanes::PerCpu(2)).unwrap();
        let host: Vec<u8> = (1..=16).collect();
        values.write_all(1, &host);
        let seen = [1, 2, 3, 0, 0, 0, 0, 0, 9, 10, 11, 0, 0, 0, 0, 0];
        assert_eq!(values.read_all(1), seen);
        assert_eq!(values.read_all(0), [0; 16]);
        values.write(1, Cpu(1), &[7, 7, 7]);
        assert_eq!(values.read_all(1)[8..11], [7, 7, 7]);
        values.clear_all(1);
        assert_eq!(values.read_all(1), [0; 16]);
    }

    #[test]
    fn sizes_beyond_any_number_are_noticed() {
        assert_eq!(Values::bytes(usize::MAX, 1 << 30, Lanes::PerCpu(8)), None);
        assert!(Values::zeroed(usize::MAX / 8, 64, Lanes::Shared).is_err());
    }
}
