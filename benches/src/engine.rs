//! The engines behind one trait, so that the comparison knows none of them by name.

mod ebpfvm;
mod native;
mod rbpf;
mod sbpf;

use crate::workload::Workload;

/// A way to run bench programs.
pub struct Engine {
    /// Heads its column.
    pub name: &'static str,
    /// Makes a program ready to run, everything that can be done once included.
    ///
    /// The error says why this engine cannot run this program.
    pub prepare: fn(&Workload) -> Result<Box<dyn Prepared>, String>,
}

/// A program with its memory, ready to run any number of times.
pub trait Prepared {
    /// Runs the program from its beginning; its answer, or why the engine stopped it.
    fn run(&mut self) -> Result<u64, String>;
    /// The memory as the runs so far left it.
    fn memory(&self) -> &[u8];
}

/// All engines. The first is the measure of the others.
pub const ENGINES: &[Engine] = &[
    Engine { name: "native", prepare: native::prepare },
    Engine { name: "checked", prepare: ebpfvm::prepare_checked },
    Engine { name: "interp", prepare: ebpfvm::prepare_unchecked },
    Engine { name: "rbpf", prepare: rbpf::prepare },
    Engine { name: "sbpf", prepare: sbpf::prepare },
];
