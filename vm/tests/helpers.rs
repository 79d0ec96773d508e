//! What helpers do that a comparison with the kernel does not show: what they give to the host, and
//! that a bad argument is a trap.

use ebpfvm::map::{Cpu, PerfEventArray, ProgArray, Ringbuf, UpdateFlags};
use ebpfvm::{
    Builder, Context, Helper, Host, Instance, MapRef, NextHop, Outcome, Redirect, Trap, TrapKind,
    Vm,
};
use ebpfvm_asm::text::{Dialect, assemble};
use ebpfvm_spec::{MapDef, MapType, ProgType, ProgTypeSet, Program};
use std::sync::{Arc, Mutex};

const FUEL: u64 = 100_000;

/// A fixed world that keeps what is printed.
#[derive(Default)]
struct World(Mutex<Vec<String>>);

impl Host for World {
    fn monotonic_ns(&self) -> u64 {
        1_234_567_890
    }

    fn boot_ns(&self) -> u64 {
        2_000_000_000
    }

    fn tai_ns(&self) -> u64 {
        3_000_000_000
    }

    fn numa_node(&self) -> u32 {
        1
    }

    fn random_u32(&self) -> u32 {
        0xfeed_f00d
    }

    fn cpu(&self) -> Cpu {
        Cpu(2)
    }

    fn pid_tgid(&self) -> u64 {
        7 << 32 | 8
    }

    fn uid_gid(&self) -> u64 {
        9 << 32 | 10
    }

    fn cgroup_id(&self) -> u64 {
        11
    }

    fn comm(&self) -> [u8; 16] {
        *b"a-long-name\0\0\0\0\0"
    }

    fn print(&self, line: &str) {
        self.0.lock().unwrap().push(line.into());
    }
}

struct Bench {
    vm: Vm,
    world: Arc<World>,
    maps: Vec<MapRef>,
}

impl Bench {
    fn new(maps: &[(MapType, u32, u32, u32)]) -> Bench {
        let world = Arc::new(World::default());
        // Every helper in every type of program: what an embedder's platform may allow.
        let everywhere = |mut helper: Helper| {
            helper.proto.allowed = ProgTypeSet::ALL;
            helper.proto.attach = &[];
            helper
        };
        let builder = ebpfvm::helper::linux().map(everywhere).fold(Vm::linux(), Builder::helper);
        let vm = builder.host(world.clone()).cpus(4).build();
        let def = |(i, m): (usize, &(MapType, u32, u32, u32))| {
            MapDef::new(format!("m{i}"), m.0, m.1, m.2, m.3)
        };
        let maps = maps.iter().enumerate().map(def).map(|def| vm.create_map(&def).unwrap());
        Bench { maps: maps.collect(), vm, world }
    }

    fn link(&self, prog_type: ProgType, source: &str) -> Arc<Instance> {
        let code = assemble(source, Dialect::PseudoC).unwrap_or_else(|e| panic!("{e}\n{source}"));
        self.vm.link(Program::from_code("test", prog_type, code), &self.maps).unwrap()
    }

    fn run(&self, prog_type: ProgType, source: &str) -> Result<Outcome, Box<Trap>> {
        let mut ctx = match prog_type {
            ProgType::Raw => Context::raw(vec![1, 2, 3, 4]),
            _ => Context::packet(prog_type, &packet()).unwrap(),
        };
        self.link(prog_type, source).run(&mut ctx, FUEL)
    }

    fn retval(&self, source: &str) -> u64 {
        self.run(ProgType::Xdp, source).unwrap().retval
    }
}

/// An Ethernet frame with bytes that are easy to tell apart.
fn packet() -> Vec<u8> {
    (0..64).collect()
}

#[test]
fn the_host_is_asked() {
    let bench = Bench::new(&[]);
    for (id, expected) in [
        (5, 1_234_567_890),
        (125, 2_000_000_000),
        (208, 3_000_000_000),
        (160, 1_232_000_000),
        (118, 0xffff_ffff - 75_000 + 1 + 308),
        (7, 0xfeed_f00d),
        (8, 2),
        (42, 1),
        (14, 7 << 32 | 8),
        (15, 9 << 32 | 10),
        (80, 11),
    ] {
        assert_eq!(bench.retval(&format!("call {id}; exit")), expected, "helper {id}");
    }
}

