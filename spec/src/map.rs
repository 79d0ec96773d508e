//! Maps as their creator declares them.

use crate::btf::{Btf, Holder, SpecialField, SpecialSet, TypeId, special_fields};
use crate::linux::check_holder;
use std::fmt;
use std::sync::Arc;

macro_rules! map_types {
    ($($(#[$doc:meta])* $variant:ident = $number:literal, $name:literal, $since:literal;)*) => {
        /// The kind of a map (`enum bpf_map_type` of `include/uapi/linux/bpf.h`, Linux 6.18).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u32)]
        pub enum MapType {
            $(
                #[doc = concat!("`", $name, "`, since Linux ", $since)]
                $variant = $number,
            )*
        }

        impl MapType {
            /// All kinds in the order of their numbers.
            pub const ALL: &[MapType] = &[$(MapType::$variant),*];

            /// The kind with this number.
            pub const fn from_number(number: u32) -> Option<MapType> {
                match number {
                    $($number => Some(MapType::$variant),)*
                    _ => None,
                }
            }

            /// The name, as bpftool prints it.
            pub const fn name(self) -> &'static str {
                match self {
                    $(MapType::$variant => $name,)*
                }
            }

            /// The first Linux release that has it.
            pub const fn since(self) -> &'static str {
                match self {
                    $(MapType::$variant => $since,)*
                }
            }
        }
    };
}

map_types! {
    Hash = 1, "hash", "3.19";
    Array = 2, "array", "3.19";
    ProgArray = 3, "prog_array", "4.2";
    PerfEventArray = 4, "perf_event_array", "4.3";
    PercpuHash = 5, "percpu_hash", "4.6";
    PercpuArray = 6, "percpu_array", "4.6";
    StackTrace = 7, "stack_trace", "4.6";
    CgroupArray = 8, "cgroup_array", "4.8";
    LruHash = 9, "lru_hash", "4.10";
    LruPercpuHash = 10, "lru_percpu_hash", "4.10";
    LpmTrie = 11, "lpm_trie", "4.11";
    ArrayOfMaps = 12, "array_of_maps", "4.12";
    HashOfMaps = 13, "hash_of_maps", "4.12";
    Devmap = 14, "devmap", "4.14";
    Sockmap = 15, "sockmap", "4.14";
    Cpumap = 16, "cpumap", "4.15";
    Xskmap = 17, "xskmap", "4.18";
    Sockhash = 18, "sockhash", "4.18";
    CgroupStorage = 19, "cgroup_storage", "4.19";
    ReuseportSockarray = 20, "reuseport_sockarray", "4.19";
    PercpuCgroupStorage = 21, "percpu_cgroup_storage", "4.20";
    Queue = 22, "queue", "4.20";
    Stack = 23, "stack", "4.20";
    SkStorage = 24, "sk_storage", "5.2";
    DevmapHash = 25, "devmap_hash", "5.4";
    StructOps = 26, "struct_ops", "5.6";
    Ringbuf = 27, "ringbuf", "5.8";
    InodeStorage = 28, "inode_storage", "5.10";
    TaskStorage = 29, "task_storage", "5.11";
    BloomFilter = 30, "bloom_filter", "5.16";
    UserRingbuf = 31, "user_ringbuf", "6.1";
    CgrpStorage = 32, "cgrp_storage", "6.2";
    Arena = 33, "arena", "6.9";
}

impl MapType {
    /// What `map_lookup_elem` and its like give.
    pub const fn lookup_gives(self) -> LookupGives {
        match self {
            MapType::ArrayOfMaps | MapType::HashOfMaps => LookupGives::Map,
            MapType::Sockmap | MapType::Sockhash => LookupGives::Socket,
            MapType::Xskmap => LookupGives::XdpSock,
            _ => LookupGives::Value,
        }
    }

    /// Flags that every map of the kind has, whatever its creator asks for: what a lookup gives of
    /// network devices is the kernel's own (`dev_map_init_map`).
    pub const fn implied_flags(self) -> u32 {
        match self {
            MapType::Devmap | MapType::DevmapHash => MapFlags::RDONLY_PROG,
            _ => 0,
        }
    }

