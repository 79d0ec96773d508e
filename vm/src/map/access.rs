//! What programs and the host do with a map.

use super::{Cpu, LookupFlags, Map, MapOps, MapRef, OnFree, Slab, UpdateFlags};
use crate::socket::Socket;
use ebpfvm_spec::{Errno, MapDef, MapFlags};
use std::any::Any;
use std::fmt;
use std::ops::ControlFlow;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::Ordering::{AcqRel, Acquire};

/// Why the host's access to a map failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MapError {
    /// The key has the wrong size.
    #[error("map '{map}': {operation}: the key has {got} bytes, expected {expected}")]
    KeySize {
        /// Name of the map.
        map: String,
        /// What was tried.
        operation: &'static str,
        /// Bytes given.
        got: usize,
        /// Bytes of the map's keys.
        expected: usize,
    },
    /// The value has the wrong size.
    #[error("map '{map}': {operation}: the value has {got} bytes, expected {expected}")]
    ValueSize {
        /// Name of the map.
        map: String,
        /// What was tried.
        operation: &'static str,
        /// Bytes given.
        got: usize,
        /// Bytes that the host reads and writes for a key of this map.
        expected: usize,
    },
    /// A part of a batch was done.
    #[error("map '{map}': {operation}: {errno} after {done} entries")]
    Batch {
        /// Name of the map.
        map: String,
        /// What was tried.
        operation: &'static str,
        /// What the system call would give.
        errno: Errno,
        /// How many entries were done.
        done: usize,
    },
    /// The map refuses it, as the kernel's would.
    #[error("map '{map}': {operation}: {errno}")]
    Refused {
        /// Name of the map.
        map: String,
        /// What was tried.
        operation: &'static str,
        /// What the system call would give.
        errno: Errno,
    },
}

impl MapError {
    /// The error number that the system call would give.
    pub fn errno(&self) -> Errno {
        match self {
            MapError::KeySize { .. } | MapError::ValueSize { .. } => Errno::EINVAL,
            MapError::Refused { errno, .. } | MapError::Batch { errno, .. } => *errno,
        }
    }
}

/// What the map is.
impl Map {
    /// A number that no other map of this process has.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// What the map was created from.
    pub fn def(&self) -> &MapDef {
        &self.def
    }

    /// The bytes of its storage, which grows of kinds without a capacity.
    pub fn bytes(&self) -> u64 {
        self.bytes + self.ops.grown_bytes()
    }

    /// The bytes of a value as the host reads and writes it: of per-CPU maps the values of all
    /// CPUs after one another, each rounded up to 8 bytes.
    pub fn host_value_bytes(&self) -> usize {
        self.host_value_bytes
    }

    /// Where values lie that programs may touch.
    pub fn slabs(&self) -> &[Slab] {
        self.ops.slabs()
    }

    /// Sets who takes notice when a special field with content goes with its value: a timer, a
    /// kernel pointer. False if that is set already or values have none.
    pub fn on_free(&self, notice: Box<OnFree>) -> bool {
        self.special.on_free(notice)
    }

    /// Whether an address is that of the spin lock in one of the map's values.
    pub(crate) fn has_lock_at(&self, address: usize) -> bool {
        let Some(offset) = self.special.lock() else { return false };
        let bytes = size_of::<u32>();
        let start = |slab: &Slab| Some(slab.value_at(address, bytes)?.0);
        let found = self.slabs().iter().find_map(start);
        let found = found.or_else(|| self.ops.grown_value_at(address, bytes));
        found.is_some_and(|start| start + offset == address)
    }

    /// The key of the element whose value lies at an address; none if no value does.
    pub(crate) fn key_of(&self, value: usize) -> Option<Vec<u8>> {
        self.ops.key_of(value)
    }

    /// Takes back a record that a run has left behind: [`MapOps::take_back`].
    pub(crate) fn take_back(&self, address: u64) {
        self.ops.take_back(address);
    }

    /// The storage as the type of a kind that has more operations than all have, such as a ring
    /// buffer.
    pub fn as_kind<T: MapOps>(&self) -> Option<&T> {
        let ops: &dyn Any = &*self.ops;
        ops.downcast_ref()
    }
}

/// The program side. Keys and values have the sizes of the definition; with others nothing is found
/// and updates give `EINVAL`.
impl Map {
    /// The address of the value of a key on a CPU, as `map_lookup_elem` returns it. It stays valid
    /// as long as the map.
    #[inline]
    pub fn lookup(&self, key: &[u8], cpu: Cpu) -> Option<NonNull<u8>> {
        if key.len() != self.def.key_bytes as usize {
            return None;
        }
        self.ops.lookup(key, cpu)
    }

