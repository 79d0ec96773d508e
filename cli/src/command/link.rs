//! `ebpfvm link`: several object files to one.

use super::Done;
use crate::failure::Failure;
use crate::input::{file, object};
use crate::model::link::Linked;
use crate::output::{Format, Output};
use ebpfvm_loader::link_objects;
use ebpfvm_loader::static_linker::{Input, LinkError};
use std::io::IsTerminal;
use std::path::PathBuf;

/// Link object files to one
///
/// As `bpftool gen object` does it: functions, variables and maps that one file declares and another
/// defines come together, and types are merged. What no file defines stays an extern.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The object files, in the order in which their sections follow one another; - for standard
    /// input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Where the object goes; standard output if not given
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

pub(crate) fn run(args: &Args, output: &mut Output) -> Result<Done, Failure> {
    let is_terminal = output.format() == Format::Text && std::io::stdout().is_terminal();
    if args.output.is_none() && (is_terminal || output.format() == Format::Json) {
        return Err(Failure::Usage("the object is no text; give -o FILE".into()));
    }
    if args.files.iter().filter(|path| file::is_stream(path)).count() > 1 {
        return Err(Failure::Usage("standard input can be one of the files only".into()));
    }
    let mut contents = Vec::new();
    for path in &args.files {
        let (name, bytes) = (file::name(path), file::read(path)?);
        // Text is told apart with a hint.
        if !object::is_elf(&bytes) {
            object::parse(&bytes, &name)?;
        }
        contents.push((name, bytes));
    }
    let inputs: Vec<Input<'_>> =
        contents.iter().map(|(file, bytes)| Input { file, bytes }).collect();
    let bytes = link_objects(&inputs).map_err(|error| match error {
        LinkError::Object(error) => error.into(),
        error => {
            let files: Vec<&str> = inputs.iter().map(|i| i.file).collect();
            let (file, message) = (files.join(" "), error.to_string());
            Failure::Object { file, section: None, offset: None, message }
        }
    })?;
    let name = args.output.as_deref().map_or_else(|| "the result".into(), file::name);
    // Also shows that the result can be opened.
    let linked = Linked::new(&object::parse(&bytes, &name)?, bytes.len());
    match &args.output {
        Some(path) => file::write(path, &bytes)?,
        None => output.bytes(&bytes)?,
    }
    if output.format() == Format::Json {
        output.json(&linked)?;
    }
    Ok(Done::Well)
}
