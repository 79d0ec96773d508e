//! The maps that are compared, with the keys and values that operations use.

use ebpfvm_spec::btf::{Btf, BtfBuilder, IntEncoding, Kind, Name, TypeId};
use ebpfvm_spec::{MapDef, MapFlags, MapType};

/// A map with the keys and values that the operations use.
pub(crate) struct Case {
    pub(crate) def: MapDef,
    /// Keys that operations choose from; one empty key for maps without keys.
    pub(crate) keys: Vec<Vec<u8>>,
    pub(crate) order: Order,
    /// The types of keys and values, where they count.
    pub(crate) types: Option<Btf>,
}

/// Whether the order of keys is defined.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    Defined,
    /// The order is that of the map's hash function.
    Free,
}

pub(crate) fn case(
    map_type: MapType,
    key_bytes: u32,
    value_bytes: u32,
    max_entries: u32,
    flags: u32,
    order: Order,
) -> Case {
    let def = MapDef {
        flags: MapFlags(flags),
        ..MapDef::new(map_type.name(), map_type, key_bytes, value_bytes, max_entries)
    };
    let keys = (0..max_entries.min(40) + 3).map(|number| {
        let mut key = number.to_ne_bytes().to_vec();
        key.resize(key_bytes as usize, 0xa5);
        key
    });
    Case { def, keys: keys.collect(), order, types: None }
}

/// Every kind that the machine has and that user space can operate on.
pub(crate) fn cases() -> Vec<Case> {
    use MapType::*;
    vec![
        case(Array, 4, 13, 7, 0, Order::Defined),
        case(Array, 4, 8, 1, MapFlags::WRONLY, Order::Defined),
        case(PercpuArray, 4, 5, 6, 0, Order::Defined),
        case(ProgArray, 4, 4, 5, 0, Order::Defined),
        case(PerfEventArray, 4, 4, 5, 0, Order::Defined),
        case(Hash, 4, 8, 16, 0, Order::Free),
        case(Hash, 7, 33, 16, MapFlags::NO_PREALLOC, Order::Free),
        case(Hash, 2, 1, 1, 0, Order::Free),
        case(Hash, 4, 8, 8, MapFlags::RDONLY, Order::Free),
        case(PercpuHash, 4, 12, 16, 0, Order::Free),
        case(PercpuHash, 16, 8, 5, MapFlags::NO_PREALLOC, Order::Free),
        roomy(case(LruHash, 4, 8, 4096, 0, Order::Free)),
        roomy(case(LruHash, 6, 5, 4096, MapFlags::NO_COMMON_LRU, Order::Free)),
        roomy(case(LruPercpuHash, 4, 12, 4096, 0, Order::Free)),
        case(Ringbuf, 0, 0, 4096, 0, Order::Defined),
        case(Queue, 0, 9, 5, 0, Order::Defined),
        case(Stack, 0, 16, 5, 0, Order::Defined),
        prefixes(case(LpmTrie, 8, 7, 12, MapFlags::NO_PREALLOC, Order::Defined)),
        prefixes(case(LpmTrie, 20, 8, 30, MapFlags::NO_PREALLOC, Order::Defined)),
        case(BloomFilter, 0, 8, 4096, 0, Order::Defined),
        case(Devmap, 4, 4, 5, 0, Order::Defined),
        case(Devmap, 4, 8, 5, 0, Order::Defined),
        case(DevmapHash, 4, 4, 5, 0, Order::Free),
        case(DevmapHash, 4, 8, 5, 0, Order::Free),
        case(Cpumap, 4, 4, 3, 0, Order::Defined),
        case(Cpumap, 4, 8, 3, 0, Order::Defined),
        case(Xskmap, 4, 4, 5, 0, Order::Defined),
        case(StackTrace, 4, 80, 5, 0, Order::Defined),
        case(StackTrace, 4, 96, 5, MapFlags::STACK_BUILD_ID, Order::Defined),
        case(CgroupArray, 4, 4, 5, 0, Order::Defined),
        case(CgroupStorage, 8, 12, 0, 0, Order::Defined),
        case(CgroupStorage, 16, 12, 0, 0, Order::Defined),
        case(PercpuCgroupStorage, 16, 12, 0, 0, Order::Defined),
        case(UserRingbuf, 0, 0, 4096, 0, Order::Defined),
        case(Arena, 0, 0, 2, MapFlags::MMAPABLE, Order::Defined),
        case(ReuseportSockarray, 4, 4, 5, 0, Order::Defined),
        case(ReuseportSockarray, 4, 8, 5, 0, Order::Defined),
        case(Sockmap, 4, 4, 5, 0, Order::Defined),
        case(Sockmap, 4, 8, 5, 0, Order::Defined),
        case(Sockhash, 4, 4, 5, 0, Order::Free),
        case(Sockhash, 12, 8, 5, 0, Order::Free),
    ]
}

