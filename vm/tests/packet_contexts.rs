//! Programs at routes, cgroups and flows: their examples, accepted by the verifier and run on contexts
//! with what belongs to them; routes that the host gives.

use ebpfvm::context::SockoptResult;
use ebpfvm::host::world::{Clock, Neighbour, Network, Rule};
use ebpfvm::host::{Device, Route, RouteKind, World};
use ebpfvm::loader::Object;
use ebpfvm::{Context, DEFAULT_FUEL, Instance, LoadOptions, Loaded, Outcome, PacketClone, Vm};
use ebpfvm_asm::text::{Dialect, assemble};
use ebpfvm_spec::{AttachType, ProgType, Program};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

fn folder(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../examples").join(name)
}

fn hex(example: &str, name: &str) -> Vec<u8> {
    let text = std::fs::read_to_string(folder(example).join(name)).expect("a file");
    let bytes = text.split_whitespace().map(|pair| u8::from_str_radix(pair, 16));
    bytes.collect::<Result<_, _>>().expect("hex")
}

/// A program of an example, which the verifier has accepted.
fn example(vm: &Vm, name: &str, program: &str) -> Arc<Instance> {
    let path = folder(name).join(format!("{name}.bpf.o"));
    let bytes = std::fs::read(&path).expect("an object");
    let object = Object::parse(&bytes, &path.to_string_lossy()).expect("it is an object");
    let loaded = Loaded::with(vm, object, LoadOptions::default()).expect("it loads");
    let instance = loaded.program(program).expect("a program");
    let judged = vm.verify(instance.program().clone(), &Default::default()).verdict;
    let accepted = judged.expect("the verifier accepts it");
    let instance = vm.link_verified(accepted, instance.maps()).expect("it links");
    assert!(instance.is_verified());
    instance
}

/// Runs without checks and with them, which must give the same.
fn run(instance: &Instance, make: impl Fn() -> Context) -> (Outcome, Context) {
    let (mut first, mut second) = (make(), make());
    let checked = instance.run_checked(&mut first, DEFAULT_FUEL).expect("it runs with checks");
    let outcome = instance.run(&mut second, DEFAULT_FUEL).expect("it runs");
    assert_eq!(outcome, checked);
    assert_eq!((first.fields(), first.data_out()), (second.fields(), second.data_out()));
    assert_eq!(first.byte_fields(), second.byte_fields());
    (outcome, second)
}

#[test]
fn a_jumbo_frame_is_cut_and_sealed_in_its_last_page() {
    let instance = example(&Vm::linux().build(), "xdp_frags", "xdp_frags");
    let packet = hex("xdp_frags", "jumbo.hex");
    let make = || Context::packet(ProgType::Xdp, &packet).expect("a packet");
    let (outcome, ctx) = run(&instance, make);
    let out = ctx.data_out();
    assert_eq!((outcome.retval, packet.len(), out.len()), (3, 9020, 9014));
    assert_eq!((&out[..9010], &out[9010..]), (&packet[..9010], &b"SEAL"[..]));
    let short = || Context::packet(ProgType::Xdp, &packet[..9013]).expect("a packet");
    assert_eq!(run(&instance, short).0.retval, 1);
}

#[test]
fn a_program_at_a_route_puts_packets_into_a_tunnel() {
    let instance = example(&Vm::linux().build(), "lwt_encap", "lwt_encap");
    let packet = hex("lwt_encap", "to_tunnel.hex");
    let make = || Context::packet(ProgType::LwtXmit, &packet).expect("a packet");
    let (outcome, ctx) = run(&instance, make);
    let out = ctx.packet_data().expect("a packet");
    assert_eq!((outcome.retval, out.len()), (0, packet.len() + 20));
    assert_eq!((&out[..14], &out[34..]), (&packet[..14], &packet[14..]));
    assert_eq!(out[26..34], [192, 0, 2, 1, 203, 0, 113, 1]);
    let sum = out[14..34].chunks(2).map(|w| u32::from(w[0]) << 8 | u32::from(w[1])).sum::<u32>();
    assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff, "the checksum is right");
}

