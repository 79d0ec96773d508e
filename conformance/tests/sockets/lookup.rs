//! Lookups by address, what is seen of the sockets found, and what helpers say of them.

use crate::kernel;
use crate::program::{Case, save};
use crate::world::{Pairs, Random};
use ebpfvm::Context;
use ebpfvm_kernel::TestRun;
use ebpfvm_spec::ProgType;
use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

/// Offsets of `struct bpf_sock` that every socket shows, and those of full ones. Which queue a packet
/// was received from (76) depends on when it came.
const COMMON: &[u32] = &[0, 4, 24, 28, 32, 36, 40, 44, 48, 52, 56, 60, 64, 68, 72];
const FULL: &[u32] = &[8, 12, 16, 20];

/// The helpers that find sockets.
const TCP: u32 = 84;
const UDP: u32 = 85;
const COMMON_TCP: u32 = 99;

/// A lookup and what is asked of its result.
#[derive(Debug)]
struct Query {
    prog_type: ProgType,
    helper: u32,
    tuple: Vec<u8>,
    size: usize,
    netns: u64,
    flags: u64,
}

impl Query {
    fn random(random: &Random, pairs: &Pairs) -> Query {
        let socket = random.of(&pairs.here);
        let (own, far) = (socket.local().expect("of IP"), socket.remote());
        let other: SocketAddr = random.of(&[
            ([127, 0, 0, 1], 4242).into(),
            ([127, 0, 0, 2], 80).into(),
            ([10, 1, 2, 3], 1).into(),
            ([0, 0, 0, 0, 0, 0, 0, 1], 4242).into(),
            ([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1], 9).into(),
        ]);
        let v6 = match random.below(6) {
            0 => random.below(2) == 1,
            _ => own.is_ipv6() && !own.ip().to_canonical().is_ipv4(),
        };
        let port = |address: SocketAddr| match random.below(8) {
            0 => other.port(),
            _ => address.port(),
        };
        let ip = |address: IpAddr| match random.below(6) {
            0 => other.ip(),
            1 if v6 => [0u16, 0, 0, 0, 0, 0, 0, 1].into(),
            1 => [127, 0, 0, 1].into(),
            _ => address,
        };
        let far = far.unwrap_or(other);
        let (local, remote) = (ip(own.ip()), ip(far.ip()));
        let mut tuple = Vec::new();
        for address in [remote, local] {
            match (address.to_canonical(), v6) {
                (IpAddr::V4(ip), false) => tuple.extend(ip.octets()),
                (IpAddr::V4(ip), true) => tuple.extend(ip.to_ipv6_mapped().octets()),
                (IpAddr::V6(ip), true) => tuple.extend(ip.octets()),
                (IpAddr::V6(_), false) => tuple.extend([127, 0, 0, 1]),
            }
        }
        tuple.extend(port(far).to_be_bytes());
        tuple.extend(port(own).to_be_bytes());
        let size = match random.below(12) {
            0 => random.of(&[0, 1, 11, 13, 35, 37, 36, 12]),
            _ => tuple.len(),
        };
        let prog_type = random.of(&[ProgType::SchedCls, ProgType::Xdp, ProgType::CgroupSkb]);
        let netns = match random.below(8) {
            0 => random.of(&[0, 1, 0x7fff_ffff, 1 << 31, 1 << 32, 0xffff_ffff_0000_0000]),
            _ => random.of(&[u64::MAX, 0xffff_ffff]),
        };
        let flags = random.of(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1 << 40]);
        let helper = random.of(&[TCP, UDP, COMMON_TCP]);
        Query { prog_type, helper, tuple, size, netns, flags }
    }

    fn case(&self) -> Case {
        let Query { helper, size, netns, flags, .. } = self;
        let mut source = format!(
            "r1 = r6\nr2 = r9\nr3 = {size}\nr4 = {netns:#x} ll\nr5 = {flags:#x} ll\ncall {helper}\n\
             if r0 == 0 goto out\nr7 = r0\nr1 = 1\n{}",
            save("r1", 0)
        );
        let full = if *helper == COMMON_TCP { &[][..] } else { FULL };
        let mut result = 1;
        for offset in COMMON.iter().chain(full) {
            let _ = write!(source, "r1 = *(u32 *)(r7 + {offset})\n{}", save("r1", result));
            result += 1;
        }
        if self.prog_type != ProgType::Xdp {
            // sk_fullsock, tcp_sock, get_listener_sock
            for cast in [95, 96, 98] {
                let stored = save("r1", result);
                let _ = write!(
                    source,
                    "r1 = r7\ncall {cast}\nr1 = 0\nif r0 == 0 goto no{cast}\nr1 = 1\nno{cast}:\n{stored}"
                );
                result += 1;
            }
        }
        if self.prog_type == ProgType::SchedCls {
            // sk_assign, which a test-run does not allow, without and with flags.
            for flags in [0, 1] {
                let stored = save("r0", result);
                let _ = write!(source, "r1 = r6\nr2 = r7\nr3 = {flags}\ncall 124\n{stored}");
                result += 1;
            }
        }
        if self.prog_type != ProgType::CgroupSkb {
            // tcp_check_syncookie, tcp_gen_syncookie on headers of several lengths.
            for (call, ip, tcp) in [
                (100, 20, 20),
                (100, 40, 20),
                (100, 19, 20),
                (100, 20, 19),
                (110, 20, 20),
                (110, 40, 24),
                (110, 19, 20),
                (110, 20, 19),
            ] {
                let stored = save("r0", result);
                let _ = write!(
                    source,
                    "r1 = r7\nr2 = r9\nr2 += 40\nr3 = {ip}\nr4 = r9\nr4 += 80\nr5 = {tcp}\ncall {call}\n{stored}"
                );
                result += 1;
            }
        } else {
            // sk_cgroup_id differs from host to host; its ancestors at impossible levels do not.
            for level in [0, -1, 1000] {
                let stored = save("r0", result);
                let _ = write!(source, "r1 = r7\nr2 = {level}\ncall 129\n{stored}");
                result += 1;
            }
        }
        source.push_str("r1 = r7\ncall 86\nout:\nr0 = 1\nexit\n");
        Case { prog_type: self.prog_type, source }
    }
}

