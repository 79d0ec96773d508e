//! Storage of sockets and cgroups, cgroups of packets and samples of the host, as programs use them:
//! judged and then checked.

use ebpfvm::asm::text::{Dialect, assemble};
use ebpfvm::host::world::Task;
use ebpfvm::map::{CgroupArray, CgroupStorage, LocalStorage, OwnerId, UserRingbuf};
use ebpfvm::socket::IPPROTO_TCP;
use ebpfvm::spec::btf::{SpecialField, SpecialKind, TypeId};
use ebpfvm::spec::linux::helper_id;
use ebpfvm::spec::{MapDef, MapFlags, MapType, ProgType, Program};
use ebpfvm::verifier::Options;
use ebpfvm::{Context, DEFAULT_FUEL, Instance, MapRef, Socket, TrapKind, Vm, World};
use std::num::NonZeroU64;
use std::ops::ControlFlow;
use std::sync::Arc;

fn program(prog_type: ProgType, text: &str) -> Program {
    let lines = text.lines().map(|line| match line.trim().strip_prefix("call ") {
        Some(name) => format!("call {}\n", helper_id(name).expect("a helper")),
        None => format!("{line}\n"),
    });
    let text: String = lines.collect();
    let code = assemble(&text, Dialect::PseudoC).unwrap_or_else(|e| panic!("{e}\n{text}"));
    Program::from_code("test", prog_type, code)
}

/// A program that the verifier accepts, with maps of its own.
fn judged(vm: &Vm, prog_type: ProgType, text: &str, def: &MapDef) -> (Arc<Instance>, MapRef) {
    let mut program = program(prog_type, text);
    program.maps = [def.clone()].into();
    let judgement = vm.verify(program, &Options::default());
    let accepted = judgement.verdict.unwrap_or_else(|e| panic!("{e}\n{text}"));
    let map = vm.create_map(def).expect("a map");
    let instance = vm.link_verified(accepted, std::slice::from_ref(&map)).expect("linked");
    assert!(instance.is_verified());
    (instance, map)
}

/// What a run gives, without checks and then with them.
fn twice(instance: &Instance, context: impl Fn() -> Context) -> (i64, i64) {
    let fast = instance.run(&mut context(), DEFAULT_FUEL).expect("a run");
    let checked = instance.run_checked(&mut context(), DEFAULT_FUEL).expect("a run with checks");
    (fast.retval as i64, checked.retval as i64)
}

fn of_sockets(special: &[SpecialField]) -> MapDef {
    MapDef {
        flags: MapFlags(MapFlags::NO_PREALLOC),
        key_type: Some(TypeId(1)),
        value_type: Some(TypeId(2)),
        special: special.into(),
        ..MapDef::new("storage", MapType::SkStorage, 4, 16, 0)
    }
}

fn socket(port: u16) -> Arc<Socket> {
    let remote = format!("10.0.0.2:{port}").parse().expect("an address");
    let socket = Socket::connected(IPPROTO_TCP, "10.0.0.1:80".parse().expect("an address"), remote);
    Arc::new(socket)
}

fn packet_of(socket: &Arc<Socket>) -> Context {
    let mut ctx = Context::packet(ProgType::SchedCls, &[0; 64]).expect("a packet");
    ctx.set_socket("sk", Some(socket.clone())).expect("a pointer to a socket");
    ctx
}

/// Calls a helper with the storage and the packet's socket.
fn with_socket(arguments: &str, then: &str) -> String {
    format!(
        "r0 = 77\nr2 = *(u64 *)(r1 + 168)\nif r2 == 0 goto out\nr1 = map[idx:0]\n{arguments}\n\
         {then}\nout: exit"
    )
}

const ADD: &str =
    "if r0 == 0 goto out\nr1 = *(u64 *)(r0 + 8)\nr1 += 1\n*(u64 *)(r0 + 8) = r1\nr0 = r1";

