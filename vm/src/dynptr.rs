//! Dynptrs of a run: memory with its size, behind 16 bytes on the program's stack
//! (`struct bpf_dynptr`).
//!
//! The bytes hold a number, not an address: what a program without a verdict writes there can only
//! be no dynptr any more. A dynptr is known by where it is and by its number, so that a copy of the
//! bytes is none either.

use ebpfvm_spec::Errno;

/// The size of a dynptr in a program.
pub(crate) const DYNPTR_BYTES: usize = 16;

/// The most bytes of memory that a dynptr has (`DYNPTR_MAX_SIZE`).
const MAX_BYTES: u32 = (1 << 24) - 1;

/// Whose memory it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DynptrKind {
    /// The program's: the value of a map, or a sample that the host has put into a user ring
    /// buffer.
    Local,
    /// A reserved record of a ring buffer.
    Ringbuf,
}

/// A dynptr that has memory.
///
/// Who makes one has seen that the program may read and write that memory; what runs with checks is
/// checked again at each use, for the memory may be gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Dynptr {
    pub(crate) kind: DynptrKind,
    data: u64,
    bytes: u32,
}

/// A part of a dynptr's memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slice {
    address: u64,
    bytes: usize,
}

impl Slice {
    pub(crate) fn address(self) -> u64 {
        self.address
    }

    pub(crate) fn bytes(self) -> usize {
        self.bytes
    }
}

impl Dynptr {
    pub(crate) fn new(kind: DynptrKind, data: u64, bytes: u32) -> Dynptr {
        Dynptr { kind, data, bytes }
    }

    /// Refuses sizes that no dynptr has (`bpf_dynptr_check_size`).
    ///
    /// # Errors
    /// `E2BIG`
    pub(crate) fn check_size(bytes: u32) -> Result<(), Errno> {
        if bytes > MAX_BYTES { Err(Errno::E2BIG) } else { Ok(()) }
    }

    /// Address of the memory.
    pub(crate) fn data(&self) -> u64 {
        self.data
    }

    /// A part of the memory (`bpf_dynptr_check_off_len`).
    ///
    /// # Errors
    /// `E2BIG` if it is not in the memory.
    pub(crate) fn slice(&self, offset: u32, bytes: u32) -> Result<Slice, Errno> {
        if bytes > self.bytes || offset > self.bytes - bytes {
            return Err(Errno::E2BIG);
        }
        Ok(Slice { address: self.data + u64::from(offset), bytes: bytes as usize })
    }
}

struct Entry {
    at: u64,
    number: u64,
    dynptr: Dynptr,
}

/// The dynptrs of a run, by the address of their bytes.
#[derive(Default)]
pub(crate) struct Dynptrs {
    entries: Vec<Entry>,
    last_number: u64,
}

impl Dynptrs {
    /// Puts a dynptr, or one without memory, at an address, in place of what was there. Returns
    /// what its bytes are.
    pub(crate) fn set(&mut self, at: u64, dynptr: Option<Dynptr>) -> [u8; DYNPTR_BYTES] {
        self.entries.retain(|entry| entry.at != at);
        let mut bytes = [0; DYNPTR_BYTES];
        if let Some(dynptr) = dynptr {
            self.last_number += 1;
            let number = self.last_number;
            bytes[..8].copy_from_slice(&number.to_ne_bytes());
            self.entries.push(Entry { at, number, dynptr });
        }
        bytes
    }

    /// The dynptr whose bytes these are; it may be without memory. None if it is no dynptr.
    pub(crate) fn get(&self, at: u64, bytes: &[u8]) -> Option<Option<Dynptr>> {
        let (number, rest) = bytes.split_first_chunk::<8>()?;
        let number = u64::from_ne_bytes(*number);
        if rest.iter().any(|byte| *byte != 0) {
            return None;
        }
        if number == 0 {
            return Some(None);
        }
        let entry = self.entries.iter().find(|entry| entry.at == at && entry.number == number)?;
        Some(Some(entry.dynptr))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dynptr_is_known_by_place_and_number() {
        let mut dynptrs = Dynptrs::default();
        let dynptr = Dynptr::new(DynptrKind::Local, 0x1000, 8);
        let bytes = dynptrs.set(16, Some(dynptr));
        assert_eq!(dynptrs.get(16, &bytes), Some(Some(dynptr)));
        assert_eq!(dynptrs.get(32, &bytes), None, "a copy");
        let again = dynptrs.set(16, Some(dynptr));
        assert_ne!(again, bytes);
        assert_eq!(dynptrs.get(16, &bytes), None, "the one before");
        let null = dynptrs.set(16, None);
        assert_eq!(dynptrs.get(16, &null), Some(None));
        assert_eq!(dynptrs.get(16, &again), None);
        assert_eq!(dynptrs.get(16, &[1; 16]), None);
    }

    #[test]
    fn slices_stay_inside() {
        let dynptr = Dynptr::new(DynptrKind::Local, 0x1000, 8);
        for (offset, bytes, inside) in
            [(0, 8, true), (8, 0, true), (9, 0, false), (1, 8, false), (u32::MAX, 2, false)]
        {
            assert_eq!(dynptr.slice(offset, bytes).is_ok(), inside, "{offset} {bytes}");
        }
        assert_eq!(dynptr.slice(3, 4).unwrap().address(), 0x1003);
    }
}
