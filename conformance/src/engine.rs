//! What runs programs.

use ebpfvm_asm::Slot;
use std::fmt;

/// Something that runs eBPF programs.
pub trait Engine {
    /// The name by which it is chosen and reported.
    fn name(&self) -> &str;

    /// Runs a program from its first instruction until it exits, with `memory`'s address in `r1` and
    /// its length in `r2`, or both zero without memory. Legacy packet loads read `memory` as the
    /// packet. The program may write to its copy of the memory.
    fn run(&self, program: &[Slot], memory: Option<&[u8]>) -> Outcome;

    /// Who words this engine's refusals, and whether it refuses what it could run.
    fn verdicts(&self) -> Verdicts {
        Verdicts::Own
    }
}

/// How an engine's refusals are to be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdicts {
    /// The engine refuses what is not a program, in this project's words.
    Own,
    /// The engine has a verifier of its own: it refuses in other words, and also programs whose
    /// result is defined but which it cannot prove safe.
    Foreign,
}

/// What an engine made of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It ran and returned `r0`.
    Value(u64),
    /// It was refused before it ran.
    Refused(String),
    /// It was stopped while it ran.
    Trapped(String),
    /// The engine cannot run it, or anything, here.
    Unsupported(String),
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Value(value) => write!(f, "{value:#x}"),
            Outcome::Refused(why) => write!(f, "refused: {why}"),
            Outcome::Trapped(why) => write!(f, "trapped: {why}"),
            Outcome::Unsupported(why) => write!(f, "unsupported: {why}"),
        }
    }
}

/// An engine that cannot be used on this machine. Every vector is skipped, visibly.
#[derive(Clone, Debug)]
pub struct Unavailable {
    /// The name of the engine that it stands for.
    pub name: String,
    /// Why it cannot be used.
    pub why: String,
}

impl Engine for Unavailable {
    fn name(&self) -> &str {
        &self.name
    }

    fn run(&self, _: &[Slot], _: Option<&[u8]>) -> Outcome {
        Outcome::Unsupported(self.why.clone())
    }
}
