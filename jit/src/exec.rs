//! Memory that holds code: written, sealed, entered.
//!
//! Invariant: a page is never writable and executable at once, and has code of one program at most.
//! Before and after its pages there are some that cannot be accessed. Pages are as large as the
//! smallest that the processor has.

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
    use std::sync::{Mutex, PoisonError};

    /// Smallest page of the processor, in bytes.
    const PAGE_BYTES: usize = 4096;

    type Entry = unsafe extern "C" fn(u64, u64, u64, u64, u64, *mut State) -> u64;

    /// Pages that are made at once for programs that need one.
    const STOCK: usize = 8;

    /// Programs of up to so many pages have some that are used again.
    const LARGEST: usize = 16;

    /// Runs of a length beyond so many are kept without their memory.
    const KEPT: usize = 64;

    /// What is after the code: a trap, for those who jump there.
    const TRAP: u8 = 0xcc;

    /// Addresses of pages in a row that are writable and nobody's: of one page, of two, and so on.
    /// Mapping, touching and unmapping them would take longer than compiling programs that fit in.
    static FREE: Mutex<[Vec<usize>; LARGEST]> = Mutex::new([const { Vec::new() }; LARGEST]);

    /// Code between two pages that cannot be accessed.
    #[derive(Debug)]
    pub(super) struct Code {
        pages: Pages,
        /// Length of the code.
        bytes: usize,
    }

    /// Pages of this owner alone.
    #[derive(Debug)]
    struct Pages {
        start: NonNull<u8>,
        bytes: usize,
    }

    // SAFETY: nobody writes to the memory after it is made, and it is given back when it is dropped.
    unsafe impl Send for Code {}
    // SAFETY: as above.
    unsafe impl Sync for Code {}

    impl Code {
        pub(super) fn new(code: &[u8]) -> io::Result<Code> {
            let bytes = code.len().max(1).next_multiple_of(PAGE_BYTES);
            let start = match bytes / PAGE_BYTES {
                pages @ ..=LARGEST => Pages::from_stock(pages)?,
                _ => Pages::map(1, bytes)?,
            };
            // Gives the pages back when it is dropped, here too.
            let pages = Pages { start, bytes };
            // SAFETY: the pages are ours and writable, and have so many bytes.
            unsafe {
                let start = pages.start.as_ptr();
                start.copy_from_nonoverlapping(code.as_ptr(), code.len());
                start.add(code.len()).write_bytes(TRAP, bytes - code.len());
            }
            pages.protect(libc::PROT_READ | libc::PROT_EXEC)?;
            Ok(Code { pages, bytes: code.len() })
        }

        pub(super) fn range(&self) -> (usize, usize) {
            (self.pages.start.as_ptr() as usize, self.bytes)
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
                let entry = self.pages.start.as_ptr().add(offset as usize);
                let entry: Entry = std::mem::transmute::<*mut u8, Entry>(entry);
                entry(r1, r2, r3, r4, r5, state)
            }
        }
    }

    impl Pages {
        /// Maps runs of writable pages, with pages before and after each that cannot be accessed:
        /// the first byte of the first run.
        fn map(runs: usize, bytes: usize) -> io::Result<NonNull<u8>> {
            let outer = runs * (bytes + PAGE_BYTES) + PAGE_BYTES;
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
            // SAFETY: a new mapping at an address of the kernel's choice touches no memory.
            let whole = unsafe { libc::mmap(null_mut(), outer, libc::PROT_NONE, flags, -1, 0) };
            if whole == libc::MAP_FAILED {
                return Err(io::Error::last_os_error());
            }
            for run in 0..runs {
                let offset = PAGE_BYTES + run * (bytes + PAGE_BYTES);
                let access = libc::PROT_READ | libc::PROT_WRITE;
                // SAFETY: inside of the mapping, which nobody else has.
                if unsafe { libc::mprotect(whole.cast::<u8>().add(offset).cast(), bytes, access) }
                    != 0
                {
                    let error = io::Error::last_os_error();
                    // SAFETY: as above.
                    unsafe { libc::munmap(whole, outer) };
                    return Err(error);
                }
            }
            // SAFETY: inside of the mapping.
            let start = NonNull::new(unsafe { whole.cast::<u8>().add(PAGE_BYTES) });
            start.ok_or_else(|| io::ErrorKind::OutOfMemory.into())
        }

        /// So many writable pages in a row, at most [`LARGEST`].
        fn from_stock(pages: usize) -> io::Result<NonNull<u8>> {
            let mut free = FREE.lock().unwrap_or_else(PoisonError::into_inner);
            let free = &mut free[pages - 1];
            if free.is_empty() {
                let (runs, bytes) = (if pages == 1 { STOCK } else { 1 }, pages * PAGE_BYTES);
                let start = Pages::map(runs, bytes)?.as_ptr() as usize;
                free.extend((0..runs).rev().map(|run| start + run * (bytes + PAGE_BYTES)));
                for page in &*free {
                    // SAFETY: a page that was mapped above. It is touched before it is asked for.
                    unsafe { (*page as *mut u8).write(TRAP) };
                }
            }
            let start = free.pop().and_then(|start| NonNull::new(start as *mut u8));
            start.ok_or_else(|| io::ErrorKind::OutOfMemory.into())
        }

        fn protect(&self, access: i32) -> io::Result<()> {
            // SAFETY: the pages are ours, and no reference to them is alive.
            match unsafe { libc::mprotect(self.start.as_ptr().cast(), self.bytes, access) } {
                0 => Ok(()),
                _ => Err(io::Error::last_os_error()),
            }
        }
    }

    impl Drop for Pages {
        fn drop(&mut self) {
            // A borrowed program cannot be dropped while it runs.
            let pages = self.bytes / PAGE_BYTES;
            if pages > LARGEST {
                let outer = self.bytes + 2 * PAGE_BYTES;
                // SAFETY: the mapping is ours.
                unsafe { libc::munmap(self.start.as_ptr().sub(PAGE_BYTES).cast(), outer) };
            } else if self.protect(libc::PROT_READ | libc::PROT_WRITE).is_ok() {
                // Pages that do not become writable are not used again.
                let mut free = FREE.lock().unwrap_or_else(PoisonError::into_inner);
                let free = &mut free[pages - 1];
                if free.len() >= KEPT {
                    let start = self.start.as_ptr().cast();
                    // SAFETY: the pages are ours. They are zeros when they are touched again; if the
                    // host refuses, they are as they were.
                    unsafe { libc::madvise(start, self.bytes, libc::MADV_DONTNEED) };
                }
                free.push(self.start.as_ptr() as usize);
            }
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

#[cfg(all(test, target_arch = "x86_64", target_os = "linux"))]
mod tests {
    use super::*;
    use crate::native::new_state;

    /// `mov eax, number; ret`, and traps to this length.
    fn program(number: u8, bytes: usize) -> Program {
        let mut code = vec![0xb8, number, 0, 0, 0, 0xc3];
        code.resize(bytes, 0xcc);
        let emitted = Emitted {
            code,
            entry: 0,
            functions: vec![Some(0)],
            extents: Vec::new(),
            calls_helpers: false,
            map: Vec::new(),
        };
        Program::load(&emitted).expect("memory for code")
    }

    fn run(program: &Program) -> u64 {
        // SAFETY: the code above needs nothing.
        unsafe { program.enter(&mut new_state(), [0; 5]) }
    }

    /// What the host says of the page at an address.
    fn access(address: usize) -> String {
        let maps = std::fs::read_to_string("/proc/self/maps").expect("maps");
        let of = |line: &str| {
            let (range, rest) = line.split_once(' ')?;
            let (start, end) = range.split_once('-')?;
            let number = |text| usize::from_str_radix(text, 16).ok();
            (number(start)?..number(end)?).contains(&address).then(|| rest[..4].to_owned())
        };
        maps.lines().find_map(of).expect("a mapping")
    }

    #[test]
    fn code_is_sealed_and_fenced() {
        // The second round has pages of the first.
        for bytes in [6, 4095, 4096, 4097, 65_536, 65_537, 100_000].repeat(2) {
            let program = program(7, bytes);
            let (start, length) = program.range();
            assert_eq!((run(&program), length), (7, bytes));
            let end = start + bytes.next_multiple_of(4096);
            assert_eq!([access(start), access(end - 1)], ["r-xp", "r-xp"]);
            assert_eq!([access(start - 1), access(end)], ["---p", "---p"]);
        }
    }

    #[test]
    fn pages_of_many_programs_are_used_again() {
        for _ in 0..3 {
            let programs: Vec<Program> = (0..100).map(|number| program(number, 5000)).collect();
            assert!((0..).zip(&programs).all(|(number, program)| run(program) == number));
        }
    }

    #[test]
    fn programs_come_and_go_on_many_threads() {
        std::thread::scope(|scope| {
            for thread in 0..4_u8 {
                scope.spawn(move || {
                    for round in 0..2000_usize {
                        let number = thread * 50 + (round % 50) as u8;
                        let bytes = [100_000, 10_000, 6, 6][(round % 100).min(3)];
                        let programs = [program(number, bytes), program(number + 1, bytes)];
                        let results = [run(&programs[0]), run(&programs[1])];
                        assert_eq!(results, [u64::from(number), u64::from(number) + 1]);
                    }
                });
            }
        });
    }
}
