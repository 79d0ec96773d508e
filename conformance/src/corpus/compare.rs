//! How a verdict of ours stands to Linux's.

use super::objects::Objects;
use super::truth::Truth;
use crate::judge::{Judged, Mishap, guarded, judge, last_line, ours::with_log};
use ebpfvm_spec::Platform;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// What there is of ours to compare.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A verdict.
    Judged(Box<Judged>),
    /// The program could not be brought to the verifier.
    Error(String),
    /// The verifier gave no verdict.
    Mishap(Mishap),
}

/// How two verdicts stand to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// The same.
    Same,
    /// Accepted here, refused there: the worst.
    FalseAccept,
    /// Refused here, accepted there.
    FalseReject,
    /// Refused here for a need that is not judged yet.
    Unsupported,
    /// Not brought to the verifier.
    Error,
    /// The verifier panicked or did not end.
    Crash,
}

/// One program and both verdicts on it.
#[derive(Clone, Debug)]
pub struct Compared {
    /// Linux's.
    pub truth: Truth,
    /// Ours.
    pub answer: Answer,
}

/// Differences of counts of processed instructions that are within bounds, in percent.
const WITHIN_PERCENT: u64 = 10;

impl Compared {
    /// Judges one program.
    pub fn judge(
        truth: &Truth,
        objects: &Objects,
        platform: &Arc<Platform>,
        limit: Duration,
    ) -> Compared {
        let answer = match objects.program(truth) {
            Err(why) => Answer::Error(why),
            Ok(program) => {
                let platform = platform.clone();
                // A log costs time; it is only needed to compare messages that are states.
                let is_state = truth.message.starts_with("old state:");
                let work = move || {
                    let mut judged = judge(program.clone(), &platform, &with_log(0));
                    if is_state && !judged.accepted {
                        let logged = judge(program, &platform, &with_log(1));
                        judged.message = last_line(&logged.log).to_string();
                    }
                    judged
                };
                match guarded(limit, work) {
                    Ok(judged) => Answer::Judged(Box::new(judged)),
                    Err(mishap) => Answer::Mishap(mishap),
                }
            }
        };
        Compared { truth: truth.clone(), answer }
    }

    /// How the verdicts stand to each other.
    pub fn kind(&self) -> Kind {
        match &self.answer {
            Answer::Error(_) => Kind::Error,
            Answer::Mishap(_) => Kind::Crash,
            Answer::Judged(judged) => match (judged.accepted, self.truth.accepted) {
                (true, false) => Kind::FalseAccept,
                (false, _) if judged.unsupported => Kind::Unsupported,
                (false, true) => Kind::FalseReject,
                _ => Kind::Same,
            },
        }
    }

    /// Our verdict, if there is one.
    pub fn judged(&self) -> Option<&Judged> {
        match &self.answer {
            Answer::Judged(judged) => Some(judged),
            _ => None,
        }
    }

    /// Our verdict if it is Linux's too.
    pub fn same(&self) -> Option<&Judged> {
        self.judged().filter(|_| self.kind() == Kind::Same)
    }

    /// For a program that Linux refuses: whether we refuse it with the same message.
    pub fn same_message(&self) -> bool {
        self.same().is_some_and(|judged| judged.message == self.truth.message)
    }

    /// For the same verdict: whether the count of processed instructions is equal.
    pub fn same_processed(&self) -> bool {
        self.same().is_some_and(|judged| judged.processed == Some(self.truth.processed))
    }

    /// For the same verdict: whether the counts of processed instructions are near.
    pub fn near_processed(&self) -> bool {
        let near = |ours: u64| {
            ours.abs_diff(self.truth.processed) * 100 <= self.truth.processed * WITHIN_PERCENT
        };
        self.same().and_then(|judged| judged.processed).is_some_and(near)
    }

