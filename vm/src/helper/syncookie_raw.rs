//! SYN cookies of headers that a program has at hand (`net/ipv4/syncookies.c`,
//! `net/ipv6/syncookies.c`): the kernel's scheme with a key of this process, or of the host's seed.
//! A cookie that one run makes, another accepts within two minutes.

use super::{Bytes, Call, Outcome};
use crate::host::TICK_NS;
use ebpfvm_spec::Errno;
use std::hash::{BuildHasher, RandomState};
use std::sync::OnceLock;

/// Segment sizes that a cookie can stand for.
const SIZES_IPV4: [u16; 4] = [536, 1300, 1440, 1460];
const SIZES_IPV6: [u16; 4] = [1220, 1420, 1440, 8940];

const IPV4_BYTES: usize = 20;
const IPV6_BYTES: usize = 40;
const TCP_BYTES: usize = 20;

/// The part of a cookie that tells the size; above it are the minutes.
const DATA_BITS: u32 = 24;
const DATA_MASK: u32 = (1 << DATA_BITS) - 1;
/// A cookie is accepted in the minute in which it was made and in the next.
const MAX_AGE: u32 = 2;

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

/// The cookies between the ends that the headers name.
fn cookies(call: &Call<'_, '_>, ip: &[u8], tcp: &[u8]) -> Cookies {
    static SEED: OnceLock<u64> = OnceLock::new();
    let chance = || *SEED.get_or_init(|| RandomState::new().hash_one(0u8));
    let seed = call.host().map_seed().unwrap_or_else(chance);
    let addresses = if ip.len() == IPV4_BYTES { &ip[12..20] } else { &ip[8..40] };
    Cookies { seed, ends: [addresses, &tcp[..4]].concat() }
}

fn minute(call: &Call<'_, '_>) -> u32 {
    (call.host().jiffies() / (60_000_000_000 / TICK_NS)) as u32
}

fn word(tcp: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([tcp[at], tcp[at + 1], tcp[at + 2], tcp[at + 3]])
}

/// The segment size among the options of a TCP header, which end where they make no sense
/// (`tcp_parse_mss_option`).
fn segment_size(tcp: &[u8]) -> Option<u16> {
    let mut options = &tcp[TCP_BYTES..];
    loop {
        options = match options {
            [0, ..] | [] => return None,
            [1, rest @ ..] => rest,
            [2, 4, high, low, ..] => match u16::from_be_bytes([*high, *low]) {
                0 => &options[4..],
                size => return Some(size),
            },
            [_, bytes, ..] if *bytes >= 2 => options.get(usize::from(*bytes)..)?,
            _ => return None,
        };
    }
}

/// The cookie for a SYN, and above it the segment size that it stands for.
fn make(call: &mut Call<'_, '_>, ip_bytes: usize, sizes: [u16; 4], default: u16) -> Outcome {
    let ip = call.read(1, ip_bytes)?;
    let tcp: Bytes = call.memory(2)?;
    if tcp.len() < TCP_BYTES || tcp.len() != usize::from(tcp[12] >> 4) * 4 {
        return Err(Errno::EINVAL.into());
    }
    let wanted = segment_size(&tcp).unwrap_or(default);
    let index = sizes.iter().rposition(|size| *size <= wanted).unwrap_or(0);
    let minute = minute(call);
    let cookie = cookies(call, &ip, &tcp).make(word(&tcp, 4), minute, index as u32);
    Ok(u64::from(cookie) | u64::from(sizes[index]) << 32)
}

fn check(call: &mut Call<'_, '_>, ip_bytes: usize, sizes: [u16; 4]) -> Outcome {
    let ip = call.read(1, ip_bytes)?;
    let tcp = call.read(2, TCP_BYTES)?;
    let (cookie, sequence) = (word(&tcp, 8).wrapping_sub(1), word(&tcp, 4).wrapping_sub(1));
    let minute = minute(call);
    let data = cookies(call, &ip, &tcp).open(cookie, sequence, minute);
    match data.is_some_and(|index| (index as usize) < sizes.len()) {
        true => Ok(0),
        false => Err(Errno::EACCES.into()),
    }
}

/// `tcp_raw_gen_syncookie_ipv4(iph, th, th_len)`
pub(super) fn make_ipv4(call: &mut Call<'_, '_>) -> Outcome {
    make(call, IPV4_BYTES, SIZES_IPV4, 536)
}

/// `tcp_raw_gen_syncookie_ipv6(iph, th, th_len)`
pub(super) fn make_ipv6(call: &mut Call<'_, '_>) -> Outcome {
    make(call, IPV6_BYTES, SIZES_IPV6, 1220)
}

/// `tcp_raw_check_syncookie_ipv4(iph, th)`: of an ACK.
pub(super) fn check_ipv4(call: &mut Call<'_, '_>) -> Outcome {
    check(call, IPV4_BYTES, SIZES_IPV4)
}

/// `tcp_raw_check_syncookie_ipv6(iph, th)`
pub(super) fn check_ipv6(call: &mut Call<'_, '_>) -> Outcome {
    check(call, IPV6_BYTES, SIZES_IPV6)
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
        assert_eq!(of(&[2, 4, 5, 0xb4]), Some(1460));
        assert_eq!(of(&[1, 1, 3, 3, 7, 2, 4, 0, 9]), Some(9));
        assert_eq!(
            [of(&[]), of(&[0, 2, 4, 5, 5]), of(&[2, 4, 5]), of(&[3, 1, 2, 4, 5, 5])],
            [None; 4]
        );
        assert_eq!(of(&[3, 9, 2, 4, 5, 5]), None);
    }
}
