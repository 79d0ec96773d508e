//! Programs that see sockets, on their contexts: the examples, judged and checked, and what they leave
//! to the host. The kernel test-runs none of these types but `sk_lookup`; what is expected is derived
//! from `net/core/filter.c` and `net/core/sock_map.c`.

use ebpfvm::asm::text::{Dialect, assemble};
use ebpfvm::host::World;
use ebpfvm::host::world::Sockets;
use ebpfvm::loader::Object;
use ebpfvm::map::UpdateFlags;
use ebpfvm::socket::{IPPROTO_TCP, IPPROTO_UDP};
use ebpfvm::verifier::Options;
use ebpfvm::{Context, DEFAULT_FUEL, LoadOptions, Loaded, Redirect, Socket, TrapKind, Vm};
use ebpfvm_spec::{Errno, ProgType, Program};
use std::net::SocketAddr;
use std::sync::Arc;

fn loaded(name: &str) -> Loaded {
    let path = format!("{}/../examples/{name}/{name}.bpf.o", env!("CARGO_MANIFEST_DIR"));
    let object = Object::parse(&std::fs::read(&path).unwrap(), &path).unwrap();
    let options = LoadOptions { verify: Some(Options::default()), ..LoadOptions::default() };
    Loaded::with(&Vm::linux().build(), object, options).unwrap()
}

/// Runs a program of an example, which the verifier accepts, without and then with checks, on
/// contexts that `make` makes alike; the results of the last run.
fn run(
    loaded: &Loaded,
    program: &str,
    make: impl Fn() -> Context,
) -> (u64, Option<Redirect>, Context) {
    let instance = loaded.program(program).unwrap();
    assert!(instance.is_verified(), "{program}");
    let mut first = make();
    let fast = instance.run(&mut first, DEFAULT_FUEL).unwrap();
    let mut ctx = make();
    let checked = instance.run_checked(&mut ctx, DEFAULT_FUEL).unwrap();
    assert_eq!((fast.retval, &fast.redirect), (checked.retval, &checked.redirect), "{program}");
    assert_eq!((first.fields(), first.data_out()), (ctx.fields(), ctx.data_out()), "{program}");
    (checked.retval, checked.redirect, ctx)
}

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn ip4(text: &str) -> u64 {
    u32::from_ne_bytes(text.parse::<std::net::Ipv4Addr>().unwrap().octets()).into()
}

fn port(port: u16) -> u64 {
    u16::from_ne_bytes(port.to_be_bytes()).into()
}

fn tcp(local: &str, remote: &str) -> Arc<Socket> {
    Arc::new(Socket::connected(IPPROTO_TCP, at(local), at(remote)))
}

#[test]
fn an_address_is_rewritten_and_the_socket_marked() {
    let example = loaded("sock_addr");
    let socket = Arc::new(Socket::connected(IPPROTO_TCP, at("10.0.0.1:4000"), at("192.0.2.1:80")));
    socket.set_field("state", 7).unwrap();
    let context = |to: &str, number| {
        let mut ctx = Context::linux(ProgType::CgroupSockAddr, &[]).unwrap();
        ctx.set_socket("sk", Some(socket.clone())).unwrap();
        ctx.set_field("user_ip4", ip4(to)).unwrap();
        ctx.set_field("user_port", port(number)).unwrap();
        ctx
    };
    let (retval, _, ctx) = run(&example, "connect_moved", || context("192.0.2.1", 80));
    assert_eq!((retval, ctx.field("user_ip4")), (1, Ok(ip4("198.51.100.7"))));
    assert_eq!(ctx.field("user_port"), Ok(port(8080)));
    assert_eq!((ctx.field("user_family"), ctx.field("type")), (Ok(2), Ok(1)));
    assert_eq!(socket.field("mark"), Some(7));
    assert_eq!(socket.option_changes().len(), 2);
    let (_, _, ctx) = run(&example, "connect_moved", || context("192.0.2.2", 80));
    assert_eq!(ctx.field("user_ip4"), Ok(ip4("192.0.2.2")));
    let binds = |to, number| run(&example, "bind_high", || context(to, number)).0;
    assert_eq!((binds("10.0.0.1", 80), binds("127.0.0.1", 80), binds("10.0.0.1", 1024)), (0, 1, 1));
}

