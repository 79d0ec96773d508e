//! Maps of maps.

use crate::cases::Numbers;
use crate::judge::{ours, present, request, theirs};
use crate::operations::OPERATIONS;
use ebpfvm::map::{Map, MapLimits, UpdateFlags};
use ebpfvm_kernel::{MapRequest, linux_6_18_or_skip};
use ebpfvm_spec::{MapDef, MapFlags, MapType};

/// Maps of maps hold maps that look like the pattern; the numbers that they show differ.
#[test]
fn maps_of_maps_hold_the_same() {
    let Some(kernel) = linux_6_18_or_skip("maps_of_maps_hold_the_same") else { return };
    let limits = MapLimits::default();
    let cpus = kernel.possible_cpus();
    let mut numbers = Numbers(0x1234_5678_9abc_def1);
    let def = |kind, key, value, entries, flags| MapDef {
        flags: MapFlags(flags),
        ..MapDef::new("inner", kind, key, value, entries)
    };
    // The first is the pattern; others differ from it in one property each.
    let arrays = [
        def(MapType::Array, 4, 8, 3, 0),
        def(MapType::Array, 4, 8, 4, 0),
        def(MapType::Array, 4, 4, 3, 0),
        def(MapType::Array, 4, 8, 3, MapFlags::RDONLY_PROG),
        def(MapType::PercpuArray, 4, 8, 3, 0),
    ];
    let hashes = [
        def(MapType::Hash, 4, 8, 3, 0),
        def(MapType::Hash, 4, 8, 9, 0),
        def(MapType::Hash, 5, 8, 3, 0),
        def(MapType::Hash, 4, 8, 3, MapFlags::NO_PREALLOC),
        def(MapType::Array, 4, 8, 3, 0),
    ];
    let sizeless = [
        def(MapType::Array, 4, 8, 3, MapFlags::INNER_MAP),
        def(MapType::Array, 4, 8, 9, MapFlags::INNER_MAP),
        def(MapType::Array, 4, 8, 3, 0),
    ];
    for outer in [MapType::ArrayOfMaps, MapType::HashOfMaps] {
        for inner_defs in [&arrays[..], &hashes, &sizeless] {
            let inner = Some(Box::new(inner_defs[0].clone()));
            let outer_def = MapDef { inner, ..MapDef::new("outer", outer, 4, 4, 4) };
            let our = Map::create(&outer_def, cpus, &limits).unwrap();
            let ours_inside: Vec<_> =
                inner_defs.iter().map(|def| Map::create(def, cpus, &limits).unwrap()).collect();
            let theirs_inside: Vec<_> =
                inner_defs.iter().map(|def| kernel.map_create(&request(def)).unwrap()).collect();
            let request = MapRequest { inner_map: Some(&theirs_inside[0]), ..request(&outer_def) };
            let their = kernel.map_create(&request).unwrap();
            // The kernel waits for all running programs at each update: some milliseconds.
            for step in 0..OPERATIONS / 50 {
                let key = (numbers.below(6) as u32).to_ne_bytes();
                let what =
                    format!("{} of {}, step {step}", outer.name(), inner_defs[0].map_type.name());
                match numbers.below(4) {
                    0 | 1 => {
                        let which = numbers.below(inner_defs.len() * 3);
                        let which = if which < inner_defs.len() { which } else { 0 };
                        let flags = [0, 0, 0, 1, 2, 3][numbers.below(6)];
                        let map = ours_inside[which].clone();
                        let got = ours(our.set_inner(&key, map, UpdateFlags(flags)));
                        let fd = theirs_inside[which].fd().to_ne_bytes();
                        let expected = theirs(their.update(&key, &fd, flags));
                        assert_eq!(got, expected, "{what}: update with {which}, flags {flags}");
                    }
                    2 => {
                        let got = ours(our.read(&key)).map(drop);
                        let expected = present(theirs(their.lookup(&key))).map(drop);
                        assert_eq!(got, expected, "{what}: lookup");
                        assert_eq!(our.inner(&key).is_some(), expected.is_ok());
                    }
                    _ => assert_eq!(ours(our.remove(&key)), theirs(their.delete(&key)), "{what}"),
                }
            }
            // No map is lost or kept: those in the outer map and the one here.
            let held = our.entries().count();
            drop(our);
            assert!(held <= 4);
            assert!(ours_inside.iter().all(|map| std::sync::Arc::strong_count(map) == 1));
        }
    }
    for (kind, key, value, entries) in [
        (MapType::ArrayOfMaps, 4, 4, 2),
        (MapType::ProgArray, 4, 4, 2),
        (MapType::Ringbuf, 0, 0, 4096),
    ] {
        let mut inner_def = MapDef::new("inner", kind, key, value, entries);
        let pattern = kernel.map_create(&request(&arrays[0])).unwrap();
        let mut inner_request = request(&inner_def);
        if kind == MapType::ArrayOfMaps {
            inner_request.inner_map = Some(&pattern);
        }
        let their_inner = kernel.map_create(&inner_request).unwrap();
        if kind == MapType::ArrayOfMaps {
            inner_def.inner = Some(Box::new(arrays[0].clone()));
        }
        let outer = MapDef::new("outer", MapType::HashOfMaps, 4, 4, 4);
        let expected =
            kernel.map_create(&MapRequest { inner_map: Some(&their_inner), ..request(&outer) });
        let outer = MapDef { inner: Some(Box::new(inner_def)), ..outer };
        let got = Map::create(&outer, cpus, &limits).map(drop).map_err(|e| e.errno());
        assert_eq!(got, expected.map(drop), "{}", kind.name());
    }
}
