//! Functions of a program that helpers call.

use ebpfvm::asm::text::{Dialect, assemble};
use ebpfvm::map::{Cpu, UpdateFlags};
use ebpfvm::spec::{MapDef, MapType, ProgType, Program};
use ebpfvm::{Context, Instance, MapRef, TrapKind, Vm};
use std::ops::ControlFlow;
use std::sync::Arc;

fn program(text: &str) -> Program {
    let code = assemble(text, Dialect::PseudoC).expect("the test's text is a program");
    Program::from_code("test", ProgType::SocketFilter, code)
}

fn packet() -> Context {
    Context::packet(ProgType::SocketFilter, &[0; 64]).expect("a packet")
}

/// Adds the indices below 10 in a variable on the caller's stack, and stops after the one of 5.
const SUM: &str = "
    *(u64 *)(r10 - 8) = 0
    r6 = 7
    r1 = 10
    r2 = subprog[add]
    r3 = r10
    r3 += -8
    r4 = 0
    call 181
    r7 = *(u64 *)(r10 - 8)
    r7 <<= 8
    r0 |= r7
    r0 += r6
    exit
add:
    r6 = *(u64 *)(r2 + 0)
    r6 += r1
    *(u64 *)(r2 + 0) = r6
    r0 = 0
    if r1 != 5 goto out
    r0 = 1
out:
    exit";

#[test]
fn a_loop_calls_its_function_until_it_says_stop() {
    let vm = Vm::linux().build();
    let expected = (15 << 8 | 6) + 7;
    let instance = vm.link(program(SUM), &[]).expect("linked");
    assert_eq!(instance.run(&mut packet(), 10_000).expect("a run").retval, expected);
}

/// A program that calls its function so often.
fn rounds(count: u32, function: &str) -> String {
    format!(
        "r1 = {count}\nr2 = subprog[f]\nr3 = 0\nr4 = 0\ncall 181\nr0 = 0\nexit\nf:\n{function}\nr0 = 0\nexit"
    )
}

#[test]
fn what_a_helper_calls_pays_from_the_same_budget() {
    let vm = Vm::linux().build();
    for count in [100, 8_000_000] {
        let instance = vm.link(program(&rounds(count, "r1 = 1")), &[]).expect("linked");
        let outcome = instance.run(&mut packet(), 5_000);
        match count {
            100 => {
                let used = outcome.expect("a run").fuel_used;
                assert!((200..=2_000).contains(&used), "{used}");
            }
            _ => {
                let trap = outcome.expect_err("the budget is used up");
                assert_eq!(trap.kind, TrapKind::OutOfFuel(5_000));
            }
        }
    }
}

#[test]
fn a_trap_in_a_function_tells_where_it_happened() {
    let vm = Vm::linux().build();
    let instance =
        vm.link(program(&rounds(3, "r1 = 0\nr1 = *(u8 *)(r1 + 0)")), &[]).expect("linked");
    let trap = instance.run(&mut packet(), 5_000).expect_err("nothing is at 0");
    assert_eq!(trap.pc.0, 9, "{trap}");
    assert!(matches!(trap.kind, TrapKind::Access { address: 0, .. }), "{trap}");
}

#[test]
fn frames_are_counted_through_helpers() {
    let vm = Vm::linux().build();
    // The function calls the loop with itself.
    let text = "r1 = 1\nr2 = subprog[f]\nr3 = 0\nr4 = 0\ncall 181\nr0 = 0\nexit\n\
                f:\nr1 = 1\nr2 = subprog[f]\nr3 = 0\nr4 = 0\ncall 181\nr0 = 0\nexit";
    let instance = vm.link(program(text), &[]).expect("linked");
    let trap = instance.run(&mut packet(), 100_000).expect_err("too deep");
    assert_eq!(trap.kind, TrapKind::CallDepth);
}

