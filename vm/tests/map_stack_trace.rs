//! Maps of stacks and of cgroups.

use ebpfvm::map::stack_trace::{FAST_STACK_CMP, FilePosition, REUSE_STACKID, USER_STACK};
use ebpfvm::map::{CgroupArray, Map, MapLimits, MapRef, StackTrace, UpdateFlags};
use ebpfvm_spec::{Errno, MapDef, MapFlags, MapType};
use std::num::NonZeroU64;

fn create(value_bytes: u32, entries: u32, flags: u32) -> MapRef {
    let def = MapDef {
        flags: MapFlags(flags),
        ..MapDef::new("stacks", MapType::StackTrace, 4, value_bytes, entries)
    };
    Map::create(&def, 1, &MapLimits::default()).unwrap()
}

fn words(bytes: &[u8]) -> Vec<u64> {
    bytes.chunks(8).map(|word| u64::from_ne_bytes(word.try_into().unwrap())).collect()
}

fn read(map: &Map, id: u32) -> Vec<u64> {
    words(&map.read(&id.to_ne_bytes()).unwrap())
}

#[test]
fn the_same_stack_has_the_same_number() {
    let map = create(4 * 8, 100, 0);
    let stacks = map.as_kind::<StackTrace>().unwrap();
    let id = stacks.store(&[10, 20, 30], 0).unwrap();
    assert_eq!(stacks.slots(), 128);
    assert_eq!(stacks.store(&[10, 20, 30], 0), Ok(id));
    assert_eq!(read(&map, id), [10, 20, 30, 0]);
    let other = stacks.store(&[10, 20, 30], 1).unwrap();
    assert_eq!(read(&map, other), [20, 30, 0, 0]);
    // So many frames fit, from the first that is not skipped on.
    let cut = stacks.store(&[1, 2, 3, 4, 5, 6], 1).unwrap();
    assert_eq!(read(&map, cut), [2, 3, 4, 5]);
    assert_eq!(stacks.store(&[1, 2, 3, 4, 5, 6], 6), Err(Errno::EFAULT), "all skipped");
    assert_eq!(stacks.store(&[], 0), Err(Errno::EFAULT));
    assert_eq!(stacks.store(&[1], 1 << 11), Err(Errno::EINVAL));
    let mut ids = [id, other, cut];
    ids.sort_unstable();
    let mut keys = vec![map.next_key(None).unwrap()];
    while let Ok(next) = map.next_key(keys.last().map(Vec::as_slice)) {
        keys.push(next);
    }
    assert_eq!(keys, ids.map(|id| id.to_ne_bytes().to_vec()));
    map.delete(&id.to_ne_bytes()).unwrap();
    assert_eq!(map.delete(&id.to_ne_bytes()), Err(Errno::ENOENT));
    assert_eq!(words(&map.take(&cut.to_ne_bytes()).unwrap()), [2, 3, 4, 5]);
    assert_eq!(map.take(&cut.to_ne_bytes()).unwrap_err().errno(), Errno::ENOENT);
    assert_eq!(map.delete(&128u32.to_ne_bytes()), Err(Errno::E2BIG));
    let error = map.write(&id.to_ne_bytes(), &[0; 32], UpdateFlags::ANY).unwrap_err();
    assert_eq!(error.errno(), Errno::EINVAL);
}