#[test]
fn the_task_name_is_cut_and_padded() {
    let comm = |bytes: u32| {
        let source = format!(
            "r1 = -1; *(u64 *)(r10 - 8) = r1; *(u64 *)(r10 - 16) = r1; r1 = r10; r1 += -16
             r2 = {bytes}; call 16; r1 = *(u64 *)(r10 - 16); r0 = *(u64 *)(r10 - 8); exit"
        );
        let first = Bench::new(&[]).retval(&source.replace("r0 = *(u64 *)(r10 - 8)", "r0 = r1"));
        (first.to_ne_bytes(), Bench::new(&[]).retval(&source).to_ne_bytes())
    };
    assert_eq!(comm(16), (*b"a-long-n", *b"ame\0\0\0\0\0"));
    assert_eq!(comm(4), (*b"a-l\0\xff\xff\xff\xff", [0xff; 8]));
}

#[test]
fn lines_are_printed_with_their_arguments() {
    let bench = Bench::new(&[]);
    // "%d-%s\n", the string being "hi".
    let format = u64::from_ne_bytes(*b"%d-%s|\n\0");
    let source = format!(
        "r1 = {format} ll; *(u64 *)(r10 - 8) = r1; r1 = 0x6968; *(u64 *)(r10 - 16) = r1
         r1 = r10; r1 += -8; r2 = 8; r3 = -3; r4 = r10; r4 += -16; r5 = 0; call 6; exit"
    );
    assert_eq!(bench.retval(&source), 7);
    // What is not the program's memory is not read.
    assert_eq!(bench.retval(&source.replace("r4 += -16", "r4 = 4096")), 5);
    assert_eq!(*bench.world.0.lock().unwrap(), ["-3-hi|", "-3-|"]);
}

#[test]
fn redirects_are_recorded_and_the_last_counts() {
    let bench = Bench::new(&[]);
    let outcome = bench.run(ProgType::Xdp, "r1 = 7; r2 = 0; call 23; r1 = 9; call 23; exit");
    let outcome = outcome.unwrap_or_else(|e| panic!("{e}"));
    let to = |ifindex, flags| Some(Redirect::Interface { ifindex, flags, next_hop: None });
    assert_eq!((outcome.retval, outcome.redirect), (4, to(9, 0)));
    let outcome = bench.run(ProgType::SchedCls, "r1 = 7; r2 = 1; call 23; exit").unwrap();
    assert_eq!((outcome.retval, outcome.redirect), (7, to(7, 1)));
    let outcome = bench.run(ProgType::SchedCls, "r1 = 7; r2 = 2; call 23; exit").unwrap();
    assert_eq!((outcome.retval, outcome.redirect), (2, None));
}

#[test]
fn the_next_hop_of_a_redirect_is_recorded() {
    let bench = Bench::new(&[]);
    let with = |family: u32, bytes: u32, flags: u32| {
        let source = format!(
            "r1 = 0x100007f; *(u64 *)(r10 - 16) = r1; r1 = 0; *(u64 *)(r10 - 8) = r1
             r1 = {family}; *(u32 *)(r10 - 20) = r1
             r1 = 7; r2 = r10; r2 += -20; r3 = {bytes}; r4 = {flags}; call 152; exit"
        );
        let outcome = bench.run(ProgType::SchedCls, &source).unwrap_or_else(|e| panic!("{e}"));
        let hop = outcome.redirect.map(|redirect| match redirect {
            Redirect::Interface { ifindex: 7, flags, next_hop } => (flags, next_hop),
            other => panic!("{other:?}"),
        });
        (outcome.retval, hop)
    };
    let address = |found: (u64, Option<(u64, Option<NextHop>)>)| {
        let (flags, hop) = found.1.unwrap();
        assert_eq!((found.0, flags), (7, 3 << 16));
        hop.unwrap().address().map(|address| address.to_string())
    };
    assert_eq!(address(with(2, 20, 0)).as_deref(), Some("127.0.0.1"));
    assert_eq!(address(with(10, 20, 0)).as_deref(), Some("7f00:1::"));
    assert_eq!(address(with(3, 20, 0)), None);
    assert_eq!(with(2, 19, 0), (2, None));
    assert_eq!(with(2, 20, 1), (2, None));
    let none = bench.run(ProgType::SchedCls, "r1 = 7; r2 = 0; r3 = 0; r4 = 0; call 152; exit");
    let to = Redirect::Interface { ifindex: 7, flags: 1 << 16, next_hop: None };
    assert_eq!(none.unwrap().redirect, Some(to));
}

