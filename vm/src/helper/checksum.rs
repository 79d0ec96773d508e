//! Internet checksums (RFC 1071; `net/core/filter.c`, `include/net/checksum.h`).
//!
//! Sums are kept as the kernel keeps them: 32 bits in ones' complement, of words in host order,
//! with "all ones" and 0 distinct, so that results are the same to the bit.

use super::{Call, Outcome, skb};
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

    /// A sum of words whose carries were not added yet. Adding them at the end gives the same as
    /// adding each: 0 if all is 0, else not 0.
    fn of(words: u64) -> Sum {
        Sum(words as u32).add((words >> 32) as u32)
    }

    /// The sum in 16 bits.
    fn fold(self) -> u16 {
        let once = (self.0 & 0xffff) + (self.0 >> 16);
        ((once & 0xffff) + (once >> 16)) as u16
    }
}

/// The sum of words of 4 bytes, the last filled up with zeros (`csum_partial`).
fn words(bytes: &[u8]) -> Sum {
    bytes.chunks(4).fold(Sum(0), |sum, part| {
        let mut word = [0; 4];
        word[..part.len()].copy_from_slice(part);
        sum.add(u32::from_ne_bytes(word))
    })
}

/// The checksum of an IP header whose own field is zero.
pub(super) fn of_header(header: &[u8]) -> u16 {
    u16::from_be(!words(header).fold())
}

/// `csum_diff(from, from_size, to, to_size, seed)`: what a checksum changes by when `from` is
/// replaced by `to`, in 16 bits. Older kernels wanted sizes that are
/// multiples of 4 and gave 32 bits.
pub(super) fn diff(call: &mut Call<'_, '_>) -> Outcome {
    let (mut from, mut to) = (Words::default(), Words::default());
    from.bytes = call.each_word(1, |word| from.add(word))?;
    to.bytes = call.each_word(3, |word| to.add(word))?;
    Ok(difference(call.arg_u32(5), from, to))
}

/// What [`diff`] knows of memory.
#[derive(Clone, Copy, Default)]
pub(super) struct Words {
    /// The sum of its words, whose carries were not added yet: it does not overflow, for sizes are below 512
    /// MiB.
    sum: u64,
    /// Its size.
    pub(super) bytes: usize,
}

impl Words {
    #[inline(always)]
    pub(super) fn add(&mut self, word: u32) {
        self.sum += u64::from(word);
    }
}

/// `seed` with `to` added and `from` taken out, in 16 bits.
#[inline(always)]
pub(super) fn difference(seed: u32, from: Words, to: Words) -> u64 {
    let seed = Sum(seed);
    let (from_bytes, to_bytes) = (from.bytes, to.bytes);
    let (from, to) = (Sum::of(from.sum), Sum::of(to.sum));
    let sum = match (from_bytes, to_bytes) {
        (0, 0) => seed,
        (0, _) => seed.add(to.0),
        (_, 0) => Sum(!Sum(!seed.0).add(from.0).0),
        (_, _) => seed.add(to.0).sub(from.0),
    };
    sum.fold().into()
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
        assert_eq!(words(&[0; 8]).fold(), 0);
        assert_eq!(Sum(0xffff_ffff).fold(), 0xffff);
        assert_eq!(Sum(0x0001_ffff).fold(), 1);
    }

    #[test]
    fn carries_added_at_the_end_are_those_of_each_addition() {
        let edges = [0, 1, 0x7fff_ffff, 0x8000_0000, 0xffff_fffe, u32::MAX];
        for first in edges {
            for second in edges {
                for third in edges {
                    let words = [first, second, third];
                    let each = words.iter().fold(Sum(0), |sum, word| sum.add(*word));
                    let at_the_end = Sum::of(words.iter().map(|word| u64::from(*word)).sum());
                    assert_eq!(at_the_end, each, "{words:x?}");
                    let seeded = words[1..].iter().fold(Sum(first), |sum, word| sum.add(*word));
                    let rest = words[1..].iter().map(|word| u64::from(*word)).sum();
                    assert_eq!(Sum(first).add(Sum::of(rest).0), seeded, "{words:x?}");
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
