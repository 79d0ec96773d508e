//! Bytes from files that people keep them in: as they are, as hex digits, or as a hex dump.
//!
//! A text is taken as hex if it has nothing but pairs of hex digits, with white space, commas, `:`,
//! `0x` and `\x` between them, `#` comments, and offsets and text columns as hex dumps have them
//! (`xxd`, `hexdump -C`, `od -A x -t x1`, `tcpdump -x`, Wireshark).

use crate::failure::Failure;
use clap::ValueEnum;

/// How bytes are written in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Encoding {
    /// Hex if the file is text, else the bytes themselves
    Auto,
    /// The bytes themselves
    Raw,
    /// Hex digits or a hex dump
    Hex,
}

/// The bytes that a file holds.
pub(crate) fn bytes(file: &str, content: Vec<u8>, encoding: Encoding) -> Result<Vec<u8>, Failure> {
    if encoding == Encoding::Raw || (encoding == Encoding::Auto && !looks_like_text(&content)) {
        return Ok(content);
    }
    let text = String::from_utf8_lossy(&content);
    parse(&text).map_err(|Wrong { line, column, problem }| {
        let guessed = encoding == Encoding::Auto;
        Failure::Hex { file: file.into(), line, column, problem, guessed }
    })
}

/// Bare instructions, raw or in hex.
pub(crate) fn instructions(file: &str, content: Vec<u8>) -> Result<Vec<u8>, Failure> {
    let is_text = looks_like_text(&content);
    bytes(file, content, Encoding::Auto).map_err(|failure| match failure {
        Failure::Hex { .. } if is_text => super::object::not_an_object(file),
        other => other,
    })
}

/// Whether content is text: only printable ASCII and white space.
fn looks_like_text(content: &[u8]) -> bool {
    !content.is_empty() && content.iter().all(|b| matches!(b, b'\t' | b'\n' | b'\r' | b' '..=b'~'))
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Wrong {
    line: usize,
    column: usize,
    pub(crate) problem: String,
}

/// Reads bytes from hex text.
pub(crate) fn parse(text: &str) -> Result<Vec<u8>, Wrong> {
    let mut bytes = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let number = index + 1;
        let line = line.split('#').next().unwrap_or_default();
        let data = match dump_data(line, bytes.len()) {
            Some(Ok(data)) => data,
            Some(Err(problem)) => return Err(Wrong { line: number, column: 1, problem }),
            None => line,
        };
        // `data` is a part of `line`.
        let start = data.as_ptr() as usize - line.as_ptr() as usize;
        digits(data, &mut bytes).map_err(|(at, problem)| Wrong {
            line: number,
            column: line[..start + at].chars().count() + 1,
            problem,
        })?;
    }
    Ok(bytes)
}

/// Reads pairs of digits with separators between them; an error has its offset.
fn digits(text: &str, bytes: &mut Vec<u8>) -> Result<(), (usize, String)> {
    let mut high: Option<(usize, u8)> = None;
    let mut rest = text.char_indices().peekable();
    while let Some((at, c)) = rest.next() {
        let prefix = match (c, rest.peek()) {
            ('0', Some((_, 'x' | 'X'))) | ('\\', Some((_, 'x'))) => high.is_none(),
            _ => false,
        };
        if prefix {
            rest.next();
        } else if let Some(digit) = c.to_digit(16) {
            match high.take() {
                Some((_, first)) => bytes.push(first << 4 | digit as u8),
                None => high = Some((at, digit as u8)),
            }
        } else if c.is_ascii_whitespace() || matches!(c, ',' | ':' | '"') {
            if let Some((at, _)) = high {
                return Err((at, "a single hex digit; bytes are pairs of them".into()));
            }
        } else {
            return Err((at, format!("'{}' is not a hex digit", c.escape_default())));
        }
    }
    match high {
        Some((at, _)) => Err((at, "a single hex digit; bytes are pairs of them".into())),
        None => Ok(()),
    }
}

/// The part of a line of a hex dump between its offset and its text column; none if the line has no
/// offset. `done` is how many bytes came before.
fn dump_data(line: &str, done: usize) -> Option<Result<&str, String>> {
    let trimmed = line.trim_start();
    let word_end = trimmed.find([' ', '\t', ':']).unwrap_or(trimmed.len());
    let (word, rest) = trimmed.split_at(word_end);
    let digits = word.strip_prefix("0x").unwrap_or(word);
    let offset = usize::from_str_radix(digits, 16).ok()?;
    let colon = rest.starts_with(':') && digits.len() > 2;
    let rest = rest.strip_prefix(':').filter(|_| colon).unwrap_or(rest);
    let first = rest.split_whitespace().next().unwrap_or_default();
    // Without a colon, an offset shows itself by being longer than the bytes and by its value.
    let longer = digits.len() >= 4 && digits.len() > first.len() && !first.is_empty();
    let bare = longer && offset == done;
    // A dump ends with the offset of its end.
    let end = first.is_empty() && digits.len() >= 6 && done > 0 && offset == done;
    if !(colon || bare || end) {
        return None;
    }
    if offset != done {
        let problem = format!("the offset is {offset:#x}, but {done:#x} bytes came before");
        return Some(Err(problem));
    }
    Some(Ok(without_text_column(rest, colon)))
}

