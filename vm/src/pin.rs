//! A directory in which maps live on: what `bpffs` is to the kernel, with a file for each map.
//!
//! The kernel's pinned maps are shared while they are used; here the contents are read from the file
//! when a map is loaded and written back when the host says so. Of several processes the last writer
//! wins; none sees half a file.

use crate::map::{Map, Snapshot, SnapshotError};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// A directory of pinned maps.
#[derive(Clone, Debug)]
pub struct PinRoot {
    dir: PathBuf,
}

/// Why a map is not read or kept.
#[derive(Debug, thiserror::Error)]
pub enum PinError {
    /// The name of the map is no name of a file.
    #[error("map '{0}': no file can have this name")]
    Name(String),
    /// A file or the directory cannot be read or written.
    #[error("{path}: {source}", path = .path.display())]
    Io {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is larger than the contents of the map can be.
    #[error("{path}: the file has {bytes} bytes, but map '{map}' has at most {limit}", path = .path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Name of the map.
        map: String,
        /// Its size.
        bytes: u64,
        /// The largest that it may have.
        limit: u64,
    },
    /// The file does not hold the contents of such a map.
    #[error("{path}: {error}", path = .path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        error: SnapshotError,
    },
    /// The map cannot be kept.
    #[error("map '{map}': {error}")]
    Map {
        /// Name of the map.
        map: String,
        /// Why.
        error: SnapshotError,
    },
}

impl PinRoot {
    /// A directory, which is made when the first map is kept.
    pub fn new(dir: impl Into<PathBuf>) -> PinRoot {
        PinRoot { dir: dir.into() }
    }

    /// The file of a map.
    ///
    /// # Errors
    /// [`PinError::Name`].
    pub fn path(&self, map: &str) -> Result<PathBuf, PinError> {
        let is_name = !matches!(map, "" | "." | "..") && !map.contains(['/', '\\', '\0']);
        if is_name { Ok(self.dir.join(map)) } else { Err(PinError::Name(map.into())) }
    }

    /// Gives a map the contents that were kept; false if none were.
    ///
    /// # Errors
    /// The file cannot be read, is damaged, or is of a map with other properties. The map is then as
    /// it was, unless a key was refused ([`Snapshot::restore`]).
    pub fn load(&self, map: &Map) -> Result<bool, PinError> {
        let path = self.path(&map.def().name)?;
        let failed = |source| PinError::Io { path: path.clone(), source };
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(failed(error)),
        };
        let bad = |error| PinError::Content { path: path.clone(), error };
        let (bytes, limit) = (file.metadata().map_err(failed)?.len(), Snapshot::max_bytes(map));
        let mut content = Vec::new();
        file.take(limit.saturating_add(1)).read_to_end(&mut content).map_err(failed)?;
        if content.len() as u64 > limit {
            // Most likely it is another map's, and the header tells how that differs.
            Snapshot::header(&content).and_then(|(kept, _)| kept.check(map)).map_err(bad)?;
            let map = map.def().name.clone();
            return Err(PinError::TooLarge { path, map, bytes, limit });
        }
        Snapshot::from_bytes(&content).and_then(|kept| kept.restore(map)).map_err(bad)?;
        Ok(true)
    }

    /// Keeps the contents of a map: in a new file, which then takes the place of the old one.
    ///
    /// # Errors
    /// The kind of the map has no contents that can be kept, or the file cannot be written; an old
    /// file is then as it was.
    pub fn store(&self, map: &Map) -> Result<(), PinError> {
        let path = self.path(&map.def().name)?;
        let name = map.def().name.clone();
        let snapshot = Snapshot::of(map).map_err(|error| PinError::Map { map: name, error })?;
        fs::create_dir_all(&self.dir)
            .map_err(|source| PinError::Io { path: self.dir.clone(), source })?;
        replace(&path, &snapshot.to_bytes()).map_err(|source| PinError::Io { path, source })
    }
}

/// Writes a file that is there whole or not at all.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".{}.new", std::process::id()));
    let new = path.with_file_name(name);
    let written = File::create(&new).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    let done = written.and_then(|()| fs::rename(&new, path));
    if done.is_err() {
        // What is left of it is of no use; that it cannot be removed is not the news.
        let _ = fs::remove_file(&new);
    }
    done
}
