//! Values with locks, timers and pointers: what copies leave alone, who is told when they go, and
//! that nobody sees half a value under a lock.

use ebpfvm::asm::text::{Dialect, assemble};
use ebpfvm::map::{Cpu, FreedField, LookupFlags, Map, MapLimits, MapRef, UpdateFlags};
use ebpfvm::spec::btf::{
    Btf, BtfBuilder, Compound, IntEncoding, Kind, Member, SpecialField, SpecialKind, TypeId,
};
use ebpfvm::spec::map::MapFlags;
use ebpfvm::spec::{Errno, MapDef, MapType, ProgType, Program};
use ebpfvm::verifier::Options;
use ebpfvm::{Context, DEFAULT_FUEL, Instance, TrapKind, Vm};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread;

const LOCKED: UpdateFlags = UpdateFlags::F_LOCK;

fn field(kind: SpecialKind, offset: u32) -> SpecialField {
    SpecialField { kind, offset, bytes: kind.bytes(), target: None, node_offset: 0 }
}

fn def(map_type: MapType, value_bytes: u32, fields: &[(SpecialKind, u32)]) -> MapDef {
    let mut def = MapDef::new("m", map_type, 4, value_bytes, 4);
    def.special = fields.iter().map(|(kind, offset)| field(*kind, *offset)).collect();
    def
}

fn create(def: &MapDef) -> MapRef {
    Map::create(def, 2, &MapLimits::default()).unwrap()
}

fn key(n: u32) -> [u8; 4] {
    n.to_ne_bytes()
}

/// What a program has in a value.
fn bytes_in(map: &Map, n: u32, bytes: usize) -> Vec<u8> {
    let value = map.lookup(&key(n), Cpu(0)).unwrap();
    // SAFETY: the value is so long, and nobody writes to it now.
    unsafe { std::slice::from_raw_parts(value.as_ptr(), bytes) }.to_vec()
}

/// What a program stores in a value.
fn store(map: &Map, n: u32, offset: usize, word: u64) {
    let value = map.lookup(&key(n), Cpu(0)).unwrap();
    // SAFETY: the field is inside the value and aligned, and nobody else uses it now.
    unsafe { value.as_ptr().add(offset).cast::<u64>().write(word) }
}

#[test]
fn copies_of_both_sides_leave_fields_alone() {
    use SpecialKind::*;
    for kind in [MapType::Array, MapType::Hash] {
        let map = create(&def(kind, 40, &[(SpinLock, 4), (Refcount, 8), (KptrUnref, 24)]));
        map.write(&key(1), &[7; 40], UpdateFlags::ANY).unwrap();
        let mut expected = [7; 40];
        expected[4..8].fill(0);
        expected[8..12].copy_from_slice(&[1, 0, 0, 0]);
        expected[24..32].fill(0);
        assert_eq!(map.read(&key(1)).unwrap(), expected);
        assert_eq!(map.read_with(&key(1), LookupFlags::F_LOCK).unwrap(), expected);
        // In the value itself the count is as it was: zero.
        expected[8] = 0;
        assert_eq!(bytes_in(&map, 1, 40), expected);
        map.update(&key(1), &[9; 40], LOCKED, Cpu(0)).unwrap();
        for (range, byte) in [(0..4, 9), (4..12, 0), (12..24, 9), (24..32, 0), (32..40, 9)] {
            assert!(bytes_in(&map, 1, 40)[range].iter().all(|b| *b == byte));
        }
        store(&map, 1, 24, 0x1234);
        assert_eq!(map.read(&key(1)).unwrap()[24..32], [0; 8]);
        // Under the lock a hash table writes in place, and only an array resets the pointer.
        map.write(&key(1), &[8; 40], LOCKED).unwrap();
        let kept = bytes_in(&map, 1, 40)[24..26] == [0x34, 0x12];
        assert_eq!(kept, kind == MapType::Hash);
        assert_eq!(map.freeze().unwrap_err().errno(), Errno::ENOTSUPP);
    }
}