#[test]
fn a_socket_has_its_value() {
    let vm = Vm::linux().build();
    let initial = "r3 = 40\n*(u64 *)(r10 - 8) = r3\n*(u64 *)(r10 - 16) = r3\nr3 = r10\nr3 += -16\n\
                   r4 = 1\ncall sk_storage_get";
    let def = of_sockets(&[]);
    let (count, map) = judged(&vm, ProgType::SchedCls, &with_socket(initial, ADD), &def);
    let (one, other) = (socket(1), socket(2));
    assert_eq!(twice(&count, || packet_of(&one)), (41, 42));
    assert_eq!(twice(&count, || packet_of(&other)), (41, 42));
    assert_eq!(twice(&count, || packet_of(&one)), (43, 44));
    let values: &LocalStorage = map.as_kind().expect("a storage");
    let owners = [OwnerId(one.cookie()), OwnerId(other.cookie())];
    assert!(owners.iter().all(|owner| values.owners().contains(owner)));
    let value = values.value(owners[0]).expect("a value");
    assert_eq!(value, [40u64.to_ne_bytes(), 44u64.to_ne_bytes()].concat());

    // Zeros where nothing is given; nothing without the flag, with another, and of other sockets.
    let get = |flags: &str| {
        let call = format!("r3 = 0\nr4 = {flags}\ncall sk_storage_get");
        judged(&vm, ProgType::SchedCls, &with_socket(&call, ADD), &def).0
    };
    assert_eq!(twice(&get("1"), || packet_of(&one)), (1, 2));
    assert_eq!(twice(&get("0"), || packet_of(&one)), (0, 0));
    assert_eq!(twice(&get("2"), || packet_of(&one)), (0, 0));
    assert_eq!(twice(&get("3"), || packet_of(&one)), (0, 0));
    const TIME_WAIT: u64 = 6;
    let late = socket(3);
    late.set_field("state", TIME_WAIT).expect("a state");
    assert_eq!(twice(&get("1"), || packet_of(&late)), (0, 0));
    let delete = with_socket("call sk_storage_delete", "");
    let (delete, map) = judged(&vm, ProgType::SchedCls, &delete, &def);
    assert_eq!(twice(&delete, || packet_of(&late)), (-22, -22));
    assert_eq!(twice(&delete, || packet_of(&one)), (-2, -2));
    let values: &LocalStorage = map.as_kind().expect("a storage");
    values.get_or_create(OwnerId(one.cookie()), None).expect("a value");
    assert_eq!(twice(&delete, || packet_of(&one)), (0, -2));
}

#[test]
fn a_context_that_is_a_socket_has_its_value() {
    let vm = Vm::linux().build();
    let text = format!(
        "r2 = r1\nr1 = map[idx:0]\nr3 = 0\nr4 = 1\ncall sk_storage_get\n{ADD}\nr0 = 1\nout: exit"
    );
    let (count, map) = judged(&vm, ProgType::CgroupSock, &text, &of_sockets(&[]));
    let socket = socket(1);
    let context = || {
        let mut ctx = Context::linux(ProgType::CgroupSock, &[]).expect("a context");
        ctx.set_socket("sk", Some(socket.clone())).expect("a full socket");
        ctx
    };
    assert_eq!(twice(&count, context), (1, 1));
    let values: &LocalStorage = map.as_kind().expect("a storage");
    let value = values.value(OwnerId(socket.cookie())).expect("a value");
    assert_eq!(value, [0u64.to_ne_bytes(), 2u64.to_ne_bytes()].concat());
    // One that was given no socket.
    let blank = || Context::linux(ProgType::CgroupSock, &[]).expect("a context");
    assert_eq!(twice(&count, blank), (0, 0));
    assert_eq!(values.owners().len(), 1);
}

