//! Creating and accessing maps.

use crate::sys::{
    self, Command, Fd, MapBatchAttr, MapCreateAttr, MapElementAttr, address, address_mut,
};
use crate::{Btf, Kernel, object_name};
use ebpfvm_spec::{Errno, MapType};

/// Whether values are file descriptors (written) and ids (read) of 4 bytes.
const fn holds_fds(map_type: MapType) -> bool {
    matches!(
        map_type,
        MapType::ProgArray
            | MapType::PerfEventArray
            | MapType::CgroupArray
            | MapType::ArrayOfMaps
            | MapType::HashOfMaps
    )
}

/// The map to create: the parameters of `BPF_MAP_CREATE`.
#[derive(Clone, Debug)]
pub struct MapRequest<'a> {
    /// Map type.
    pub map_type: MapType,
    /// Size of a key.
    pub key_bytes: u32,
    /// Size of a value as programs see it; for a per-CPU map that of one CPU.
    pub value_bytes: u32,
    /// Most entries; for a ring buffer its size in bytes.
    pub max_entries: u32,
    /// `BPF_F_*` bits of `BPF_MAP_CREATE`.
    pub flags: u32,
    /// The name shown by tools; cut to 15 characters.
    pub name: &'a str,
    /// The pattern for the maps inside a map of maps.
    pub inner_map: Option<&'a Map>,
    /// NUMA node, used with its flag.
    pub numa_node: u32,
    /// Types of key and value.
    pub btf: Option<&'a Btf>,
    /// BTF id of the key's type; 0 for none.
    pub btf_key_type_id: u32,
    /// BTF id of the value's type; 0 for none.
    pub btf_value_type_id: u32,
    /// BTF id of the value's type in the kernel's own BTF, for [`MapType::StructOps`]; 0 for none.
    pub btf_vmlinux_value_type_id: u32,
    /// Further parameter of some types, such as a Bloom filter's number of hashes.
    pub extra: u64,
}

impl MapRequest<'_> {
    /// A request without flags, types and inner map.
    pub fn new(
        map_type: MapType,
        key_bytes: u32,
        value_bytes: u32,
        max_entries: u32,
    ) -> MapRequest<'static> {
        MapRequest {
            map_type,
            key_bytes,
            value_bytes,
            max_entries,
            flags: 0,
            name: "ebpfvm",
            inner_map: None,
            numa_node: 0,
            btf: None,
            btf_key_type_id: 0,
            btf_value_type_id: 0,
            btf_vmlinux_value_type_id: 0,
            extra: 0,
        }
    }
}

/// Why an access to a map failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MapError {
    /// The kernel's answer.
    #[error("the kernel refuses the map operation: {0}")]
    Kernel(#[from] Errno),
    /// The kernel's answer to a batch of which a part was done.
    #[error("the kernel refuses the map operation after {done} entries: {errno}")]
    Batch {
        /// The kernel's error number.
        errno: Errno,
        /// How many entries were done.
        done: usize,
    },
    /// A key or value has the wrong size.
    #[error("a {what} of this map has {expected} bytes, got {got}")]
    Size {
        /// `key` or `value`.
        what: &'static str,
        /// The right size.
        expected: usize,
        /// The size given.
        got: usize,
    },
}

impl MapError {
    /// The kernel's error number, if the kernel was asked.
    pub fn errno(&self) -> Option<Errno> {
        match *self {
            MapError::Kernel(errno) | MapError::Batch { errno, .. } => Some(errno),
            MapError::Size { .. } => None,
        }
    }
}

/// A key and its value.
pub type Entry = (Vec<u8>, Vec<u8>);

/// Where a batch of lookups goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchCursor(Vec<u8>);

/// The entries of one batch of lookups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// The entries.
    pub entries: Vec<Entry>,
    /// Where to go on; none at the end.
    pub next: Option<BatchCursor>,
}

/// Whether a batch of lookups removes what it returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Take {
    /// Entries stay.
    Copy,
    /// Entries are deleted.
    Remove,
}

/// A map. It is released when dropped, unless a program still uses it.
#[derive(Debug)]
pub struct Map {
    fd: Fd,
    map_type: MapType,
    key_bytes: usize,
    value_bytes: usize,
    max_entries: u32,
}

