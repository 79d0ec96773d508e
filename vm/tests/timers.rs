//! Timers of programs: time, fuel, lifetimes and threads.

use ebpfvm::asm::text::{Dialect, assemble};
use ebpfvm::host::World;
use ebpfvm::host::world::Clock;
use ebpfvm::map::UpdateFlags;
use ebpfvm::spec::btf::{SpecialField, SpecialKind};
use ebpfvm::spec::{Errno, MapDef, MapType, ProgType, Program};
use ebpfvm::{Context, DEFAULT_FUEL, Instance, MapRef, TrapKind, Vm};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

const KEYS: u32 = 4;

/// Values with a timer first, and then two numbers.
fn def(map_type: MapType) -> MapDef {
    let timer = SpecialField {
        kind: SpecialKind::Timer,
        offset: 0,
        bytes: SpecialKind::Timer.bytes(),
        target: None,
        node_offset: 0,
    };
    MapDef { special: [timer].into(), ..MapDef::new("timers", map_type, 4, 32, KEYS) }
}

fn link(vm: &Vm, text: &str, map: &MapRef) -> Arc<Instance> {
    let code = assemble(text, Dialect::PseudoC).unwrap_or_else(|e| panic!("{e}\n{text}"));
    let program = Program::from_code("test", ProgType::SchedCls, code);
    vm.link(program, std::slice::from_ref(map)).expect("linked")
}

/// Runs the program with a mark on the packet.
fn run(instance: &Instance, mark: u32) -> i64 {
    let mut packet = Context::packet(ProgType::SchedCls, &[0; 64]).expect("a packet");
    packet.set_field("mark", mark.into()).expect("a mark");
    instance.run(&mut packet, 10_000).expect("a run").retval as i64
}

/// A program that looks the value up whose key is in `mark`, does the rest with it in `r6`, and has
/// a function.
fn program(rest: &str, function: &str) -> String {
    format!(
        "r7 = *(u32 *)(r1 + 8)\n*(u32 *)(r10 - 4) = r7\nr1 = map[idx:0]\nr2 = r10\nr2 += -4\ncall 1\n\
         r6 = r0\nif r0 != 0 goto found\nr0 = -1\nexit\nfound:\n{rest}\nexit\nf:\n{function}\nr0 = 0\nexit"
    )
}

const MAKE: &str =
    "r1 = r6\nr2 = map[idx:0]\nr3 = 1\ncall 169\nr1 = r6\nr2 = subprog[f]\ncall 170\n";

fn start(ns: &str) -> String {
    format!("r1 = r6\nr2 = {ns}\nr3 = 0\ncall 171\n")
}

/// Counts in the value.
const COUNT: &str = "r1 = 1\nlock *(u64 *)(r3 + 16) += r1\n";

fn count(map: &MapRef, key: u32) -> u64 {
    let value = map.read(&key.to_ne_bytes()).expect("a value");
    u64::from_ne_bytes(value[16..24].try_into().expect("8 bytes"))
}

#[test]
fn a_world_goes_on_to_when_a_timer_is_due() {
    let world = Arc::new(World::new().clock(Clock::starting_at(1_000)));
    let vm = Vm::linux().host(world).build();
    let map = vm.create_map(&def(MapType::Array)).expect("a map");
    // The function notes the time.
    let function = "r6 = r3\ncall 5\n*(u64 *)(r6 + 16) = r0\n";
    let instance = link(&vm, &program(&format!("{MAKE}{}", start("500")), function), &map);
    assert_eq!(run(&instance, 2), 0);
    assert_eq!(vm.next_timer_ns(), Some(1_500));
    assert!(vm.fire_timers(1_499, DEFAULT_FUEL).fired.is_empty());
    let fired = vm.fire_timers(2_000, DEFAULT_FUEL).fired;
    assert_eq!((fired.len(), fired[0].due_ns, &fired[0].key[..]), (1, 1_500, &[2, 0, 0, 0][..]));
    assert_eq!(count(&map, 2), 1_500);
    assert_eq!(vm.next_timer_ns(), None);
}

