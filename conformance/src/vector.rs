//! Test vectors: the file format of bpf_conformance.
//!
//! A file is a sequence of sections. A line `-- name` begins one; lines before the first are
//! comments. `#` begins a comment in every section.
//!
//! | Section | Content |
//! |---|---|
//! | `asm` | the program in mnemonics |
//! | `raw` | the program as one number of 64 bits a slot: the 8 bytes read as little endian |
//! | `mem` | the memory, bytes in hexadecimal |
//! | `result` | the value of `r0` at the end |
//! | `error` | what the refusal says, or nothing if any refusal will do |
//! | `c` | the source, for people |
//! | `no register offset` | for runners that renumber registers: not with this one; any text |
//!
//! A file has `asm` or `raw`; with both, the first must assemble to the second. It has `result` or
//! `error`.

use ebpfvm_asm::text::{Dialect, assemble};
use ebpfvm_asm::{ByteOrder, Slot};
use std::path::{Path, PathBuf};

/// A program with what it is given and what it must give.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vector {
    /// Where it was read from.
    pub path: PathBuf,
    /// The comments before the first section.
    pub description: String,
    /// The program, or why its text is none.
    pub program: Result<Vec<Slot>, String>,
    /// The memory; none if the program gets no memory.
    pub memory: Option<Vec<u8>>,
    /// What must come of it.
    pub expected: Expected,
    /// Whether a runner may renumber the program's registers.
    pub register_offset: bool,
}

/// What must come of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expected {
    /// It returns this value.
    Value(u64),
    /// It is refused or stopped; the message of an engine of this project contains this text.
    Error(String),
}

impl std::fmt::Display for Expected {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Expected::Value(value) => write!(f, "{value:#x}"),
            Expected::Error(text) if text.is_empty() => f.write_str("a refusal"),
            Expected::Error(text) => write!(f, "a refusal with {text:?}"),
        }
    }
}

/// Why a file is not a vector.
#[derive(Debug, thiserror::Error)]
pub enum VectorError {
    /// The file cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: std::io::Error,
    },
    /// The content is wrong.
    #[error("{}:{line}: {what}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong and what was expected.
        what: String,
    },
}

/// A file larger than this is no vector.
const MAX_FILE_BYTES: u64 = 16 << 20;

/// A line of a section and its number.
type Line<'a> = (usize, &'a str);

