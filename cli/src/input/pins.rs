//! Maps that live on between runs, in files of a directory.

use crate::failure::Failure;
use ebpfvm::map::Snapshot;
use ebpfvm::{Loaded, Map, MapRef, PinError, PinRoot};
use ebpfvm_spec::map::MapOrigin;
use ebpfvm_spec::{MapDef, MapFlags};
use std::path::PathBuf;

/// Where maps live on, and which.
#[derive(clap::Args)]
#[group(id = "pins")]
pub(crate) struct Pins {
    /// Keep maps that are pinned by name in files of this directory: they begin with what is there and
    /// are written back after the run
    #[arg(long, value_name = "DIR")]
    pin_root: Option<PathBuf>,
    /// Keep all maps, also variables
    #[arg(long, requires = "pin_root")]
    pin_all: bool,
}

impl Pins {
    /// Gives the maps the contents that were kept. Names those that are pinned and cannot be kept.
    pub(crate) fn load(&self, loaded: &Loaded) -> Result<Vec<String>, Failure> {
        let Some(root) = self.root() else { return Ok(Vec::new()) };
        for map in self.maps(loaded) {
            root.load(map)
                .map_err(|error| failure(error, |f, source| Failure::Read { file: f, source }))?;
        }
        let left_out = |map: &&MapRef| map.def().pinned && !Snapshot::is_for(map.def().map_type);
        let note = |map: &MapRef| {
            let def = map.def();
            format!(
                "map '{}' is not kept: maps of kind {} cannot be",
                def.name,
                def.map_type.name()
            )
        };
        Ok(loaded.maps().iter().filter(left_out).map(note).collect())
    }

    /// Writes the contents of the maps.
    pub(crate) fn store(&self, loaded: &Loaded) -> Result<(), Failure> {
        let Some(root) = self.root() else { return Ok(()) };
        for map in self.maps(loaded) {
            root.store(map)
                .map_err(|error| failure(error, |f, source| Failure::Write { file: f, source }))?;
        }
        Ok(())
    }

    /// Whether a directory is given.
    pub(crate) fn is_given(&self) -> bool {
        self.pin_root.is_some()
    }

    fn root(&self) -> Option<PinRoot> {
        self.pin_root.as_ref().map(PinRoot::new)
    }

    fn maps<'a>(&self, loaded: &'a Loaded) -> impl Iterator<Item = &'a Map> {
        let all = self.pin_all;
        let is_kept = move |def: &MapDef| def.pinned || all && !is_constant(def);
        let maps = loaded.maps().iter().map(|map| &**map);
        maps.filter(move |map| is_kept(map.def()) && Snapshot::is_for(map.def().map_type))
    }
}

/// Whether a map is a section of constants: they are the program's and not its memory.
fn is_constant(def: &MapDef) -> bool {
    matches!(def.origin, MapOrigin::Section { .. }) && def.flags.has(MapFlags::RDONLY_PROG)
}

fn failure(error: PinError, io: impl Fn(String, std::io::Error) -> Failure) -> Failure {
    match error {
        PinError::Io { path, source } => io(path.display().to_string(), source),
        PinError::Content { path, error } => Failure::Input {
            file: path.display().to_string(),
            problem: error.to_string(),
            hint: Some("remove the file to begin anew, or name another directory".into()),
        },
        error => Failure::Usage(error.to_string()),
    }
}