impl Kernel {
    /// Creates a map (`BPF_MAP_CREATE`).
    ///
    /// # Errors
    /// The kernel's error number.
    pub fn map_create(&self, request: &MapRequest<'_>) -> Result<Map, Errno> {
        let mut attr = MapCreateAttr {
            map_type: request.map_type as u32,
            key_bytes: request.key_bytes,
            value_bytes: request.value_bytes,
            max_entries: request.max_entries,
            flags: request.flags,
            inner_map_fd: request.inner_map.map_or(0, |map| map.fd() as u32),
            numa_node: request.numa_node,
            name: object_name(request.name),
            btf_fd: request.btf.map_or(0, |btf| btf.fd() as u32),
            btf_key_type_id: request.btf_key_type_id,
            btf_value_type_id: request.btf_value_type_id,
            btf_vmlinux_value_type_id: request.btf_vmlinux_value_type_id,
            extra: request.extra,
            ..MapCreateAttr::default()
        };
        // SAFETY: the attribute has no pointers.
        let fd = unsafe { sys::bpf_fd(Command::MapCreate, &mut attr) }?;
        let value_bytes = request.value_bytes as usize;
        // As the kernel's `bpf_map_value_size`.
        let value_bytes = if request.map_type.is_percpu() {
            value_bytes.next_multiple_of(8) * self.possible_cpus() as usize
        } else if holds_fds(request.map_type) {
            4
        } else {
            value_bytes
        };
        Ok(Map {
            fd,
            map_type: request.map_type,
            key_bytes: request.key_bytes as usize,
            value_bytes,
            max_entries: request.max_entries,
        })
    }
}

impl Map {
    /// The file descriptor, for instructions and outer maps.
    pub fn fd(&self) -> i32 {
        self.fd.number()
    }

    /// The type.
    pub fn map_type(&self) -> MapType {
        self.map_type
    }

    /// Most entries; for a ring buffer its size in bytes.
    pub fn max_entries(&self) -> u32 {
        self.max_entries
    }

    /// The size of a key.
    pub fn key_bytes(&self) -> usize {
        self.key_bytes
    }

    /// The size of a value in [`Map::lookup`] and [`Map::update`]: for a per-CPU map the values of
    /// all possible CPUs, each rounded up to a multiple of 8.
    pub fn value_bytes(&self) -> usize {
        self.value_bytes
    }

    pub(crate) fn owned_fd(&self) -> &Fd {
        &self.fd
    }

    fn check(&self, what: &'static str, expected: usize, got: usize) -> Result<(), MapError> {
        if expected == got { Ok(()) } else { Err(MapError::Size { what, expected, got }) }
    }

    /// One call on a key and a value or next key of the right sizes, either of which may be none.
    fn element(
        &self,
        command: Command,
        key: Option<&[u8]>,
        value: Option<&mut [u8]>,
        flags: u64,
    ) -> Result<(), MapError> {
        if let Some(key) = key {
            self.check("key", self.key_bytes, key.len())?;
        }
        if let Some(value) = &value {
            match command {
                Command::MapNextKey => self.check("key", self.key_bytes, value.len())?,
                _ => self.check("value", self.value_bytes, value.len())?,
            }
        }
        let mut attr = MapElementAttr {
            map_fd: self.fd() as u32,
            key: key.map_or(0, address),
            value_or_next_key: value.map_or(0, address_mut),
            flags,
            ..MapElementAttr::default()
        };
        // SAFETY: key and value live through the call and have the sizes that the kernel uses for
        // this map, as checked above; the kernel writes values and next keys only, which are
        // borrowed mutably.
        unsafe { sys::bpf(command, &mut attr) }?;
        Ok(())
    }

    /// Copies the value of `key` into `value` (`BPF_MAP_LOOKUP_ELEM`). For a Bloom filter, `value`
    /// is what is looked for. Maps without keys take an empty one.
    ///
    /// # Errors
    /// [`MapError`]; `ENOENT` when there is no such entry.
    pub fn lookup_into(&self, key: &[u8], value: &mut [u8], flags: u64) -> Result<(), MapError> {
        self.element(Command::MapLookup, Some(key), Some(value), flags)
    }

    /// The value of `key`, or none.
    ///
    /// # Errors
    /// [`MapError`], except `ENOENT`.
    pub fn lookup(&self, key: &[u8]) -> Result<Option<Vec<u8>>, MapError> {
        let mut value = vec![0; self.value_bytes];
        present(self.lookup_into(key, &mut value, 0), value)
    }