    /// Creates or replaces a value, as `map_update_elem`.
    ///
    /// # Errors
    /// As the kernel's: `EEXIST`, `ENOENT`, `E2BIG` (full or index out of range), `EINVAL` (flags);
    /// `EPERM` where programs may only read.
    pub fn update(
        &self,
        key: &[u8],
        value: &[u8],
        flags: UpdateFlags,
        cpu: Cpu,
    ) -> Result<(), Errno> {
        self.program_writes()?;
        let sized = key.len() == self.def.key_bytes as usize
            && value.len() == self.def.value_bytes as usize;
        if sized { self.ops.update(key, value, flags, cpu) } else { Err(Errno::EINVAL) }
    }

    /// Removes a key, as `map_delete_elem`.
    ///
    /// # Errors
    /// `ENOENT` if it is not there, `EINVAL` where keys cannot be removed, `EPERM` where programs
    /// may only read.
    pub fn delete(&self, key: &[u8]) -> Result<(), Errno> {
        self.program_writes()?;
        let sized = key.len() == self.def.key_bytes as usize;
        if sized { self.ops.delete(key) } else { Err(Errno::EINVAL) }
    }

    /// Adds a value to a map without keys, as `map_push_elem`.
    ///
    /// # Errors
    /// `E2BIG` if the map is full, `EINVAL` (flags, size), `EPERM` where programs may only read,
    /// `ENOTSUPP` of other kinds.
    pub fn push(&self, value: &[u8], flags: UpdateFlags) -> Result<(), Errno> {
        self.program_writes()?;
        self.sized_value(value)?;
        self.ops.push(value, flags)
    }

    /// Moves the first value out of a map without keys, as `map_pop_elem`.
    ///
    /// # Errors
    /// `ENOENT` if there is none, with the value filled with zeros; else as [`Map::push`].
    pub fn pop(&self, value: &mut [u8]) -> Result<(), Errno> {
        self.program_writes()?;
        self.sized_value(value)?;
        self.ops.pop(value)
    }

    /// Copies the first value out of a map without keys, or asks a Bloom filter whether it has the
    /// value, as `map_peek_elem`.
    ///
    /// # Errors
    /// `ENOENT` if there is none (the value is filled with zeros) or the filter has it not, `EINVAL`
    /// (size), `ENOTSUPP` of other kinds.
    pub fn peek(&self, value: &mut [u8]) -> Result<(), Errno> {
        self.sized_value(value)?;
        self.ops.peek(value)
    }

    /// Shows the elements of an array or a hash table to `each`, as `for_each_map_elem`:
    /// [`MapOps::walk`]. Returns how many it has seen.
    pub fn walk(
        &self,
        cpu: Cpu,
        mut each: impl FnMut(&[u8], NonNull<u8>) -> ControlFlow<()>,
    ) -> u64 {
        let mut seen = 0;
        let _ = self.ops.walk(cpu, &mut |key, value| {
            seen += 1;
            each(key, value)
        });
        seen
    }

    /// Where `bpf_redirect_map` sends packets for an index: the number of a device, the length of a
    /// CPU's queue, or the queue of a socket. `None` for other kinds, too.
    pub fn target(&self, index: u32) -> Option<u32> {
        self.ops.target(index)
    }

    /// The map that a map of maps has for a key, as `map_lookup_elem` returns it. A run that uses it
    /// holds it until its end: the host may replace it meanwhile.
    pub fn inner(&self, key: &[u8]) -> Option<MapRef> {
        if key.len() == self.def.key_bytes as usize { self.ops.inner(key) } else { None }
    }

    /// The socket that a map of sockets has for a key, as `map_lookup_elem` returns it. A run that uses
    /// it holds it: the host may replace it meanwhile.
    pub fn socket(&self, key: &[u8]) -> Option<Arc<Socket>> {
        if key.len() == self.def.key_bytes as usize { self.ops.socket(key) } else { None }
    }

    /// Puts a socket into a map of sockets, as `sock_map_update`, `sock_hash_update` and
    /// `map_update_elem` do.
    ///
    /// # Errors
    /// As [`Map::set_socket`], but for the rights: `EPERM` where programs may only read.
    pub fn update_socket(
        &self,
        key: &[u8],
        socket: Arc<Socket>,
        flags: UpdateFlags,
    ) -> Result<(), Errno> {
        self.program_writes()?;
        let sized = key.len() == self.def.key_bytes as usize;
        if sized { self.ops.set_socket(key, socket, flags) } else { Err(Errno::EINVAL) }
    }

