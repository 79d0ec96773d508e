//! Maps of the machine and of the kernel: the same definitions are refused with the same error
//! numbers, and the same operations give the same results, errors and contents.

use ebpfvm::map::{Map, MapError, MapLimits, MapRef, UpdateFlags};
use ebpfvm_kernel::{Kernel, Map as KernelMap, MapError as KernelError, MapRequest, report_skip};
use ebpfvm_spec::{Errno, MapDef, MapFlags, MapType};
use std::collections::BTreeMap;

const OPERATIONS: u32 = 10_000;

/// The kernel, or none with a visible skip.
fn kernel(test: &str) -> Option<Kernel> {
    match Kernel::probe() {
        Ok(kernel) if kernel.version() >= (6, 18) => Some(kernel),
        Ok(kernel) => {
            let why = format!("the rules are those of 6.18, not {}", kernel.release());
            report_skip(test, why);
            None
        }
        Err(e) => {
            report_skip(test, e);
            None
        }
    }
}

/// A map with the keys and values that the operations use.
struct Case {
    def: MapDef,
    /// Keys that operations choose from; one empty key for maps without keys.
    keys: Vec<Vec<u8>>,
    order: Order,
}

/// Whether the order of keys is defined.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    Defined,
    /// The order is that of the map's hash function.
    Free,
}

fn case(
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
    Case { def, keys: keys.collect(), order }
}

/// Every kind that the machine has and that user space can operate on.
fn cases() -> Vec<Case> {
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
    ]
}

/// A table that never gets full: which entry goes then is not defined.
fn roomy(case: Case) -> Case {
    assert!(case.keys.len() * 8 < case.def.max_entries as usize);
    case
}

/// Keys of tries: prefixes of a few numbers, of all lengths and one too long.
fn prefixes(mut case: Case) -> Case {
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
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    fn bytes(&mut self, bytes: usize) -> Vec<u8> {
        (0..bytes).map(|_| self.next() as u8).collect()
    }
}

/// A value: any bytes, but for maps of targets a target that the kernel has, or none.
fn value(def: &MapDef, bytes: usize, numbers: &mut Numbers) -> Vec<u8> {
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

fn request(def: &MapDef) -> MapRequest<'_> {
    MapRequest {
        flags: def.flags.0,
        extra: def.extra,
        ..MapRequest::new(def.map_type, def.key_bytes, def.value_bytes, def.max_entries)
    }
}

fn ours<T>(result: Result<T, MapError>) -> Result<T, Errno> {
    result.map_err(|e| e.errno())
}

fn theirs<T>(result: Result<T, KernelError>) -> Result<T, Errno> {
    result.map_err(|e| e.errno().unwrap_or_else(|| panic!("a wrong size: {e}")))
}

/// A value as the kernel's interface gives it, with none for an entry that is not there.
fn present(result: Result<Option<Vec<u8>>, Errno>) -> Result<Vec<u8>, Errno> {
    result.and_then(|value| value.ok_or(Errno::ENOENT))
}

/// The bytes of per-CPU values that fill them up to 8 are the kernel's to choose.
fn without_padding(def: &MapDef, value: Result<Vec<u8>, Errno>) -> Result<Vec<u8>, Errno> {
    let mut value = value?;
    if def.map_type.is_percpu() {
        let bytes = def.value_bytes as usize;
        value.chunks_mut(bytes.next_multiple_of(8)).for_each(|lane| lane[bytes..].fill(0));
    }
    Ok(value)
}

fn contents(case: &Case, entries: Vec<(Vec<u8>, Vec<u8>)>) -> Vec<(Vec<u8>, Vec<u8>)> {
    let bare = |value| without_padding(&case.def, Ok(value)).unwrap();
    let entries = entries.into_iter().map(|(key, value)| (key, bare(value)));
    match case.order {
        Order::Defined => entries.collect(),
        Order::Free => entries.collect::<BTreeMap<_, _>>().into_iter().collect(),
    }
}