/// Cuts off the text column of a hex dump: what follows `|`, or a gap after the data.
fn without_text_column(data: &str, colon: bool) -> &str {
    if let Some((data, _)) = data.split_once('|') {
        return data;
    }
    // `hexdump -C` and Wireshark leave two spaces in the middle of the line.
    let gap = if colon { "  " } else { "   " };
    let lead = data.len() - data.trim_start().len();
    match data[lead..].find(gap) {
        Some(at) => &data[..lead + at],
        None => data,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_and_separators() {
        for text in [
            "0102ff",
            "01 02 FF",
            "0x0102ff",
            "0x01, 0x02,0xff",
            "\\x01\\x02\\xff",
            "01:02:ff",
            "\"\\x01\\x02\\xff\"",
            "01\n02\n\nff\n",
            "# a packet\n0102 # two\nff",
        ] {
            assert_eq!(parse(text), Ok(vec![1, 2, 255]), "{text}");
        }
        assert_eq!(parse(" \n"), Ok(vec![]));
    }

    #[test]
    fn hex_dumps() {
        let bytes: Vec<u8> = (0x40..0x54).collect();
        let xxd = "00000000: 4041 4243 4445 4647 4849 4a4b 4c4d 4e4f  @ABCDEFGHIJKLMNO\n\
                   00000010: 5051 5253                                PQRS\n";
        let hexdump = "00000000  40 41 42 43 44 45 46 47  48 49 4a 4b 4c 4d 4e 4f  |@ABCDEFGHIJKLMNO|\n\
                       00000010  50 51 52 53                                       |PQRS|\n\
                       00000014\n";
        let od = "000000 40 41 42 43 44 45 46 47 48 49 4a 4b 4c 4d 4e 4f\n\
                  000010 50 51 52 53\n000014\n";
        let tcpdump = "\t0x0000:  4041 4243 4445 4647 4849 4a4b 4c4d 4e4f\n\
                       \t0x0010:  5051 5253\n";
        let wireshark = "0000   40 41 42 43 44 45 46 47 48 49 4a 4b 4c 4d 4e 4f   @ABCDEFGHIJKLMNO\n\
                         0010   50 51 52 53                                       PQRS\n";
        for dump in [xxd, hexdump, od, tcpdump, wireshark] {
            assert_eq!(parse(dump), Ok(bytes.clone()), "{dump}");
        }
    }

    #[test]
    fn wrong_text_names_its_place() {
        let wrong = |text| parse(text).unwrap_err();
        let odd = "a single hex digit; bytes are pairs of them";
        assert_eq!(wrong("01\n02 3"), Wrong { line: 2, column: 4, problem: odd.into() });
        assert_eq!(wrong("0 1"), Wrong { line: 1, column: 1, problem: odd.into() });
        let zap = Wrong { line: 1, column: 4, problem: "'z' is not a hex digit".into() };
        assert_eq!(wrong("01 zap"), zap);
        let gap = "the offset is 0x20, but 0x10 bytes came before";
        let line = "00000000: 4041 4243 4445 4647 4849 4a4b 4c4d 4e4f\n00000020: 40";
        assert_eq!(wrong(line), Wrong { line: 2, column: 1, problem: gap.into() });
    }

    #[test]
    fn raw_or_hex() {
        let read = |content: &[u8], encoding| bytes("f", content.to_vec(), encoding);
        assert_eq!(read(b"\x00\x0102", Encoding::Auto).unwrap(), b"\x00\x0102");
        assert_eq!(read(b"0102", Encoding::Auto).unwrap(), [1, 2]);
        assert_eq!(read(b"0102", Encoding::Raw).unwrap(), b"0102");
        let error = read(b"hello", Encoding::Auto).unwrap_err();
        assert!(error.to_string().contains("f:1:1: 'h'"), "{error}");
        assert!(error.hint().unwrap().contains("--encoding raw"));
        assert!(read(b"\xff\xff", Encoding::Hex).is_err());
    }
}
