//! Maps of redirect targets.

use ebpfvm::map::{Cpu, Map, MapLimits, MapRef, Targets, UpdateFlags};
use ebpfvm_spec::{Errno, MapDef, MapType};

fn create(kind: MapType, value_bytes: u32, entries: u32) -> MapRef {
    let def = MapDef::new("targets", kind, 4, value_bytes, entries);
    Map::create(&def, 2, &MapLimits::default()).unwrap()
}

fn write(map: &Map, key: u32, number: u32, program: i32, flags: u64) -> Result<(), Errno> {
    let value = [number.to_ne_bytes(), program.to_ne_bytes()].concat();
    let value = &value[..map.def().value_bytes as usize];
    map.write(&key.to_ne_bytes(), value, UpdateFlags(flags)).map_err(|e| e.errno())
}

/// What a program reads at the start of the value.
fn load(map: &Map, key: u32) -> Option<u32> {
    let value = map.lookup(&key.to_ne_bytes(), Cpu(0))?;
    // SAFETY: four aligned bytes of the map's memory that nobody writes now.
    Some(unsafe { value.cast::<u32>().read() })
}

#[test]
fn devices_are_found_by_programs_and_by_redirects() {
    for kind in [MapType::Devmap, MapType::DevmapHash] {
        for value_bytes in [4, 8] {
            let map = create(kind, value_bytes, 4);
            assert_eq!((map.target(2), load(&map, 2)), (None, None));
            assert_eq!(write(&map, 2, 77, 0, 0), Ok(()));
            assert_eq!((map.target(2), load(&map, 2)), (Some(77), Some(77)));
            assert!(!map.slabs()[0].writable, "programs may not change a target");
            assert_eq!(write(&map, 2, 78, -1, 2), Ok(()));
            let value = [78u32.to_ne_bytes(), [0; 4]].concat();
            assert_eq!(map.read(&2u32.to_ne_bytes()).unwrap(), value[..value_bytes as usize]);
            if value_bytes == 8 {
                assert_eq!(write(&map, 2, 78, 5, 0), Err(Errno::EINVAL), "no programs");
            }
            assert_eq!(map.entries().count(), 1);
            map.remove(&2u32.to_ne_bytes()).unwrap();
            assert_eq!(map.target(2), None);
        }
    }
    let map = create(MapType::Devmap, 4, 4);
    assert_eq!(write(&map, 4, 1, 0, 0), Err(Errno::E2BIG));
    assert_eq!(map.target(4), None);
    let map = create(MapType::DevmapHash, 4, 1);
    assert_eq!(write(&map, 9, 1, 0, 0), Ok(()));
    assert_eq!(write(&map, 8, 1, 0, 0), Err(Errno::E2BIG));
    assert_eq!(write(&map, 9, 0, 0, 0), Err(Errno::EINVAL));
}

#[test]
fn cpus_are_those_of_the_machine() {
    let map = create(MapType::Cpumap, 4, 4);
    assert_eq!(write(&map, 1, 192, 0, 0), Ok(()));
    assert_eq!((map.target(1), load(&map, 1)), (Some(192), None));
    assert_eq!(write(&map, 2, 192, 0, 0), Err(Errno::ENODEV));
    assert_eq!(write(&map, 1, 16385, 0, 0), Err(Errno::EOVERFLOW));
    assert_eq!(write(&map, 1, 0, 0, 0), Ok(()));
    assert_eq!(map.target(1), None);
    let def = MapDef::new("c", MapType::Cpumap, 4, 4, 257);
    let error = Map::create(&def, 2, &MapLimits::default()).unwrap_err();
    assert_eq!(error.errno(), Errno::E2BIG);
}

#[test]
fn sockets_come_from_the_host() {
    let map = create(MapType::Xskmap, 4, 2);
    let sockets: &Targets = map.as_kind().unwrap();
    assert_eq!(write(&map, 0, 3, 0, 0), Err(Errno::EBADF));
    assert_eq!(sockets.set_socket(0, 0), Ok(()));
    assert_eq!(sockets.set_socket(1, 7), Ok(()));
    assert_eq!(sockets.set_socket(2, 7), Err(Errno::E2BIG));
    assert_eq!((map.target(0), load(&map, 0)), (Some(0), Some(0)));
    assert_eq!((map.target(1), load(&map, 1)), (Some(7), Some(7)));
    map.remove(&[0; 4]).unwrap();
    assert_eq!(load(&map, 0), None);
    let devices = create(MapType::Devmap, 4, 2);
    assert_eq!(devices.as_kind::<Targets>().unwrap().set_socket(0, 1), Err(Errno::EINVAL));
}