    /// Sets the value of `key` (`BPF_MAP_UPDATE_ELEM`); `flags` are `BPF_ANY`, `BPF_NOEXIST`,
    /// `BPF_EXIST`, `BPF_F_LOCK`. Pushes for maps without keys.
    ///
    /// # Errors
    /// [`MapError`].
    pub fn update(&self, key: &[u8], value: &[u8], flags: u64) -> Result<(), MapError> {
        // The kernel only reads the value here; the copy keeps one path for all commands.
        self.element(Command::MapUpdate, Some(key), Some(&mut value.to_vec()), flags)
    }

    /// Removes `key` (`BPF_MAP_DELETE_ELEM`).
    ///
    /// # Errors
    /// [`MapError`]; `ENOENT` when there is no such entry.
    pub fn delete(&self, key: &[u8]) -> Result<(), MapError> {
        self.element(Command::MapDelete, Some(key), None, 0)
    }

    /// Removes `key` and returns its value (`BPF_MAP_LOOKUP_AND_DELETE_ELEM`), or none. Pops for
    /// maps without keys.
    ///
    /// # Errors
    /// [`MapError`], except `ENOENT`.
    pub fn lookup_and_delete(&self, key: &[u8]) -> Result<Option<Vec<u8>>, MapError> {
        let mut value = vec![0; self.value_bytes];
        let done = self.element(Command::MapLookupAndDelete, Some(key), Some(&mut value), 0);
        present(done, value)
    }

    /// The key after `key`, or the first one (`BPF_MAP_GET_NEXT_KEY`); none at the end.
    ///
    /// # Errors
    /// [`MapError`], except `ENOENT`.
    pub fn next_key(&self, key: Option<&[u8]>) -> Result<Option<Vec<u8>>, MapError> {
        let mut next = vec![0; self.key_bytes];
        present(self.element(Command::MapNextKey, key, Some(&mut next), 0), next)
    }

    /// All entries in the kernel's order. Entries that vanish meanwhile are left out.
    ///
    /// # Errors
    /// [`MapError`].
    pub fn entries(&self) -> Result<Vec<Entry>, MapError> {
        let mut entries = Vec::new();
        let mut next = self.next_key(None)?;
        while let Some(key) = next {
            next = self.next_key(Some(&key))?;
            if let Some(value) = self.lookup(&key)? {
                entries.push((key, value));
            }
        }
        Ok(entries)
    }

    /// Makes the map read-only for user space (`BPF_MAP_FREEZE`), so that the verifier may rely on
    /// the contents of a map that is read-only for programs.
    ///
    /// # Errors
    /// [`MapError`].
    pub fn freeze(&self) -> Result<(), MapError> {
        self.element(Command::MapFreeze, None, None, 0)
    }

    /// Up to `max` entries after `from`, or from the start (`BPF_MAP_LOOKUP_BATCH` and
    /// `BPF_MAP_LOOKUP_AND_DELETE_BATCH`).
    ///
    /// # Errors
    /// [`MapError`]; `ENOSPC` when `max` is less than a bucket of the hash table holds, `E2BIG` when
    /// keys or values of so many entries would take more than 1 GiB.
    pub fn lookup_batch(
        &self,
        from: Option<&BatchCursor>,
        max: u32,
        take: Take,
    ) -> Result<Batch, MapError> {
        const MAX_BATCH_BYTES: usize = 1 << 30;
        let room = |bytes: usize| bytes.checked_mul(max as usize).filter(|n| *n <= MAX_BATCH_BYTES);
        let (keys, values) =
            room(self.key_bytes).zip(room(self.value_bytes)).ok_or(Errno::E2BIG)?;
        let (mut keys, mut values) = (vec![0; keys], vec![0; values]);
        // Hash tables keep a bucket number here, others a key.
        let mut out_batch = vec![0; self.key_bytes.max(4)];
        if let Some(cursor) = from {
            self.check("cursor", out_batch.len(), cursor.0.len())?;
        }
        let mut attr = MapBatchAttr {
            in_batch: from.map_or(0, |cursor| address(&cursor.0)),
            out_batch: address_mut(&mut out_batch),
            keys: address_mut(&mut keys),
            values: address_mut(&mut values),
            count: max,
            map_fd: self.fd() as u32,
            ..MapBatchAttr::default()
        };
        let command = match take {
            Take::Copy => Command::MapLookupBatch,
            Take::Remove => Command::MapLookupAndDeleteBatch,
        };
        // SAFETY: all buffers live through the call; keys and values have room for `max` entries of
        // this map, both cursors for a key or a bucket number (that of the caller as checked above).
        let result = unsafe { sys::bpf(command, &mut attr) };
        let next = match result {
            Ok(_) => Some(BatchCursor(out_batch)),
            Err(Errno::ENOENT) => None,
            Err(errno) => return Err(errno.into()),
        };
        let chunk = |bytes: &[u8], i: usize, size: usize| bytes[i * size..(i + 1) * size].to_vec();
        let entries = (0..attr.count.min(max) as usize)
            .map(|i| (chunk(&keys, i, self.key_bytes), chunk(&values, i, self.value_bytes)))
            .collect();
        Ok(Batch { entries, next })
    }