#[test]
fn contexts_that_contradict_their_hook_do_not_run() {
    let instance = loaded("sock_addr").program("connect_moved").unwrap();
    let refused = |fields: &[(&str, u64)]| {
        let mut ctx = Context::linux(ProgType::CgroupSockAddr, &[]).unwrap();
        fields.iter().for_each(|(name, value)| ctx.set_field(name, *value).unwrap());
        instance.run(&mut ctx, DEFAULT_FUEL).map(|_| ()).map_err(|trap| trap.kind)
    };
    let why = |text: &str| Err(TrapKind::Unsupported(text.into()));
    assert_eq!(
        refused(&[("user_family", 10)]),
        why("bpf_sock_addr.user_family is 10, but the program is for a hook of IPv4")
    );
    assert_eq!(
        refused(&[("user_ip6[2]", 1)]),
        why("bpf_sock_addr.user_ip6 is set in a context of IPv4")
    );
    assert_eq!(
        refused(&[("user_port", 65536)]),
        why("bpf_sock_addr.user_port is 65536; ports have 16 bits")
    );
    assert_eq!(refused(&[("user_port", 65535)]), Ok(()));
    let instance = loaded("sk_lookup").program("many_ports").unwrap();
    let mut ctx = Context::linux(ProgType::SkLookup, &[]).unwrap();
    let trap = instance.run(&mut ctx, DEFAULT_FUEL).unwrap_err();
    assert_eq!(Err(trap.kind), why("bpf_sk_lookup.family must be 2 (IPv4) or 10 (IPv6)"));
}

#[test]
fn a_new_socket_is_refused_or_marked() {
    let example = loaded("cgroup_sock");
    let socket = Arc::new(Socket::bound(IPPROTO_UDP, at("10.0.0.1:5000")));
    let context = || {
        let mut ctx = Context::linux(ProgType::CgroupSock, &[]).unwrap();
        ctx.set_socket("sk", Some(socket.clone())).unwrap();
        ctx
    };
    let (retval, _, ctx) = run(&example, "create", context);
    assert_eq!((retval, ctx.field("mark"), ctx.field("family")), (1, Ok(42), Ok(2)));
    let after = ctx.socket("sk").unwrap();
    assert_eq!((after.field("mark"), after.field("priority")), (Some(42), Some(3)));
    assert_eq!(run(&example, "after_bind", context).0, 0);
    socket.set_field("src_port", 6000).unwrap();
    assert_eq!(run(&example, "after_bind", context).0, 1);
    socket.set_field("type", 3).unwrap();
    assert_eq!(run(&example, "create", context).0, 0);
}

#[test]
fn events_of_tcp_fill_a_map_and_write_options() {
    let example = loaded("sock_ops");
    let socket = tcp("10.0.0.1:4000", "192.0.2.1:443");
    socket.set_field("snd_cwnd", 10).unwrap();
    let context = |op, header: &[u8], room| {
        let mut ctx = Context::linux(ProgType::SockOps, header).unwrap();
        ctx.set_field("op", op).unwrap();
        ctx.set_field("remaining_opt_len", room).unwrap();
        ctx.set_socket("sk", Some(socket.clone())).unwrap();
        ctx
    };
    let (_, _, ctx) = run(&example, "web_connections", || context(4, &[], 0));
    assert_eq!((ctx.field("snd_cwnd"), ctx.field("bpf_sock_ops_cb_flags")), (Ok(10), Ok(0x40)));
    assert_eq!(ctx.field("remote_port"), Ok(u32::from_ne_bytes([0, 0, 1, 187]).into()));
    let stored = example.map("web").unwrap().socket(&[0; 4]).unwrap();
    assert_eq!(stored.cookie(), socket.cookie());
    assert_eq!(socket.field("bpf_sock_ops_cb_flags"), Some(0x40));
    let (_, _, ctx) = run(&example, "web_connections", || context(14, &[], 12));
    assert_eq!(ctx.field("remaining_opt_len"), Ok(7));
    let mut header = [0; 20];
    header[12] = 0x70;
    header[13] = 0x12;
    let (_, _, ctx) = run(&example, "web_connections", || context(15, &header, 8));
    assert_eq!(ctx.packet_data().unwrap()[20..], [254, 5, 0xeb, 0x9f, 5]);
    assert_eq!((ctx.field("skb_len"), ctx.field("skb_tcp_flags")), (Ok(25), Ok(0x12)));
    assert_eq!(ctx.field("remaining_opt_len"), Ok(3));
}