#[test]
fn a_flow_dissector_leaves_keys() {
    let instance = example(&Vm::linux().build(), "flow_keys", "flow_keys");
    let packet = hex("flow_keys", "dns_query_vlan.hex");
    let make = || Context::packet(ProgType::FlowDissector, &packet).expect("a packet");
    let (outcome, ctx) = run(&instance, make);
    let key = |name: &str| ctx.field(&format!("flow_keys.{name}")).expect("a key");
    assert_eq!((outcome.retval, key("nhoff"), key("thoff")), (0, 18, 38));
    assert_eq!((key("dport") as u16, key("ip_proto")), (53u16.to_be(), 17));
    assert_eq!(key("ipv6[1]") as u32, u32::from_ne_bytes([198, 51, 100, 7]));
    let short = || Context::packet(ProgType::FlowDissector, &packet[..30]).expect("a packet");
    assert_eq!(run(&instance, short).0.retval, 2);
}

#[test]
fn socket_options_are_judged_and_changed() {
    const SET: AttachType = AttachType::CGROUP_SETSOCKOPT;
    const GET: AttachType = AttachType::CGROUP_GETSOCKOPT;
    let vm = Vm::linux().build();
    let limit = example(&vm, "cgroup_sockopt", "limit");
    let option = |level: u64, optname: u64, value: &[u8]| {
        let mut ctx = Context::linux(ProgType::CgroupSockopt, value).expect("a context");
        ctx.set_field("level", level).expect("a field");
        ctx.set_field("optname", optname).expect("a field");
        ctx
    };
    let large = hex("cgroup_sockopt", "rcvbuf_1m.hex");
    let (outcome, ctx) = run(&limit, || option(1, 8, &large));
    let optval = 65536u32.to_ne_bytes().to_vec();
    let expected = SockoptResult::Sets { level: 1, optname: 8, optval };
    assert_eq!(ctx.sockopt_result(SET, outcome.retval), Some(expected));
    let (outcome, ctx) = run(&limit, || option(1, 1, &[1]));
    assert_eq!(ctx.sockopt_result(SET, outcome.retval), Some(SockoptResult::Returns(-13)));
    let long = vec![7; 9000];
    let (outcome, ctx) = run(&limit, || option(41, 3, &long));
    let expected = SockoptResult::Sets { level: 41, optname: 3, optval: long.clone() };
    assert_eq!(ctx.sockopt_result(SET, outcome.retval), Some(expected));

    let answer = example(&vm, "cgroup_sockopt", "answer");
    let (outcome, ctx) = run(&answer, || option(6, 13, b"cubic\0\0\0"));
    let expected = SockoptResult::Gives { optval: Some(b"reno\0".to_vec()) };
    assert_eq!(ctx.sockopt_result(GET, outcome.retval), Some(expected));
    let (outcome, ctx) = run(&answer, || option(6, 13, b"cub"));
    assert_eq!(ctx.sockopt_result(GET, outcome.retval), Some(SockoptResult::Returns(-1)));
}

#[test]
fn writes_to_system_parameters_are_judged_and_changed() {
    let guard = example(&Vm::linux().build(), "cgroup_sysctl", "guard");
    let write = |name: &str, value: &str| {
        let mut ctx = Context::linux(ProgType::CgroupSysctl, &[]).expect("a context");
        ctx.set_field("write", 1).expect("a field");
        ctx.set_bytes("name", name.as_bytes()).expect("a name");
        ctx.set_bytes("new_value", value.as_bytes()).expect("a value");
        ctx
    };
    for (name, value, result, left) in [
        ("net/core/somaxconn", "1024\n", 0, "1024\n"),
        ("net/core/somaxconn", "65536\n", 0, "4096"),
        ("net/core/somaxconn", "many", -1, "many"),
        ("net/core/wmem_max", "1", -1, "1"),
        ("a/name/longer/than/the/buffer/of/the/program", "1", -1, "1"),
    ] {
        let (outcome, ctx) = run(&guard, || write(name, value));
        assert_eq!(ctx.cgroup_result(outcome.retval), result, "{name} = {value}");
        assert_eq!(ctx.bytes("new_value"), Some(left.as_bytes()), "{name} = {value}");
    }
    let read = || Context::linux(ProgType::CgroupSysctl, &[]).expect("a context");
    assert_eq!(run(&guard, read).0.retval, 1);
}

