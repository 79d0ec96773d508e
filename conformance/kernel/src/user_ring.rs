//! Producing into a ring buffer of user space through shared memory.

use crate::Map;
use crate::ring::{BUSY, DISCARDED, HEADER_BYTES};
use crate::sys::{Mapping, Protection, page_bytes};
use ebpfvm_spec::{Errno, MapType};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

/// The producer of a map of type `USER_RINGBUF`.
///
/// The layout is that of [`RingBuffer`](crate::RingBuffer); here the producer's page and the data are
/// ours to write. The rules of reserving are those of libbpf.
#[derive(Debug)]
pub struct UserRingBuffer {
    consumer: Mapping,
    /// The producer's page and the data.
    producer: Mapping,
    page_bytes: usize,
    /// The size of the data, a power of two.
    data_bytes: usize,
}

/// A sample that was reserved and not yet committed.
#[derive(Debug)]
pub struct Reserved {
    at: usize,
    bytes: usize,
}

/// What becomes of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Commit {
    /// Programs see it.
    Submit,
    /// Programs skip it.
    Discard,
}

impl UserRingBuffer {
    /// Maps the ring buffer of a map. One producer at a time: two would write over each other.
    ///
    /// # Errors
    /// `EINVAL` for a map of another type, otherwise the kernel's error number.
    pub fn new(map: &Map) -> Result<UserRingBuffer, Errno> {
        if map.map_type() != MapType::UserRingbuf {
            return Err(Errno::EINVAL);
        }
        let page_bytes = page_bytes();
        let data_bytes = map.max_entries() as usize;
        let shared = data_bytes.checked_mul(2).and_then(|n| n.checked_add(page_bytes));
        let shared = shared.ok_or(Errno::E2BIG)?;
        Ok(UserRingBuffer {
            consumer: Mapping::new(map.owned_fd(), 0, page_bytes, Protection::Read)?,
            producer: Mapping::new(map.owned_fd(), page_bytes, shared, Protection::ReadWrite)?,
            page_bytes,
            data_bytes,
        })
    }

    fn consumer_position(&self) -> usize {
        // SAFETY: the mapping begins with the position, is page-aligned and lives as long as `self`;
        // the page is not writable, so it is only loaded from.
        unsafe { AtomicUsize::from_ptr(self.consumer.start().cast()) }.load(Ordering::Acquire)
    }

    fn producer_position(&self) -> &AtomicUsize {
        // SAFETY: as above, but writable; it is accessed atomically only, here and in the kernel.
        unsafe { AtomicUsize::from_ptr(self.producer.start().cast()) }
    }

    /// The place of a position. What starts there may be as long as the data.
    fn data(&self, position: usize) -> *mut u8 {
        // The mapping has the data twice, so this and all that may start here is inside.
        self.producer.start().wrapping_add(self.page_bytes + (position & (self.data_bytes - 1)))
    }

    fn header(&self, position: usize) -> &AtomicU32 {
        // SAFETY: inside the mapping, aligned since positions and the data's start are multiples of 8,
        // and accessed atomically only, here and in the kernel.
        unsafe { AtomicU32::from_ptr(self.data(position).cast()) }
    }

    /// Reserves a sample.
    ///
    /// # Errors
    /// `E2BIG` if it can never fit, `ENOSPC` if there is no room now.
    pub fn reserve(&mut self, bytes: u32) -> Result<Reserved, Errno> {
        let needed = (bytes as usize + HEADER_BYTES).next_multiple_of(8);
        if bytes & (BUSY | DISCARDED) != 0 || needed > self.data_bytes {
            return Err(Errno::E2BIG);
        }
        let at = self.producer_position().load(Ordering::Relaxed);
        if self.data_bytes - at.wrapping_sub(self.consumer_position()) < needed {
            return Err(Errno::ENOSPC);
        }
        self.header(at).store(bytes | BUSY, Ordering::Relaxed);
        self.producer_position().store(at.wrapping_add(needed), Ordering::Release);
        Ok(Reserved { at, bytes: bytes as usize })
    }

    /// Fills a sample and ends its reservation. It must be one of this buffer's.
    ///
    /// # Errors
    /// `EINVAL` if the data is not as long as the sample.
    pub fn commit(&mut self, sample: Reserved, data: &[u8], commit: Commit) -> Result<(), Errno> {
        if sample.bytes != data.len() || data.len() > self.data_bytes - HEADER_BYTES {
            return Err(Errno::EINVAL);
        }
        let target = self.data(sample.at).wrapping_add(HEADER_BYTES);
        // SAFETY: what starts in the first half and is not longer than it ends in the mapping; the
        // sample is busy, so no program reads it yet.
        unsafe { target.copy_from_nonoverlapping(data.as_ptr(), data.len()) };
        let flag = if commit == Commit::Discard { DISCARDED } else { 0 };
        self.header(sample.at).store(data.len() as u32 | flag, Ordering::Release);
        Ok(())
    }
}