fn follow(case: &Case, our: &Map, their: &KernelMap, numbers: &mut Numbers) {
    let name = our.def().map_type.name();
    for step in 0..OPERATIONS {
        let key = &case.keys[numbers.below(case.keys.len())];
        let value = value(&case.def, our.host_value_bytes(), numbers);
        let flags = [0, 0, 0, 0, 1, 2, 3, 4, 1 << 40][numbers.below(9)];
        // A lookup in a Bloom filter takes a value, which others do not.
        let is_bloom = case.def.map_type == MapType::BloomFilter;
        match numbers.below(if case.def.key_bytes == 0 { 6 } else { 8 }) {
            3 if is_bloom => {
                // Members of both are found; the filters may differ about strangers.
                let mut value = value;
                assert_eq!(our.push(&value, UpdateFlags::ANY), Ok(()));
                assert_eq!(our.peek(&mut value), Ok(()), "{name}, step {step}");
            }
            0..3 => {
                let got = ours(our.write(key, &value, UpdateFlags(flags)));
                let expected = theirs(their.update(key, &value, flags));
                assert_eq!(got, expected, "{name}, step {step}: update {key:x?} flags {flags}");
            }
            3 => {
                let got = without_padding(&case.def, ours(our.read(key)));
                let expected = without_padding(&case.def, present(theirs(their.lookup(key))));
                assert_eq!(got, expected, "{name}, step {step}: lookup {key:x?}");
            }
            4 => {
                let got = without_padding(&case.def, ours(our.take(key)));
                let expected =
                    without_padding(&case.def, present(theirs(their.lookup_and_delete(key))));
                assert_eq!(got, expected, "{name}, step {step}: lookup and delete {key:x?}");
            }
            5 => {
                let got = ours(our.remove(key));
                assert_eq!(got, theirs(their.delete(key)), "{name}, step {step}: delete {key:x?}");
            }
            6 if case.order == Order::Defined => {
                let got = ours(our.next_key(Some(key)));
                let expected = present(theirs(their.next_key(Some(key))));
                assert_eq!(got, expected, "{name}, step {step}: next key {key:x?}");
            }
            _ => {
                let got = ours(our.next_key(None)).map(|key| key.len());
                let expected = present(theirs(their.next_key(None))).map(|key| key.len());
                assert_eq!(got, expected, "{name}, step {step}: first key");
            }
        }
    }
}

#[test]
fn the_same_operations_give_the_same() {
    let Some(kernel) = kernel("the_same_operations_give_the_same") else { return };
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    for case in cases() {
        let our: MapRef =
            Map::create(&case.def, kernel.possible_cpus(), &MapLimits::default()).unwrap();
        let their = kernel.map_create(&request(&case.def)).unwrap();
        assert_eq!(our.host_value_bytes(), their.value_bytes());
        follow(&case, &our, &their, &mut numbers);
        // Kinds without keys or without values have no entries on either side.
        if let Ok(entries) = their.entries() {
            let our_entries = our.entries().collect();
            assert_eq!(contents(&case, our_entries), contents(&case, entries), "{:?}", case.def);
        }
        assert_eq!(ours(our.freeze()), theirs(their.freeze()), "{:?}", case.def);
        assert_eq!(ours(our.freeze()), theirs(their.freeze()), "{:?}", case.def);
        follow(&case, &our, &their, &mut numbers);
    }
}

