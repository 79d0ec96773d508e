//! Internet checksums (RFC 1071; `net/core/filter.c`, `include/net/checksum.h`).
//!
//! Sums are kept as the kernel keeps them: 32 bits in ones' complement, of words in host order,
//! with "all ones" and 0 distinct, so that results are the same to the bit.

use super::{Bytes, Call, Outcome, skb};
use crate::skb::Checksum;
use ebpfvm_spec::Errno;

/// A sum of 32 bits before folding (`__wsum`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sum(u32);

impl Sum {
    fn add(self, other: u32) -> Sum {
        let (sum, carry) = self.0.overflowing_add(other);
        Sum(sum + u32::from(carry))
    }

    fn sub(self, other: u32) -> Sum {
        self.add(!other)
    }

    /// The sum of words of 4 bytes added to this, the last filled up with zeros (`csum_partial`).
    fn words(self, bytes: &[u8]) -> Sum {
        let (words, rest) = bytes.as_chunks();
        let mut last = [0; 4];
        // The usual sizes leave none.
        if !rest.is_empty() {
            last[..rest.len()].copy_from_slice(rest);
        }
        // Carries are added at the end, which gives the same: 0 if all is 0, else not 0. The sum does
        // not overflow, for sizes are below 512 MiB.
        let number = |word: &[u8; 4]| u64::from(u32::from_ne_bytes(*word));
        let sum: u64 = words.iter().chain([&last]).map(number).sum();
        let sum = sum + u64::from(self.0);
        Sum(sum as u32).add((sum >> 32) as u32)
    }

    /// The sum in 16 bits.
    fn fold(self) -> u16 {
        let once = (self.0 & 0xffff) + (self.0 >> 16);
        ((once & 0xffff) + (once >> 16)) as u16
    }
}

/// The checksum of an IP header whose own field is zero.
pub(super) fn of_header(header: &[u8]) -> u16 {
    u16::from_be(!Sum(0).words(header).fold())
}

/// `csum_diff(from, from_size, to, to_size, seed)`: what a checksum changes by when `from` is
/// replaced by `to`, in 16 bits. Older kernels wanted sizes that are
/// multiples of 4 and gave 32 bits.
pub(super) fn diff(call: &mut Call<'_, '_>) -> Outcome {
    let seed = Sum(call.arg_u32(5));
    let (mut from, mut to) = (Bytes::new(), Bytes::new());
    call.memory_into(1, &mut from)?;
    call.memory_into(3, &mut to)?;
    let sum = match (from.is_empty(), to.is_empty()) {
        (false, false) => seed.words(&to).sub(Sum(0).words(&from).0),
        (true, false) => seed.words(&to),
        (false, true) => Sum(!Sum(!seed.0).words(&from).0),
        (true, true) => seed,
    };
    Ok(sum.fold().into())
}

/// How many bytes of the header a value stands for.
const HDR_FIELD_MASK: u64 = 0xf;

/// The checksum field that argument 2 gives the offset of.
fn field(call: &mut Call<'_, '_>) -> Result<usize, super::Stop> {
    let offset = call.arg_u32(2) as usize;
    let data = skb::packet(call, 1)?.data().len();
    if offset > 0xffff || !offset.is_multiple_of(2) || offset + 2 > data {
        return Err(Errno::EFAULT.into());
    }
    Ok(offset)
}

/// Changes the field at `offset` by `change`, which takes and gives it in host order.
fn replace(
    call: &mut Call<'_, '_>,
    offset: usize,
    change: impl FnOnce(u16) -> u16,
) -> Result<(), super::Stop> {
    skb::change(call, 1, |packet| {
        let field = &mut packet.data_mut()[offset..offset + 2];
        let new = change(u16::from_ne_bytes([field[0], field[1]]));
        field.copy_from_slice(&new.to_ne_bytes());
    })
}

/// The field after `from` was replaced by `to` (`csum_replace4`).
fn replaced(field: u16, from: u32, to: u32) -> u16 {
    !Sum(u32::from(!field)).sub(from).add(to).fold()
}

/// The field after the data changed by a difference (`csum_replace_by_diff`).
fn replaced_by_diff(field: u16, diff: u32) -> u16 {
    !Sum(diff).add(u32::from(!field)).fold()
}

/// `csum_replace2`, which adds in 16 bits.
fn replaced_u16(field: u16, from: u16, to: u16) -> u16 {
    let add = |a: u16, b: u16| {
        let (sum, carry) = a.overflowing_add(b);
        sum + u16::from(carry)
    };
    !add(add(!field, !from), to)
}

/// `l3_csum_replace(skb, offset, from, to, size)`
pub(super) fn l3_replace(call: &mut Call<'_, '_>) -> Outcome {
    let flags = call.flags(5, HDR_FIELD_MASK)?;
    let offset = field(call)?;
    let (from, to) = (call.arg(3), call.arg(4));
    match flags {
        0 if from == 0 => replace(call, offset, |field| replaced_by_diff(field, to as u32))?,
        2 => replace(call, offset, |field| replaced_u16(field, from as u16, to as u16))?,
        4 => replace(call, offset, |field| replaced(field, from as u32, to as u32))?,
        _ => return Err(Errno::EINVAL.into()),
    }
    Ok(0)
}

