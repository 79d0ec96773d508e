//! Ring buffers: records of any size from programs to the host, in the order in which they were
//! reserved (`kernel/bpf/ringbuf.c`).
//!
//! Positions count bytes and never wrap; a position's place in the buffer is its remainder. A record
//! is a header of 8 bytes and its data, rounded up to 8 bytes. A program must see a record in one
//! piece: where the kernel maps its pages twice, one after the other, this buffer has memory for
//! twice its size, and a record that starts before the end of the first half reaches into the
//! second. Nothing starts in the second half, so the two views never need to agree.

use super::MapOps;
use super::kind::Shape;
use super::memory::{Memory, OutOfMemory, WORD};
use super::sync::{AtomicU64, Condvar, Mutex, MutexGuard};
use ebpfvm_spec::Errno;
use std::ptr::NonNull;
use std::sync::PoisonError;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::time::{Duration, Instant};

/// Bytes of a record's header, `BPF_RINGBUF_HDR_SZ`.
const HEADER: u64 = 8;
/// `BPF_RINGBUF_BUSY_BIT`: reserved and not submitted.
pub(super) const BUSY: u64 = 1 << 31;
/// `BPF_RINGBUF_DISCARD_BIT`: not for the consumer.
pub(super) const DISCARD: u64 = 1 << 30;
/// The part of a header that is the size of the data.
pub(super) const SIZE: u64 = DISCARD - 1;
/// `RINGBUF_MAX_RECORD_SZ`
const MAX_RECORD: u64 = (u32::MAX / 4) as u64;

/// `BPF_RB_NO_WAKEUP`: the consumer is not told.
pub const NO_WAKEUP: u64 = 1;
/// `BPF_RB_FORCE_WAKEUP`: the consumer is told in any case.
pub const FORCE_WAKEUP: u64 = 2;

/// A ring buffer.
pub struct Ringbuf {
    /// Twice the size; the second half continues what starts in the first.
    memory: Memory,
    /// Size in bytes, a power of two.
    bytes: u64,
    /// Where the next record starts.
    producer: AtomicU64,
    /// Up to where the host has read.
    consumer: AtomicU64,
    /// Held while reserving: where the oldest record starts that may still be busy.
    pending: Mutex<u64>,
    /// Held while taking a record out.
    consuming: Mutex<()>,
    /// Records that found no room.
    dropped: AtomicU64,
    /// How often the consumer was told.
    wakeups: Mutex<u64>,
    woken: Condvar,
}

/// What ends a reservation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Commit {
    Submit,
    Discard,
}

impl Ringbuf {
    pub(super) fn needed(shape: &Shape<'_>) -> Option<u64> {
        Some(u64::from(shape.def.max_entries) * 2)
    }

    pub(super) fn build(shape: &Shape<'_>) -> Result<Box<dyn MapOps>, OutOfMemory> {
        let bytes = u64::from(shape.def.max_entries);
        Ok(Box::new(Ringbuf {
            memory: Memory::zeroed(bytes as usize * 2 / WORD)?,
            bytes,
            producer: AtomicU64::new(0),
            consumer: AtomicU64::new(0),
            pending: Mutex::new(0),
            consuming: Mutex::new(()),
            dropped: AtomicU64::new(0),
            wakeups: Mutex::new(0),
            woken: Condvar::new(),
        }))
    }
}

/// The program side.
impl Ringbuf {
    /// Reserves a record of `bytes` bytes (`bpf_ringbuf_reserve`): the address of its data, 8-byte
    /// aligned and in one piece. The data is what was there before. `None` if there is no room.
    ///
    /// The consumer waits for the record until it is [submitted](Ringbuf::submit) or
    /// [discarded](Ringbuf::discard).
    pub fn reserve(&self, bytes: u64) -> Option<NonNull<u8>> {
        let position = self.claim(bytes);
        if position.is_none() {
            self.dropped.fetch_add(1, Relaxed);
        }
        Some(self.memory.pointer(self.word(position?) + 1))
    }

