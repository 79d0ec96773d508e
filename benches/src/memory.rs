//! What the bench programs work on, memory and maps. The same bytes in every run.

/// One entry of a map.
pub struct Entry {
    /// The map, by its number in the program.
    pub map: usize,
    /// The key, as long as the map's keys.
    pub key: Vec<u8>,
    /// The value, as long as the map's values.
    pub value: Vec<u8>,
}

impl Entry {
    fn new(map: usize, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> Entry {
        Entry { map, key: key.into(), value: value.into() }
    }
}

/// The payload of a full Ethernet frame, in bytes.
const FRAME_BYTES: usize = 1500;

/// 64 bytes, for programs that compute from little.
pub fn small() -> Vec<u8> {
    vec![0; 64]
}

/// 1,500 bytes without a pattern.
pub fn frame_sized() -> Vec<u8> {
    noise().take(FRAME_BYTES).collect()
}

/// Bytes without a pattern.
fn noise() -> impl Iterator<Item = u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    std::iter::repeat_with(move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    })
}

/// 1,500 bytes of text with words, numbers and quoted strings.
pub fn prose() -> Vec<u8> {
    let text = b"On 24 May 1993 \"The BSD Packet Filter\" said: a filter is 20 times faster, \
                 if \"it runs \\\"in place\\\"\" and copies 0 bytes. ";
    text.iter().copied().cycle().take(FRAME_BYTES).collect()
}

/// The first 66 bytes of an HTTP client's packet to port 80.
pub fn web_request() -> Vec<u8> {
    let mut frame = ethernet(0x0800);
    frame.extend(ipv4(6, [192, 0, 2, 10], 52));
    frame.extend([0xc8, 0x7c, 0, 80]);
    frame.extend([0x3a, 0x1f, 0x2c, 0x01, 0x11, 0x22, 0x33, 0x44, 0x80, 0x18, 0xfa, 0xf0]);
    frame.extend([0; 16]);
    frame
}

/// A list of sixteen blocked addresses, none of them in the packet behind it: a DNS query in a
/// VLAN, which the firewall lets pass after it looked at everything.
pub fn blocklist_and_dns_query() -> Vec<u8> {
    let mut memory = 16_u32.to_le_bytes().to_vec();
    for last in 0..16 {
        memory.extend([203, 0, 113, last]);
    }
    memory.extend(ethernet(0x8100));
    memory.extend([0x20, 0x64, 0x08, 0x00]);
    memory.extend(ipv4(17, [192, 0, 2, 10], 61));
    memory.extend([0x81, 0xbb, 0, 53, 0, 41, 0, 0]);
    memory.extend([0; 33]);
    memory
}

/// The remainders of all bytes by the polynomial of Ethernet's CRC-32, and the payload of a frame.
pub fn crc_table_and_frame() -> Vec<u8> {
    let remainder = |byte: u32| {
        (0..8).fold(byte, |crc, _| crc >> 1 ^ if crc & 1 == 1 { 0xedb8_8320 } else { 0 })
    };
    (0..256).flat_map(|byte| remainder(byte).to_le_bytes()).chain(frame_sized()).collect()
}

/// The constants of SHA-256, the fractions of the cube roots of the first 64 primes, and 16 blocks.
pub fn sha_constants_and_blocks() -> Vec<u8> {
    let primes = (2_u128..).filter(|n| (2..*n).take_while(|d| d * d <= *n).all(|d| n % d != 0));
    // floor(2^32 * cube root): the integer cube root of the prime times 2^96.
    let fraction = |prime: u128| {
        let (mut low, mut high) = (0_u128, 1 << 36);
        while high - low > 1 {
            let middle = (low + high) / 2;
            if middle * middle * middle <= prime << 96 { low = middle } else { high = middle }
        }
        low as u32
    };
    primes
        .take(64)
        .flat_map(|prime| fraction(prime).to_le_bytes())
        .chain(noise().take(1024))
        .collect()
}

/// The alphabet of base 64, 900 bytes, and room for them as text.
pub fn alphabet_and_bytes() -> Vec<u8> {
    let alphabet = (b'A'..=b'Z').chain(b'a'..=b'z').chain(b'0'..=b'9').chain(*b"+/");
    alphabet.chain(noise().take(900)).chain([0; 1200]).collect()
}

/// A word of eight bytes and 600 bytes of text that has it now and then: the kernel follows no more
/// than 8,192 jumps.
pub fn word_and_prose() -> Vec<u8> {
    [b"in place", &prose()[..600]].concat()
}

/// A key of 40 bytes for receive-side scaling, and 64 flows of 12 bytes.
pub fn hash_key_and_flows() -> Vec<u8> {
    noise().take(40 + 64 * 12).collect()
}

/// A trie of 1,024 nodes of eight bytes, in which 200 prefixes of 8 to 24 bits are: two children of
/// two bytes each, and the route.
pub fn routing_table() -> Vec<u8> {
    let mut nodes = vec![([0_u16; 2], 0_u32)];
    let mut noise = noise();
    let mut draw = || noise.by_ref().take(4).fold(0, |all, byte| all << 8 | u32::from(byte));
    for route in 1..=200 {
        let (prefix, bits) = (draw(), 8 + draw() % 17);
        let mut at = 0;
        for bit in 0..bits {
            let side = (prefix >> (31 - bit) & 1) as usize;
            if nodes[at].0[side] == 0 {
                // Where the nodes are used up a shorter prefix takes the route.
                if nodes.len() == 1024 {
                    break;
                }
                nodes[at].0[side] = nodes.len() as u16;
                nodes.push(([0; 2], 0));
            }
            at = nodes[at].0[side].into();
        }
        nodes[at].1 = route;
    }
    nodes.resize(1024, ([0; 2], 0));
    let bytes = |([zero, one], route): ([u16; 2], u32)| {
        [zero.to_le_bytes().to_vec(), one.to_le_bytes().to_vec(), route.to_le_bytes().to_vec()]
            .concat()
    };
    nodes.into_iter().flat_map(bytes).collect()
}

