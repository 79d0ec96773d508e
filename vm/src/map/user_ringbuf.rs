//! Ring buffers in the other direction: samples from the host to programs (`kernel/bpf/ringbuf.c`;
//! the producer is that of libbpf).
//!
//! Positions and headers are those of `ringbuf.rs`; here the host moves the producer's position and a
//! program the consumer's. A sample stays where it is, unchanged by the host, until the program is
//! done with it.

use super::MapOps;
use super::kind::Shape;
use super::memory::{Memory, OutOfMemory, WORD};
use super::ringbuf::{BUSY, DISCARD, FORCE_WAKEUP, NO_WAKEUP, SIZE, record_bytes};
use ebpfvm_spec::Errno;
use std::ops::ControlFlow;
use std::ptr::NonNull;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// `BPF_MAX_USER_RINGBUF_SAMPLES`: so many samples at most in one go, discarded ones included.
const MAX_SAMPLES: u64 = 128 << 10;
/// `DYNPTR_MAX_SIZE`: the most bytes that a program can be shown of a sample.
const MAX_SAMPLE_BYTES: u64 = (1 << 24) - 1;

/// A `user_ringbuf`.
pub struct UserRingbuf {
    /// Twice the size: what starts in the first half may reach into the second.
    memory: Memory,
    /// Size in bytes, a power of two.
    bytes: u64,
    producer: AtomicU64,
    consumer: AtomicU64,
    /// Held while reserving.
    producing: Mutex<()>,
    /// A program is taking samples out.
    draining: AtomicBool,
    /// How often waiting producers were told that there may be room.
    wakeups: Mutex<u64>,
    woken: Condvar,
}

/// A sample that a program is looking at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// The address of its data, 8-byte aligned and in one piece.
    pub address: NonNull<u8>,
    /// The size of its data.
    pub bytes: u32,
}

impl UserRingbuf {
    pub(super) fn needed(shape: &Shape<'_>) -> Option<u64> {
        Some(u64::from(shape.def.max_entries) * 2)
    }

    pub(super) fn build(shape: &Shape<'_>) -> Result<Box<dyn MapOps>, OutOfMemory> {
        let bytes = u64::from(shape.def.max_entries);
        Ok(Box::new(UserRingbuf {
            memory: Memory::zeroed(bytes as usize * 2 / WORD)?,
            bytes,
            producer: AtomicU64::new(0),
            consumer: AtomicU64::new(0),
            producing: Mutex::new(()),
            draining: AtomicBool::new(false),
            wakeups: Mutex::new(0),
            woken: Condvar::new(),
        }))
    }

    /// A copy of a sample's data; empty for one that is not of this buffer.
    pub fn data(&self, sample: Sample) -> Vec<u8> {
        let offset = sample.address.addr().get().wrapping_sub(self.memory.address());
        let end = offset.checked_add(sample.bytes as usize);
        if end.is_none_or(|end| end > self.bytes as usize * 2) || !offset.is_multiple_of(WORD) {
            return Vec::new();
        }
        let mut data = vec![0; sample.bytes as usize];
        self.memory.read(offset / WORD, &mut data);
        data
    }

    fn word(&self, position: u64) -> usize {
        (position & (self.bytes - 1)) as usize / WORD
    }

    fn lock_wakeups(&self) -> MutexGuard<'_, u64> {
        self.wakeups.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The host side.
impl UserRingbuf {
    /// Reserves a sample of `bytes` bytes, all zero. Programs wait for it, and do not see those
    /// behind it, until it is [submitted](Reservation::submit) or dropped.
    ///
    /// # Errors
    /// `E2BIG` if it could never fit, `ENOSPC` if there is no room now.
    pub fn reserve(&self, bytes: u32) -> Result<Reservation<'_>, Errno> {
        let needed = record_bytes(bytes.into());
        if u64::from(bytes) > SIZE || needed > self.bytes {
            return Err(Errno::E2BIG);
        }
        let _only = self.producing.lock().unwrap_or_else(PoisonError::into_inner);
        let position = self.producer.load(Relaxed);
        if self.bytes - (position - self.consumer.load(Acquire)) < needed {
            return Err(Errno::ENOSPC);
        }
        let word = self.word(position);
        self.memory.words()[word].store(u64::from(bytes) | BUSY, Relaxed);
        self.producer.store(position + needed, Release);
        Ok(Reservation { ring: self, word, data: vec![0; bytes as usize], end: Ending::Discard })
    }

    /// As [`reserve`](UserRingbuf::reserve); waits for room until a program has made some or the time
    /// is over. Programs that ask for no wake-up (`BPF_RB_NO_WAKEUP`) do not end the wait.
    ///
    /// # Errors
    /// As [`reserve`](UserRingbuf::reserve).
    pub fn reserve_blocking(
        &self,
        bytes: u32,
        timeout: Duration,
    ) -> Result<Reservation<'_>, Errno> {
        let deadline = Instant::now().checked_add(timeout);
        loop {
            let before = *self.lock_wakeups();
            match self.reserve(bytes) {
                Err(Errno::ENOSPC) => {}
                done => return done,
            }
            let mut wakeups = self.lock_wakeups();
            while *wakeups == before {
                // A deadline beyond the clock's range never comes.
                let left =
                    deadline.map_or(timeout, |d| d.saturating_duration_since(Instant::now()));
                if left.is_zero() {
                    drop(wakeups);
                    return self.reserve(bytes);
                }
                let woken = self.woken.wait_timeout(wakeups, left);
                wakeups = woken.unwrap_or_else(PoisonError::into_inner).0;
            }
        }
    }

    /// Reserves, copies and submits.
    ///
    /// # Errors
    /// As [`reserve`](UserRingbuf::reserve).
    pub fn push(&self, sample: &[u8]) -> Result<(), Errno> {
        let bytes = u32::try_from(sample.len()).map_err(|_| Errno::E2BIG)?;
        let mut reservation = self.reserve(bytes)?;
        reservation.data_mut().copy_from_slice(sample);
        reservation.submit();
        Ok(())
    }

    /// Bytes that programs have not yet taken out.
    pub fn unread_bytes(&self) -> u64 {
        // The consumer first: it never passes the producer.
        let consumer = self.consumer.load(Acquire);
        self.producer.load(Acquire) - consumer
    }

    /// How often waiting producers were told that there may be room.
    pub fn wakeups(&self) -> u64 {
        *self.lock_wakeups()
    }
}