#[test]
fn a_value_is_as_large_as_it_is_and_may_have_a_lock() {
    let vm = Vm::linux().build();
    let lock = SpecialField {
        kind: SpecialKind::SpinLock,
        offset: 4,
        bytes: SpecialKind::SpinLock.bytes(),
        target: None,
        node_offset: 0,
    };
    let run = |then: &str| {
        let get = "r3 = 0\nr4 = 1\ncall sk_storage_get\nif r0 == 0 goto out\nr6 = r0";
        let text = with_socket(get, then);
        let map = vm.create_map(&of_sockets(&[lock])).expect("a map");
        let instance = vm.link(program(ProgType::SchedCls, &text), &[map]).expect("linked");
        let outcome = instance.run(&mut packet_of(&socket(1)), DEFAULT_FUEL);
        outcome.map(|outcome| outcome.retval).map_err(|trap| trap.kind)
    };
    let locked = "r1 = r6\nr1 += 4\ncall spin_lock\nr7 = *(u32 *)(r6 + 4)\nr1 = r6\nr1 += 4\n\
                  call spin_unlock\nr0 = r7";
    assert_eq!(run(locked), Ok(1));
    let beside = run(&locked.replace("+= 4", "+= 8"));
    assert!(matches!(beside, Err(TrapKind::HelperArg { arg: 1, .. })), "{beside:?}");
    for offset in [-1, 9, 16] {
        let outcome = run(&format!("r6 += {offset}\nr0 = *(u64 *)(r6 + 0)"));
        assert!(matches!(outcome, Err(TrapKind::Access { .. })), "{offset}: {outcome:?}");
    }
}

fn world(cgroups: &[&str]) -> World {
    World::new().task(Task::new(7, "task").cgroups(cgroups.iter().copied()))
}

fn packet(prog_type: ProgType) -> Context {
    Context::packet(prog_type, &[0x45; 64]).expect("a packet")
}

#[test]
fn a_cgroup_has_its_value() {
    let text = |flags| {
        format!(
            "r1 = map[idx:0]\nr2 = {flags}\ncall get_local_storage\nr1 = *(u64 *)(r0 + 0)\nr1 += 1\n\
             *(u64 *)(r0 + 0) = r1\nr0 = 1\nexit"
        )
    };
    for kind in [MapType::CgroupStorage, MapType::PercpuCgroupStorage] {
        for key_bytes in [8, 16] {
            let def = MapDef::new("cgroups", kind, key_bytes, 8, 0);
            let vm = Vm::linux().host(Arc::new(world(&["/", "/a", "/a/b"]))).build();
            let (count, map) = judged(&vm, ProgType::CgroupSkb, &text(0), &def);
            assert_eq!(twice(&count, || packet(ProgType::CgroupSkb)), (1, 1));
            let keys: Vec<Vec<u8>> = map.entries().map(|(key, _)| key).collect();
            assert_eq!(keys.len(), 1);
            assert_eq!(keys[0][..8], 3u64.to_ne_bytes());
            let value = map.read(&keys[0]).expect("a value");
            assert_eq!(value[..8], 2u64.to_ne_bytes(), "{}", kind.name());
            let storage: &CgroupStorage = map.as_kind().expect("a storage");
            storage.forget_cgroup(3);
            assert_eq!(twice(&count, || packet(ProgType::CgroupSkb)), (1, 1));
            assert_eq!(map.read(&keys[0]).expect("a value")[..8], 2u64.to_ne_bytes());

            let map = vm.create_map(&def).expect("a map");
            let flags = vm.link(program(ProgType::CgroupSkb, &text(1)), &[map]).expect("linked");
            let trap = flags.run(&mut packet(ProgType::CgroupSkb), DEFAULT_FUEL).expect_err("1");
            assert!(matches!(trap.kind, TrapKind::HelperArg { arg: 2, .. }), "{trap}");
        }
    }
}

