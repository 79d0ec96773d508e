//! The memory that a run may touch, and raw access to it.
//!
//! In checked mode every access is compared with the regions here: two compares for the usual
//! case (the current stack frame and the packet or plain memory), a third for the region hit last,
//! and a search otherwise. Values of maps are found by address arithmetic in the maps' slabs.

use crate::instance::Instance;
use crate::map::Slab;
use crate::run::Frame;
use crate::shown::Shown;
use crate::trap::NearRegion;
use ebpfvm_jit::State;
use ebpfvm_spec::context::Direction;
use std::mem::MaybeUninit;

pub(crate) use ebpfvm_jit::{FRAME_BYTES, MAX_FRAMES, Region as Range};

/// The stack of a run, aligned for every access.
#[repr(C, align(16))]
pub(crate) struct Stack {
    /// The frames of the program, the entry's at the end.
    pub(crate) memory: [MaybeUninit<u8>; FRAME_BYTES * MAX_FRAMES],
    /// What callers need back, the entry's first.
    pub(crate) callers: [MaybeUninit<Frame>; MAX_FRAMES],
}

impl Stack {
    /// A stack with nothing on it. Frames are set to zero as they are entered.
    #[inline(always)]
    pub(crate) const fn new() -> Stack {
        Stack {
            memory: [MaybeUninit::uninit(); FRAME_BYTES * MAX_FRAMES],
            callers: [MaybeUninit::uninit(); MAX_FRAMES],
        }
    }
}

fn near(range: &Range, name: impl Into<String>, addr: u64) -> NearRegion {
    NearRegion {
        name: name.into(),
        bytes: range.read_bytes,
        offset: addr.wrapping_sub(range.base) as i64,
        writable: range.write_bytes != 0,
    }
}

/// Frames of a run that a program entered from them cannot reach.
pub(crate) struct FramesAside {
    stack: u64,
    bytes: [u32; MAX_FRAMES],
    depth: u32,
}

/// Memory that a run has until it ends.
struct Lent {
    range: Range,
    name: &'static str,
}

/// What a run may touch.
#[derive(Default)]
pub(crate) struct Regions {
    /// What compiled code sees: the packet with its metadata or the plain memory, the region found
    /// last by the search, and the frames in use. A frame may be smaller than its place: what the
    /// function cannot reach is not set to zero and must not be seen through other pointers.
    pub(crate) state: State,
    /// The current stack frame; empty while compiled code runs, which knows it.
    frame: Range,
    /// The lowest address of the stack; frames are filled from the top.
    stack: u64,
    /// The program's view of the context: loads and stores in it are translated.
    pub(crate) context: Range,
    /// The context as memory, where it is laid out as the program sees it.
    plain_context: Range,
    /// Memory that helpers gave to the program and take back: ring-buffer records.
    records: Vec<Range>,
    /// Memory that the program has until the run ends: what contexts and helpers show to it.
    lent: Vec<Lent>,
    /// Values of maps that the program found in other maps.
    inner: Vec<Slab>,
}

impl Regions {
    /// Takes everything back that a run had.
    pub(crate) fn clear(&mut self) {
        let Regions { state, frame, stack: _, context, plain_context, records, lent, inner } = self;
        (state.window, state.last, state.depth) = (Range::default(), Range::default(), u32::MAX);
        (*frame, *context, *plain_context) = (Range::default(), Range::default(), Range::default());
        records.clear();
        lent.clear();
        inner.clear();
    }

    /// Gives the context to functions and helpers as memory.
    pub(crate) fn open_context(&mut self, writable: bool) {
        let Range { base, read_bytes, .. } = self.context;
        self.plain_context = Range::new(base, read_bytes, writable);
    }

    /// Sets the lowest address of the stack, a [`Stack`].
    pub(crate) fn set_stack(&mut self, stack: u64) {
        self.stack = stack;
        self.state.depth = u32::MAX;
    }

    /// Enters a frame of this size for compiled code, which knows its own frame.
    ///
    /// # Panics
    /// If all frames are in use.
    #[inline]
    pub(crate) fn push_native_frame(&mut self, bytes: u32) {
        let depth = self.state.depth.wrapping_add(1);
        self.state.depth = depth;
        self.state.frame_bytes[depth as usize] = bytes;
        self.state.frame_top = self.frame_top(depth as usize);
        self.state.last = Range::default();
        self.frame = Range::default();
    }

    /// Leaves a frame that a helper has entered, for compiled code.
    pub(crate) fn pop_native_frame(&mut self) {
        self.state.depth = self.state.depth.wrapping_sub(1);
        self.state.last = Range::default();
    }

