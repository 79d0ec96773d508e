//! Changes to bytes and texts that are otherwise right.

use crate::draw::Draw;

/// Bytes with some bytes and words changed, parts moved, or the end cut off.
pub fn bytes(draw: &mut Draw<'_>, seed: &[u8]) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..=draw.below(6) {
        if bytes.is_empty() {
            break;
        }
        let at = draw.below(bytes.len());
        match draw.below(6) {
            0 | 1 => bytes[at] = draw.any().unwrap_or(0),
            2 => bytes[at] ^= 1 << draw.below(8),
            3 => word(draw, &mut bytes, at),
            4 => {
                let len = 1 + draw.below(64.min(bytes.len() - at));
                let to = draw.below(bytes.len() - len + 1);
                bytes.copy_within(at..at + len, to);
            }
            _ if draw.once_in(8) => bytes.truncate(at),
            _ => bytes[at] = bytes[at].wrapping_add(draw.one(&[1, 255, 8, 248])),
        }
    }
    bytes
}

/// Replaces the aligned word around an index.
fn word(draw: &mut Draw<'_>, bytes: &mut [u8], at: usize) {
    const WORDS: [u32; 8] =
        [0, 1, u32::MAX, 0x7fff_ffff, 0x8000_0000, 0xffff, 0x0001_0000, 0x0fff_ffff];
    let old = |bytes: &[u8]| bytes.try_into().map(u32::from_le_bytes).unwrap_or(0);
    let start = at & !3;
    if let Some(place) = bytes.get_mut(start..start + 4) {
        let new = match draw.below(3) {
            0 => old(place).wrapping_add(draw.one(&[1, 2, u32::MAX, 24])),
            1 => draw.below(64) as u32,
            _ => draw.one(&WORDS),
        };
        place.copy_from_slice(&new.to_le_bytes());
    }
}

/// A text with lines or words exchanged, left out, doubled, or made up.
pub fn text(draw: &mut Draw<'_>, seed: &str, other: &str) -> String {
    const ODD: [&str; 16] = [
        "r10",
        "w1",
        "%r0",
        "[",
        "]",
        "+",
        "0x7fffffff",
        "-1",
        "18446744073709551616",
        ":",
        ";",
        "s>>=",
        "goto",
        "lock",
        "\u{e9}",
        "\0",
    ];
    let ends: &[char] = if draw.below(2) == 0 { &['\n'] } else { &[' ', '\n', ','] };
    let mut words: Vec<&str> = seed.split_inclusive(ends).collect();
    let others: Vec<&str> = other.split_inclusive(ends).collect();
    for _ in 0..=draw.below(3) {
        if words.is_empty() || others.is_empty() {
            break;
        }
        let at = draw.below(words.len());
        match draw.below(8) {
            0 => words[at] = draw.one(&ODD),
            1 => words.insert(at, draw.one(&ODD)),
            2 => drop(words.remove(at)),
            3 => words.insert(at, words[at]),
            4 | 5 => words[at] = draw.one(&others),
            _ => words.insert(at, draw.one(&others)),
        }
    }
    words.concat()
}