    /// Whether a value has one instance for each CPU.
    pub const fn is_percpu(self) -> bool {
        matches!(
            self,
            MapType::PercpuHash
                | MapType::PercpuArray
                | MapType::LruPercpuHash
                | MapType::PercpuCgroupStorage
        )
    }
}

/// What a lookup of a key gives, once it is known not to be null (`mark_ptr_not_null_reg`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LookupGives {
    /// The address of a value.
    Value,
    /// A map, of the kind of the inner map.
    Map,
    /// A full socket; the result is a reference from the call on (`is_acquire_function`).
    Socket,
    /// A socket of a network driver's queue; no reference.
    XdpSock,
}

/// A set of kinds of maps.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct MapTypeSet(u64);

impl MapTypeSet {
    /// No kind.
    pub const NONE: MapTypeSet = MapTypeSet(0);
    /// Every kind.
    pub const ALL: MapTypeSet = MapTypeSet::of(MapType::ALL);

    /// The set of these kinds.
    pub const fn of(kinds: &[MapType]) -> MapTypeSet {
        let mut bits = 0;
        let mut i = 0;
        while i < kinds.len() {
            bits |= 1 << kinds[i] as u32;
            i += 1;
        }
        MapTypeSet(bits)
    }

    /// Kinds in either set.
    pub const fn union(self, other: MapTypeSet) -> MapTypeSet {
        MapTypeSet(self.0 | other.0)
    }

    /// Kinds in both sets.
    pub const fn intersection(self, other: MapTypeSet) -> MapTypeSet {
        MapTypeSet(self.0 & other.0)
    }

    /// Kinds in this set but not in the other.
    pub const fn without(self, other: MapTypeSet) -> MapTypeSet {
        MapTypeSet(self.0 & !other.0)
    }

    /// Whether the kind is in the set.
    pub const fn contains(self, kind: MapType) -> bool {
        self.0 >> kind as u32 & 1 == 1
    }
}

impl fmt::Debug for MapTypeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == MapTypeSet::ALL {
            return f.write_str("ALL");
        }
        f.debug_set().entries(MapType::ALL.iter().filter(|kind| self.contains(**kind))).finish()
    }
}

macro_rules! map_flags {
    ($($(#[$doc:meta])* $name:ident = $bit:literal, $since:literal;)*) => {
        /// Creation flags (`BPF_F_*` of `map_flags`).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
        pub struct MapFlags(pub u32);

        impl MapFlags {
            $(
                #[doc = concat!("`BPF_F_", stringify!($name), "`, since Linux ", $since)]
                $(#[$doc])*
                pub const $name: u32 = 1 << $bit;
            )*

            /// All flags with names without `BPF_F_` and their first Linux releases, in the order of
            /// their bits.
            pub const ALL: &[(u32, &str, &str)] =
                &[$((Self::$name, stringify!($name), $since)),*];
        }
    };
}

// Releases of kinds and flags: `data/feature-versions.yaml` of the eBPF documentation (docs.ebpf.io,
// commit 05758d372ab0), which names the kernel's commit for each.
map_flags! {
    NO_PREALLOC = 0, "4.6";
    NO_COMMON_LRU = 1, "4.10";
    NUMA_NODE = 2, "4.14";
    /// : the host side may only read.
    RDONLY = 3, "4.15";
    /// : the host side may only write.
    WRONLY = 4, "4.15";
    STACK_BUILD_ID = 5, "4.17";
    ZERO_SEED = 6, "5.0";
    /// : programs may only read.
    RDONLY_PROG = 7, "5.2";
    /// : programs may only write.
    WRONLY_PROG = 8, "5.2";
    CLONE = 9, "5.4";
    MMAPABLE = 10, "5.5";
    PRESERVE_ELEMS = 11, "5.10";
    INNER_MAP = 12, "5.10";
    LINK = 13, "6.4";
    PATH_FD = 14, "6.5";
    VTYPE_BTF_OBJ_FD = 15, "6.9";
    TOKEN_FD = 16, "6.9";
    SEGV_ON_FAULT = 17, "6.9";
    NO_USER_CONV = 18, "6.9";
}

impl MapFlags {
    /// Whether all bits of `flag` are set.
    pub const fn has(self, flag: u32) -> bool {
        self.0 & flag == flag
    }
}

/// The names of the flags without `BPF_F_`, and the rest in hexadecimal: `RDONLY | 0x80000`.
impl fmt::Display for MapFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        let mut separator = "";
        for (flag, name, _) in Self::ALL {
            if self.has(*flag) {
                write!(f, "{separator}{name}")?;
                separator = " | ";
                rest &= !flag;
            }
        }
        if rest != 0 || self.0 == 0 { write!(f, "{separator}{rest:#x}") } else { Ok(()) }
    }
}

/// Where a map of an object file comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MapOrigin {
    /// Declared by the program: `.maps` or the legacy `maps` section.
    Declared,
    /// The globals of a data section such as `.rodata` or `.bss`: an array with one value. Or those
    /// of an arena: the map is the arena, and they are its first bytes.
    Section {
        /// Name of the section.
        section: String,
        /// The initial value, `value_bytes` long (of an arena: at most the arena).
        data: Arc<[u8]>,
    },
}

