//! Maps that are one piece of memory: arenas, and tables of functions as data.

use ebpfvm::map::struct_ops::StructOpsState;
use ebpfvm::map::{Arena, Map, MapLimits, MapRef, StructOps, UpdateFlags};
use ebpfvm_spec::{Errno, MapDef, MapFlags, MapType};

fn arena(pages: u32, flags: u32, address: u64) -> MapRef {
    let def = MapDef {
        flags: MapFlags(MapFlags::MMAPABLE | flags),
        extra: address,
        ..MapDef::new("arena", MapType::Arena, 0, 0, pages)
    };
    Map::create(&def, 1, &MapLimits::default()).unwrap()
}

#[test]
fn the_host_reads_and_writes_bytes_of_an_arena() {
    let map = arena(3, 0, 0);
    let arena = map.as_kind::<Arena>().unwrap();
    assert_eq!((arena.bytes(), arena.start()), (3 * 4096, arena.address() as u64));
    assert_eq!(arena.allocated_pages(), 0);
    let bytes: Vec<u8> = (0..100).collect();
    for offset in [0, 1, 7, 8, 4095, 4096, 3 * 4096 - 100] {
        arena.write(offset, &bytes).unwrap();
        let mut out = [0; 102];
        let start = offset.saturating_sub(1).min(3 * 4096 - 102);
        arena.read(start, &mut out).unwrap();
        let at = (offset - start) as usize;
        assert_eq!(out[at..at + 100], bytes, "offset {offset}");
    }
    arena.write(5, &[]).unwrap();
    for (offset, bytes) in [(3 * 4096 - 99, 100), (3 * 4096, 1), (u64::MAX, 2)] {
        assert_eq!(arena.write(offset, &vec![1; bytes]), Err(Errno::EFAULT));
        assert_eq!(arena.read(offset, &mut vec![1; bytes]), Err(Errno::EFAULT));
    }
    assert_eq!(arena.allocated_pages(), 3);
    let slab = map.slabs()[0];
    assert_eq!((slab.base, slab.value_bytes), (arena.address(), 3 * 4096));
}

#[test]
fn pages_of_an_arena_are_taken_and_given_back() {
    let start = 1 << 44;
    let map = arena(4, MapFlags::SEGV_ON_FAULT, start);
    let arena = map.as_kind::<Arena>().unwrap();
    assert_eq!(arena.write(0, &[1]), Err(Errno::EFAULT), "no program has allocated it");
    assert_eq!(arena.allocate(None, 1), Some(start));
    assert_eq!(arena.allocate(Some(start + 2 * 4096), 1), Some(start + 2 * 4096));
    assert_eq!(arena.allocate(None, 2), None, "only single pages are free");
    assert_eq!(arena.allocate(Some(start), 1), None);
    for (address, count) in
        [(start + 1, 1), (start - 4096, 1), (start + 4 * 4096, 1), (start + 3 * 4096, 2), (0, 1)]
    {
        assert_eq!(arena.allocate(Some(address), count), None);
    }
    assert_eq!((arena.allocate(None, 0), arena.allocate(None, 5)), (None, None));
    arena.write(0, &[1; 8]).unwrap();
    arena.free(start, 2);
    arena.free(start + 4 * 4096, 1);
    arena.free(start + 1, 1);
    arena.free(0, u32::MAX);
    assert_eq!(arena.allocated_pages(), 1);
    assert_eq!(arena.allocate(None, 2), Some(start));
    let mut out = [9; 8];
    arena.read(0, &mut out).unwrap();
    assert_eq!(out, [0; 8], "new pages are zero");
    assert_eq!(map.read(&[]).unwrap_err().errno(), Errno::EINVAL);
}

#[test]
fn a_table_of_functions_has_the_states_of_the_kernels() {
    for link in [false, true] {
        let def = MapDef {
            flags: MapFlags(if link { MapFlags::LINK } else { 0 }),
            ..MapDef::new("ops", MapType::StructOps, 4, 72, 1)
        };
        let map = Map::create(&def, 1, &MapLimits::default()).unwrap();
        let ops = map.as_kind::<StructOps>().unwrap();
        let write = |key: u32, value: &[u8], flags| {
            map.write(&key.to_ne_bytes(), value, UpdateFlags(flags)).map_err(|e| e.errno())
        };
        let remove = || map.remove(&[0; 4]).map_err(|e| e.errno());
        assert_eq!(map.read(&[0; 4]).unwrap(), [0; 72]);
        assert_eq!(map.read(&[1; 4]).unwrap_err().errno(), Errno::ENOENT);
        assert_eq!(remove(), Err(if link { Errno::EOPNOTSUPP } else { Errno::ENOENT }));
        let mut value = [3; 72];
        assert_eq!(write(0, &value, 0), Err(Errno::EINVAL), "the state is the map's to set");
        value[..8].fill(0);
        assert_eq!(write(0, &value, 1), Err(Errno::EINVAL));
        assert_eq!(write(1, &value, 0), Err(Errno::E2BIG));
        assert_eq!(write(0, &value, 0), Ok(()));
        assert_eq!(write(0, &value, 0), Err(Errno::EBUSY));
        let state = if link { StructOpsState::Ready } else { StructOpsState::InUse };
        assert_eq!(ops.state(), state);
        value[4..8].copy_from_slice(&(state as u32).to_ne_bytes());
        assert_eq!(map.read(&[0; 4]).unwrap(), value);
        assert_eq!(map.next_key(None).unwrap(), [0; 4]);
        assert_eq!(map.next_key(Some(&[0; 4])).unwrap_err().errno(), Errno::ENOENT);
        if link {
            assert_eq!(remove(), Err(Errno::EOPNOTSUPP));
        } else {
            assert_eq!(remove(), Ok(()));
            assert_eq!(
                (ops.state(), remove()),
                (StructOpsState::ToBeFree, Err(Errno::EINPROGRESS))
            );
        }
    }
}
