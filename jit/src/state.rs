//! What compiled code and the machine share during a run.

use ebpfvm_spec::context::Direction;

/// A range of addresses. Lengths are kept apart for reading and writing: a read-only region has a
/// write length of 0.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Region {
    /// The first address.
    pub base: u64,
    /// Bytes from there that may be read.
    pub read_bytes: u64,
    /// Bytes from there that may be written.
    pub write_bytes: u64,
}

impl Region {
    /// The region of `bytes` bytes at `base`.
    pub const fn new(base: u64, bytes: u64, writable: bool) -> Region {
        Region { base, read_bytes: bytes, write_bytes: if writable { bytes } else { 0 } }
    }

    /// Whether the region has all of `bytes` bytes at `addr`; `bytes` is at least 1.
    #[inline(always)]
    pub const fn has(&self, addr: u64, bytes: u64, direction: Direction) -> bool {
        let len = match direction {
            Direction::Read => self.read_bytes,
            Direction::Write => self.write_bytes,
        };
        addr.wrapping_sub(self.base) < len.saturating_sub(bytes - 1)
    }

    /// How far an address is from the first.
    pub const fn offset(&self, addr: u64) -> u64 {
        addr.wrapping_sub(self.base)
    }
}

/// Frames that may be nested, the entry's with them (`MAX_CALL_FRAMES`).
pub const MAX_FRAMES: usize = 8;

/// From the frame of a function to that of one that it calls, in bytes (`MAX_BPF_STACK`).
pub const FRAME_BYTES: usize = 512;

/// The state of a run, as far as compiled code sees it. One thread uses it at a time.
#[derive(Debug)]
#[repr(C)]
pub struct State {
    /// What is left of the fuel; below zero when it is used up. Code whose fuel is counted has it in a
    /// register and writes it back when it calls the machine and when it ends.
    pub fuel: i64,
    /// Where the stack of the host was when the code was entered. Written by the code; the machine
    /// keeps it for the outer run when a helper calls back.
    pub unwind: u64,
    /// What `r10` is in the frame that is entered.
    pub frame_top: u64,
    /// Why the code came back: [`State::RETURNED`] and so on.
    pub stop: u32,
    /// Where the program is, in slots: set before the machine is called and when the run stops.
    pub pc: u32,
    /// The number of the helper that is called.
    pub site: u32,
    /// The CPU that the run is on, below the number of slots of per-CPU maps.
    pub cpu: u32,
    /// The number of a helper that is called by number.
    pub number: u64,
    /// A value on its way from or to the context.
    pub cell: u64,
    /// The context of the run: the address in `r1` at the start.
    pub context: u64,
    /// The packet or plain memory.
    pub window: Region,
    /// The region that [`Runtime::find`](crate::Runtime::find) found last.
    pub last: Region,
    /// Frames in use, less one: all ones when there is none.
    pub depth: u32,
    /// Size of each frame in use, the entry's first. Kept by code that checks or calls helpers.
    pub frame_bytes: [u32; MAX_FRAMES],
}

impl Default for State {
    /// A state without a frame.
    fn default() -> State {
        State {
            fuel: 0,
            unwind: 0,
            frame_top: 0,
            stop: State::RETURNED,
            pc: 0,
            site: 0,
            cpu: 0,
            number: 0,
            cell: 0,
            context: 0,
            window: Region::default(),
            last: Region::default(),
            depth: u32::MAX,
            frame_bytes: [0; MAX_FRAMES],
        }
    }
}

impl State {
    /// The program has returned.
    pub const RETURNED: u32 = 0;
    /// The machine said [`Answer::STOP`](crate::Answer::STOP) or found no memory.
    pub const STOPPED: u32 = 1;
    /// The fuel is used up.
    pub const OUT_OF_FUEL: u32 = 2;
    /// More than [`MAX_FRAMES`] frames.
    pub const CALL_DEPTH: u32 = 3;
    /// Control ran over the end.
    pub const FELL_OFF: u32 = 4;
}
