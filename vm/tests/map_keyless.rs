//! Maps without keys: queues, stacks, Bloom filters.

use ebpfvm::map::{Cpu, Map, MapLimits, MapRef, UpdateFlags};
use ebpfvm_spec::{Errno, MapDef, MapFlags, MapType};
use proptest::prelude::*;
use std::collections::VecDeque;
use std::thread;

fn create(kind: MapType, value_bytes: u32, max_entries: u32) -> MapRef {
    let def = MapDef::new("m", kind, 0, value_bytes, max_entries);
    Map::create(&def, 1, &MapLimits::default()).unwrap()
}

proptest! {
    #[test]
    fn queues_and_stacks_do_what_the_model_does(
        ops in proptest::collection::vec((0..6u8, any::<[u8; 5]>()), 1..100),
        max_entries in 1..6usize,
    ) {
        for kind in [MapType::Queue, MapType::Stack] {
            let map = create(kind, 5, max_entries as u32);
            let mut model = VecDeque::new();
            for (op, value) in &ops {
                let newest = kind == MapType::Stack;
                let first = if newest { model.back() } else { model.front() }.copied();
                let mut out = [0xee; 5];
                match op {
                    0..2 => {
                        let full = model.len() == max_entries;
                        let expected = if full { Err(Errno::E2BIG) } else { Ok(()) };
                        prop_assert_eq!(map.push(value, UpdateFlags::ANY), expected);
                        if !full {
                            model.push_back(*value);
                        }
                    }
                    2 => {
                        prop_assert_eq!(map.push(value, UpdateFlags::EXIST), Ok(()));
                        if model.len() == max_entries {
                            model.pop_front();
                        }
                        model.push_back(*value);
                    }
                    3 => {
                        prop_assert_eq!(map.peek(&mut out), first.map(drop).ok_or(Errno::ENOENT));
                        prop_assert_eq!(out, first.unwrap_or_default());
                    }
                    _ => {
                        prop_assert_eq!(map.pop(&mut out), first.map(drop).ok_or(Errno::ENOENT));
                        prop_assert_eq!(out, first.unwrap_or_default());
                        if newest { model.pop_back() } else { model.pop_front() };
                    }
                }
                let mut values: Vec<_> = model.iter().map(|value| value.to_vec()).collect();
                if newest {
                    values.reverse();
                }
                prop_assert_eq!(map.values(), values);
            }
        }
    }

    #[test]
    fn a_filter_knows_its_members(values in proptest::collection::vec(any::<[u8; 12]>(), 1..50)) {
        for extra in [0, 1, 15] {
            let def = MapDef { extra, ..MapDef::new("f", MapType::BloomFilter, 0, 12, 50) };
            let map = Map::create(&def, 1, &MapLimits::default()).unwrap();
            for value in &values {
                prop_assert_eq!(map.push(value, UpdateFlags::ANY), Ok(()));
            }
            for mut value in values.iter().copied() {
                prop_assert_eq!(map.peek(&mut value), Ok(()));
            }
        }
    }
}

#[test]
fn flags_and_sizes_are_checked() {
    for kind in [MapType::Queue, MapType::Stack, MapType::BloomFilter] {
        let map = create(kind, 8, 2);
        for flags in [1, 3, 4, 8] {
            assert_eq!(map.push(&[0; 8], UpdateFlags(flags)), Err(Errno::EINVAL));
        }
        assert_eq!(map.push(&[0; 7], UpdateFlags::ANY), Err(Errno::EINVAL));
        assert_eq!(map.peek(&mut [0; 9]), Err(Errno::EINVAL));
        assert_eq!(map.pop(&mut []), Err(Errno::EINVAL));
        assert_eq!(map.lookup(&[], Cpu(0)), None);
        let def = MapDef { flags: MapFlags(MapFlags::RDONLY_PROG), ..map.def().clone() };
        let read_only = Map::create(&def, 1, &MapLimits::default()).unwrap();
        assert_eq!(read_only.push(&[0; 8], UpdateFlags::ANY), Err(Errno::EPERM));
        assert_eq!(read_only.pop(&mut [0; 8]), Err(Errno::EPERM));
    }
    let array = Map::create(&MapDef::new("a", MapType::Array, 4, 8, 1), 1, &MapLimits::default());
    assert_eq!(array.unwrap().push(&[0; 8], UpdateFlags::ANY), Err(Errno::ENOTSUPP));
}

/// A filter as full as it was made for takes few strangers for members.
#[test]
fn a_filter_seldom_errs() {
    let map = create(MapType::BloomFilter, 8, 1000);
    for member in 0..1000u64 {
        map.push(&member.to_ne_bytes(), UpdateFlags::ANY).unwrap();
    }
    let errs = (1000..11_000u64).filter(|n| map.peek(&mut n.to_ne_bytes()).is_ok()).count();
    // Five hashes and 8 bits for each member: 2 % are expected.
    assert!(errs < 500, "{errs} of 10,000");
}

/// What goes in comes out once, in each producer's order.
#[test]
fn queues_lose_nothing_under_threads() {
    let map = create(MapType::Queue, 8, 16);
    let taken: Vec<u64> = thread::scope(|scope| {
        for producer in 0..2u64 {
            let map = &map;
            scope.spawn(move || {
                for number in 0..10_000u64 {
                    let value = (number << 1 | producer).to_ne_bytes();
                    while map.push(&value, UpdateFlags::ANY).is_err() {
                        thread::yield_now();
                    }
                }
            });
        }
        let mut taken = Vec::new();
        while taken.len() < 20_000 {
            let mut value = [0; 8];
            match map.pop(&mut value) {
                Ok(()) => taken.push(u64::from_ne_bytes(value)),
                Err(_) => thread::yield_now(),
            }
        }
        taken
    });
    for producer in 0..2 {
        let numbers: Vec<_> = taken.iter().filter(|n| *n & 1 == producer).map(|n| n >> 1).collect();
        assert!(numbers.into_iter().eq(0..10_000));
    }
}
