//! Contents of maps as bytes and in files: they come back as they were, and what is damaged or of
//! another map is told.

use ebpfvm::map::{Cpu, MapLimits, Snapshot, SnapshotError, UpdateFlags};
use ebpfvm::spec::btf::{SpecialField, SpecialKind};
use ebpfvm::spec::map::MapOrigin;
use ebpfvm::spec::{Errno, MapDef, MapFlags, MapType};
use ebpfvm::{Map, MapRef, PinError, PinRoot};
use proptest::prelude::*;
use std::path::PathBuf;

const CPUS: u32 = 3;

fn create(def: &MapDef) -> MapRef {
    Map::create(def, CPUS, &MapLimits::default()).unwrap()
}

/// A definition of each kind that has snapshots.
fn defs() -> Vec<MapDef> {
    let kinds = [
        (MapType::Hash, 8),
        (MapType::Array, 4),
        (MapType::PercpuHash, 8),
        (MapType::PercpuArray, 4),
        (MapType::LruHash, 8),
        (MapType::LruPercpuHash, 8),
        (MapType::LpmTrie, 8),
        (MapType::Queue, 0),
        (MapType::Stack, 0),
    ];
    let def = |(kind, key): (MapType, u32)| {
        let mut def = MapDef::new(kind.name(), kind, key, 12, 16);
        if kind == MapType::LpmTrie {
            def.flags = MapFlags(MapFlags::NO_PREALLOC);
        }
        def
    };
    kinds.map(def).to_vec()
}

/// Fills a map with entries that differ by number and seed.
fn fill(map: &Map, seed: u8) {
    let def = map.def();
    for n in 1..=9u8 {
        let value: Vec<u8> =
            (0..map.host_value_bytes()).map(|i| n.wrapping_mul(7) ^ i as u8 ^ seed).collect();
        let key = match def.map_type {
            MapType::LpmTrie => [&32u32.to_ne_bytes()[..], &[10, 0, seed, n]].concat(),
            _ if is_array(def) => u32::from(n).to_ne_bytes().to_vec(),
            _ => vec![n ^ seed; def.key_bytes as usize],
        };
        match key.len() {
            0 => map.push(&value, UpdateFlags::ANY).unwrap(),
            _ => map.write(&key, &value, UpdateFlags::ANY).unwrap(),
        }
    }
}

fn is_array(def: &MapDef) -> bool {
    matches!(def.map_type, MapType::Array | MapType::PercpuArray)
}

type Entries = Vec<(Vec<u8>, Vec<u8>)>;

/// Entries in order of their keys, and the values of maps without keys.
fn contents(map: &Map) -> (Entries, Vec<Vec<u8>>) {
    let mut entries: Vec<_> = map.entries().collect();
    entries.sort();
    (entries, map.values())
}

#[test]
fn contents_come_back() {
    for def in defs() {
        let map = create(&def);
        fill(&map, 0);
        let kept = Snapshot::of(&map).unwrap();
        assert_eq!(kept.entries().len(), 9, "{}", def.name);
        let read = Snapshot::from_bytes(&kept.to_bytes()).unwrap();
        assert_eq!(read, kept, "{}", def.name);
        assert!(kept.to_bytes().len() as u64 <= Snapshot::max_bytes(&map), "{}", def.name);
        // Whatever the other map had before is gone.
        let other = create(&def);
        fill(&other, 0x55);
        read.restore(&other).unwrap();
        assert_eq!(contents(&other), contents(&map), "{}", def.name);
    }
}

#[test]
fn empty_maps_come_back_empty() {
    for def in defs() {
        let kept = Snapshot::of(&create(&def)).unwrap();
        assert_eq!(kept.entries().len(), 0, "{}", def.name);
        let other = create(&def);
        fill(&other, 1);
        Snapshot::from_bytes(&kept.to_bytes()).unwrap().restore(&other).unwrap();
        assert_eq!(contents(&other), contents(&create(&def)), "{}", def.name);
    }
}

#[test]
fn values_of_each_cpu_are_kept() {
    let def = MapDef::new("m", MapType::PercpuArray, 4, 4, 2);
    let (map, other) = (create(&def), create(&def));
    for cpu in 0..CPUS {
        map.update(&1u32.to_ne_bytes(), &(cpu + 7).to_ne_bytes(), UpdateFlags::ANY, Cpu(cpu))
            .unwrap();
    }
    Snapshot::of(&map).unwrap().restore(&other).unwrap();
    let value = other.read(&1u32.to_ne_bytes()).unwrap();
    let lanes: Vec<u8> = value.chunks(8).map(|lane| lane[0]).collect();
    assert_eq!(lanes, [7, 8, 9]);
}

