//! Maps that exist: storage that programs and the host share.
//!
//! Each kind is one file that implements [`MapOps`]. The memory of values belongs to the map and
//! stays valid as long as the map does: elements are allocated with the map, recycled, and never
//! freed under a running program. Programs hold raw pointers into it, on any number of threads;
//! [`MapOps::slabs`] tells the checked engines which addresses those may be.
//!
//! To add a kind: a file with its storage, and a row in `kind.rs`; `rules.rs` says what a row can demand.

mod access;
pub mod arena;
mod array;
mod batch;
mod bloom_filter;
mod budget;
pub mod cgroup_array;
pub mod cgroup_storage;
mod create;
mod direct;
mod handles;
mod hash;
mod hash_function;
mod kind;
pub mod local_storage;
pub(crate) mod lock;
mod lpm_trie;
mod map_of_maps;
pub(crate) mod memory;
pub mod perf_event_array;
mod pool;
mod prog_array;
mod queue_stack;
pub mod ringbuf;
mod rules;
mod snapshot;
pub mod sockets;
mod special;
pub mod stack_trace;
pub mod struct_ops;
mod sync;
mod targets;
pub mod user_ringbuf;
mod values;

pub use access::MapError;
pub use arena::Arena;
pub use batch::{Batch, BatchCursor, BucketError, Entry, Take, Visit};
pub(crate) use budget::Budget;
pub use cgroup_array::CgroupArray;
pub use cgroup_storage::CgroupStorage;
pub use create::{CreateError, MapLimits};
pub(crate) use direct::{Direct, Elements};
pub(crate) use hash::Hash;
pub use local_storage::{LocalStorage, OwnerId};
pub use perf_event_array::PerfEventArray;
pub use prog_array::ProgArray;
pub use ringbuf::Ringbuf;
pub use snapshot::{Snapshot, SnapshotError};
pub use sockets::{SocketArray, SocketHash};
pub use special::{FreedField, OnFree};
pub use stack_trace::StackTrace;
pub use struct_ops::StructOps;
pub use targets::Targets;
pub use user_ringbuf::UserRingbuf;

use crate::socket::Socket;
use budget::Reservation;
use ebpfvm_spec::{Errno, MapDef};
use special::Special;
use std::any::Any;
use std::ops::ControlFlow;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// The CPU that a program runs on, as it sees it: the index of its slot in per-CPU maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Cpu(pub u32);

/// Whether an update may create or replace (`BPF_ANY`, `BPF_NOEXIST`, `BPF_EXIST`, `BPF_F_LOCK`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct UpdateFlags(pub u64);

impl UpdateFlags {
    /// Create or replace.
    pub const ANY: UpdateFlags = UpdateFlags(0);
    /// Create only.
    pub const NOEXIST: UpdateFlags = UpdateFlags(1);
    /// Replace only.
    pub const EXIST: UpdateFlags = UpdateFlags(2);
    /// Hold the value's spin lock while copying; combined with the others.
    pub const F_LOCK: UpdateFlags = UpdateFlags(4);

    /// Refuses unknown flags and, for kinds whose values have none, that of the lock.
    fn check(self) -> Result<(), Errno> {
        if self.0 > UpdateFlags::EXIST.0 { Err(Errno::EINVAL) } else { Ok(()) }
    }

    /// Whether to create or to replace, and whether to hold the value's lock.
    fn split_lock(self) -> Result<(UpdateFlags, bool), Errno> {
        let flags = UpdateFlags(self.0 & !UpdateFlags::F_LOCK.0);
        flags.check().map(|()| (flags, flags != self))
    }
}

/// How the host looks a value up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct LookupFlags(pub u64);

impl LookupFlags {
    /// Copies the value as it is.
    pub const NONE: LookupFlags = LookupFlags(0);
    /// Holds the value's spin lock while copying (`BPF_F_LOCK`).
    pub const F_LOCK: LookupFlags = LookupFlags(4);
}

/// What [`MapOps::walk`] shows elements to.
pub type EachElement<'a> = dyn FnMut(&[u8], NonNull<u8>) -> ControlFlow<()> + 'a;

/// A block of memory that holds values at equal distances.
#[derive(Clone, Copy, Debug)]
pub struct Slab {
    /// Address of the first value.
    pub base: usize,
    /// Distance from value to value in bytes.
    pub stride: usize,
    /// Size of a value that a program may touch, in bytes; at most the stride.
    pub value_bytes: usize,
    /// Number of values.
    pub count: usize,
    /// Whether programs may read.
    pub readable: bool,
    /// Whether programs may write.
    pub writable: bool,
}

