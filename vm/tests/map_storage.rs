//! Maps whose values belong to something: sockets, inodes, tasks, cgroups.

use ebpfvm::map::{CgroupStorage, Cpu, LocalStorage, Map, MapLimits, MapRef, OwnerId, UpdateFlags};
use ebpfvm_spec::btf::TypeId;
use ebpfvm_spec::{Errno, MapDef, MapFlags, MapType};
use std::collections::BTreeMap;
use std::ptr::NonNull;

fn storage(kind: MapType, value_bytes: u32, flags: u32, map_bytes: u64) -> MapRef {
    let def = MapDef {
        flags: MapFlags(MapFlags::NO_PREALLOC | flags),
        key_type: Some(TypeId(1)),
        value_type: Some(TypeId(2)),
        ..MapDef::new("storage", kind, 4, value_bytes, 0)
    };
    Map::create(&def, 2, &MapLimits { map_bytes, ..MapLimits::default() }).unwrap()
}

fn cgroup_storage(kind: MapType, key_bytes: u32) -> MapRef {
    let def = MapDef::new("cgroups", kind, key_bytes, 8, 0);
    Map::create(&def, 2, &MapLimits::default()).unwrap()
}

fn load(at: NonNull<u8>) -> u64 {
    // SAFETY: eight aligned bytes of a map's memory that nobody writes now.
    unsafe { at.cast::<u64>().read() }
}

fn store(at: NonNull<u8>, value: u64) {
    // SAFETY: as above, and programs may write there.
    unsafe { at.cast::<u64>().write(value) }
}

const KINDS: [MapType; 4] =
    [MapType::SkStorage, MapType::InodeStorage, MapType::TaskStorage, MapType::CgrpStorage];

#[test]
fn a_value_stays_where_it_is_until_its_owner_is_gone() {
    for kind in KINDS {
        let map = storage(kind, 8, 0, 1 << 20);
        let values = map.as_kind::<LocalStorage>().unwrap();
        let owner = OwnerId(1 << 40);
        assert_eq!((values.get(owner), map.bytes()), (None, 0));
        let first = values.get_or_create(owner, Some(&7u64.to_ne_bytes())).unwrap();
        assert_eq!(load(first), 7);
        store(first, 8);
        // Many more come; nothing moves, and what is there is not made anew.
        for other in 0..1000 {
            let there = values.get_or_create(OwnerId(other), None).unwrap();
            assert_eq!(load(there), 0);
        }
        assert_eq!(values.get_or_create(owner, Some(&[0; 8])), Ok(first));
        assert_eq!((load(first), values.value(owner)), (8, Some(8u64.to_ne_bytes().into())));
        assert_eq!(values.owners().len(), 1001);
        assert!(map.bytes() >= 1001 * 8);
        values.forget_owner(owner);
        values.forget_owner(owner);
        assert_eq!((values.get(owner), values.delete(owner)), (None, Err(Errno::ENOENT)));
        // Its memory is still the map's.
        store(first, 9);
        assert_eq!(values.get_or_create(owner, Some(&[1; 7])), Err(Errno::EINVAL));
    }
}