#[test]
fn devices_are_judged() {
    let gate = example(&Vm::linux().build(), "cgroup_device", "gate");
    for (access, major, minor, expected) in [
        (0x6_0002, 1, 3, 1),
        (0x2_0002, 1, 9, 1),
        (0x4_0002, 1, 9, 0),
        (0x1_0002, 1, 3, 0),
        (0x2_0001, 1, 3, 0),
        (0x2_0002, 5, 3, 0),
    ] {
        let make = || {
            let mut ctx = Context::linux(ProgType::CgroupDevice, &[]).expect("a context");
            for (name, value) in [("access_type", access), ("major", major), ("minor", minor)] {
                ctx.set_field(name, value).expect("a field");
            }
            ctx
        };
        assert_eq!(run(&gate, make).0.retval, expected, "{access:#x} {major}:{minor}");
    }
}

#[test]
fn netfilter_programs_decide_without_their_packet() {
    let world = Arc::new(World::new().clock(Clock::starting_at(1_000_000_000)));
    let vm = Vm::linux().host(world.clone()).build();
    let limit = example(&vm, "netfilter", "limit");
    let packet = hex("netfilter", "ping.hex");
    let mut verdicts = Vec::new();
    for i in 0..6 {
        let mut ctx = Context::packet(ProgType::Netfilter, &packet).expect("a packet");
        verdicts.push(limit.run(&mut ctx, DEFAULT_FUEL).expect("it runs").retval);
        if i == 4 {
            world.advance(1_000_000_000);
        }
    }
    assert_eq!(verdicts, [1, 1, 1, 0, 0, 1]);
    let error = Context::packet(ProgType::Netfilter, &packet[..19]).unwrap_err().to_string();
    let expected = "programs of type netfilter take a packet of at least 20 bytes, its IP header; \
                    19 bytes were given";
    assert_eq!(error, expected);
}

fn assembled(vm: &Vm, prog_type: ProgType, text: &str) -> Arc<Instance> {
    let code = assemble(text, Dialect::PseudoC).expect("a program");
    let program = Program::from_code("test", prog_type, code);
    let accepted = vm.verify(program, &Default::default()).verdict.expect("accepted");
    vm.link_verified(accepted, &[]).expect("it links")
}

#[test]
fn clones_of_packets_are_in_the_outcome() {
    let text = "r6 = r1\nr2 = 1\nr3 = 0\ncall 13\nr1 = r6\nr2 = 4\nr3 = 0\ncall 43\nr1 = r6\nr2 = 1\n\
                r3 = 1\ncall 13\nexit";
    let instance = assembled(&Vm::linux().build(), ProgType::SchedCls, text);
    let packet = [9u8; 20];
    let make = || Context::packet(ProgType::SchedCls, &packet).expect("a packet");
    let (outcome, _) = run(&instance, make);
    let longer = [&[0; 4], &packet[..]].concat();
    let clone = |flags, packet: &[u8]| PacketClone { ifindex: 1, flags, packet: packet.to_vec() };
    assert_eq!(outcome.clones, [clone(0, &packet), clone(1, &longer)]);
    assert_eq!(outcome.retval, 0);
}

#[test]
fn the_socket_of_a_packet_is_in_the_cgroups_that_are_given() {
    let text = "r6 = r1\ncall 79\nr7 = r0\nr1 = r6\nr2 = 1\ncall 83\nr0 <<= 8\nr7 |= r0\nr1 = r6\n\
                call 151\nr0 <<= 16\nr0 |= r7\nexit";
    let world = World::new().cgroup_classid(5);
    let vm = Vm::linux().host(Arc::new(world)).build();
    let instance = assembled(&vm, ProgType::SchedCls, text);
    let mut ctx = Context::packet(ProgType::SchedCls, &[0; 20]).expect("a packet");
    // As the current task.
    assert_eq!(instance.run(&mut ctx, DEFAULT_FUEL).expect("it runs").retval, 0x5_0001);
    let ids: Vec<u8> = [1u64, 7, 9].iter().flat_map(|id| id.to_ne_bytes()).collect();
    ctx.set_bytes("cgroup_ids", &ids).expect("numbers");
    ctx.set_field("cgroup_classid", 3).expect("a class");
    assert_eq!(instance.run(&mut ctx, DEFAULT_FUEL).expect("it runs").retval, 0x3_0709);
    assert!(ctx.set_bytes("cgroup_ids", &ids[..9]).is_err());
}

