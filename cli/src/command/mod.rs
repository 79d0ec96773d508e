//! The commands, one file each.

mod asm;
mod conform;
mod disasm;
mod inspect;
mod link;
mod map;
mod run;
mod verify;

use crate::failure::Failure;
use crate::output::Output;
use clap::Subcommand;

/// How a command that did its work has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Done {
    /// As hoped.
    Well,
    /// It found out that something else does not work.
    Failed,
    /// Input could not be used; the rest was dealt with.
    Unusable,
    /// A program could not be judged yet.
    Unsupported,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    Run(Box<run::Args>),
    Verify(verify::Args),
    Disasm(disasm::Args),
    Asm(asm::Args),
    Inspect(inspect::Args),
    Link(link::Args),
    Map(map::Args),
    Conform(conform::Args),
}

impl Command {
    pub(crate) fn run(&self, output: &mut Output) -> Result<Done, Failure> {
        match self {
            Command::Run(args) => run::run(args, output),
            Command::Verify(args) => verify::run(args, output),
            Command::Disasm(args) => disasm::run(args, output),
            Command::Inspect(args) => inspect::run(args, output),
            Command::Asm(args) => asm::run(args, output),
            Command::Link(args) => link::run(args, output),
            Command::Map(args) => map::run(args, output),
            Command::Conform(args) => conform::run(args, output),
        }
    }
}