#[test]
fn a_redirect_to_a_map_is_recorded_and_taken_back() {
    let bench = Bench::new(&[(MapType::Devmap, 4, 4, 2)]);
    bench.maps[0].write(&[1, 0, 0, 0], &[1, 0, 0, 0], UpdateFlags::ANY).unwrap();
    let to = |index: u64, flags: u64| {
        let source = format!("r1 = map[idx:0]; r2 = {index}; r3 = {flags}; call 51");
        let found = bench.run(ProgType::Xdp, &format!("{source}; exit")).unwrap();
        // A failed redirect after it takes the first one back.
        let lost = format!("{source}; r1 = map[idx:0]; r2 = 0; r3 = 2; call 51; exit");
        assert_eq!(bench.run(ProgType::Xdp, &lost).unwrap().redirect, None);
        (found.retval, found.redirect)
    };
    let map = |index, flags| Some(Redirect::Map { map: "m0".into(), index, flags });
    assert_eq!(to(1, 2), (4, map(1, 0)));
    assert_eq!(to(0, 8), (4, map(0, 8)));
    assert_eq!(to(0, 1), (1, None));
    assert_eq!(to(1, 32), (0, None));
}

/// `get_cgroup_classid` has another prototype for programs on socket buffers.
#[test]
fn a_helper_called_by_register_is_the_one_for_the_type_of_the_program() {
    let vm = Vm::linux().build();
    let run = |prog_type, source: &str| {
        let code = assemble(source, Dialect::PseudoC).unwrap_or_else(|e| panic!("{e}"));
        let instance = vm.link(Program::from_code("test", prog_type, code), &[]).unwrap();
        instance.run(&mut Context::packet(prog_type, &packet()).unwrap(), FUEL)
    };
    let named = run(ProgType::SchedCls, "call 17; exit").unwrap().retval;
    let by_register = run(ProgType::SchedCls, "r2 = 17; callx r2; exit").unwrap();
    assert_eq!(by_register.retval, named);
    // `sk_assign` has two, none of them for XDP.
    let trap = run(ProgType::Xdp, "r2 = 124; callx r2; exit").unwrap_err();
    assert_eq!(trap.kind, TrapKind::NoSuchHelper(124));
}

#[test]
fn tail_calls_end_at_33_and_fall_through() {
    let bench = Bench::new(&[(MapType::ProgArray, 4, 4, 2), (MapType::Array, 4, 8, 1)]);
    let again = bench.link(
        ProgType::Xdp,
        "r6 = r1; r1 = map[idx:1][0]+0; r2 = *(u64 *)(r1 + 0); r2 += 1; *(u64 *)(r1 + 0) = r2
         r1 = r6; r2 = map[idx:0]; r3 = 1; call 12; r0 = 5; exit",
    );
    let array: &ProgArray = bench.maps[0].as_kind().unwrap();
    array.set(1, again.clone()).unwrap();
    let mut ctx = Context::packet(ProgType::Xdp, &packet()).unwrap();
    assert_eq!(again.run(&mut ctx, FUEL).unwrap().retval, 5);
    assert_eq!(bench.maps[1].read(&[0; 4]).unwrap(), 34u64.to_ne_bytes());
    let other = "r2 = map[idx:0]; r3 = 1; call 12; r0 = 6; exit";
    let trap = bench.run(ProgType::SchedCls, other).unwrap_err();
    assert!(trap.to_string().contains("holds programs of another type"), "{trap}");
    for index in [0, 2, -1] {
        let source = other.replace("r3 = 1", &format!("r3 = {index}"));
        assert_eq!(bench.retval(&source), 6, "index {index}");
    }
    array.clear();
}