/// Definitions around the edges of every rule. Sizes that the kernel would really allocate stay
/// small; where it may say ENOMEM, the machine's limit decides instead.
#[test]
fn the_same_definitions_are_refused() {
    let Some(kernel) = kernel("the_same_definitions_are_refused") else { return };
    let limits = MapLimits { map_bytes: 1 << 40 };
    let mut compared = 0;
    let mut compare = |def: MapDef| {
        let got = Map::bytes_needed(&def, kernel.possible_cpus(), &limits).map(drop);
        let expected = kernel.map_create(&request(&def)).map(drop);
        match &got {
            Err(e) => assert_eq!(Err(e.errno()), expected, "{e}"),
            Ok(()) => assert_eq!(Ok(()), expected, "{def:?}"),
        }
        compared += 1;
    };
    let mut seen = Vec::new();
    for Case { def, .. } in cases() {
        if seen.contains(&def.map_type) {
            continue;
        }
        seen.push(def.map_type);
        // The kernel allocates what it takes: values of megabytes only for a few entries.
        let few = if def.map_type == MapType::Ringbuf { def.max_entries } else { 2 };
        let def = MapDef { max_entries: few, ..def };
        // The flag bits of Linux 6.18, one by one; BPF_F_NUMA_NODE goes with node 0.
        for bit in 0..32 {
            compare(MapDef { flags: MapFlags(def.flags.0 ^ 1 << bit), ..def.clone() });
        }
        for both in [3 << 3, 3 << 7, 0x5a] {
            compare(MapDef { flags: MapFlags(def.flags.0 | both), ..def.clone() });
        }
        for extra in [1, 15, 16, u64::MAX] {
            compare(MapDef { extra, ..def.clone() });
        }
        let big = [1 << 15, (1 << 15) + 1, 4194024, 4194025, 4194255, 4 << 20, (4 << 20) + 1];
        let huge = [1 << 31, u32::MAX];
        let small = [0, 1, 3, 4, 5, 7, 8, 12, 16, 260, 261];
        for key_bytes in small.into_iter().chain(big).chain(huge) {
            compare(MapDef { key_bytes, ..def.clone() });
        }
        for value_bytes in small.into_iter().chain(big).chain(huge) {
            // An array would really allocate a value of almost 2 GiB; 2 GiB it refuses.
            compare(MapDef { value_bytes, ..def.clone() });
        }
        for key_bytes in [1, 8, (4 << 20) - 57, (4 << 20) - 56] {
            compare(MapDef { key_bytes, value_bytes: 8, max_entries: 1, ..def.clone() });
        }
        let mut entries = vec![0, 1, 2, 3, 4095, 4096, 8192, 12288];
        if def.map_type == MapType::Cpumap {
            // Between these lies NR_CPUS, which is the kernel's configuration.
            entries = vec![0, 1, 2, 3, 4, 8193, u32::MAX];
        }
        if def.map_type == MapType::DevmapHash {
            entries.extend([(1 << 31) + 1, u32::MAX]);
        }
        // What hash tables refuse without allocating.
        if matches!(def.map_type, MapType::Hash | MapType::PercpuHash | MapType::LruHash) {
            entries.extend([(1 << 27) + 1, 1 << 31, u32::MAX]);
        }
        for max_entries in entries {
            compare(MapDef { max_entries, ..def.clone() });
        }
    }
    eprintln!("{compared} definitions of {} kinds compared", seen.len());
    assert!(compared > 60 * seen.len());
}

