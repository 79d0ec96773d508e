//! The same operations in the same order on both sides.

use crate::cases::{Case, Numbers, Order, cases, value};
use crate::judge::{ours, present, request, theirs, without_padding};
use ebpfvm::map::{Map, MapLimits, MapRef, UpdateFlags};
use ebpfvm_kernel::{Map as KernelMap, linux_6_18_or_skip};
use ebpfvm_spec::MapType;
use std::collections::BTreeMap;

pub(crate) const OPERATIONS: u32 = 10_000;

fn contents(case: &Case, entries: Vec<(Vec<u8>, Vec<u8>)>) -> Vec<(Vec<u8>, Vec<u8>)> {
    let bare = |value| without_padding(&case.def, Ok(value)).unwrap();
    let entries = entries.into_iter().map(|(key, value)| (key, bare(value)));
    match case.order {
        Order::Defined => entries.collect(),
        Order::Free => entries.collect::<BTreeMap<_, _>>().into_iter().collect(),
    }
}

fn follow(case: &Case, our: &Map, their: &KernelMap, numbers: &mut Numbers) {
    let name = our.def().map_type.name();
    for step in 0..OPERATIONS {
        let key = &case.keys[numbers.below(case.keys.len())];
        let value = value(&case.def, our.host_value_bytes(), numbers);
        let flags = [0, 0, 0, 0, 1, 2, 3, 4, 1 << 40][numbers.below(9)];
        // A lookup in a Bloom filter takes a value, which others do not.
        let is_bloom = case.def.map_type == MapType::BloomFilter;
        match numbers.below(if case.def.key_bytes == 0 { 6 } else { 8 }) {
            3 if is_bloom => {
                // Members of both are found; the filters may differ about strangers.
                let mut value = value;
                assert_eq!(our.push(&value, UpdateFlags::ANY), Ok(()));
                assert_eq!(our.peek(&mut value), Ok(()), "{name}, step {step}");
            }
            0..3 => {
                let got = ours(our.write(key, &value, UpdateFlags(flags)));
                let expected = theirs(their.update(key, &value, flags));
                assert_eq!(got, expected, "{name}, step {step}: update {key:x?} flags {flags}");
            }
            3 => {
                let got = without_padding(&case.def, ours(our.read(key)));
                let expected = without_padding(&case.def, present(theirs(their.lookup(key))));
                assert_eq!(got, expected, "{name}, step {step}: lookup {key:x?}");
            }
            4 => {
                let got = without_padding(&case.def, ours(our.take(key)));
                let expected =
                    without_padding(&case.def, present(theirs(their.lookup_and_delete(key))));
                assert_eq!(got, expected, "{name}, step {step}: lookup and delete {key:x?}");
            }
            5 => {
                let got = ours(our.remove(key));
                assert_eq!(got, theirs(their.delete(key)), "{name}, step {step}: delete {key:x?}");
            }
            6 if case.order == Order::Defined => {
                let got = ours(our.next_key(Some(key)));
                let expected = present(theirs(their.next_key(Some(key))));
                assert_eq!(got, expected, "{name}, step {step}: next key {key:x?}");
            }
            _ => {
                let got = ours(our.next_key(None)).map(|key| key.len());
                let expected = present(theirs(their.next_key(None))).map(|key| key.len());
                assert_eq!(got, expected, "{name}, step {step}: first key");
            }
        }
    }
}

#[test]
fn the_same_operations_give_the_same() {
    let Some(kernel) = linux_6_18_or_skip("the_same_operations_give_the_same") else { return };
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    for case in cases() {
        let our: MapRef =
            Map::create(&case.def, kernel.possible_cpus(), &MapLimits::default()).unwrap();
        let their = kernel.map_create(&request(&case.def)).unwrap();
        assert_eq!(our.host_value_bytes(), their.value_bytes());
        follow(&case, &our, &their, &mut numbers);
        // Kinds without keys or without values have no entries on either side.
        if let Ok(entries) = their.entries() {
            let our_entries = our.entries().collect();
            assert_eq!(contents(&case, our_entries), contents(&case, entries), "{:?}", case.def);
        }
        assert_eq!(ours(our.freeze()), theirs(their.freeze()), "{:?}", case.def);
        assert_eq!(ours(our.freeze()), theirs(their.freeze()), "{:?}", case.def);
        follow(&case, &our, &their, &mut numbers);
    }
}
