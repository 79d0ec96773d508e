//! Storage that belongs to something else: a value for each socket, inode, task or cgroup that a
//! program has asked one for (`kernel/bpf/bpf_local_storage.c`).
//!
//! The owner is a number that the host gives: it knows what its sockets and tasks are. User space
//! names an owner by a file descriptor in the key; here the key's four bytes are the owner's number.
//! A value keeps its address until it is replaced, deleted or forgotten, and its memory is that of
//! some value of this map as long as the map lives.

use super::array::index_of;
use super::kind::Shape;
use super::memory::OutOfMemory;
use super::pool::Pool;
use super::{Cpu, MapOps, UpdateFlags};
use ebpfvm_spec::{Errno, MapFlags};
use std::collections::BTreeMap;
use std::ptr::NonNull;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// What a value belongs to: a number of the host's choice, such as the cookie of a socket, the
/// number of an inode, a thread or a cgroup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OwnerId(pub u64);

/// `sk_storage`, `inode_storage`, `task_storage` and `cgrp_storage`.
pub struct LocalStorage {
    value_bytes: usize,
    /// A socket that comes out of another one gets a copy of its value (`BPF_F_CLONE`).
    clones: bool,
    inner: RwLock<Inner>,
}

struct Inner {
    pool: Pool,
    /// The value of each owner.
    owners: BTreeMap<OwnerId, usize>,
}

impl Inner {
    fn pointer(&self, owner: OwnerId) -> Option<NonNull<u8>> {
        let (values, at) = self.pool.at(*self.owners.get(&owner)?);
        values.pointer(at, Cpu(0))
    }

    /// Gives an owner a new value. One that it had stays as it is for who holds its address.
    fn put(&mut self, owner: OwnerId, value: Option<&[u8]>) -> Result<(), Errno> {
        let index = self.pool.allocate().map_err(|_| Errno::ENOMEM)?;
        if let Some(value) = value {
            let (values, at) = self.pool.at(index);
            values.write(at, Cpu(0), value);
        }
        if let Some(old) = self.owners.insert(owner, index) {
            self.pool.release(old);
        }
        Ok(())
    }
}

impl LocalStorage {
    /// Nothing at first: values come with their owners.
    pub(super) fn needed(_shape: &Shape<'_>) -> Option<u64> {
        Some(0)
    }

    pub(super) fn build(shape: &Shape<'_>) -> Result<Box<dyn MapOps>, OutOfMemory> {
        Ok(Box::new(LocalStorage {
            value_bytes: shape.def.value_bytes as usize,
            clones: shape.def.flags.has(MapFlags::CLONE),
            inner: RwLock::new(Inner { pool: Pool::of(shape), owners: BTreeMap::new() }),
        }))
    }

    /// The address of the value of an owner, as the `*_storage_get` helpers return it: so many
    /// [bytes](LocalStorage::value_bytes), which programs may read and write.
    pub fn get(&self, owner: OwnerId) -> Option<NonNull<u8>> {
        self.shared().pointer(owner)
    }

    /// The address of the value of an owner; if there is none, it is made and holds `initial`, or
    /// zeros (`BPF_LOCAL_STORAGE_GET_F_CREATE`).
    ///
    /// # Errors
    /// `ENOMEM` if the map has as much memory as it may, `EINVAL` if `initial` has another size than
    /// values of the map.
    pub fn get_or_create(
        &self,
        owner: OwnerId,
        initial: Option<&[u8]>,
    ) -> Result<NonNull<u8>, Errno> {
        if let Some(there) = self.get(owner) {
            return Ok(there);
        }
        if initial.is_some_and(|value| value.len() != self.value_bytes) {
            return Err(Errno::EINVAL);
        }
        let mut inner = self.exclusive();
        if !inner.owners.contains_key(&owner) {
            inner.put(owner, initial)?;
        }
        inner.pointer(owner).ok_or(Errno::ENOMEM)
    }

    /// Removes the value of an owner (the `*_storage_delete` helpers).
    ///
    /// # Errors
    /// `ENOENT` if it has none.
    pub fn delete(&self, owner: OwnerId) -> Result<(), Errno> {
        let mut inner = self.exclusive();
        let index = inner.owners.remove(&owner).ok_or(Errno::ENOENT)?;
        inner.pool.release(index);
        Ok(())
    }