#[test]
fn prepared_runs_begin_anew() {
    let bench = Bench::new(&[
        (MapType::ProgArray, 4, 4, 2),
        (MapType::Array, 4, 8, 1),
        (MapType::Ringbuf, 0, 0, 4096),
    ]);
    // Tail calls are counted by run, records that are not submitted are given back at its end, and
    // what one had is no memory of the next.
    let again = bench.link(
        ProgType::Xdp,
        "r6 = r1; r1 = map[idx:1][0]+0; r7 = *(u64 *)(r1 + 0); r7 += 1; *(u64 *)(r1 + 0) = r7
         if r7 & 1 goto +5; r1 = map[idx:2]; r2 = 64; r3 = 0; call 131
         r1 = r6; r2 = map[idx:0]; r3 = 1; call 12; r0 = r7; exit",
    );
    let array: &ProgArray = bench.maps[0].as_kind().unwrap();
    array.set(1, again.clone()).unwrap();
    let stale = bench.link(
        ProgType::Xdp,
        "r6 = map[idx:1][0]+0; r1 = *(u64 *)(r6 + 0); if r1 == 0 goto +2; r0 = *(u8 *)(r1 + 0); exit
         r1 = map[idx:2]; r2 = 64; r3 = 0; call 131; *(u64 *)(r6 + 0) = r0; r0 = 7; exit",
    );
    let mut ctx = Context::packet(ProgType::Xdp, &packet()).unwrap();
    let mut prepared = again.prepare(&mut ctx, FUEL).unwrap();
    for round in 1..=200 {
        assert_eq!(prepared.run().unwrap(), round * 34);
    }
    drop(prepared);
    bench.maps[1].write(&[0; 4], &[0; 8], UpdateFlags::ANY).unwrap();
    bench.maps[2].as_kind::<Ringbuf>().unwrap().consume(|_| ());
    let mut prepared = stale.prepare(&mut ctx, FUEL).unwrap();
    assert_eq!(prepared.run().unwrap(), 7);
    let trap = prepared.run().unwrap_err();
    assert!(matches!(trap.kind, TrapKind::Access { bytes: 1, .. }), "{trap}");
    array.clear();
}

#[test]
fn perf_events_carry_data_and_packet() {
    let bench = Bench::new(&[(MapType::PerfEventArray, 4, 4, 4)]);
    let array: &PerfEventArray = bench.maps[0].as_kind().unwrap();
    array.open(2, Cpu(2), 4096).unwrap();
    array.open(1, Cpu(1), 4096).unwrap();
    let output = |flags: &str| {
        let source = format!(
            "r4 = 0x0807060504030201 ll; *(u64 *)(r10 - 8) = r4; r4 = r10; r4 += -8
             r2 = map[idx:0]; r3 = {flags} ll; r5 = 8; call 25; exit"
        );
        bench.retval(&source) as i64
    };
    assert_eq!(output("0xffffffff"), 0);
    assert_eq!(output("0x3ffffffff"), 0);
    assert_eq!(output("2"), 0);
    assert_eq!(output("1"), -95);
    assert_eq!(output("0"), -2);
    assert_eq!(output("4"), -7);
    assert_eq!(output("0x41ffffffff"), -14);
    assert_eq!(output("0x8000000000000000"), -22);
    let data: Vec<Vec<u8>> = array.drain().into_iter().map(|sample| sample.data).collect();
    let plain = vec![1, 2, 3, 4, 5, 6, 7, 8];
    assert_eq!(data, [plain.clone(), [&plain[..], &[0, 1, 2]].concat(), plain]);
}

#[test]
fn ring_buffer_records_are_submitted_discarded_or_taken_back() {
    let bench = Bench::new(&[(MapType::Ringbuf, 0, 0, 4096)]);
    let ring: &Ringbuf = bench.maps[0].as_kind().unwrap();
    let records = || {
        let mut all = Vec::new();
        ring.consume(|data| all.push(data.to_vec()));
        all
    };
    let reserve = "r1 = map[idx:0]; r2 = 8; r3 = 0; call 131; if r0 == 0 goto out
                   r1 = 0x42; *(u64 *)(r0 + 0) = r1; r1 = r0; r2 = 0; ";
    let end = "; r0 = 0; out: exit";
    assert_eq!(bench.retval(&format!("{reserve} call 132 {end}")), 0);
    assert_eq!(records(), [vec![0x42, 0, 0, 0, 0, 0, 0, 0]]);
    assert_eq!(bench.retval(&format!("{reserve} call 133 {end}")), 0);
    assert_eq!(bench.retval(&format!("{reserve} r0 = 0 {end}")), 0);
    assert_eq!(records(), Vec::<Vec<u8>>::new());
    assert_eq!(ring.query(0), 0, "a record left behind is taken back");
    for (wrong, text) in [
        ("call 132; r1 = 0; call 132", "is not a record"),
        ("r6 = r1; call 132; r1 = r6; call 133", "is not a record"),
        ("r1 += 8; call 132", "is not a record"),
        ("r6 = r0; call 132; r0 = *(u64 *)(r6 + 0)", "invalid load of 8 bytes"),
    ] {
        let trap = bench.run(ProgType::Xdp, &format!("{reserve} {wrong} {end}")).unwrap_err();
        assert!(trap.to_string().contains(text), "{wrong}: {trap}");
    }
}

