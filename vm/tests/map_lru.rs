//! Tables that let the least recently used entry go.

use ebpfvm::map::{Cpu, Map, MapLimits, MapRef, UpdateFlags};
use ebpfvm_spec::{Errno, MapDef, MapFlags, MapType};
use std::thread;

const KINDS: [MapType; 2] = [MapType::LruHash, MapType::LruPercpuHash];

fn create(kind: MapType, max_entries: u32, flags: u32) -> MapRef {
    let def = MapDef { flags: MapFlags(flags), ..MapDef::new("flows", kind, 4, 8, max_entries) };
    Map::create(&def, 4, &MapLimits::default()).unwrap()
}

fn set(map: &Map, key: u32, flags: u64) -> Result<(), Errno> {
    let value = u64::from(key).to_ne_bytes();
    map.update(&key.to_ne_bytes(), &value, UpdateFlags(flags), Cpu(0))
}

fn has(map: &Map, key: u32) -> bool {
    map.read(&key.to_ne_bytes()).is_ok()
}

#[test]
fn the_newest_stay_when_nobody_looks() {
    for kind in KINDS {
        let map = create(kind, 8, 0);
        for key in 0..100 {
            set(&map, key, 0).unwrap();
            assert_eq!(map.entries().count(), 8.min(key as usize + 1), "full before one goes");
        }
        assert!((92..100).all(|key| has(&map, key)), "{kind:?}");
    }
}

#[test]
fn what_a_program_looks_up_stays() {
    for kind in KINDS {
        let map = create(kind, 8, 0);
        for key in 0..1000 {
            set(&map, key, 0).unwrap();
            assert!(map.lookup(&0u32.to_ne_bytes(), Cpu(0)).is_some(), "{kind:?}, {key}");
            // The host's reading is no use of an entry.
            let _ = map.read(&1u32.to_ne_bytes());
        }
        assert!(has(&map, 0) && !has(&map, 1));
    }
}

#[test]
fn an_entry_goes_even_if_all_are_in_use() {
    let map = create(MapType::LruHash, 8, 0);
    for key in 0..8 {
        set(&map, key, 0).unwrap();
        map.lookup(&key.to_ne_bytes(), Cpu(0)).unwrap();
    }
    set(&map, 8, 1).unwrap();
    assert!(has(&map, 8));
    assert_eq!(map.entries().count(), 8);
}

#[test]
fn flags_are_those_of_hash_tables() {
    let map = create(MapType::LruHash, 2, 0);
    assert_eq!(
        [set(&map, 1, 2), set(&map, 1, 1), set(&map, 1, 1)],
        [Err(Errno::ENOENT), Ok(()), Err(Errno::EEXIST)]
    );
    assert_eq!(set(&map, 1, 3), Err(Errno::EINVAL));
    for (flags, errno) in [
        (MapFlags::NO_PREALLOC, Errno::ENOTSUPP),
        (MapFlags::NO_COMMON_LRU | MapFlags::NUMA_NODE, Errno::EINVAL),
    ] {
        let def = MapDef { flags: MapFlags(flags), ..map.def().clone() };
        let error = Map::create(&def, 1, &MapLimits::default()).unwrap_err();
        assert_eq!(error.errno(), errno, "{error}");
    }
}

/// With a list for each CPU the capacity is a multiple of the CPUs.
#[test]
fn capacity_is_shared_out_among_cpus() {
    let map = create(MapType::LruHash, 5, MapFlags::NO_COMMON_LRU);
    (0..100).for_each(|key| set(&map, key, 0).unwrap());
    assert_eq!(map.entries().count(), 8);
}

/// Many threads push entries out of a small table: it is never over-full, and nothing is lost.
#[test]
fn threads_evict_one_another() {
    for kind in KINDS {
        let map = create(kind, 16, 0);
        thread::scope(|scope| {
            for thread in 0..4u32 {
                let map = &map;
                scope.spawn(move || {
                    for round in 0..10_000u32 {
                        let key = (round * 4 + thread) % 200;
                        assert_eq!(set(map, key, 0), Ok(()));
                        let _ = map.lookup(&(round % 7).to_ne_bytes(), Cpu(thread));
                    }
                });
            }
        });
        assert_eq!(map.entries().count(), 16);
        for (key, value) in map.entries() {
            assert_eq!(value[..4], key[..], "{kind:?}");
        }
    }
}
