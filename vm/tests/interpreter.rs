//! The interpreter in checked mode: what it refuses, what it costs, how calls nest.

use ebpfvm::asm::text::{Dialect, assemble};
use ebpfvm::spec::context::Direction;
use ebpfvm::spec::{MapDef, MapFlags, MapType, ProgType, Program};
use ebpfvm::{Context, DEFAULT_FUEL, Instance, LinkErrorKind, MapRef, Outcome, Trap, TrapKind, Vm};
use std::sync::Arc;

fn link_as(prog_type: ProgType, source: &str, maps: &[MapRef]) -> Arc<Instance> {
    let code = assemble(source, Dialect::PseudoC).expect("assembles");
    Vm::linux().build().link(Program::from_code("test", prog_type, code), maps).expect("links")
}

fn run_with(source: &str, memory: &[u8], fuel: u64) -> Result<Outcome, Box<Trap>> {
    let instance = link_as(ProgType::Raw, source, &[]);
    instance.run(&mut Context::raw(memory), fuel)
}

fn run(source: &str, memory: &[u8]) -> Result<u64, Box<Trap>> {
    run_with(source, memory, DEFAULT_FUEL).map(|outcome| outcome.retval)
}

fn trap(source: &str, memory: &[u8]) -> Trap {
    *run(source, memory).expect_err("traps")
}

fn link_error(source: &str) -> (Option<u32>, LinkErrorKind) {
    let code = assemble(source, Dialect::PseudoC).expect("assembles");
    let program = Program::from_code("test", ProgType::Raw, code);
    let error = Vm::linux().build().link(program, &[]).expect_err("does not link");
    (error.pc.map(|pc| pc.0), error.kind)
}

#[test]
fn every_size_is_checked_to_the_byte_at_both_ends_of_memory() {
    for (size, bytes) in [("u8", 1), ("u16", 2), ("u32", 4), ("u64", 8)] {
        for len in [1i64, 2, 3, 7, 8, 9, 16] {
            for offset in -9..=len + 1 {
                let memory = vec![1; len as usize];
                let inside = offset >= 0 && offset + bytes <= len;
                let load = format!("r0 = *({size} *)(r1 + {offset})\nexit");
                assert_eq!(run(&load, &memory).is_ok(), inside, "{load} of {len}");
                let store = format!("*({size} *)(r1 + {offset}) = 7\nr0 = 0\nexit");
                assert_eq!(run(&store, &memory).is_ok(), inside, "{store} of {len}");
                let jump =
                    format!("r0 = *({size} *)(r1 + {offset})\nif r0 == 1 goto +1\nr0 = 3\nexit");
                assert_eq!(run(&jump, &memory).is_ok(), inside, "{jump} of {len}");
            }
        }
    }
}

#[test]
fn the_frame_is_checked_to_the_byte() {
    for (offset, inside) in [(-512, true), (-8, true), (-513, false), (-7, false), (0, false)] {
        let direct = format!("*(u64 *)(r10 + {offset}) = 1\nr0 = 0\nexit");
        assert_eq!(run(&direct, &[]).is_ok(), inside, "{direct}");
        let copied = format!("r2 = r10\nr2 += {offset}\n*(u64 *)(r2 + 0) = 1\nr0 = 0\nexit");
        assert_eq!(run(&copied, &[]).is_ok(), inside, "{copied}");
    }
}

#[test]
fn a_frame_starts_as_zeros_and_keeps_what_is_stored() {
    let source = "
        r2 = r10
        r2 += -512
        r0 = 0
        r3 = 0
    next:
        r4 = *(u64 *)(r2 + 0)
        r0 |= r4
        *(u64 *)(r2 + 0) = -1
        r2 += 8
        r3 += 1
        if r3 != 64 goto next
        exit";
    assert_eq!(run(source, &[]), Ok(0));
    // The frame of a callee, too, although another callee was there before.
    let calls = "
        call first
        call second
        exit
    first:
        *(u64 *)(r10 - 8) = -1
        r2 = r10
        r0 = 0
        exit
    second:
        r2 = r10
        r0 = *(u64 *)(r2 - 8)
        exit";
    assert_eq!(run(calls, &[]), Ok(0));
}