/// What an entry of `values` in a map definition names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InitialValue {
    /// A program of the object, by name (prog_array; of a struct_ops table the index is that of the
    /// member that holds it).
    Program(String),
    /// A map of the object, by index (map-in-map).
    Map(u32),
}

/// A map before it exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapDef {
    /// Name, as the source spells it.
    pub name: String,
    /// Kind.
    pub map_type: MapType,
    /// Size of a key in bytes.
    pub key_bytes: u32,
    /// Size of a value in bytes (of one CPU's instance for per-CPU maps).
    pub value_bytes: u32,
    /// Capacity; for ring buffers, bytes; for arenas, pages.
    pub max_entries: u32,
    /// Creation flags.
    pub flags: MapFlags,
    /// `map_extra`: for Bloom filters the number of hashes, for arenas the address.
    pub extra: u64,
    /// Type of the key in the object's BTF.
    pub key_type: Option<TypeId>,
    /// Type of the value in the object's BTF.
    pub value_type: Option<TypeId>,
    /// Fields of its values that are not data, such as locks and timers, in the order of their
    /// offsets: what [`MapDef::find_special`] finds by the type.
    pub special: Arc<[SpecialField]>,
    /// For maps of maps, what the inner maps look like.
    pub inner: Option<Box<MapDef>>,
    /// Initial entries by index.
    pub values: Vec<(u32, InitialValue)>,
    /// NUMA node of its memory; counts with the flag `BPF_F_NUMA_NODE`.
    pub numa_node: u32,
    /// Pinned by name (`LIBBPF_PIN_BY_NAME`).
    pub pinned: bool,
    /// Where it comes from.
    pub origin: MapOrigin,
}

impl MapDef {
    /// A map with these properties and nothing else.
    pub fn new(
        name: impl Into<String>,
        map_type: MapType,
        key_bytes: u32,
        value_bytes: u32,
        max_entries: u32,
    ) -> MapDef {
        MapDef {
            name: name.into(),
            map_type,
            key_bytes,
            value_bytes,
            max_entries,
            flags: MapFlags::default(),
            extra: 0,
            key_type: None,
            value_type: None,
            special: Arc::default(),
            inner: None,
            values: Vec::new(),
            numa_node: 0,
            pinned: false,
            origin: MapOrigin::Declared,
        }
    }

    /// Finds the special fields of its values, and of those of inner maps, by their types.
    ///
    /// Of a type with a mistake, or with fields that such a map may not have, there are none: the
    /// kernel refuses the types, and libbpf then creates the map without them.
    pub fn find_special(&mut self, btf: &Btf) {
        let found = self
            .value_type
            .and_then(|id| special_fields(btf, id, self.value_bytes, Holder::MapValue).ok())
            .filter(|fields| {
                check_holder(self.map_type, self.flags, SpecialSet::of_fields(fields)).is_ok()
            });
        self.special = found.unwrap_or_default().into();
        if let Some(inner) = &mut self.inner {
            inner.find_special(btf);
        }
    }
}
