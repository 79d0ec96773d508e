//! Where packets can be redirected to: devices, CPUs, sockets (`kernel/bpf/devmap.c`, `cpumap.c`,
//! `net/xdp/xskmap.c`).
//!
//! Nothing is sent anywhere: the maps hold the targets, and a run records which one was chosen. Any
//! number but 0 is a device; programs to run at the target cannot be given.

use super::array::{existing, index_of, indices, next_index};
use super::hash::Hash;
use super::kind::Shape;
use super::memory::{Memory, OutOfMemory, WORD, load_word};
use super::{Cpu, MapOps, Slab, UpdateFlags};
use ebpfvm_spec::{Errno, MapDef, MapType};
use std::ptr::NonNull;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Release};

/// `CPUMAP` queues may be so long.
const MAX_CPU_QUEUE: u32 = 16384;

/// Stands beside the queue of a socket, which may be number 0.
const SOCKET: u32 = 1;

/// What the targets of a map are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Target {
    /// The number of a device.
    Device,
    /// The length of a CPU's queue.
    Cpu,
    /// The queue that a socket is bound to.
    Socket,
}

/// `devmap`, `cpumap` and `xskmap`.
pub struct Targets {
    /// A word for each slot, 0 if it is empty: what programs see in the first four bytes.
    slots: Memory,
    entries: u32,
    value_bytes: usize,
    target: Target,
    cpus: u32,
    slabs: [Slab; 1],
}

impl Targets {
    pub(super) fn needed(shape: &Shape<'_>) -> Option<u64> {
        Some(u64::from(shape.def.max_entries) * WORD as u64)
    }

    pub(super) fn build(shape: &Shape<'_>) -> Result<Box<dyn MapOps>, OutOfMemory> {
        let MapDef { map_type, max_entries, value_bytes, .. } = *shape.def;
        let slots = Memory::zeroed(max_entries as usize)?;
        let target = match map_type {
            MapType::Cpumap => Target::Cpu,
            MapType::Xskmap => Target::Socket,
            _ => Target::Device,
        };
        let slab = Slab {
            base: slots.address(),
            stride: WORD,
            value_bytes: value_bytes as usize,
            count: max_entries as usize,
            readable: true,
            writable: false,
        };
        Ok(Box::new(Targets {
            slots,
            entries: max_entries,
            value_bytes: value_bytes as usize,
            target,
            cpus: shape.cpus,
            slabs: [slab],
        }))
    }

    /// Puts a socket that is bound to a queue into a slot of an `xskmap`.
    ///
    /// # Errors
    /// `E2BIG` for an index out of range, `EINVAL` for other maps.
    pub fn set_socket(&self, index: u32, queue: u32) -> Result<(), Errno> {
        if self.target != Target::Socket {
            return Err(Errno::EINVAL);
        }
        let index = existing(self.entries, &index.to_ne_bytes()).ok_or(Errno::E2BIG)?;
        self.slots.words()[index].store(slot_word(queue, SOCKET), Release);
        Ok(())
    }

    /// What is in a slot.
    fn get(&self, key: &[u8]) -> Option<(usize, u64)> {
        let index = existing(self.entries, key)?;
        let word = self.slots.words()[index].load(Acquire);
        (word != 0).then_some((index, word))
    }

    /// What a value makes of a slot.
    fn slot_of(&self, index: usize, value: &[u8]) -> Result<u64, Errno> {
        let (number, program) = parts(value);
        match self.target {
            // No number is a program or a socket here.
            Target::Device if program > 0 => Err(Errno::EINVAL),
            Target::Cpu if number > MAX_CPU_QUEUE => Err(Errno::EOVERFLOW),
            Target::Cpu if index >= self.cpus as usize => Err(Errno::ENODEV),
            Target::Cpu if number != 0 && program > 0 => Err(Errno::ENOMEM),
            Target::Socket => Err(Errno::EBADF),
            Target::Device | Target::Cpu => Ok(slot_word(number, 0)),
        }
    }
}

/// The two halves of a value or slot, in the order of memory: the number, and behind it the file
/// descriptor of a program or what marks the slot.
fn halves(word: u64) -> (u32, u32) {
    let bytes = word.to_ne_bytes();
    let half = |at: usize| u32::from_ne_bytes([0, 1, 2, 3].map(|i| bytes[at + i]));
    (half(0), half(4))
}

