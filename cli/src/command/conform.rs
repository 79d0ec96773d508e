//! `ebpfvm conform`: vectors on engines.

use super::Done;
use crate::failure::Failure;
use crate::output::{self, Output};
use clap::builder::PossibleValuesParser;
use ebpfvm_conformance::runner::{self, ConformError, ENGINES};
use std::io;
use std::path::PathBuf;

/// Run conformance vectors on engines
///
/// Runs every *.data file of a directory (the format of bpf_conformance) and ends with
/// `N passed, N failed, N skipped`; with --json there is one object a vector and engine. An engine
/// that cannot be used here, such as the kernel without the right to load programs, is skipped.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The directory with the vectors
    #[arg(long, value_name = "DIR")]
    vectors: PathBuf,
    /// The engine: the interpreter without checks where it may, the one with checks, the Linux
    /// kernel, or all
    #[arg(long, value_name = "ENGINE", default_value = "all", value_parser = names())]
    engine: String,
}

fn names() -> PossibleValuesParser {
    PossibleValuesParser::new(ENGINES.iter().copied().chain(["all"]))
}

pub(crate) fn run(args: &Args, output: &mut Output) -> Result<Done, Failure> {
    let format = match output.format() {
        output::Format::Text => runner::Format::Text,
        output::Format::Json => runner::Format::Json,
    };
    let summary = runner::conform(&args.vectors, &args.engine, format, output.writer());
    match summary.map_err(failure)? {
        summary if summary.failed > 0 => Ok(Done::Failed),
        _ => Ok(Done::Well),
    }
}

fn failure(error: ConformError) -> Failure {
    match error {
        ConformError::Directory { path, source } => {
            let file = path.display().to_string();
            match source.kind() {
                io::ErrorKind::NotADirectory => Failure::Input {
                    file,
                    problem: "this is not a directory".into(),
                    hint: Some("give the directory that holds the *.data files".into()),
                },
                _ => Failure::Read { file, source },
            }
        }
        ConformError::NoVectors(path) => Failure::Input {
            file: path.display().to_string(),
            problem: "there are no *.data files here".into(),
            hint: Some("give the directory that holds the vectors".into()),
        },
        ConformError::UnknownEngine { .. } => Failure::Usage(error.to_string()),
        ConformError::Write(source) => Failure::stdout(source),
    }
}