#[test]
fn a_lock_is_asked_for_only_where_there_is_one() {
    let plain = create(&def(MapType::Hash, 8, &[]));
    let timed = create(&def(MapType::Hash, 16, &[(SpecialKind::Timer, 0)]));
    for (map, bytes) in [(&plain, 8), (&timed, 16)] {
        let errno = map.write(&key(1), &vec![0; bytes], LOCKED).unwrap_err().errno();
        assert_eq!(errno, Errno::EINVAL);
        assert_eq!(map.update(&key(1), &vec![0; bytes], LOCKED, Cpu(0)), Err(Errno::EINVAL));
        let error = map.read_with(&key(1), LookupFlags::F_LOCK).unwrap_err();
        assert_eq!(error.errno(), Errno::EINVAL);
        let error = map.take_with(&key(1), LookupFlags::F_LOCK).unwrap_err();
        assert_eq!(error.errno(), Errno::EINVAL);
        let error = map.read_with(&key(1), LookupFlags(1)).unwrap_err();
        assert_eq!(error.to_string(), "map 'm': read: EINVAL (invalid argument)");
    }
    let map = create(&def(MapType::Hash, 8, &[(SpecialKind::SpinLock, 0)]));
    let exist = UpdateFlags(LOCKED.0 | UpdateFlags::EXIST.0);
    let noexist = UpdateFlags(LOCKED.0 | UpdateFlags::NOEXIST.0);
    let write = |flags| map.write(&key(1), &[1; 8], flags).map_err(|e| e.errno());
    assert_eq!(write(exist), Err(Errno::ENOENT));
    assert_eq!(write(noexist), Ok(()));
    assert_eq!(write(noexist), Err(Errno::EEXIST));
    assert_eq!(write(exist), Ok(()));
    assert_eq!(write(UpdateFlags(7)), Err(Errno::EINVAL));
    let value = [0, 0, 0, 0, 1, 1, 1, 1];
    assert_eq!(map.take_with(&key(1), LookupFlags::F_LOCK).unwrap(), value);
    assert_eq!(map.read(&key(1)).unwrap_err().errno(), Errno::ENOENT);
}

#[test]
fn who_wants_to_know_is_told_what_goes() {
    use SpecialKind::{KptrRef, Timer};
    let told = |map: &MapRef| -> Arc<Mutex<Vec<FreedField>>> {
        let told: Arc<Mutex<Vec<FreedField>>> = Arc::default();
        let notes = told.clone();
        assert!(map.on_free(Box::new(move |freed| notes.lock().unwrap().push(freed))));
        told
    };
    let fields = [(Timer, 0), (KptrRef, 16)];
    for kind in [MapType::Hash, MapType::LruHash, MapType::Array] {
        let map = create(&def(kind, 32, &fields));
        let told = told(&map);
        let mut expected = 0;
        let mut count = |more| {
            expected += more;
            assert_eq!(told.lock().unwrap().len(), expected, "{}", kind.name());
        };
        let set = |n: u32| {
            map.write(&key(n), &[1; 32], UpdateFlags::ANY).unwrap();
            store(&map, n, 0, 0xaaaa);
            store(&map, n, 16, 0xbbbb);
        };
        set(1);
        count(0);
        // Overwritten.
        map.update(&key(1), &[2; 32], UpdateFlags::ANY, Cpu(0)).unwrap();
        count(2);
        let first = told.lock().unwrap()[..2].to_vec();
        assert_eq!((first[0].kind, first[0].content), (Timer, 0xaaaa));
        assert_eq!((first[1].kind, first[1].content), (KptrRef, 0xbbbb));
        assert_eq!(first[1].address, first[0].address + 16);
        if kind != MapType::Array {
            set(1);
            map.remove(&key(1)).unwrap();
            count(2);
            set(1);
            map.take(&key(1)).unwrap();
            count(2);
        }
        if kind == MapType::LruHash {
            (0..4).for_each(set);
            map.write(&key(9), &[0; 32], UpdateFlags::ANY).unwrap();
            count(2);
            (0..4).for_each(|n| drop(map.remove(&key(n))));
            count(6);
        }
        // The map ends.
        set(2);
        drop(map);
        count(2);
    }
    let plain = create(&def(MapType::Hash, 8, &[(SpecialKind::SpinLock, 0)]));
    assert!(!plain.on_free(Box::new(|_| ())), "nothing in it has content");
}

#[test]
fn maps_have_only_the_fields_that_the_kernel_lets_them() {
    use SpecialKind::*;
    let refused = |def: &MapDef| Map::create(def, 1, &MapLimits::default()).unwrap_err();
    let error = refused(&def(MapType::LruHash, 8, &[(SpinLock, 0)]));
    assert_eq!(error.errno(), Errno::EOPNOTSUPP);
    assert_eq!(
        error.to_string(),
        "map 'm' (lru_hash): its values have a bpf_spin_lock at byte 0: maps of this kind have no \
         such field; Linux refuses it with EOPNOTSUPP (operation not supported)"
    );
    let mut read_only = def(MapType::Array, 8, &[(SpinLock, 0)]);
    read_only.flags = MapFlags(MapFlags::RDONLY_PROG);
    assert_eq!(refused(&read_only).errno(), Errno::EACCES);
    let error = refused(&def(MapType::Array, 8, &[(SpinLock, 8)]));
    assert!(error.to_string().contains("at byte 8: it is not where a field can be"), "{error}");
}