/// Values that belong to something: keys are file descriptors of it.
pub(crate) fn storage(map_type: MapType, value_bytes: u32, owners: &[i32]) -> Case {
    let mut case = case(map_type, 4, value_bytes, 0, MapFlags::NO_PREALLOC, Order::Defined);
    (case.def.key_type, case.def.value_type) = (Some(TypeId(1)), Some(TypeId(3)));
    case.types = Some(storage_types(value_bytes));
    case.keys = owners.iter().map(|fd| fd.to_ne_bytes().to_vec()).collect();
    case
}

/// Types for keys of 4 bytes and values of so many.
pub(crate) fn storage_types(value_bytes: u32) -> Btf {
    let mut builder = BtfBuilder::new();
    let mut int = |name, bytes: u32| {
        let (name, encoding) = (builder.intern(name), IntEncoding::default());
        builder.push(name, Kind::Int { bytes, encoding, bit_offset: 0, bits: bytes as u8 * 8 })
    };
    let (index, element) = (int("int", 4), int("char", 1));
    // Where larger values are refused, it is not for their type.
    let count = value_bytes.clamp(1, 1 << 16);
    builder.push(Name::EMPTY, Kind::Array { element, index, count });
    builder.finish().unwrap()
}

/// A table that never gets full: which entry goes then is not defined.
pub(crate) fn roomy(case: Case) -> Case {
    assert!(case.keys.len() * 8 < case.def.max_entries as usize);
    case
}

/// Keys of tries: prefixes of a few numbers, of all lengths and one too long.
pub(crate) fn prefixes(mut case: Case) -> Case {
    let data_bytes = case.def.key_bytes as usize - 4;
    let mut numbers = Numbers(7);
    case.keys = (0..60)
        .map(|n| {
            let bits = numbers.below(data_bytes * 8 + 1) as u32 + u32::from(n == 0);
            let bits = if n % 3 == 0 { bits.min(9) } else { bits };
            let bits = if n == 1 { data_bytes as u32 * 8 + 1 } else { bits };
            // Few different starts, so that prefixes lie within one another.
            let mut data = vec![[0xaa, 0xab, 0x2a][numbers.below(3)]; data_bytes];
            data[data_bytes - 1] = numbers.next() as u8;
            [bits.to_ne_bytes().to_vec(), data].concat()
        })
        .collect();
    case
}

/// Numbers that are the same in every run (xorshift).
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    pub(crate) fn bytes(&mut self, bytes: usize) -> Vec<u8> {
        (0..bytes).map(|_| self.next() as u8).collect()
    }
}

/// A value: any bytes, but for maps of targets a target that the kernel has, or none.
pub(crate) fn value(def: &MapDef, bytes: usize, numbers: &mut Numbers) -> Vec<u8> {
    use MapType::{Cpumap, Devmap, DevmapHash};
    if !matches!(def.map_type, Devmap | DevmapHash | Cpumap) {
        return numbers.bytes(bytes);
    }
    // The first device is the loopback device; a queue of one packet is a queue.
    let mut target = u32::from(numbers.below(4) != 0);
    if def.map_type == Cpumap && numbers.below(20) == 0 {
        target = 16385;
    }
    // A number that is no program, seldom one that looks like a file.
    let program = [0, -1, i32::MIN, 1 << 20][numbers.below(4)];
    let mut value = target.to_ne_bytes().to_vec();
    value.extend(program.to_ne_bytes());
    value.truncate(bytes);
    value
}