#[test]
fn values_of_other_cpus_are_found() {
    let bench = Bench::new(&[(MapType::PercpuArray, 4, 8, 1)]);
    let values: Vec<u8> = (1..=4u64).flat_map(u64::to_ne_bytes).collect();
    bench.maps[0].write(&[0; 4], &values, UpdateFlags::ANY).unwrap();
    let value = |cpu: u32| {
        bench.retval(&format!(
            "*(u32 *)(r10 - 4) = 0; r1 = map[idx:0]; r2 = r10; r2 += -4; r3 = {cpu}; call 195
             if r0 == 0 goto +1; r0 = *(u64 *)(r0 + 0); exit"
        ))
    };
    assert_eq!([0, 1, 2, 3, 4].map(value), [1, 2, 3, 4, 0]);
}

#[test]
fn bad_arguments_are_traps_that_name_them() {
    let bench = Bench::new(&[(MapType::Array, 4, 8, 1)]);
    for (prog_type, source, text) in [
        (ProgType::Xdp, "r1 = 5; call 1; exit", "argument 1 (0x5) is not a map of the program"),
        (ProgType::Xdp, "r1 = map[idx:0]; r2 = r10; call 1; exit", "argument 2: invalid load of 4"),
        (ProgType::Xdp, "r1 = map[idx:0]; r2 = 0; call 3; exit", "map_delete_elem: argument 2"),
        (ProgType::Xdp, "r1 = r10; r2 = 0; call 44; exit", "argument 1"),
        (ProgType::Xdp, "r2 = 0; r3 = 0; r4 = 8; call 189; exit", "argument 3: invalid store"),
        (ProgType::SchedCls, "r2 = 0; r3 = r10; r4 = 0; call 26; exit", "must not be 0"),
        (ProgType::SchedCls, "r2 = 0; r3 = r10; r4 = -1; call 26; exit", "below 512 MiB"),
        (ProgType::SchedCls, "r2 = 0; r3 = r10; r4 = 8; r5 = 0; call 9; exit", "invalid load"),
        (ProgType::Xdp, "r1 = 0; r2 = 4; r3 = 0; r4 = 0; r5 = 0; call 28; exit", "invalid load"),
        (ProgType::Xdp, "r2 = map[idx:0]; r3 = 0; call 12; exit", "is not a prog_array"),
        (ProgType::Xdp, "r1 = map[idx:0]; r2 = 0; call 134; exit", "is not a ring buffer"),
        (
            ProgType::Xdp,
            "r1 = map[idx:0]; r2 = 0; r3 = 0; call 51; exit",
            "is not a map of devices",
        ),
        (ProgType::Xdp, "r1 = r10; r1 += -8; r2 = 8; r3 = 0; call 182; exit", "zero-terminated"),
        (ProgType::Raw, "r2 = 0; call 44; exit", "without a packet"),
        (ProgType::Raw, "r2 = 0; r3 = r10; r3 += -8; r4 = 8; call 26; exit", "without a packet"),
    ] {
        let trap = bench.run(prog_type, source).unwrap_err();
        assert!(matches!(trap.kind, TrapKind::HelperArg { .. } | TrapKind::HelperAccess { .. }));
        assert!(trap.to_string().contains(text), "{source}: {trap}");
    }
}

#[test]
fn a_helper_for_other_types_or_of_no_system_is_refused_by_name() {
    let vm = Vm::linux().build();
    let link = |id: u32| {
        let code = assemble(&format!("call {id}; exit"), Dialect::PseudoC).unwrap();
        vm.link(Program::from_code("test", ProgType::SchedCls, code), &[]).unwrap_err().to_string()
    };
    assert!(
        link(44).ends_with(
            "the helper xdp_adjust_head (number 44) is not for programs of type sched_cls"
        )
    );
    assert!(link(212).ends_with("there is no helper number 212"));
}