#[test]
fn a_timer_that_starts_itself_costs_fuel() {
    let vm = Vm::linux().host(Arc::new(World::new())).build();
    let map = vm.create_map(&def(MapType::Array)).expect("a map");
    let again = format!("{COUNT}r1 = r3\nr2 = 0\nr3 = 0\ncall 171\n");
    let instance = link(&vm, &program(&format!("{MAKE}{}", start("0")), &again), &map);
    assert_eq!(run(&instance, 0), 0);
    let all = vm.fire_timers(0, 1_000);
    assert_eq!(all.fuel_left, 0);
    assert!((50..=1_000).contains(&all.fired.len()), "{}", all.fired.len());
    // The last one may have been stopped by it.
    let (last, whole) = all.fired.split_last().expect("some");
    assert!(whole.iter().all(|fired| fired.outcome.is_ok()));
    assert!(match &last.outcome {
        Ok(_) => true,
        Err(trap) => matches!(trap.kind, TrapKind::OutOfFuel(_)),
    });
    assert!(vm.fire_timers(0, 0).fired.is_empty());
}

#[test]
fn a_trap_in_a_function_is_told_and_others_fire() {
    let vm = Vm::linux().host(Arc::new(World::new())).build();
    let map = vm.create_map(&def(MapType::Array)).expect("a map");
    let text = program(
        &format!("{MAKE}{}", start("5")),
        &format!("{COUNT}r1 = *(u32 *)(r2 + 0)\nif r1 != 1 goto out\nr1 = *(u8 *)(r1 + 0)\nout:"),
    );
    let instance = link(&vm, &text, &map);
    (0..3).for_each(|mark| assert_eq!(run(&instance, mark), 0));
    let fired = vm.fire_timers(5, DEFAULT_FUEL).fired;
    let trapped: Vec<bool> = fired.iter().map(|fired| fired.outcome.is_err()).collect();
    assert_eq!(trapped, [false, true, false]);
    assert!((0..3).all(|key| count(&map, key) == 1));
}

#[test]
fn timers_go_with_their_elements() {
    let vm = Vm::linux().host(Arc::new(World::new())).build();
    let map = vm.create_map(&def(MapType::Hash)).expect("a map");
    let instance = link(&vm, &program(&format!("{MAKE}{}", start("5")), COUNT), &map);
    let key = |key: u32| key.to_ne_bytes();
    (0..4).for_each(|k| map.write(&key(k), &[0; 32], UpdateFlags::ANY).expect("written"));
    (0..4).for_each(|mark| assert_eq!(run(&instance, mark), 0));
    map.remove(&key(0)).expect("removed");
    map.write(&key(1), &[0; 32], UpdateFlags::EXIST).expect("replaced");
    map.write(&key(0), &[0; 32], UpdateFlags::NOEXIST).expect("made anew");
    let fired = vm.fire_timers(5, DEFAULT_FUEL).fired;
    assert_eq!(fired.iter().map(|fired| fired.key[0]).collect::<Vec<_>>(), [2, 3]);
    assert_eq!([0, 1, 2, 3].map(|key| count(&map, key)), [0, 0, 1, 1]);
}

#[test]
fn timers_keep_their_program_and_end_with_the_machine() {
    let vm = Vm::linux().host(Arc::new(World::new())).build();
    let map = vm.create_map(&def(MapType::Array)).expect("a map");
    let text = program(&format!("{MAKE}{}", start("5")), COUNT);
    let instance = link(&vm, &text, &map);
    assert_eq!(run(&instance, 0), 0);
    let watch = Arc::downgrade(&instance);
    drop(instance);
    assert_eq!(vm.fire_timers(5, DEFAULT_FUEL).fired.len(), 1);
    assert!(watch.upgrade().is_some(), "it has its function still");
    let other = link(&vm, &text, &map);
    drop(vm);
    assert!(watch.upgrade().is_none());
    // Nobody is left to fire what is started now.
    let only_made = "r1 = r6\nr2 = map[idx:0]\nr3 = 1\ncall 169\n";
    assert_eq!(run(&other, 1), -i64::from(Errno::EINVAL.0));
    let vm = Vm::linux().build();
    let instance = link(&vm, &program(only_made, COUNT), &map);
    drop(vm);
    assert_eq!(run(&instance, 2), -i64::from(Errno::EPERM.0));
}