/// What a host may not write is put back all the same: it is the same map.
#[test]
fn read_only_maps_are_restored() {
    let mut def = MapDef::new("m", MapType::Array, 4, 4, 1);
    def.flags = MapFlags(MapFlags::RDONLY_PROG);
    def.origin = MapOrigin::Section { section: ".rodata".into(), data: [1, 2, 3, 4].into() };
    let map = create(&def);
    let kept = Snapshot::of(&map).unwrap();
    def.origin = MapOrigin::Section { section: ".rodata".into(), data: [0; 4].into() };
    let other = create(&def);
    assert!(other.is_frozen());
    kept.restore(&other).unwrap();
    assert_eq!(other.read(&[0; 4]).unwrap(), [1, 2, 3, 4]);
}

#[test]
fn a_map_with_other_properties_is_refused() {
    let def = MapDef::new("m", MapType::Hash, 8, 4, 16);
    let kept = Snapshot::of(&create(&def)).unwrap();
    let differ = |change: &dyn Fn(&mut MapDef)| {
        let mut other = def.clone();
        change(&mut other);
        kept.check(&create(&other)).unwrap_err().to_string()
    };
    for (message, expected) in [
        (
            differ(&|def| def.map_type = MapType::LruHash),
            "the contents are of a map with kind hash, but map 'm' has lru_hash",
        ),
        (
            differ(&|def| def.key_bytes = 4),
            "the contents are of a map with keys of 8 bytes, but map 'm' has 4 bytes",
        ),
        (
            differ(&|def| def.value_bytes = 8),
            "the contents are of a map with values of 4 bytes, but map 'm' has 8 bytes",
        ),
        (
            differ(&|def| def.max_entries = 17),
            "the contents are of a map with a capacity of 16, but map 'm' has 17",
        ),
        (
            differ(&|def| def.flags = MapFlags(MapFlags::NO_PREALLOC)),
            "the contents are of a map with flags 0x0, but map 'm' has NO_PREALLOC",
        ),
    ] {
        assert_eq!(message, expected);
    }
    let def = MapDef::new("m", MapType::PercpuHash, 8, 4, 16);
    let kept = Snapshot::of(&create(&def)).unwrap();
    let other = Map::create(&def, CPUS + 1, &MapLimits::default()).unwrap();
    let message = kept.restore(&other).unwrap_err().to_string();
    let expected = "the contents are of a map with values for so many CPUs: 3, but map 'm' has 4";
    assert_eq!(message, expected);
}

#[test]
fn kinds_that_are_no_data_are_refused() {
    let def = MapDef::new("m", MapType::ProgArray, 4, 4, 1);
    assert_eq!(Snapshot::of(&create(&def)), Err(SnapshotError::Kind(MapType::ProgArray)));
    assert!(!Snapshot::is_for(MapType::Ringbuf) && Snapshot::is_for(MapType::Queue));
}

fn example() -> Vec<u8> {
    let map = create(&MapDef::new("m", MapType::Hash, 8, 4, 16));
    fill(&map, 0);
    Snapshot::of(&map).unwrap().to_bytes()
}

/// Every byte counts: with any one changed or missing the whole is refused.
#[test]
fn damage_is_noticed() {
    let bytes = example();
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x10;
        assert!(Snapshot::from_bytes(&damaged).is_err(), "byte {at}");
        assert!(Snapshot::from_bytes(&bytes[..at]).is_err(), "{at} bytes");
    }
    assert!(Snapshot::from_bytes(&[&bytes[..], &[0]].concat()).is_err());
}

#[test]
fn damage_is_told_with_its_place() {
    let bytes = example();
    let told = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut damaged = bytes.clone();
        change(&mut damaged);
        Snapshot::from_bytes(&damaged).unwrap_err().to_string()
    };
    let word = |at: usize, value: u32| {
        told(&|bytes| bytes[at..at + 4].copy_from_slice(&value.to_le_bytes()))
    };
    let end = bytes.len();
    for (message, expected) in [
        (told(&|b| b[0] = b'x'), "offset 0: these are no map contents: they begin with [78, 65, "),
        (
            told(&|b| b.truncate(3)),
            "offset 0: these are no map contents: they begin with [89, 65, 62]",
        ),
        (told(&|b| b.truncate(40)), "offset 0: the header ends at 64, but there are 40 bytes"),
        (word(8, 2), "offset 8: the version is 2, expected 1"),
        (word(12, 0), "offset 12: the byte order is 0, expected 1 (little) or 2 (big)"),
        (word(16, 27), "offset 16: the kind is 27, expected one of 1, 2, 5, 6, 9, 10, 11, 22, 23"),
        (word(20, 0), "offset 20: the size of a key is 0, expected at least 1"),
        (word(24, 0), "offset 24: the size of a value is 0, expected at least 1"),
        (word(28, 0), "offset 28: the capacity is 0, expected at least 1"),
        (word(36, 2), "offset 36: the number of CPUs is 2, expected 1"),
        (word(48, 17), "offset 48: the number of entries is 17, expected at most the capacity, 16"),
        (word(60, 1), "offset 56: the rest of the header is 4294967296, expected 0"),
        (
            word(24, u32::MAX),
            "offset 64: the list of entries with its checksum ends at 38654705799, but there are ",
        ),
        (told(&|b| b[end - 9] ^= 1), &format!("offset {}: the checksum is 0x", end - 8)),
    ] {
        assert!(message.starts_with(expected), "{message}\n{expected}");
    }
}

