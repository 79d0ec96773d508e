//! Packets that programs did not expect: mutations of ones that they did.

/// A sequence of numbers that is the same each time (xorshift64*).
pub(crate) struct Numbers(pub u64);

impl Numbers {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        ((self.next() >> 32) as usize * bound) >> 32
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }
}

/// The smallest packet that a test-run takes.
const MIN_BYTES: usize = 14;
/// The largest packet made here.
const MAX_BYTES: usize = 1600;
/// Where the IPv4 or IPv6 header begins in an untagged frame.
const L3: usize = 14;

const ETHERTYPES: [u16; 8] = [0x0800, 0x86dd, 0x8100, 0x88a8, 0x0806, 0x8847, 0x8864, 0];
const PROTOCOLS: [u8; 14] = [0, 1, 2, 4, 6, 17, 41, 43, 44, 47, 50, 51, 58, 60];
const BYTES: [u8; 9] = [0, 1, 0x7f, 0x80, 0xff, 0x40, 0x45, 0x4f, 0x60];

/// All seeds, each followed by what is left of it when it is cut near the end of a header.
pub(crate) fn whole_and_cut(seeds: &[Vec<u8>]) -> impl Iterator<Item = Vec<u8>> {
    seeds.iter().flat_map(|seed| {
        let cuts = [14, 15, 18, 33, 34, 37, 42, 53, 54, 55, seed.len() - 1];
        let cuts = cuts.into_iter().filter(|bytes| (MIN_BYTES..seed.len()).contains(bytes));
        std::iter::once(seed.clone()).chain(cuts.map(|bytes| seed[..bytes].to_vec()))
    })
}

/// One of the seeds, changed in one to four ways; seldom as it is.
pub(crate) fn mutate(numbers: &mut Numbers, seeds: &[Vec<u8>]) -> Vec<u8> {
    let mut packet = seeds[numbers.below(seeds.len())].clone();
    for _ in 0..numbers.below(5) {
        change(numbers, seeds, &mut packet);
    }
    packet.truncate(MAX_BYTES);
    while packet.len() < MIN_BYTES {
        packet.push(numbers.next() as u8);
    }
    packet
}

fn change(numbers: &mut Numbers, seeds: &[Vec<u8>], packet: &mut Vec<u8>) {
    let bytes = packet.len().max(1);
    match numbers.below(15) {
        0 => packet.truncate(numbers.below(bytes)),
        // Near the ends of headers.
        1 => packet.truncate(numbers.pick(&[14, 18, 33, 34, 37, 38, 41, 42, 53, 54, 62])),
        2 => {
            let at = numbers.below(bytes);
            let flipped = packet.get(at).copied().unwrap_or(0) ^ 1 << numbers.below(8);
            put(packet, at, &[flipped]);
        }
        3 => put(packet, numbers.below(bytes), &[numbers.pick(&BYTES)]),
        4 => put(packet, 12, &numbers.pick(&ETHERTYPES).to_be_bytes()),
        // Version and header length.
        5 => put(packet, L3, &[0x40 | numbers.below(16) as u8]),
        // Total length of IPv4, payload length of IPv6.
        6 => {
            let length = numbers.pick(&[0, 1, 8, 19, 20, 28, 40, 0xffff, bytes as u16, 60]);
            put(packet, numbers.pick(&[L3 + 2, L3 + 4]), &length.to_be_bytes());
        }
        // Fragments.
        7 => put(packet, L3 + 6, &numbers.pick(&[0x2000, 0x4000, 1, 0x3fff, 0u16]).to_be_bytes()),
        8 => put(packet, numbers.pick(&[L3 + 9, L3 + 6]), &[numbers.pick(&PROTOCOLS)]),
        // A tag, or several.
        9 => {
            for _ in 0..=numbers.below(3) {
                let tag = [numbers.pick(&[0x81, 0x88]), numbers.pick(&[0, 0xa8]), 0, 7];
                let at = 12.min(packet.len());
                packet.splice(at..at, tag);
            }
        }
        // Options of the IPv4 header.
        10 => {
            let words = numbers.below(11);
            put(packet, L3, &[0x45 + words as u8]);
            let at = (L3 + 20).min(packet.len());
            packet.splice(at..at, std::iter::repeat_n(1, 4 * words));
        }
        11 => (0..numbers.below(120)).for_each(|_| packet.push(numbers.next() as u8)),
        12 => {
            let other = &seeds[numbers.below(seeds.len())];
            let at = numbers.below(bytes.min(other.len()));
            packet.truncate(at);
            packet.extend(&other[at..]);
        }
        // Ports, and what is at that place of other protocols.
        13 => {
            let port = numbers.pick(&[0, 53, 80, 443, 4789, 22, 0x8000, 0xffff, 546u16]);
            put(packet, numbers.pick(&[34, 36, 54, 56]), &port.to_be_bytes());
        }
        _ => (0..numbers.below(8)).for_each(|_| {
            let value = numbers.next() as u8;
            put(packet, numbers.below(bytes), &[value]);
        }),
    }
}