/// `l4_csum_replace(skb, offset, from, to, flags)`: as [`l3_replace`], and 0 stays "no checksum".
///
/// The flags about the pseudo-header matter only for checksums that a device completes, which no
/// packet of a test-run has.
pub(super) fn l4_replace(call: &mut Call<'_, '_>) -> Outcome {
    const PSEUDO_HDR: u64 = 1 << 4;
    const MARK_MANGLED_0: u64 = 1 << 5;
    const MARK_ENFORCE: u64 = 1 << 6;
    const IPV6: u64 = 1 << 7;
    let known = HDR_FIELD_MASK | PSEUDO_HDR | MARK_MANGLED_0 | MARK_ENFORCE | IPV6;
    let flags = call.flags(5, known)?;
    let offset = field(call)?;
    let (from, to) = (call.arg(3), call.arg(4));
    let mark = flags & MARK_MANGLED_0 != 0;
    let data = skb::packet(call, 1)?.data();
    if mark && flags & MARK_ENFORCE == 0 && data[offset..offset + 2] == [0, 0] {
        return Ok(0);
    }
    // A checksum of 0 is written as all ones where 0 means that there is none.
    let marked = |field: u16| if mark && field == 0 { 0xffff } else { field };
    match flags & HDR_FIELD_MASK {
        0 if from == 0 => {
            replace(call, offset, |field| marked(replaced_by_diff(field, to as u32)))?;
        }
        2 => replace(call, offset, |field| {
            marked(replaced(field, (from as u16).into(), (to as u16).into()))
        })?,
        4 => replace(call, offset, |field| marked(replaced(field, from as u32, to as u32)))?,
        _ => return Err(Errno::EINVAL.into()),
    }
    Ok(0)
}

/// `csum_update(skb, csum)`: only a checksum that the device computed over all of the packet can be
/// updated, and no packet here has one.
pub(super) fn update(call: &mut Call<'_, '_>) -> Outcome {
    skb::packet(call, 1)?;
    Err(Errno::ENOTSUPP.into())
}

/// `csum_level(skb, level)`
pub(super) fn level(call: &mut Call<'_, '_>) -> Outcome {
    const QUERY: u64 = 0;
    const INCREMENT: u64 = 1;
    const DECREMENT: u64 = 2;
    const RESET: u64 = 3;
    let level = call.arg(2);
    let checksum = &mut call.ctx(1)?.skb.checksum;
    match level {
        QUERY => match *checksum {
            Checksum::Unnecessary(level) => return Ok(level.into()),
            Checksum::None => return Err(Errno::EACCES.into()),
        },
        INCREMENT => checksum.increment(),
        DECREMENT => checksum.decrement(),
        RESET => *checksum = Checksum::None,
        _ => return Err(Errno::EINVAL.into()),
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_carry_around_and_keep_zero_apart() {
        assert_eq!(Sum(u32::MAX).add(1), Sum(1));
        assert_eq!(Sum(5).sub(5), Sum(u32::MAX));
        assert_eq!(Sum(0).words(&[0; 8]).fold(), 0);
        assert_eq!(Sum(0xffff_ffff).fold(), 0xffff);
        assert_eq!(Sum(0x0001_ffff).fold(), 1);
    }

    #[test]
    fn carries_added_at_the_end_are_those_of_each_addition() {
        let bytes: Vec<u8> = (0..67_u32).map(|i| ((i * 0x9d) ^ 0xe7) as u8).collect();
        for (start, len) in (0..8).flat_map(|start| (0..=59).map(move |len| (start, len))) {
            for fill in [None, Some(0), Some(0xff)] {
                let mut part = bytes[start..start + len].to_vec();
                part.iter_mut().for_each(|byte| *byte = fill.unwrap_or(*byte));
                for seed in [0, 1, 0x8000_0000, u32::MAX] {
                    let each = part.chunks(4).fold(Sum(seed), |sum, word| {
                        let mut padded = [0; 4];
                        padded[..word.len()].copy_from_slice(word);
                        sum.add(u32::from_ne_bytes(padded))
                    });
                    assert_eq!(Sum(seed).words(&part), each, "{part:x?} and {seed:x}");
                }
            }
        }
    }

    #[test]
    fn replacing_equals_computing_anew() {
        let mut words = [0x4500u16, 0x0054, 0xa6f2, 0, 0x4001, 0, 0xc0a8, 0x0001, 0xc0a8, 0x00c7];
        let compute = |words: &[u16]| {
            !words.iter().fold(Sum(0), |sum, word| sum.add(u32::from(*word))).fold()
        };
        let old = compute(&words);
        let from = u32::from(words[6]) << 16 | u32::from(words[7]);
        (words[6], words[7]) = (0x0a00, 0x0042);
        let to = u32::from(words[6]) << 16 | u32::from(words[7]);
        assert_eq!(replaced(old, from, to), compute(&words));
        let halves = replaced_u16(replaced_u16(old, 0xc0a8, 0x0a00), 0x0001, 0x0042);
        assert_eq!(halves, compute(&words));
        let diff = Sum(0).add(to).sub(from);
        assert_eq!(replaced_by_diff(old, diff.0), compute(&words));
    }
}
