//! The command `ebpfvm`.
//!
//! Every command is a file in [`command`] with its arguments and what it does. What commands read
//! comes through [`input`], what they find out are values in [`model`], and [`render`] writes those
//! as text; with `--json` the same values are written as JSON. Whatever goes wrong is a
//! [`failure::Failure`], which knows its exit code.
#![forbid(unsafe_code)]

mod command;
mod failure;
mod input;
mod model;
mod output;
mod render;

use clap::{ColorChoice, Parser};
use command::Command;
use failure::Failure;
use output::{Format, Output};
use std::ffi::OsString;
use std::process::ExitCode;

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  the program trapped or ran out of fuel, is rejected, or vectors failed
  2  wrong use: an option, or a program, section, map, field or engine that there is not
  3  input that cannot be used: a file that cannot be read or written, a broken object,
     packet, text or JSON, or an object that needs what this machine does not have
  4  the verifier does not judge what the program needs yet

With --json there is one JSON object on standard output, {\"error\": {...}} when something
went wrong.";

/// Runs, judges, disassembles, assembles and inspects eBPF programs, without root and without a kernel.
#[derive(Parser)]
#[command(name = "ebpfvm", version, after_help = EXIT_CODES, max_term_width = 100)]
struct Cli {
    /// Write JSON, errors too
    #[arg(long, global = true, help_heading = "Global options")]
    json: bool,
    /// Colours
    #[arg(
        long,
        global = true,
        help_heading = "Global options",
        value_name = "WHEN",
        default_value = "auto",
        hide_possible_values = true
    )]
    color: ColorChoice,
    #[command(subcommand)]
    command: Command,
}

fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().collect();
    match Cli::try_parse_from(&args) {
        Ok(cli) => {
            let format = if cli.json { Format::Json } else { Format::Text };
            let mut output = Output::new(format, cli.color);
            let result = cli.command.run(&mut output);
            finish(result, &mut output)
        }
        Err(error) if error.use_stderr() && args.iter().any(|a| a == "--json") => {
            let mut output = Output::new(Format::Json, ColorChoice::Never);
            finish(Err(Failure::Arguments(error.to_string())), &mut output)
        }
        Err(error) => {
            let code = error.exit_code();
            // Help into a closed pipe is no failure.
            let _ = error.print();
            ExitCode::from(code as u8)
        }
    }
}

/// Writes what went wrong and gives the exit code.
fn finish(result: Result<command::Done, Failure>, output: &mut Output) -> ExitCode {
    let result = result.and_then(|done| output.flush().map(|()| done));
    let code = match &result {
        Ok(command::Done::Well) => 0,
        Ok(command::Done::Failed) => 1,
        Ok(command::Done::Unusable) => 3,
        Ok(command::Done::Unsupported) => 4,
        Err(failure) => {
            output.failure(failure);
            failure.exit_code()
        }
    };
    ExitCode::from(code)
}
