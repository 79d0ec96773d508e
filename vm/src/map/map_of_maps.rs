//! Maps of maps (`kernel/bpf/map_in_map.c`).
//!
//! What a program finds in one is another map. Whoever looks one up holds it: an inner map that is
//! replaced stays as long as a run uses it.

use super::array::{existing, indices, next_index};
use super::create::CreateError;
use super::handles::{HandleTable, slot, slot_bytes, write_number};
use super::kind::{Kind, Shape};
use super::memory::{OutOfMemory, slots};
use super::{BucketError, Entry, Map, MapOps, MapRef, UpdateFlags, Visit};
use arc_swap::ArcSwapOption;
use ebpfvm_spec::{Errno, MapDef, MapFlags, MapType};

/// What the inner maps must look like.
struct Pattern(MapDef);

impl Pattern {
    fn new(shape: &Shape<'_>) -> Pattern {
        // The rules of the kind have seen to it that there is one; without, no map fits.
        Pattern(shape.def.inner.as_deref().unwrap_or(shape.def).clone())
    }

    /// Checks a map against the pattern (`map_meta_equal`).
    ///
    /// # Errors
    /// `EINVAL` if it differs in kind, sizes, flags or special fields, and for arrays in its
    /// capacity, unless the pattern has `BPF_F_INNER_MAP`.
    fn check(&self, map: &Map) -> Result<(), Errno> {
        let (pattern, def) = (&self.0, map.def());
        let capacity_counts =
            pattern.map_type == MapType::Array && !pattern.flags.has(MapFlags::INNER_MAP);
        let fits = pattern.map_type == def.map_type
            && pattern.key_bytes == def.key_bytes
            && pattern.value_bytes == def.value_bytes
            && pattern.flags == def.flags
            && pattern.special == def.special
            && (!capacity_counts || pattern.max_entries == def.max_entries);
        if fits { Ok(()) } else { Err(Errno::EINVAL) }
    }
}

/// What the pattern of the inner maps must be (`bpf_map_meta_alloc`).
///
/// # Errors
/// `EINVAL` if there is none or it is a map of maps itself, `ENOTSUPP` for arrays of programs; what
/// is wrong with a map of the pattern.
pub(super) fn check_pattern(def: &MapDef) -> Result<(), CreateError> {
    let wrong = |got: &str, errno| {
        let expected = "the definition of a map that is no map of maps and no prog_array";
        Err(CreateError::property(def, "inner map", got.into(), expected.into(), errno))
    };
    let Some(inner) = &def.inner else { return wrong("not given", Errno::EINVAL) };
    match inner.map_type {
        MapType::ArrayOfMaps | MapType::HashOfMaps => {
            return wrong(inner.map_type.name(), Errno::EINVAL);
        }
        MapType::ProgArray => return wrong(inner.map_type.name(), Errno::ENOTSUPP),
        _ => {}
    }
    Kind::of(inner.map_type)
        .ok_or_else(|| CreateError::Kind { map: inner.name.clone(), map_type: inner.map_type })?
        .check(inner)
}

/// What the host reads: the number of a map.
fn number_of(map: Option<MapRef>) -> Result<Vec<u8>, Errno> {
    map.map(|map| map.id().to_ne_bytes().to_vec()).ok_or(Errno::ENOENT)
}

/// `array_of_maps`.
pub(super) struct ArrayOfMaps {
    slots: Box<[ArcSwapOption<Map>]>,
    pattern: Pattern,
}

impl ArrayOfMaps {
    pub(super) fn needed(shape: &Shape<'_>) -> Option<u64> {
        Some(slot_bytes::<Map>(shape.def.max_entries as usize))
    }

    pub(super) fn build(shape: &Shape<'_>) -> Result<Box<dyn MapOps>, OutOfMemory> {
        let slots = slots(shape.def.max_entries as usize, ArcSwapOption::empty)?;
        Ok(Box::new(ArrayOfMaps { slots, pattern: Pattern::new(shape) }))
    }
}

impl MapOps for ArrayOfMaps {
    fn inner(&self, key: &[u8]) -> Option<MapRef> {
        self.slots[existing(self.slots.len() as u32, key)?].load_full()
    }

    fn set_inner(&self, key: &[u8], map: MapRef, flags: UpdateFlags) -> Result<(), Errno> {
        if flags != UpdateFlags::ANY {
            return Err(Errno::EINVAL);
        }
        let slot = slot(&self.slots, key)?;
        self.pattern.check(&map)?;
        slot.store(Some(map));
        Ok(())
    }

    fn delete(&self, key: &[u8]) -> Result<(), Errno> {
        slot(&self.slots, key)?.swap(None).map(drop).ok_or(Errno::ENOENT)
    }

    fn next_key(&self, key: Option<&[u8]>) -> Result<Vec<u8>, Errno> {
        next_index(self.slots.len() as u32, key)
    }

    fn keys(&self) -> Box<dyn Iterator<Item = Vec<u8>> + '_> {
        Box::new(indices(self.slots.len() as u32))
    }

    fn read(&self, key: &[u8]) -> Result<Vec<u8>, Errno> {
        number_of(self.inner(key))
    }

    fn write(&self, key: &[u8], _value: &[u8], flags: UpdateFlags) -> Result<(), Errno> {
        write_number(&self.slots, key, flags)
    }
}

/// `hash_of_maps`.
pub(super) struct HashOfMaps {
    maps: HandleTable<Map>,
    pattern: Pattern,
}

impl HashOfMaps {
    pub(super) fn needed(shape: &Shape<'_>) -> Option<u64> {
        HandleTable::<Map>::needed(shape)
    }

    pub(super) fn build(shape: &Shape<'_>) -> Result<Box<dyn MapOps>, OutOfMemory> {
        let maps = HandleTable::new(shape)?;
        Ok(Box::new(HashOfMaps { maps, pattern: Pattern::new(shape) }))
    }
}

impl MapOps for HashOfMaps {
    fn inner(&self, key: &[u8]) -> Option<MapRef> {
        self.maps.get(key, MapRef::clone)
    }

    fn set_inner(&self, key: &[u8], map: MapRef, flags: UpdateFlags) -> Result<(), Errno> {
        self.pattern.check(&map)?;
        flags.check()?;
        self.maps.set(key, map, flags)
    }

    fn delete(&self, key: &[u8]) -> Result<(), Errno> {
        self.maps.delete(key)
    }

    fn next_key(&self, key: Option<&[u8]>) -> Result<Vec<u8>, Errno> {
        self.maps.next_key(key)
    }

    fn keys(&self) -> Box<dyn Iterator<Item = Vec<u8>> + '_> {
        Box::new(self.maps.keys())
    }

    fn read(&self, key: &[u8]) -> Result<Vec<u8>, Errno> {
        number_of(self.inner(key))
    }

    fn bucket(&self, number: u32, visit: Visit) -> Result<Vec<Entry>, BucketError> {
        self.maps.bucket(number, visit, number_of)
    }

    fn write(&self, _key: &[u8], _value: &[u8], _flags: UpdateFlags) -> Result<(), Errno> {
        Err(Errno::EBADF)
    }
}
