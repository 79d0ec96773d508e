//! What has to hold. Every check gives what it has seen, for statistics, or the [`Failure`].

pub mod compiled;
pub mod encoding;
pub mod engines;
pub mod kernel;
pub mod loader;
pub mod runs;
pub mod text;
pub mod verdict;

use std::time::{Duration, Instant};

/// Something that does not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{check}: {what}")]
pub struct Failure {
    /// What was checked.
    pub check: &'static str,
    /// What was found, and what was expected.
    pub what: String,
}

impl Failure {
    fn new(check: &'static str, what: impl Into<String>) -> Failure {
        Failure { check, what: what.into() }
    }

    /// What is needed for the check is not there.
    pub(crate) fn setup(why: String) -> Failure {
        Failure::new("setup", why)
    }
}

/// What a check has seen, in a word.
pub type Seen = &'static str;

/// Time that no input of a fuzzer may take: far beyond what any needs, so that a busy machine is
/// no failure.
const TIME_LIMIT: Duration = Duration::from_secs(10);

/// Does something that has to end soon.
fn bounded<T>(check: &'static str, act: impl FnOnce() -> T) -> Result<T, Failure> {
    let start = Instant::now();
    let result = act();
    match start.elapsed() {
        time if time < TIME_LIMIT => Ok(result),
        time => Err(Failure::new(check, format!("took {time:?}"))),
    }
}

fn expect(check: &'static str, holds: bool, what: impl FnOnce() -> String) -> Result<(), Failure> {
    if holds { Ok(()) } else { Err(Failure::new(check, what())) }
}