#[test]
fn callees_reach_the_frames_of_their_callers_and_not_the_reverse() {
    let down = "
        *(u64 *)(r10 - 8) = 5
        r1 = r10
        call callee
        r0 = *(u64 *)(r10 - 8)
        exit
    callee:
        r2 = *(u64 *)(r1 - 8)
        r2 += 1
        *(u64 *)(r1 - 8) = r2
        exit";
    assert_eq!(run(down, &[]), Ok(6));
    let up = "
        call callee
        r0 = *(u64 *)(r0 + 0)
        exit
    callee:
        r0 = r10
        r0 += -8
        exit";
    let Trap { pc, kind, .. } = trap(up, &[]);
    assert_eq!(pc.0, 1);
    assert!(matches!(kind, TrapKind::Access { direction: Direction::Read, .. }), "{kind}");
    // No access may reach from one frame into the next.
    let across = "
        r1 = r10
        call callee
        exit
    callee:
        r2 = r10
        r0 = *(u64 *)(r1 - 516)
        exit";
    assert_eq!(trap(across, &[]).pc.0, 4);
}

#[test]
fn eight_frames_are_enough_and_nine_too_many() {
    let nested = |depth: u32| {
        let mut source = String::from("call f1\nexit\n");
        for i in 1..depth {
            source += &format!("f{i}:\ncall f{}\nexit\n", i + 1);
        }
        source + &format!("f{depth}:\nr0 = 1\nexit\n")
    };
    assert_eq!(run(&nested(7), &[]), Ok(1));
    assert_eq!(trap(&nested(8), &[]).kind, TrapKind::CallDepth);
    assert_eq!(trap("call f\nexit\nf:\ncall f\nexit", &[]).kind, TrapKind::CallDepth);
}

#[test]
fn callees_keep_r6_to_r9_for_their_callers() {
    let source = "
        r6 = 1
        r7 = 2
        r8 = 3
        r9 = 4
        call f
        r0 = r6
        r0 <<= 8
        r0 |= r7
        r0 <<= 8
        r0 |= r8
        r0 <<= 8
        r0 |= r9
        exit
    f:
        r6 = -1
        r7 = -1
        r8 = -1
        r9 = -1
        r0 = 0
        exit";
    assert_eq!(run(source, &[]), Ok(0x0102_0304));
}

#[test]
fn endless_loops_run_out_of_fuel() {
    for source in [
        "goto -1",
        "gotol -1",
        "r0 = 0\nif r0 == 0 goto -1\nexit",
        "r0 = 0\nnext:\nr0 += 1\nif r0 != 0 goto next\nexit",
        "w0 = 0\nnext:\nw0 += 2\nif w0 != 1 goto next\nexit",
        "next:\nr0 = *(u8 *)(r1 + 0)\nif r0 == 0 goto next\nexit",
    ] {
        let error = run_with(source, &[0; 8], 10_000).expect_err("stops");
        assert_eq!(error.kind, TrapKind::OutOfFuel(10_000), "{source}");
    }
}

#[test]
fn calls_cost_fuel_too() {
    // Seven levels that each call the next eight times: 8^7 calls without a loop.
    let mut source = String::new();
    for level in 0..8 {
        source += &format!("f{level}:\n");
        for _ in 0..8 {
            source += &if level < 7 { format!("call f{}\n", level + 1) } else { "r0 = 1\n".into() };
        }
        source += "exit\n";
    }
    let error = run_with(&source, &[], 100_000).expect_err("stops");
    assert_eq!(error.kind, TrapKind::OutOfFuel(100_000));
}

#[test]
fn fuel_used_is_at_least_the_number_of_instructions_in_loops() {
    let source = "r0 = 0\nnext:\nr0 += 1\nr2 = r0\nif r2 != 1000 goto next\nexit";
    let outcome = run_with(source, &[], 1_000_000).expect("ends");
    assert_eq!(outcome.retval, 1000);
    assert!((2997..=3003).contains(&outcome.fuel_used), "{}", outcome.fuel_used);
    let exact = outcome.fuel_used;
    assert!(run_with(source, &[], exact).is_ok());
    assert!(run_with(source, &[], exact - 1).is_err());
    assert_eq!(run_with("r0 = 1\nexit", &[], 0).map(|o| o.fuel_used), Ok(0));
}

