//! Files as bytes and text; `-` is standard input.

use crate::failure::Failure;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// The most that is read of a file, in bytes: the largest real objects have a tenth of it.
pub(crate) const LIMIT_BYTES: u64 = 256 << 20;

/// Whether a path means a standard stream.
pub(crate) fn is_stream(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// What the file is called in messages.
pub(crate) fn name(path: &Path) -> String {
    if is_stream(path) { "standard input".into() } else { path.display().to_string() }
}

/// Reads a file or standard input, up to [`LIMIT_BYTES`].
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let failed = |source| Failure::Read { file: name(path), source };
    let mut bytes = Vec::new();
    let source: &mut dyn Read = if is_stream(path) {
        &mut io::stdin().lock()
    } else {
        let file = File::open(path).map_err(failed)?;
        let length = file.metadata().map_err(failed)?.len();
        if length > LIMIT_BYTES {
            return Err(Failure::TooLarge { file: name(path), bytes: length, limit: LIMIT_BYTES });
        }
        &mut { file }
    };
    source.take(LIMIT_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
    match bytes.len() as u64 {
        n if n > LIMIT_BYTES => {
            Err(Failure::TooLarge { file: name(path), bytes: n, limit: LIMIT_BYTES })
        }
        _ => Ok(bytes),
    }
}

/// Writes a file.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    std::fs::write(path, bytes)
        .map_err(|source| Failure::Write { file: path.display().to_string(), source })
}

/// Bytes that must be text.
pub(crate) fn text<'a>(file: &str, bytes: &'a [u8]) -> Result<&'a str, Failure> {
    std::str::from_utf8(bytes).map_err(|e| {
        let line = 1 + bytes[..e.valid_up_to()].iter().filter(|b| **b == b'\n').count();
        Failure::Input {
            file: file.into(),
            problem: format!("byte {} (line {line}) is not UTF-8 text", e.valid_up_to()),
            hint: bytes
                .starts_with(b"\x7fELF")
                .then(|| "this is an ELF file; `ebpfvm disasm` reads those".into()),
        }
    })
}
