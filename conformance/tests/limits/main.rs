//! Programs that are made to explode: the verifier ends with Linux's verdict, in bounded memory.

mod programs;

use ebpfvm_conformance::cases::{Case, Expectation};
use ebpfvm_conformance::judge::ours::with_log;
use ebpfvm_conformance::judge::{Judged, LiveJudge, guarded, judge};
use ebpfvm_kernel::linux_6_18_or_skip;
use ebpfvm_kernel::prog::log_level;
use ebpfvm_spec::Platform;
use programs::{CALLBACKS, programs};
use std::process::Command;
use std::time::Duration;

/// Tells the test that runs in a child which program it is about.
const CHILD: &str = "EBPFVM_LIMITS_CHILD";
/// What the child says before its answer.
const ANSWER: &str = "answer: ";
/// Most memory that judging may take, in KiB.
const PEAK_KIB: u64 = 300 << 10;
/// Longer than any of these takes; only a hang is stopped.
const HANGS: Duration = Duration::from_secs(600);

fn difference(case: &Case, expected: Option<&Expectation>, seen: &Judged) -> Option<String> {
    let expected = expected.expect("every program has a verdict");
    if expected.holds(seen.accepted, &seen.message, seen.processed) {
        return None;
    }
    let verdict = seen.verdict();
    let processed = seen.processed.unwrap_or(0);
    Some(format!("{}: expected {}  seen {verdict}, {processed}", case.name, expected.line()))
}

/// One number of `/proc/self/status` in KiB; none where there is no such file.
fn status_kib(field: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}

/// Runs in a process of its own, that its peak of memory is that of one program.
#[test]
fn child() {
    let Ok(name) = std::env::var(CHILD) else { return };
    let case = programs().into_iter().find(|p| p.name == name).expect("a program").case();
    let before = status_kib("VmRSS").unwrap_or(0);
    // The peak so far is that of making all programs. Where it cannot be forgotten, it counts.
    let _ = std::fs::write("/proc/self/clear_refs", "5");
    let (program, start) = (case.program.clone(), std::time::Instant::now());
    let judged = guarded(HANGS, move || judge(program, &Platform::linux(), &with_log(0)));
    let judged = judged.unwrap_or_else(|mishap| panic!("{name}: {mishap}"));
    let (peak, time) = (status_kib("VmHWM").unwrap_or(0), start.elapsed());
    let wrong = difference(&case, case.expected_here(), &judged).unwrap_or_default();
    println!(
        "{ANSWER}{} {before} {peak} {} {wrong}",
        judged.processed.unwrap_or(0),
        time.as_millis()
    );
}

#[test]
fn the_reason_of_differences_is_documented() {
    let parity = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/parity.md");
    let parity = std::fs::read_to_string(parity).expect("docs/parity.md");
    assert!(parity.contains(CALLBACKS));
}

#[test]
fn verdicts_are_reached_in_bounded_memory() {
    let mut wrong = Vec::new();
    eprintln!("processed  KiB before   KiB peak     ms");
    for program in programs() {
        let exe = std::env::current_exe().expect("this test");
        let child = Command::new(exe)
            .args(["--exact", "child", "--nocapture"])
            .env(CHILD, program.name)
            .output()
            .expect("a child");
        let text = String::from_utf8_lossy(&child.stdout);
        let Some(answer) = text.lines().find_map(|line| line.split_once(ANSWER)) else {
            wrong.push(format!(
                "{}: {text}{}",
                program.name,
                String::from_utf8_lossy(&child.stderr)
            ));
            continue;
        };
        let mut words = answer.1.splitn(5, ' ');
        let mut number =
            || words.next().and_then(|word| word.parse::<u64>().ok()).expect("a number");
        let (processed, before, peak, ms) = (number(), number(), number(), number());
        eprintln!("{processed:>9} {before:>11} {peak:>10} {ms:>6}  {}", program.name);
        wrong.extend(words.next().filter(|why| !why.is_empty()).map(str::to_string));
        // What is there before is the program and what was needed to make it.
        let rise = peak.saturating_sub(before);
        if rise > PEAK_KIB {
            wrong.push(format!("{}: {rise} KiB", program.name));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_kernel_says_the_same() {
    const NAME: &str = "the_kernel_says_the_same";
    let Some(kernel) = linux_6_18_or_skip(NAME) else { return };
    let mut wrong = Vec::new();
    for program in programs() {
        let case = program.case();
        let (maps, types) = (case.program.maps.clone(), case.program.btf.as_deref());
        let judged = LiveJudge::new(&kernel, maps, types)
            .and_then(|mut live| live.judge(&case.program, log_level::STATS))
            .unwrap_or_else(|why| panic!("{}: {why}", case.name));
        eprintln!(
            "{:>9} {:>6} ms  {}: {}",
            judged.processed.unwrap_or(0),
            judged.time.as_millis(),
            case.name,
            judged.verdict()
        );
        wrong.extend(difference(&case, case.expected.as_ref(), &judged));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
