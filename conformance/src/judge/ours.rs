//! This project's verifier as a judge.

use super::Judged;
use ebpfvm_spec::{Platform, Program};
use ebpfvm_verifier::{LogLevel, Options, Reason, verify};
use std::time::Instant;

/// Judges a program.
pub fn judge(program: Program, platform: &Platform, options: &Options) -> Judged {
    let start = Instant::now();
    let judgement = verify(program, platform, options);
    let time = start.elapsed();
    let rejection = judgement.verdict.as_ref().err();
    Judged {
        accepted: rejection.is_none(),
        unsupported: rejection.is_some_and(|r| r.is_unsupported()),
        message: rejection.map(|r| message(&r.reason)).unwrap_or_default(),
        code: rejection.map(|r| r.code()),
        log: judgement.report.log,
        processed: Some(judgement.report.stats.processed.into()),
        time,
    }
}

/// The line that tells why, before states that may follow it.
fn message(reason: &Reason) -> String {
    const STATES: [&str; 2] = ["cur state:", "old state:"];
    let text = reason.to_string();
    let is_state = |line: &&str| STATES.iter().any(|start| line.starts_with(start));
    let line = text.lines().rev().find(|line| !is_state(line) && !line.is_empty());
    line.unwrap_or_default().to_string()
}

/// Options for a log of this level and everything else as root has it.
pub fn with_log(level: u32) -> Options {
    Options { log: LogLevel(level), ..Options::default() }
}