    /// Gives a record to the consumer (`bpf_ringbuf_submit`). `address` is what
    /// [`reserve`](Ringbuf::reserve) gave.
    ///
    /// # Errors
    /// `EINVAL` if no reserved record starts there, as far as can be seen at once: an address within
    /// the data of a record is only noticed by [`record_at`](Ringbuf::record_at).
    pub fn submit(&self, address: usize, flags: u64) -> Result<(), Errno> {
        self.commit(address, flags, Commit::Submit)
    }

    /// Gives a record back unseen (`bpf_ringbuf_discard`).
    ///
    /// # Errors
    /// As [`submit`](Ringbuf::submit).
    pub fn discard(&self, address: usize, flags: u64) -> Result<(), Errno> {
        self.commit(address, flags, Commit::Discard)
    }

    /// Reserves, copies and submits (`bpf_ringbuf_output`).
    ///
    /// # Errors
    /// `EINVAL` for unknown flags, `EAGAIN` if there is no room.
    pub fn output(&self, data: &[u8], flags: u64) -> Result<(), Errno> {
        if flags & !(NO_WAKEUP | FORCE_WAKEUP) != 0 {
            return Err(Errno::EINVAL);
        }
        let position = self.claim(data.len() as u64).ok_or_else(|| {
            self.dropped.fetch_add(1, Relaxed);
            Errno::EAGAIN
        })?;
        let word = self.word(position);
        self.memory.write(word + 1, data);
        self.finish(word, flags, Commit::Submit)
    }

    /// What `bpf_ringbuf_query` gives: 0 bytes not yet consumed, 1 size of the buffer in bytes,
    /// 2 consumer's position, 3 producer's position; 0 for other questions.
    pub fn query(&self, what: u64) -> u64 {
        match what {
            0 => self.producer.load(Acquire).saturating_sub(self.consumer.load(Acquire)),
            1 => self.bytes,
            2 => self.consumer.load(Acquire),
            3 => self.producer.load(Acquire),
            _ => 0,
        }
    }

    /// The size in bytes of the reserved record whose data starts at `address`; `None` if there is
    /// none. Looks at all records that were not consumed.
    pub fn record_at(&self, address: usize) -> Option<u64> {
        let _still = self.lock_pending();
        let (mut position, end) = (self.consumer.load(Acquire), self.producer.load(Acquire));
        while position < end {
            let word = self.word(position);
            let header = self.memory.words()[word].load(Acquire);
            if self.memory.address() + (word + 1) * WORD == address {
                return (header & BUSY != 0).then_some(header & SIZE);
            }
            position += record_bytes(header & SIZE);
        }
        None
    }

    /// Makes a busy record at the producer's position, if there is room.
    fn claim(&self, bytes: u64) -> Option<u64> {
        if bytes > MAX_RECORD || record_bytes(bytes) > self.bytes {
            return None;
        }
        let consumer = self.consumer.load(Acquire);
        let mut pending = self.lock_pending();
        let position = self.producer.load(Relaxed);
        while *pending < position {
            let header = self.memory.words()[self.word(*pending)].load(Acquire);
            if header & BUSY != 0 {
                break;
            }
            *pending += record_bytes(header & SIZE);
        }
        let end = position + record_bytes(bytes);
        // One byte always stays free: equal positions mean empty.
        if end - consumer >= self.bytes || end - *pending >= self.bytes {
            return None;
        }
        self.memory.words()[self.word(position)].store(bytes | BUSY, Relaxed);
        self.producer.store(end, Release);
        Some(position)
    }

    fn commit(&self, address: usize, flags: u64, commit: Commit) -> Result<(), Errno> {
        let offset = address.wrapping_sub(self.memory.address());
        let starts_in_first_half = offset >= WORD && offset - WORD < self.bytes as usize;
        if !starts_in_first_half || !offset.is_multiple_of(WORD) {
            return Err(Errno::EINVAL);
        }
        self.finish(offset / WORD - 1, flags, commit)
    }

