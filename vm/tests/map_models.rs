//! Models of what threads do to maps: `loom` runs each with the threads meeting in all ways that it
//! knows, and with the old values that a processor may still show.
//!
//! `RUSTFLAGS="--cfg ebpfvm_model" cargo test -p ebpfvm --test map_models --release`, in a target
//! directory of its own. `LOOM_MAX_PREEMPTIONS` says how often a thread may be interrupted; the default
//! here is 2. Without that `cfg` nothing is here.
#![cfg(ebpfvm_model)]

use ebpfvm::map::{Cpu, Map, MapLimits, MapRef, Ringbuf, UpdateFlags};
use ebpfvm_spec::{Errno, MapDef, MapType};
use loom::thread::{self, JoinHandle};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// `loom` comes back to the place before a write when a later read could have gone first, and not to a
/// read that an own access of the writer follows: so those who write begin, and readers are spawned.
fn model(run: impl Fn() + Sync + Send + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound.get_or_insert(2);
    model.max_branches = 100_000;
    static WAYS: AtomicU64 = AtomicU64::new(0);
    let before = WAYS.load(Relaxed);
    model.check(move || {
        WAYS.fetch_add(1, Relaxed);
        run();
    });
    println!("{} ways", WAYS.load(Relaxed) - before);
}

fn create(def: &MapDef) -> MapRef {
    Map::create_seeded(def, 1, &MapLimits::default(), 1).unwrap()
}

/// A table of keys of 8 bytes and values of 16.
fn table(kind: MapType, max_entries: u32) -> MapRef {
    create(&MapDef::new("model", kind, 8, 16, max_entries))
}

/// What another thread does to the map.
fn beside<T: 'static>(map: &MapRef, run: impl FnOnce(&Map) -> T + 'static) -> JoinHandle<T> {
    let map = map.clone();
    thread::spawn(move || run(&map))
}

/// Two words, so that a value can be torn.
fn value(n: u8) -> [u8; 16] {
    [n; 16]
}

fn set(map: &Map, key: u64, n: u8) -> Result<(), Errno> {
    map.update(&key.to_ne_bytes(), &value(n), UpdateFlags::ANY, Cpu(0))
}

fn get(map: &Map, key: u64) -> Option<u8> {
    let seen = map.read(&key.to_ne_bytes()).ok()?;
    assert_eq!(seen[..], value(seen[0]), "parts of two values");
    Some(seen[0])
}

fn there(map: &Map, key: u64) -> bool {
    map.lookup(&key.to_ne_bytes(), Cpu(0)).is_some()
}

/// All elements are free: what the map has room for can be inserted, and no more.
fn nothing_has_leaked(map: &Map, capacity: u64) {
    let keys: Vec<Vec<u8>> = map.entries().map(|(key, _)| key).collect();
    keys.iter().for_each(|key| map.delete(key).unwrap());
    (100..100 + capacity).for_each(|key| set(map, key, 1).unwrap());
    assert_eq!(set(map, 99, 1), Err(Errno::E2BIG));
}

/// A key whose value is replaced is there all the time, with the old value or a new one.
#[test]
fn a_replaced_key_is_never_missed() {
    model(|| {
        let map = table(MapType::Hash, 1);
        set(&map, 7, 1).unwrap();
        let reader = beside(&map, |map| {
            assert!(there(map, 7));
            assert!(get(map, 7).is_some_and(|n| (1..4).contains(&n)));
        });
        (2..4).for_each(|n| set(&map, 7, n).unwrap());
        reader.join().unwrap();
        assert_eq!(get(&map, 7), Some(3));
        nothing_has_leaked(&map, 1);
    });
}

/// As above, behind another key in the chain, whose element is used again.
#[test]
fn a_key_that_stays_is_found_while_its_chain_changes() {
    model(|| {
        // By the seed, these two share one of four buckets.
        let map = table(MapType::Hash, 2);
        let [stays, other] = [0, 2];
        set(&map, stays, 1).unwrap();
        set(&map, other, 1).unwrap();
        let reader = beside(&map, move |map| assert!(there(map, stays), "it was missed"));
        set(&map, stays, 2).unwrap();
        map.delete(&other.to_ne_bytes()).unwrap();
        set(&map, other, 3).unwrap();
        reader.join().unwrap();
        nothing_has_leaked(&map, 2);
    });
}