/// Maps of maps hold maps that look like the pattern; the numbers that they show differ.
#[test]
fn maps_of_maps_hold_the_same() {
    let Some(kernel) = kernel("maps_of_maps_hold_the_same") else { return };
    let limits = MapLimits::default();
    let cpus = kernel.possible_cpus();
    let mut numbers = Numbers(0x1234_5678_9abc_def1);
    let def = |kind, key, value, entries, flags| MapDef {
        flags: MapFlags(flags),
        ..MapDef::new("inner", kind, key, value, entries)
    };
    // The first is the pattern; others differ from it in one property each.
    let arrays = [
        def(MapType::Array, 4, 8, 3, 0),
        def(MapType::Array, 4, 8, 4, 0),
        def(MapType::Array, 4, 4, 3, 0),
        def(MapType::Array, 4, 8, 3, MapFlags::RDONLY_PROG),
        def(MapType::PercpuArray, 4, 8, 3, 0),
    ];
    let hashes = [
        def(MapType::Hash, 4, 8, 3, 0),
        def(MapType::Hash, 4, 8, 9, 0),
        def(MapType::Hash, 5, 8, 3, 0),
        def(MapType::Hash, 4, 8, 3, MapFlags::NO_PREALLOC),
        def(MapType::Array, 4, 8, 3, 0),
    ];
    let sizeless = [
        def(MapType::Array, 4, 8, 3, MapFlags::INNER_MAP),
        def(MapType::Array, 4, 8, 9, MapFlags::INNER_MAP),
        def(MapType::Array, 4, 8, 3, 0),
    ];
    for outer in [MapType::ArrayOfMaps, MapType::HashOfMaps] {
        for inner_defs in [&arrays[..], &hashes, &sizeless] {
            let inner = Some(Box::new(inner_defs[0].clone()));
            let outer_def = MapDef { inner, ..MapDef::new("outer", outer, 4, 4, 4) };
            let our = Map::create(&outer_def, cpus, &limits).unwrap();
            let ours_inside: Vec<_> =
                inner_defs.iter().map(|def| Map::create(def, cpus, &limits).unwrap()).collect();
            let theirs_inside: Vec<_> =
                inner_defs.iter().map(|def| kernel.map_create(&request(def)).unwrap()).collect();
            let request = MapRequest { inner_map: Some(&theirs_inside[0]), ..request(&outer_def) };
            let their = kernel.map_create(&request).unwrap();
            // The kernel waits for all running programs at each update: some milliseconds.
            for step in 0..OPERATIONS / 50 {
                let key = (numbers.below(6) as u32).to_ne_bytes();
                let what =
                    format!("{} of {}, step {step}", outer.name(), inner_defs[0].map_type.name());
                match numbers.below(4) {
                    0 | 1 => {
                        let which = numbers.below(inner_defs.len() * 3);
                        let which = if which < inner_defs.len() { which } else { 0 };
                        let flags = [0, 0, 0, 1, 2, 3][numbers.below(6)];
                        let map = ours_inside[which].clone();
                        let got = ours(our.set_inner(&key, map, UpdateFlags(flags)));
                        let fd = theirs_inside[which].fd().to_ne_bytes();
                        let expected = theirs(their.update(&key, &fd, flags));
                        assert_eq!(got, expected, "{what}: update with {which}, flags {flags}");
                    }
                    2 => {
                        let got = ours(our.read(&key)).map(drop);
                        let expected = present(theirs(their.lookup(&key))).map(drop);
                        assert_eq!(got, expected, "{what}: lookup");
                        assert_eq!(our.inner(&key).is_some(), expected.is_ok());
                    }
                    _ => assert_eq!(ours(our.remove(&key)), theirs(their.delete(&key)), "{what}"),
                }
            }
            // No map is lost or kept: those in the outer map and the one here.
            let held = our.entries().count();
            drop(our);
            assert!(held <= 4);
            assert!(ours_inside.iter().all(|map| std::sync::Arc::strong_count(map) == 1));
        }
    }
    for (kind, key, value, entries) in [
        (MapType::ArrayOfMaps, 4, 4, 2),
        (MapType::ProgArray, 4, 4, 2),
        (MapType::Ringbuf, 0, 0, 4096),
    ] {
        let mut inner_def = MapDef::new("inner", kind, key, value, entries);
        let pattern = kernel.map_create(&request(&arrays[0])).unwrap();
        let mut inner_request = request(&inner_def);
        if kind == MapType::ArrayOfMaps {
            inner_request.inner_map = Some(&pattern);
        }
        let their_inner = kernel.map_create(&inner_request).unwrap();
        if kind == MapType::ArrayOfMaps {
            inner_def.inner = Some(Box::new(arrays[0].clone()));
        }
        let outer = MapDef::new("outer", MapType::HashOfMaps, 4, 4, 4);
        let expected =
            kernel.map_create(&MapRequest { inner_map: Some(&their_inner), ..request(&outer) });
        let outer = MapDef { inner: Some(Box::new(inner_def)), ..outer };
        let got = Map::create(&outer, cpus, &limits).map(drop).map_err(|e| e.errno());
        assert_eq!(got, expected.map(drop), "{}", kind.name());
    }
}
