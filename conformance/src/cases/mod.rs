//! Annotated programs: assembly with what it needs and the verdict that it must get.
//!
//! The files are in `conformance/verdicts`; `conformance/verdicts/README.md` tells their format. A
//! [`Case`] knows no judge: tests give its program to the verifier, the kernel and the interpreter.
//!
//! - [`mod@parse`]: the format
//! - [`types`]: the BTF that functions and map values of a case need

pub mod parse;
pub mod types;

pub use parse::{CaseError, parse, with_expectations};

use ebpfvm_kernel::Capabilities;
use ebpfvm_spec::Program;
use ebpfvm_verifier::Privileges;

/// A program and the verdict that it must get.
#[derive(Clone, Debug)]
pub struct Case {
    /// What it shows.
    pub name: String,
    /// Bugs of other verifiers that it is about.
    pub classes: Vec<String>,
    /// The program with its maps and types.
    pub program: Program,
    /// What the one who loads it may do.
    pub privileges: Privileges,
    /// What Linux 6.18 says; none in a file that is being written.
    pub expected: Option<Expectation>,
    /// What this verifier says where it differs on purpose.
    pub here: Option<Difference>,
    /// Line of the file, from 1.
    pub line: usize,
}

/// A verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expectation {
    /// Accepted, after so many instructions.
    Accept {
        /// Instructions followed; not checked if none.
        processed: Option<u64>,
    },
    /// Rejected with this message.
    Reject {
        /// The last line of the log before the statistics; empty if any will do, as of a refusal
        /// for which Linux gives an error number only.
        message: String,
    },
}

/// A verdict that differs from Linux's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The verdict.
    pub verdict: Expectation,
    /// Why: words that `docs/parity.md` has too.
    pub why: String,
}

impl Expectation {
    /// Whether a verdict with this message and count is the expected one.
    pub fn holds(&self, accepted: bool, message: &str, processed: Option<u64>) -> bool {
        match self {
            Expectation::Accept { processed: None } => accepted,
            Expectation::Accept { processed: expected } => accepted && *expected == processed,
            Expectation::Reject { message: expected } => {
                !accepted && (expected.is_empty() || expected == message)
            }
        }
    }
}

impl Case {
    /// What this verifier must say.
    pub fn expected_here(&self) -> Option<&Expectation> {
        self.here.as_ref().map(|here| &here.verdict).or(self.expected.as_ref())
    }

    /// The capabilities that its privileges stand for.
    pub fn capabilities(&self) -> Capabilities {
        Capabilities {
            bpf: self.privileges.bpf,
            perfmon: self.privileges.perfmon,
            net_admin: self.privileges.net_admin,
        }
    }
}