#[test]
fn the_host_names_owners_by_numbers_of_four_bytes() {
    let map = storage(MapType::TaskStorage, 8, 0, 1 << 20);
    let values = map.as_kind::<LocalStorage>().unwrap();
    let key = 5u32.to_ne_bytes();
    let write =
        |value: u64, flags| map.write(&key, &value.to_ne_bytes(), flags).map_err(|e| e.errno());
    assert_eq!(write(1, UpdateFlags::EXIST), Err(Errno::ENOENT));
    assert_eq!(write(1, UpdateFlags::NOEXIST), Ok(()));
    assert_eq!(write(2, UpdateFlags::NOEXIST), Err(Errno::EEXIST));
    assert_eq!(write(2, UpdateFlags(3)), Err(Errno::EINVAL));
    let held = values.get(OwnerId(5)).unwrap();
    // Who holds the address keeps what it saw.
    assert_eq!(write(3, UpdateFlags::EXIST), Ok(()));
    assert_eq!((load(held), load(values.get(OwnerId(5)).unwrap())), (1, 3));
    assert_eq!(map.read(&key).unwrap(), 3u64.to_ne_bytes());
    assert_eq!(map.next_key(None).unwrap_err().errno(), Errno::ENOTSUPP);
    values.set(OwnerId(u64::MAX), &[1; 8], UpdateFlags::ANY).unwrap();
    let entries: Vec<_> = map.entries().collect();
    assert_eq!(entries, [(key.to_vec(), 3u64.to_ne_bytes().to_vec())], "what a key can name");
    map.remove(&key).unwrap();
    assert_eq!(map.read(&key).unwrap_err().errno(), Errno::ENOENT);
}

#[test]
fn storage_grows_to_the_limit_of_the_map() {
    let map = storage(MapType::SkStorage, 100, 0, 10_000);
    let values = map.as_kind::<LocalStorage>().unwrap();
    let mut owners = (0..).map(OwnerId);
    let full = owners.find(|owner| values.get_or_create(*owner, None).is_err()).unwrap();
    assert!((20..100).contains(&full.0), "{full:?}");
    assert!(map.bytes() <= 10_000);
    assert_eq!(values.get_or_create(full, None), Err(Errno::ENOMEM));
    values.delete(OwnerId(0)).unwrap();
    assert!(values.get_or_create(full, None).is_ok());
}

#[test]
fn sockets_inherit_if_the_map_says_so() {
    for (flags, inherited) in [(0, None), (MapFlags::CLONE, Some(6))] {
        let map = storage(MapType::SkStorage, 8, flags, 1 << 20);
        let values = map.as_kind::<LocalStorage>().unwrap();
        values.get_or_create(OwnerId(1), Some(&6u64.to_ne_bytes())).unwrap();
        values.inherit(OwnerId(1), OwnerId(2)).unwrap();
        values.inherit(OwnerId(3), OwnerId(4)).unwrap();
        assert_eq!(values.get(OwnerId(2)).map(load), inherited);
        assert_eq!(values.get(OwnerId(4)), None);
    }
}

/// Any sequence of operations leaves what a tree would hold.
#[test]
fn storage_holds_what_a_tree_holds() {
    let map = storage(MapType::InodeStorage, 8, 0, 1 << 20);
    let values = map.as_kind::<LocalStorage>().unwrap();
    let mut model = BTreeMap::new();
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    for step in 0..10_000u64 {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let owner = OwnerId(seed >> 33 & 31);
        match seed >> 60 & 3 {
            0 => {
                let at = values.get_or_create(owner, Some(&step.to_ne_bytes())).unwrap();
                assert_eq!(load(at), *model.entry(owner).or_insert(step));
            }
            1 => {
                values.set(owner, &step.to_ne_bytes(), UpdateFlags::ANY).unwrap();
                model.insert(owner, step);
            }
            2 => assert_eq!(values.delete(owner).is_ok(), model.remove(&owner).is_some()),
            _ => assert_eq!(values.get(owner).map(load), model.get(&owner).copied()),
        }
    }
    assert!(values.owners().iter().eq(model.keys()));
}

/// Threads that make, write and delete values of their own owners never see those of others.
#[test]
fn threads_have_their_own_values() {
    let map = storage(MapType::TaskStorage, 8, 0, 1 << 20);
    std::thread::scope(|scope| {
        for thread in 0..4u64 {
            let map = &map;
            scope.spawn(move || {
                let values = map.as_kind::<LocalStorage>().unwrap();
                for round in 0..2000u64 {
                    let owner = OwnerId((thread << 32) | (round % 7));
                    let mine = thread << 32 | round;
                    values.set(owner, &mine.to_ne_bytes(), UpdateFlags::ANY).unwrap();
                    assert_eq!(values.value(owner), Some(mine.to_ne_bytes().into()));
                    if round % 3 == 0 {
                        values.delete(owner).unwrap();
                    }
                }
            });
        }
    });
}

