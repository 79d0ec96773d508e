//! SYN cookies: numbers from which a connection is known again of whose request nothing was kept
//! (`net/ipv4/syncookies.c`, `net/ipv6/syncookies.c`).
//!
//! The kernel's scheme of two keyed hashes, the time in minutes and the segment size, with a key of
//! this process, or of the host's seed. As there, a cookie is the same whether a listener's program
//! makes and checks it ([`listener`]) or one that only has the headers ([`raw`]); it is good for two
//! minutes.

pub(super) mod listener;
pub(super) mod raw;

use super::Call;
use crate::host::TICK_NS;
use std::hash::{BuildHasher, RandomState};
use std::sync::OnceLock;

/// A TCP header without options.
const TCP_BYTES: usize = 20;

/// The part of a cookie that tells the size; above it are the minutes.
const DATA_BITS: u32 = 24;
const DATA_MASK: u32 = (1 << DATA_BITS) - 1;
/// A cookie is accepted in the minute in which it was made and in the next.
const MAX_AGE: u32 = 2;

/// Of the internet protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    Four,
    Six,
}

impl Version {
    /// A header without options.
    const fn header_bytes(self) -> usize {
        match self {
            Version::Four => 20,
            Version::Six => 40,
        }
    }

    /// Both addresses in a header that is at least so long.
    fn addresses(self, ip: &[u8]) -> &[u8] {
        match self {
            Version::Four => &ip[12..20],
            Version::Six => &ip[8..40],
        }
    }

    /// Segment sizes that a cookie can stand for; the first is assumed of a peer that asks for none.
    const fn sizes(self) -> [u16; 4] {
        match self {
            Version::Four => [536, 1300, 1440, 1460],
            Version::Six => [1220, 1420, 1440, 8940],
        }
    }
}

/// A segment: its IP header of at least `header_bytes`, its TCP header of at least [`TCP_BYTES`].
struct Segment<'a> {
    version: Version,
    ip: &'a [u8],
    tcp: &'a [u8],
}

impl Segment<'_> {
    /// The cookie for a SYN, and above it the segment size that it stands for.
    fn make_cookie(&self, call: &Call<'_, '_>) -> u64 {
        let sizes = self.version.sizes();
        let wanted = segment_size(self.tcp).unwrap_or(sizes[0]);
        let index = sizes.iter().rposition(|size| *size <= wanted).unwrap_or(0);
        let cookie = self.cookies(call).make(word(self.tcp, 4), minute(call), index as u32);
        u64::from(cookie) | u64::from(sizes[index]) << 32
    }

    /// Whether an ACK acknowledges a cookie.
    fn has_cookie(&self, call: &Call<'_, '_>) -> bool {
        let cookie = word(self.tcp, 8).wrapping_sub(1);
        let sequence = word(self.tcp, 4).wrapping_sub(1);
        let data = self.cookies(call).open(cookie, sequence, minute(call));
        data.is_some_and(|index| (index as usize) < self.version.sizes().len())
    }

    /// The cookies between the ends that the headers name.
    fn cookies(&self, call: &Call<'_, '_>) -> Cookies {
        static SEED: OnceLock<u64> = OnceLock::new();
        let chance = || *SEED.get_or_init(|| RandomState::new().hash_one(0u8));
        let seed = call.host().map_seed().unwrap_or_else(chance);
        Cookies { seed, ends: [self.version.addresses(self.ip), &self.tcp[..4]].concat() }
    }
}

fn minute(call: &Call<'_, '_>) -> u32 {
    (call.host().jiffies() / (60_000_000_000 / TICK_NS)) as u32
}

/// A word of a header.
fn word(tcp: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([tcp[at], tcp[at + 1], tcp[at + 2], tcp[at + 3]])
}

/// Whether these are all bytes of a TCP header.
fn is_whole(tcp: &[u8]) -> bool {
    tcp.len() >= TCP_BYTES && tcp.len() == usize::from(tcp[12] >> 4) * 4
}

/// The segment size among the options of a TCP header, which end where they make no sense; of
/// several the last (`tcp_parse_mss_option`).
fn segment_size(tcp: &[u8]) -> Option<u16> {
    const END: u8 = 0;
    const NOTHING: u8 = 1;
    const SEGMENT_SIZE: u8 = 2;
    let mut size = None;
    let mut options = &tcp[TCP_BYTES..];
    loop {
        options = match options {
            [NOTHING, rest @ ..] => rest,
            [END, ..] | [_] | [] => return size,
            [kind, bytes, ..] => {
                let Some((option, rest)) = options.split_at_checked(usize::from(*bytes)) else {
                    return size;
                };
                match (*kind, option) {
                    (_, [] | [_]) => return size,
                    (SEGMENT_SIZE, [_, _, 0, 0]) => {}
                    (SEGMENT_SIZE, [_, _, high, low]) => {
                        size = Some(u16::from_be_bytes([*high, *low]));
                    }
                    _ => {}
                }
                rest
            }
        };
    }
}

/// Hashes the ends of a connection with one of two keys.
struct Cookies {
    seed: u64,
    /// Addresses and ports.
    ends: Vec<u8>,
}