    fn sized_value(&self, value: &[u8]) -> Result<(), Errno> {
        if value.len() == self.def.value_bytes as usize { Ok(()) } else { Err(Errno::EINVAL) }
    }

    /// The verifier refuses programs that write to such maps; engines that run without a verdict
    /// rely on this.
    fn program_writes(&self) -> Result<(), Errno> {
        if self.def.flags.has(MapFlags::RDONLY_PROG) { Err(Errno::EPERM) } else { Ok(()) }
    }
}

/// The host side: what the `bpf()` system call does, with its errors.
impl Map {
    /// Copies the value of a key, [`host_value_bytes`](Map::host_value_bytes) long.
    ///
    /// # Errors
    /// `ENOENT` if the key is not there, `EPERM` if the host may only write.
    pub fn read(&self, key: &[u8]) -> Result<Vec<u8>, MapError> {
        self.read_with(key, LookupFlags::NONE)
    }

    /// As [`Map::read`], with flags.
    ///
    /// # Errors
    /// As [`Map::read`]; `EINVAL` for flags that there are not or the lock of values without one,
    /// `ETIMEDOUT` if the lock does not become free.
    pub fn read_with(&self, key: &[u8], flags: LookupFlags) -> Result<Vec<u8>, MapError> {
        const WHAT: &str = "read";
        self.known(WHAT, flags)?;
        self.host(WHAT, Some(key), None, Side::Read, |ops| match self.locks(flags.0)? {
            true => ops.read_locked(key),
            false => ops.read(key),
        })
    }

    /// Creates or replaces a value of [`host_value_bytes`](Map::host_value_bytes) bytes.
    ///
    /// # Errors
    /// `EEXIST`, `ENOENT`, `E2BIG` (full or index out of range), `EINVAL` (flags, such as
    /// `BPF_F_LOCK` of values without a lock), `EPERM` if the map is frozen or the host may only
    /// read, `ETIMEDOUT` if the lock does not become free.
    pub fn write(&self, key: &[u8], value: &[u8], flags: UpdateFlags) -> Result<(), MapError> {
        self.host("write", Some(key), Some(value), Side::Write, |ops| {
            // The system call asks before the kind does.
            self.locks(flags.0)?;
            ops.write(key, value, flags)
        })
    }

    /// Puts a map into a map of maps.
    ///
    /// # Errors
    /// `EINVAL` if it does not look like the inner map of the definition or this is no map of maps;
    /// else as [`Map::write`].
    pub fn set_inner(&self, key: &[u8], map: MapRef, flags: UpdateFlags) -> Result<(), MapError> {
        self.host("set inner map", Some(key), None, Side::Write, |ops| {
            ops.set_inner(key, map, flags)
        })
    }

    /// Puts a socket into a map of sockets.
    ///
    /// # Errors
    /// `EOPNOTSUPP` for a socket that `sockmap` and `sockhash` do not take; `ENOTSUPP`, `EINVAL` or
    /// `EBUSY` for one that `reuseport_sockarray` does not; `EINVAL` if this is no map of sockets;
    /// else as [`Map::write`].
    pub fn set_socket(
        &self,
        key: &[u8],
        socket: Arc<Socket>,
        flags: UpdateFlags,
    ) -> Result<(), MapError> {
        self.host("set socket", Some(key), None, Side::Write, |ops| {
            ops.set_socket(key, socket, flags)
        })
    }

    /// Removes a key.
    ///
    /// # Errors
    /// `ENOENT` if it is not there, `EINVAL` where keys cannot be removed, `EPERM` as for writing.
    pub fn remove(&self, key: &[u8]) -> Result<(), MapError> {
        self.host("remove", Some(key), None, Side::Write, |ops| ops.delete(key))
    }

    /// Copies the value of a key and removes the key.
    ///
    /// # Errors
    /// As [`Map::read`] and [`Map::remove`]; `ENOTSUPP` where the kernel has it not either.
    pub fn take(&self, key: &[u8]) -> Result<Vec<u8>, MapError> {
        self.take_with(key, LookupFlags::NONE)
    }

