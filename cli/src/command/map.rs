//! `ebpfvm map`: what a file of a map holds.

use super::Done;
use crate::failure::Failure;
use crate::input::{file, map, object};
use crate::model::maps::{MapReport, entries};
use crate::output::{Format, Output};
use crate::render;
use ebpfvm::Map;
use ebpfvm::map::{MapLimits, Snapshot, SnapshotError};
use ebpfvm_loader::Object;
use ebpfvm_spec::map::MapOrigin;
use std::path::{Path, PathBuf};

/// Look at maps that are kept in files
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Show the contents of a map that `run --pin-root` has kept
    Dump(Dump),
}

#[derive(clap::Args)]
struct Dump {
    /// The file of the map
    file: PathBuf,
    /// The object file whose types keys and values are shown through
    #[arg(long, value_name = "FILE")]
    object: Option<PathBuf>,
    /// The map of the object; the one with the name of the file if not given
    #[arg(long, value_name = "NAME", requires = "object")]
    map: Option<String>,
}

pub(crate) fn run(args: &Args, output: &mut Output) -> Result<Done, Failure> {
    let Command::Dump(args) = &args.command;
    let name = file::name(&args.file);
    let input = |problem: String| Failure::Input { file: name.clone(), problem, hint: None };
    let kept = Snapshot::from_bytes(&file::read(&args.file)?).map_err(|e| input(e.to_string()))?;
    let stem = args.file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut def = kept.def(&stem);
    let object = args.object.as_deref().map(types).transpose()?;
    if let Some(object) = &object {
        let own = &object.maps()[map::find(object, args.map.as_deref().unwrap_or(&stem))?];
        let sizes = (own.key_bytes, own.value_bytes);
        if sizes != (def.key_bytes, def.value_bytes) {
            return Err(input(format!(
                "keys have {} and values {} bytes, but those of map '{}' in {} have {} and {}",
                def.key_bytes,
                def.value_bytes,
                own.name,
                object.file(),
                own.key_bytes,
                own.value_bytes,
            )));
        }
        (def.key_type, def.value_type) = (own.key_type, own.value_type);
        def.special = own.special.clone();
        def.name = own.name.clone();
        // Sections are shown as variables.
        if let (MapOrigin::Section { section, .. }, Some((_, data))) =
            (&own.origin, kept.entries().next())
        {
            def.origin = MapOrigin::Section { section: section.clone(), data: data.into() };
        }
    }
    let map = Map::create(&def, kept.cpus(), &MapLimits::default());
    let map = map.map_err(|error| input(error.to_string()))?;
    kept.restore(&map).map_err(|error: SnapshotError| input(error.to_string()))?;
    let btf = object.as_ref().and_then(Object::btf).map(|btf| &**btf);
    let report = MapReport::new(&def, kept.cpus(), entries(btf, &map).unwrap_or_default(), &map);
    match output.format() {
        Format::Json => output.json(&report)?,
        Format::Text => output.text(&render::maps::report(&def, btf, &report))?,
    }
    Ok(Done::Well)
}

/// The object that the types are from.
fn types(path: &Path) -> Result<Object, Failure> {
    object::parse(&file::read(path)?, &file::name(path))
}