#[test]
fn a_packet_is_under_the_cgroups_of_its_socket() {
    let def = MapDef::new("groups", MapType::CgroupArray, 4, 4, 3);
    let vm = Vm::linux().host(Arc::new(world(&["/", "/a"]))).build();
    // The task is in 1 and 2. A packet may be given others.
    let expected = [(0, [1, 0]), (1, [0, 1]), (2, [-11, -11]), (3, [-7, -7])];
    for (index, [of_task, of_packet]) in expected {
        let text = format!("r2 = map[idx:0]\nr3 = {index}\ncall skb_under_cgroup\nexit");
        let (instance, map) = judged(&vm, ProgType::SchedCls, &text, &def);
        let groups: &CgroupArray = map.as_kind().expect("an array");
        groups.set(0, NonZeroU64::new(2).expect("not 0")).expect("a slot");
        groups.set(1, NonZeroU64::new(7).expect("not 0")).expect("a slot");
        assert_eq!(twice(&instance, || packet(ProgType::SchedCls)), (of_task, of_task));
        let given = || {
            let mut ctx = packet(ProgType::SchedCls);
            let ids = [1u64, 7, 8].map(u64::to_ne_bytes).concat();
            ctx.set_bytes("cgroup_ids", &ids).expect("numbers");
            ctx
        };
        assert_eq!(twice(&instance, given), (of_packet, of_packet), "{index}");
    }
}

/// Adds up the first bytes of samples at the caller's variable, and how many there were in its upper
/// half.
fn drain(flags: &str, function: &str) -> String {
    format!(
        "*(u64 *)(r10 - 8) = 0\nr1 = map[idx:0]\nr2 = subprog[each]\nr3 = r10\nr3 += -8\nr4 = {flags}\n\
         call user_ringbuf_drain\nr1 = *(u64 *)(r10 - 8)\nr1 <<= 32\nr0 += r1\nexit\n\
         each:\nr6 = r1\nr7 = r2\n{function}"
    )
}

/// Reads a sample's first byte to `r8`.
const FIRST: &str = "*(u64 *)(r10 - 8) = 0\nr1 = r10\nr1 += -8\nr2 = 1\nr3 = r6\nr4 = 0\nr5 = 0\n\
                     call dynptr_read\nr8 = *(u8 *)(r10 - 8)\nr1 = *(u64 *)(r7 + 0)\nr1 += r8\n\
                     *(u64 *)(r7 + 0) = r1\n";

fn samples() -> MapDef {
    MapDef::new("samples", MapType::UserRingbuf, 0, 0, 4096)
}

fn fill(map: &MapRef, bytes: &[u8]) {
    let ring: &UserRingbuf = map.as_kind().expect("a ring buffer");
    for (byte, size) in bytes.iter().zip(1..) {
        ring.push(&vec![*byte; size]).expect("room");
    }
}

fn split(retval: i64) -> (i32, i64) {
    (retval as i32, retval >> 32)
}

#[test]
fn samples_come_to_the_function() {
    let vm = Vm::linux().build();
    let link = |flags: &str, function: &str| {
        let map = vm.create_map(&samples()).expect("a map");
        let program = program(ProgType::SocketFilter, &drain(flags, function));
        (vm.link(program, std::slice::from_ref(&map)).expect("linked"), map)
    };
    // What a run gives, the bytes that it leaves and how often it has told producers.
    let run = |(instance, map): &(Arc<Instance>, MapRef), bytes: &[u8]| {
        let ring: &UserRingbuf = map.as_kind().expect("a ring buffer");
        fill(map, bytes);
        let before = ring.wakeups();
        let outcome = instance.run(&mut packet(ProgType::SocketFilter), DEFAULT_FUEL);
        let retval = split(outcome.expect("a run").retval as i64);
        let result = (retval, ring.unread_bytes(), ring.wakeups() - before);
        ring.drain(0, |_| ControlFlow::Continue(())).expect("nobody else is at it");
        result
    };
    let all = link("0", &format!("{FIRST}r0 = 0\nexit"));
    assert_eq!(run(&all, &[1, 2, 3]), ((3, 6), 0, 1));
    assert_eq!(run(&all, &[]), ((0, 0), 0, 0), "nobody is told of nothing");
    assert_eq!(run(&all, &[200; 9]), ((9, 1800), 0, 1));
    // It stops after the one that begins with 5.
    let some = link("0", &format!("{FIRST}r0 = 0\nif r8 != 5 goto more\nr0 = 1\nmore: exit"));
    assert_eq!(run(&some, &[3, 5, 2]), ((2, 8), 16, 1));
    let quiet = link("1", &format!("{FIRST}r0 = 0\nexit"));
    assert_eq!(run(&quiet, &[4]), ((1, 4), 0, 0));
    let loud = link("2", &format!("{FIRST}r0 = 0\nexit"));
    assert_eq!(run(&loud, &[]), ((0, 0), 0, 1));
    let unknown = link("4", &format!("{FIRST}r0 = 0\nexit"));
    assert_eq!(run(&unknown, &[1]), ((-22, -1), 16, 0));
    // Within the function the buffer is in use.
    let again = "r1 = map[idx:0]\nr2 = subprog[each]\nr3 = r7\nr4 = 0\ncall user_ringbuf_drain\n\
                 *(u64 *)(r7 + 0) = r0\nr0 = 0\nexit";
    let map = vm.create_map(&samples()).expect("a map");
    let again = program(ProgType::SocketFilter, &drain("0", again));
    let again = vm.link(again, std::slice::from_ref(&map)).expect("linked");
    assert_eq!(run(&(again, map), &[1]).0, (1, -16));
}