/// Types of a value that begins with a lock and is so long.
fn types(value_bytes: u32) -> (Btf, TypeId, TypeId) {
    let mut b = BtfBuilder::new();
    let name = b.intern("int");
    let encoding = IntEncoding::default();
    let int = b.push(name, Kind::Int { bytes: 4, encoding, bit_offset: 0, bits: 32 });
    let name = b.intern("bpf_spin_lock");
    let members = b.span([]);
    let lock = b.push(name, Kind::Compound { compound: Compound::Struct, bytes: 4, members });
    let member = b.intern("lock");
    let members = b.span([Member { name: member, type_id: lock, bit_offset: 0, bitfield_bits: 0 }]);
    let (name, bytes) = (b.intern("value"), value_bytes);
    let value = b.push(name, Kind::Compound { compound: Compound::Struct, bytes, members });
    (b.finish().unwrap(), int, value)
}

const VALUE_BYTES: u32 = 256;

/// Looks key 0 up and does something with the value in `r6`.
fn on_value(map: &MapRef, btf: &Btf, body: &str) -> Program {
    let text = format!(
        "*(u32 *)(r10 - 4) = 0\nr1 = map[idx:0]\nr2 = r10\nr2 += -4\ncall 1\nif r0 == 0 goto out\n\
         r6 = r0\n{body}\nout:\nr0 = 0\nexit"
    );
    let code = assemble(&text, Dialect::PseudoC).expect("the test's text is a program");
    let mut program = Program::from_code("test", ProgType::SchedCls, code);
    program.maps = [map.def().clone()].into();
    program.btf = Some(Arc::new(btf.clone()));
    program.license = "GPL".into();
    program
}

fn shared(kind: MapType) -> (MapRef, Btf) {
    let (btf, int, value) = types(VALUE_BYTES);
    let mut def = MapDef::new("m", kind, 4, VALUE_BYTES, 4);
    (def.key_type, def.value_type) = (Some(int), Some(value));
    def.find_special(&btf);
    let map = create(&def);
    map.write(&key(0), &[0; VALUE_BYTES as usize], UpdateFlags::ANY).unwrap();
    (map, btf)
}

fn packet() -> Context {
    Context::packet(ProgType::SchedCls, &[0; 64]).expect("a packet")
}

/// Adds 1 to every number in the value under its lock.
fn locked_sum() -> String {
    let add = |i: u32| format!("r1 = *(u64 *)(r6 + {i})\nr1 += 1\n*(u64 *)(r6 + {i}) = r1\n");
    let all: String = (8..VALUE_BYTES).step_by(8).map(add).collect();
    format!("r1 = r6\ncall 93\n{all}r1 = r6\ncall 94")
}

fn run_often(instance: &Instance, rounds: u64) {
    for _ in 0..rounds {
        instance.run(&mut packet(), DEFAULT_FUEL).unwrap();
    }
}

