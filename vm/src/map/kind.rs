//! The kinds of maps: one row each, with what the kernel demands of a definition and how the map is
//! built.
//!
//! The rules are those of `map_create` and of each kind's `map_alloc_check` in Linux 6.18; the
//! tests of the conformance crate compare them with the kernel.

use super::MapOps;
use super::Slab;
use super::array::Array;
use super::bloom_filter::BloomFilter;
use super::create::{CreateError, MapLimits};
use super::hash::Hash;
use super::lpm_trie::LpmTrie;
use super::map_of_maps::{ArrayOfMaps, HashOfMaps};
use super::memory::OutOfMemory;
use super::perf_event_array::PerfEventArray;
use super::prog_array::ProgArray;
use super::queue_stack::QueueStack;
use super::ringbuf::Ringbuf;
use super::targets::{DevmapHash, Targets};
use super::values::Lanes;
use ebpfvm_spec::{Errno, MapDef, MapFlags, MapType};

/// What a size may be.
pub(super) enum Size {
    /// 0: the map has none.
    Absent,
    /// This many bytes.
    Exactly(u32),
    /// One or the other number of bytes.
    Either(u32, u32),
    /// At least one byte, at most so many: `E2BIG` above.
    UpTo(u32),
    /// From so many bytes to so many: `EINVAL` beyond either.
    Within(u32, u32),
}