/// A sample that the host is filling. Dropped, it is discarded: programs skip it.
pub struct Reservation<'a> {
    ring: &'a UserRingbuf,
    /// Where its header is.
    word: usize,
    data: Vec<u8>,
    end: Ending,
}

#[derive(PartialEq, Eq)]
enum Ending {
    Submit,
    Discard,
}

impl Reservation<'_> {
    /// The data to fill.
    pub fn data_mut(&mut self) -> &mut [u8] {
        &mut self.data
    }

    /// Gives the sample to programs.
    pub fn submit(mut self) {
        self.end = Ending::Submit;
    }

    /// Takes the sample back: the same as dropping it.
    pub fn discard(self) {}
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        let mut header = self.data.len() as u64;
        match self.end {
            Ending::Submit => self.ring.memory.write(self.word + 1, &self.data),
            Ending::Discard => header |= DISCARD,
        }
        self.ring.memory.words()[self.word].store(header, Release);
    }
}

/// The program side.
impl UserRingbuf {
    /// Begins to take samples out (`bpf_user_ringbuf_drain`). Waiting producers are told at the end.
    ///
    /// # Errors
    /// `EINVAL` for unknown flags, `EBUSY` if another program is at it.
    pub fn begin_drain(&self, flags: u64) -> Result<Drain<'_>, Errno> {
        if flags & !(NO_WAKEUP | FORCE_WAKEUP) != 0 {
            return Err(Errno::EINVAL);
        }
        if self.draining.swap(true, Acquire) {
            return Err(Errno::EBUSY);
        }
        Ok(Drain { ring: self, flags, looked_at: 0, discarded: 0, held: None })
    }

    /// Shows the samples to `each`, oldest first, until it breaks, one is still reserved, or none is
    /// left. Returns how many it has seen.
    ///
    /// # Errors
    /// As [`begin_drain`](UserRingbuf::begin_drain); `E2BIG` at a sample that is too large to be
    /// shown.
    pub fn drain(
        &self,
        flags: u64,
        mut each: impl FnMut(Sample) -> ControlFlow<()>,
    ) -> Result<u64, Errno> {
        let mut drain = self.begin_drain(flags)?;
        while let Some(sample) = drain.next_sample()? {
            if each(sample).is_break() {
                break;
            }
        }
        Ok(drain.seen())
    }
}

/// Samples on their way to a program. Dropped, it lets go of the sample that was looked at last.
pub struct Drain<'a> {
    ring: &'a UserRingbuf,
    flags: u64,
    /// Samples, with the discarded ones.
    looked_at: u64,
    discarded: u64,
    /// Up to where the consumer's position moves once the program is done with a sample.
    held: Option<u64>,
}

impl Drain<'_> {
    /// The next sample; `None` if there is none or it is still reserved. The one before is let go.
    ///
    /// # Errors
    /// `E2BIG` if it is too large to be shown (`bpf_dynptr_check_size`).
    pub fn next_sample(&mut self) -> Result<Option<Sample>, Errno> {
        self.let_go();
        while self.looked_at < MAX_SAMPLES {
            let position = self.ring.consumer.load(Relaxed);
            if position >= self.ring.producer.load(Acquire) {
                return Ok(None);
            }
            let word = self.ring.word(position);
            let header = self.ring.memory.words()[word].load(Acquire);
            let bytes = header & SIZE;
            if bytes > MAX_SAMPLE_BYTES {
                return Err(Errno::E2BIG);
            }
            let end = position + record_bytes(bytes);
            if header & DISCARD != 0 {
                self.ring.consumer.store(end, Release);
                self.looked_at += 1;
                self.discarded += 1;
                continue;
            }
            if header & BUSY != 0 {
                return Ok(None);
            }
            self.looked_at += 1;
            self.held = Some(end);
            let address = self.ring.memory.pointer(word + 1);
            return Ok(Some(Sample { address, bytes: bytes as u32 }));
        }
        Ok(None)
    }

    /// How many samples the program has seen: what the helper returns.
    pub fn seen(&self) -> u64 {
        self.looked_at - self.discarded
    }

    fn let_go(&mut self) {
        if let Some(end) = self.held.take() {
            self.ring.consumer.store(end, Release);
        }
    }
}

impl Drop for Drain<'_> {
    fn drop(&mut self) {
        self.let_go();
        self.ring.draining.store(false, Release);
        let wanted = self.flags & NO_WAKEUP == 0 && self.looked_at > 0;
        if wanted || self.flags & FORCE_WAKEUP != 0 {
            *self.ring.lock_wakeups() += 1;
            self.ring.woken.notify_all();
        }
    }
}

/// Neither side has any operation but its own.
impl MapOps for UserRingbuf {}
