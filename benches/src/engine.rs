//! The engines behind one trait, so that the comparison knows none of them by name.

mod ebpfvm;
mod kernel;
mod native;
mod rbpf;
mod sbpf;
#[cfg(feature = "ubpf")]
mod ubpf;

pub(crate) use ebpfvm::{machine, options};
pub(crate) use sbpf::compile as compile_sbpf;
#[cfg(feature = "ubpf")]
pub(crate) use ubpf::compile as compile_ubpf;

use crate::measure::repeat;
use crate::workload::Workload;
use std::time::Duration;

/// A way to run bench programs.
pub struct Engine {
    /// Heads its column.
    pub name: &'static str,
    /// What is measured, for the chart's reader.
    pub what: &'static str,
    /// Whether it is this project's.
    pub ours: bool,
    /// Makes a program ready to run, everything that can be done once included.
    ///
    /// The error says why this engine cannot run this program.
    pub prepare: fn(&Workload) -> Result<Box<dyn Prepared>, String>,
}

/// A program with its memory and maps, ready to run any number of times.
pub trait Prepared {
    /// Runs the program from its beginning; its answer, or why the engine stopped it.
    fn run(&mut self) -> Result<u64, String>;

    /// Which bits of the answer the engine tells.
    fn answer_bits(&self) -> u64 {
        u64::MAX
    }

    /// How long so many runs take. The program has run before.
    fn time(&mut self, runs: u64) -> Duration {
        repeat(runs, || self.run().expect("the program ran before"))
    }

    /// The memory or the packet as the runs so far left it.
    fn memory(&self) -> Vec<u8>;
}

/// What two runs of a program from its beginning computed. The second finds what the first left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    answers: [u64; 2],
    answer_bits: u64,
    memory: Vec<u8>,
}

impl Outcome {
    /// Where another engine's outcome differs, in words.
    pub fn difference(&self, other: &Outcome) -> Option<String> {
        let bits = self.answer_bits & other.answer_bits;
        let differs = self.answers.iter().zip(&other.answers).find(|(a, b)| *a & bits != *b & bits);
        match differs {
            Some((one, two)) => Some(format!("answers {:#x}, not {:#x}", two & bits, one & bits)),
            None if self.memory != other.memory => Some("leaves another memory".to_owned()),
            None => None,
        }
    }
}

/// Runs a program twice.
///
/// # Errors
/// Why the engine stopped it.
pub fn run_twice(prepared: &mut dyn Prepared) -> Result<Outcome, String> {
    let answers = [prepared.run()?, prepared.run()?];
    Ok(Outcome { answers, answer_bits: prepared.answer_bits(), memory: prepared.memory() })
}

/// The measure of all others.
pub const NATIVE: &str = "native";

const fn engine(
    name: &'static str,
    what: &'static str,
    prepare: fn(&Workload) -> Result<Box<dyn Prepared>, String>,
) -> Engine {
    Engine { name, what, ours: false, prepare }
}

const fn ours(
    name: &'static str,
    what: &'static str,
    prepare: fn(&Workload) -> Result<Box<dyn Prepared>, String>,
) -> Engine {
    Engine { ours: true, ..engine(name, what, prepare) }
}

/// All engines. The first is the measure of the others.
pub const ENGINES: &[Engine] = &[
    engine(NATIVE, "clang -O2", native::prepare),
    ours("jit", "ebpfvm: JIT", ebpfvm::jit),
    ours("jit fuel", "ebpfvm: JIT, fuel counted", ebpfvm::jit_metered),
    ours("jit base", "ebpfvm: JIT without optimiser", ebpfvm::jit_plain),
    ours("chk jit", "ebpfvm: JIT, checked", ebpfvm::checked_jit),
    ours("interp", "ebpfvm: interpreter", ebpfvm::interpreter),
    ours("chk interp", "ebpfvm: interpreter, checked", ebpfvm::checked_interpreter),
    engine("kernel", "Linux: JIT", kernel::prepare),
    engine("rbpf jit", "rbpf: JIT, unchecked", rbpf::jit),
    #[cfg(feature = "cranelift")]
    engine("cranelift", "rbpf: Cranelift, checked", rbpf::cranelift),
    engine("rbpf", "rbpf: interpreter, checked", rbpf::interpreter),
    engine("sbpf raw", "solana-sbpf: JIT, unchecked", sbpf::jit_unchecked),
    engine("sbpf jit", "solana-sbpf: JIT, checked", sbpf::jit),
    engine("sbpf", "solana-sbpf: interpreter, checked", sbpf::interpreter),
    #[cfg(feature = "ubpf")]
    engine("ubpf jit", "ubpf: JIT, unchecked", ubpf::jit),
    #[cfg(feature = "ubpf")]
    engine("ubpf", "ubpf: interpreter, checked", ubpf::interpreter),
];