    /// Sets many entries (`BPF_MAP_UPDATE_BATCH`).
    ///
    /// # Errors
    /// [`MapError::Batch`] tells how many were set.
    pub fn update_batch(&self, entries: &[Entry], element_flags: u64) -> Result<(), MapError> {
        let (mut keys, mut values) = (Vec::new(), Vec::new());
        for (key, value) in entries {
            self.check("key", self.key_bytes, key.len())?;
            self.check("value", self.value_bytes, value.len())?;
            keys.extend(key);
            values.extend(value);
        }
        self.change_batch(Command::MapUpdateBatch, &keys, &values, entries.len(), element_flags)
    }

    /// Removes many entries (`BPF_MAP_DELETE_BATCH`).
    ///
    /// # Errors
    /// [`MapError::Batch`] tells how many were removed.
    pub fn delete_batch(&self, keys: &[Vec<u8>]) -> Result<(), MapError> {
        for key in keys {
            self.check("key", self.key_bytes, key.len())?;
        }
        self.change_batch(Command::MapDeleteBatch, &keys.concat(), &[], keys.len(), 0)
    }

    /// A batch that the kernel only reads; the sizes of keys and values are checked by the callers.
    fn change_batch(
        &self,
        command: Command,
        keys: &[u8],
        values: &[u8],
        count: usize,
        element_flags: u64,
    ) -> Result<(), MapError> {
        let mut attr = MapBatchAttr {
            keys: address(keys),
            values: address(values),
            count: sys::length(count)?,
            map_fd: self.fd() as u32,
            element_flags,
            ..MapBatchAttr::default()
        };
        // SAFETY: keys and values live through the call, hold `count` elements each (values only
        // where the command has them) and are only read.
        match unsafe { sys::bpf(command, &mut attr) } {
            Ok(_) => Ok(()),
            Err(errno) => Err(MapError::Batch { errno, done: (attr.count as usize).min(count) }),
        }
    }
}