/// What `max_entries` may be.
pub(super) enum Entries {
    /// 1 to so many: `E2BIG` above.
    UpTo(u32),
    /// 1 to so many: `EINVAL` above.
    Within(u32),
    /// Bytes: a power of two and whole pages.
    Pages,
}

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
    /// The size that the map will have in bytes; `None` if no number holds it.
    pub(super) bytes: fn(&Shape<'_>) -> Option<u64>,
    /// Makes the storage.
    pub(super) build: fn(&Shape<'_>) -> Result<Box<dyn MapOps>, OutOfMemory>,
}

/// What a kind's constructor works from: a definition that has passed the rules.
pub(super) struct Shape<'a> {
    pub(super) def: &'a MapDef,
    pub(super) lanes: Lanes,
    pub(super) cpus: u32,
    /// Where hash functions start.
    pub(super) seed: u64,
    pub(super) limits: &'a MapLimits,
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

/// `PAGE_SIZE` of the kernel that this machine follows, whatever the host has.
const PAGE_BYTES: u32 = 4096;

/// The flags of hash tables but for the one that per-CPU tables refuse.
const HASH_FLAGS: u32 = ACCESS | MapFlags::NO_PREALLOC | MapFlags::ZERO_SEED;

/// All kinds that there are.
pub(super) static KINDS: &[Kind] = &[
    Kind {
        map_type: MapType::Array,
        key: Size::Exactly(4),
        value: Size::UpTo(i32::MAX as u32),
        element_bytes: None,
        entries: Entries::UpTo(u32::MAX),
        flags: ACCESS | MapFlags::NUMA_NODE | MapFlags::MMAPABLE | MapFlags::INNER_MAP,
        unsupported: 0,
        demanded: 0,
        extra: 0,
        bytes: Array::bytes,
        build: Array::build,
    },
    Kind {
        map_type: MapType::PercpuArray,
        key: Size::Exactly(4),
        value: Size::UpTo(PERCPU_VALUE_BYTES),
        element_bytes: None,
        entries: Entries::UpTo(u32::MAX),
        flags: ACCESS,
        unsupported: 0,
        demanded: 0,
        extra: 0,
        bytes: Array::bytes,
        build: Array::build,
    },
    Kind {
        map_type: MapType::ProgArray,
        key: Size::Exactly(4),
        value: Size::Exactly(4),
        element_bytes: None,
        entries: Entries::UpTo(u32::MAX),
        flags: HANDLE_FLAGS,
        unsupported: 0,
        demanded: 0,
        extra: 0,
        bytes: ProgArray::needed,
        build: ProgArray::build,
    },
    Kind {
        map_type: MapType::PerfEventArray,
        key: Size::Exactly(4),
        value: Size::Exactly(4),
        element_bytes: None,
        entries: Entries::UpTo(u32::MAX),
        flags: HANDLE_FLAGS | MapFlags::PRESERVE_ELEMS,
        unsupported: 0,
        demanded: 0,
        extra: 0,
        bytes: PerfEventArray::needed,
        build: PerfEventArray::build,
    },
    Kind {
        map_type: MapType::Hash,
        key: Size::UpTo(HASH_ELEMENT_BYTES),
        value: Size::UpTo(HASH_ELEMENT_BYTES),
        element_bytes: Some(HASH_ELEMENT_BYTES),
        entries: Entries::UpTo(HASH_ENTRIES),
        flags: HASH_FLAGS | MapFlags::NUMA_NODE,
        unsupported: 0,
        demanded: 0,
        extra: 0,
        bytes: Hash::bytes,
        build: Hash::build,
    },
    Kind {
        map_type: MapType::PercpuHash,
        key: Size::UpTo(HASH_ELEMENT_BYTES),
        value: Size::UpTo(PERCPU_VALUE_BYTES),
        element_bytes: Some(HASH_ELEMENT_BYTES),
        entries: Entries::UpTo(HASH_ENTRIES),
        flags: HASH_FLAGS,
        unsupported: 0,
        demanded: 0,
        extra: 0,
        bytes: Hash::bytes,
        build: Hash::build,
    },
    Kind {
        map_type: MapType::Ringbuf,
        key: Size::Absent,
        value: Size::Absent,
        element_bytes: None,
        entries: Entries::Pages,
        flags: MapFlags::NUMA_NODE,
        unsupported: 0,
        demanded: 0,
        extra: 0,
        bytes: Ringbuf::needed,
        build: Ringbuf::build,
    },
    Kind {
        map_type: MapType::Queue,
        key: Size::Absent,
        value: Size::UpTo(KMALLOC_BYTES),
        element_bytes: None,
        entries: Entries::UpTo(u32::MAX),
        flags: ACCESS | MapFlags::NUMA_NODE,
        unsupported: 0,
        demanded: 0,
        extra: 0,
        bytes: QueueStack::needed,
        build: QueueStack::build,
    },
    Kind {
        map_type: MapType::Stack,
        key: Size::Absent,
        value: Size::UpTo(KMALLOC_BYTES),
        element_bytes: None,
        entries: Entries::UpTo(u32::MAX),
        flags: ACCESS | MapFlags::NUMA_NODE,
        unsupported: 0,
        demanded: 0,
        extra: 0,
        bytes: QueueStack::needed,
        build: QueueStack::build,
    },
    Kind {
        map_type: MapType::LpmTrie,
        key: Size::Within(5, 260),
        value: Size::Within(1, LPM_VALUE_BYTES),
        element_bytes: None,
        entries: Entries::UpTo(u32::MAX),
        flags: ACCESS | MapFlags::NUMA_NODE | MapFlags::NO_PREALLOC,
        unsupported: 0,
        demanded: MapFlags::NO_PREALLOC,
        extra: 0,
        bytes: LpmTrie::needed,
        build: LpmTrie::build,
    },
    Kind {
        map_type: MapType::BloomFilter,
        key: Size::Absent,
        value: Size::UpTo(KMALLOC_BYTES),
        element_bytes: None,
        entries: Entries::UpTo(u32::MAX),
        flags: ACCESS | MapFlags::NUMA_NODE | MapFlags::ZERO_SEED,
        unsupported: 0,
        demanded: 0,
        extra: 0xf,
        bytes: BloomFilter::needed,
        build: BloomFilter::build,
    },
    Kind {
        map_type: MapType::Devmap,
        key: Size::Exactly(4),
        value: Size::Either(4, 8),
        element_bytes: None,
        entries: Entries::UpTo(u32::MAX),
        flags: HANDLE_FLAGS,
        unsupported: 0,
        demanded: 0,
        extra: 0,
        bytes: Targets::needed,
        build: Targets::build,
    },
    Kind {
        map_type: MapType::DevmapHash,
        key: Size::Exactly(4),
        value: Size::Either(4, 8),
        element_bytes: None,
        entries: Entries::Within(1 << 31),
        flags: HANDLE_FLAGS,
        unsupported: 0,
        demanded: 0,
        extra: 0,
        bytes: Hash::bytes,
        build: DevmapHash::build,
    },
    Kind {
        map_type: MapType::Cpumap,
        key: Size::Exactly(4),
        value: Size::Either(4, 8),
        element_bytes: None,
        entries: Entries::UpTo(KERNEL_CPUS),
        flags: MapFlags::NUMA_NODE,
        unsupported: 0,
        demanded: 0,
        extra: 0,
        bytes: Targets::needed,
        build: Targets::build,
    },
    Kind {
        map_type: MapType::Xskmap,
        key: Size::Exactly(4),
        value: Size::Exactly(4),
        element_bytes: None,
        entries: Entries::UpTo(u32::MAX),
        flags: HANDLE_FLAGS,
        unsupported: 0,
        demanded: 0,
        extra: 0,
        bytes: Targets::needed,
        build: Targets::build,
    },
    Kind {
        map_type: MapType::LruHash,
        key: Size::UpTo(HASH_ELEMENT_BYTES),
        value: Size::UpTo(HASH_ELEMENT_BYTES),
        element_bytes: Some(HASH_ELEMENT_BYTES),
        entries: Entries::UpTo(HASH_ENTRIES),
        flags: HASH_FLAGS | MapFlags::NUMA_NODE | MapFlags::NO_COMMON_LRU,
        unsupported: MapFlags::NO_PREALLOC,
        demanded: 0,
        extra: 0,
        bytes: Hash::bytes,
        build: Hash::build,
    },
    Kind {
        map_type: MapType::LruPercpuHash,
        key: Size::UpTo(HASH_ELEMENT_BYTES),
        value: Size::UpTo(PERCPU_VALUE_BYTES),
        element_bytes: Some(HASH_ELEMENT_BYTES),
        entries: Entries::UpTo(HASH_ENTRIES),
        flags: HASH_FLAGS | MapFlags::NO_COMMON_LRU,
        unsupported: MapFlags::NO_PREALLOC,
        demanded: 0,
        extra: 0,
        bytes: Hash::bytes,
        build: Hash::build,
    },
    Kind {
        map_type: MapType::ArrayOfMaps,
        key: Size::Exactly(4),
        value: Size::Exactly(4),
        element_bytes: None,
        entries: Entries::UpTo(u32::MAX),
        flags: HANDLE_FLAGS,
        unsupported: 0,
        demanded: 0,
        extra: 0,
        bytes: ArrayOfMaps::needed,
        build: ArrayOfMaps::build,
    },
    Kind {
        map_type: MapType::HashOfMaps,
        key: Size::UpTo(HASH_ELEMENT_BYTES),
        value: Size::Exactly(4),
        element_bytes: Some(HASH_ELEMENT_BYTES),
        entries: Entries::UpTo(HASH_ENTRIES),
        flags: HASH_FLAGS | MapFlags::NUMA_NODE,
        unsupported: 0,
        demanded: 0,
        extra: 0,
        bytes: HashOfMaps::needed,
        build: HashOfMaps::build,
    },
];

impl Kind {
    /// The row of a kind.
    pub(super) fn of(map_type: MapType) -> Option<&'static Kind> {
        KINDS.iter().find(|kind| kind.map_type == map_type)
    }

    /// Checks a definition as the kernel does.
    pub(super) fn check(&self, def: &MapDef) -> Result<(), CreateError> {
        let wrong = |property, got: String, expected: String, errno| {
            Err(CreateError::Property {
                map: def.name.clone(),
                map_type: def.map_type,
                property,
                got,
                expected,
                errno,
            })
        };
        // What is EINVAL comes before what is E2BIG, as in the kernel.
        if def.extra & !self.extra != 0 {
            return wrong("map_extra", def.extra.to_string(), at_most(self.extra), Errno::EINVAL);
        }
        let unknown = def.flags.0 & !self.flags;
        if unknown != 0 {
            let expected = format!("flags out of {}", MapFlags(self.flags));
            return wrong("map_flags", def.flags.to_string(), expected, Errno::EINVAL);
        }
        if !def.flags.has(self.demanded) {
            let expected = format!("{} among them", MapFlags(self.demanded));
            return wrong("map_flags", def.flags.to_string(), expected, Errno::EINVAL);
        }
        for (both, names) in [
            (MapFlags::RDONLY | MapFlags::WRONLY, "RDONLY and WRONLY"),
            (MapFlags::RDONLY_PROG | MapFlags::WRONLY_PROG, "RDONLY_PROG and WRONLY_PROG"),
            (MapFlags::NO_COMMON_LRU | MapFlags::NUMA_NODE, "NO_COMMON_LRU and NUMA_NODE"),
        ] {
            if def.flags.has(both) {
                let expected = format!("one of {names} at most");
                return wrong("map_flags", def.flags.to_string(), expected, Errno::EINVAL);
            }
        }
        let unsupported = def.flags.0 & self.unsupported;
        if unsupported != 0 {
            let expected = format!("flags without {}", MapFlags(unsupported));
            return wrong("map_flags", def.flags.to_string(), expected, Errno::ENOTSUPP);
        }
        let sizes =
            [("key size", &self.key, def.key_bytes), ("value size", &self.value, def.value_bytes)];
        for (property, size, got) in sizes {
            if let Some(expected) = size.violated(got) {
                return wrong(property, got.to_string(), expected, Errno::EINVAL);
            }
        }
        if let Some(expected) = self.entries.violated(def.max_entries) {
            return wrong("max_entries", def.max_entries.to_string(), expected, Errno::EINVAL);
        }
        for (property, size, got) in sizes {
            if let Size::UpTo(most) = *size
                && got > most
            {
                return wrong(property, got.to_string(), at_most(most), Errno::E2BIG);
            }
        }
        let element_bytes = u64::from(def.key_bytes) + u64::from(def.value_bytes);
        if let Some(most) = self.element_bytes.filter(|most| element_bytes > u64::from(*most)) {
            let expected = at_most(most);
            return wrong("key and value size", element_bytes.to_string(), expected, Errno::E2BIG);
        }
        if let Entries::UpTo(most) = self.entries
            && def.max_entries > most
        {
            return wrong("max_entries", def.max_entries.to_string(), at_most(most), Errno::E2BIG);
        }
        if holds_maps(self.map_type) {
            return check_inner(def, wrong);
        }
        Ok(())
    }
}