#[test]
fn a_received_tunnel_is_seen_and_one_that_is_set_is_shown() {
    // The tunnel's id and its flags; then another is set.
    let text = "r6 = r1\nr2 = r10\nr2 += -48\nr3 = 44\nr4 = 16\ncall 20\nif r0 != 0 goto out\n\
                r7 = *(u32 *)(r10 - 48)\nr8 = *(u16 *)(r10 - 26)\n*(u16 *)(r10 - 26) = 0\n\
                *(u32 *)(r10 - 48) = 77\nr1 = r6\nr2 = r10\nr2 += -48\nr3 = 44\nr4 = 0\ncall 21\n\
                r8 <<= 16\nr0 = r7\nr0 |= r8\nout: exit";
    let instance = assembled(&Vm::linux().build(), ProgType::SchedCls, text);
    let mut key = [0; 44];
    key[0] = 5;
    key[4..8].copy_from_slice(&0x0a00_0001_u32.to_ne_bytes());
    key[22..24].copy_from_slice(&[0, 4]);
    let make = || {
        let mut ctx = Context::packet(ProgType::SchedCls, &[0; 20]).expect("a packet");
        ctx.set_bytes("tunnel_key", &key).expect("a key");
        ctx
    };
    let (outcome, ctx) = run(&instance, make);
    assert_eq!(outcome.retval, u64::from(u16::from_ne_bytes([0, 4])) << 16 | 5);
    let left = ctx.bytes("tunnel_key").expect("a key");
    assert_eq!((left[0], &left[4..8]), (77, &key[4..8]));
}

/// A program that looks the way up of an IPv4 packet to 10.a.b.c whose length is in the mark, and
/// gives the answer, the device that it goes to, and the last byte of the next hop and of its
/// address.
const LOOKUP: &str = "r6 = r1\n*(u64 *)(r10 - 64) = 2\n*(u64 *)(r10 - 56) = 1\n*(u64 *)(r10 - 48) = 0\n\
    *(u64 *)(r10 - 40) = 0\n*(u64 *)(r10 - 32) = 0\n*(u64 *)(r10 - 24) = 0\n*(u64 *)(r10 - 16) = 0\n\
    *(u64 *)(r10 - 8) = 0\nr0 = *(u32 *)(r6 + 8)\n*(u16 *)(r10 - 58) = r0\n\
    r0 = *(u32 *)(r6 + 48)\n*(u32 *)(r10 - 32) = r0\nr4 = *(u32 *)(r6 + 52)\n\
    r0 = *(u32 *)(r6 + 56)\n*(u32 *)(r10 - 16) = r0\nr1 = r6\nr2 = r10\nr2 += -64\nr3 = 64\ncall 69\n\
    r0 &= 255\nr1 = *(u8 *)(r10 - 56)\nr1 <<= 8\nr0 |= r1\nr1 = *(u8 *)(r10 - 29)\nr1 <<= 16\nr0 |= r1\n\
    r1 = *(u8 *)(r10 - 1)\nr1 <<= 24\nr0 |= r1\nexit";