    /// Has the current frame found by searching only, for compiled code.
    pub(crate) fn forget_frame(&mut self) {
        self.frame = Range::default();
    }

    /// Number of frames in use.
    pub(crate) fn frames(&self) -> usize {
        self.state.depth.wrapping_add(1) as usize
    }

    /// The address after a frame's last byte: what `r10` holds in it.
    fn frame_top(&self, index: usize) -> u64 {
        self.stack + ((MAX_FRAMES - index) * FRAME_BYTES) as u64
    }

    fn frame_range(&self, index: usize) -> Range {
        let bytes = u64::from(self.state.frame_bytes[index]);
        Range::new(self.frame_top(index) - bytes, bytes, true)
    }

    /// Enters a frame of this size; returns the address after its last byte.
    ///
    /// # Panics
    /// If all frames are in use.
    pub(crate) fn push_frame(&mut self, bytes: u32) -> u64 {
        self.state.depth = self.state.depth.wrapping_add(1);
        self.state.frame_bytes[self.state.depth as usize] = bytes;
        self.frame_changed()
    }

    /// Leaves the current frame; returns the address after the last byte of the one before, or 0
    /// after the entry's.
    pub(crate) fn pop_frame(&mut self) -> u64 {
        self.state.depth = self.state.depth.wrapping_sub(1);
        self.frame_changed()
    }

    fn frame_changed(&mut self) -> u64 {
        // The region found last may have been a frame that is gone.
        self.state.last = Range::default();
        let Some(index) = self.frames().checked_sub(1) else { return 0 };
        self.frame = self.frame_range(index);
        self.frame_top(index)
    }

    /// Replaces the packet or plain memory, after a helper has changed it.
    pub(crate) fn set_window(&mut self, window: Range) {
        self.state.window = window;
    }

    /// Gives the values of a map to the program.
    pub(crate) fn add_slabs(&mut self, slabs: &[Slab]) {
        self.inner.extend_from_slice(slabs);
    }

    /// Puts the frames aside for a program with a stack of its own.
    pub(crate) fn put_frames_aside(&mut self) -> FramesAside {
        let aside = FramesAside {
            stack: self.stack,
            bytes: self.state.frame_bytes,
            depth: self.state.depth,
        };
        self.state.depth = u32::MAX;
        aside
    }

    /// Takes frames back that were put aside.
    pub(crate) fn take_frames_back(&mut self, aside: FramesAside) {
        self.stack = aside.stack;
        (self.state.frame_bytes, self.state.depth) = (aside.bytes, aside.depth);
        self.frame_changed();
    }

    /// Gives memory to the program.
    pub(crate) fn grant(&mut self, base: u64, bytes: u64) {
        self.records.push(Range::new(base, bytes, true));
    }

    /// Gives memory to the program until the run ends; `name` is what messages call it.
    pub(crate) fn lend(&mut self, name: &'static str, base: u64, bytes: u64, writable: bool) {
        if !self.lent.iter().any(|lent| lent.range.base == base && lent.range.read_bytes == bytes) {
            self.lent.push(Lent { range: Range::new(base, bytes, writable), name });
        }
    }

    /// Gives to the program what a pointer shows.
    pub(crate) fn show(&mut self, shown: &Shown) {
        let (base, bytes) = (shown.address(), shown.len() as u64);
        self.lend(shown.pointee().name(), base, bytes, shown.is_writable());
    }

    /// Takes memory back; returns whether it was given at this address.
    pub(crate) fn revoke(&mut self, base: u64) -> bool {
        let found = self.records.iter().position(|r| r.base == base);
        if let Some(i) = found {
            self.records.swap_remove(i);
            self.state.last = Range::default();
        }
        found.is_some()
    }

    /// Whether a frame of the program's stack has all of `bytes` bytes at an address.
    pub(crate) fn is_on_stack(&self, addr: u64, bytes: u64) -> bool {
        let has = |i| self.frame_range(i).has(addr, bytes, Direction::Write);
        (0..self.frames()).any(has)
    }

    /// The addresses of memory that was given and not taken back.
    pub(crate) fn granted(&self) -> impl Iterator<Item = u64> {
        self.records.iter().map(|r| r.base)
    }

    /// Whether the access lies in the frame, the window or the region found last.
    #[inline(always)]
    pub(crate) fn hit(&self, addr: u64, bytes: u64, direction: Direction) -> bool {
        self.state.window.has(addr, bytes, direction)
            || self.frame.has(addr, bytes, direction)
            || self.state.last.has(addr, bytes, direction)
    }

