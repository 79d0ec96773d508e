//! Stacks by number: the same stack has the same number (`kernel/bpf/stackmap.c`).
//!
//! The number is the stack's hash, cut to the number of slots; a slot holds one stack. The host gives
//! the stacks, as no kernel or process is walked here.

use super::array::{existing, index_of};
use super::create::CreateError;
use super::hash_function::jhash2;
use super::kind::Shape;
use super::memory::{OutOfMemory, slots};
use super::{Cpu, MapOps, UpdateFlags};
use ebpfvm_spec::{Errno, MapDef, MapFlags};
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::{AcqRel, Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// `BPF_F_SKIP_FIELD_MASK`: the part of the flags that is the number of frames to leave out.
pub const SKIP_MASK: u64 = 0xff;
/// `BPF_F_USER_STACK`: the stack of the process, not of the kernel.
pub const USER_STACK: u64 = 1 << 8;
/// `BPF_F_FAST_STACK_CMP`: stacks with the same hash are taken to be the same.
pub const FAST_STACK_CMP: u64 = 1 << 9;
/// `BPF_F_REUSE_STACKID`: a stack takes the place of another one with the same number.
pub const REUSE_STACKID: u64 = 1 << 10;

/// `PERF_MAX_STACK_DEPTH`, the default of `kernel.perf_event_max_stack`: so many frames at most.
pub(crate) const MAX_FRAMES: usize = 127;

/// Size of an instruction's address.
const IP_BYTES: usize = 8;
/// Size of `struct bpf_stack_build_id`: a status of 4 bytes, a build id of 20, an offset of 8.
pub(crate) const BUILD_ID_FRAME_BYTES: usize = 32;
/// `BPF_STACK_BUILD_ID_VALID`: the build id of a file and an offset in it.
const BUILD_ID_VALID: u32 = 1;
/// `BPF_STACK_BUILD_ID_IP`: an address.
const BUILD_ID_IP: u32 = 2;

/// Where an instruction lies: in which file, and where in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FilePosition {
    /// The build id of the file.
    pub build_id: [u8; 20],
    /// The offset in the file in bytes.
    pub offset: u64,
}

/// A `stack_trace` map.
pub struct StackTrace {
    slots: Box<[Mutex<Option<Stack>>]>,
    /// How many stacks there is room for.
    free: AtomicU32,
    value_bytes: usize,
    frame_bytes: usize,
}

struct Stack {
    hash: u32,
    frames: Vec<u8>,
}

/// What the value of a definition must be: whole frames, and not too many.
///
/// # Errors
/// `EINVAL`
pub(super) fn check_frames(def: &MapDef) -> Result<(), CreateError> {
    let frame_bytes = frame_bytes(def) as u32;
    let most = frame_bytes * MAX_FRAMES as u32;
    if def.value_bytes.is_multiple_of(frame_bytes) && def.value_bytes <= most {
        return Ok(());
    }
    let expected = format!("a multiple of {frame_bytes}, at most {most} bytes");
    Err(CreateError::property(
        def,
        "value size",
        def.value_bytes.to_string(),
        expected,
        Errno::EINVAL,
    ))
}

fn frame_bytes(def: &MapDef) -> usize {
    if def.flags.has(MapFlags::STACK_BUILD_ID) { BUILD_ID_FRAME_BYTES } else { IP_BYTES }
}

impl StackTrace {
    pub(super) fn needed(shape: &Shape<'_>) -> Option<u64> {
        let MapDef { max_entries, value_bytes, .. } = *shape.def;
        let slot_bytes = size_of::<Mutex<Option<Stack>>>() as u64;
        let slots = u64::from(max_entries).next_power_of_two() * slot_bytes;
        Some(slots + u64::from(max_entries) * u64::from(value_bytes))
    }

    pub(super) fn build(shape: &Shape<'_>) -> Result<Box<dyn MapOps>, OutOfMemory> {
        let count = (shape.def.max_entries as usize).next_power_of_two();
        Ok(Box::new(StackTrace {
            slots: slots(count, || Mutex::new(None))?,
            free: AtomicU32::new(shape.def.max_entries),
            value_bytes: shape.def.value_bytes as usize,
            frame_bytes: frame_bytes(shape.def),
        }))
    }

    /// The number of a stack, which is kept (`bpf_get_stackid`). `ips` are the addresses of its
    /// instructions, the innermost first.
    ///
    /// # Errors
    /// `EINVAL` for unknown flags, `EFAULT` if no frame is left, `EEXIST` if another stack has the
    /// number, `ENOMEM` if the map has as many stacks as it may.
    pub fn store(&self, ips: &[u64], flags: u64) -> Result<u32, Errno> {
        self.store_with(ips, flags, |_| None)
    }