/// Overwrites bytes, as far as there are any.
fn put(packet: &mut [u8], at: usize, bytes: &[u8]) {
    for (to, from) in packet.iter_mut().skip(at).zip(bytes) {
        *to = *from;
    }
}

/// Kinds of packets that the examples have not.
pub(crate) fn more() -> Vec<Vec<u8>> {
    let ethernet = |ethertype: u16| {
        let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
        frame.extend(ethertype.to_be_bytes());
        frame
    };
    let ipv4 = |protocol: u8, payload: &[u8]| {
        let mut packet = vec![0x45, 0];
        packet.extend((20 + payload.len() as u16).to_be_bytes());
        packet.extend([0x12, 0x34, 0x40, 0, 64, protocol, 0, 0, 10, 1, 2, 3, 192, 0, 2, 7]);
        packet.extend(payload);
        packet
    };
    let ipv6 = |next: u8, payload: &[u8]| {
        let mut packet = vec![0x60, 0, 0, 0];
        packet.extend((payload.len() as u16).to_be_bytes());
        packet.extend([next, 64]);
        let address = [0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        packet.extend(address.iter().chain(&[1]).chain(&address).chain(&[2]));
        packet.extend(payload);
        packet
    };
    let udp = |from: u16, to: u16, payload: &[u8]| {
        let mut packet = [from.to_be_bytes(), to.to_be_bytes()].concat();
        packet.extend((8 + payload.len() as u16).to_be_bytes());
        packet.extend([0, 0]);
        packet.extend(payload);
        packet
    };
    let tcp = |flags: u8, options: &[u8]| {
        let mut packet = vec![0x30, 0x39, 0, 80, 1, 2, 3, 4, 0x77, 0x88, 0x99, 0xaa];
        packet.extend([(5 + options.len() as u8 / 4) << 4, flags, 0xfa, 0xf0, 0x12, 0x34, 0, 0]);
        packet.extend(options);
        packet
    };
    let frame = |ethertype, payload: Vec<u8>| [ethernet(ethertype), payload].concat();
    const SYN: u8 = 2;
    const ACK: u8 = 0x10;
    let query = b"\x12\x34\x01\x00\0\x01\0\0\0\0\0\0\x03www\x07Example\x03org\0\0\x1c\0\x01";
    let inner = frame(0x0800, ipv4(17, &udp(1000, 2000, b"inside the tunnel")));
    let vxlan = [&[8, 0, 0, 0, 0, 0, 42, 0], &inner[..]].concat();
    let echo = [8, 0, 0xf7, 0xff, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
    let echo_v6 = [128, 0, 0x12, 0x34, 0, 1, 0, 1, 9, 8, 7, 6];
    let extensions = [
        &[60, 0, 1, 4, 0, 0, 0, 0][..], // hop by hop, then destination options
        &[43, 1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], // then routing
        &[44, 0, 2, 0, 0, 0, 0, 0],     // then fragment
        &[17, 0, 0, 0, 1, 2, 3, 4],     // then UDP
        &udp(546, 547, b"walked"),
    ]
    .concat();
    vec![
        frame(0x0800, ipv4(17, &udp(5353, 53, query))),
        frame(0x86dd, ipv6(17, &udp(5353, 53, query))),
        frame(0x0800, ipv4(17, &udp(7777, 4789, &vxlan))),
        frame(0x0800, ipv4(1, &echo)),
        frame(0x86dd, ipv6(58, &echo_v6)),
        frame(0x86dd, ipv6(0, &extensions)),
        frame(0x86dd, ipv6(6, &tcp(SYN, &[2, 4, 5, 0xa0]))),
        frame(0x0800, ipv4(6, &tcp(SYN, &[2, 4, 5, 0xb4, 1, 3, 3, 7]))),
        frame(0x0800, ipv4(6, &tcp(SYN, &[1, 2, 4, 5, 0xb4, 1, 1, 0]))),
        frame(0x0800, ipv4(6, &tcp(ACK, &[]))),
        frame(0x0800, ipv4(6, &tcp(ACK | 1, &[]))),
        frame(0x0800, ipv4(4, &ipv4(17, &udp(1, 2, b"ipip")))),
        frame(0x88a8, [&[0, 5, 0x81, 0, 0, 7, 8, 0][..], &ipv4(6, &tcp(SYN, &[]))].concat()),
        frame(0x8100, [&[0x20, 7, 8, 0][..], &ipv4(17, &udp(9, 10, &[7; 90]))].concat()),
    ]
}
