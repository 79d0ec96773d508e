//! The kinds of maps: one row each, with what the kernel demands of a definition and how the map is
//! built. `rules.rs` reads the rows.
//!
//! The rules are those of `map_create` and of each kind's `map_alloc_check` in Linux 6.18; the
//! tests of the conformance crate compare them with the kernel.

use super::array::Array;
use super::bloom_filter::BloomFilter;
use super::create::{CreateError, MapLimits};
use super::hash::Hash;
use super::lpm_trie::LpmTrie;
use super::map_of_maps::{ArrayOfMaps, HashOfMaps, check_pattern};
use super::memory::OutOfMemory;
use super::perf_event_array::PerfEventArray;
use super::prog_array::ProgArray;
use super::queue_stack::QueueStack;
use super::ringbuf::Ringbuf;
use super::rules::Entries;
use super::rules::Size::{self, Absent, Either, Exactly, UpTo, Within};
use super::special::Special;
use super::targets::{DevmapHash, Targets};
use super::values::Lanes;
use super::{MapOps, Slab};
use ebpfvm_spec::{MapDef, MapFlags, MapType};
use std::sync::Arc;

/// A kind of map.
pub(super) struct Kind {
    pub(super) map_type: MapType,
    pub(super) key: Size,
    pub(super) value: Size,
    /// The most bytes that a key and its value may have together.
    pub(super) element_bytes: Option<u32>,
    pub(super) entries: Entries,
    /// The flags that the kind knows.
    pub(super) flags: u32,
    /// Those of them that it answers with `ENOTSUPP`.
    pub(super) unsupported: u32,
    /// The flags that it demands.
    pub(super) demanded: u32,
    /// The bits of `map_extra` that mean something.
    pub(super) extra: u64,
    /// What the kind demands besides, once all this is met.
    pub(super) further: fn(&MapDef) -> Result<(), CreateError>,
    /// The size that the map will have in bytes; `None` if no number holds it.
    pub(super) bytes: Bytes,
    /// Makes the storage.
    pub(super) build: Build,
}

type Bytes = fn(&Shape<'_>) -> Option<u64>;
type Build = fn(&Shape<'_>) -> Result<Box<dyn MapOps>, OutOfMemory>;

/// A row of the table takes what most kinds have, unless it says otherwise.
impl Kind {
    const fn new(
        map_type: MapType,
        key: Size,
        value: Size,
        entries: Entries,
        flags: u32,
        (bytes, build): (Bytes, Build),
    ) -> Kind {
        Kind {
            map_type,
            key,
            value,
            element_bytes: None,
            entries,
            flags,
            unsupported: 0,
            demanded: 0,
            extra: 0,
            further: |_| Ok(()),
            bytes,
            build,
        }
    }

    const fn table(map_type: MapType, value: Size, flags: u32, storage: (Bytes, Build)) -> Kind {
        let flags = flags | ACCESS | MapFlags::NO_PREALLOC | MapFlags::ZERO_SEED;
        let key = UpTo(HASH_ELEMENT_BYTES);
        let kind = Kind::new(map_type, key, value, Entries::UpTo(HASH_ENTRIES), flags, storage);
        Kind { element_bytes: Some(HASH_ELEMENT_BYTES), ..kind }
    }
}

/// What a kind's constructor works from: a definition that has passed the rules.
pub(super) struct Shape<'a> {
    pub(super) def: &'a MapDef,
    pub(super) lanes: Lanes,
    pub(super) cpus: u32,
    /// Where hash functions start.
    pub(super) seed: u64,
    pub(super) limits: &'a MapLimits,
    /// What of its values is not data.
    pub(super) special: &'a Arc<Special>,
}

impl Shape<'_> {
    /// The slab with the access that programs have to this map.
    pub(super) fn program_slab(&self, slab: Slab) -> Slab {
        Slab {
            readable: !self.def.flags.has(MapFlags::WRONLY_PROG),
            writable: !self.def.flags.has(MapFlags::RDONLY_PROG),
            ..slab
        }
    }
}

/// `BPF_F_ACCESS_MASK`
const ACCESS: u32 =
    MapFlags::RDONLY | MapFlags::WRONLY | MapFlags::RDONLY_PROG | MapFlags::WRONLY_PROG;

/// `PCPU_MIN_UNIT_SIZE`: what a value may have on one CPU.
const PERCPU_VALUE_BYTES: u32 = 32 << 10;

/// `KMALLOC_MAX_SIZE`: what the kernel allocates in one piece.
const KMALLOC_BYTES: u32 = 4 << 20;

/// What a key and its value may have together in a hash table: one piece less the kernel's own part
/// of an element, exclusive.
const HASH_ELEMENT_BYTES: u32 = KMALLOC_BYTES - 48 - 1;

/// What a value may have in a trie: one piece less the longest data and the kernel's own part of a
/// node.
const LPM_VALUE_BYTES: u32 = KMALLOC_BYTES - 256 - 24;

