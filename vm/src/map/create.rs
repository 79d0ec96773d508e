//! How a map comes to be.

use super::arena::Arena;
use super::budget::{Budget, Reservation};
use super::kind::{KINDS, Kind, Shape};
use super::special::Special;
use super::values::Lanes;
use super::{Map, MapRef, UpdateFlags};
use ebpfvm_spec::btf::{SpecialField, SpecialKind, SpecialSet};
use ebpfvm_spec::linux::check_holder;
use ebpfvm_spec::map::MapOrigin;
use ebpfvm_spec::{Errno, MapDef, MapFlags, MapType};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};

/// What maps may cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapLimits {
    /// The most bytes that one map may allocate. Memory that is never touched counts as well: a
    /// program can touch all of it.
    pub map_bytes: u64,
    /// The most bytes that all maps of a machine may have together.
    pub total_bytes: u64,
}

impl Default for MapLimits {
    /// 1 GiB for a map, 4 GiB for a machine.
    fn default() -> MapLimits {
        MapLimits { map_bytes: 1 << 30, total_bytes: 4 << 30 }
    }
}

/// Why a map cannot be created.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CreateError {
    /// A property of the definition is not what its kind demands.
    #[error(
        "map '{map}' ({kind}): {property} is {got}, expected {expected}; Linux refuses it with {errno}",
        kind = .map_type.name()
    )]
    Property {
        /// Name of the map.
        map: String,
        /// Its kind.
        map_type: MapType,
        /// Which property.
        property: &'static str,
        /// What it is.
        got: String,
        /// What it should be.
        expected: String,
        /// What the kernel says.
        errno: Errno,
    },
    /// The machine has no such kind.
    #[error(
        "map '{map}': this machine has no maps of kind {kind}; it has {available}",
        kind = .map_type.name(), available = available()
    )]
    Kind {
        /// Name of the map.
        map: String,
        /// Its kind.
        map_type: MapType,
    },
    /// The map needs more memory than it may have.
    #[error(
        "map '{map}' ({kind}) needs {needed} bytes, the limit is {limit}: lower max_entries or the \
         value size, or raise the limit of the machine",
        kind = .map_type.name(),
        needed = .needed.map_or("more than 2^64".into(), |bytes| bytes.to_string())
    )]
    TooLarge {
        /// Name of the map.
        map: String,
        /// Its kind.
        map_type: MapType,
        /// Bytes that it needs; `None` if no 64-bit number holds them.
        needed: Option<u64>,
        /// Bytes that it may have.
        limit: u64,
    },
    /// The machine's maps would have more memory together than they may.
    #[error(
        "map '{map}' ({kind}) needs {needed} bytes, but the machine's maps use {in_use} of the \
         {limit} bytes that they may have: drop maps, lower max_entries, or raise the limit of the \
         machine",
        kind = .map_type.name()
    )]
    Exhausted {
        /// Name of the map.
        map: String,
        /// Its kind.
        map_type: MapType,
        /// Bytes that it needs.
        needed: u64,
        /// Bytes of the maps that there are.
        in_use: u64,
        /// Bytes that all may have.
        limit: u64,
    },
    /// Values of the map cannot have such a field.
    #[error(
        "map '{map}' ({kind}): its values have a {field} at byte {offset}: {why}; Linux refuses it \
         with {errno}",
        kind = .map_type.name(), field = .kind.name()
    )]
    Special {
        /// Name of the map.
        map: String,
        /// Its kind.
        map_type: MapType,
        /// What the field is.
        kind: SpecialKind,
        /// Where it is, in bytes.
        offset: u32,
        /// Why they cannot.
        why: &'static str,
        /// What the kernel says.
        errno: Errno,
    },
    /// The host has no memory left.
    #[error("map '{map}' needs {needed} bytes, which the host does not have")]
    OutOfMemory {
        /// Name of the map.
        map: String,
        /// Bytes that it needs.
        needed: u64,
    },
    /// A machine without CPUs has no per-CPU values.
    #[error("map '{map}': the machine has 0 CPUs, expected at least 1")]
    NoCpus {
        /// Name of the map.
        map: String,
    },
    /// The initial content of a data section does not fit its map.
    #[error(
        "map '{map}': section {section} has {got} bytes of data, the map is of kind {kind} with \
         {entries} x {value_bytes} bytes, expected an array of 1 x {got}",
        kind = .map_type.name()
    )]
    Content {
        /// Name of the map.
        map: String,
        /// Name of the section.
        section: String,
        /// The map's kind.
        map_type: MapType,
        /// Bytes of initial data.
        got: usize,
        /// Capacity of the map.
        entries: u32,
        /// Size of the map's values in bytes.
        value_bytes: u32,
    },
}