#[test]
fn a_lookup_is_answered_from_a_map() {
    let example = loaded("sk_lookup");
    let server = Arc::new(Socket::bound(IPPROTO_TCP, at("10.0.0.1:7000")));
    let context = |number| {
        let mut ctx = Context::linux(ProgType::SkLookup, &[]).unwrap();
        for (name, value) in [("family", 2), ("protocol", 6), ("local_port", number)] {
            ctx.set_field(name, value).unwrap();
        }
        ctx
    };
    assert_eq!(run(&example, "many_ports", || context(7007)).0, 0);
    let map = example.map("servers").unwrap();
    map.set_socket(&[0; 4], server.clone(), UpdateFlags::ANY).unwrap();
    let (retval, _, ctx) = run(&example, "many_ports", || context(7007));
    assert_eq!((retval, ctx.selected_socket().map(|s| s.cookie())), (1, Some(server.cookie())));
    let (retval, _, ctx) = run(&example, "many_ports", || context(80));
    assert!(retval == 1 && ctx.selected_socket().is_none());
}

#[test]
fn one_of_a_group_is_chosen() {
    let example = loaded("sk_reuseport");
    let member = |group| {
        let socket = Arc::new(Socket::bound(IPPROTO_UDP, at("10.0.0.1:53")));
        socket.set_field("reuseport_group", group).unwrap();
        socket
    };
    let (here, other) = (member(1), member(2));
    let map = example.map("group").unwrap();
    map.set_socket(&0u32.to_ne_bytes(), here.clone(), UpdateFlags::ANY).unwrap();
    map.set_socket(&1u32.to_ne_bytes(), other, UpdateFlags::ANY).unwrap();
    let context = |payload| {
        let mut data = vec![0; 8];
        data.push(payload);
        let mut ctx = Context::linux(ProgType::SkReuseport, &data).unwrap();
        ctx.set_socket("sk", Some(here.clone())).unwrap();
        ctx
    };
    let chosen = |payload| {
        let (retval, _, ctx) = run(&example, "by_payload", || context(payload));
        assert_eq!(retval, 1);
        ctx.selected_socket().map(|socket| socket.cookie())
    };
    assert_eq!((chosen(0), chosen(1), chosen(2)), (Some(here.cookie()), None, None));
    let short = || {
        let mut ctx = Context::linux(ProgType::SkReuseport, &[0; 8]).unwrap();
        ctx.set_socket("sk", Some(here.clone())).unwrap();
        ctx
    };
    assert_eq!(run(&example, "by_payload", short).0, 0);
}

#[test]
fn a_message_gets_a_header_and_goes_to_its_peer() {
    let example = loaded("sk_msg");
    let (socket, peer) = (tcp("10.0.0.1:1", "10.0.0.2:99"), tcp("10.0.0.2:2", "10.0.0.1:1"));
    let context = |bytes: usize| {
        let mut ctx = Context::linux(ProgType::SkMsg, &vec![7; bytes]).unwrap();
        ctx.set_socket("sk", Some(socket.clone())).unwrap();
        ctx
    };
    assert_eq!(run(&example, "frame", || context(100)).0, 0);
    let key = u32::from_ne_bytes([0, 0, 0, 99]).to_ne_bytes();
    example.map("peers").unwrap().set_socket(&key, peer.clone(), UpdateFlags::ANY).unwrap();
    let (retval, redirect, ctx) = run(&example, "frame", || context(1500));
    let to = Redirect::Socket { map: "peers".into(), cookie: peer.cookie(), flags: 1 };
    assert_eq!((retval, redirect), (1, Some(to)));
    assert_eq!(ctx.packet_data().unwrap()[..5], [0, 0, 5, 0xdc, 7]);
    assert_eq!((ctx.field("size"), ctx.field("apply_bytes")), (Ok(1504), Ok(1000)));
    let (retval, redirect, ctx) = run(&example, "frame", || context(5));
    assert_eq!((retval, redirect, ctx.field("cork_bytes")), (1, None, Ok(8)));
}