    /// As [`store`](StackTrace::store); in a map with `BPF_F_STACK_BUILD_ID`, the frames of a stack
    /// of the process ([`USER_STACK`]) are kept as `position` gives them, if it does.
    ///
    /// # Errors
    /// As [`store`](StackTrace::store).
    pub fn store_with(
        &self,
        ips: &[u64],
        flags: u64,
        position: impl Fn(u64) -> Option<FilePosition>,
    ) -> Result<u32, Errno> {
        if flags & !(SKIP_MASK | USER_STACK | FAST_STACK_CMP | REUSE_STACKID) != 0 {
            return Err(Errno::EINVAL);
        }
        let skip = (flags & SKIP_MASK) as usize;
        let deepest = (self.value_bytes / self.frame_bytes + skip).min(MAX_FRAMES);
        let ips = &ips[..ips.len().min(deepest)];
        let ips = ips.get(skip..).filter(|ips| !ips.is_empty()).ok_or(Errno::EFAULT)?;
        let hash = hash(ips);
        let id = hash & (self.slots.len() as u32 - 1);
        let mut slot = lock(&self.slots[id as usize]);
        let same_hash = slot.as_ref().filter(|stack| stack.hash == hash);
        if same_hash.is_some() && flags & FAST_STACK_CMP != 0 {
            return Ok(id);
        }
        let frames = match self.frame_bytes {
            IP_BYTES => ips.iter().flat_map(|ip| ip.to_ne_bytes()).collect::<Vec<u8>>(),
            _ if flags & USER_STACK == 0 => ips.iter().flat_map(|ip| frame(*ip, None)).collect(),
            _ => ips.iter().flat_map(|ip| frame(*ip, position(*ip))).collect(),
        };
        if same_hash.is_some_and(|stack| stack.frames == frames) {
            return Ok(id);
        }
        if slot.is_some() && flags & REUSE_STACKID == 0 {
            return Err(Errno::EEXIST);
        }
        // The kernel takes the room for the new stack before it gives that of the old one back.
        self.free
            .fetch_update(AcqRel, Relaxed, |free| free.checked_sub(1))
            .map_err(|_| Errno::ENOMEM)?;
        if slot.replace(Stack { hash, frames }).is_some() {
            self.free.fetch_add(1, AcqRel);
        }
        Ok(id)
    }

    /// The number of slots: numbers of stacks are below.
    pub fn slots(&self) -> u32 {
        self.slots.len() as u32
    }

    fn is_there(&self, id: u32) -> bool {
        self.slots.get(id as usize).is_some_and(|slot| lock(slot).is_some())
    }

    /// A stack as the host reads it, with zeros behind.
    fn value(&self, stack: &Stack) -> Vec<u8> {
        let mut value = stack.frames.clone();
        value.resize(self.value_bytes, 0);
        value
    }

    /// The slot of a key.
    fn slot(&self, key: &[u8]) -> Option<&Mutex<Option<Stack>>> {
        Some(&self.slots[existing(self.slots(), key)?])
    }
}

/// A `struct bpf_stack_build_id`.
pub(crate) fn frame(ip: u64, position: Option<FilePosition>) -> [u8; BUILD_ID_FRAME_BYTES] {
    let (status, build_id, offset) = match position {
        Some(FilePosition { build_id, offset }) => (BUILD_ID_VALID, build_id, offset),
        None => (BUILD_ID_IP, [0; 20], ip),
    };
    let mut frame = [0; BUILD_ID_FRAME_BYTES];
    frame[..4].copy_from_slice(&status.to_ne_bytes());
    frame[4..24].copy_from_slice(&build_id);
    frame[24..].copy_from_slice(&offset.to_ne_bytes());
    frame
}

/// The kernel's hash of a stack, so that stacks have the numbers that they have there.
fn hash(ips: &[u64]) -> u32 {
    let words = ips.iter().flat_map(|ip| {
        let bytes = ip.to_ne_bytes();
        [0, 4].map(|at| u32::from_ne_bytes([0, 1, 2, 3].map(|i| bytes[at + i])))
    });
    jhash2(&words.collect::<Vec<u32>>())
}

fn lock(slot: &Mutex<Option<Stack>>) -> MutexGuard<'_, Option<Stack>> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Programs can remove stacks but not look them up.
impl MapOps for StackTrace {
    fn update(&self, _: &[u8], _: &[u8], _: UpdateFlags, _: Cpu) -> Result<(), Errno> {
        Err(Errno::EINVAL)
    }

    fn delete(&self, key: &[u8]) -> Result<(), Errno> {
        let slot = self.slot(key).ok_or(Errno::E2BIG)?;
        lock(slot).take().ok_or(Errno::ENOENT)?;
        self.free.fetch_add(1, AcqRel);
        Ok(())
    }

    fn next_key(&self, key: Option<&[u8]>) -> Result<Vec<u8>, Errno> {
        let after = key.and_then(index_of).filter(|id| self.is_there(*id));
        let mut ids = after.map_or(0, |id| id + 1)..self.slots();
        let next = ids.find(|id| self.is_there(*id)).ok_or(Errno::ENOENT)?;
        Ok(next.to_ne_bytes().to_vec())
    }

    fn keys(&self) -> Box<dyn Iterator<Item = Vec<u8>> + '_> {
        let ids = (0..self.slots()).filter(|id| self.is_there(*id));
        Box::new(ids.map(|id| id.to_ne_bytes().to_vec()))
    }

    fn read(&self, key: &[u8]) -> Result<Vec<u8>, Errno> {
        let slot = lock(self.slot(key).ok_or(Errno::ENOENT)?);
        slot.as_ref().map(|stack| self.value(stack)).ok_or(Errno::ENOENT)
    }

    fn take(&self, key: &[u8]) -> Result<Vec<u8>, Errno> {
        let slot = self.slot(key).ok_or(Errno::ENOENT)?;
        let stack = lock(slot).take().ok_or(Errno::ENOENT)?;
        self.free.fetch_add(1, AcqRel);
        Ok(self.value(&stack))
    }

    fn write(&self, _: &[u8], _: &[u8], _: UpdateFlags) -> Result<(), Errno> {
        Err(Errno::EINVAL)
    }
}