impl CreateError {
    /// The number that the kernel gives for it.
    pub fn errno(&self) -> Errno {
        match self {
            CreateError::Property { errno, .. } | CreateError::Special { errno, .. } => *errno,
            CreateError::TooLarge { .. }
            | CreateError::Exhausted { .. }
            | CreateError::OutOfMemory { .. } => Errno::ENOMEM,
            CreateError::Kind { .. } | CreateError::NoCpus { .. } | CreateError::Content { .. } => {
                Errno::EINVAL
            }
        }
    }
}

fn available() -> String {
    KINDS.iter().map(|kind| kind.map_type.name()).collect::<Vec<_>>().join(", ")
}

/// Numbers of maps start at 1, as the kernel's.
static NEXT_ID: AtomicU32 = AtomicU32::new(1);

impl Map {
    /// Creates the map of a definition, for a machine with so many CPUs.
    ///
    /// The globals of a section come with their content; those that programs may only read
    /// (`BPF_F_RDONLY_PROG`) are frozen for the host as well.
    ///
    /// # Errors
    /// What Linux 6.18 refuses is refused with its error number; nothing is allocated before the
    /// size is known and within the limit.
    pub fn create(def: &MapDef, cpus: u32, limits: &MapLimits) -> Result<MapRef, CreateError> {
        Map::make(def, cpus, limits, random_seed(), None)
    }

    /// As [`Map::create`], with a seed for hash functions and choices at random: with the same seed
    /// and operations keys come in the same order. Who knows the seed can make keys that collide.
    ///
    /// # Errors
    /// As [`Map::create`].
    pub fn create_seeded(
        def: &MapDef,
        cpus: u32,
        limits: &MapLimits,
        seed: u64,
    ) -> Result<MapRef, CreateError> {
        Map::make(def, cpus, limits, seed, None)
    }

    /// As [`Map::create`], counted among the maps of a machine; with a seed as
    /// [`Map::create_seeded`].
    ///
    /// # Errors
    /// As [`Map::create`]; [`CreateError::Exhausted`] if all together would have too much.
    pub(crate) fn create_counted(
        def: &MapDef,
        cpus: u32,
        limits: &MapLimits,
        seed: Option<u64>,
        budget: &Arc<Budget>,
    ) -> Result<MapRef, CreateError> {
        Map::make(def, cpus, limits, seed.unwrap_or_else(random_seed), Some(budget))
    }

    fn make(
        def: &MapDef,
        cpus: u32,
        limits: &MapLimits,
        seed: u64,
        budget: Option<&Arc<Budget>>,
    ) -> Result<MapRef, CreateError> {
        let special = special(def)?;
        let (kind, mut shape) = plan(def, cpus, limits, &special)?;
        if !def.flags.has(MapFlags::ZERO_SEED) {
            shape.seed = seed;
        }
        shape.budget = budget;
        let bytes = check_size(kind, &shape)?;
        let reserve = |budget: &Arc<Budget>| {
            budget.reserve(bytes, limits.total_bytes).map_err(|in_use| CreateError::Exhausted {
                map: def.name.clone(),
                map_type: def.map_type,
                needed: bytes,
                in_use,
                limit: limits.total_bytes,
            })
        };
        let reservation: Option<Reservation> = budget.map(reserve).transpose()?;
        let ops = (kind.build)(&shape)
            .map_err(|_| CreateError::OutOfMemory { map: def.name.clone(), needed: bytes })?;
        let map = Map {
            id: NEXT_ID.fetch_add(1, Relaxed),
            def: def.clone(),
            bytes,
            host_value_bytes: shape.lanes.host_value_bytes(def.value_bytes),
            frozen: AtomicBool::new(false),
            ops,
            special: special.clone(),
            _reservation: reservation,
        };
        map.fill()?;
        Ok(Arc::new(map))
    }