    /// Ends the reservation of the record at a word.
    fn finish(&self, word: usize, flags: u64, commit: Commit) -> Result<(), Errno> {
        let discard = if commit == Commit::Discard { DISCARD } else { 0 };
        self.memory.words()[word]
            .fetch_update(AcqRel, Relaxed, |header| {
                (header & BUSY != 0).then_some(header ^ BUSY | discard)
            })
            .map_err(|_| Errno::EINVAL)?;
        // A consumer that is not at this record is still busy with those before it.
        let consumer_is_here = self.word(self.consumer.load(Acquire)) == word;
        if flags & FORCE_WAKEUP != 0 || (consumer_is_here && flags & NO_WAKEUP == 0) {
            *self.wakeups.lock().unwrap_or_else(PoisonError::into_inner) += 1;
            self.woken.notify_all();
        }
        Ok(())
    }

    fn word(&self, position: u64) -> usize {
        (position & (self.bytes - 1)) as usize / WORD
    }

    fn lock_pending(&self) -> MutexGuard<'_, u64> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The host side.
impl Ringbuf {
    /// Gives the submitted records to `each`, oldest first, until one is still reserved or none is
    /// left. Returns their number. Room is made before `each` sees a record.
    pub fn consume(&self, mut each: impl FnMut(&[u8])) -> usize {
        let mut data = Vec::new();
        let mut records = 0;
        while let Some(taken) = self.take_record(&mut data) {
            if taken == Commit::Submit {
                each(&data);
                records += 1;
            }
        }
        records
    }

    /// Waits until the oldest record is submitted or discarded, a program forces a wake-up, or the
    /// time is over; the result says whether there is something to consume. A record with
    /// `BPF_RB_NO_WAKEUP` does not end the wait.
    pub fn wait(&self, timeout: Duration) -> bool {
        let deadline = Instant::now().checked_add(timeout);
        let mut wakeups = self.wakeups.lock().unwrap_or_else(PoisonError::into_inner);
        let before = *wakeups;
        while !self.is_ready() && *wakeups == before {
            // A deadline beyond the clock's range never comes.
            let left = deadline.map_or(timeout, |d| d.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                break;
            }
            let woken = self.woken.wait_timeout(wakeups, left);
            wakeups = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        self.is_ready()
    }

    /// Whether the oldest record can be consumed.
    fn is_ready(&self) -> bool {
        let position = self.consumer.load(Acquire);
        let header = &self.memory.words()[self.word(position)];
        position < self.producer.load(Acquire) && header.load(Acquire) & BUSY == 0
    }

    /// How many records found no room.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Relaxed)
    }

    /// How often the consumer was told that there are records.
    pub fn wakeups(&self) -> u64 {
        *self.wakeups.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the oldest record out, unless it is reserved.
    fn take_record(&self, data: &mut Vec<u8>) -> Option<Commit> {
        let _only = self.consuming.lock().unwrap_or_else(PoisonError::into_inner);
        let position = self.consumer.load(Relaxed);
        if position >= self.producer.load(Acquire) {
            return None;
        }
        let word = self.word(position);
        let header = self.memory.words()[word].load(Acquire);
        if header & BUSY != 0 {
            return None;
        }
        let commit = if header & DISCARD != 0 { Commit::Discard } else { Commit::Submit };
        let bytes = (header & SIZE).min(self.bytes - HEADER);
        data.resize(bytes as usize, 0);
        self.memory.read(word + 1, data);
        self.consumer.store(position + record_bytes(bytes), Release);
        Some(commit)
    }
}

/// Bytes from a record to the next.
pub(super) fn record_bytes(data_bytes: u64) -> u64 {
    (data_bytes + HEADER).next_multiple_of(HEADER)
}

impl MapOps for Ringbuf {
    fn take_back(&self, address: u64) {
        if self.record_at(address as usize).is_some() {
            let discarded = self.discard(address as usize, NO_WAKEUP);
            debug_assert!(discarded.is_ok());
        }
    }
}
