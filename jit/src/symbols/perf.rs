//! The map that `perf` reads: a line for each function, `START SIZE NAME` in hex.
//!
//! `perf` reads it when the process has ended, so what was dropped stays in it, until other code lies
//! at its addresses. The file is begun anew by the first program that is told of; it is never one
//! that somebody else has put there.

use super::Listed;
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// The file of this process.
static MAP: Mutex<Option<Map>> = Mutex::new(None);

/// Begins the file, if it is not there yet.
///
/// # Errors
/// It cannot be written.
pub(super) fn begin() -> io::Result<()> {
    with_map(|_| Ok(()))
}

pub(super) fn tell(listed: &Listed<'_>) -> io::Result<()> {
    with_map(|map| map.add(listed))
}

fn with_map(with: impl FnOnce(&mut Map) -> io::Result<()>) -> io::Result<()> {
    let path = super::perf_map();
    let mut map = MAP.lock().unwrap_or_else(PoisonError::into_inner);
    let map = match &mut *map {
        Some(map) if map.path == path => map,
        other => {
            // A process that was forked has the code of the first, and a file of its own.
            let entries = other.take().map(|map| map.entries).unwrap_or_default();
            other.insert(Map::create(&path, entries)?)
        }
    };
    with(map)
}

#[derive(Debug)]
pub(super) struct Map {
    path: PathBuf,
    file: File,
    /// Size in bytes and name, by address.
    entries: BTreeMap<u64, (u64, String)>,
}

impl Map {
    /// Makes the file.
    pub(super) fn create(path: &Path, entries: BTreeMap<u64, (u64, String)>) -> io::Result<Map> {
        // What is there is of a process that had this number before. A link is not followed.
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = OpenOptions::new().append(true).create_new(true).mode(0o600).open(path)?;
        let mut map = Map { path: path.into(), file, entries };
        map.write_all()?;
        Ok(map)
    }

    pub(super) fn add(&mut self, listed: &Listed<'_>) -> io::Result<()> {
        let mut is_stale = false;
        let mut lines = String::new();
        for piece in &listed.pieces {
            let start = listed.start + u64::from(piece.range.start);
            let bytes = u64::from(piece.range.end - piece.range.start);
            is_stale |= self.forget(start, start + bytes);
            lines += &line(start, bytes, &piece.name);
            self.entries.insert(start, (bytes, piece.name.clone()));
        }
        match is_stale {
            true => self.write_all(),
            false => self.file.write_all(lines.as_bytes()),
        }
    }

    /// Forgets what lay in a range; whether something did.
    fn forget(&mut self, start: u64, end: u64) -> bool {
        let before = self.entries.len();
        while let Some((at, (bytes, _))) = self.entries.range(..end).next_back() {
            let at = *at;
            if at + bytes <= start {
                break;
            }
            self.entries.remove(&at);
        }
        self.entries.len() != before
    }

    fn write_all(&mut self) -> io::Result<()> {
        let lines: String =
            self.entries.iter().map(|(start, (bytes, name))| line(*start, *bytes, name)).collect();
        self.file.set_len(0)?;
        self.file.seek(SeekFrom::Start(0))?;
        self.file.write_all(lines.as_bytes())
    }
}

fn line(start: u64, bytes: u64, name: &str) -> String {
    format!("{start:x} {bytes:x} {name}\n")
}
