//! Numbers and strings (`kernel/bpf/helpers.c`).

use super::{Call, Outcome, Stop};
use crate::host::Space;
use ebpfvm_spec::{Direction, Errno};

/// A number as text: its magnitude, whether a minus stands before it, and the bytes it takes.
struct Number {
    magnitude: u64,
    negative: bool,
    bytes: u64,
}

/// Whether the kernel's `isspace` takes the byte.
pub(super) fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r' | 0xa0)
}

/// The base to read in and the bytes of its prefix: `0x` before a digit means 16 where 16 is given
/// or nothing, a leading 0 means 8 where nothing is given.
fn radix(text: &[u8], base: u32) -> (u32, usize) {
    let prefixed = matches!(text, [b'0', b'x' | b'X', digit, ..] if digit.is_ascii_hexdigit());
    let base = match (base, text) {
        (0, _) if prefixed => 16,
        (0, [b'0', ..]) => 8,
        (0, _) => 10,
        _ => base,
    };
    let has_prefix = base == 16 && matches!(text, [b'0', b'x' | b'X', ..]);
    (base, if has_prefix { 2 } else { 0 })
}

/// Reads a number as `bpf_strtol` does.
fn parse(text: &[u8], flags: u64) -> Result<Number, Errno> {
    const BASE_MASK: u64 = 0x1f;
    /// The kernel copies the digits into a buffer of this size.
    const MAX_DIGITS: usize = 63;
    let base = (flags & BASE_MASK) as u32;
    if text.is_empty() || !matches!(base, 0 | 8 | 10 | 16) || flags & !BASE_MASK != 0 {
        return Err(Errno::EINVAL);
    }
    let spaces = text.iter().take_while(|byte| is_space(**byte)).count();
    let negative = text.get(spaces) == Some(&b'-');
    let start = spaces + usize::from(negative);
    let digits = &text[start..text.len().min(start + MAX_DIGITS)];
    if digits.is_empty() {
        return Err(Errno::EINVAL);
    }
    let (base, prefix) = radix(digits, base);
    let mut magnitude: u64 = 0;
    let mut overflow = false;
    let mut count = 0;
    for digit in digits[prefix..].iter().map_while(|byte| (*byte as char).to_digit(base)) {
        let (product, over) = magnitude.overflowing_mul(base.into());
        let (sum, carry) = product.overflowing_add(digit.into());
        (magnitude, overflow, count) = (sum, overflow || over || carry, count + 1);
    }
    match (overflow, count) {
        (true, _) => Err(Errno::ERANGE),
        (_, 0) => Err(Errno::EINVAL),
        _ => Ok(Number { magnitude, negative, bytes: (start + prefix + count) as u64 }),
    }
}

/// Reads the arguments of both helpers; the result is 0 unless a number is found.
fn arguments(call: &mut Call<'_, '_>) -> Result<Number, Stop> {
    call.check(4, 8, Direction::Write)?;
    let text = call.memory(1)?;
    call.write(4, &[0; 8])?;
    Ok(parse(&text, call.arg(3))?)
}

/// `strtol(buf, buf_len, flags, res)`: the number of bytes read.
pub(super) fn strtol(call: &mut Call<'_, '_>) -> Outcome {
    let number = arguments(call)?;
    let value = match number.negative {
        true => 0i64.checked_sub_unsigned(number.magnitude),
        false => i64::try_from(number.magnitude).ok(),
    };
    call.write(4, &value.ok_or(Errno::ERANGE)?.to_ne_bytes())?;
    Ok(number.bytes)
}

/// `strtoul(buf, buf_len, flags, res)`: the number of bytes read.
pub(super) fn strtoul(call: &mut Call<'_, '_>) -> Outcome {
    let number = arguments(call)?;
    if number.negative {
        return Err(Errno::EINVAL.into());
    }
    call.write(4, &number.magnitude.to_ne_bytes())?;
    Ok(number.bytes)
}

/// `strncmp(s1, s1_sz, s2)`: below, equal to or above 0, as `s1` is to the constant `s2`.
pub(super) fn strncmp(call: &mut Call<'_, '_>) -> Outcome {
    let first = call.memory(1)?;
    let second = const_str(call, 3)?;
    for i in 0..first.len() {
        let (a, b) = (first[i], second.get(i).copied().unwrap_or(0));
        match a.cmp(&b) {
            std::cmp::Ordering::Less => return Ok(u64::MAX),
            std::cmp::Ordering::Greater => return Ok(1),
            std::cmp::Ordering::Equal if a == 0 => return Ok(0),
            std::cmp::Ordering::Equal => {}
        }
    }
    Ok(0)
}

/// A constant string: it lies in a read-only map and has a zero byte at its end, which is not part
/// of the result.
pub(super) fn const_str(call: &mut Call<'_, '_>, number: usize) -> Result<super::Bytes, Stop> {
    /// No value of a map is larger.
    const MAX_BYTES: usize = 1 << 30;
    let text = call.probe_str(Some(Space::Kernel), call.arg(number), MAX_BYTES);
    Ok(text.ok_or_else(|| call.bad_arg(number, "is not a zero-terminated string"))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_the_kernel_reads_them() {
        for (text, base, expected) in [
            ("12", 10, Ok((12, false, 2))),
            (" \t-12abc", 10, Ok((12, true, 5))),
            ("0x1fg", 0, Ok((0x1f, false, 4))),
            ("0x1f", 16, Ok((0x1f, false, 4))),
            ("0x1f", 10, Ok((0, false, 1))),
            ("017", 0, Ok((15, false, 3))),
            ("08", 0, Ok((0, false, 1))),
            ("0x", 0, Ok((0, false, 1))),
            ("0x", 16, Err(Errno::EINVAL)),
            ("18446744073709551615", 10, Ok((u64::MAX, false, 20))),
            ("18446744073709551616", 10, Err(Errno::ERANGE)),
            ("", 10, Err(Errno::EINVAL)),
            ("-", 10, Err(Errno::EINVAL)),
            ("abc", 10, Err(Errno::EINVAL)),
            ("7", 7, Err(Errno::EINVAL)),
            ("7", 32 + 10, Err(Errno::EINVAL)),
        ] {
            let got = parse(text.as_bytes(), base);
            let got = got.map(|n| (n.magnitude, n.negative, n.bytes));
            assert_eq!(got, expected, "{text:?} in base {base}");
        }
    }
}
