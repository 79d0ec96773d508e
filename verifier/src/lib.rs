//! The verifier: judges programs as Linux 6.18 does, by following every path with abstract values.
//!
//! ```text
//! cfg ---> explore ---> verdict, facts, log
//!             |  ^
//!             v  |
//!           apply, check  (domain, state)
//! ```
//!
//! - [`domain`]: what is known about a number; pure
//! - `state`: what is known at one point of one path: registers, stacks, references
//! - `cfg`: the shape of the code: functions, ways of control, live registers
//! - [`contract`]: what functions take and give, as their types say
//! - `check`: whether the needs of an instruction are met; reads only
//! - `apply`: what an instruction makes of a state
//! - `explore`: which path is followed next, pruning, precision, limits; knows no operation
//! - [`reject`]: why a program is rejected, as data
//! - `report`: how verdicts and states are shown
//!
//! No number of a helper, program type or map occurs here: they are values of the
//! [`Platform`](ebpfvm_spec::platform::Platform).
#![forbid(unsafe_code)]

mod apply;
mod cfg;
mod check;
pub mod contract;
pub mod domain;
mod explore;
mod facts;
mod load;
mod log;
mod options;
pub mod reject;
mod report;
mod state;
mod step;
mod subject;
mod verdict;

pub use facts::{Access, Facts, Target, Ways};
pub use options::{Limits, LogLevel, Options, Precision, Privileges};
pub use reject::{Reason, Rejection};
pub use report::{Turn, WayStep};
pub use verdict::{Assumptions, Judgement, Report, Stats, VerifiedProgram, verify};
