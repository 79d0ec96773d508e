//! Words and operators of a line, the same in every dialect.
//!
//! Operators are the symbols of the instruction table and the punctuation between operands; the
//! longest one wins. Whatever else occurs is a token too, so that the parser can say where it is.

use crate::table::TABLE;
use std::sync::LazyLock;

/// A piece of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token<'a> {
    /// A name or a number: letters, digits, `_`, `.` and `$`.
    Word(&'a str),
    /// An operator or punctuation.
    Punct(&'static str),
    /// A character that belongs to nothing.
    Other(char),
}

/// A token and where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lexeme<'a> {
    /// What it is.
    pub(super) token: Token<'a>,
    /// Where it starts, in bytes from the start of the line.
    pub(super) start: usize,
    /// Where it ends.
    pub(super) end: usize,
}

const PUNCTUATION: [&str; 15] =
    ["(", ")", "[", "]", ",", ":", ";", "+", "-", "*", "%", "#", "=", "<", ">"];

/// All operators, longest first.
static OPERATORS: LazyLock<Vec<&'static str>> = LazyLock::new(|| {
    let is_operator = |s: &&str| {
        let rest = s.strip_prefix('s').unwrap_or(s);
        !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_punctuation() && !b"()[]_".contains(&b))
    };
    let mut all: Vec<&str> =
        TABLE.iter().map(|row| row.symbol).filter(is_operator).chain(PUNCTUATION).collect();
    all.sort_by_key(|s| (std::cmp::Reverse(s.len()), *s));
    all.dedup();
    all
});

/// Whether a byte may be part of a word.
pub(super) fn is_word_byte(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'$')
}

/// Splits a line into tokens, without its comment.
///
/// A comment begins with `//`, or with `#` unless that stands inside a word as in
/// `bpf_ktime_get_ns#5`.
pub(super) fn tokens(line: &str) -> Vec<Lexeme<'_>> {
    let bytes = line.as_bytes();
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(c) = line[at..].chars().next() {
        if c.is_whitespace() {
            at += c.len_utf8();
            continue;
        }
        let in_word = |i: usize| bytes.get(i).is_some_and(|b| is_word_byte(*b));
        let inside =
            at > 0 && in_word(at - 1) && (in_word(at + 1) || bytes.get(at + 1) == Some(&b'-'));
        if line[at..].starts_with("//") || (c == '#' && !inside) {
            break;
        }
        let start = at;
        let operator = OPERATORS.iter().find(|op| line[at..].starts_with(**op));
        let token = match operator {
            Some(op) => {
                at += op.len();
                Token::Punct(op)
            }
            None if in_word(at) => {
                while in_word(at) {
                    at += 1;
                }
                Token::Word(&line[start..at])
            }
            None => {
                at += c.len_utf8();
                Token::Other(c)
            }
        };
        found.push(Lexeme { token, start, end: at });
    }
    found
}