/// Programs add and both sides write and read under the lock: all numbers of a value are the same
/// at all times, and no addition is lost.
#[test]
fn no_value_is_torn_under_its_lock() {
    const ROUNDS: u64 = 20_000;
    for kind in [MapType::Array, MapType::Hash] {
        let (map, btf) = shared(kind);
        let vm = Vm::linux().build();
        let program = on_value(&map, &btf, &locked_sum());
        let accepted = vm.verify(program.clone(), &Options::default()).verdict.expect("accepted");
        let verified = vm.link_verified(accepted, std::slice::from_ref(&map)).unwrap();
        assert!(verified.is_verified());
        let checked = vm.link(program, std::slice::from_ref(&map)).unwrap();
        let stop = AtomicBool::new(false);
        let whole = |value: &[u8]| {
            let first = value[8..16].to_vec();
            assert!(value[8..].chunks(8).all(|number| number == first), "torn: {value:x?}");
            u64::from_ne_bytes(first.try_into().unwrap())
        };
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    let mut last = 0;
                    while !stop.load(Relaxed) {
                        let value = map.read_with(&key(0), LookupFlags::F_LOCK).unwrap();
                        let number = whole(&value);
                        assert!(number >= last, "{number} after {last}");
                        last = number;
                    }
                });
            }
            let adders =
                [&verified, &verified, &checked].map(|i| scope.spawn(|| run_often(i, ROUNDS)));
            let done = adders.map(|adder| adder.join().is_ok());
            stop.store(true, Relaxed);
            assert_eq!(done, [true; 3]);
        });
        let value = map.read_with(&key(0), LookupFlags::F_LOCK).unwrap();
        assert_eq!(whole(&value), 3 * ROUNDS, "{}", kind.name());
        // Now the host writes, too.
        stop.store(false, Relaxed);
        thread::scope(|scope| {
            let writers = [11u8, 13].map(|byte| {
                let (map, verified) = (&map, &verified);
                scope.spawn(move || {
                    for _ in 0..ROUNDS / 4 {
                        let value = [byte; VALUE_BYTES as usize];
                        map.write(&key(0), &value, LOCKED).unwrap();
                        map.update(&key(0), &value, LOCKED, Cpu(0)).unwrap();
                        verified.run(&mut packet(), DEFAULT_FUEL).unwrap();
                    }
                })
            });
            scope.spawn(|| {
                while !stop.load(Relaxed) {
                    whole(&map.read_with(&key(0), LookupFlags::F_LOCK).unwrap());
                }
            });
            let done = writers.map(|writer| writer.join().is_ok());
            stop.store(true, Relaxed);
            assert_eq!(done, [true; 2]);
        });
    }
}

/// A run that stops inside of the lock gives it back, with and without checks.
#[test]
fn a_run_that_stops_gives_its_lock_back() {
    let (map, btf) = shared(MapType::Hash);
    let vm = Vm::linux().build();
    let endless = on_value(&map, &btf, "r1 = r6\ncall 93\nagain:\ngoto again");
    let instance = vm.link(endless, std::slice::from_ref(&map)).unwrap();
    for _ in 0..3 {
        let trap = instance.run(&mut packet(), 1000).unwrap_err();
        assert_eq!(trap.kind, TrapKind::OutOfFuel(1000));
    }
    let long =
        "r1 = r6\ncall 93\nr7 = 0\nagain:\nr7 += 1\nif r7 < 1000 goto again\nr1 = r6\ncall 94";
    let program = on_value(&map, &btf, long);
    let accepted = vm.verify(program, &Options::default()).verdict.expect("accepted");
    let instance = vm.link_verified(accepted, std::slice::from_ref(&map)).unwrap();
    for _ in 0..3 {
        let trap = instance.run(&mut packet(), 100).unwrap_err();
        assert_eq!(trap.kind, TrapKind::OutOfFuel(100));
    }
    instance.run(&mut packet(), DEFAULT_FUEL).unwrap();
    map.read_with(&key(0), LookupFlags::F_LOCK).unwrap();
}

/// What the verifier refuses traps with checks, at once or after a bounded wait.
#[test]
fn misuse_of_locks_traps() {
    let (map, btf) = shared(MapType::Array);
    let vm = Vm::linux().build();
    for (body, expected) in [
        ("r1 = r6\ncall 93\nr1 = r6\ncall 93", "is a second lock: the program holds one already"),
        ("r1 = r6\nr1 += 4\ncall 93", "is not the spin lock in a value of the program's maps"),
        ("r1 = r10\nr1 += -8\ncall 93", "is not the spin lock in a value of the program's maps"),
        ("r1 = r6\ncall 94", "is not the lock that the program holds"),
        ("r1 = r6\ncall 93\nr1 = r6\nr1 += 8\ncall 94", "is not the lock that the program holds"),
        // The lock's own bytes, written by hand: nobody gives that back.
        ("*(u32 *)(r6 + 0) = 7\nr1 = r6\ncall 93", "is a lock that was not free for 5 seconds"),
    ] {
        let program = on_value(&map, &btf, body);
        assert!(vm.verify(program.clone(), &Options::default()).verdict.is_err(), "{body}");
        let instance = vm.link(program, std::slice::from_ref(&map)).unwrap();
        let trap = instance.run(&mut packet(), DEFAULT_FUEL).unwrap_err();
        assert!(trap.to_string().contains(expected), "{trap}");
    }
    // The host is not kept waiting for ever either.
    let error = map.read_with(&key(0), LookupFlags::F_LOCK).unwrap_err();
    assert_eq!(error.to_string(), "map 'm': read: ETIMEDOUT (timed out)");
    let error = map.write(&key(0), &[0; VALUE_BYTES as usize], LOCKED).unwrap_err();
    assert_eq!(error.errno(), Errno::ETIMEDOUT);
}