fn key(cgroup: u64, attach_type: u32) -> Vec<u8> {
    [cgroup.to_ne_bytes().as_slice(), &attach_type.to_ne_bytes(), &[0; 4]].concat()
}

#[test]
fn cgroups_have_a_value_for_each_attach_type_or_one_for_all() {
    let map = cgroup_storage(MapType::CgroupStorage, 16);
    let values = map.as_kind::<CgroupStorage>().unwrap();
    let error = map.write(&key(3, 1), &[1; 8], UpdateFlags::ANY).unwrap_err();
    assert_eq!(error.errno(), Errno::ENOENT, "the host makes none");
    values.attach(3, 1).unwrap();
    let first = values.get_or_create(3, 1, Cpu(0)).unwrap();
    let second = values.get_or_create(3, 2, Cpu(1)).unwrap();
    assert_ne!(first, second);
    store(first, 5);
    assert_eq!(map.read(&key(3, 1)).unwrap(), 5u64.to_ne_bytes());
    values.get_or_create(2, 1, Cpu(0)).unwrap();
    // The youngest first; nothing follows a key that is not there.
    let mut keys = vec![map.next_key(None).unwrap()];
    while let Ok(next) = map.next_key(keys.last().map(Vec::as_slice)) {
        keys.push(next);
    }
    assert_eq!(keys, [key(2, 1), key(3, 2), key(3, 1)]);
    assert!(map.entries().map(|(key, _)| key).eq(keys));
    assert_eq!(map.next_key(Some(&key(9, 9))).unwrap_err().errno(), Errno::ENOENT);
    // What the last four bytes of a key say does not count.
    let mut odd = key(3, 1);
    odd[15] = 1;
    map.write(&odd, &6u64.to_ne_bytes(), UpdateFlags::EXIST).unwrap();
    assert_eq!((load(first), map.read(&key(3, 1)).unwrap()), (5, 6u64.to_ne_bytes().into()));
    let refused = |flags| map.write(&key(3, 1), &[0; 8], flags).unwrap_err().errno();
    assert_eq!(refused(UpdateFlags::NOEXIST), Errno::EINVAL);
    assert_eq!(map.remove(&key(3, 1)).unwrap_err().errno(), Errno::EINVAL);
    values.forget_cgroup(3);
    assert!(map.entries().map(|(key, _)| key).eq([key(2, 1)]));

    let map = cgroup_storage(MapType::CgroupStorage, 8);
    let values = map.as_kind::<CgroupStorage>().unwrap();
    let shared = values.get_or_create(3, 1, Cpu(0)).unwrap();
    assert_eq!(values.get_or_create(3, 2, Cpu(0)), Ok(shared));
    assert_eq!(map.next_key(None).unwrap(), 3u64.to_ne_bytes());
}

#[test]
fn cgroups_have_values_for_each_cpu() {
    let map = cgroup_storage(MapType::PercpuCgroupStorage, 16);
    let values = map.as_kind::<CgroupStorage>().unwrap();
    for cpu in [0, 1] {
        store(values.get_or_create(1, 0, Cpu(cpu)).unwrap(), 10 + u64::from(cpu));
    }
    assert_eq!(values.get_or_create(1, 0, Cpu(2)), Err(Errno::EINVAL));
    let both = [10u64, 11].map(u64::to_ne_bytes);
    assert_eq!(map.read(&key(1, 0)).unwrap(), both.as_flattened());
    let both = [20u64, 21].map(u64::to_ne_bytes);
    map.write(&key(1, 0), both.as_flattened(), UpdateFlags::ANY).unwrap();
    assert_eq!(load(values.get_or_create(1, 0, Cpu(1)).unwrap()), 21);
}
