//! What Linux says of programs, as a file of JSON lines.
//!
//! A line has the fields of [`Truth`]; `file` names the C source, whose object is the file with
//! `.bpf.o` in place of `.c`. Other fields are ignored.

use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

/// What Linux says of one program, loaded alone, as root, by libbpf.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Truth {
    /// The C source that the program's object was made from.
    pub file: String,
    /// Name of the program.
    pub program: String,
    /// Number of its type.
    pub prog_type: u32,
    /// Number of its expected attach type.
    pub attach_type: u32,
    /// Flags of the load besides those that the section's name brings.
    pub flags: u32,
    /// What is needed to judge it, by a letter.
    pub tier: String,
    /// Whether it was accepted.
    pub accepted: bool,
    /// The last line of the log before the statistics.
    pub message: String,
    /// Instructions that were followed.
    pub processed: u64,
    /// Microseconds that it took.
    pub time_us: u64,
}

/// Why a file of verdicts cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TruthError {
    /// It cannot be read.
    #[error("{file}: {source}")]
    Read {
        /// The file.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A line is not what it should be.
    #[error("{file}:{line}: {why}")]
    Line {
        /// The file.
        file: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        why: String,
    },
}

impl Truth {
    /// Reads a file.
    ///
    /// # Errors
    /// [`TruthError`] with the line.
    pub fn read(file: &Path) -> Result<Vec<Truth>, TruthError> {
        let text = std::fs::read_to_string(file)
            .map_err(|source| TruthError::Read { file: file.into(), source })?;
        let parse = |(index, line)| {
            Truth::parse(line).map_err(|why| TruthError::Line {
                file: file.into(),
                line: index + 1,
                why,
            })
        };
        text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()).map(parse).collect()
    }

    fn parse(line: &str) -> Result<Truth, String> {
        let value: Value = serde_json::from_str(line).map_err(|e| e.to_string())?;
        let Value::Object(fields) = value else { return Err("an object is expected".into()) };
        Ok(Truth {
            file: text(&fields, "file")?,
            program: text(&fields, "program")?,
            prog_type: small(&fields, "prog_type")?,
            attach_type: small(&fields, "attach_type")?,
            flags: small(&fields, "flags")?,
            tier: text(&fields, "tier")?,
            accepted: field(&fields, "accepted", Value::as_bool, "true or false")?,
            message: text(&fields, "message")?,
            processed: number(&fields, "processed")?,
            time_us: number(&fields, "time_us")?,
        })
    }

    /// The name of the object's file.
    pub fn object(&self) -> String {
        format!("{}.bpf.o", self.file.strip_suffix(".c").unwrap_or(&self.file))
    }
}

fn field<'a, T>(
    fields: &'a Map<String, Value>,
    name: &str,
    read: impl FnOnce(&'a Value) -> Option<T>,
    expected: &str,
) -> Result<T, String> {
    let value = fields.get(name).ok_or_else(|| format!("field '{name}' is missing"))?;
    read(value).ok_or_else(|| format!("field '{name}' is {value}, {expected} is expected"))
}

fn text(fields: &Map<String, Value>, name: &str) -> Result<String, String> {
    field(fields, name, Value::as_str, "a string").map(str::to_string)
}

fn number(fields: &Map<String, Value>, name: &str) -> Result<u64, String> {
    field(fields, name, Value::as_u64, "a number")
}

fn small(fields: &Map<String, Value>, name: &str) -> Result<u32, String> {
    let read = |value: &Value| u32::try_from(value.as_u64()?).ok();
    field(fields, name, read, "a number of 32 bits")
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = r#"{"file": "a.c", "program": "p", "prog_type": 6, "attach_type": 0,
        "flags": 8, "tier": "A", "accepted": false, "message": "no", "processed": 3, "time_us": 9}"#;

    #[test]
    fn a_line_is_read() {
        let truth = Truth::parse(LINE).unwrap();
        assert_eq!((truth.object().as_str(), truth.program.as_str()), ("a.bpf.o", "p"));
        assert_eq!((truth.prog_type, truth.flags, truth.processed), (6, 8, 3));
        assert!(!truth.accepted);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let error = |from: &str, to: &str| Truth::parse(&LINE.replace(from, to)).unwrap_err();
        assert_eq!(error("\"tier\"", "\"t\""), "field 'tier' is missing");
        let expected = "field 'accepted' is 0, true or false is expected";
        assert_eq!(error("false", "0"), expected);
        let expected = "field 'flags' is 4294967296, a number of 32 bits is expected";
        assert_eq!(error("\"flags\": 8", "\"flags\": 4294967296"), expected);
    }
}