/// Whether the values of a kind are maps.
fn holds_maps(map_type: MapType) -> bool {
    matches!(map_type, MapType::ArrayOfMaps | MapType::HashOfMaps)
}

/// Checks the pattern of the inner maps (`bpf_map_meta_alloc`).
fn check_inner(
    def: &MapDef,
    wrong: impl Fn(&'static str, String, String, Errno) -> Result<(), CreateError>,
) -> Result<(), CreateError> {
    let expected = "the definition of a map that is no map of maps and no prog_array".to_string();
    let Some(inner) = &def.inner else {
        return wrong("inner map", "not given".into(), expected, Errno::EINVAL);
    };
    let kind = inner.map_type.name().to_string();
    if holds_maps(inner.map_type) {
        return wrong("inner map", kind, expected, Errno::EINVAL);
    }
    if inner.map_type == MapType::ProgArray {
        return wrong("inner map", kind, expected, Errno::ENOTSUPP);
    }
    Kind::of(inner.map_type)
        .ok_or_else(|| CreateError::Kind { map: inner.name.clone(), map_type: inner.map_type })?
        .check(inner)
}

impl Entries {
    /// What the number should be, if it is not; a number above the most is not looked at here.
    fn violated(&self, got: u32) -> Option<String> {
        match self {
            Entries::UpTo(_) => (got == 0).then(|| "at least 1".into()),
            Entries::Within(most) => {
                (!(1..=*most).contains(&got)).then(|| format!("at least 1 and at most {most}"))
            }
            Entries::Pages => {
                let fits = got.is_power_of_two() && got >= PAGE_BYTES;
                (!fits).then(|| format!("bytes: a power of two, at least {PAGE_BYTES}"))
            }
        }
    }
}

impl Size {
    /// What the size should be, if it is not; a size above the most is not looked at here.
    fn violated(&self, got: u32) -> Option<String> {
        match *self {
            Size::Absent => (got != 0).then(|| "0: this kind has none".into()),
            Size::Exactly(bytes) => (got != bytes).then(|| format!("{bytes} bytes")),
            Size::Either(a, b) => (got != a && got != b).then(|| format!("{a} or {b} bytes")),
            Size::UpTo(_) => (got == 0).then(|| "at least 1 byte".into()),
            Size::Within(least, most) => (!(least..=most).contains(&got))
                .then(|| format!("at least {least} and at most {most} bytes")),
        }
    }
}

fn at_most(most: impl Into<u64>) -> String {
    let most = most.into();
    format!("at most {most}")
}
