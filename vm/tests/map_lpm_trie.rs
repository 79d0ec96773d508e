//! Longest-prefix matching against a list of prefixes.

use ebpfvm::map::{Cpu, Map, MapLimits, MapRef, UpdateFlags};
use ebpfvm_spec::{Errno, MapDef, MapFlags, MapType};
use proptest::prelude::*;
use std::thread;

fn create(data_bytes: u32, max_entries: u32) -> MapRef {
    let def = MapDef {
        flags: MapFlags(MapFlags::NO_PREALLOC),
        ..MapDef::new("routes", MapType::LpmTrie, 4 + data_bytes, 4, max_entries)
    };
    Map::create(&def, 1, &MapLimits::default()).unwrap()
}

fn key(length: u32, address: [u8; 4]) -> [u8; 8] {
    [length.to_ne_bytes(), address].concat().try_into().unwrap()
}

fn mask(length: u32, address: [u8; 4]) -> u32 {
    u32::from_be_bytes(address) & u32::MAX.checked_shl(32 - length).unwrap_or(0)
}

fn addresses() -> impl Strategy<Value = [u8; 4]> {
    // Few starts, so that prefixes lie within one another.
    (
        prop_oneof![Just(10), Just(11), Just(138)],
        prop_oneof![Just(0), Just(255)],
        0..4u8,
        any::<u8>(),
    )
        .prop_map(|(a, b, c, d)| [a, b, c, d])
}

proptest! {
    #[test]
    fn lookups_find_the_longest_prefix(
        ops in proptest::collection::vec((0..5u8, 0..33u32, addresses(), any::<[u8; 4]>()), 1..80),
    ) {
        let map = create(4, 12);
        let mut model: Vec<(u32, [u8; 4], [u8; 4])> = Vec::new();
        for (op, length, address, value) in ops {
            let k = key(length, address);
            let same = |entry: &(u32, [u8; 4], [u8; 4])| {
                entry.0 == length && mask(length, entry.1) == mask(length, address)
            };
            let there = model.iter().position(same);
            match op {
                0..3 => {
                    let flags = UpdateFlags(u64::from(op));
                    let expected = match (op, there) {
                        (1, Some(_)) => Err(Errno::EEXIST),
                        (2, None) => Err(Errno::ENOENT),
                        (_, None) if model.len() == 12 => Err(Errno::ENOSPC),
                        _ => Ok(()),
                    };
                    prop_assert_eq!(map.update(&k, &value, flags, Cpu(0)), expected);
                    if expected.is_ok() {
                        there.map(|at| model.remove(at));
                        model.push((length, address, value));
                    }
                }
                3 => {
                    let expected = there.map(drop).ok_or(Errno::ENOENT);
                    prop_assert_eq!(map.delete(&k), expected);
                    there.map(|at| model.remove(at));
                }
                _ => {
                    let matches = |entry: &&(u32, [u8; 4], [u8; 4])| {
                        entry.0 <= length && mask(entry.0, entry.1) == mask(entry.0, address)
                    };
                    let best = model.iter().filter(matches).max_by_key(|entry| entry.0);
                    let expected = best.map(|entry| entry.2.to_vec());
                    prop_assert_eq!(map.read(&k).ok(), expected);
                    prop_assert_eq!(map.lookup(&k, Cpu(0)).is_some(), best.is_some());
                }
            }
        }
        // The keys are those given, and walking by "next" gives the order of `entries`.
        let entries: Vec<_> = map.entries().collect();
        let next = |key: &Vec<u8>| map.next_key(Some(key)).ok();
        let walked = std::iter::successors(map.next_key(None).ok(), next);
        prop_assert!(walked.eq(entries.iter().map(|(key, _)| key.clone())));
        let mut expected: Vec<_> =
            model.iter().map(|(l, a, v)| (key(*l, *a).to_vec(), v.to_vec())).collect();
        let mut sorted = entries;
        sorted.sort();
        expected.sort();
        prop_assert_eq!(sorted, expected);
    }
}

#[test]
fn keys_that_are_too_long_are_refused() {
    let map = create(4, 2);
    let long = key(33, [1; 4]);
    assert_eq!(map.update(&long, &[0; 4], UpdateFlags::ANY, Cpu(0)), Err(Errno::EINVAL));
    assert_eq!(map.delete(&long), Err(Errno::EINVAL));
    map.update(&key(0, [0; 4]), &[0; 4], UpdateFlags::ANY, Cpu(0)).unwrap();
    assert_eq!(map.lookup(&long, Cpu(0)), None);
    assert_eq!(map.lookup(&key(u32::MAX, [1; 4]), Cpu(0)), None);
    assert!(map.lookup(&key(32, [1; 4]), Cpu(0)).is_some());
    let def = MapDef::new("t", MapType::LpmTrie, 8, 4, 1);
    let error = Map::create(&def, 1, &MapLimits::default()).unwrap_err();
    assert_eq!(error.errno(), Errno::EINVAL);
    assert!(error.to_string().contains("expected NO_PREALLOC among them"), "{error}");
    let def = MapDef::new("t", MapType::LpmTrie, 261, 4, 1);
    let def = MapDef { flags: MapFlags(MapFlags::NO_PREALLOC), ..def };
    let error = Map::create(&def, 1, &MapLimits::default()).unwrap_err();
    assert!(error.to_string().contains("at least 5 and at most 260 bytes"), "{error}");
}

/// The route that stays is found whatever comes and goes beside it, and values are whole.
#[test]
fn a_route_that_stays_is_always_found() {
    let map = create(4, 32);
    map.write(&key(8, [10, 0, 0, 0]), &[8; 4], UpdateFlags::ANY).unwrap();
    thread::scope(|scope| {
        for writer in 0..2u8 {
            let map = &map;
            scope.spawn(move || {
                for round in 0..20_000u32 {
                    let length = 9 + round % 20;
                    let route = key(length, [10, writer, round as u8, 0]);
                    let _ = map.write(&route, &[length as u8; 4], UpdateFlags::ANY);
                    let _ = map.remove(&key(9 + (round * 7) % 20, [10, writer, round as u8, 0]));
                }
            });
        }
        scope.spawn(|| {
            for round in 0..20_000u32 {
                let value = map.read(&key(32, [10, 1, round as u8, 0])).unwrap();
                assert!(value[0] >= 8 && value.iter().all(|byte| *byte == value[0]), "{value:?}");
            }
        });
    });
}
