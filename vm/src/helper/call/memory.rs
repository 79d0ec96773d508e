//! Memory of the program that arguments point to, and memory that it is lent.

use super::Call;
use crate::cells::Cell;
use crate::dynptr::{DYNPTR_BYTES, Dynptr, Slice};
use crate::helper::Bytes;
use crate::map::Map;
use crate::memory::{copy_bytes, copy_from, copy_to};
use crate::trap::TrapKind;
use ebpfvm_spec::Errno;
use ebpfvm_spec::context::Direction;
use smallvec::SmallVec;

/// Takes memory for bytes that do not fit into what `out` has without.
#[inline(never)]
fn make_room(out: &mut Bytes, bytes: usize) {
    out.reserve(bytes);
}

/// As [`Call::each_word`], of memory that is known.
///
/// # Safety
/// There are `bytes` bytes at the address that may be read.
#[inline(always)]
pub(super) unsafe fn each_word_at(address: u64, bytes: usize, mut take: impl FnMut(u32)) -> usize {
    let first = address as *const [u8; 4];
    for word in 0..bytes / 4 {
        // SAFETY: the caller's promise; the word lies in the memory, wherever that begins.
        take(u32::from_ne_bytes(unsafe { first.add(word).read() }));
    }
    let rest = bytes % 4;
    if rest != 0 {
        let mut last = [0; 4];
        // SAFETY: as above; the rest lies behind the words.
        unsafe { copy_from(first.add(bytes / 4) as u64, &mut last[..rest]) };
        take(u32::from_ne_bytes(last));
    }
    bytes
}

impl Call<'_, '_> {
    /// Checks that the program may access all of the memory that an argument points to, before
    /// anything is done that should not be done in part.
    ///
    /// # Errors
    /// A trap if it may not.
    #[inline]
    pub fn check(
        &mut self,
        number: usize,
        bytes: usize,
        direction: Direction,
    ) -> Result<(), TrapKind> {
        self.check_at(number, self.arg(number), bytes, direction)
    }

    /// As [`Call::check`], for memory that an argument stands for.
    #[inline(always)]
    fn check_at(
        &mut self,
        number: usize,
        address: u64,
        bytes: usize,
        direction: Direction,
    ) -> Result<(), TrapKind> {
        if self.checked { self.check_regions(number, address, bytes, direction) } else { Ok(()) }
    }

    #[cold]
    fn check_regions(
        &mut self,
        number: usize,
        address: u64,
        bytes: usize,
        direction: Direction,
    ) -> Result<(), TrapKind> {
        let found = self.run.find(self.instance, address, bytes as u64, direction);
        found.map_err(|access| TrapKind::HelperAccess {
            helper: self.proto.name.to_string(),
            arg: number as u8,
            access: Box::new(access),
        })
    }

    /// Copies `bytes` bytes from where an argument points to.
    ///
    /// # Errors
    /// A trap if the program may not read there.
    pub fn read(&mut self, number: usize, bytes: usize) -> Result<Bytes, TrapKind> {
        let mut out = Bytes::new();
        self.read_into(number, bytes, &mut out)?;
        Ok(out)
    }

    /// As [`Call::read`], to where the bytes stay: a result that is handed on is copied each time,
    /// which costs more than the reading.
    ///
    /// # Errors
    /// As [`Call::read`].
    #[inline(always)]
    pub(crate) fn read_into(
        &mut self,
        number: usize,
        bytes: usize,
        out: &mut Bytes,
    ) -> Result<(), TrapKind> {
        self.check(number, bytes, Direction::Read)?;
        out.clear();
        if bytes > out.inline_size() {
            make_room(out, bytes);
        }
        let address = self.arg(number);
        // SAFETY: the source is checked above, or the verifier has checked the argument against the
        // prototype; there is room for so many bytes, without memory of its own or made just now, and
        // they are written before they count.
        unsafe {
            copy_bytes(address, out.as_mut_ptr(), bytes);
            out.set_len(bytes);
        }
        Ok(())
    }

    /// Copies the memory that an argument points to, as long as the next argument says.
    ///
    /// # Errors
    /// A trap if the program may not read it, or gives no address where one is needed.
    pub fn memory(&mut self, number: usize) -> Result<Bytes, TrapKind> {
        let bytes = self.size(number + 1)?;
        self.read(number, bytes)
    }

    /// As [`Call::memory`], to where the bytes stay.
    ///
    /// # Errors
    /// As [`Call::memory`].
    #[inline]
    pub(crate) fn memory_into(&mut self, number: usize, out: &mut Bytes) -> Result<(), TrapKind> {
        let bytes = self.size(number + 1)?;
        self.read_into(number, bytes, out)
    }

    /// Gives the memory that an argument points to, as long as the next argument says, by words of 4
    /// bytes in host order, the last filled up with zeros; returns the number of bytes. Each byte is
    /// read once, for others may write there.
    ///
    /// # Errors
    /// As [`Call::memory`].
    #[inline(always)]
    pub(crate) fn each_word(
        &mut self,
        number: usize,
        take: impl FnMut(u32),
    ) -> Result<usize, TrapKind> {
        let bytes = self.size(number + 1)?;
        self.check(number, bytes, Direction::Read)?;
        // SAFETY: as in `read_into`.
        Ok(unsafe { each_word_at(self.arg(number), bytes, take) })
    }

    /// The key that an argument points to, of the size that the map has.
    ///
    /// # Errors
    /// A trap if the program may not read it.
    pub fn map_key(&mut self, number: usize, map: &Map) -> Result<Bytes, TrapKind> {
        self.read(number, map.def().key_bytes as usize)
    }