#[test]
fn what_is_no_timer_is_refused() {
    let vm = Vm::linux().build();
    let map = vm.create_map(&def(MapType::Array)).expect("a map");
    for place in ["r1 = r6\nr1 += 8", "r1 = r10\nr1 += -16", "r1 = 0"] {
        let text = format!("{place}\nr2 = map[idx:0]\nr3 = 1\ncall 169\n");
        let instance = link(&vm, &program(&text, COUNT), &map);
        let mut packet = Context::packet(ProgType::SchedCls, &[0; 64]).expect("a packet");
        let trap = instance.run(&mut packet, 1_000).expect_err(place);
        assert!(matches!(trap.kind, TrapKind::HelperArg { arg: 1, .. }), "{trap}");
    }
    // The field's bytes make no timer.
    let forged = "r1 = 7\n*(u64 *)(r6 + 0) = r1\nr1 = r6\ncall 172\n";
    let instance = link(&vm, &program(forged, COUNT), &map);
    assert_eq!(run(&instance, 0), -i64::from(Errno::EINVAL.0));
}

/// Programs start and cancel timers, the host removes elements, and several threads fire them; the
/// functions start themselves and cancel their neighbours. Nobody waits for ever.
#[test]
fn timers_on_many_threads_end() {
    let vm = Vm::linux().build();
    let map = vm.create_map(&def(MapType::Hash)).expect("a map");
    let key = |key: u32| key.to_ne_bytes();
    (0..KEYS).for_each(|k| map.write(&key(k), &[0; 32], UpdateFlags::ANY).expect("written"));
    let function = "
        r6 = r3
        r7 = r1
        r1 = 1
        lock *(u64 *)(r6 + 16) += r1
        r1 = *(u32 *)(r2 + 0)
        r1 += 1
        r1 &= 3
        *(u32 *)(r10 - 4) = r1
        r1 = r7
        r2 = r10
        r2 += -4
        call 1
        if r0 == 0 goto own
        r1 = r0
        call 172
    own:
        r1 = r6
        call 172
        r1 = r6
        r2 = 10
        r3 = 0
        call 171";
    let begin = program(&format!("{MAKE}{}", start("10")), function);
    let cancel = program("r1 = r6\ncall 172\n", COUNT);
    let (begin, cancel) = (link(&vm, &begin, &map), link(&vm, &cancel, &map));
    let done = AtomicBool::new(false);
    let fired = std::thread::scope(|scope| {
        let firing: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| {
                    let mut fired = 0;
                    while !done.load(Relaxed) {
                        fired += vm.fire_timers(u64::MAX - 1, 2_000).fired.len();
                    }
                    fired
                })
            })
            .collect();
        let working: Vec<_> = (0..3u32)
            .map(|thread| {
                let (begin, cancel, map) = (&begin, &cancel, &map);
                scope.spawn(move || {
                    for round in 0..3_000u32 {
                        let k = (round * 7 + thread) % KEYS;
                        match round % 5 {
                            0 if thread == 0 => {
                                let _ = map.remove(&key(k));
                                let _ = map.write(&key(k), &[0; 32], UpdateFlags::ANY);
                            }
                            1 => drop(run(cancel, k)),
                            _ => drop(run(begin, k)),
                        }
                    }
                })
            })
            .collect();
        working.into_iter().for_each(|thread| thread.join().expect("it ends"));
        done.store(true, Relaxed);
        firing.into_iter().map(|thread| thread.join().expect("it ends")).sum::<usize>()
    });
    assert!(fired > 0);
}