/// A sample and its dynptr are the program's as long as its function runs.
#[test]
fn samples_go_when_the_function_returns() {
    let vm = Vm::linux().build();
    let run = |function: &str, after: &str| {
        let text = drain("0", function).replace("r1 <<= 32\n", &format!("{after}\nr1 <<= 32\n"));
        let map = vm.create_map(&samples()).expect("a map");
        fill(&map, &[9, 8]);
        let program = program(ProgType::SocketFilter, &text);
        let instance = vm.link(program, std::slice::from_ref(&map)).expect("linked");
        let outcome = instance.run(&mut packet(ProgType::SocketFilter), DEFAULT_FUEL);
        let ring: &UserRingbuf = map.as_kind().expect("a ring buffer");
        // However the run ended, the buffer is free.
        ring.drain(0, |_| ControlFlow::Continue(())).expect("nobody is at it");
        outcome.map(|outcome| outcome.retval as i64).map_err(|trap| trap.kind)
    };
    let data = "r1 = r6\nr2 = 0\nr3 = 1\ncall dynptr_data\n*(u64 *)(r7 + 0) = r0\n";
    let write = "r1 = *(u64 *)(r7 + 0)\n*(u8 *)(r1 + 0) = 3\nr0 = 0\nexit";
    assert!(run(&format!("{data}{write}"), "").is_ok());
    let late = run(&format!("{data}r0 = 0\nexit"), "r1 = *(u8 *)(r1 + 0)");
    assert!(matches!(late, Err(TrapKind::Access { .. })), "{late:?}");
    let dynptr = "*(u64 *)(r7 + 0) = r6\nr0 = 0\nexit";
    let read = "r3 = r1\nr1 = r10\nr1 += -16\nr2 = 1\nr4 = 0\nr5 = 0\ncall dynptr_read\nr1 = 0";
    // It has no memory any more.
    assert_eq!(run(dynptr, &format!("{read}\nr1 = r0\nr0 = 0")).map(|value| value >> 32), Ok(-22));
    for (function, number) in [
        ("r1 = r6\nr2 = 0\ncall ringbuf_submit_dynptr\nr0 = 0\nexit".to_string(), 1),
        (format!("{data}r1 = r0\nr2 = 0\ncall ringbuf_submit\nr0 = 0\nexit"), 1),
    ] {
        let outcome = run(&function, "");
        let is_it = matches!(outcome, Err(TrapKind::HelperArg { arg, .. }) if arg == number);
        assert!(is_it, "{outcome:?}");
    }
    // The function's own failure ends the run.
    let failed = run("r0 = *(u64 *)(r6 + 16)\nexit", "");
    assert!(matches!(failed, Err(TrapKind::Access { .. })), "{failed:?}");
}