/// What a hash table may hold: the kernel's buckets, 16 bytes each and a power of two, may not
/// reach 4 GiB.
const HASH_ENTRIES: u32 = 1 << 27;

/// The flags of arrays of handles.
const HANDLE_FLAGS: u32 = MapFlags::RDONLY | MapFlags::WRONLY | MapFlags::NUMA_NODE;

/// `NR_CPUS` of the kernel that this machine follows (it differs between configurations).
const KERNEL_CPUS: u32 = 256;

/// A slot's number, or a handle.
const NUMBER: Size = Exactly(4);

/// As many as memory holds.
const MANY: Entries = Entries::UpTo(u32::MAX);

/// `BPF_F_NUMA_NODE`, which almost all kinds take.
const NODE: u32 = MapFlags::NUMA_NODE;

/// All kinds that there are.
#[rustfmt::skip] // a row, a line or two
pub(super) static KINDS: &[Kind] = &[
    Kind::new(MapType::Array, NUMBER, UpTo(i32::MAX as u32), MANY,
        ACCESS | NODE | MapFlags::MMAPABLE | MapFlags::INNER_MAP, (Array::bytes, Array::build)),
    Kind::new(MapType::PercpuArray, NUMBER, UpTo(PERCPU_VALUE_BYTES), MANY, ACCESS,
        (Array::bytes, Array::build)),
    Kind::new(MapType::ProgArray, NUMBER, NUMBER, MANY, HANDLE_FLAGS,
        (ProgArray::needed, ProgArray::build)),
    Kind::new(MapType::PerfEventArray, NUMBER, NUMBER, MANY, HANDLE_FLAGS | MapFlags::PRESERVE_ELEMS,
        (PerfEventArray::needed, PerfEventArray::build)),
    Kind::table(MapType::Hash, UpTo(HASH_ELEMENT_BYTES), NODE, (Hash::bytes, Hash::build)),
    Kind::table(MapType::PercpuHash, UpTo(PERCPU_VALUE_BYTES), 0, (Hash::bytes, Hash::build)),
    Kind {
        unsupported: MapFlags::NO_PREALLOC,
        ..Kind::table(MapType::LruHash, UpTo(HASH_ELEMENT_BYTES), NODE | MapFlags::NO_COMMON_LRU,
            (Hash::bytes, Hash::build))
    },
    Kind {
        unsupported: MapFlags::NO_PREALLOC,
        ..Kind::table(MapType::LruPercpuHash, UpTo(PERCPU_VALUE_BYTES), MapFlags::NO_COMMON_LRU,
            (Hash::bytes, Hash::build))
    },
    Kind {
        demanded: MapFlags::NO_PREALLOC,
        ..Kind::new(MapType::LpmTrie, Within(5, 260), Within(1, LPM_VALUE_BYTES), MANY,
            ACCESS | NODE | MapFlags::NO_PREALLOC, (LpmTrie::needed, LpmTrie::build))
    },
    Kind {
        further: check_pattern,
        ..Kind::new(MapType::ArrayOfMaps, NUMBER, NUMBER, MANY, HANDLE_FLAGS,
            (ArrayOfMaps::needed, ArrayOfMaps::build))
    },
    Kind {
        further: check_pattern,
        ..Kind::table(MapType::HashOfMaps, NUMBER, NODE, (HashOfMaps::needed, HashOfMaps::build))
    },
    Kind::new(MapType::Queue, Absent, UpTo(KMALLOC_BYTES), MANY, ACCESS | NODE,
        (QueueStack::needed, QueueStack::build)),
    Kind::new(MapType::Stack, Absent, UpTo(KMALLOC_BYTES), MANY, ACCESS | NODE,
        (QueueStack::needed, QueueStack::build)),
    Kind {
        extra: 0xf,
        ..Kind::new(MapType::BloomFilter, Absent, UpTo(KMALLOC_BYTES), MANY,
            ACCESS | NODE | MapFlags::ZERO_SEED, (BloomFilter::needed, BloomFilter::build))
    },
    Kind::new(MapType::Ringbuf, Absent, Absent, Entries::Pages, NODE,
        (Ringbuf::needed, Ringbuf::build)),
    Kind::new(MapType::Devmap, NUMBER, Either(4, 8), MANY, HANDLE_FLAGS,
        (Targets::needed, Targets::build)),
    Kind::new(MapType::DevmapHash, NUMBER, Either(4, 8), Entries::Within(1 << 31), HANDLE_FLAGS,
        (Hash::bytes, DevmapHash::build)),
    Kind::new(MapType::Cpumap, NUMBER, Either(4, 8), Entries::UpTo(KERNEL_CPUS), NODE,
        (Targets::needed, Targets::build)),
    Kind::new(MapType::Xskmap, NUMBER, NUMBER, MANY, HANDLE_FLAGS,
        (Targets::needed, Targets::build)),
];