#[derive(Default)]
struct Sections<'a> {
    asm: Option<(usize, Vec<Line<'a>>)>,
    raw: Option<(usize, Vec<Line<'a>>)>,
    mem: Option<(usize, Vec<Line<'a>>)>,
    result: Option<(usize, Vec<Line<'a>>)>,
    error: Option<(usize, Vec<Line<'a>>)>,
    c: Option<(usize, Vec<Line<'a>>)>,
    no_register_offset: Option<(usize, Vec<Line<'a>>)>,
}

impl<'a> Sections<'a> {
    fn named(&mut self, name: &str) -> Option<&mut Option<(usize, Vec<Line<'a>>)>> {
        Some(match name {
            "asm" => &mut self.asm,
            "raw" => &mut self.raw,
            "mem" => &mut self.mem,
            "result" => &mut self.result,
            "error" => &mut self.error,
            "c" => &mut self.c,
            "no register offset" => &mut self.no_register_offset,
            _ => return None,
        })
    }
}

/// The line without its comment and the space around it.
fn bare(line: &str) -> &str {
    line.split('#').next().unwrap_or_default().trim()
}

/// A number, decimal or hexadecimal with `0x`; negative ones are taken modulo 2^64.
fn number(text: &str) -> Option<u64> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    if !digits.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let value = match digits.strip_prefix("0x").or(digits.strip_prefix("0X")) {
        Some(hex) => u64::from_str_radix(hex, 16).ok()?,
        None => digits.parse().ok()?,
    };
    Some(if negative { value.wrapping_neg() } else { value })
}

/// What is wrong and on which line; the caller adds the file.
type Fault = (usize, String);

fn raw_slots(lines: &[Line<'_>]) -> Result<Vec<Slot>, Fault> {
    let mut slots = Vec::new();
    for (line, text) in lines {
        for word in bare(text).split_whitespace() {
            let value = number(word)
                .ok_or_else(|| (*line, format!("`{word}` is not a 64-bit number such as 0x95")))?;
            slots.push(Slot::from_bytes(value.to_le_bytes(), ByteOrder::Little));
        }
    }
    Ok(slots)
}

fn hex_bytes(lines: &[Line<'_>]) -> Result<Vec<u8>, Fault> {
    let mut bytes = Vec::new();
    for (line, text) in lines {
        for word in bare(text).split_whitespace() {
            let byte = u8::from_str_radix(word, 16).ok().filter(|_| word.len() == 2);
            let what = || (*line, format!("`{word}` is not a byte of two hexadecimal digits"));
            bytes.push(byte.ok_or_else(what)?);
        }
    }
    Ok(bytes)
}

/// The program of an `asm` section; the outer error is that of the file.
fn assembled(
    first: usize,
    lines: &[Line<'_>],
    fails: bool,
) -> Result<Result<Vec<Slot>, String>, Fault> {
    let text: Vec<&str> = lines.iter().map(|(_, text)| *text).collect();
    let slots = match assemble(&text.join("\n"), Dialect::Mnemonic) {
        Ok(code) => code.encode().map_err(|e| (first, e.to_string())),
        Err(e) => Err((
            lines.get(e.line.saturating_sub(1)).map_or(first, |(line, _)| *line),
            e.kind.to_string(),
        )),
    };
    match slots {
        Ok(slots) => Ok(Ok(slots)),
        // A vector may be about the assembler's refusal.
        Err((_, what)) if fails => Ok(Err(what)),
        Err(fault) => Err(fault),
    }
}

impl Vector {
    /// Reads a file.
    ///
    /// # Errors
    /// [`VectorError`] with file and line.
    pub fn read(path: &Path) -> Result<Vector, VectorError> {
        let fail = |source| VectorError::Read { path: path.into(), source };
        let bytes = std::fs::metadata(path).map_err(fail)?.len();
        if bytes > MAX_FILE_BYTES {
            let what = format!("{bytes} bytes are too many for a vector, at most {MAX_FILE_BYTES}");
            return Err(VectorError::Syntax { path: path.into(), line: 0, what });
        }
        Vector::parse(path, &std::fs::read_to_string(path).map_err(fail)?)
    }

    /// Parses the text of a file; `path` is for errors and reports.
    ///
    /// # Errors
    /// [`VectorError::Syntax`].
    pub fn parse(path: &Path, text: &str) -> Result<Vector, VectorError> {
        parse(path, text).map_err(|(line, what)| VectorError::Syntax {
            path: path.into(),
            line,
            what,
        })
    }

    /// The file's name without folders.
    pub fn file_name(&self) -> String {
        self.path.file_name().unwrap_or(self.path.as_os_str()).to_string_lossy().into_owned()
    }
}

fn parse(path: &Path, text: &str) -> Result<Vector, Fault> {
    let mut sections = Sections::default();
    let mut description = String::new();
    let mut open: Option<String> = None;
    for (index, text) in text.lines().enumerate() {
        let line = index + 1;
        if let Some(name) = text.strip_prefix("--") {
            let name = name.trim();
            let section = sections
                .named(name)
                .ok_or_else(|| (line, format!("there is no section `{name}`; there are asm, raw, mem, result, error, c, no register offset")))?;
            if section.is_some() {
                return Err((line, format!("section `{name}` is there twice")));
            }
            *section = Some((line, Vec::new()));
            open = Some(name.to_string());
            continue;
        }
        match open.as_deref().and_then(|name| sections.named(name)) {
            Some(Some((_, lines))) => lines.push((line, text)),
            _ if bare(text).is_empty() => {
                let comment = text.trim().trim_start_matches('#').trim();
                if !comment.is_empty() {
                    description.push_str(comment);
                    description.push('\n');
                }
            }
            _ => return Err((line, "expected a comment or the first section, `-- name`".into())),
        }
    }
    let end = text.lines().count();
    let expected = expected(&sections, end)?;
    let fails = matches!(expected, Expected::Error(_));
    let from_asm = match &sections.asm {
        Some((first, lines)) => Some(assembled(*first, lines, fails)?),
        None => None,
    };
    let from_raw = match &sections.raw {
        Some((_, lines)) => Some(raw_slots(lines)?),
        None => None,
    };
    let program = match (from_asm, from_raw) {
        (None, None) => return Err((end, "expected a section `asm` or `raw`".into())),
        (Some(program), None) => program,
        (None, Some(slots)) => Ok(slots),
        (Some(program), Some(slots)) => {
            if program.as_ref() != Ok(&slots) {
                let line = sections.raw.as_ref().map_or(end, |(line, _)| *line);
                return Err((line, "section `asm` does not assemble to section `raw`".into()));
            }
            program
        }
    };
    let memory = match &sections.mem {
        Some((_, lines)) => Some(hex_bytes(lines)?),
        None => None,
    };
    let register_offset = sections.no_register_offset.is_none();
    Ok(Vector { path: path.into(), description, program, memory, expected, register_offset })
}

fn expected(sections: &Sections<'_>, end: usize) -> Result<Expected, Fault> {
    match (&sections.result, &sections.error) {
        (Some((line, lines)), None) => {
            let words: Vec<&str> =
                lines.iter().flat_map(|(_, text)| bare(text).split_whitespace()).collect();
            let value = match words[..] {
                [word] => number(word),
                _ => None,
            };
            let what = || (*line, "section `result` needs one number, such as 0x1".to_string());
            Ok(Expected::Value(value.ok_or_else(what)?))
        }
        (None, Some((_, lines))) => {
            let lines: Vec<&str> =
                lines.iter().map(|(_, text)| text.trim()).filter(|text| !text.is_empty()).collect();
            Ok(Expected::Error(lines.join("\n")))
        }
        (Some(_), Some((line, _))) => {
            Err((*line, "a vector has a section `result` or `error`, not both".into()))
        }
        (None, None) => Err((end, "expected a section `result` or `error`".into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Vector {
        Vector::parse(Path::new("v.data"), text).unwrap()
    }

    fn error(text: &str) -> String {
        Vector::parse(Path::new("v.data"), text).unwrap_err().to_string()
    }

    #[test]
    fn all_sections_are_read() {
        let v = parsed(
            "# What\n\n# it is\n-- asm\nmov %r0, 5 # five\nexit\n-- raw\n0x00000005000000b7\n\
             0x95 # exit\n-- c\nint f() { return 5; }\n-- mem\n01 02 # two\nff\n\
             -- no register offset\nwhy\n-- result\n0x5\n",
        );
        assert_eq!(v.description, "What\nit is\n");
        assert_eq!(v.program.unwrap().len(), 2);
        assert_eq!(v.memory, Some(vec![1, 2, 0xff]));
        assert_eq!(v.expected, Expected::Value(5));
        assert!(!v.register_offset);
    }

    #[test]
    fn numbers_are_decimal_hexadecimal_or_negative() {
        for (text, value) in [("7", 7), ("0xFF", 255), ("-1", u64::MAX), ("-0x2", u64::MAX - 1)] {
            let v = parsed(&format!("-- raw\n0x95\n-- result\n{text}"));
            assert_eq!(v.expected, Expected::Value(value), "{text}");
        }
    }

    #[test]
    fn errors_may_have_text_or_none() {
        assert_eq!(parsed("-- raw\n0x95\n-- error\n").expected, Expected::Error(String::new()));
        let v = parsed("-- asm\nfoo %r1\n-- error\nexpected an instruction\n");
        assert!(v.program.unwrap_err().contains("expected an instruction"));
        assert_eq!(v.expected, Expected::Error("expected an instruction".into()));
    }

    #[test]
    fn faults_have_file_and_line() {
        assert_eq!(
            error("-- raw\n0x95\nx\n-- result\n1"),
            "v.data:3: `x` is not a 64-bit number such as 0x95"
        );
        assert_eq!(
            error("-- raw\n0x95\n-- mem\n1 22\n-- result\n1"),
            "v.data:4: `1` is not a byte of two hexadecimal digits"
        );
        assert!(error("-- asm\n\nfoo\n-- result\n1").starts_with("v.data:3: found `foo`"));
        assert!(error("-- foo\n").starts_with("v.data:1: there is no section `foo`"));
        assert_eq!(error("-- raw\n-- raw\n"), "v.data:2: section `raw` is there twice");
        assert_eq!(error("-- raw\n0x95\n"), "v.data:2: expected a section `result` or `error`");
        assert_eq!(error("-- result\n1\n"), "v.data:2: expected a section `asm` or `raw`");
        assert_eq!(
            error("-- result\n1\n-- error\n-- raw\n0x95"),
            "v.data:3: a vector has a section `result` or `error`, not both"
        );
        assert!(error("-- raw\n0x95\n-- result\n1 2\n").starts_with("v.data:3: section `result`"));
        assert!(
            error("-- asm\nexit\n-- raw\n0\n-- result\n1").starts_with("v.data:3: section `asm`")
        );
        assert!(error("mov\n").starts_with("v.data:1: expected a comment"));
    }

    #[test]
    fn no_text_makes_the_parser_panic() {
        let text = "# c\n-- asm\nlddw %r1, 0x10\nl: jne %r1, 2, l\nexit\n-- mem\n00 ff\n-- raw\n\
                    0x95\n-- no register offset\n-- result\n0x1\n";
        let other =
            ["-", "--", "0x", "é", "\n", "-- error\n", "99999999999999999999", "%", "[", "#"];
        for at in 0..text.len() {
            let path = Path::new("v.data");
            let _ = Vector::parse(path, &text[..at]);
            for insert in other {
                let _ = Vector::parse(path, &format!("{}{insert}{}", &text[..at], &text[at..]));
            }
        }
    }
}
