//! Creating and accessing maps.

mod batch;

pub use batch::{Batch, BatchCursor, Take};

use crate::sys::{self, Command, Fd, MapCreateAttr, MapElementAttr, address, address_mut};
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
        present(self.lookup_and_delete_into(key, &mut value, 0), value)
    }

    /// As [`Map::lookup_and_delete`], with flags, into `value`.
    ///
    /// # Errors
    /// [`MapError`]; `ENOENT` when there is no such entry.
    pub fn lookup_and_delete_into(
        &self,
        key: &[u8],
        value: &mut [u8],
        flags: u64,
    ) -> Result<(), MapError> {
        self.element(Command::MapLookupAndDelete, Some(key), Some(value), flags)
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
