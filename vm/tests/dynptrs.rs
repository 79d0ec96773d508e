//! Dynptrs: what a program does to their bytes cannot make one, and records come back.

use ebpfvm::asm::text::{Dialect, assemble};
use ebpfvm::map::{Ringbuf, UpdateFlags};
use ebpfvm::spec::{MapDef, MapType, ProgType, Program};
use ebpfvm::{Context, Instance, MapRef, Trap, TrapKind, Vm};
use std::sync::Arc;

fn link(text: &str) -> (Arc<Instance>, Vec<MapRef>) {
    let vm = Vm::linux().build();
    let defs = [
        MapDef::new("value", MapType::Array, 4, 64, 1),
        MapDef::new("events", MapType::Ringbuf, 0, 0, 4096),
    ];
    let maps: Vec<MapRef> = defs.iter().map(|def| vm.create_map(def).expect("a map")).collect();
    let code = assemble(text, Dialect::PseudoC).unwrap_or_else(|e| panic!("{e}\n{text}"));
    let program = Program::from_code("test", ProgType::SocketFilter, code);
    (vm.link(program, &maps).expect("linked"), maps)
}

fn run(instance: &Instance) -> Result<u64, Box<Trap>> {
    let mut packet = Context::packet(ProgType::SocketFilter, &[0; 64]).expect("a packet");
    instance.run(&mut packet, 10_000).map(|outcome| outcome.retval)
}

/// Arguments and a call.
fn call(helper: u32, args: &[&str]) -> String {
    let mut text = String::new();
    for (register, arg) in (1..).zip(args) {
        match arg.strip_prefix("fp") {
            Some(offset) => text += &format!("r{register} = r10\nr{register} += {offset}\n"),
            None => text += &format!("r{register} = {arg}\n"),
        }
    }
    text + &format!("call {helper}\n")
}

const FROM_MEM: u32 = 197;
const RESERVE: u32 = 198;
const SUBMIT: u32 = 199;
const DISCARD: u32 = 200;
const READ: u32 = 201;
const WRITE: u32 = 202;
const DATA: u32 = 203;

const VALUE: &str = "map[idx:0][0]+0";

/// The run stops at an argument of a helper.
fn assert_refused(text: &str, argument: u8) {
    let (instance, _maps) = link(&format!("{text}r0 = 0\nexit"));
    let trap = run(&instance).expect_err(text);
    match trap.kind {
        TrapKind::HelperArg { arg, .. } | TrapKind::HelperAccess { arg, .. } => {
            assert_eq!(arg, argument, "{trap}\n{text}");
        }
        _ => panic!("{trap}\n{text}"),
    }
}

#[test]
fn bytes_that_the_program_writes_are_no_dynptr() {
    let read = call(READ, &["fp-32", "8", "fp-16", "0", "0"]);
    // An address, a number that was never given, a number of another place.
    for number in ["r10", "1", "-1"] {
        let made = call(FROM_MEM, &[VALUE, "64", "0", "fp-48"]);
        let forged = format!("r1 = {number}\n*(u64 *)(r10 - 16) = r1\n*(u64 *)(r10 - 8) = 0\n");
        assert_refused(&format!("{made}{forged}{read}"), 3);
    }
    let made = call(FROM_MEM, &[VALUE, "64", "0", "fp-16"]);
    // The second half is part of it.
    let half = "*(u64 *)(r10 - 8) = 64\n";
    assert_refused(&format!("{made}{half}{read}"), 3);
    // One that was replaced: its bytes are put back.
    let again = format!("r7 = *(u64 *)(r10 - 16)\n{made}*(u64 *)(r10 - 16) = r7\n");
    assert_refused(&format!("{made}{again}{read}"), 3);
}