impl Slab {
    /// Which value an address lies in.
    fn index_of(&self, addr: usize) -> Option<usize> {
        let index = addr.checked_sub(self.base)?.checked_div(self.stride)?;
        (index < self.count).then_some(index)
    }

    /// The first address and the size of the value that has all of `bytes` bytes at `addr`.
    #[inline]
    pub fn value_at(&self, addr: usize, bytes: usize) -> Option<(usize, usize)> {
        let offset = addr.wrapping_sub(self.base);
        if offset >= self.stride.wrapping_mul(self.count) {
            return None;
        }
        let inside = offset % self.stride;
        let start = addr - inside;
        (inside + bytes <= self.value_bytes).then_some((start, self.value_bytes))
    }
}

/// The operations of a map kind.
///
/// Keys and values that come in have the sizes of the definition; [`Map`] checks that. The program
/// side ([`lookup`](MapOps::lookup), [`update`](MapOps::update)) sees one CPU's value of a per-CPU
/// map; the host side ([`read`](MapOps::read), [`write`](MapOps::write), [`take`](MapOps::take))
/// sees the values of all CPUs after one another, each rounded up to 8 bytes, as the system call
/// does.
///
/// The defaults are those of a kind that does not have the operation (errors as in Linux 6.18).
pub trait MapOps: Any + Send + Sync {
    /// The address of the value of a key, as `map_lookup_elem` returns it.
    fn lookup(&self, key: &[u8], cpu: Cpu) -> Option<NonNull<u8>> {
        let _ = (key, cpu);
        None
    }

    /// Creates or replaces a value from a program.
    ///
    /// # Errors
    /// As the kernel's: `EEXIST`, `ENOENT`, `E2BIG` (full or index out of range), `EINVAL` (flags).
    fn update(&self, key: &[u8], value: &[u8], flags: UpdateFlags, cpu: Cpu) -> Result<(), Errno> {
        let _ = (key, value, flags, cpu);
        Err(Errno::ENOTSUPP)
    }

    /// Removes a key.
    ///
    /// # Errors
    /// `ENOENT` if it is not there, `EINVAL` where keys cannot be removed.
    fn delete(&self, key: &[u8]) -> Result<(), Errno> {
        let _ = key;
        Err(Errno::ENOTSUPP)
    }

    /// The key after `key` in the map's own order, or the first for none or an unknown key.
    ///
    /// # Errors
    /// `ENOENT` after the last.
    fn next_key(&self, key: Option<&[u8]>) -> Result<Vec<u8>, Errno> {
        let _ = key;
        Err(Errno::ENOTSUPP)
    }

