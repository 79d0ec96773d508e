//! Judges of programs: ours and the running kernel, with answers that can be compared.
//!
//! - [`ours`]: the verifier of this project
//! - [`live`]: the running kernel's
//! - [`guard`]: what keeps a hanging or panicking verifier from stopping a whole comparison

pub mod guard;
pub mod live;
pub mod ours;

pub use guard::{Mishap, guarded};
pub use live::LiveJudge;
pub use ours::judge;

use std::time::Duration;

/// What a judge says of a program.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Judged {
    /// Whether the program may run.
    pub accepted: bool,
    /// Whether it was refused because the judge does not know what it needs.
    pub unsupported: bool,
    /// Why it was refused: the last line of the log before states and statistics.
    pub message: String,
    /// The stable code of the reason, where the judge has one.
    pub code: Option<&'static str>,
    /// The log at the level asked for.
    pub log: String,
    /// Instructions followed, over all paths; none where the judge was not reached.
    pub processed: Option<u64>,
    /// What verification took.
    pub time: Duration,
}

impl Judged {
    /// `accepted` or the message.
    pub fn verdict(&self) -> &str {
        if self.accepted { "accepted" } else { &self.message }
    }
}

/// The last line of a log before its statistics. After an endless loop that is a state.
pub fn last_line(log: &str) -> &str {
    const STATISTICS: [&str; 3] = ["processed ", "verification time ", "stack depth "];
    let statistic = |line: &str| STATISTICS.iter().any(|start| line.starts_with(start));
    log.lines().rev().map(str::trim).find(|line| !line.is_empty() && !statistic(line)).unwrap_or("")
}

/// A log without what is never the same: addresses that 64-bit loads load, and the time.
pub fn comparable(log: &str) -> String {
    let line = |line: &str| match line.split_once(" = 0x") {
        Some((start, rest)) if start.contains("(18) r") => {
            let after = rest.trim_start_matches(|c: char| c.is_ascii_hexdigit()).trim_start();
            format!("{start} = 0x… {after}\n")
        }
        _ if line.starts_with("verification time ") => "verification time …\n".to_owned(),
        _ => format!("{line}\n"),
    };
    log.lines().map(line).collect()
}