proptest! {
    /// Headers that claim anything give an error or a snapshot, without more memory than the bytes.
    #[test]
    fn any_bytes_are_read(words in proptest::collection::vec(any::<u32>(), 0..40)) {
        let mut bytes = example()[..8].to_vec();
        bytes.extend(words.iter().flat_map(|word| word.to_le_bytes()));
        let _ = Snapshot::from_bytes(&bytes);
        let _ = Snapshot::from_bytes(&bytes[8..]);
    }
}

/// A directory of the test's own.
fn dir(name: &str) -> PathBuf {
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("map_snapshot").join(name);
    let _ = std::fs::remove_dir_all(&dir);
    dir
}

#[test]
fn maps_live_on_in_a_directory() {
    let dir = dir("live");
    let root = PinRoot::new(&dir);
    let def = MapDef::new("counters.v1", MapType::Hash, 8, 4, 16);
    let map = create(&def);
    assert!(!root.load(&map).unwrap(), "nothing is there yet");
    fill(&map, 0);
    root.store(&map).unwrap();
    map.remove(&[1; 8]).unwrap();
    root.store(&map).unwrap();
    let other = create(&def);
    assert!(root.load(&other).unwrap());
    assert_eq!(contents(&other), contents(&map));
    // Nothing but the file remains.
    let files: Vec<_> = std::fs::read_dir(&dir).unwrap().map(|f| f.unwrap().file_name()).collect();
    assert_eq!(files, ["counters.v1"]);
}

#[test]
fn what_cannot_be_loaded_leaves_the_map_alone() {
    let dir = dir("refused");
    let root = PinRoot::new(&dir);
    let map = create(&MapDef::new("m", MapType::Hash, 8, 4, 16));
    fill(&map, 0);
    root.store(&map).unwrap();
    let path = dir.join("m");

    // Of a larger map.
    let small = create(&MapDef::new("m", MapType::Hash, 8, 4, 2));
    let error = root.load(&small).unwrap_err().to_string();
    assert!(error.starts_with(path.to_str().unwrap()), "{error}");
    let tail = "the contents are of a map with a capacity of 16, but map 'm' has 2";
    assert!(error.ends_with(tail), "{error}");

    let before = contents(&map);
    let good = std::fs::read(&path).unwrap();
    std::fs::write(&path, &good[..good.len() - 1]).unwrap();
    let error = root.load(&map).unwrap_err();
    assert!(
        matches!(error, PinError::Content { error: SnapshotError::Length { .. }, .. }),
        "{error}"
    );
    std::fs::write(&path, [&good[..], &[0; 400]].concat()).unwrap();
    let error = root.load(&map).unwrap_err();
    assert!(matches!(error, PinError::TooLarge { .. }), "{error}");
    assert_eq!(contents(&map), before);
}

