//! The same operations in the same order on both sides.

use crate::batches;
use crate::cases::{Case, Numbers, Order, cases, value};
use crate::judge::{create_theirs, ours, present, theirs, without_padding};
use crate::owners::Owners;
use ebpfvm::map::{LookupFlags, Map, MapLimits, MapRef, UpdateFlags};
use ebpfvm_kernel::{Kernel, Map as KernelMap, linux_6_18_or_skip};
use ebpfvm_spec::{Errno, MapType};
use std::collections::BTreeMap;

pub(crate) const OPERATIONS: u32 = 10_000;

/// Entries in a form in which both sides can be compared.
pub(crate) fn contents(case: &Case, entries: Vec<(Vec<u8>, Vec<u8>)>) -> Vec<(Vec<u8>, Vec<u8>)> {
    let bare = |value| without_padding(&case.def, Ok(value)).unwrap();
    let entries = entries.into_iter().map(|(key, value)| (key, bare(value)));
    match case.order {
        Order::Defined => entries.collect(),
        Order::Free => entries.collect::<BTreeMap<_, _>>().into_iter().collect(),
    }
}

/// What the kernel copies for a key.
fn lookup(their: &KernelMap, key: &[u8], flags: u64) -> Result<Vec<u8>, Errno> {
    let mut value = vec![0; their.value_bytes()];
    theirs(their.lookup_into(key, &mut value, flags)).map(|()| value)
}

/// What the kernel copies for a key that it removes.
fn lookup_and_delete(their: &KernelMap, key: &[u8], flags: u64) -> Result<Vec<u8>, Errno> {
    let mut value = vec![0; their.value_bytes()];
    theirs(their.lookup_and_delete_into(key, &mut value, flags)).map(|()| value)
}

/// One operation that the numbers choose.
pub(crate) fn step(case: &Case, our: &Map, their: &KernelMap, numbers: &mut Numbers, what: &str) {
    let def = &case.def;
    let key = &case.keys[numbers.below(case.keys.len())];
    let value = value(def, our.host_value_bytes(), numbers);
    let flags = [0, 0, 0, 0, 1, 2, 3, 4, 4, 5, 6, 7, 8, 16, 1 << 40][numbers.below(15)];
    let lookup_flags = [0, 0, 0, 0, 0, 4, 4, 1, 5, 8, 16, 1 << 40][numbers.below(12)];
    // A lookup in a Bloom filter takes a value, which others do not.
    let is_bloom = def.map_type == MapType::BloomFilter;
    match numbers.below(16) {
        6 | 7 if is_bloom => {
            // Members of both are found; the filters may differ about strangers.
            let mut value = value;
            assert_eq!(our.push(&value, UpdateFlags::ANY), Ok(()));
            assert_eq!(our.peek(&mut value), Ok(()), "{what}");
        }
        0..6 => {
            let got = ours(our.write(key, &value, UpdateFlags(flags)));
            let expected = theirs(their.update(key, &value, flags));
            assert_eq!(got, expected, "{what}: update {key:x?} flags {flags}");
        }
        6 | 7 => {
            let flags = lookup_flags;
            let got = without_padding(def, ours(our.read_with(key, LookupFlags(flags))));
            let expected = without_padding(def, lookup(their, key, flags));
            assert_eq!(got, expected, "{what}: lookup {key:x?} flags {flags}");
        }
        8 => {
            let flags = lookup_flags;
            let got = without_padding(def, ours(our.take_with(key, LookupFlags(flags))));
            let expected = without_padding(def, lookup_and_delete(their, key, flags));
            assert_eq!(got, expected, "{what}: lookup and delete {key:x?} flags {flags}");
        }
        9 | 10 => {
            let got = ours(our.remove(key));
            assert_eq!(got, theirs(their.delete(key)), "{what}: delete {key:x?}");
        }
        11 => batches::update(case, our, their, numbers, what),
        12 => batches::delete(case, our, their, numbers, what),
        13 => batches::lookup(case, our, their, numbers, what),
        14 if def.key_bytes != 0 && case.order == Order::Defined => {
            let got = ours(our.next_key(Some(key)));
            let expected = present(theirs(their.next_key(Some(key))));
            assert_eq!(got, expected, "{what}: next key {key:x?}");
        }
        _ if def.key_bytes != 0 => {
            let got = ours(our.next_key(None)).map(|key| key.len());
            let expected = present(theirs(their.next_key(None))).map(|key| key.len());
            assert_eq!(got, expected, "{what}: first key");
        }
        _ => {}
    }
}

/// So many operations on both sides, a freeze, and as many again; what is in the maps is compared
/// after each half.
pub(crate) fn compare(kernel: &Kernel, case: &Case, numbers: &mut Numbers) {
    let our: MapRef =
        Map::create(&case.def, kernel.possible_cpus(), &MapLimits::default()).unwrap();
    let their = create_theirs(kernel, case);
    assert_eq!(our.host_value_bytes(), their.value_bytes());
    let name = case.def.map_type.name();
    for half in 0..2 {
        for i in 0..OPERATIONS {
            step(case, &our, &their, numbers, &format!("{name}, half {half}, step {i}"));
        }
        // Kinds without keys or without values have no entries on either side.
        if let Ok(entries) = their.entries() {
            let our_entries = our.entries().collect();
            assert_eq!(contents(case, our_entries), contents(case, entries), "{:?}", case.def);
        }
        for key in case.keys.iter().filter(|_| case.def.key_bytes > 0) {
            let got = without_padding(&case.def, ours(our.read(key)));
            let expected = without_padding(&case.def, present(theirs(their.lookup(key))));
            assert_eq!(got, expected, "{:?}", case.def);
        }
        assert_eq!(ours(our.freeze()), theirs(their.freeze()), "{:?}", case.def);
        assert_eq!(ours(our.freeze()), theirs(their.freeze()), "{:?}", case.def);
    }
}

#[test]
fn the_same_operations_give_the_same() {
    let Some(kernel) = linux_6_18_or_skip("the_same_operations_give_the_same") else { return };
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    let owners = Owners::new(&kernel);
    let cases: Vec<Case> = cases().into_iter().chain(owners.cases()).collect();
    cases.iter().for_each(|case| compare(&kernel, case, &mut numbers));
    eprintln!("{} maps, {} operations on each", cases.len(), 2 * OPERATIONS);
}
