//! Programs that read and write headers of segment routing, with the routes that the host gives.
//! Each runs without checks and with them, which must give the same.

use ebpfvm::host::world::Network;
use ebpfvm::host::{Device, Route, RouteKind, World};
use ebpfvm::{Context, DEFAULT_FUEL, Instance, Vm};
use ebpfvm_asm::text::{Dialect, assemble};
use ebpfvm_spec::{ProgType, Program};
use std::sync::Arc;

/// What helpers answer.
const ENOENT: i32 = -2;
const EACCES: i32 = -13;
const EFAULT: i32 = -14;
const EINVAL: i32 = -22;
const EBADMSG: i32 = -74;
const ENETUNREACH: i32 = -101;

/// Numbers of headers.
const UDP: u8 = 17;
const IPV6: u8 = 41;
const ROUTING: u8 = 43;

/// Actions of `lwt_seg6_action`.
const END_X: u32 = 2;
const END_T: u32 = 3;
const END_DT6: u32 = 7;
const END_B6: u32 = 9;
const END_B6_ENCAP: u32 = 10;

/// 2001:db8::`last`
fn segment(last: u8) -> [u8; 16] {
    [0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]
}

/// An IPv6 packet from :: behind an Ethernet header, with these headers after its own.
fn ipv6(to: [u8; 16], next: u8, rest: &[u8]) -> Vec<u8> {
    let mut packet = vec![0; 14 + 40];
    packet[12..16].copy_from_slice(&[0x86, 0xdd, 0x61, 0x23]);
    packet[18..22].copy_from_slice(&[0, rest.len() as u8, next, 33]);
    packet[38..54].copy_from_slice(&to);
    packet.extend_from_slice(rest);
    packet
}

/// A header of segments to these addresses, the last first.
fn header(next: u8, left: u8, segments: &[[u8; 16]], tlvs: &[u8]) -> Vec<u8> {
    let length = (segments.len() * 2 + tlvs.len() / 8) as u8;
    let first = [next, length, 4, left, segments.len() as u8 - 1, 0, 0, 0];
    [&first[..], &segments.concat(), tlvs].concat()
}

/// A machine with a way to 2001:db8::/32 by device 2, in table 9 none that is allowed; 2001:db8::1
/// is its own.
fn routed() -> Vm {
    let network = "2001:db8::".parse().expect("an address");
    let own = "2001:db8::1".parse().expect("an address");
    let routes = vec![
        Route::new(network, 32, 2),
        Route { kind: RouteKind::Local, table: Route::LOCAL, ..Route::new(own, 128, 1) },
        Route { kind: RouteKind::Prohibit, table: 9, ..Route::new(network, 32, 2) },
    ];
    let device = Device { addresses: vec![own], ..Device::new(2) };
    let network =
        Network { routes, devices: vec![Device::loopback(), device], ..Default::default() };
    Vm::linux().host(Arc::new(World::new().network(network))).build()
}

/// A program that makes these calls and writes what they give into an array of its own, until one
/// fails; it returns the last answer.
#[derive(Default)]
struct Calls(String);

impl Calls {
    /// Calls a helper with the context, a number and these bytes.
    fn with_bytes(mut self, helper: u32, number: u32, bytes: &[u8]) -> Calls {
        use std::fmt::Write as _;
        let start = bytes.len().next_multiple_of(8);
        for (i, chunk) in bytes.chunks(8).enumerate() {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            let (value, at) = (u64::from_le_bytes(word), start - 8 * i);
            let _ = writeln!(self.0, "r0 = {value:#x} ll\n*(u64 *)(r10 - {at}) = r0");
        }
        let len = bytes.len();
        let _ = writeln!(self.0, "r1 = r6\nr2 = {number}\nr3 = r10\nr3 += -{start}\nr4 = {len}");
        self.call(helper)
    }

    fn store(self, at: u32, bytes: &[u8]) -> Calls {
        self.with_bytes(74, at, bytes)
    }

    fn adjust(mut self, at: u32, delta: i32) -> Calls {
        self.0 += &format!("r1 = r6\nr2 = {at}\nr3 = {delta}\n");
        self.call(75)
    }

    fn act(self, action: u32, param: &[u8]) -> Calls {
        self.with_bytes(76, action, param)
    }

    fn push(self, how: u32, header: &[u8]) -> Calls {
        self.with_bytes(73, how, header)
    }

    fn call(mut self, helper: u32) -> Calls {
        self.0 += &format!("call {helper}\nif w0 != 0 goto out\n");
        self
    }

