//! What can be created, and what errors say.

use ebpfvm::Vm;
use ebpfvm::map::{CreateError, Map, MapLimits, UpdateFlags};
use ebpfvm_spec::map::{MapDef, MapFlags, MapOrigin, MapType};
use ebpfvm_spec::{Errno, MapType as Kind};

fn refused(def: &MapDef) -> CreateError {
    Map::create(def, 2, &MapLimits::default()).unwrap_err()
}

#[test]
fn properties_are_named_with_what_was_expected() {
    let def = |key, value, entries| MapDef::new("m", Kind::Array, key, value, entries);
    for (def, errno, text) in [
        (def(8, 4, 1), Errno::EINVAL, "map 'm' (array): key size is 8, expected 4 bytes"),
        (def(4, 0, 1), Errno::EINVAL, "value size is 0, expected at least 1 byte"),
        (def(4, 4, 0), Errno::EINVAL, "max_entries is 0, expected at least 1"),
        (def(4, 1 << 31, 1), Errno::E2BIG, "value size is 2147483648, expected at most 2147483647"),
        (MapDef { extra: 1, ..def(4, 4, 1) }, Errno::EINVAL, "map_extra is 1, expected at most 0"),
        (
            MapDef { flags: MapFlags(MapFlags::NO_PREALLOC), ..def(4, 4, 1) },
            Errno::EINVAL,
            "map_flags is NO_PREALLOC, expected flags out of NUMA_NODE | RDONLY | WRONLY",
        ),
        (
            MapDef { flags: MapFlags(MapFlags::RDONLY | MapFlags::WRONLY), ..def(4, 4, 1) },
            Errno::EINVAL,
            "expected one of RDONLY and WRONLY at most",
        ),
    ] {
        let error = refused(&def);
        assert_eq!(error.errno(), errno, "{error}");
        assert!(error.to_string().contains(text), "{error}");
    }
    let error = refused(&MapDef::new("p", Kind::PercpuArray, 4, 32769, 1));
    assert_eq!(error.errno(), Errno::E2BIG);
}

#[test]
fn memory_is_refused_before_it_is_allocated() {
    let limits = MapLimits { map_bytes: 4096, ..MapLimits::default() };
    let def = MapDef::new("m", Kind::Array, 4, 8, 512);
    assert_eq!(Map::bytes_needed(&def, 1, &limits), Ok(4096));
    assert_eq!(Map::create(&def, 1, &limits).unwrap().bytes(), 4096);
    let error = Map::create(&MapDef { max_entries: 513, ..def }, 1, &limits).unwrap_err();
    assert_eq!(error.errno(), Errno::ENOMEM);
    assert!(error.to_string().contains("needs 4104 bytes, the limit is 4096"), "{error}");
    for kind in [Kind::Array, Kind::PercpuArray] {
        let def = MapDef::new("m", kind, 4, 32768, u32::MAX);
        let error = Map::create(&def, u32::MAX, &limits).unwrap_err();
        assert!(matches!(error, CreateError::TooLarge { .. }), "{error}");
    }
    let none = Map::create(&MapDef::new("m", Kind::Array, 4, 8, 1), 0, &limits).unwrap_err();
    assert!(none.to_string().contains("0 CPUs"), "{none}");
}

#[test]
fn every_kind_of_linux_is_there() {
    for kind in MapType::ALL {
        let error = refused(&MapDef { extra: 1, ..MapDef::new("m", *kind, 3, 3, 3) });
        assert!(matches!(error, CreateError::Property { .. }), "{error}");
    }
}

#[test]
fn sections_come_with_content_and_read_only_ones_are_frozen() {
    let section = |flags, data: &[u8]| MapDef {
        flags: MapFlags(flags),
        origin: MapOrigin::Section { section: ".rodata".into(), data: data.into() },
        ..MapDef::new("prog.rodata", Kind::Array, 4, 3, 1)
    };
    let zero = [0; 4];
    let limits = MapLimits::default();
    let map = Map::create(&section(MapFlags::RDONLY_PROG, &[1, 2, 3]), 1, &limits).unwrap();
    assert_eq!(map.read(&zero).unwrap(), [1, 2, 3]);
    assert!(!map.slabs()[0].writable && map.slabs()[0].readable);
    let error = map.write(&zero, &[9; 3], UpdateFlags::ANY).unwrap_err();
    assert_eq!(error.to_string(), "map 'prog.rodata': write: EPERM (operation not permitted)");
    assert_eq!(map.update(&zero, &[9; 3], UpdateFlags::ANY, Default::default()), Err(Errno::EPERM));

    let map = Map::create(&section(0, &[1, 2, 3]), 1, &limits).unwrap();
    map.write(&zero, &[9; 3], UpdateFlags::ANY).unwrap();
    assert!(map.slabs()[0].writable && !map.is_frozen());

    let error = Map::create(&section(0, &[1, 2]), 1, &limits).unwrap_err();
    assert!(error.to_string().contains("section .rodata has 2 bytes of data"), "{error}");
}

#[test]
fn numbers_are_never_used_twice() {
    let def = MapDef::new("m", Kind::Array, 4, 8, 1);
    let create = || Map::create(&def, 1, &MapLimits::default()).unwrap();
    assert!(create().id() < create().id());
}

#[test]
fn the_maps_of_a_machine_share_a_limit() {
    let limits = MapLimits { map_bytes: 4096, total_bytes: 10_000 };
    let vm = Vm::linux().map_limits(limits).build();
    let def = MapDef::new("m", MapType::Array, 4, 8, 512);
    let first = vm.create_map(&def).unwrap();
    let second = vm.create_map(&def).unwrap();
    assert_eq!(vm.map_bytes(), 8192);
    let error = vm.clone().create_map(&def).unwrap_err();
    assert_eq!(error.errno(), Errno::ENOMEM);
    assert_eq!(
        error.to_string(),
        "map 'm' (array) needs 4096 bytes, but the machine's maps use 8192 of the 10000 bytes that \
         they may have: drop maps, lower max_entries, or raise the limit of the machine"
    );
    // What does not come to be costs nothing, and what ends is given back.
    let wrong = MapDef::new("w", MapType::Array, 3, 8, 4);
    vm.create_map(&wrong).unwrap_err();
    vm.create_map(&MapDef::new("big", MapType::Array, 4, 8, 513)).unwrap_err();
    assert_eq!(vm.map_bytes(), 8192);
    drop(first);
    vm.create_map(&def).unwrap();
    drop(second);
    assert_eq!(vm.map_bytes(), 0);
    // Another machine has a limit of its own.
    assert_eq!(Vm::linux().build().map_bytes(), 0);
}