#[test]
fn sockets_are_found_and_seen_as_in_the_kernel() {
    let test = "sockets_are_found_and_seen_as_in_the_kernel";
    let Some(kernel) = kernel(test) else { return };
    let (pairs, random) = (Pairs::make(), Random::new(5));
    let vms = pairs.vms();
    let packet = [0u8; 64];
    let (mut found, mut differences) = (0, String::new());
    const QUERIES: usize = 3000;
    for _ in 0..QUERIES {
        let query = Query::random(&random, &pairs);
        let mut input = query.tuple.clone();
        input.resize(40, 0);
        input.extend(random.bytes(64));
        // A header of either version, or of none, and one with the length that it says.
        input[40] = random.of(&[0x45, 0x60, 0x45, 0x60, 0x10]);
        input[92] = random.of(&[0x50, 0x60]);
        input[93] = random.of(&[2, 0x10, 0x12, 0, 4, 3]);
        let case = query.case();
        let run = TestRun { data_in: &packet, ..TestRun::default() };
        let theirs = case.in_kernel(&kernel, &[], &input, &run);
        let context = || Context::packet(query.prog_type, &packet).expect("a packet");
        let ours = case.here(&vms, &[], &input, context);
        if theirs != ours {
            let _ = writeln!(differences, "{query:?}\n  kernel {theirs:?}\n  here   {ours:?}");
        }
        found += usize::from(theirs.is_ok_and(|ran| ran.results[0] == 1));
    }
    let shown: String = differences.lines().take(24).map(|line| format!("{line}\n")).collect();
    let count = differences.lines().count() / 3;
    assert!(count == 0, "{count} of {QUERIES} queries differ\n{shown}");
    assert!(found > QUERIES / 4, "only {found} of {QUERIES} queries find a socket");
    eprintln!("{QUERIES} queries, {found} find a socket");
}

#[test]
fn packets_of_a_test_run_have_the_kernels_socket() {
    let test = "packets_of_a_test_run_have_the_kernels_socket";
    let Some(kernel) = kernel(test) else { return };
    let packet = [0u8; 64];
    let vms = Pairs::make().vms();
    for prog_type in [ProgType::SchedCls, ProgType::SocketFilter, ProgType::CgroupSkb] {
        // There is a cookie, an owner, a namespace, which is the first; all that the pointer shows.
        let mut source = format!(
            "r1 = r6\ncall 46\nr1 = 0\nif r0 == 0 goto none\nr1 = 1\nnone:\n{}\
             r1 = r6\ncall 47\n{}r1 = r6\ncall 122\nr8 = r0\nr1 = 0\ncall 122\nr8 -= r0\n{}\
             r7 = *(u64 *)(r6 + 168)\nif r7 == 0 goto out\nr1 = 1\n{}",
            save("r1", 0),
            save("r0", 1),
            save("r8", 2),
            save("r1", 3),
        );
        for (i, offset) in COMMON.iter().enumerate() {
            let _ = write!(source, "r1 = *(u32 *)(r7 + {offset})\n{}", save("r1", 4 + i));
        }
        source.push_str("out:\nr0 = 1\nexit\n");
        let case = Case { prog_type, source };
        let run = TestRun { data_in: &packet, ..TestRun::default() };
        let theirs = case.in_kernel(&kernel, &[], &[], &run).expect("the kernel runs it");
        let context = || Context::packet(prog_type, &packet).expect("a packet");
        let ours = case.here(&vms, &[], &[], context).expect("it runs here");
        assert_eq!(ours, theirs, "{}", prog_type.name());
    }
}
