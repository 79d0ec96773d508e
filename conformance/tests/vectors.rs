//! Every vector on every engine, and what the kernel refuses against the committed list.

use ebpfvm_conformance::runner::{engines, run_dir, vector_files};
use ebpfvm_conformance::{Engine, Outcome, Summary, Vector, Verdict};
use ebpfvm_kernel::{kernel_or_skip, linux_6_18_or_skip, report_skip};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

fn ours() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors")
}

/// The vectors of the bpf_conformance suite, beside the workspace; none with a visible skip.
fn shared(test: &str) -> Option<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/vectors/bpf_conformance");
    if !dir.is_dir() {
        report_skip(test, "the shared vectors are not beside the workspace");
        return None;
    }
    Some(dir)
}

/// Runs a directory on all engines. Engines without a verifier of their own may skip nothing.
fn run_all(dir: &Path) -> BTreeMap<String, Summary> {
    let engines = engines("all").unwrap();
    // Without it the others run all the same.
    let _ = kernel_or_skip(&format!("{} on the kernel", dir.display()));
    let mut failures = String::new();
    let mut summaries: BTreeMap<String, Summary> = BTreeMap::new();
    run_dir(dir, &engines, |report| {
        summaries.entry(report.engine.clone()).or_default().add(report.verdict);
        let refused = report.got.starts_with("refused: ");
        let may_skip = match report.engine.as_str() {
            "kernel" => refused || report.got.starts_with("unsupported: "),
            // What the verifier does not accept, `jit-checked` runs.
            "jit" => refused,
            _ => false,
        };
        if report.verdict == Verdict::Failed || report.verdict == Verdict::Skipped && !may_skip {
            writeln!(
                failures,
                "{} on {}: expected {}, got {}",
                report.file, report.engine, report.expected, report.got
            )
            .unwrap();
        }
        Ok(())
    })
    .unwrap();
    for (engine, summary) in &summaries {
        eprintln!("{}: {engine}: {summary}", dir.file_name().unwrap().display());
    }
    assert!(failures.is_empty(), "{failures}");
    summaries
}

#[test]
fn our_vectors_pass_on_every_engine() {
    let summaries = run_all(&ours());
    assert!(!summaries.is_empty());
}

#[test]
fn the_shared_vectors_pass_on_every_engine() {
    let Some(dir) = shared("the_shared_vectors_pass_on_every_engine") else { return };
    for (engine, summary) in run_all(&dir) {
        let Summary { passed, failed, skipped } = summary;
        assert_eq!(passed + failed + skipped, 224, "{engine}");
    }
}

/// The kernel's reasons by file, with `prefix` before the file's name.
fn refusals(dir: &Path, prefix: &str, engine: &dyn Engine, all: &mut BTreeMap<String, String>) {
    for path in vector_files(dir).unwrap() {
        let vector = Vector::read(&path).unwrap();
        if let Ok(program) = &vector.program
            && let Outcome::Refused(why) = engine.run(program, vector.memory.as_deref())
        {
            all.insert(format!("{prefix}{}", vector.file_name()), why);
        }
    }
}

const LIST: &str = "kernel-refusals.txt";
const HEADER: &str = "\
# What Linux 6.18 refuses, and why. Compared with the running kernel by the test
# `the_kernel_refuses_what_is_listed`; UPDATE_EXPECTED=1 writes it anew.
";

#[test]
fn the_kernel_refuses_what_is_listed() {
    let name = "the_kernel_refuses_what_is_listed";
    if linux_6_18_or_skip(name).is_none() {
        return;
    }
    let engine = &engines("kernel").unwrap()[0];
    let mut found = BTreeMap::new();
    refusals(&ours(), "", engine.as_ref(), &mut found);
    let shared = shared("the_kernel_refuses_what_is_listed (shared part)");
    if let Some(dir) = &shared {
        refusals(dir, "shared/", engine.as_ref(), &mut found);
    }
    let path = ours().join(LIST);
    if std::env::var_os("UPDATE_EXPECTED").is_some() && shared.is_some() {
        let lines: String = found.iter().map(|(file, why)| format!("{file}: {why}\n")).collect();
        std::fs::write(&path, format!("{HEADER}{lines}")).unwrap();
    }
    let listed: BTreeMap<String, String> = std::fs::read_to_string(&path)
        .unwrap()
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.split_once(": ").expect("file: reason"))
        .filter(|(file, _)| shared.is_some() || !file.starts_with("shared/"))
        .map(|(file, why)| (file.to_string(), why.to_string()))
        .collect();
    for (file, why) in &found {
        assert_eq!(listed.get(file), Some(why), "{file} is not listed so in {LIST}");
    }
    for (file, why) in &listed {
        assert!(
            found.contains_key(file),
            "{file} is listed in {LIST} ({why}), but was not refused"
        );
    }
}