#[test]
fn a_stream_goes_on_or_is_dropped() {
    let example = loaded("sk_skb");
    let backend = tcp("10.0.0.1:1", "10.0.0.2:99");
    let context = |data: &[u8]| Context::linux(ProgType::SkSkb, data).unwrap();
    assert_eq!(run(&example, "parser", || context(b"GET /")).0, 5);
    assert_eq!(run(&example, "verdict", || context(b"GET /")).0, 0);
    let map = example.map("backend").unwrap();
    map.set_socket(&[0; 4], backend.clone(), UpdateFlags::ANY).unwrap();
    let (retval, redirect, _) = run(&example, "verdict", || context(b"GET /"));
    let to = Redirect::Socket { map: "backend".into(), cookie: backend.cookie(), flags: 0 };
    assert_eq!((retval, redirect), (1, Some(to)));
    assert_eq!(run(&example, "verdict", || context(b"PUT /")).0, 0);
}

fn link(vm: &Vm, prog_type: ProgType, source: &str) -> Arc<ebpfvm::Instance> {
    let code = assemble(source, Dialect::PseudoC).unwrap_or_else(|e| panic!("{e}\n{source}"));
    vm.link(Program::from_code("test", prog_type, code), &[]).unwrap()
}

/// A world with a listener on port 80 whose queue overflows.
fn world() -> (Vm, Arc<Socket>) {
    let listener = Arc::new(Socket::bound(IPPROTO_TCP, at("10.0.0.1:80")));
    listener.set_field("syn_overflow", 1).unwrap();
    listener.set_cgroups(&[1, 20, 300]);
    let mut sockets = Sockets::default();
    sockets.add(listener.clone());
    (Vm::linux().host(Arc::new(World::new().sockets(sockets))).build(), listener)
}

/// Looks for a socket at 10.0.0.1:80; `r7` is what was found.
const FIND: &str = "r6 = r1
    *(u32 *)(r10 - 16) = 0x0200000a
    *(u32 *)(r10 - 12) = 0x0100000a
    *(u32 *)(r10 - 8) = 0x50000a00
    r1 = r6; r2 = r10; r2 += -16; r3 = 12; r4 = -1; r5 = 0; call 84; r7 = r0\n";