    /// The bytes that a map of this definition will allocate, for a machine with so many CPUs.
    ///
    /// # Errors
    /// As [`Map::create`].
    pub fn bytes_needed(def: &MapDef, cpus: u32, limits: &MapLimits) -> Result<u64, CreateError> {
        let special = special(def)?;
        let (kind, shape) = plan(def, cpus, limits, &special)?;
        check_size(kind, &shape)
    }

    /// Gives the globals of a section their content. That of a table of functions is written by who
    /// registers it.
    fn fill(&self) -> Result<(), CreateError> {
        let MapOrigin::Section { section, data } = &self.def.origin else { return Ok(()) };
        if self.def.map_type == MapType::StructOps {
            return Ok(());
        }
        if let Some(arena) = self.as_kind::<Arena>()
            && arena.write(0, data).is_ok()
        {
            return Ok(());
        }
        let fits = self.def.map_type == MapType::Array
            && self.def.max_entries == 1
            && self.def.value_bytes as usize == data.len();
        let written = fits && self.ops.write(&[0; 4], data, UpdateFlags::ANY).is_ok();
        if !written {
            return Err(CreateError::Content {
                map: self.def.name.clone(),
                section: section.clone(),
                map_type: self.def.map_type,
                got: data.len(),
                entries: self.def.max_entries,
                value_bytes: self.def.value_bytes,
            });
        }
        self.frozen.store(self.def.flags.has(MapFlags::RDONLY_PROG), Relaxed);
        Ok(())
    }
}

/// A seed that nobody knows.
fn random_seed() -> u64 {
    // The standard library's only source of randomness.
    RandomState::new().build_hasher().finish()
}

/// The special fields of a definition, if a map of it may have them (`map_check_btf`).
fn special(def: &MapDef) -> Result<Arc<Special>, CreateError> {
    let refused = |field: &SpecialField, why, errno| CreateError::Special {
        map: def.name.clone(),
        map_type: def.map_type,
        kind: field.kind,
        offset: field.offset,
        why,
        errno,
    };
    let alone = |field: &&SpecialField| {
        check_holder(def.map_type, def.flags, SpecialSet::of(&[field.kind])).is_err()
    };
    if let Some(field) = def.special.iter().find(alone) {
        let kinds = SpecialSet::of_fields(&def.special);
        let errno = check_holder(def.map_type, def.flags, kinds).err().unwrap_or(Errno::EINVAL);
        let why = match errno {
            Errno::EACCES => "programs must be able to read and to write it",
            _ => "maps of this kind have no such field",
        };
        return Err(refused(field, why, errno));
    }
    Special::new(&def.special, def.value_bytes as usize)
        .map_err(|field| refused(&field, "it is not where a field can be", Errno::EINVAL))
}

/// The row of the definition's kind, and what its constructor works from.
fn plan<'a>(
    def: &'a MapDef,
    cpus: u32,
    limits: &'a MapLimits,
    special: &'a Arc<Special>,
) -> Result<(&'static Kind, Shape<'a>), CreateError> {
    let kind = Kind::of(def.map_type)
        .ok_or_else(|| CreateError::Kind { map: def.name.clone(), map_type: def.map_type })?;
    kind.check(def)?;
    if cpus == 0 {
        return Err(CreateError::NoCpus { map: def.name.clone() });
    }
    let lanes = if def.map_type.is_percpu() { Lanes::PerCpu(cpus) } else { Lanes::Shared };
    Ok((kind, Shape { def, lanes, cpus, seed: 0, limits, special, budget: None }))
}

fn check_size(kind: &Kind, shape: &Shape<'_>) -> Result<u64, CreateError> {
    let needed = (kind.bytes)(shape);
    needed.filter(|bytes| *bytes <= shape.limits.map_bytes).ok_or_else(|| CreateError::TooLarge {
        map: shape.def.name.clone(),
        map_type: shape.def.map_type,
        needed,
        limit: shape.limits.map_bytes,
    })
}
