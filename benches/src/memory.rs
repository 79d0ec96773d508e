//! What the bench programs work on. The same bytes in every run.

/// The payload of a full Ethernet frame, in bytes.
const FRAME_BYTES: usize = 1500;

/// 64 bytes, for programs that compute from little.
pub fn small() -> Vec<u8> {
    vec![0; 64]
}

/// 1,500 bytes without a pattern.
pub fn frame_sized() -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    })
    .take(FRAME_BYTES)
    .collect()
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