#[test]
fn calls_pay_for_functions_that_go_on_in_another() {
    let long = "r0 += 1\n".repeat(1000);
    for way in ["r1 = 0", "goto next", "if r1 == 0 goto next\nexit"] {
        let source = format!(
            "r0 = 0\nr6 = 100\nagain:\ncall f\nr6 += -1\nif r6 != 0 goto again\nexit\n\
             f:\nr1 = 0\n{way}\nnext:\n{long}exit\ng:\ncall next\nexit",
        );
        let outcome = run_with(&source, &[], 1_000_000).expect("ends");
        assert_eq!(outcome.retval, 100_000, "{way}");
        assert!(outcome.fuel_used > 100_000, "{way}: {}", outcome.fuel_used);
    }
}

#[test]
fn long_straight_programs_and_long_jumps_run() {
    let mut source = String::from("r0 = 0\ngotol over\nback:\nexit\nover:\n");
    source += &"r0 += 1\n".repeat(40_000);
    source += "gotol back\n";
    assert_eq!(run(&source, &[]), Ok(40_000));
}

#[test]
fn joined_operations_do_what_each_would() {
    for (source, expected) in [
        ("r1 = 7\nr2 = r1\nr2 += r2\nr0 = r2\nexit", 14),
        ("r1 = 7\nr0 = r1\nr0 -= 9\nexit", -2i64 as u64),
        ("r1 = -1\nw0 = w1\nw0 >>= 4\nexit", 0x0fff_ffff),
        ("r1 = -1\nw0 = w1\nr0 += 1\nexit", 1 << 32),
        ("r0 = -2\nr0 <<= 32\nr0 >>= 32\nexit", 0xffff_fffe),
        ("r0 = 0xfffe\nr0 <<= 48\nr0 s>>= 48\nexit", -2i64 as u64),
        ("r0 = 0x1_0000_0001 ll\nr0 <<= 32\nr0 s>>= 31\nexit", 2),
        ("r0 = 5\nw0 += -6\nif w0 == -1 goto +1\nr0 = 3\nexit", 0xffff_ffff),
        ("r0 = 5\nr0 += -6\nif r0 s< 0 goto +1\nr0 = 3\nexit", u64::MAX),
        // A jump to the second of two that would be joined.
        ("r1 = 3\ngoto +1\nr0 = r1\nr0 += 1\nr0 += 1\nexit", 2),
    ] {
        let source = source.replace('_', "");
        assert_eq!(run(&source, &[]), Ok(expected), "{source}");
    }
}

#[test]
fn traps_say_where_and_what_was_near() {
    let past = trap("r0 = *(u32 *)(r1 + 6)\nexit", &[0; 8]);
    let TrapKind::Access { near: Some(near), bytes: 4, .. } = &past.kind else { panic!("{past}") };
    assert_eq!((near.name.as_str(), near.offset, near.bytes), ("memory", 6, 8));
    assert!(past.to_string().contains("instruction 0"), "{past}");
    let far = trap("r1 = 16\n*(u8 *)(r1 + 0) = 1\nexit", &[0; 8]);
    assert_eq!(far.pc.0, 1);
    assert!(matches!(far.kind, TrapKind::Access { near: None, address: 16, .. }), "{far}");
    assert_eq!(trap("r0 = 1", &[]).kind, TrapKind::FellOff);
    assert!(matches!(trap("r0 = *(u8 *)(r1 + 0)\nexit", &[]).kind, TrapKind::Access { .. }));
}