/// A small generator, so that a failure can be repeated.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n as u64) as usize
    }
}

/// Every helper takes any arguments in every type of program: the program goes on or traps.
#[test]
fn no_argument_does_harm() {
    use MapType::{
        Array, BloomFilter, Devmap, Hash, PercpuArray, PerfEventArray as Perf, ProgArray as Progs,
        Queue, Ringbuf,
    };
    let bench = Bench::new(&[
        (Array, 4, 64, 2),
        (Hash, 8, 16, 4),
        (PercpuArray, 4, 8, 2),
        (Perf, 4, 4, 4),
        (Progs, 4, 4, 2),
        (Ringbuf, 0, 0, 4096),
        (Queue, 0, 16, 4),
        (BloomFilter, 0, 8, 100),
        (Devmap, 4, 4, 2),
    ]);
    bench.maps[3].as_kind::<PerfEventArray>().unwrap().open(2, Cpu(2), 1024).unwrap();
    let mut random = Random(0x1234_5678_9abc_def1);
    let arguments = [
        "{r} = 0",
        "{r} = 1",
        "{r} = 2",
        "{r} = 4",
        "{r} = 7",
        "{r} = 8",
        "{r} = 16",
        "{r} = 20",
        "{r} = 64",
        "{r} = 255",
        "{r} = 4096",
        "{r} = -1",
        "{r} = -8",
        "{r} = -14",
        "{r} = 2147483647",
        "{r} = -2147483648",
        "{r} = 0x7fffffffffffffff ll",
        "{r} = 0x8000000000000000 ll",
        "{r} = 0xffff800000000000 ll",
        "{r} = 0x20000000 ll",
        "{r} = r6",
        "{r} = r6; {r} += 4",
        "{r} = r10",
        "{r} = r10; {r} += -8",
        "{r} = r10; {r} += -64",
        "{r} = r10; {r} += -512",
        "{r} = r7",
        "{r} = r8",
        "{r} = r9",
        "{r} = map[idx:0]",
        "{r} = map[idx:1]",
        "{r} = map[idx:2]",
        "{r} = map[idx:3]",
        "{r} = map[idx:4]",
        "{r} = map[idx:5]",
        "{r} = map[idx:6]",
        "{r} = map[idx:7]",
        "{r} = map[idx:8]",
        "{r} = 0x86dd",
        "{r} = 0xdd86",
        "{r} = 0x0081",
    ];
    let types = [
        (ProgType::Xdp, "r7 = *(u32 *)(r1 + 0); r8 = *(u32 *)(r1 + 4)\n"),
        (ProgType::SchedCls, "r7 = *(u32 *)(r1 + 76); r8 = *(u32 *)(r1 + 80)\n"),
        (ProgType::SocketFilter, "r7 = 0; r8 = 0\n"),
        (ProgType::Raw, "r7 = r1; r8 = r2\n"),
    ];
    let protos: Vec<_> = ebpfvm::helper::linux().map(|helper| helper.proto).collect();
    let mut returned = 0;
    for round in 0..3000 {
        let (prog_type, start) = types[round % types.len()];
        let mut source = format!("r6 = r1; r9 = 0\n{start}");
        let callable = protos.iter().filter(|proto| proto.allowed.contains(prog_type));
        let callable: Vec<_> = callable.collect();
        // One call comes to its end more often than four.
        for _ in 0..1 + round / types.len() % 4 {
            let proto = callable[random.below(callable.len())];
            for register in 1..=5 {
                // The context is wanted so often that chance would rarely give it.
                let wants_ctx = register == 1 && proto.args[0] == ebpfvm_spec::Arg::Ctx;
                let argument = if wants_ctx && random.below(8) != 0 {
                    "{r} = r6"
                } else {
                    arguments[random.below(arguments.len())]
                };
                source += &argument.replace("{r}", &format!("r{register}"));
                source.push('\n');
            }
            source += &format!("call {}\nr9 = r0\n", proto.id);
        }
        source += "r0 = 0\nexit\n";
        match bench.run(prog_type, &source) {
            Ok(_) => returned += 1,
            Err(trap) => assert!(!trap.to_string().is_empty()),
        }
    }
    assert!(returned > 100, "only {returned} programs came to their end");
}
