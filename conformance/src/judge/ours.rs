//! This project's verifier as a judge.

use super::Judged;
use ebpfvm_spec::{Platform, Program};
use ebpfvm_verifier::{LogLevel, Options, verify};
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
        message: rejection.map(|r| r.message()).unwrap_or_default(),
        code: rejection.map(|r| r.code()),
        log: judgement.report.log,
        processed: Some(judgement.report.stats.processed.into()),
        time,
    }
}

/// Options for a log of this level and everything else as root has it.
pub fn with_log(level: u32) -> Options {
    Options { log: LogLevel(level), ..Options::default() }
}
