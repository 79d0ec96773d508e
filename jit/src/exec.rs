//! Memory that holds code: written, sealed, entered.
//!
//! Invariant: a page is never writable and executable at once. Before and after the code there is a
//! page that cannot be accessed.

#![allow(unsafe_code)] // maps memory and jumps into it

use crate::emit::Emitted;
use crate::state::State;
use std::io;

/// A program whose code can be entered. It may be on many threads at once, each with a
/// [`State`] of its own.
#[derive(Debug)]
pub struct Program {
    code: sealed::Code,
    entry: u32,
    functions: Vec<Option<u32>>,
}

impl Program {
    /// Loads code.
    ///
    /// # Errors
    /// The host is not one that the code is for, or gives no memory for code.
    pub fn load(emitted: &Emitted) -> io::Result<Program> {
        Ok(Program {
            code: sealed::Code::new(&emitted.code)?,
            entry: emitted.entry,
            functions: emitted.functions.clone(),
        })
    }

    /// Where the code is: its first address and its length in bytes.
    pub fn range(&self) -> (usize, usize) {
        self.code.range()
    }

    /// Runs the program: what is in `r0` at its end, if [`State::stop`] says that it has returned.
    ///
    /// # Safety
    /// The code was emitted for this host and its features. `state` is valid for the time of the run
    /// and nobody else's, and has: the top of a stack of
    /// [`MAX_FRAMES`](crate::MAX_FRAMES) times [`FRAME_BYTES`](crate::FRAME_BYTES) bytes below
    /// [`State::frame_top`], aligned to 16; [`State::stop`] zero at first; [`State::depth`]
    /// below [`MAX_FRAMES`](crate::MAX_FRAMES). What the [`Link`](crate::Link) said when the program was
    /// compiled still holds. A program without checks is safe to run with these arguments.
    #[inline(always)]
    pub unsafe fn enter(&self, state: *mut State, args: [u64; 5]) -> u64 {
        // SAFETY: the caller's promise, and the offset is that of an entry.
        unsafe { self.code.enter(self.entry, state, args) }
    }

    /// Whether a function is one that helpers may call.
    pub fn has_entry(&self, number: usize) -> bool {
        self.functions.get(number).is_some_and(Option::is_some)
    }

    /// Runs a function of the program that helpers may call; none if it is not one.
    ///
    /// # Safety
    /// As [`Program::enter`]; [`State::depth`] and [`State::frame_top`] are those of the function's frame.
    pub unsafe fn enter_function(
        &self,
        number: usize,
        state: *mut State,
        args: [u64; 5],
    ) -> Option<u64> {
        let entry = self.functions.get(number).copied().flatten()?;
        // SAFETY: as above.
        Some(unsafe { self.code.enter(entry, state, args) })
    }
}

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod sealed {
    use super::State;
    use std::io;
    use std::ptr::{NonNull, null_mut};

    /// Smallest page of the processor, in bytes.
    const PAGE_BYTES: usize = 4096;

    type Entry = unsafe extern "C" fn(u64, u64, u64, u64, u64, *mut State) -> u64;

    /// Code between two pages that cannot be accessed.
    #[derive(Debug)]
    pub(super) struct Code {
        /// The first byte of the code.
        start: NonNull<u8>,
        bytes: usize,
    }

    // SAFETY: nobody writes to the memory after it is made, and it is given back when it is dropped.
    unsafe impl Send for Code {}
    // SAFETY: as above.
    unsafe impl Sync for Code {}

    impl Code {
        pub(super) fn new(code: &[u8]) -> io::Result<Code> {
            let inner = code.len().max(1).next_multiple_of(PAGE_BYTES);
            let outer = inner + 2 * PAGE_BYTES;
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
            // SAFETY: a new mapping at an address of the kernel's choice touches no memory.
            let whole = unsafe { libc::mmap(null_mut(), outer, libc::PROT_NONE, flags, -1, 0) };
            if whole == libc::MAP_FAILED {
                return Err(io::Error::last_os_error());
            }
            // SAFETY: inside of the mapping.
            let start = unsafe { whole.cast::<u8>().add(PAGE_BYTES) };
            let start = NonNull::new(start).ok_or(io::ErrorKind::OutOfMemory)?;
            // Unmaps when it is dropped, here too.
            let this = Code { start, bytes: code.len() };
            this.protect(libc::PROT_READ | libc::PROT_WRITE)?;
            // SAFETY: the pages are ours and writable, and have so many bytes.
            unsafe { start.as_ptr().copy_from_nonoverlapping(code.as_ptr(), code.len()) };
            this.protect(libc::PROT_READ | libc::PROT_EXEC)?;
            Ok(this)
        }

        fn inner_bytes(&self) -> usize {
            self.bytes.max(1).next_multiple_of(PAGE_BYTES)
        }

        fn protect(&self, protection: i32) -> io::Result<()> {
            // SAFETY: the pages are ours, and no reference to them is alive.
            match unsafe {
                libc::mprotect(self.start.as_ptr().cast(), self.inner_bytes(), protection)
            } {
                0 => Ok(()),
                _ => Err(io::Error::last_os_error()),
            }
        }

        pub(super) fn range(&self) -> (usize, usize) {
            (self.start.as_ptr() as usize, self.bytes)
        }

        /// Calls the code at an offset.
        ///
        /// # Safety
        /// There is an entry at the offset; the rest as [`Program::enter`](super::Program::enter).
        #[inline(always)]
        pub(super) unsafe fn enter(&self, offset: u32, state: *mut State, args: [u64; 5]) -> u64 {
            let [r1, r2, r3, r4, r5] = args;
            // SAFETY: the caller's promise; an entry has this type.
            unsafe {
                let entry = self.start.as_ptr().add(offset as usize);
                let entry: Entry = std::mem::transmute::<*mut u8, Entry>(entry);
                entry(r1, r2, r3, r4, r5, state)
            }
        }
    }

    impl Drop for Code {
        fn drop(&mut self) {
            let outer = self.inner_bytes() + 2 * PAGE_BYTES;
            // SAFETY: the mapping is ours, and a borrowed program cannot be dropped while it runs.
            unsafe { libc::munmap(self.start.as_ptr().sub(PAGE_BYTES).cast(), outer) };
        }
    }
}

#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
mod sealed {
    use super::State;
    use std::io;

    /// Code cannot be run here, so there is none.
    #[derive(Debug)]
    pub(super) enum Code {}

    impl Code {
        pub(super) fn new(_code: &[u8]) -> io::Result<Code> {
            Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "machine code is run on Linux on x86_64 only",
            ))
        }

        pub(super) fn range(&self) -> (usize, usize) {
            match *self {}
        }

        pub(super) unsafe fn enter(&self, _: u32, _: *mut State, _: [u64; 5]) -> u64 {
            match *self {}
        }
    }
}