#[test]
fn only_what_was_acquired_is_released() {
    let (vm, _) = world();
    let packet = || Context::packet(ProgType::SchedCls, &[0; 64]).unwrap();
    let run = |rest: &str| {
        let instance = link(&vm, ProgType::SchedCls, &format!("{FIND}{rest}\nr0 = 0\nexit"));
        instance.run(&mut packet(), DEFAULT_FUEL).map(|outcome| outcome.retval)
    };
    assert_eq!(run("r1 = r7; call 86"), Ok(0));
    for wrong in [
        "r1 = r7; call 86; r1 = r7; call 86",
        "r1 = *(u64 *)(r6 + 168); call 86",
        "r1 = 0; call 86",
        "r1 = r10; call 86",
        "r1 = r7; r1 += 4; call 86",
        "r1 = r7; *(u32 *)(r7 + 4) = 1",
    ] {
        assert!(run(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn packets_are_assigned_to_sockets_on_their_way_in() {
    let (vm, listener) = world();
    let source = format!(
        "{FIND}r1 = r6; r2 = r7; r3 = 0; call 124; r8 = r0; r1 = r7; call 86; r0 = r8; exit"
    );
    let instance = link(&vm, ProgType::SchedCls, &source);
    let mut ctx = Context::packet(ProgType::SchedCls, &[0; 64]).unwrap();
    let assign = |ctx: &mut Context| instance.run(ctx, DEFAULT_FUEL).unwrap().retval;
    assert_eq!(assign(&mut ctx), Errno::EOPNOTSUPP.to_ret());
    ctx.set_field("at_ingress", 1).unwrap();
    assert_eq!(assign(&mut ctx), 0);
    assert_eq!(ctx.socket("sk").unwrap().cookie(), listener.cookie());
    // The pointer outlives the run that has set it.
    let source = "r1 = *(u64 *)(r1 + 168); r0 = *(u32 *)(r1 + 44); exit";
    let port = link(&vm, ProgType::SchedCls, source).run(&mut ctx, DEFAULT_FUEL).unwrap().retval;
    assert_eq!(port, 80);
    listener.set_field("netns_cookie", 9).unwrap();
    let mut sockets = Sockets::default();
    sockets.add(listener.clone());
    sockets.name_netns(3, 9);
    let vm = Vm::linux().host(Arc::new(World::new().sockets(sockets))).build();
    let source = source_with_netns(3);
    let far = link(&vm, ProgType::SchedCls, &source);
    assert_eq!(far.run(&mut ctx, DEFAULT_FUEL).unwrap().retval, Errno::ENETUNREACH.to_ret());
}

fn source_with_netns(id: u32) -> String {
    let find = FIND.replace("r4 = -1", &format!("r4 = {id}"));
    format!("{find}r1 = r6; r2 = r7; r3 = 0; call 124; exit")
}

#[test]
fn a_cookie_that_was_made_is_recognised_and_no_other() {
    let (vm, listener) = world();
    // The IP header at -64, the TCP header at -40; the cookie becomes the acknowledged number.
    let source = |make: &str, change: &str| {
        format!(
            "{FIND}
            *(u64 *)(r10 - 64) = 0x45; *(u64 *)(r10 - 56) = 0; *(u64 *)(r10 - 48) = 0
            *(u64 *)(r10 - 40) = 0; *(u64 *)(r10 - 32) = 0; *(u64 *)(r10 - 24) = 0
            *(u32 *)(r10 - 36) = 0x00010000; *(u16 *)(r10 - 28) = 0x0250
            {make}
            if r0 s< 0 goto out
            r8 = r0; w8 = w8; r8 += 1; r8 = be32 r8; *(u32 *)(r10 - 32) = r8
            *(u32 *)(r10 - 36) = 0x01010000; *(u16 *)(r10 - 28) = 0x1050
            r8 = r0; r8 >>= 32
            {change}
            r1 = r7; r2 = r10; r2 += -64; r3 = 20; r4 = r10; r4 += -40; r5 = 20; call 100
            if r0 != 0 goto out
            r0 = r8
            out: exit"
        )
    };
    let run_made_by = |make: &str, change: &str| {
        let instance = link(&vm, ProgType::Xdp, &source(make, change));
        let mut ctx = Context::packet(ProgType::Xdp, &[0; 64]).unwrap();
        instance.run(&mut ctx, DEFAULT_FUEL).unwrap().retval
    };
    let by_listener =
        "r1 = r7; r2 = r10; r2 += -64; r3 = 20; r4 = r10; r4 += -40; r5 = 20; call 110";
    let of_headers = "r1 = r10; r1 += -64; r2 = r10; r2 += -40; r3 = 20; call 204";
    let run = |change: &str| run_made_by(by_listener, change);
    assert_eq!((run(""), run_made_by(of_headers, "")), (536, 536));
    let unknown = Errno::ENOENT.to_ret();
    assert_eq!(run("*(u8 *)(r10 - 49) = 1"), unknown, "another address");
    assert_eq!(run("*(u8 *)(r10 - 29) = 9"), unknown, "another number");
    listener.set_field("syn_overflow", 0).unwrap();
    assert_eq!(run(""), unknown, "nothing overflows");
}

#[test]
fn sockets_are_in_cgroups() {
    let (vm, _) = world();
    let run = |rest: &str| {
        let source = format!("{FIND}{rest}; r8 = r0; r1 = r7; call 86; r0 = r8; exit");
        let mut ctx = Context::packet(ProgType::CgroupSkb, &[0; 64]).unwrap();
        link(&vm, ProgType::CgroupSkb, &source).run(&mut ctx, DEFAULT_FUEL).unwrap().retval
    };
    assert_eq!(run("r1 = r7; call 128"), 300);
    let ancestors = [0, 1, 2, 3, -1].map(|level| run(&format!("r1 = r7; r2 = {level}; call 129")));
    assert_eq!(ancestors, [1, 20, 300, 0, 0]);
}

#[test]
fn a_connection_is_bound_before_it_is_made() {
    let socket = Arc::new(Socket::bound(IPPROTO_TCP, at("0.0.0.0:0")));
    socket.set_field("state", 7).unwrap();
    let source = |family: u16, ip: u32, bytes: u32| {
        format!(
            "*(u64 *)(r10 - 16) = 0; *(u64 *)(r10 - 8) = 0; *(u16 *)(r10 - 16) = {family}
             *(u32 *)(r10 - 12) = {ip:#x}; r2 = r10; r2 += -16; r3 = {bytes}; call 64; exit"
        )
    };
    let vm = Vm::linux().build();
    let bind = |family, ip, bytes| {
        let mut ctx = Context::linux(ProgType::CgroupSockAddr, &[]).unwrap();
        ctx.set_socket("sk", Some(socket.clone())).unwrap();
        let instance = link(&vm, ProgType::CgroupSockAddr, &source(family, ip, bytes));
        instance.run(&mut ctx, DEFAULT_FUEL).unwrap().retval
    };
    assert_eq!(bind(2, 0x0300_007f, 15), Errno::EINVAL.to_ret());
    assert_eq!(bind(1, 0x0300_007f, 16), Errno::EAFNOSUPPORT.to_ret());
    assert_eq!(bind(2, 0x0300_000a, 16), Errno::EADDRNOTAVAIL.to_ret());
    assert_eq!(bind(2, 0x0300_007f, 16), 0);
    assert_eq!(socket.local(), Some(at("127.0.0.3:0")));
    socket.set_field("src_port", 9).unwrap();
    assert_eq!(bind(2, 0x0300_007f, 16), Errno::EINVAL.to_ret());
}

#[test]
fn options_of_headers_are_found() {
    let mut header = vec![0; 20];
    header.extend([1, 2, 4, 5, 180, 254, 5, 0xeb, 0x9f, 7, 0, 0]);
    let vm = Vm::linux().build();
    let load = |op: u64, header: &[u8], search: u64, len: u32, flags: u32| {
        let mut ctx = Context::linux(ProgType::SockOps, header).unwrap();
        ctx.set_field("op", op).unwrap();
        ctx.set_socket("sk", Some(tcp("10.0.0.1:1", "10.0.0.2:2"))).unwrap();
        let source = format!(
            "r6 = {search:#x} ll; *(u64 *)(r10 - 8) = r6; r2 = r10; r2 += -8; r3 = {len}; r4 = {flags}
             call 142; r1 = *(u64 *)(r10 - 8); r0 <<= 32; w1 = w1; r0 |= r1; exit"
        );
        let retval = link(&vm, ProgType::SockOps, &source).run(&mut ctx, DEFAULT_FUEL);
        let retval = retval.unwrap().retval;
        ((retval >> 32) as i32, (retval as u32).to_le_bytes())
    };
    assert_eq!(load(13, &header, 2, 8, 0), (4, [2, 4, 5, 180]));
    assert_eq!(load(13, &header, 0x9feb_04fe, 8, 0), (5, [254, 5, 0xeb, 0x9f]));
    assert_eq!(load(13, &header, 2, 3, 0), (-28, [2, 4, 5, 0]));
    assert_eq!(load(13, &header, 3, 8, 0).0, -42);
    assert_eq!(load(13, &header, 1, 8, 0).0, -22);
    assert_eq!(load(13, &header, 2, 8, 2).0, -22);
    assert_eq!(load(13, &header, 2, 8, 1).0, -2);
    assert_eq!(load(14, &header, 2, 8, 0).0, -1);
    assert_eq!(load(13, &[], 2, 8, 0).0, -1);
    assert_eq!(load(16, &header, 2, 8, 0).0, -95);
    header[22] = 30;
    assert_eq!(load(13, &header, 9, 8, 0).0, -14);
}