#[test]
fn programs_that_cannot_run_are_not_linked() {
    use LinkErrorKind::*;
    use ebpfvm::asm::TargetError::*;
    assert!(matches!(link_error("goto +5\nexit"), (Some(0), Target(Outside { target: 6, .. }))));
    assert!(matches!(link_error("goto -3\nexit"), (Some(0), Target(Outside { target: -2, .. }))));
    assert!(matches!(link_error("goto +1\nr0 = 1 ll\nexit"), (Some(0), Target(InWide(_)))));
    assert!(matches!(link_error("r10 = 1\nexit"), (Some(0), WritesFramePointer)));
    assert!(matches!(link_error("r10 = *(u64 *)(r1 + 0)\nexit"), (Some(0), WritesFramePointer)));
    assert!(matches!(link_error("call 9999\nexit"), (Some(0), UnknownHelper(9999))));
    assert!(matches!(link_error(""), (None, Empty)));
}

#[test]
fn contexts_are_translated_field_by_field() {
    let packet: Vec<u8> = (0..60).collect();
    let read = |source: &str| {
        let instance = link_as(ProgType::Xdp, source, &[]);
        let mut context = Context::packet(ProgType::Xdp, &packet).expect("a packet");
        instance.run(&mut context, DEFAULT_FUEL).map(|outcome| outcome.retval)
    };
    assert_eq!(
        read("r2 = *(u32 *)(r1 + 0)\nr3 = *(u32 *)(r1 + 4)\nr0 = r3\nr0 -= r2\nexit"),
        Ok(60)
    );
    assert_eq!(read("r2 = *(u32 *)(r1 + 0)\nr0 = *(u8 *)(r2 + 59)\nexit"), Ok(59));
    for bad in [
        "r0 = *(u64 *)(r1 + 0)\nexit",
        "r0 = *(u16 *)(r1 + 0)\nexit",
        "r0 = *(u32 *)(r1 + 2)\nexit",
        "r0 = *(u32 *)(r1 + 24)\nexit",
        "*(u32 *)(r1 + 0) = 1\nexit",
        "r0 = *(u32 *)(r1 - 4)\nexit",
        "r2 = 1\nlock *(u32 *)(r1 + 12) += r2\nexit",
    ] {
        assert!(read(bad).is_err(), "{bad}");
    }
    let past = read("r2 = *(u32 *)(r1 + 4)\nr0 = *(u8 *)(r2 + 0)\nexit").expect_err("traps");
    assert!(past.to_string().contains("right past the end of the packet (60 bytes)"), "{past}");
}

#[test]
fn packets_that_a_program_may_not_write_are_not_written() {
    let source = "r2 = *(u32 *)(r1 + 76)\n*(u8 *)(r2 + 0) = 1\nr0 = 0\nexit";
    let store = |prog_type| {
        let mut context = Context::packet(prog_type, &[0; 60]).expect("a packet");
        link_as(prog_type, source, &[]).run(&mut context, DEFAULT_FUEL)
    };
    assert!(store(ProgType::SchedCls).is_ok());
    let trap = store(ProgType::CgroupSkb).expect_err("traps");
    assert!(trap.to_string().contains("read-only"), "{trap}");
}

#[test]
fn values_of_maps_are_reached_and_no_more() {
    let vm = Vm::linux().build();
    let mut def = MapDef::new("counters", MapType::Array, 4, 12, 1);
    let map = vm.create_map(&def).expect("creates");
    let source = |offset: i32, size: &str| {
        format!("r1 = map[idx:0][0]+0\nr0 = *({size} *)(r1 + {offset})\nexit")
    };
    let go = |maps: &[MapRef], source: &str| {
        let code = assemble(source, Dialect::PseudoC).expect("assembles");
        let program = Program::from_code("test", ProgType::Raw, code);
        let instance = vm.link(program, maps).expect("links");
        instance.run(&mut Context::raw([]), DEFAULT_FUEL)
    };
    let maps = [map];
    assert!(go(&maps, &source(8, "u32")).is_ok());
    for (offset, size) in [(9, "u32"), (12, "u8"), (-1, "u8"), (8, "u64")] {
        let trap = go(&maps, &source(offset, size)).expect_err("traps");
        assert!(trap.to_string().contains("value of map counters"), "{trap}");
    }
    def.flags = MapFlags(MapFlags::RDONLY_PROG);
    let maps = [vm.create_map(&def).expect("creates")];
    assert!(go(&maps, &source(8, "u32")).is_ok());
    let store = "r1 = map[idx:0][0]+0\n*(u8 *)(r1 + 0) = 1\nr0 = 0\nexit";
    assert!(go(&maps, store).expect_err("traps").to_string().contains("read-only"));
}

