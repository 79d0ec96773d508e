//! Consuming a ring buffer through shared memory.

use crate::Map;
use crate::sys::{Mapping, Protection, page_bytes};
use ebpfvm_spec::{Errno, MapType};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

/// The consumer of a map of type `RINGBUF`.
///
/// Layout (`kernel/bpf/ringbuf.c`): a page with the consumer's position, which we write; a page with
/// the producer's position; the data, mapped twice in a row so that a record never wraps. A record
/// is a header of 8 bytes, whose first word holds the length and two flags, and the payload rounded
/// up to a multiple of 8.
#[derive(Debug)]
pub struct RingBuffer {
    consumer: Mapping,
    /// The producer's page and the data.
    producer: Mapping,
    page_bytes: usize,
    /// The size of the data, a power of two.
    data_bytes: usize,
}

pub(crate) const BUSY: u32 = 1 << 31;
pub(crate) const DISCARDED: u32 = 1 << 30;
pub(crate) const HEADER_BYTES: usize = 8;

impl RingBuffer {
    /// Maps the ring buffer of a map.
    ///
    /// One consumer at a time: two would both see the records that lie there.
    ///
    /// # Errors
    /// `EINVAL` for a map of another type, otherwise the kernel's error number.
    pub fn new(map: &Map) -> Result<RingBuffer, Errno> {
        if map.map_type() != MapType::Ringbuf {
            return Err(Errno::EINVAL);
        }
        let page_bytes = page_bytes();
        let data_bytes = map.max_entries() as usize;
        let shared = data_bytes.checked_mul(2).and_then(|n| n.checked_add(page_bytes));
        let shared = shared.ok_or(Errno::E2BIG)?;
        Ok(RingBuffer {
            consumer: Mapping::new(map.owned_fd(), 0, page_bytes, Protection::ReadWrite)?,
            producer: Mapping::new(map.owned_fd(), page_bytes, shared, Protection::Read)?,
            page_bytes,
            data_bytes,
        })
    }

    fn consumer_position(&self) -> &AtomicUsize {
        // SAFETY: the mapping begins with the position, is page-aligned, writable and lives as long
        // as `self`; it is accessed atomically only, here and in the kernel.
        unsafe { AtomicUsize::from_ptr(self.consumer.start().cast()) }
    }

    fn producer_position(&self) -> usize {
        // SAFETY: as above; the page is not writable, so it is only loaded from, which
        // `AtomicUsize::load` does without writing.
        let position = unsafe { AtomicUsize::from_ptr(self.producer.start().cast()) };
        position.load(Ordering::Acquire)
    }

    /// A pointer to `bytes` bytes of data at a position, or none beyond the mapping.
    fn data(&self, position: usize, bytes: usize) -> Option<*mut u8> {
        let start = self.page_bytes + (position & (self.data_bytes - 1));
        let end = start.checked_add(bytes)?;
        // In the mapping, as just compared, so the addition stays inside of one allocation.
        (end <= self.producer.bytes()).then(|| self.producer.start().wrapping_add(start))
    }

    /// Takes all records that are there, in order. Discarded ones are left out.
    ///
    /// Stops at a record that a program has reserved and not yet submitted.
    ///
    /// # Errors
    /// `EIO` when the memory does not hold what the kernel writes there.
    pub fn take_all(&mut self) -> Result<Vec<Vec<u8>>, Errno> {
        let mut records = Vec::new();
        let mut at = self.consumer_position().load(Ordering::Relaxed);
        while at != self.producer_position() {
            let header = self.data(at, HEADER_BYTES).ok_or(Errno::EIO)?;
            // SAFETY: in the mapping, aligned since positions and the data's start are multiples
            // of 8, and only loaded from.
            let header = unsafe { AtomicU32::from_ptr(header.cast()) }.load(Ordering::Acquire);
            if header & BUSY != 0 {
                break;
            }
            let bytes = (header & !(BUSY | DISCARDED)) as usize;
            if bytes > self.data_bytes {
                return Err(Errno::EIO);
            }
            if header & DISCARDED == 0 {
                let payload = self.data(at.wrapping_add(HEADER_BYTES), bytes).ok_or(Errno::EIO)?;
                let mut record = vec![0; bytes];
                // SAFETY: the payload lies in the mapping, and a submitted record is not written
                // until the consumer's position has passed it, which happens below.
                unsafe { payload.copy_to_nonoverlapping(record.as_mut_ptr(), bytes) };
                records.push(record);
            }
            at = at.wrapping_add((HEADER_BYTES + bytes).next_multiple_of(8));
            self.consumer_position().store(at, Ordering::Release);
        }
        Ok(records)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{LoadRequest, MapRequest, TestRun, kernel_or_skip};
    use ebpfvm_spec::ProgType;

    /// Outputs 8 bytes with the packet's length to the ring buffer: `bpf_ringbuf_output`.
    fn producer(map_fd: i32) -> Vec<u8> {
        let slot = |opcode: u8, regs: u8, offset: i16, imm: i32| {
            let (o, i) = (offset.to_le_bytes(), imm.to_le_bytes());
            [opcode, regs, o[0], o[1], i[0], i[1], i[2], i[3]]
        };
        [
            slot(0x61, 0x12, 0, 0),      // r2 = *(u32 *)(r1 + 0)
            slot(0x7b, 0x2a, -8, 0),     // *(u64 *)(r10 - 8) = r2
            slot(0x18, 0x11, 0, map_fd), // r1 = map
            slot(0, 0, 0, 0),
            slot(0xbf, 0xa2, 0, 0),  // r2 = r10
            slot(0x07, 0x02, 0, -8), // r2 += -8
            slot(0xb7, 0x03, 0, 8),  // r3 = 8
            slot(0xb7, 0x04, 0, 0),  // r4 = 0
            slot(0x85, 0, 0, 130),   // call ringbuf_output
            slot(0x95, 0, 0, 0),     // exit
        ]
        .concat()
    }

    #[test]
    fn records_come_in_order_around_the_end() {
        let Some(kernel) = kernel_or_skip("records_come_in_order_around_the_end") else { return };
        let bytes = page_bytes() as u32;
        let map = kernel.map_create(&MapRequest::new(MapType::Ringbuf, 0, 0, bytes)).unwrap();
        let insns = producer(map.fd());
        let prog = kernel.prog_load(&LoadRequest::new(ProgType::SchedCls, &insns)).unwrap();
        let mut ring = RingBuffer::new(&map).unwrap();
        assert_eq!(ring.take_all().unwrap(), Vec::<Vec<u8>>::new());
        let per_round = bytes / 16 - 1;
        for round in 0..3u64 {
            let mut expected = Vec::new();
            for i in 0..u64::from(per_round) {
                let packet = vec![0; 64 + (i + round) as usize];
                let run = TestRun { data_in: &packet, ..TestRun::default() };
                assert_eq!(prog.test_run(&run).unwrap().retval, 0);
                expected.push((packet.len() as u64).to_le_bytes().to_vec());
            }
            assert_eq!(ring.take_all().unwrap(), expected);
        }
        let array = kernel.map_create(&MapRequest::new(MapType::Array, 4, 4, 1)).unwrap();
        assert_eq!(RingBuffer::new(&array).unwrap_err(), Errno::EINVAL);
    }
}
