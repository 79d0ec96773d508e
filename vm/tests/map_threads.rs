//! Maps under threads: no entry is lost, no value is torn, readers never miss what stays.

use ebpfvm::map::{Cpu, Map, MapLimits, MapRef, UpdateFlags};
use ebpfvm_spec::{Errno, MapDef, MapType};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;

fn create(kind: MapType, value_bytes: u32, max_entries: u32, cpus: u32) -> MapRef {
    let def = MapDef::new("shared", kind, 4, value_bytes, max_entries);
    Map::create(&def, cpus, &MapLimits::default()).unwrap()
}

/// Keys that stay are found at all times while other keys come and go around them.
#[test]
fn readers_never_miss_a_key_that_stays() {
    // One bucket of the table in eight holds a staying key; elements move between all of them.
    let map = create(MapType::Hash, 16, 16, 4);
    for key in 0..4u32 {
        map.write(&key.to_ne_bytes(), &[key as u8; 16], UpdateFlags::ANY).unwrap();
    }
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for writer in 0..2u32 {
            let (map, stop) = (&map, &stop);
            scope.spawn(move || {
                for round in 0..60_000u32 {
                    let key = (4 + (round * 7 + writer) % 40).to_ne_bytes();
                    let full = map.write(&key, &[9; 16], UpdateFlags::ANY);
                    assert!(full.is_ok() || full.unwrap_err().errno() == Errno::E2BIG);
                    let other = (4 + (round * 11 + writer) % 40).to_ne_bytes();
                    let _ = map.remove(&other);
                }
                stop.store(true, Relaxed);
            });
        }
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(Relaxed) {
                    for key in 0..4u32 {
                        assert_eq!(map.read(&key.to_ne_bytes()).unwrap(), [key as u8; 16]);
                        assert!(map.lookup(&key.to_ne_bytes(), Cpu(0)).is_some());
                    }
                    let seen = map.entries().filter(|(key, _)| key[0] < 4).count();
                    assert_eq!(seen, 4);
                }
            });
        }
    });
}

/// The smallest table with two chains, whose elements change chains all the time: a reader that is
/// carried into the other chain has to notice.
#[test]
fn readers_notice_that_they_were_carried_away() {
    let map = create(MapType::Hash, 8, 2, 1);
    let stays = 1000u32.to_ne_bytes();
    map.write(&stays, &[7; 8], UpdateFlags::ANY).unwrap();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0..1_500_000u32 {
                let key = (round % 16).to_ne_bytes();
                map.update(&key, &[1; 8], UpdateFlags::ANY, Cpu(0)).unwrap();
                map.delete(&key).unwrap();
            }
            stop.store(true, Relaxed);
        });
        scope.spawn(|| {
            while !stop.load(Relaxed) {
                assert!((0..100).all(|_| map.lookup(&stays, Cpu(0)).is_some()));
            }
        });
    });
}

/// A reader sees one writer's value, not parts of two.
#[test]
fn values_of_hash_tables_do_not_tear_for_the_host() {
    let map = create(MapType::Hash, 64, 2, 2);
    let key = 1u32.to_ne_bytes();
    map.write(&key, &[0; 64], UpdateFlags::ANY).unwrap();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for writer in 0..2u8 {
            let (map, stop) = (&map, &stop);
            scope.spawn(move || {
                for round in 0..40_000u32 {
                    let byte = (round as u8) << 1 | writer;
                    map.update(&key, &[byte; 64], UpdateFlags::ANY, Cpu(0)).unwrap();
                }
                stop.store(true, Relaxed);
            });
        }
        scope.spawn(|| {
            while !stop.load(Relaxed) {
                let value = map.read(&key).unwrap();
                assert!(value.iter().all(|byte| *byte == value[0]), "{value:?}");
            }
        });
    });
}

/// Programs on many CPUs add to the same counter with atomic instructions, through lookups.
#[test]
fn no_count_is_lost() {
    for kind in [MapType::Array, MapType::Hash, MapType::PercpuArray, MapType::PercpuHash] {
        let map = create(kind, 8, 4, 4);
        let key = 3u32.to_ne_bytes();
        thread::scope(|scope| {
            for cpu in 0..4 {
                let map = &map;
                scope.spawn(move || {
                    for _ in 0..10_000 {
                        let value = match map.lookup(&key, Cpu(cpu)) {
                            Some(value) => value,
                            None => {
                                let _ = map.update(&key, &[0; 8], UpdateFlags::NOEXIST, Cpu(cpu));
                                map.lookup(&key, Cpu(cpu)).unwrap()
                            }
                        };
                        // SAFETY: 8 aligned bytes of the map's memory, which the map keeps; all
                        // threads access them as atomics.
                        unsafe { AtomicU64::from_ptr(value.as_ptr().cast()) }.fetch_add(1, Relaxed);
                    }
                });
            }
        });
        let value = map.read(&key).unwrap();
        let sum: u64 =
            value.chunks(8).map(|lane| u64::from_ne_bytes(lane.try_into().unwrap())).sum();
        assert_eq!(sum, 40_000, "{kind:?}");
    }
}

/// The capacity is exact under threads, and every element comes back.
#[test]
fn nothing_leaks() {
    for kind in [MapType::Hash, MapType::PercpuHash] {
        let map = create(kind, 8, 64, 4);
        thread::scope(|scope| {
            for thread in 0..4u32 {
                let map = &map;
                scope.spawn(move || {
                    for round in 0..20_000u32 {
                        let key = ((round * 31 + thread * 17) % 96).to_ne_bytes();
                        let _ = map.update(&key, &[1; 8], UpdateFlags::ANY, Cpu(thread));
                        let other = ((round * 13 + thread) % 96).to_ne_bytes();
                        let _ = map.delete(&other);
                    }
                });
            }
        });
        let held: Vec<_> = map.entries().map(|(key, _)| key).collect();
        assert!(held.len() <= 64);
        for key in held {
            map.remove(&key).unwrap();
        }
        let fits = |key: u32| map.update(&key.to_ne_bytes(), &[0; 8], UpdateFlags::ANY, Cpu(0));
        assert!((0..64).all(|key| fits(key).is_ok()));
        assert_eq!(fits(64), Err(Errno::E2BIG));
        assert_eq!(map.entries().count(), 64);
    }
}
