//! Storage of a program that is attached to cgroups: a value for each cgroup, and for each attach
//! type if the key says so (`kernel/bpf/local_storage.c`).
//!
//! In the kernel values come with attaching a program and go with the cgroup. Here the first run for
//! a cgroup makes them, or the host; the host says when a cgroup is gone.

use super::kind::Shape;
use super::memory::OutOfMemory;
use super::pool::Pool;
use super::values::Lanes;
use super::{Cpu, MapOps, UpdateFlags};
use ebpfvm_spec::Errno;
use std::collections::BTreeMap;
use std::ptr::NonNull;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// Size of `struct bpf_cgroup_storage_key`: the number of a cgroup, an attach type, and four bytes
/// that mean nothing. Other keys are the number of a cgroup alone.
const KEY_WITH_ATTACH_TYPE: usize = 16;

/// `cgroup_storage` and `percpu_cgroup_storage`.
pub struct CgroupStorage {
    key_bytes: usize,
    lanes: Lanes,
    inner: RwLock<Inner>,
}

/// The number of a cgroup and an attach type, which is 0 where keys have none.
type Place = (u64, u32);

struct Inner {
    pool: Pool,
    places: BTreeMap<Place, Entry>,
    /// Places by age. User space gets to see the youngest first.
    ages: BTreeMap<u64, Place>,
    next_age: u64,
}

#[derive(Clone, Copy)]
struct Entry {
    value: usize,
    age: u64,
}

impl Inner {
    fn remove(&mut self, place: Place) -> bool {
        let Some(entry) = self.places.remove(&place) else { return false };
        self.ages.remove(&entry.age);
        self.pool.release(entry.value);
        true
    }
}

impl CgroupStorage {
    /// Nothing at first: values come with cgroups.
    pub(super) fn needed(_shape: &Shape<'_>) -> Option<u64> {
        Some(0)
    }

    pub(super) fn build(shape: &Shape<'_>) -> Result<Box<dyn MapOps>, OutOfMemory> {
        let pool = Pool::of(shape);
        let (places, ages) = (BTreeMap::new(), BTreeMap::new());
        Ok(Box::new(CgroupStorage {
            key_bytes: shape.def.key_bytes as usize,
            lanes: shape.lanes,
            inner: RwLock::new(Inner { pool, places, ages, next_age: 0 }),
        }))
    }

    /// The address of the value for a program of an attach type that runs for a cgroup, on a CPU, as
    /// `bpf_get_local_storage` returns it. It is made, with zeros, when there is none yet.
    ///
    /// # Errors
    /// `ENOMEM` if the map has as much memory as it may, `EINVAL` for a CPU that it does not have.
    pub fn get_or_create(
        &self,
        cgroup: u64,
        attach_type: u32,
        cpu: Cpu,
    ) -> Result<NonNull<u8>, Errno> {
        let place = self.place(cgroup, attach_type);
        let found = self.shared().places.get(&place).map(|entry| entry.value);
        let value = match found {
            Some(value) => value,
            None => self.create(place)?,
        };
        let inner = self.shared();
        // Another thread may have removed it meanwhile: its memory is still the map's.
        let (values, at) = inner.pool.at(value);
        values.pointer(at, cpu).ok_or(Errno::EINVAL)
    }

    /// Makes a value for a cgroup and attach type, unless there is one, as attaching a program does.
    ///
    /// # Errors
    /// `ENOMEM` if the map has as much memory as it may.
    pub fn attach(&self, cgroup: u64, attach_type: u32) -> Result<(), Errno> {
        self.create(self.place(cgroup, attach_type)).map(drop)
    }

    /// Says that a cgroup is gone, and its values with it.
    pub fn forget_cgroup(&self, cgroup: u64) {
        let mut inner = self.exclusive();
        let all = (cgroup, 0)..=(cgroup, u32::MAX);
        let places: Vec<Place> = inner.places.range(all).map(|(place, _)| *place).collect();
        for place in places {
            inner.remove(place);
        }
    }

    /// Gives the value's index.
    fn create(&self, place: Place) -> Result<usize, Errno> {
        let mut inner = self.exclusive();
        if let Some(there) = inner.places.get(&place) {
            return Ok(there.value);
        }
        let value = inner.pool.allocate().map_err(|_| Errno::ENOMEM)?;
        let age = inner.next_age;
        inner.next_age += 1;
        inner.places.insert(place, Entry { value, age });
        inner.ages.insert(age, place);
        Ok(value)
    }