/// A TLS record with a browser's ClientHello: the name is in the fourth extension.
pub fn client_hello() -> Vec<u8> {
    let field =
        |bytes: &[u8]| [(bytes.len() as u16).to_be_bytes().to_vec(), bytes.to_vec()].concat();
    let extension = |kind: u16, body: &[u8]| [kind.to_be_bytes().to_vec(), field(body)].concat();
    let name = b"www.example.org";
    let host = [vec![0], field(name)].concat();
    let extensions = [
        extension(0x2a2a, &[]),
        extension(10, &field(&[0, 29, 0, 23, 0, 24])),
        extension(11, &[1, 0]),
        extension(0, &field(&host)),
        extension(16, &field(b"\x02h2\x08http/1.1")),
        extension(51, &field(&[7; 36])),
    ]
    .concat();
    let mut hello = vec![3, 3];
    hello.extend(noise().take(32));
    hello.push(32);
    hello.extend([9; 32]);
    hello.extend(field(&[0x13; 32]));
    hello.extend([1, 0]);
    hello.extend(field(&extensions));
    let mut handshake = vec![1, 0];
    handshake.extend(field(&hello));
    let mut record = vec![22, 3, 1];
    record.extend(field(&handshake));
    record
}

/// A DNS query for the address of a name, over IPv4 and UDP.
pub fn dns_query() -> Vec<u8> {
    let mut frame = ethernet(0x0800);
    let name = b"\x03WWW\x0akubernetes\x07default\x03svc\x07cluster\x05local\x00";
    let bytes = 20 + 8 + 12 + name.len() + 4;
    frame.extend(ipv4(17, [192, 0, 2, 10], bytes as u16));
    frame.extend([0x81, 0xbb, 0, 53, 0, bytes as u8 - 20, 0, 0]);
    frame.extend([0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    frame.extend(name);
    frame.extend([0, 1, 0, 1]);
    frame
}

/// 256 latencies of all magnitudes, as numbers of eight bytes.
pub fn latencies() -> Vec<u8> {
    let mut noise = noise();
    let mut latency = || {
        let shift = noise.next().unwrap_or_default() & 63;
        let bytes = [0; 8].map(|_| noise.next().unwrap_or_default());
        (u64::from_le_bytes(bytes) >> shift).to_le_bytes()
    };
    (0..256).flat_map(|_| latency()).collect()
}

/// A thousand keys with counters of zero (`hash_map.c`).
pub fn thousand_counters() -> Vec<Entry> {
    let key = |i: u64| i.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes();
    (0..1000).map(|i| Entry::new(0, key(i), [0; 8])).collect()
}

/// An endpoint as `nat.c` and `load_balancer.c` have it: address, port, protocol, all as in a packet
/// but the last.
fn endpoint(address: [u8; 4], port: u16) -> Vec<u8> {
    [address.to_vec(), port.to_be_bytes().to_vec(), vec![6, 0]].concat()
}

/// 500 translations there and back; one of them is of [`web_request`]'s source.
pub fn translations() -> Vec<Entry> {
    let outside = |i: u16| endpoint([203, 0, 113, 7], 20_000 + i);
    let inside = |i: u16| endpoint([192, 0, 2, 10], 51_324 + i);
    (0..500)
        .flat_map(|i| [Entry::new(0, inside(i), outside(i)), Entry::new(0, outside(i), inside(i))])
        .collect()
}

/// Two services, the second of which [`web_request`] asks for; a ring of places for each; 16 servers.
pub fn services_and_servers() -> Vec<Entry> {
    const PLACES: u32 = 4099;
    let service =
        |last, number: u32| Entry::new(0, endpoint([198, 51, 100, last], 80), number.to_le_bytes());
    let place = |place: u32| {
        let server = place.wrapping_mul(0x9e37_79b9) >> 28;
        Entry::new(1, place.to_le_bytes(), server.to_le_bytes())
    };
    let server = |number: u32| {
        Entry::new(2, number.to_le_bytes(), [2, 0, 0x5e, 0, 0x53, number as u8, 0, 0])
    };
    let mut entries = vec![service(79, 0), service(80, 1)];
    entries.extend((0..2 * PLACES).map(place));
    entries.extend((0..16).map(server));
    entries
}

fn ethernet(ethertype: u16) -> Vec<u8> {
    let mut header = vec![0, 0, 0x5e, 0, 0x53, 1, 0, 0, 0x5e, 0, 0x53, 2];
    header.extend(ethertype.to_be_bytes());
    header
}

/// A header whose checksum is left out: no bench program looks at it.
fn ipv4(protocol: u8, source: [u8; 4], total_bytes: u16) -> Vec<u8> {
    let mut header = vec![0x45, 0];
    header.extend(total_bytes.to_be_bytes());
    header.extend([0x1c, 0x46, 0x40, 0, 64, protocol, 0, 0]);
    header.extend(source);
    header.extend([198, 51, 100, 80]);
    header
}