impl Cookies {
    fn hash(&self, count: u32, which: u64) -> u32 {
        let bytes = [&self.ends[..], &count.to_le_bytes()].concat();
        siphash([self.seed, which], &bytes) as u32
    }

    /// `secure_tcp_syn_cookie`
    fn make(&self, sequence: u32, minute: u32, data: u32) -> u32 {
        let secret = self.hash(minute, 1).wrapping_add(data) & DATA_MASK;
        let start = self.hash(0, 0).wrapping_add(sequence);
        start.wrapping_add(minute << DATA_BITS).wrapping_add(secret)
    }

    /// What a cookie stands for, if it is one and not too old (`check_tcp_syn_cookie`).
    fn open(&self, cookie: u32, sequence: u32, minute: u32) -> Option<u32> {
        let rest = cookie.wrapping_sub(self.hash(0, 0).wrapping_add(sequence));
        let age = minute.wrapping_sub(rest >> DATA_BITS) & (u32::MAX >> DATA_BITS);
        let made = minute.wrapping_sub(age);
        (age < MAX_AGE).then(|| rest.wrapping_sub(self.hash(made, 1)) & DATA_MASK)
    }
}

/// SipHash-2-4 of bytes, with a key of two words.
fn siphash(key: [u64; 2], bytes: &[u8]) -> u64 {
    let mut v = [
        key[0] ^ 0x736f_6d65_7073_6575,
        key[1] ^ 0x646f_7261_6e64_6f6d,
        key[0] ^ 0x6c79_6765_6e65_7261,
        key[1] ^ 0x7465_6462_7974_6573,
    ];
    let round = |v: &mut [u64; 4]| {
        v[0] = v[0].wrapping_add(v[1]);
        v[1] = v[1].rotate_left(13) ^ v[0];
        v[0] = v[0].rotate_left(32);
        v[2] = v[2].wrapping_add(v[3]);
        v[3] = v[3].rotate_left(16) ^ v[2];
        v[0] = v[0].wrapping_add(v[3]);
        v[3] = v[3].rotate_left(21) ^ v[0];
        v[2] = v[2].wrapping_add(v[1]);
        v[1] = v[1].rotate_left(17) ^ v[2];
        v[2] = v[2].rotate_left(32);
    };
    let (words, rest) = bytes.as_chunks::<8>();
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    last[7] = bytes.len() as u8;
    for word in words.iter().chain([&last]) {
        let word = u64::from_le_bytes(*word);
        v[3] ^= word;
        (0..2).for_each(|_| round(&mut v));
        v[0] ^= word;
    }
    v[2] ^= 0xff;
    (0..4).for_each(|_| round(&mut v));
    v[0] ^ v[1] ^ v[2] ^ v[3]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_siphash_2_4() {
        // The example of its authors: key and message count up from 0.
        let key = [0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908];
        let message: Vec<u8> = (0..15).collect();
        assert_eq!(siphash(key, &message), 0xa129_ca61_49be_45e5);
    }

    #[test]
    fn cookies_are_accepted_for_two_minutes_and_for_their_ends_only() {
        let cookies = |seed, port| Cookies { seed, ends: vec![10, 0, 0, 1, 10, 0, 0, 2, port, 80] };
        let mine = cookies(7, 1);
        for minute in [0, 1, 255, 256, 70_000] {
            let cookie = mine.make(12345, minute, 3);
            let ages = [0, 1, 2, 255].map(|age| mine.open(cookie, 12345, minute + age));
            assert_eq!(ages, [Some(3), Some(3), None, None]);
            for other in [cookies(7, 2), cookies(8, 1)] {
                assert!(other.open(cookie, 12345, minute).is_none_or(|data| data > 3));
            }
            assert!(mine.open(cookie, 12344, minute).is_none_or(|data| data > 3));
        }
    }

    #[test]
    fn the_segment_size_is_found_among_options() {
        let of = |options: &[u8]| segment_size(&[&[0; 20], options].concat());
        // The last that is not zero, as Linux 6.18 does it.
        assert_eq!(of(&[2, 4, 5, 0xb4, 2, 4, 5, 0x14]), Some(1300));
        assert_eq!(of(&[2, 4, 5, 0x14, 2, 4, 5, 0xb4]), Some(1460));
        assert_eq!(of(&[2, 4, 5, 0xb4, 2, 4, 0, 0]), Some(1460));
        // What is there before the options make no sense is kept.
        assert_eq!(of(&[2, 4, 5, 0xb4, 3, 1, 1, 1]), Some(1460));
        assert_eq!(of(&[2, 4, 5, 0xb4, 0, 0, 0, 0, 2, 4, 5, 0x14]), Some(1460));
        assert_eq!(of(&[2, 6, 5, 0xb4, 1, 1]), None);
        assert_eq!(of(&[2, 4, 5, 0xb4]), Some(1460));
        assert_eq!(of(&[1, 1, 3, 3, 7, 2, 4, 0, 9]), Some(9));
        assert_eq!(
            [of(&[]), of(&[0, 2, 4, 5, 5]), of(&[2, 4, 5]), of(&[3, 1, 2, 4, 5, 5])],
            [None; 4]
        );
        assert_eq!(of(&[3, 9, 2, 4, 5, 5]), None);
    }
}