    /// The last answer and the packet.
    fn run(&self, vm: &Vm, prog_type: ProgType, packet: &[u8]) -> (i32, Vec<u8>) {
        let text = format!("r6 = r1\nr0 = 0\n{}out: exit", self.0);
        let code = assemble(&text, Dialect::PseudoC).expect("a program");
        let program = Program::from_code("test", prog_type, code);
        let accepted = vm.verify(program, &Default::default()).verdict.expect("accepted");
        let instance = vm.link_verified(accepted, &[]).expect("it links");
        assert!(instance.is_verified());
        let with = |run: fn(&Instance, &mut Context, u64) -> Result<_, _>| {
            let mut ctx = Context::packet(prog_type, packet).expect("a packet");
            let outcome: ebpfvm::Outcome = run(&instance, &mut ctx, DEFAULT_FUEL).expect("it runs");
            let bytes = ctx.packet_data().map(|data| data.len() as u64 - 14);
            assert_eq!(ctx.field("len").ok(), bytes);
            (outcome.retval as i32, ctx.packet_data().unwrap_or_default().to_vec())
        };
        let result = with(Instance::run);
        assert_eq!(result, with(Instance::run_checked));
        result
    }

    fn at_segment(&self, packet: &[u8]) -> (i32, Vec<u8>) {
        self.run(&routed(), ProgType::LwtSeg6local, packet)
    }

    fn on_arrival(&self, packet: &[u8]) -> (i32, Vec<u8>) {
        self.run(&routed(), ProgType::LwtIn, packet)
    }
}

/// A packet that has two segments and is on its way to the last.
fn routed_packet(tlvs: &[u8]) -> Vec<u8> {
    let header = header(UDP, 0, &[segment(5), segment(6)], tlvs);
    ipv6(segment(5), ROUTING, &[&header[..], &[1; 8]].concat())
}

#[test]
fn headers_grow_and_shrink_and_their_length_is_written_afterwards() {
    let packet = routed_packet(&[]);
    let grown = Calls::default().adjust(80, 8).store(80, &[5, 6]);
    assert_eq!(grown.at_segment(&packet), (0, routed_packet(&[5, 6, 0, 0, 0, 0, 0, 0])));
    let back = grown.adjust(80, -8);
    assert_eq!(back.at_segment(&packet), (0, packet.clone()));
    // Behind the end, before the segments' end, more than there is.
    for (at, delta) in [(81, 8), (79, 8), (80, -1), (80, i32::MIN), (u32::MAX, 1)] {
        let got = Calls::default().adjust(at & 0x7fff_ffff, delta).at_segment(&packet);
        assert_eq!(got, (EFAULT, packet.clone()), "{at} {delta}");
    }
    let too_long = Calls::default().adjust(80, 70_000).at_segment(&packet);
    assert_eq!(too_long, (-12, packet.clone()));
    // What is left is no header: the kernel would drop the packet.
    let wrong = Calls::default().adjust(80, 8).store(80, &[5, 7]).act(END_T, &[0; 4]);
    assert_eq!(wrong.at_segment(&packet).0, EBADMSG);
    let odd = Calls::default().adjust(80, 4).act(END_T, &[0; 4]);
    assert_eq!(odd.at_segment(&packet).0, EBADMSG);
}

#[test]
fn flags_tags_and_what_follows_the_segments_can_be_written() {
    let packet = routed_packet(&[5, 6, 0, 0, 0, 0, 0, 0]);
    let got = Calls::default().store(45, &[1, 2, 3]).store(82, &[9; 6]).at_segment(&packet);
    let mut expected = packet.clone();
    expected[14 + 45..14 + 48].copy_from_slice(&[1, 2, 3]);
    expected[14 + 82..14 + 88].fill(9);
    assert_eq!(got, (0, expected));
    for (at, bytes) in [(44, 1), (47, 2), (48, 1), (71, 2), (87, 2), (0x7fff_ffff, 8)] {
        let got = Calls::default().store(at, &[7; 8][..bytes]).at_segment(&packet);
        assert_eq!(got, (EFAULT, packet.clone()), "{at} {bytes}");
    }
}

#[test]
fn packets_without_a_header_of_segments_have_none_to_change() {
    let plain = ipv6(segment(5), UDP, &[1; 8]);
    let mut wrong = routed_packet(&[]);
    wrong[14 + 42] = 3;
    for packet in [&plain, &wrong] {
        assert_eq!(Calls::default().store(45, &[1]).at_segment(packet).0, EINVAL);
        assert_eq!(Calls::default().adjust(80, 8).at_segment(packet).0, EINVAL);
        let act = |action, param: &[u8]| Calls::default().act(action, param).at_segment(packet).0;
        assert_eq!(act(END_X, &segment(7)), EBADMSG);
        assert_eq!(act(END_DT6, &[0; 4]), EBADMSG);
        assert_eq!(act(END_B6, &[0; 8]), EINVAL);
        assert_eq!(act(1, &[0; 8]), EINVAL);
    }
}