#[test]
fn a_context_of_another_type_is_refused() {
    let instance = link_as(ProgType::Raw, "r0 = 0\nexit", &[]);
    let mut context = Context::packet(ProgType::Xdp, &[0; 60]).expect("a packet");
    assert!(instance.run(&mut context, DEFAULT_FUEL).is_err());
}

#[test]
fn one_instance_runs_on_many_threads() {
    let source =
        "r0 = 0\nnext:\nr0 += 1\nif r0 != 100000 goto next\nr2 = *(u8 *)(r1 + 0)\nr0 += r2\nexit";
    let instance = link_as(ProgType::Raw, source, &[]);
    std::thread::scope(|scope| {
        for i in 0..4u8 {
            let instance = &instance;
            scope.spawn(move || {
                let outcome = instance.run(&mut Context::raw([i]), DEFAULT_FUEL).expect("ends");
                assert_eq!(outcome.retval, 100_000 + u64::from(i));
            });
        }
    });
}

#[test]
fn a_helper_that_is_not_available_stops_the_run_only_when_it_is_called() {
    const GET_CURRENT_TASK: u32 = 35;
    const SEND_SIGNAL: u32 = 109;
    for (id, why) in [(GET_CURRENT_TASK, "structure"), (SEND_SIGNAL, "other processes")] {
        let source = format!("r0 = *(u8 *)(r1 + 0)\nif r0 == 0 goto +1\ncall {id}\nexit");
        assert_eq!(run(&source, &[0]), Ok(0));
        let trap = trap(&source, &[1]);
        assert_eq!(trap.pc.0, 2);
        let text = trap.to_string();
        assert!(text.contains("is not available here"), "{text}");
        assert!(text.contains(why), "{text}");
    }
}

#[test]
fn a_tail_call_from_a_function_returns_from_that_function() {
    let vm = Vm::linux().build();
    let array = vm.create_map(&MapDef::new("programs", MapType::ProgArray, 4, 4, 2)).expect("map");
    let maps = [array];
    let link = |source: &str| {
        let code = assemble(source, Dialect::PseudoC).expect("assembles");
        vm.link(Program::from_code("test", ProgType::Xdp, code), &maps).expect("links")
    };
    // Counts the tail calls of a program that calls itself from a function, through eight frames.
    let mut source = String::from("r6 = 1\ncall f1\nr0 += r6\nexit\n");
    for i in 1..7 {
        source += &format!("f{i}:\ncall f{}\nexit\n", i + 1);
    }
    source += "f7:\n*(u64 *)(r10 - 8) = 5\nr2 = map[idx:0]\nr3 = 0\ncall 12\nr0 = 100\nexit\n";
    let counting = link(&source);
    let programs = maps[0].as_kind::<ebpfvm::map::ProgArray>().expect("a program array");
    programs.set(0, counting.clone()).expect("fits");
    let mut context = Context::packet(ProgType::Xdp, &[0; 60]).expect("a packet");
    let outcome = counting.run(&mut context, DEFAULT_FUEL).expect("ends");
    // 33 programs after the first, each adds 1 on the way back.
    assert_eq!(outcome.retval, 134);
    // A trap inside is told with the inner program's place, and the array can be emptied.
    programs.set(0, link("r0 = 1\nr2 = 16\nr0 = *(u8 *)(r2 + 0)\nexit")).expect("fits");
    assert_eq!(counting.run(&mut context, DEFAULT_FUEL).expect_err("traps").pc.0, 2);
    programs.clear();
    assert_eq!(counting.run(&mut context, DEFAULT_FUEL).expect("ends").retval, 101);
}

#[test]
fn legacy_loads_out_of_range_return_zero_from_their_function() {
    let source = "
        r6 = r1
        call f
        r0 += 7
        exit
    f:
        r6 = r1
        r0 = *(u8 *)skb[100]
        r0 = 9
        exit";
    assert_eq!(run(source, &[0; 8]), Ok(7));
    assert_eq!(run(source, &[0; 101]), Ok(16));
}