/// A key that comes and goes is found with its value or not at all, also when its element becomes
/// another key's.
#[test]
fn an_element_that_is_used_again_is_not_taken_for_its_old_key() {
    // By the seed, the one is in another of two buckets than 7 and the other in the same.
    for other in [8, 9] {
        model(move || {
            let map = table(MapType::Hash, 1);
            set(&map, 7, 1).unwrap();
            let reader = beside(&map, move |map| {
                assert!(matches!(get(map, 7), None | Some(1)));
                assert!(matches!(get(map, other), None | Some(2)));
            });
            map.delete(&7u64.to_ne_bytes()).unwrap();
            set(&map, other, 2).unwrap();
            reader.join().unwrap();
            assert_eq!((get(&map, 7), get(&map, other)), (None, Some(2)));
            nothing_has_leaked(&map, 1);
        });
    }
}

/// Of two keys for the last place one gets it.
#[test]
fn the_last_place_is_given_once() {
    model(|| {
        let map = table(MapType::Hash, 1);
        let other = beside(&map, |map| set(map, 8, 2));
        let mine = set(&map, 7, 1);
        let other = other.join().unwrap();
        assert!(mine.is_ok() != other.is_ok());
        assert_eq!((get(&map, 7).is_some(), get(&map, 8).is_some()), (mine.is_ok(), other.is_ok()));
        nothing_has_leaked(&map, 1);
    });
}

/// Two writers of one key: the value is one of theirs, and none of the elements is lost.
#[test]
fn two_writers_of_a_key_leave_one_value() {
    model(|| {
        let map = table(MapType::Hash, 1);
        let other = beside(&map, |map| {
            set(map, 7, 2).unwrap();
            let _ = map.delete(&7u64.to_ne_bytes());
        });
        set(&map, 7, 1).unwrap();
        let seen = get(&map, 7);
        assert!(matches!(seen, None | Some(1 | 2)));
        other.join().unwrap();
        assert!(matches!(get(&map, 7), None | Some(1)));
        nothing_has_leaked(&map, 1);
    });
}

/// Nobody is refused by a full LRU table, and it keeps its size.
#[test]
fn a_full_lru_table_lets_one_go_for_each() {
    model(|| {
        let map = table(MapType::LruHash, 1);
        set(&map, 6, 6).unwrap();
        let other = beside(&map, |map| set(map, 8, 2).unwrap());
        set(&map, 7, 1).unwrap();
        other.join().unwrap();
        let entries: Vec<_> = map.entries().collect();
        assert!(entries.len() <= 1, "{entries:?}");
        // Nothing has leaked: there is room for one, again and again.
        for key in 20..23 {
            set(&map, key, 3).unwrap();
            assert_eq!(get(&map, key), Some(3));
        }
    });
}

/// Records of two producers come out whole, once, in the order of their places.
#[test]
fn records_come_out_once_and_whole() {
    model(|| {
        let map = create(&MapDef::new("events", MapType::Ringbuf, 0, 0, 4096));
        let produce = |n: u8| {
            beside(&map, move |map| {
                let ring: &Ringbuf = map.as_kind().unwrap();
                // One that is given back, and one that is sent.
                let given = ring.reserve(8).unwrap();
                ring.discard(given.addr().get(), 0).unwrap();
                ring.output(&value(n), 0).unwrap();
            })
        };
        let producers = [produce(1), produce(2)];
        let ring: &Ringbuf = map.as_kind().unwrap();
        let mut seen = Vec::new();
        let mut take = || {
            ring.consume(|record| {
                assert_eq!(record, value(record[0]), "parts of two records");
                seen.push(record[0]);
            })
        };
        take();
        producers.into_iter().for_each(|producer| producer.join().unwrap());
        take();
        assert_eq!(seen.len(), 2);
        assert_eq!(seen.into_iter().collect::<BTreeSet<_>>(), BTreeSet::from([1, 2]));
        assert_eq!((ring.query(0), ring.dropped()), (0, 0));
    });
}