    /// The keys that are there; those that come or go meanwhile may be missing. Ends even when
    /// writers never stop.
    fn keys(&self) -> Box<dyn Iterator<Item = Vec<u8>> + '_> {
        Box::new(std::iter::empty())
    }

    /// Shows elements to a program, one after another, until `each` breaks off: the key, and the
    /// address of the value on a CPU (`map_for_each_callback`). `each` may use the map. An element
    /// that is there throughout is shown once; one that is removed before its turn is not. Ends even
    /// when writers never stop.
    fn walk(&self, cpu: Cpu, each: &mut EachElement<'_>) -> ControlFlow<()> {
        let _ = (cpu, each);
        ControlFlow::Continue(())
    }

    /// Copies the value of a key to the host.
    ///
    /// # Errors
    /// `ENOENT` if the key is not there.
    fn read(&self, key: &[u8]) -> Result<Vec<u8>, Errno> {
        let _ = key;
        Err(Errno::ENOTSUPP)
    }

    /// Copies the value of a key to the host while its lock is held. Only asked of maps whose values
    /// have one, as the next.
    ///
    /// # Errors
    /// As [`MapOps::read`]; `ETIMEDOUT` if the lock does not become free.
    fn read_locked(&self, key: &[u8]) -> Result<Vec<u8>, Errno> {
        let _ = key;
        Err(Errno::EINVAL)
    }

    /// As [`MapOps::take`], copying the value while its lock is held.
    ///
    /// # Errors
    /// As [`MapOps::take`] and [`MapOps::read_locked`].
    fn take_locked(&self, key: &[u8]) -> Result<Vec<u8>, Errno> {
        let _ = key;
        Err(Errno::ENOTSUPP)
    }

    /// Creates or replaces a value from the host.
    ///
    /// # Errors
    /// As [`MapOps::update`].
    fn write(&self, key: &[u8], value: &[u8], flags: UpdateFlags) -> Result<(), Errno> {
        let _ = (key, value, flags);
        Err(Errno::ENOTSUPP)
    }

    /// Copies the value of a key to the host and removes the key.
    ///
    /// # Errors
    /// As [`MapOps::read`] and [`MapOps::delete`].
    fn take(&self, key: &[u8]) -> Result<Vec<u8>, Errno> {
        let _ = key;
        Err(Errno::ENOTSUPP)
    }

    /// Adds a value to a map without keys.
    ///
    /// # Errors
    /// `E2BIG` if the map is full, `EINVAL` (flags).
    fn push(&self, value: &[u8], flags: UpdateFlags) -> Result<(), Errno> {
        let _ = (value, flags);
        Err(Errno::ENOTSUPP)
    }

    /// Moves the first value out of a map without keys.
    ///
    /// # Errors
    /// `ENOENT` if there is none: then the value is filled with zeros.
    fn pop(&self, value: &mut [u8]) -> Result<(), Errno> {
        let _ = value;
        Err(Errno::ENOTSUPP)
    }

    /// Copies the first value out of a map without keys; of a Bloom filter, asks whether it has the
    /// value.
    ///
    /// # Errors
    /// `ENOENT` if there is none, as for [`pop`](MapOps::pop); of a Bloom filter, if it has not.
    fn peek(&self, value: &mut [u8]) -> Result<(), Errno> {
        let _ = value;
        Err(Errno::ENOTSUPP)
    }

    /// The values of a map without keys, first out first.
    fn values(&self) -> Vec<Vec<u8>> {
        Vec::new()
    }

    /// Where `bpf_redirect_map` sends packets for an index: the number of a device, the length of a
    /// CPU's queue, or the queue of a socket.
    fn target(&self, index: u32) -> Option<u32> {
        let _ = index;
        None
    }

    /// The map that a map of maps has for a key. Who uses it holds it.
    fn inner(&self, key: &[u8]) -> Option<MapRef> {
        let _ = key;
        None
    }

    /// Puts a map into a map of maps.
    ///
    /// # Errors
    /// `EINVAL` if it does not look like the inner map of the definition; else as
    /// [`MapOps::update`].
    fn set_inner(&self, key: &[u8], map: MapRef, flags: UpdateFlags) -> Result<(), Errno> {
        let _ = (key, map, flags);
        Err(Errno::EINVAL)
    }

    /// The socket that a map of sockets has for a key. Who uses it holds it.
    fn socket(&self, key: &[u8]) -> Option<Arc<Socket>> {
        let _ = key;
        None
    }

    /// Puts a socket into a map of sockets.
    ///
    /// # Errors
    /// What the kind says about sockets that it does not take; `EINVAL` of other kinds; else as
    /// [`MapOps::update`].
    fn set_socket(&self, key: &[u8], socket: Arc<Socket>, flags: UpdateFlags) -> Result<(), Errno> {
        let _ = (key, socket, flags);
        Err(Errno::EINVAL)
    }

    /// The key of the element whose value lies at an address. Of one that was removed it is the last
    /// key that it had.
    fn key_of(&self, value: usize) -> Option<Vec<u8>> {
        let _ = value;
        None
    }

    /// Takes back memory that a program got from this map and still holds when its run ends: a
    /// ring-buffer record that it reserved and neither submitted nor discarded. Other addresses
    /// are left alone.
    fn take_back(&self, address: u64) {
        let _ = address;
    }

    /// Copies, and maybe removes, the entries of a bucket of a hash table for a batch. Only asked of
    /// kinds whose batches go by buckets.
    ///
    /// # Errors
    /// [`BucketError`].
    fn bucket(&self, number: u32, visit: Visit) -> Result<Vec<Entry>, BucketError> {
        let _ = (number, visit);
        Err(BucketError::Beyond)
    }

    /// What the storage has allocated since it was made, in bytes: of kinds without a capacity.
    fn grown_bytes(&self) -> u64 {
        0
    }

    /// The first address of the value that has all of `bytes` bytes at an address, of kinds without
    /// a capacity.
    fn grown_value_at(&self, address: usize, bytes: usize) -> Option<usize> {
        let _ = (address, bytes);
        None
    }

    /// Where values lie that programs may touch. Those of kinds without a capacity are not among
    /// them: whoever gets the address of one knows its size.
    fn slabs(&self) -> &[Slab] {
        &[]
    }
}

/// A map: its definition and its storage.
pub struct Map {
    id: u32,
    def: MapDef,
    /// What the storage allocated when it was made.
    bytes: u64,
    /// Size of a value as the host reads and writes it.
    host_value_bytes: usize,
    /// The host may not write any more.
    frozen: AtomicBool,
    special: Arc<Special>,
    ops: Box<dyn MapOps>,
    /// Given back when the map ends.
    _reservation: Option<Reservation>,
}

/// How the host and programs hold a map.
pub type MapRef = Arc<Map>;