    /// As [`Call::map_key`], to where the key stays.
    ///
    /// # Errors
    /// As [`Call::map_key`].
    #[inline]
    pub(crate) fn map_key_into(
        &mut self,
        number: usize,
        map: &Map,
        out: &mut Bytes,
    ) -> Result<(), TrapKind> {
        self.read_into(number, map.def().key_bytes as usize, out)
    }

    /// Copies memory from anywhere, as the kernel's `copy_from_kernel_nofault`: none where the
    /// program itself has no memory, for there the host's begins.
    pub fn probe(&mut self, address: u64, bytes: usize) -> Option<Bytes> {
        self.run.find(self.instance, address, bytes as u64, Direction::Read).ok()?;
        let mut out = SmallVec::from_elem(0, bytes);
        // SAFETY: found in the program's memory just now.
        unsafe { copy_from(address, &mut out) };
        Some(out)
    }

    /// Copies bytes to where an argument points to.
    ///
    /// # Errors
    /// A trap if the program may not write there.
    pub fn write(&mut self, number: usize, bytes: &[u8]) -> Result<(), TrapKind> {
        self.check(number, bytes.len(), Direction::Write)?;
        // SAFETY: as in `read`.
        unsafe { copy_to(self.arg(number), bytes) };
        Ok(())
    }

    /// Gives memory to the program until the run ends. The caller keeps it valid and where it is
    /// for as long; `name` is what messages call it.
    pub(crate) fn lend(&mut self, name: &'static str, address: u64, bytes: u64, writable: bool) {
        self.run.regions.lend(name, address, bytes, writable);
    }

    /// Lets the program use memory until it is revoked: a record of a ring buffer.
    pub fn grant(&mut self, address: u64, bytes: u64) {
        self.run.regions.grant(address, bytes);
    }

    /// Ends a grant.
    ///
    /// # Errors
    /// A trap if the address is not that of memory that was granted.
    pub fn revoke(&mut self, address: u64) -> Result<(), TrapKind> {
        if self.run.regions.revoke(address) || !self.checked {
            return Ok(());
        }
        Err(self.bad_arg(1, "is not a record that the program reserved"))
    }

    /// Takes memory of so many bytes for arguments of the program's functions, which may read it
    /// until the run ends; `name` is what messages call it.
    ///
    /// # Errors
    /// `ENOMEM`
    pub(crate) fn take_cell(&mut self, name: &'static str, bytes: usize) -> Result<Cell, Errno> {
        let cell = self.run.cells.take(bytes).map_err(|_| Errno::ENOMEM)?;
        self.lend(name, self.run.cells.address(cell), bytes as u64, false);
        Ok(cell)
    }

    /// Writes to memory for arguments, as many bytes as it has; returns its address.
    pub(crate) fn fill_cell(&mut self, cell: Cell, bytes: &[u8]) -> u64 {
        self.run.cells.write(cell, bytes);
        self.run.cells.address(cell)
    }

    /// Lets later calls use memory for arguments.
    pub(crate) fn put_cell_back(&mut self, cell: Cell) {
        self.run.cells.put_back(cell);
    }

    /// The dynptr that an argument points to; none if it has no memory.
    ///
    /// # Errors
    /// A trap if the argument is something else.
    pub(crate) fn dynptr(&mut self, number: usize) -> Result<Option<Dynptr>, TrapKind> {
        let bytes = self.read(number, DYNPTR_BYTES)?;
        let found = self.run.dynptrs.get(self.arg(number), &bytes);
        found.ok_or_else(|| self.bad_arg(number, "is not a dynptr"))
    }

    /// Makes a dynptr where an argument points to; one without memory for none.
    ///
    /// # Errors
    /// A trap if that is no place for a dynptr.
    pub(crate) fn set_dynptr(
        &mut self,
        number: usize,
        dynptr: Option<Dynptr>,
    ) -> Result<(), TrapKind> {
        let at = self.arg(number);
        let is_place = at.is_multiple_of(8);
        if self.checked && !(is_place && self.run.regions.is_on_stack(at, DYNPTR_BYTES as u64)) {
            let expected = "is not the address of 16 bytes of the stack, a multiple of 8";
            return Err(self.bad_arg(number, expected));
        }
        let bytes = self.run.dynptrs.set(at, dynptr);
        self.write(number, &bytes)
    }

    /// Makes a dynptr, or one without memory, in memory for arguments of its size; returns its
    /// address.
    pub(crate) fn fill_cell_with_dynptr(&mut self, cell: Cell, dynptr: Option<Dynptr>) -> u64 {
        let bytes = self.run.dynptrs.set(self.run.cells.address(cell), dynptr);
        self.fill_cell(cell, &bytes)
    }

    /// Copies from a dynptr's memory; the argument is the dynptr.
    ///
    /// # Errors
    /// A trap if the program may no longer read it.
    pub(crate) fn read_slice(&mut self, number: usize, slice: Slice) -> Result<Bytes, TrapKind> {
        self.check_at(number, slice.address(), slice.bytes(), Direction::Read)?;
        let mut out = SmallVec::from_elem(0, slice.bytes());
        // SAFETY: checked above; in a verified program memory lasts as long as a dynptr with it.
        unsafe { copy_from(slice.address(), &mut out) };
        Ok(out)
    }

    /// Copies to a dynptr's memory as many bytes as the slice has; the argument is the dynptr.
    ///
    /// # Errors
    /// A trap if the program may no longer write it.
    pub(crate) fn write_slice(
        &mut self,
        number: usize,
        slice: Slice,
        bytes: &[u8],
    ) -> Result<(), TrapKind> {
        let bytes = &bytes[..slice.bytes()];
        self.check_at(number, slice.address(), bytes.len(), Direction::Write)?;
        // SAFETY: as in `read_slice`.
        unsafe { copy_to(slice.address(), bytes) };
        Ok(())
    }
}
