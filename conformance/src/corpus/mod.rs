//! Verdicts on a corpus: a directory of objects and a file of what Linux says of their programs.
//!
//! Neither belongs to the project: the corpus is that of whoever compares. [`truth`] says what the
//! file holds.
//!
//! - [`truth`]: what Linux said, one program a line
//! - [`objects`]: the objects, opened once, their programs linked as libbpf does it
//! - [`compare`]: how a verdict of ours stands to Linux's
//! - [`table`]: the counts, a row a tier

pub mod compare;
pub mod objects;
pub mod table;
pub mod truth;

pub use compare::{Answer, Compared, Kind};
pub use objects::{Objects, TargetKernel};
pub use table::Table;
pub use truth::{Truth, TruthError};