    /// Says that an owner is gone, and its value with it, if it had one.
    pub fn forget_owner(&self, owner: OwnerId) {
        // It need not have had a value.
        let _ = self.delete(owner);
    }

    /// Gives a socket that came out of another one, such as an accepted one, a copy of its value, if
    /// the map says so (`BPF_F_CLONE`; `bpf_sk_storage_clone`).
    ///
    /// # Errors
    /// `ENOMEM` as [`get_or_create`](LocalStorage::get_or_create).
    pub fn inherit(&self, parent: OwnerId, child: OwnerId) -> Result<(), Errno> {
        let mut inner = self.exclusive();
        let Some(&index) = inner.owners.get(&parent).filter(|_| self.clones) else { return Ok(()) };
        let (values, at) = inner.pool.at(index);
        let value = values.read_all(at);
        inner.put(child, Some(&value))
    }

    /// Who has a value, in the order of the numbers.
    pub fn owners(&self) -> Vec<OwnerId> {
        self.shared().owners.keys().copied().collect()
    }

    /// A copy of the value of an owner.
    pub fn value(&self, owner: OwnerId) -> Option<Vec<u8>> {
        let inner = self.shared();
        let (values, at) = inner.pool.at(*inner.owners.get(&owner)?);
        Some(values.read_all(at))
    }

    /// Gives an owner a value from the host. A program that holds the address of the value before
    /// does not see it, but with `F_LOCK` (`bpf_local_storage_update`).
    ///
    /// # Errors
    /// `EEXIST`, `ENOENT`, `EINVAL` (flags, size), `ENOMEM`.
    pub fn set(&self, owner: OwnerId, value: &[u8], flags: UpdateFlags) -> Result<(), Errno> {
        let (flags, locked) = flags.split_lock()?;
        if value.len() != self.value_bytes {
            return Err(Errno::EINVAL);
        }
        let mut inner = self.exclusive();
        match (inner.owners.get(&owner), flags) {
            (Some(_), UpdateFlags::NOEXIST) => Err(Errno::EEXIST),
            (None, UpdateFlags::EXIST) => Err(Errno::ENOENT),
            (Some(index), _) if locked => {
                let (values, at) = inner.pool.at(*index);
                values.write_locked(at, value)
            }
            _ => inner.put(owner, Some(value)),
        }
    }

    /// The size of a value in bytes.
    pub fn value_bytes(&self) -> usize {
        self.value_bytes
    }

    fn shared(&self) -> RwLockReadGuard<'_, Inner> {
        self.inner.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn exclusive(&self) -> RwLockWriteGuard<'_, Inner> {
        self.inner.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The owner that a key names.
fn owner(key: &[u8]) -> Result<OwnerId, Errno> {
    index_of(key).map(|number| OwnerId(number.into())).ok_or(Errno::EINVAL)
}

/// Programs have helpers of their own for this kind. Its keys come in no order, as in the kernel;
/// those that a dump lists are the owners whose numbers a key can hold.
impl MapOps for LocalStorage {
    fn delete(&self, key: &[u8]) -> Result<(), Errno> {
        LocalStorage::delete(self, owner(key)?)
    }

    fn keys(&self) -> Box<dyn Iterator<Item = Vec<u8>> + '_> {
        let numbers = self.owners().into_iter().filter_map(|owner| u32::try_from(owner.0).ok());
        Box::new(numbers.map(|number| number.to_ne_bytes().to_vec()))
    }

    fn read(&self, key: &[u8]) -> Result<Vec<u8>, Errno> {
        self.value(owner(key)?).ok_or(Errno::ENOENT)
    }

    fn read_locked(&self, key: &[u8]) -> Result<Vec<u8>, Errno> {
        let inner = self.shared();
        let (values, at) = inner.pool.at(*inner.owners.get(&owner(key)?).ok_or(Errno::ENOENT)?);
        values.read_locked(at)
    }

    fn write(&self, key: &[u8], value: &[u8], flags: UpdateFlags) -> Result<(), Errno> {
        self.set(owner(key)?, value, flags)
    }

    fn grown_bytes(&self) -> u64 {
        self.shared().pool.bytes()
    }

    fn grown_value_at(&self, address: usize, bytes: usize) -> Option<usize> {
        self.shared().pool.value_at(address, bytes)
    }
}