    /// Address and length of the part of the window where a load of any size may start.
    #[inline(always)]
    pub(crate) fn any_load(&self) -> (u64, u64) {
        (self.state.window.base, self.state.window.read_bytes.saturating_sub(7))
    }

    /// Whether the access lies in any region; remembers where.
    pub(crate) fn find(
        &mut self,
        instance: &Instance,
        addr: u64,
        bytes: u64,
        direction: Direction,
    ) -> bool {
        if self.hit(addr, bytes, direction) {
            return true;
        }
        let found = self.search(instance, addr, bytes, direction);
        if let Some(range) = found {
            self.state.last = range;
        }
        found.is_some()
    }

    fn search(
        &self,
        instance: &Instance,
        addr: u64,
        bytes: u64,
        direction: Direction,
    ) -> Option<Range> {
        let frames = (0..self.frames()).map(|i| self.frame_range(i));
        frames
            .chain(self.records.iter().copied())
            .chain(self.lent.iter().map(|lent| lent.range))
            .chain([self.plain_context])
            .find(|range| range.has(addr, bytes, direction))
            .or_else(|| {
                let values = instance.slabs().iter().chain(&self.inner).filter_map(|slab| {
                    let (base, len) = slab.value_at(addr as usize, bytes as usize)?;
                    Some(Range::new(base as u64, len as u64, slab.writable))
                });
                values.into_iter().find(|range| range.has(addr, bytes, direction))
            })
    }

    /// The region closest to a refused address, for the message.
    pub(crate) fn nearest(&self, instance: &Instance, addr: u64) -> Option<NearRegion> {
        /// Farther away an address says nothing about the region that was meant.
        const REACH_BYTES: u64 = 64 * 1024;
        let mut all = Vec::new();
        for i in 0..self.frames() {
            let frame = self.frame_range(i);
            let name =
                if i + 1 == self.frames() { "stack frame" } else { "stack frame of a caller" };
            all.push(near(&frame, name, addr));
        }
        all.push(near(&self.state.window, instance.window_name(), addr));
        all.push(near(&self.context, "context", addr));
        all.extend(self.records.iter().map(|r| near(r, "ring-buffer record", addr)));
        all.extend(self.lent.iter().map(|lent| near(&lent.range, lent.name, addr)));
        for (map, slab) in instance.named_slabs() {
            let (base, span) = (slab.base as u64, (slab.stride * slab.count) as u64);
            let index = addr.wrapping_sub(base).checked_div(slab.stride as u64).unwrap_or(0);
            let index = if addr < base { 0 } else { index.min(slab.count as u64 - 1) };
            if span != 0 {
                let value = base + index * slab.stride as u64;
                let range = Range::new(value, slab.value_bytes as u64, slab.writable);
                all.push(near(&range, format!("value of map {map}"), addr));
            }
        }
        let distance = |near: &NearRegion| {
            let past = near.offset.saturating_sub_unsigned(near.bytes).max(0);
            if near.offset < 0 { near.offset.unsigned_abs() } else { past.unsigned_abs() }
        };
        all.into_iter()
            .filter(|near| near.bytes != 0 && distance(near) < REACH_BYTES)
            .min_by_key(distance)
    }
}

/// Copies bytes out of memory that the program may touch.
///
/// # Safety
/// `addr` is the address of `out.len()` bytes that are valid for reads: checked against
/// [`Regions`], or part of a program that the verifier accepted.
pub(crate) unsafe fn copy_from(addr: u64, out: &mut [u8]) {
    // SAFETY: the caller promises the source; the slice is what it says.
    unsafe { copy_bytes(addr, out.as_mut_ptr(), out.len()) }
}

/// Copies bytes out of memory that the program may touch; the usual sizes of keys and values without
/// a call.
///
/// # Safety
/// `addr` as for [`copy_from`], for `bytes` bytes; `out` is valid for writes of as many, and the
/// host's: they do not overlap.
#[inline]
pub(crate) unsafe fn copy_bytes(addr: u64, out: *mut u8, bytes: usize) {
    let from = addr as *const u8;
    // SAFETY: the caller's promise.
    unsafe {
        match bytes {
            4 => std::ptr::copy_nonoverlapping(from, out, 4),
            8 => std::ptr::copy_nonoverlapping(from, out, 8),
            _ => std::ptr::copy_nonoverlapping(from, out, bytes),
        }
    }
}

/// Copies bytes into memory that the program may touch.
///
/// # Safety
/// As [`copy_from`], for writes.
pub(crate) unsafe fn copy_to(addr: u64, bytes: &[u8]) {
    // SAFETY: as in `copy_from`.
    unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), addr as *mut u8, bytes.len()) }
}
