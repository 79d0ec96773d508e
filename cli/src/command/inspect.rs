//! `ebpfvm inspect`: what an object file holds.

mod native;

use super::Done;
use crate::failure::Failure;
use crate::input::target::Target;
use crate::input::{file, object};
use crate::model::inspect::Inspection;
use crate::output::{Format, Output};
use crate::render;
use ebpfvm_loader::btf::c;
use serde_json::json;
use std::path::PathBuf;

/// Show what an object file holds and needs
///
/// Programs, maps, variables, types, and what a kernel must have to run the programs; or, with
/// --native, the machine code that programs become.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The object file; - for standard input
    file: PathBuf,
    #[command(flatten)]
    target: Target,
    /// Show the types as C instead
    #[arg(long)]
    types: bool,
    /// Show what the instructions refer to
    #[arg(long)]
    relocations: bool,
    #[command(flatten)]
    native: native::Args,
}

pub(crate) fn run(args: &Args, output: &mut Output) -> Result<Done, Failure> {
    let name = file::name(&args.file);
    let mut object = object::parse(&file::read(&args.file)?, &name)?;
    args.target.configure(&mut object)?;
    if let Some(option) = args.native.stray() {
        return Err(Failure::Usage(format!("{option} needs --native; all programs are shown")));
    }
    if args.native.native {
        return native::run(&args.native, &args.target, object, output);
    }
    if args.types {
        let Some(btf) = object.btf() else {
            let problem = "the object has no types".into();
            let hint = Some("compile it with -g".into());
            return Err(Failure::Input { file: name, problem, hint });
        };
        let types = c::header(btf).map_err(|error| Failure::Input {
            file: name,
            problem: error.to_string(),
            hint: None,
        })?;
        match output.format() {
            Format::Json => output.json(&json!({ "types": types }))?,
            Format::Text => output.text(&types)?,
        }
        return Ok(Done::Well);
    }
    let names: Vec<&str> = object.programs().iter().map(|info| info.name.as_str()).collect();
    let target = args.target.types(&object, &names)?;
    let inspection = Inspection::of(&object, target.as_deref());
    match output.format() {
        Format::Json => output.json(&inspection)?,
        Format::Text => output.text(&render::inspect::text(
            &inspection,
            object.btf().map(|btf| &**btf),
            args.relocations,
        ))?,
    }
    Ok(Done::Well)
}