#[test]
fn dynptrs_lie_on_the_stack() {
    assert_refused(&call(FROM_MEM, &[VALUE, "8", "0", "map[idx:0][0]+16"]), 4);
    assert_refused(&call(FROM_MEM, &[VALUE, "8", "0", "fp-20"]), 4);
    assert_refused(&call(FROM_MEM, &[VALUE, "8", "0", "fp-8"]), 4);
    // Nothing is reserved then.
    let (instance, maps) =
        link(&format!("{}exit", call(RESERVE, &["map[idx:1]", "8", "0", "map[idx:0][0]+16"])));
    run(&instance).expect_err("no place");
    assert_eq!(maps[1].as_kind::<Ringbuf>().expect("a ring").query(3), 0);
}

#[test]
fn memory_that_is_gone_is_not_reached() {
    // The stack of a function that has returned.
    let text = format!(
        "r1 = r10\nr1 += -16\ncall subprog[f]\n{}r0 = 0\nexit\nf:\nr4 = r1\nr1 = r10\nr1 += -8\n\
         r2 = 8\nr3 = 0\ncall {FROM_MEM}\nexit",
        call(READ, &["fp-32", "8", "fp-16", "0", "0"])
    );
    let text = text.replace("call subprog[f]", "call f");
    let (instance, _maps) = link(&text);
    let trap = run(&instance).expect_err("the frame is gone");
    assert!(matches!(trap.kind, TrapKind::HelperAccess { arg: 3, .. }), "{trap}");
    // A part of a record that was submitted.
    let text = format!(
        "{}{}r7 = r0\n{}r0 = *(u8 *)(r7 + 0)\nexit",
        call(RESERVE, &["map[idx:1]", "8", "0", "fp-16"]),
        call(DATA, &["fp-16", "0", "8"]),
        call(SUBMIT, &["fp-16", "0"]),
    );
    let (instance, _maps) = link(&text);
    let trap = run(&instance).expect_err("the record is gone");
    assert!(matches!(trap.kind, TrapKind::Access { .. }), "{trap}");
}

#[test]
fn only_records_are_submitted() {
    let made = call(FROM_MEM, &[VALUE, "8", "0", "fp-16"]);
    assert_refused(&format!("{made}{}", call(SUBMIT, &["fp-16", "0"])), 1);
    // What has no memory is nobody's record.
    let null = call(FROM_MEM, &[VALUE, "8", "1", "fp-16"]);
    let (instance, _maps) = link(&format!("{null}{}r0 = 9\nexit", call(DISCARD, &["fp-16", "0"])));
    assert_eq!(run(&instance).expect("a run"), 9);
}

#[test]
fn a_record_that_is_left_behind_comes_back() {
    let reserve = call(RESERVE, &["map[idx:1]", "3000", "0", "fp-16"]);
    let (instance, maps) = link(&format!("{reserve}exit"));
    for _ in 0..5 {
        assert_eq!(run(&instance).expect("a run"), 0);
        assert_eq!(maps[1].as_kind::<Ringbuf>().expect("a ring").consume(|_| ()), 0);
    }
    // Through a dynptr or its address, a record is given back once.
    let text = format!(
        "{reserve}{}r1 = r0\nr2 = 0\ncall 132\n{}r0 = 0\nexit",
        call(DATA, &["fp-16", "0", "8"]),
        call(SUBMIT, &["fp-16", "0"])
    );
    let (instance, _maps) = link(&text);
    let trap = run(&instance).expect_err("it is submitted already");
    assert!(matches!(trap.kind, TrapKind::HelperArg { arg: 1, .. }), "{trap}");
}

#[test]
fn overlapping_memory_is_copied_as_a_whole() {
    let text = format!(
        "{}{}{}exit",
        call(FROM_MEM, &[VALUE, "32", "0", "fp-16"]),
        call(WRITE, &["fp-16", "8", VALUE, "24", "0"]),
        call(READ, &[VALUE, "24", "fp-16", "4", "0"]),
    );
    let (instance, maps) = link(&text);
    let start: Vec<u8> = (0..64).collect();
    maps[0].write(&[0; 4], &start, UpdateFlags::ANY).expect("written");
    assert_eq!(run(&instance).expect("a run"), 0);
    let mut expected = start.clone();
    expected.copy_within(0..24, 8);
    expected.copy_within(4..28, 0);
    assert_eq!(maps[0].read(&[0; 4]).expect("a value"), expected);
}