#[test]
fn ways_are_looked_up_in_the_routes_of_the_host() {
    let ip = |text: &str| text.parse::<IpAddr>().expect("an address");
    let device = |ifindex, mtu| Device {
        forwards_ipv4: true,
        mtu,
        mac: [ifindex as u8; 6],
        addresses: vec![ip("10.0.0.1")],
        ..Device::new(ifindex)
    };
    let route = |network: &str, prefix, kind| Route { kind, ..Route::new(ip(network), prefix, 2) };
    let network = Network {
        devices: vec![device(1, 65536), device(2, 1500), Device::new(3)],
        routes: vec![
            route("10.0.0.0", 24, RouteKind::Unicast),
            Route { gateway: Some(ip("10.0.0.254")), ..route("10.1.0.0", 16, RouteKind::Unicast) },
            route("10.2.0.0", 16, RouteKind::Blackhole),
            route("10.3.0.0", 16, RouteKind::Unreachable),
            route("10.4.0.0", 16, RouteKind::Prohibit),
            route("10.5.0.0", 16, RouteKind::Local),
            Route { encapsulates: true, ..route("10.6.0.0", 16, RouteKind::Unicast) },
            Route { mtu: Some(600), ..route("10.7.0.0", 16, RouteKind::Unicast) },
            Route { table: 9, ..route("10.8.0.0", 16, RouteKind::Unicast) },
        ],
        neighbours: vec![
            Neighbour { ifindex: 2, address: ip("10.0.0.7"), mac: [0x77; 6] },
            Neighbour { ifindex: 2, address: ip("10.0.0.254"), mac: [0xfe; 6] },
        ],
        ..Network::default()
    };
    let mut rules = network.rules.clone();
    rules.insert(0, Rule { mark: 6, mask: u32::MAX, ..Rule::table(9) });
    let world = World::new().network(Network { rules, ..network });
    let vm = Vm::linux().host(Arc::new(world)).build();
    let instance = assembled(&vm, ProgType::SchedCls, LOOKUP);
    const SKIP_NEIGH: u64 = 4;
    const DIRECT_TABLE: u64 = 9;
    const MARK: u64 = 32;
    for (to, length, flags, extra, expected) in [
        ("10.0.0.7", 0, 0, 0, [0, 2, 7, 0x77]),
        ("10.0.0.8", 0, 0, 0, [7, 2, 8, 0]),
        ("10.0.0.8", 0, SKIP_NEIGH, 0, [0, 2, 8, 0]),
        ("10.1.2.3", 0, 0, 0, [0, 2, 254, 0xfe]),
        ("10.1.2.3", 1501, 0, 0, [8, 1, 3, 0]),
        ("10.2.0.1", 0, 0, 0, [1, 1, 1, 0]),
        ("10.3.0.1", 0, 0, 0, [2, 1, 1, 0]),
        ("10.4.0.1", 0, 0, 0, [3, 1, 1, 0]),
        ("10.5.0.1", 0, 0, 0, [4, 1, 1, 0]),
        ("10.6.0.1", 0, 0, 0, [6, 1, 1, 0]),
        ("10.7.0.1", 601, 0, 0, [8, 1, 1, 0]),
        ("10.7.0.1", 600, SKIP_NEIGH, 0, [0, 2, 1, 0]),
        ("10.8.0.1", 0, 0, 0, [4, 1, 1, 0]),
        ("10.8.0.1", 0, SKIP_NEIGH | DIRECT_TABLE, 9, [0, 2, 1, 0]),
        ("11.0.0.1", 0, 0, 0, [4, 1, 1, 0]),
        ("10.8.0.1", 0, SKIP_NEIGH | MARK, 0, [4, 1, 1, 0]),
    ] {
        let IpAddr::V4(address) = ip(to) else { continue };
        let make = || {
            let mut ctx = Context::packet(ProgType::SchedCls, &[0; 60]).expect("a packet");
            let address = u32::from_ne_bytes(address.octets());
            for (name, value) in
                [("mark", length), ("cb[0]", address.into()), ("cb[1]", flags), ("cb[2]", extra)]
            {
                ctx.set_field(name, value).expect("a field");
            }
            ctx
        };
        let found = (run(&instance, make).0.retval as u32).to_le_bytes();
        assert_eq!(found, expected, "{to} {length} {flags}");
    }
    // The device that it arrives at does not forward, or there is none.
    let other = |ifindex: u32| {
        let text = LOOKUP.replace("(r10 - 56) = 1", &format!("(r10 - 56) = {ifindex}"));
        let instance = assembled(&vm, ProgType::SchedCls, &text);
        let make = || Context::packet(ProgType::SchedCls, &[0; 60]).expect("a packet");
        run(&instance, make).0.retval as u8
    };
    assert_eq!((other(3), other(4) as i8), (5, -19));
}