    /// As [`Map::take`], with flags.
    ///
    /// # Errors
    /// As [`Map::take`] and [`Map::read_with`].
    pub fn take_with(&self, key: &[u8], flags: LookupFlags) -> Result<Vec<u8>, MapError> {
        const WHAT: &str = "take";
        self.known(WHAT, flags)?;
        self.host(WHAT, Some(key), None, Side::Both, |ops| match self.locks(flags.0)? {
            true => ops.take_locked(key),
            false => ops.take(key),
        })
    }

    /// The key after `key` in the map's own order, or the first for none or an unknown key.
    ///
    /// # Errors
    /// `ENOENT` after the last, `EPERM` if the host may only write.
    pub fn next_key(&self, key: Option<&[u8]>) -> Result<Vec<u8>, MapError> {
        self.host("next key", key, None, Side::Read, |ops| ops.next_key(key))
    }

    /// Keys and values as the host reads them, in the map's own order. Entries that come or go
    /// meanwhile may be missing; the iterator ends even when writers never stop. Empty for kinds
    /// without keys.
    pub fn entries(&self) -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> + '_ {
        self.ops.keys().filter_map(|key| self.ops.read(&key).ok().map(|value| (key, value)))
    }

    /// The values of a map without keys, first out first. Empty for other kinds and for Bloom
    /// filters.
    pub fn values(&self) -> Vec<Vec<u8>> {
        self.ops.values()
    }

    /// Takes the right to write from the host for ever (`BPF_MAP_FREEZE`).
    ///
    /// # Errors
    /// `EPERM` if it has no such right: the map is frozen already or the host may only read;
    /// `ENOTSUPP` if its values have special fields.
    pub fn freeze(&self) -> Result<(), MapError> {
        if !self.special.is_none() {
            return Err(self.refused("freeze", Errno::ENOTSUPP));
        }
        let refused = self.def.flags.has(MapFlags::RDONLY) || self.frozen.swap(true, AcqRel);
        if refused { Err(self.refused("freeze", Errno::EPERM)) } else { Ok(()) }
    }

    /// Whether the host may not write any more.
    pub fn is_frozen(&self) -> bool {
        self.frozen.load(Acquire)
    }

    /// Refuses flags that no lookup knows.
    pub(super) fn known(
        &self,
        operation: &'static str,
        flags: LookupFlags,
    ) -> Result<(), MapError> {
        let known = flags.0 & !LookupFlags::F_LOCK.0 == 0;
        if known { Ok(()) } else { Err(self.refused(operation, Errno::EINVAL)) }
    }

    /// Whether flags ask for the value's lock.
    ///
    /// # Errors
    /// `EINVAL` if values have none.
    pub(super) fn locks(&self, flags: u64) -> Result<bool, Errno> {
        let asked = flags & UpdateFlags::F_LOCK.0 != 0;
        if asked && self.special.lock().is_none() { Err(Errno::EINVAL) } else { Ok(asked) }
    }

    /// Checks sizes.
    pub(super) fn sized(
        &self,
        operation: &'static str,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
    ) -> Result<(), MapError> {
        let map = || self.def.name.clone();
        let expected = self.def.key_bytes as usize;
        if let Some(key) = key
            && key.len() != expected
        {
            return Err(MapError::KeySize { map: map(), operation, got: key.len(), expected });
        }
        let expected = self.host_value_bytes;
        if let Some(value) = value
            && value.len() != expected
        {
            return Err(MapError::ValueSize { map: map(), operation, got: value.len(), expected });
        }
        Ok(())
    }

    /// Checks sizes and rights, then does it.
    pub(super) fn host<T>(
        &self,
        operation: &'static str,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        side: Side,
        act: impl FnOnce(&dyn MapOps) -> Result<T, Errno>,
    ) -> Result<T, MapError> {
        self.sized(operation, key, value)?;
        let flags = self.def.flags;
        let unreadable = side != Side::Write && flags.has(MapFlags::WRONLY);
        let unwritable = side != Side::Read && (flags.has(MapFlags::RDONLY) || self.is_frozen());
        if unreadable || unwritable {
            return Err(self.refused(operation, Errno::EPERM));
        }
        act(&*self.ops).map_err(|errno| self.refused(operation, errno))
    }

    pub(super) fn refused(&self, operation: &'static str, errno: Errno) -> MapError {
        MapError::Refused { map: self.def.name.clone(), operation, errno }
    }
}

/// The right that an operation of the host needs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Read,
    Write,
    Both,
}

impl fmt::Debug for Map {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Map")
            .field("id", &self.id)
            .field("name", &self.def.name)
            .field("kind", &self.def.map_type.name())
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}
