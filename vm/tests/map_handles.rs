//! Arrays of handles: programs and perf events.

use ebpfvm::map::perf_event_array::CURRENT_CPU;
use ebpfvm::map::{Cpu, Map, MapLimits, MapRef, PerfEventArray, ProgArray, UpdateFlags};
use ebpfvm::{Instance, Vm};
use ebpfvm_asm::{Builder, Reg};
use ebpfvm_spec::{Errno, MapDef, MapType, ProgType, Program};
use std::sync::Arc;
use std::thread;

fn create(kind: MapType, entries: u32) -> MapRef {
    let def = MapDef::new("handles", kind, 4, 4, entries);
    Map::create(&def, 2, &MapLimits::default()).unwrap()
}

fn program(prog_type: ProgType) -> Arc<Instance> {
    let mut code = Builder::new();
    code.mov(Reg::R0, 0).exit();
    let program = Program::from_code("p", prog_type, code.build().unwrap());
    Vm::linux().build().link(program, &[]).unwrap()
}

/// What the system call gives for slots that hold nothing, index 0 of 4 and index 4.
#[test]
fn numbers_are_no_handles() {
    for kind in [MapType::ProgArray, MapType::PerfEventArray] {
        let map = create(kind, 4);
        let errno = |e: ebpfvm::map::MapError| e.errno();
        let write = |key: u32, flags| {
            map.write(&key.to_ne_bytes(), &[255; 4], UpdateFlags(flags)).map_err(errno)
        };
        assert_eq!(write(0, 0), Err(Errno::EBADF));
        assert_eq!(write(0, 1), Err(Errno::EINVAL));
        assert_eq!(write(0, 2), Err(Errno::EINVAL));
        assert_eq!(write(4, 0), Err(Errno::E2BIG));
        assert_eq!(map.remove(&[0; 4]).map_err(errno), Err(Errno::ENOENT));
        assert_eq!(map.remove(&4u32.to_ne_bytes()).map_err(errno), Err(Errno::E2BIG));
        let absent = if kind == MapType::ProgArray { Errno::ENOENT } else { Errno::ENOTSUPP };
        assert_eq!(map.read(&[0; 4]).map_err(errno), Err(absent));
        assert_eq!(map.read(&[9; 4]).map_err(errno), Err(absent));
        assert_eq!(map.next_key(None).unwrap(), [0; 4]);
        assert_eq!(map.next_key(Some(&3u32.to_ne_bytes())).map_err(errno), Err(Errno::ENOENT));
        assert_eq!(map.take(&[0; 4]).map_err(errno), Err(Errno::ENOTSUPP));
        assert_eq!(map.lookup(&[0; 4], Cpu(0)), None);
        assert_eq!(map.entries().count(), 0);
    }
}

#[test]
fn programs_of_one_type_go_in_and_out() {
    let map = create(MapType::ProgArray, 2);
    let array: &ProgArray = map.as_kind().unwrap();
    let first = program(ProgType::Xdp);
    assert_eq!(array.set(2, first.clone()), Err(Errno::E2BIG));
    assert_eq!(array.set(1, first.clone()), Ok(()));
    assert_eq!(array.set(0, program(ProgType::SocketFilter)), Err(Errno::EINVAL));
    assert_eq!(array.claim(ProgType::Xdp), Ok(()));
    assert_eq!(array.claim(ProgType::SchedCls), Err(Errno::EINVAL));
    assert_eq!(array.get(1).unwrap().id(), first.id());
    assert!(array.get(0).is_none() && array.get(2).is_none());
    assert_eq!(map.read(&1u32.to_ne_bytes()).unwrap(), first.id().to_ne_bytes());
    assert_eq!(map.entries().count(), 1);
    map.remove(&1u32.to_ne_bytes()).unwrap();
    assert!(array.get(1).is_none());
    array.set(0, first.clone()).unwrap();
    array.clear();
    assert_eq!(Arc::strong_count(&first), 1);
}

#[test]
fn programs_are_exchanged_under_their_callers() {
    let map = create(MapType::ProgArray, 1);
    let array: &ProgArray = map.as_kind().unwrap();
    let programs = [program(ProgType::Xdp), program(ProgType::Xdp)];
    array.set(0, programs[0].clone()).unwrap();
    thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0..20_000 {
                array.set(0, programs[round % 2].clone()).unwrap();
            }
        });
        scope.spawn(|| {
            for _ in 0..20_000 {
                let id = array.get(0).unwrap().id();
                assert!(programs.iter().any(|program| program.id() == id));
            }
        });
    });
    array.clear();
    assert!(programs.iter().all(|program| Arc::strong_count(program) == 1));
}

#[test]
fn samples_go_to_the_slot_of_their_cpu() {
    let map = create(MapType::PerfEventArray, 3);
    let array: &PerfEventArray = map.as_kind().unwrap();
    assert_eq!(array.output(0, Cpu(0), &[b"x"]), Err(Errno::ENOENT));
    for cpu in 0..2 {
        array.open(cpu, Cpu(cpu), 64).unwrap();
    }
    assert_eq!(array.open(3, Cpu(0), 64), Err(Errno::E2BIG));
    assert_eq!(array.output(CURRENT_CPU, Cpu(1), &[b"one ", b"two"]), Ok(()));
    assert_eq!(array.output(0, Cpu(0), &[b"three"]), Ok(()));
    assert_eq!(array.output(0, Cpu(1), &[b"x"]), Err(Errno::EOPNOTSUPP));
    assert_eq!(array.output(3, Cpu(0), &[b"x"]), Err(Errno::E2BIG));
    assert_eq!(array.output(u64::MAX, Cpu(0), &[b"x"]), Err(Errno::E2BIG));
    assert_eq!(array.output(CURRENT_CPU, Cpu(2), &[b"x"]), Err(Errno::ENOENT));

    let samples = array.drain();
    let seen: Vec<_> = samples.iter().map(|s| (s.sequence, s.cpu.0, s.data.as_slice())).collect();
    assert_eq!(seen, [(0, 1, &b"one two"[..]), (1, 0, b"three")]);
    assert_eq!(array.drain(), []);
    map.remove(&[0; 4]).unwrap();
    assert_eq!(array.output(0, Cpu(0), &[b"x"]), Err(Errno::ENOENT));
}

#[test]
fn what_finds_no_room_is_counted() {
    let map = create(MapType::PerfEventArray, 1);
    let array: &PerfEventArray = map.as_kind().unwrap();
    // Two samples of 12 + 20 bytes.
    array.open(0, Cpu(0), 64).unwrap();
    let output = |bytes: usize| array.output(0, Cpu(0), &[&vec![7; bytes]]);
    assert_eq!(
        [output(20), output(21), output(20), output(0)],
        [Ok(()), Err(Errno::ENOSPC), Ok(()), Err(Errno::ENOSPC)]
    );
    assert_eq!((array.lost(0), array.lost(1)), (2, 0));
    assert_eq!(array.drain().len(), 2);
    assert_eq!(output(52), Ok(()));
}