#[test]
fn actions_ask_the_host_for_a_way() {
    let packet = routed_packet(&[]);
    let act = |action, param: &[u8]| Calls::default().act(action, param).at_segment(&packet);
    assert_eq!(act(END_X, &segment(7)), (0, packet.clone()));
    assert_eq!(act(END_X, &segment(1)).0, EINVAL, "its own address");
    assert_eq!(act(END_X, &[0xff; 16]).0, ENETUNREACH);
    assert_eq!(act(END_X, &[0; 4]).0, EINVAL);
    assert_eq!(act(END_T, &[0; 4]).0, 0);
    assert_eq!(act(END_T, &9u32.to_ne_bytes()).0, EACCES);
    assert_eq!(act(END_T, &[0; 8]).0, EINVAL);
    assert_eq!(act(END_DT6, &[0; 4]).0, EBADMSG, "no packet inside");
    let nowhere = Vm::linux().build();
    let calls = Calls::default().act(END_T, &[0; 4]);
    assert_eq!(calls.run(&nowhere, ProgType::LwtSeg6local, &packet).0, ENETUNREACH);
}

#[test]
fn what_is_inside_comes_out() {
    let inner = ipv6(segment(8), UDP, &[1; 8]);
    let header = header(IPV6, 0, &[segment(5)], &[]);
    let packet = ipv6(segment(5), ROUTING, &[&header[..], &inner[14..]].concat());
    let out = Calls::default().act(END_DT6, &[0; 4]);
    assert_eq!(out.at_segment(&packet), (0, inner.clone()));
    assert_eq!(Calls(out.0).store(45, &[1]).at_segment(&packet), (EINVAL, inner));
}

#[test]
fn headers_are_put_into_and_before_packets() {
    let packet = ipv6(segment(8), UDP, &[1; 8]);
    let new = header(0, 1, &[[0; 16], segment(7)], &[]);
    let inside = header(UDP, 1, &[segment(8), segment(7)], &[]);
    let inside = ipv6(segment(7), ROUTING, &[&inside[..], &[1; 8]].concat());
    assert_eq!(Calls::default().push(1, &new).on_arrival(&packet), (0, inside.clone()));
    assert_eq!(Calls::default().act(END_B6, &new).at_segment(&packet), (0, inside.clone()));
    // The header is then the packet's own.
    let tagged = Calls::default().act(END_B6, &new).store(46, &[1, 2]).at_segment(&packet);
    let mut expected = inside;
    expected[14 + 46..14 + 48].copy_from_slice(&[1, 2]);
    assert_eq!(tagged, (0, expected));

    let before = header(IPV6, 1, &[[0; 16], segment(7)], &[]);
    let mut before = ipv6(segment(7), ROUTING, &[&before[..], &packet[14..]].concat());
    before[14 + 8..14 + 24].copy_from_slice(&segment(1));
    assert_eq!(Calls::default().push(0, &new).on_arrival(&packet), (0, before.clone()));
    assert_eq!(Calls::default().act(END_B6_ENCAP, &new).at_segment(&packet), (0, before));
}

#[test]
fn headers_that_cannot_be_put_are_refused() {
    let packet = ipv6(segment(8), UDP, &[1; 8]);
    let good = header(0, 0, &[segment(7)], &[]);
    let mut wrong = good.clone();
    wrong[1] = 3;
    assert_eq!(Calls::default().push(1, &wrong).on_arrival(&packet), (EINVAL, packet.clone()));
    let out = Calls::default().push(1, &good).run(&routed(), ProgType::LwtXmit, &packet);
    assert_eq!(out, (EINVAL, packet.clone()));
    let mut ipv4 = packet.clone();
    ipv4[12..14].copy_from_slice(&[8, 0]);
    assert_eq!(Calls::default().push(1, &good).on_arrival(&ipv4), (EBADMSG, ipv4.clone()));
    // Before a packet of IPv4 goes one with a hop limit of its own.
    let (answer, changed) = Calls::default().push(0, &good).on_arrival(&ipv4);
    assert_eq!((answer, &changed[14..22]), (0, &[0x60, 0, 0, 0, 0, 72, ROUTING, 64][..]));
    // There is no key to sign with.
    let mut signed = header(0, 0, &[segment(7)], &[&[5, 38][..], &[0xff; 38]].concat());
    signed[5] = 8;
    let (answer, changed) = Calls::default().push(1, &signed).on_arrival(&packet);
    assert_eq!(answer, ENOENT);
    assert_eq!(changed[14 + 64..14 + 72], [5, 38, 255, 255, 255, 255, 255, 255]);
    assert_eq!(changed[14 + 72..14 + 104], [0; 32]);
    signed[24] = 6;
    assert_eq!(Calls::default().push(1, &signed).on_arrival(&packet).0, EINVAL);
    // A packet whose own header is wrong gets no other.
    let calls = Calls::default().adjust(80, 4).act(END_B6, &good);
    assert_eq!(calls.at_segment(&routed_packet(&[])).0, EBADMSG);
}