#[test]
fn a_number_is_for_one_stack_at_a_time() {
    // One slot: all stacks have its number.
    let map = create(16, 1, 0);
    let stacks = map.as_kind::<StackTrace>().unwrap();
    assert_eq!(stacks.store(&[1, 2], 0), Ok(0));
    assert_eq!(stacks.store(&[3, 4], 0), Err(Errno::EEXIST));
    assert_eq!(stacks.store(&[3, 4], FAST_STACK_CMP), Err(Errno::EEXIST), "another hash");
    assert_eq!(stacks.store(&[3, 4], REUSE_STACKID), Err(Errno::ENOMEM), "no room beside the old");
    assert_eq!(stacks.store(&[1, 2], FAST_STACK_CMP), Ok(0));
    // Two slots for two stacks: a stack takes the place of one with its number.
    let map = create(16, 2, 0);
    let stacks = map.as_kind::<StackTrace>().unwrap();
    let first = stacks.store(&[1, 2], 0).unwrap();
    let other = (3..).find(|ip| stacks.store(&[*ip], 0) == Err(Errno::EEXIST)).unwrap();
    map.remove(&(1 - first).to_ne_bytes()).unwrap_or_default();
    assert_eq!(stacks.store(&[other], REUSE_STACKID), Ok(first));
    assert_eq!(read(&map, first), [other, 0]);
}

#[test]
fn frames_of_files_are_kept_as_build_ids() {
    let map = create(64, 8, MapFlags::STACK_BUILD_ID);
    let stacks = map.as_kind::<StackTrace>().unwrap();
    let position = |ip: u64| (ip == 5).then_some(FilePosition { build_id: [7; 20], offset: 99 });
    let id = stacks.store_with(&[5, 6], USER_STACK, position).unwrap();
    let value = map.read(&id.to_ne_bytes()).unwrap();
    assert_eq!(value[..4], 1u32.to_ne_bytes());
    assert_eq!(value[4..24], [7; 20]);
    assert_eq!(words(&value[24..32]), [99]);
    assert_eq!((&value[32..36], &value[36..56]), (&2u32.to_ne_bytes()[..], &[0; 20][..]));
    assert_eq!(words(&value[56..]), [6]);
    assert_eq!(stacks.store_with(&[5, 6], USER_STACK, position), Ok(id));
    // Without the user's flag the addresses are the kernel's: there is no file.
    assert_eq!(stacks.store_with(&[5, 6], 0, position), Err(Errno::EEXIST));
}

#[test]
fn stacks_cannot_be_longer_than_the_kernel_makes_them() {
    let map = create(127 * 8, 1, 0);
    let stacks = map.as_kind::<StackTrace>().unwrap();
    let ips: Vec<u64> = (1..=200).collect();
    let id = stacks.store(&ips, 3).unwrap();
    assert_eq!(read(&map, id)[..124], ips[3..127]);
    assert_eq!(read(&map, id)[124..], [0; 3]);
    let def = MapDef::new("stacks", MapType::StackTrace, 4, 128 * 8, 1);
    let error = Map::create(&def, 1, &MapLimits::default()).unwrap_err();
    assert!(error.to_string().contains("expected a multiple of 8, at most 1016 bytes"), "{error}");
}

#[test]
fn cgroups_contain_what_is_below_them() {
    let def = MapDef::new("cgroups", MapType::CgroupArray, 4, 4, 3);
    let map = Map::create(&def, 1, &MapLimits::default()).unwrap();
    let cgroups = map.as_kind::<CgroupArray>().unwrap();
    assert_eq!(cgroups.contains(0, &[7]), Err(Errno::EAGAIN));
    assert_eq!(cgroups.contains(3, &[7]), Err(Errno::E2BIG));
    let seven = NonZeroU64::new(7).unwrap();
    cgroups.set(0, seven).unwrap();
    assert_eq!(cgroups.set(3, seven), Err(Errno::E2BIG));
    assert_eq!(cgroups.contains(0, &[9, 7, 1]), Ok(true));
    assert_eq!(cgroups.contains(0, &[9, 1]), Ok(false));
    let error = map.write(&[0; 4], &[3; 4], UpdateFlags::ANY).unwrap_err();
    assert_eq!(error.errno(), Errno::EBADF, "no number is a descriptor");
    assert_eq!(map.read(&[0; 4]).unwrap_err().errno(), Errno::ENOTSUPP);
    map.remove(&[0; 4]).unwrap();
    assert_eq!(map.remove(&[0; 4]).unwrap_err().errno(), Errno::ENOENT);
    assert_eq!(cgroups.get(0), None);
}
