//! Runs fuzz targets on seeds, without a fuzzer: `fuzz_smoke [TARGET]...`.
//!
//! `EBPFVM_FUZZ_RUNS` is the number of seeds for each target, 10,000 by default, and
//! `EBPFVM_FUZZ_SEED` the first, 0 by default. A failure prints its seed and, for programs, the
//! smallest one that fails in the same way. The exit code is 0 if all holds, 1 if not, 2 for wrong
//! use.

use ebpfvm_fuzz::{Target, draw};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::Instant;

fn main() -> ExitCode {
    let names: Vec<String> = std::env::args().skip(1).collect();
    let mut targets = Vec::new();
    for name in &names {
        let Some(target) = Target::named(name) else {
            let known: Vec<&str> = Target::ALL.iter().map(|target| target.name()).collect();
            eprintln!("there is no target {name}; the targets are {}", known.join(", "));
            return ExitCode::from(2);
        };
        targets.push(target);
    }
    if targets.is_empty() {
        targets = Target::ALL.to_vec();
    }
    let (runs, first) = match (number("EBPFVM_FUZZ_RUNS", 10_000), number("EBPFVM_FUZZ_SEED", 0)) {
        (Ok(runs), Ok(first)) => (runs, first),
        (Err(why), _) | (_, Err(why)) => {
            eprintln!("{why}");
            return ExitCode::from(2);
        }
    };
    let failures: u64 = targets.into_iter().map(|target| run(target, first, runs)).sum();
    ExitCode::from(u8::from(failures > 0))
}

fn number(variable: &str, default: u64) -> Result<u64, String> {
    match std::env::var(variable) {
        Ok(text) => text.parse().map_err(|_| format!("{variable} is {text}, expected a number")),
        Err(_) => Ok(default),
    }
}

/// Runs a target and prints what it has seen; returns the number of failures.
fn run(target: Target, first: u64, runs: u64) -> u64 {
    /// Failures that are shown; more of them tell no more.
    const SHOWN: u64 = 5;
    let name = target.name();
    if let Some(why) = target.unavailable() {
        println!("{name}: skipped: {why}");
        return 0;
    }
    let start = Instant::now();
    let mut seen: BTreeMap<&str, u64> = BTreeMap::new();
    let mut failures = 0;
    let mut done = 0;
    for seed in first..first.saturating_add(runs) {
        done += 1;
        let bytes = draw::bytes(seed);
        let failed = match catch_unwind(AssertUnwindSafe(|| target.check(&bytes))) {
            Ok(Ok(what)) => {
                *seen.entry(what).or_default() += 1;
                continue;
            }
            Ok(Err(failure)) => format!("{failure}\n{}", target.explain(&bytes, &failure)),
            // The message has been printed.
            Err(_) => "panicked".into(),
        };
        failures += 1;
        println!("{name}: seed {seed}: {failed}");
        println!("repeat: EBPFVM_FUZZ_SEED={seed} EBPFVM_FUZZ_RUNS=1 fuzz_smoke {name}\n");
        if failures == SHOWN {
            break;
        }
    }
    let seen: Vec<String> = seen.iter().map(|(what, count)| format!("{count} {what}")).collect();
    let seconds = start.elapsed().as_secs_f64();
    println!("{name}: {done} runs in {seconds:.1} s, {failures} failed; {}", seen.join(", "));
    failures
}
