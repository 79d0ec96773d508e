//! Arrays of perf events: samples from programs to the host, a queue for each slot
//! (`bpf_perf_event_output` in `kernel/trace/bpf_trace.c`).

use super::MapOps;
use super::array::{indices, next_index};
use super::handles::{slot, write_number};
use super::kind::Shape;
use super::memory::OutOfMemory;
use super::{Cpu, UpdateFlags};
use ebpfvm_spec::Errno;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// `BPF_F_INDEX_MASK`: the part of an output's flags that is the slot.
pub const INDEX_MASK: u64 = 0xffff_ffff;
/// `BPF_F_CURRENT_CPU`: the slot of the program's CPU.
pub const CURRENT_CPU: u64 = INDEX_MASK;

/// What a sample takes besides its data: perf's header and the size of the data.
const SAMPLE_HEADER: usize = 12;

/// What a program has sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Its place among the samples of the array, from 0: they come from several queues.
    pub sequence: u64,
    /// The CPU on which the program ran.
    pub cpu: Cpu,
    /// The data. (Linux rounds its size up such that it and the size's 4 bytes fill 8-byte words.)
    pub data: Vec<u8>,
}

/// A `perf_event_array`.
pub struct PerfEventArray {
    slots: Box<[Mutex<Option<Event>>]>,
    sequence: AtomicU64,
}

/// An open event: a queue for the samples of one CPU.
struct Event {
    cpu: Cpu,
    samples: VecDeque<Sample>,
    free_bytes: usize,
    lost: u64,
}

impl PerfEventArray {
    pub(super) fn needed(shape: &Shape<'_>) -> Option<u64> {
        Some(u64::from(shape.def.max_entries) * size_of::<Mutex<Option<Event>>>() as u64)
    }

    pub(super) fn build(shape: &Shape<'_>) -> Result<Box<dyn MapOps>, OutOfMemory> {
        let slots = super::memory::slots(shape.def.max_entries as usize, || Mutex::new(None))?;
        Ok(Box::new(PerfEventArray { slots, sequence: AtomicU64::new(0) }))
    }

    /// The number of slots.
    pub fn slots(&self) -> u32 {
        self.slots.len() as u32
    }

    /// Opens a slot for the samples of a CPU, with room for `bytes` bytes of samples (each takes 12
    /// more than its data, rounded up to 8). What the slot held is gone.
    ///
    /// # Errors
    /// `E2BIG` for an index out of range.
    pub fn open(&self, index: u32, cpu: Cpu, bytes: usize) -> Result<(), Errno> {
        let event = Event { cpu, samples: VecDeque::new(), free_bytes: bytes, lost: 0 };
        *lock(self.slots.get(index as usize).ok_or(Errno::E2BIG)?) = Some(event);
        Ok(())
    }

    /// Sends a sample: its data is the parts after one another.
    ///
    /// `index` is a slot or [`CURRENT_CPU`].
    ///
    /// # Errors
    /// `E2BIG` for an index out of range, `ENOENT` if the slot is not open, `EOPNOTSUPP` if it is
    /// open for another CPU, `ENOSPC` if the queue is full: the sample is counted as lost.
    pub fn output(&self, index: u64, cpu: Cpu, parts: &[&[u8]]) -> Result<(), Errno> {
        let index = if index == CURRENT_CPU { u64::from(cpu.0) } else { index };
        let slot = usize::try_from(index).ok().and_then(|index| self.slots.get(index));
        let mut slot = lock(slot.ok_or(Errno::E2BIG)?);
        let event = slot.as_mut().ok_or(Errno::ENOENT)?;
        if event.cpu != cpu {
            return Err(Errno::EOPNOTSUPP);
        }
        let bytes = sample_bytes(parts.iter().map(|part| part.len()).sum());
        let Some(free_bytes) = event.free_bytes.checked_sub(bytes) else {
            event.lost += 1;
            return Err(Errno::ENOSPC);
        };
        event.free_bytes = free_bytes;
        let sequence = self.sequence.fetch_add(1, Relaxed);
        event.samples.push_back(Sample { sequence, cpu, data: parts.concat() });
        Ok(())
    }

    /// Takes all samples out, in the order in which they were sent.
    pub fn drain(&self) -> Vec<Sample> {
        let mut samples = Vec::new();
        for slot in &self.slots {
            if let Some(event) = lock(slot).as_mut() {
                event.free_bytes +=
                    event.samples.iter().map(|s| sample_bytes(s.data.len())).sum::<usize>();
                samples.extend(event.samples.drain(..));
            }
        }
        samples.sort_unstable_by_key(|sample| sample.sequence);
        samples
    }

    /// How many samples found no room in a slot since it was opened; 0 if it is not open.
    pub fn lost(&self, index: u32) -> u64 {
        self.slots
            .get(index as usize)
            .and_then(|slot| lock(slot).as_ref().map(|e| e.lost))
            .unwrap_or(0)
    }
}

fn sample_bytes(data_bytes: usize) -> usize {
    (SAMPLE_HEADER + data_bytes).next_multiple_of(8)
}

fn lock<T>(slot: &Mutex<T>) -> MutexGuard<'_, T> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}

impl MapOps for PerfEventArray {
    fn update(&self, key: &[u8], _: &[u8], flags: UpdateFlags, _: Cpu) -> Result<(), Errno> {
        write_number(&self.slots, key, flags)
    }

    fn delete(&self, key: &[u8]) -> Result<(), Errno> {
        lock(slot(&self.slots, key)?).take().map(drop).ok_or(Errno::ENOENT)
    }

    fn next_key(&self, key: Option<&[u8]>) -> Result<Vec<u8>, Errno> {
        next_index(self.slots(), key)
    }

    fn keys(&self) -> Box<dyn Iterator<Item = Vec<u8>> + '_> {
        Box::new(indices(self.slots()))
    }

    fn write(&self, key: &[u8], _value: &[u8], flags: UpdateFlags) -> Result<(), Errno> {
        write_number(&self.slots, key, flags)
    }
}
