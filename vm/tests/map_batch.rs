//! Many entries with one call: everything comes once, and answers are the kernel's.

use ebpfvm::map::{Batch, Entry, LookupFlags, Map, MapError, MapLimits, MapRef, Take, UpdateFlags};
use ebpfvm_spec::{Errno, MapDef, MapFlags, MapType};

const NONE: LookupFlags = LookupFlags::NONE;

fn create(kind: MapType, entries: u32) -> MapRef {
    let key_bytes = if kind == MapType::LpmTrie { 8 } else { 4 };
    let mut def = MapDef::new("m", kind, key_bytes, 8, entries);
    if kind == MapType::LpmTrie {
        def.flags = MapFlags(MapFlags::NO_PREALLOC);
    }
    Map::create(&def, 2, &MapLimits::default()).unwrap()
}

fn entries(map: &Map, count: u32) -> Vec<Entry> {
    let key = |n: u32| match map.def().key_bytes {
        8 => [32u32.to_ne_bytes(), n.to_be_bytes()].concat(),
        _ => n.to_ne_bytes().to_vec(),
    };
    (0..count).map(|n| (key(n), vec![n as u8; map.host_value_bytes()])).collect()
}

/// All entries, so many at a time.
fn walk(map: &Map, max: u32, take: Take) -> Result<Vec<Entry>, MapError> {
    let (mut all, mut cursor) = (Vec::new(), None);
    loop {
        let Batch { entries, next } = map.lookup_batch(cursor.as_ref(), max, take, NONE)?;
        assert!(entries.len() <= max as usize);
        all.extend(entries);
        cursor = next;
        if cursor.is_none() {
            all.sort();
            return Ok(all);
        }
    }
}

#[test]
fn batches_bring_everything_once() {
    use MapType::*;
    for kind in [Hash, PercpuHash, LruHash, LruPercpuHash, LpmTrie, Array, PercpuArray] {
        let map = create(kind, 200);
        let mut all = entries(&map, 200);
        map.update_batch(&all, UpdateFlags::ANY).unwrap();
        all.sort();
        for max in [20, 33, 200, 1000] {
            assert_eq!(walk(&map, max, Take::Copy).unwrap(), all, "{}", kind.name());
        }
        let keys: Vec<Vec<u8>> = all.iter().map(|(key, _)| key.clone()).collect();
        let removed = map.delete_batch(&keys[..50], UpdateFlags::ANY);
        let is_array = matches!(kind, Array | PercpuArray);
        match is_array {
            true => assert_eq!(removed.unwrap_err().errno(), Errno::ENOTSUPP),
            false => removed.unwrap(),
        }
        let taken = map.lookup_batch(None, 20, Take::Remove, NONE);
        if is_array || kind == LpmTrie {
            assert_eq!(taken.unwrap_err().errno(), Errno::ENOTSUPP);
            continue;
        }
        let first = taken.unwrap().entries;
        assert!(!first.is_empty());
        let mut rest = walk(&map, 1000, Take::Remove).unwrap();
        rest.extend(first);
        rest.sort();
        assert_eq!(rest, all[50..]);
        assert_eq!(map.entries().count(), 0);
        // What was removed makes room.
        map.update_batch(&all, UpdateFlags::ANY).unwrap();
    }
}

#[test]
fn a_batch_tells_how_far_it_came() {
    let map = create(MapType::Hash, 2);
    let all = entries(&map, 3);
    let error = map.update_batch(&all, UpdateFlags::ANY).unwrap_err();
    assert_eq!(error.to_string(), "map 'm': update a batch: E2BIG (too big) after 2 entries");
    let keys = [all[0].0.clone(), all[2].0.clone(), all[1].0.clone()];
    let error = map.delete_batch(&keys, UpdateFlags::ANY).unwrap_err();
    assert_eq!((error.errno(), map.entries().count()), (Errno::ENOENT, 1));
    let sizes = map.update_batch(&[(vec![0; 4], vec![0; 7])], UpdateFlags::ANY).unwrap_err();
    assert!(sizes.to_string().contains("the value has 7 bytes, expected 8"), "{sizes}");
}

#[test]
fn a_bucket_comes_whole_or_not_at_all() {
    let map = create(MapType::Hash, 64);
    let all = entries(&map, 64);
    map.update_batch(&all, UpdateFlags::ANY).unwrap();
    // 64 entries in 64 buckets: some have more than one.
    let error = walk(&map, 1, Take::Copy).unwrap_err();
    assert_eq!(error.errno(), Errno::ENOSPC);
    let none = map.lookup_batch(None, 0, Take::Copy, NONE).unwrap();
    assert!(none.entries.is_empty() && none.next.is_some());
    let cursor = none.next.unwrap();
    assert_eq!(map.lookup_batch(Some(&cursor), 64, Take::Copy, NONE).unwrap().entries.len(), 64);
}

#[test]
fn wrong_requests_are_refused() {
    let map = create(MapType::Hash, 4);
    let errno = |flags| map.lookup_batch(None, 9, Take::Copy, flags).unwrap_err().errno();
    assert_eq!((errno(LookupFlags(1)), errno(LookupFlags::F_LOCK)), (Errno::EINVAL, Errno::EINVAL));
    for flags in [UpdateFlags::NOEXIST, UpdateFlags::EXIST, UpdateFlags::F_LOCK] {
        let error = map.update_batch(&entries(&map, 1), flags).unwrap_err();
        assert_eq!(error.errno(), Errno::EINVAL);
    }
    // A place in a map with an order of keys is none in a hash table.
    let array = create(MapType::Array, 4);
    let place = array.lookup_batch(None, 1, Take::Copy, NONE).unwrap().next.unwrap();
    let error = map.lookup_batch(Some(&place), 9, Take::Copy, NONE).unwrap_err();
    assert_eq!(error.errno(), Errno::EINVAL);
    map.freeze().unwrap();
    assert_eq!(map.lookup_batch(None, 9, Take::Copy, NONE).unwrap().next, None);
    let error = map.lookup_batch(None, 9, Take::Remove, NONE).unwrap_err();
    assert_eq!(error.errno(), Errno::EPERM);
    let error = map.delete_batch(&[], UpdateFlags::ANY).unwrap_err();
    assert_eq!(error.errno(), Errno::EPERM);
    let queue = MapDef::new("q", MapType::Queue, 0, 8, 4);
    let queue = Map::create(&queue, 1, &MapLimits::default()).unwrap();
    let error = queue.lookup_batch(None, 9, Take::Copy, NONE).unwrap_err();
    assert_eq!(error.errno(), Errno::ENOTSUPP);
}