#[test]
fn a_number_that_is_no_function_is_refused() {
    let vm = Vm::linux().build();
    let text = "r1 = 1\nr2 = 7\nr3 = 0\nr4 = 0\ncall 181\nr0 = 0\nexit";
    let instance = vm.link(program(text), &[]).expect("linked");
    let trap = instance.run(&mut packet(), 1_000).expect_err("7 is no function");
    assert!(matches!(trap.kind, TrapKind::HelperArg { arg: 2, .. }), "{trap}");
}

fn with_maps(text: &str, defs: &[MapDef]) -> (Vm, Arc<Instance>, Vec<MapRef>) {
    let vm = Vm::linux().build();
    let maps: Vec<MapRef> = defs.iter().map(|def| vm.create_map(def).expect("a map")).collect();
    let instance = vm.link(program(text), &maps).expect("linked");
    (vm, instance, maps)
}

/// Walks over the first map with the function; returns what the helper gives.
fn walk(function: &str) -> String {
    format!(
        "*(u64 *)(r10 - 8) = 0\nr1 = map[idx:0]\nr2 = subprog[f]\nr3 = r10\nr3 += -8\nr4 = 0\n\
         call 164\nr6 = *(u64 *)(r10 - 8)\nr6 <<= 32\nr0 |= r6\nexit\nf:\n{function}"
    )
}

#[test]
fn elements_may_go_while_they_are_walked_over() {
    // Removes the element that it is shown and the next in number, and counts.
    let text = walk(
        "r6 = r1\nr7 = r2\nr8 = *(u64 *)(r4 + 0)\nr8 += 1\n*(u64 *)(r4 + 0) = r8\n\
         r8 = *(u32 *)(r7 + 0)\nr1 = r6\nr2 = r7\ncall 3\n\
         r9 = *(u32 *)(r7 + 0)\nif r9 != r8 goto wrong\n\
         r8 += 1\n*(u32 *)(r10 - 4) = r8\nr1 = r6\nr2 = r10\nr2 += -4\ncall 3\nr0 = 0\nexit\n\
         wrong:\nr0 = 1\nexit",
    );
    for map_type in [MapType::Hash, MapType::LruHash, MapType::PercpuHash] {
        let def = MapDef::new("elements", map_type, 4, 8, 200);
        let (_vm, instance, maps) = with_maps(&text, std::slice::from_ref(&def));
        for key in 0u32..100 {
            maps[0].write(&key.to_ne_bytes(), &[0; 8], UpdateFlags::ANY).expect("written");
        }
        let retval = instance.run(&mut packet(), 100_000).expect("a run").retval;
        let (visits, counted) = (retval as u32, retval >> 32);
        assert_eq!(u64::from(visits), counted);
        assert!((50..100).contains(&visits), "{visits}");
        assert_eq!(maps[0].entries().count(), 0, "{map_type:?}");
    }
}

#[test]
fn keys_stay_readable_and_are_read_only() {
    // The function leaves the address of the key to its caller, which reads it later.
    let keep = "*(u64 *)(r4 + 0) = r2\nr0 = 0\nexit";
    let text = walk(keep).replace("r6 <<= 32\nr0 |= r6", "r0 = *(u32 *)(r6 + 0)");
    let array = MapDef::new("elements", MapType::Array, 4, 8, 5);
    let (_vm, instance, _maps) = with_maps(&text, std::slice::from_ref(&array));
    assert_eq!(instance.run(&mut packet(), 1_000).expect("a run").retval, 4);
    let text = walk("*(u32 *)(r2 + 0) = 7\nr0 = 0\nexit");
    let (_vm, instance, _maps) = with_maps(&text, std::slice::from_ref(&array));
    let trap = instance.run(&mut packet(), 1_000).expect_err("keys are not written");
    assert!(matches!(trap.kind, TrapKind::Access { .. }), "{trap}");
    assert!(trap.to_string().contains("map key"), "{trap}");
}

#[test]
fn what_has_no_elements_is_not_walked_over() {
    let queue = MapDef::new("waiting", MapType::Queue, 0, 8, 5);
    let (_vm, instance, _maps) = with_maps(&walk("r0 = 0\nexit"), &[queue]);
    let trap = instance.run(&mut packet(), 1_000).expect_err("a queue");
    assert!(matches!(trap.kind, TrapKind::HelperArg { arg: 1, .. }), "{trap}");
}