    fn place(&self, cgroup: u64, attach_type: u32) -> Place {
        let has_attach_type = self.key_bytes == KEY_WITH_ATTACH_TYPE;
        (cgroup, if has_attach_type { attach_type } else { 0 })
    }

    fn place_of(&self, key: &[u8]) -> Option<Place> {
        let cgroup = u64::from_ne_bytes(*key.first_chunk()?);
        let attach_type = key.get(8..12).and_then(|bytes| bytes.first_chunk().copied());
        Some(self.place(cgroup, attach_type.map_or(0, u32::from_ne_bytes)))
    }

    fn key_of(&self, (cgroup, attach_type): Place) -> Vec<u8> {
        let mut key = cgroup.to_ne_bytes().to_vec();
        key.extend(attach_type.to_ne_bytes());
        key.resize(self.key_bytes.max(key.len()), 0);
        key.truncate(self.key_bytes);
        key
    }

    fn shared(&self) -> RwLockReadGuard<'_, Inner> {
        self.inner.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn exclusive(&self) -> RwLockWriteGuard<'_, Inner> {
        self.inner.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Programs have a helper of their own for this kind.
impl MapOps for CgroupStorage {
    fn delete(&self, _key: &[u8]) -> Result<(), Errno> {
        Err(Errno::EINVAL)
    }

    /// None for an unknown key, unlike other kinds.
    fn next_key(&self, key: Option<&[u8]>) -> Result<Vec<u8>, Errno> {
        let inner = self.shared();
        let older = match key {
            None => inner.ages.last_key_value(),
            Some(key) => {
                let place = self.place_of(key).ok_or(Errno::EINVAL)?;
                let age = inner.places.get(&place).ok_or(Errno::ENOENT)?.age;
                inner.ages.range(..age).next_back()
            }
        };
        older.map(|(_, place)| self.key_of(*place)).ok_or(Errno::ENOENT)
    }

    fn keys(&self) -> Box<dyn Iterator<Item = Vec<u8>> + '_> {
        let places: Vec<Place> = self.shared().ages.values().rev().copied().collect();
        Box::new(places.into_iter().map(|place| self.key_of(place)))
    }

    fn read(&self, key: &[u8]) -> Result<Vec<u8>, Errno> {
        let place = self.place_of(key).ok_or(Errno::EINVAL)?;
        let inner = self.shared();
        let (values, at) = inner.pool.at(inner.places.get(&place).ok_or(Errno::ENOENT)?.value);
        Ok(values.read_all(at))
    }

    fn read_locked(&self, key: &[u8]) -> Result<Vec<u8>, Errno> {
        let place = self.place_of(key).ok_or(Errno::EINVAL)?;
        let inner = self.shared();
        let (values, at) = inner.pool.at(inner.places.get(&place).ok_or(Errno::ENOENT)?.value);
        values.read_locked(at)
    }

    /// Replaces only. A program that holds the address of the value before does not see it, but of
    /// the values of CPUs (`bpf_percpu_cgroup_storage_update`).
    fn write(&self, key: &[u8], value: &[u8], flags: UpdateFlags) -> Result<(), Errno> {
        let (flags, locked) = flags.split_lock()?;
        if flags == UpdateFlags::NOEXIST {
            return Err(Errno::EINVAL);
        }
        let place = self.place_of(key).ok_or(Errno::EINVAL)?;
        let mut inner = self.exclusive();
        let old = *inner.places.get(&place).ok_or(Errno::ENOENT)?;
        if locked {
            let (values, at) = inner.pool.at(old.value);
            return values.write_locked(at, value);
        }
        let target = match self.lanes {
            Lanes::PerCpu(_) => old.value,
            Lanes::Shared => inner.pool.allocate().map_err(|_| Errno::ENOMEM)?,
        };
        let (values, at) = inner.pool.at(target);
        values.write_all(at, value);
        if target != old.value {
            inner.places.insert(place, Entry { value: target, ..old });
            inner.pool.release(old.value);
        }
        Ok(())
    }

    fn grown_bytes(&self) -> u64 {
        self.shared().pool.bytes()
    }

    fn grown_value_at(&self, address: usize, bytes: usize) -> Option<usize> {
        self.shared().pool.value_at(address, bytes)
    }
}