    /// Our verdict as a line of text.
    pub fn ours(&self) -> String {
        match &self.answer {
            Answer::Judged(judged) => judged.verdict().to_string(),
            Answer::Error(why) => why.clone(),
            Answer::Mishap(mishap) => mishap.to_string(),
        }
    }

    /// Linux's verdict as a line of text.
    pub fn linux(&self) -> &str {
        if self.truth.accepted { "accepted" } else { &self.truth.message }
    }

    /// Both verdicts as JSON.
    pub fn json(&self) -> Value {
        let judged = self.judged();
        json!({
            "file": self.truth.file,
            "program": self.truth.program,
            "tier": self.truth.tier,
            "kind": self.kind().name(),
            "ours": self.ours(),
            "linux": self.linux(),
            "code": judged.and_then(|judged| judged.code),
            "processed": judged.and_then(|judged| judged.processed),
            "linux_processed": self.truth.processed,
            "time_us": judged.map(|judged| judged.time.as_secs_f64() * 1e6),
            "linux_time_us": self.truth.time_us,
        })
    }
}

impl Kind {
    /// All kinds.
    pub const ALL: [Kind; 6] = [
        Kind::Same,
        Kind::FalseAccept,
        Kind::FalseReject,
        Kind::Unsupported,
        Kind::Error,
        Kind::Crash,
    ];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Same => "same",
            Kind::FalseAccept => "false-accept",
            Kind::FalseReject => "false-reject",
            Kind::Unsupported => "unsupported",
            Kind::Error => "error",
            Kind::Crash => "crash",
        }
    }
}

/// Judges programs on this many threads, in any order; the answers are in the order of the truths.
pub fn compare_all(
    truths: &[Truth],
    objects: &Objects,
    limit: Duration,
    jobs: usize,
    done: impl Fn(usize) + Sync,
) -> Vec<Compared> {
    let platform = Arc::new(Platform::linux());
    let next = AtomicUsize::new(0);
    let worker = || {
        let mut answers = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(truth) = truths.get(index) else { return answers };
            answers.push((index, Compared::judge(truth, objects, &platform, limit)));
            done(index);
        }
    };
    let mut answers: Vec<(usize, Compared)> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..jobs.max(1)).map(|_| scope.spawn(worker)).collect();
        // A worker that panics is a fault of this program: verifiers run guarded.
        workers.into_iter().flat_map(|worker| worker.join().expect("a worker ends")).collect()
    });
    answers.sort_by_key(|(index, _)| *index);
    answers.into_iter().map(|(_, compared)| compared).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compared(linux: bool, ours: bool, unsupported: bool) -> Compared {
        let judged = Judged {
            accepted: ours,
            unsupported,
            message: "m".into(),
            processed: Some(109),
            ..Judged::default()
        };
        let message = if linux { "" } else { "m" }.to_string();
        let truth = Truth { accepted: linux, message, processed: 100, ..Truth::default() };
        Compared { truth, answer: Answer::Judged(Box::new(judged)) }
    }

    #[test]
    fn verdicts_stand_to_each_other() {
        let kind = |linux, ours, unsupported| compared(linux, ours, unsupported).kind();
        assert_eq!(kind(true, true, false), Kind::Same);
        assert_eq!(kind(false, false, false), Kind::Same);
        assert_eq!(kind(false, true, false), Kind::FalseAccept);
        assert_eq!(kind(true, false, false), Kind::FalseReject);
        assert_eq!(kind(true, false, true), Kind::Unsupported);
        assert_eq!(kind(false, false, true), Kind::Unsupported);
    }

    #[test]
    fn messages_and_counts_count_for_the_same_verdict() {
        let refused = compared(false, false, false);
        assert!(refused.same_message() && refused.near_processed() && !refused.same_processed());
        assert!(!compared(false, false, true).same_message());
        let mut far = compared(true, true, false);
        assert!(far.near_processed());
        far.truth.processed = 99;
        assert!(!far.near_processed());
        assert!(!compared(true, false, false).near_processed());
    }
}
