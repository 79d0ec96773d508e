//! The kinds of maps: one row each, with what the kernel demands of a definition and how the map is
//! built. `rules.rs` reads the rows.
//!
//! The rules are those of `map_create` and of each kind's `map_alloc_check` in Linux 6.18; the
//! tests of the conformance crate compare them with the kernel.

use super::arena::{self, Arena};
use super::array::Array;
use super::bloom_filter::BloomFilter;
use super::budget::Budget;
use super::cgroup_array::CgroupArray;
use super::cgroup_storage::CgroupStorage;
use super::create::{CreateError, MapLimits};
use super::hash::Hash;
use super::local_storage::LocalStorage;
use super::lpm_trie::LpmTrie;
use super::map_of_maps::{ArrayOfMaps, HashOfMaps, check_pattern};
use super::memory::OutOfMemory;
use super::perf_event_array::PerfEventArray;
use super::prog_array::ProgArray;
use super::queue_stack::QueueStack;
use super::ringbuf::Ringbuf;
use super::rules::Size::{self, Absent, Either, Exactly, UpTo, Within};
use super::rules::{Entries, PAGE_BYTES};
use super::sockets::{SocketArray, SocketHash};
use super::special::Special;
use super::stack_trace::{self, StackTrace};
use super::struct_ops::{self, StructOps};
use super::targets::{DevmapHash, Targets};
use super::user_ringbuf::UserRingbuf;
use super::values::Lanes;
use super::{MapOps, Slab};
use ebpfvm_spec::{Errno, MapDef, MapFlags, MapType};
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
    /// What kinds that grow take their memory from, besides the limits.
    pub(super) budget: Option<&'a Arc<Budget>>,
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

/// `MAX_BPF_STACK`: the longest key of a table of sockets, which programs make on their stack.
const STACK_BYTES: u32 = 512;

/// `BPF_LOCAL_STORAGE_MAX_VALUE_SIZE`: what a value that belongs to something may have; two such,
/// with the kernel's own part, are counted in 16 bits.
const STORAGE_VALUE_BYTES: u32 = u16::MAX as u32 - 128;

/// Values that belong to sockets, inodes, tasks or cgroups.
///
/// Linux also demands that the key's type is an integer of 32 bits; no types are looked at here.
const fn storage(map_type: MapType) -> Kind {
    let flags = MapFlags::NO_PREALLOC | MapFlags::CLONE;
    let value = UpTo(STORAGE_VALUE_BYTES);
    let storage: (Bytes, Build) = (LocalStorage::needed, LocalStorage::build);
    let kind = Kind::new(map_type, NUMBER, value, Entries::Absent, flags, storage);
    Kind { demanded: MapFlags::NO_PREALLOC, further: check_types, ..kind }
}

/// The types of keys and values must be known.
fn check_types(def: &MapDef) -> Result<(), CreateError> {
    if def.key_type.is_some() && def.value_type.is_some() {
        return Ok(());
    }
    let expected = "types of keys and values in BTF".into();
    Err(CreateError::property(def, "BTF", "not given".into(), expected, Errno::EINVAL))
}

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
    Kind {
        further: stack_trace::check_frames,
        ..Kind::new(MapType::StackTrace, NUMBER, Within(8, u32::MAX), Entries::UpTo(1 << 31),
            HANDLE_FLAGS | MapFlags::STACK_BUILD_ID, (StackTrace::needed, StackTrace::build))
    },
    Kind::new(MapType::Sockmap, NUMBER, Either(4, 8), MANY, HANDLE_FLAGS,
        (SocketArray::needed, SocketArray::build)),
    Kind::new(MapType::Sockhash, UpTo(STACK_BYTES), Either(4, 8), Entries::Within(HASH_ENTRIES),
        HANDLE_FLAGS, (SocketHash::needed, SocketHash::build)),
    Kind::new(MapType::ReuseportSockarray, NUMBER, Either(4, 8), MANY, ACCESS | NODE,
        (SocketArray::needed, SocketArray::build)),
    Kind::new(MapType::CgroupArray, NUMBER, NUMBER, MANY, HANDLE_FLAGS,
        (CgroupArray::needed, CgroupArray::build)),
    Kind::new(MapType::CgroupStorage, Either(8, 16), UpTo(STORAGE_VALUE_BYTES), Entries::Absent,
        ACCESS | NODE, (CgroupStorage::needed, CgroupStorage::build)),
    Kind::new(MapType::PercpuCgroupStorage, Either(8, 16), UpTo(PERCPU_VALUE_BYTES), Entries::Absent,
        ACCESS | NODE, (CgroupStorage::needed, CgroupStorage::build)),
    storage(MapType::SkStorage),
    storage(MapType::InodeStorage),
    storage(MapType::TaskStorage),
    storage(MapType::CgrpStorage),
    Kind::new(MapType::UserRingbuf, Absent, Absent, Entries::Pages, NODE,
        (UserRingbuf::needed, UserRingbuf::build)),
    // Linux takes only the types of values that it knows, and the size of the type for the value's.
    Kind::new(MapType::StructOps, NUMBER, Within(struct_ops::HEADER_BYTES, KMALLOC_BYTES),
        Entries::One, MapFlags::LINK | MapFlags::VTYPE_BTF_OBJ_FD,
        (StructOps::needed, StructOps::build)),
    Kind {
        demanded: MapFlags::MMAPABLE,
        extra: !(PAGE_BYTES as u64 - 1),
        further: arena::check_range,
        ..Kind::new(MapType::Arena, Absent, Absent, MANY,
            MapFlags::MMAPABLE | MapFlags::SEGV_ON_FAULT | MapFlags::NO_USER_CONV,
            (Arena::needed, Arena::build))
    },
];