/// A value, if the operation that should bring it found it.
fn present(result: Result<(), MapError>, value: Vec<u8>) -> Result<Option<Vec<u8>>, MapError> {
    match result {
        Ok(()) => Ok(Some(value)),
        Err(MapError::Kernel(Errno::ENOENT)) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel_or_skip;

    #[test]
    fn a_hash_map_keeps_what_it_is_given() {
        let Some(kernel) = kernel_or_skip("a_hash_map_keeps_what_it_is_given") else { return };
        let map = kernel.map_create(&MapRequest::new(MapType::Hash, 4, 8, 2)).unwrap();
        assert_eq!(map.lookup(&[1; 4]).unwrap(), None);
        map.update(&[1; 4], &[2; 8], 0).unwrap();
        map.update(&[3; 4], &[4; 8], 0).unwrap();
        assert_eq!(map.update(&[5; 4], &[6; 8], 0).unwrap_err().errno(), Some(Errno::E2BIG));
        assert_eq!(map.update(&[1; 4], &[6; 8], 1).unwrap_err().errno(), Some(Errno::EEXIST));
        assert_eq!(map.lookup(&[1; 4]).unwrap(), Some(vec![2; 8]));
        let mut entries = map.entries().unwrap();
        entries.sort();
        assert_eq!(entries, [(vec![1; 4], vec![2; 8]), (vec![3; 4], vec![4; 8])]);
        assert_eq!(map.lookup_and_delete(&[3; 4]).unwrap(), Some(vec![4; 8]));
        map.delete(&[1; 4]).unwrap();
        assert_eq!(map.delete(&[1; 4]).unwrap_err().errno(), Some(Errno::ENOENT));
        assert_eq!(map.next_key(None).unwrap(), None);
        let error = map.update(&[1; 3], &[0; 8], 0).unwrap_err();
        assert_eq!(error.to_string(), "a key of this map has 4 bytes, got 3");
        let error = map.update(&[1; 4], &[0; 9], 0).unwrap_err();
        assert_eq!(error.to_string(), "a value of this map has 8 bytes, got 9");
    }

    #[test]
    fn batches_bring_everything_once() {
        let Some(kernel) = kernel_or_skip("batches_bring_everything_once") else { return };
        let map = kernel.map_create(&MapRequest::new(MapType::Hash, 4, 4, 1000)).unwrap();
        let all: Vec<Entry> =
            (0..500u32).map(|i| (i.to_ne_bytes().into(), (i * 3).to_ne_bytes().into())).collect();
        map.update_batch(&all, 0).unwrap();
        let (mut seen, mut cursor) = (Vec::new(), None);
        loop {
            let batch = map.lookup_batch(cursor.as_ref(), 64, Take::Copy).unwrap();
            seen.extend(batch.entries);
            cursor = batch.next;
            if cursor.is_none() {
                break;
            }
        }
        seen.sort();
        let mut expected = all.clone();
        expected.sort();
        assert_eq!(seen, expected);
        let keys: Vec<Vec<u8>> = all.into_iter().map(|(key, _)| key).collect();
        map.delete_batch(&keys[..100]).unwrap();
        let error = map.lookup_batch(None, u32::MAX, Take::Copy).unwrap_err();
        assert_eq!(error.errno(), Some(Errno::E2BIG));
        let rest = map.lookup_batch(None, 1000, Take::Remove).unwrap();
        assert_eq!((rest.entries.len(), rest.next), (400, None));
        assert_eq!(map.entries().unwrap(), []);
    }

    #[test]
    fn per_cpu_values_come_for_all_cpus() {
        let Some(kernel) = kernel_or_skip("per_cpu_values_come_for_all_cpus") else { return };
        let map = kernel.map_create(&MapRequest::new(MapType::PercpuArray, 4, 3, 1)).unwrap();
        assert_eq!(map.value_bytes(), 8 * kernel.possible_cpus() as usize);
        let value: Vec<u8> =
            (0..map.value_bytes()).map(|i| if i % 8 < 3 { 7 } else { 0 }).collect();
        map.update(&[0; 4], &value, 0).unwrap();
        assert_eq!(map.lookup(&[0; 4]).unwrap(), Some(value));
    }

    #[test]
    fn queues_and_bloom_filters_have_no_keys() {
        let Some(kernel) = kernel_or_skip("queues_and_bloom_filters_have_no_keys") else { return };
        let queue = kernel.map_create(&MapRequest::new(MapType::Queue, 0, 4, 4)).unwrap();
        queue.update(&[], &[1; 4], 0).unwrap();
        queue.update(&[], &[2; 4], 0).unwrap();
        assert_eq!(queue.lookup(&[]).unwrap(), Some(vec![1; 4]));
        assert_eq!(queue.lookup_and_delete(&[]).unwrap(), Some(vec![1; 4]));
        assert_eq!(queue.lookup_and_delete(&[]).unwrap(), Some(vec![2; 4]));
        assert_eq!(queue.lookup_and_delete(&[]).unwrap(), None);
        let mut request = MapRequest::new(MapType::BloomFilter, 0, 4, 100);
        request.extra = 3;
        let bloom = kernel.map_create(&request).unwrap();
        bloom.update(&[], &[9; 4], 0).unwrap();
        bloom.lookup_into(&[], &mut [9; 4], 0).unwrap();
        let error = bloom.lookup_into(&[], &mut [8; 4], 0).unwrap_err();
        assert_eq!(error.errno(), Some(Errno::ENOENT));
    }

    #[test]
    fn maps_nest_and_freeze() {
        let Some(kernel) = kernel_or_skip("maps_nest_and_freeze") else { return };
        let inner = kernel.map_create(&MapRequest::new(MapType::Array, 4, 4, 1)).unwrap();
        let mut request = MapRequest::new(MapType::ArrayOfMaps, 4, 4, 2);
        request.inner_map = Some(&inner);
        let outer = kernel.map_create(&request).unwrap();
        outer.update(&[0; 4], &inner.fd().to_ne_bytes(), 0).unwrap();
        assert!(outer.lookup(&[0; 4]).unwrap().is_some_and(|id| id != [0; 4]));
        inner.freeze().unwrap();
        let error = inner.update(&[0; 4], &[1; 4], 0).unwrap_err();
        assert_eq!(error.errno(), Some(Errno::EPERM));
    }
}