/// Four threads walk over a table and remove a part of it while four others fill it: each walk ends,
/// and sees no key that was never there and none twice.
#[test]
fn tables_change_under_walks() {
    const KEYS: u32 = 512;
    // Keys are below 512 and their values twice as much; a bit for each that was seen.
    let text = "
        r6 = r1
        r1 = map[idx:1][0]+0
        r2 = *(u32 *)(r2 + 0)
        if r2 > 511 goto wrong
        r7 = r2
        r8 = *(u64 *)(r3 + 0)
        r8 >>= 32
        r5 = r2
        r5 >>= 6
        r5 <<= 3
        r4 += r5
        r5 = r2
        r5 &= 63
        r1 = 1
        r1 <<= r5
        r5 = *(u64 *)(r4 + 0)
        r9 = r5
        r9 &= r1
        if r9 != 0 goto wrong
        r5 |= r1
        *(u64 *)(r4 + 0) = r5
        r5 = r2
        r5 &= 7
        if r5 != 0 goto out
        *(u32 *)(r10 - 4) = r2
        r1 = r6
        r2 = r10
        r2 += -4
        call 3
    out:
        r0 = 0
        exit
    wrong:
        r1 = map[idx:1][0]+0
        *(u64 *)(r1 + 0) = 1
        r0 = 1
        exit";
    let mut entry = String::new();
    for word in 1..=8 {
        entry += &format!("*(u64 *)(r10 - {}) = 0\n", word * 8);
    }
    entry += "r1 = map[idx:0]\nr2 = subprog[f]\nr3 = r10\nr3 += -64\nr4 = 0\ncall 164\nexit\nf:\n";
    let text = entry + text;
    for map_type in [MapType::Hash, MapType::LruHash, MapType::PercpuHash] {
        let defs = [
            MapDef::new("elements", map_type, 4, 8, 1024),
            MapDef::new("wrong", MapType::Array, 4, 8, 1),
        ];
        let (_vm, instance, maps) = with_maps(&text, &defs);
        std::thread::scope(|scope| {
            for thread in 0..4u32 {
                let maps = &maps;
                scope.spawn(move || {
                    for round in 0..20_000u32 {
                        let key = (round * 4 + thread) % KEYS;
                        let value = u64::from(key) << 33 | u64::from(round);
                        let (key, value) = (key.to_ne_bytes(), value.to_ne_bytes());
                        maps[0].update(&key, &value, UpdateFlags::ANY, Cpu(0)).expect("room");
                    }
                });
            }
            for _ in 0..4 {
                let instance = &instance;
                scope.spawn(move || {
                    for _ in 0..60 {
                        let outcome = instance.run(&mut packet(), 1_000_000).expect("a run");
                        assert!(outcome.retval <= u64::from(KEYS));
                    }
                });
            }
        });
        assert_eq!(maps[1].read(&[0; 4]).expect("a value"), [0; 8], "{map_type:?}");
        assert_eq!(
            maps[0].walk(Cpu(0), |_, _| ControlFlow::Continue(())),
            maps[0].entries().count() as u64
        );
    }
}

/// The depth of the native stack does not grow with the calls of a program, however many of them
/// call back.
#[test]
fn calls_that_call_back_in_a_loop_need_no_more_native_stack() {
    const STACK_BYTES: usize = 1 << 20;
    let text = "r6 = 0\nagain: r1 = 1\nr2 = subprog[f]\nr3 = 0\nr4 = 0\ncall 181\nr6 += 1\n\
                if r6 < 50000 goto again\nr0 = r6\nexit\nf: r0 = 0\nexit";
    let run = || {
        let vm = Vm::linux().build();
        let instance = vm.link(program(text), &[]).expect("linked");
        let outcome = instance.run_checked(&mut packet(), 10_000_000).expect("a run");
        assert_eq!(outcome.retval, 50_000);
    };
    let thread = std::thread::Builder::new().stack_size(STACK_BYTES).spawn(run);
    thread.expect("a thread").join().expect("a run");
}