/// A key that the kind cannot have passes the checksum, and not the map.
#[test]
fn entries_that_the_map_refuses_are_told() {
    let def = MapDef::new("m", MapType::Array, 4, 4, 4);
    let map = create(&def);
    map.write(&3u32.to_ne_bytes(), &[1; 4], UpdateFlags::ANY).unwrap();
    let kept = Snapshot::of(&map).unwrap().to_bytes();
    let read = Snapshot::from_bytes(&kept).unwrap();
    assert_eq!(read.entries().next().unwrap().0, 3u32.to_ne_bytes());
    let mut trie = MapDef::new("t", MapType::LpmTrie, 8, 4, 4);
    trie.flags = MapFlags(MapFlags::NO_PREALLOC);
    let map = create(&trie);
    map.write(&[&8u32.to_ne_bytes()[..], &[10, 0, 0, 0]].concat(), &[1; 4], UpdateFlags::ANY)
        .unwrap();
    let mut bytes = Snapshot::of(&map).unwrap().to_bytes();
    bytes[64..68].copy_from_slice(&33u32.to_ne_bytes());
    let content = bytes.len() - 8;
    let fnv = |sum: u64, byte: &u8| (sum ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
    let sum = bytes[..content].iter().fold(0xcbf2_9ce4_8422_2325, fnv);
    bytes[content..].copy_from_slice(&sum.to_le_bytes());
    let error = Snapshot::from_bytes(&bytes).unwrap().restore(&create(&trie)).unwrap_err();
    assert_eq!(error, SnapshotError::Refused { map: "t".into(), index: 0, errno: Errno::EINVAL });
}

#[test]
fn names_that_are_no_files_are_refused() {
    let root = PinRoot::new("somewhere");
    for name in ["", ".", "..", "a/b", "../a", "a\0"] {
        assert!(matches!(root.path(name), Err(PinError::Name(_))), "{name:?}");
    }
    assert_eq!(root.path(".bss").unwrap(), PathBuf::from("somewhere/.bss"));
}

/// Locks, timers and pointers are no contents, on either side.
#[test]
fn special_fields_are_left_out() {
    let field = |kind: SpecialKind, offset| SpecialField {
        kind,
        offset,
        bytes: kind.bytes(),
        target: None,
        node_offset: 0,
    };
    let pointers = [field(SpecialKind::KptrRef, 0), field(SpecialKind::Refcount, 8)];
    let shared = [pointers[0], field(SpecialKind::SpinLock, 8), field(SpecialKind::Timer, 16)];
    for (kind, fields) in [
        (MapType::Hash, &shared[..]),
        (MapType::Array, &shared),
        (MapType::PercpuHash, &pointers),
        (MapType::PercpuArray, &pointers),
        (MapType::LruHash, &pointers),
    ] {
        let mut def = MapDef::new("m", kind, 4, 36, 4);
        def.special = fields.into();
        let (map, other) = (create(&def), create(&def));
        map.write(&1u32.to_ne_bytes(), &vec![7; map.host_value_bytes()], UpdateFlags::ANY).unwrap();
        let kept = Snapshot::from_bytes(&Snapshot::of(&map).unwrap().to_bytes()).unwrap();
        assert_eq!(kept.entries().len(), 1, "{}", kind.name());
        let (_, value) = kept.entries().next().unwrap();
        for lane in value.chunks(if kind.is_percpu() { 40 } else { 36 }) {
            for (at, byte) in lane[..36].iter().enumerate() {
                let is_special =
                    |f: &SpecialField| (f.offset..f.offset + f.bytes).contains(&(at as u32));
                assert_eq!(*byte, if fields.iter().any(is_special) { 0 } else { 7 }, "byte {at}");
            }
        }
        kept.restore(&other).unwrap();
        assert_eq!(contents(&other), contents(&map));
        assert_eq!(Snapshot::of(&other).unwrap(), kept);
    }
}

/// A list for each CPU rounds the capacity up.
#[test]
fn an_lru_map_may_have_more_than_it_was_made_for() {
    let mut def = MapDef::new("m", MapType::LruHash, 4, 4, 4);
    def.flags = MapFlags(MapFlags::NO_COMMON_LRU);
    let map = create(&def);
    for n in 0..CPUS * 2 {
        map.write(&n.to_ne_bytes(), &[1; 4], UpdateFlags::ANY).unwrap();
    }
    assert_eq!(map.entries().count(), 6);
    let bytes = Snapshot::of(&map).unwrap().to_bytes();
    assert!(bytes.len() as u64 <= Snapshot::max_bytes(&map));
    let other = create(&def);
    Snapshot::from_bytes(&bytes).unwrap().restore(&other).unwrap();
    assert_eq!(contents(&other), contents(&map));
}

/// Counts that no memory holds are refused before anything is taken.
#[test]
fn huge_counts_take_no_memory() {
    let bytes = example();
    for (offset, huge) in [(28, u64::from(u32::MAX)), (24, 1 << 31), (48, u64::MAX), (36, 1 << 31)]
    {
        let mut changed = bytes.clone();
        let width = if offset == 48 { 8 } else { 4 };
        changed[offset..][..width].copy_from_slice(&huge.to_le_bytes()[..width]);
        let error = Snapshot::from_bytes(&changed).unwrap_err().to_string();
        assert!(error.starts_with("offset "), "{error}");
    }
    // A count that the capacity allows, with as many entries claimed as there are not.
    let mut changed = bytes;
    changed[28..32].copy_from_slice(&u32::MAX.to_le_bytes());
    changed[48..56].copy_from_slice(&u64::from(u32::MAX).to_le_bytes());
    let error = Snapshot::from_bytes(&changed).unwrap_err().to_string();
    let expected =
        "offset 64: the list of entries with its checksum ends at 51539607612, but there are";
    assert!(error.starts_with(expected), "{error}");
}