/// The inverse of [`halves`].
fn slot_word(number: u32, mark: u32) -> u64 {
    let (number, mark) = (number.to_ne_bytes(), mark.to_ne_bytes());
    load_word([number, mark].as_flattened())
}

/// A value's number, and the file descriptor of a program behind it: none if it is not above 0.
fn parts(value: &[u8]) -> (u32, i32) {
    let (number, program) = halves(load_word(value));
    (number, program as i32)
}

impl MapOps for Targets {
    fn lookup(&self, key: &[u8], _cpu: Cpu) -> Option<NonNull<u8>> {
        if self.target == Target::Cpu {
            return None;
        }
        self.get(key).map(|(index, _)| self.slots.pointer(index))
    }

    fn target(&self, index: u32) -> Option<u32> {
        self.get(&index.to_ne_bytes()).map(|(_, word)| halves(word).0)
    }

    fn delete(&self, key: &[u8]) -> Result<(), Errno> {
        let index = existing(self.entries, key).ok_or(Errno::EINVAL)?;
        self.slots.words()[index].swap(0, AcqRel);
        Ok(())
    }

    fn next_key(&self, key: Option<&[u8]>) -> Result<Vec<u8>, Errno> {
        next_index(self.entries, key)
    }

    fn keys(&self) -> Box<dyn Iterator<Item = Vec<u8>> + '_> {
        Box::new(indices(self.entries))
    }

    fn read(&self, key: &[u8]) -> Result<Vec<u8>, Errno> {
        if self.target == Target::Socket {
            return Err(Errno::EOPNOTSUPP);
        }
        let (_, word) = self.get(key).ok_or(Errno::ENOENT)?;
        Ok(word.to_ne_bytes()[..self.value_bytes].to_vec())
    }

    fn write(&self, key: &[u8], value: &[u8], flags: UpdateFlags) -> Result<(), Errno> {
        flags.check()?;
        let index = existing(self.entries, key).ok_or(Errno::E2BIG)?;
        if flags == UpdateFlags::NOEXIST && self.target != Target::Socket {
            return Err(Errno::EEXIST);
        }
        let slot = self.slot_of(index, value)?;
        self.slots.words()[index].store(slot, Release);
        Ok(())
    }

    fn slabs(&self) -> &[Slab] {
        &self.slabs
    }
}

/// `devmap_hash`: devices by any number.
pub(super) struct DevmapHash {
    devices: Hash,
    slabs: [Slab; 1],
}

impl DevmapHash {
    pub(super) fn build(shape: &Shape<'_>) -> Result<Box<dyn MapOps>, OutOfMemory> {
        let devices = Hash::new(shape)?;
        let slabs = [Slab { writable: false, ..devices.slabs()[0] }];
        Ok(Box::new(DevmapHash { devices, slabs }))
    }
}

impl MapOps for DevmapHash {
    fn lookup(&self, key: &[u8], cpu: Cpu) -> Option<NonNull<u8>> {
        self.devices.lookup(key, cpu)
    }

    fn target(&self, index: u32) -> Option<u32> {
        index_of(self.devices.read(&index.to_ne_bytes()).ok()?.get(..4)?)
    }

    fn delete(&self, key: &[u8]) -> Result<(), Errno> {
        self.devices.delete(key)
    }

    fn next_key(&self, key: Option<&[u8]>) -> Result<Vec<u8>, Errno> {
        self.devices.next_key(key)
    }

    fn keys(&self) -> Box<dyn Iterator<Item = Vec<u8>> + '_> {
        self.devices.keys()
    }

    fn read(&self, key: &[u8]) -> Result<Vec<u8>, Errno> {
        self.devices.read(key)
    }

    fn write(&self, key: &[u8], value: &[u8], flags: UpdateFlags) -> Result<(), Errno> {
        flags.check()?;
        let (number, program) = parts(value);
        if number == 0 {
            return Err(Errno::EINVAL);
        }
        // The kernel looks for the key before it looks at the program, and lets EXIST create.
        if flags == UpdateFlags::NOEXIST && self.devices.read(key).is_ok() {
            return Err(Errno::EEXIST);
        }
        if program > 0 {
            return Err(Errno::EINVAL);
        }
        let flags = if flags == UpdateFlags::EXIST { UpdateFlags::ANY } else { flags };
        self.devices.write(key, &slot_word(number, 0).to_ne_bytes()[..value.len()], flags)
    }

    fn slabs(&self) -> &[Slab] {
        &self.slabs
    }
}
