//! Annotated programs (`conformance/verdicts`): the verifier's verdict, the kernel's, and runs of what
//! is accepted.
//!
//! `EBPFVM_BLESS=1` writes what the kernel says into the files, to be looked at before it is committed.

mod here;
mod kernel;
mod machine;
mod reasons;

use ebpfvm_conformance::cases::{Case, Expectation, parse};
use ebpfvm_conformance::judge::Judged;
use std::path::{Path, PathBuf};

/// The cases of one file.
struct CaseFile {
    path: PathBuf,
    text: String,
    cases: Vec<Case>,
}

impl CaseFile {
    /// Where a case is: file and line.
    fn place(&self, case: &Case) -> String {
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        format!("{name}:{}: {}", case.line, case.name)
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn files() -> Vec<CaseFile> {
    let folder = root().join("conformance/verdicts");
    let entries = std::fs::read_dir(&folder).expect("the folder of cases");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "txt"));
    paths.sort();
    let read = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).expect("text");
        let cases = parse(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        CaseFile { path, text, cases }
    };
    paths.into_iter().map(read).collect()
}

/// A verdict as an expectation.
fn as_expectation(judged: &Judged) -> Expectation {
    match judged.accepted {
        true => Expectation::Accept { processed: judged.processed },
        false => Expectation::Reject { message: judged.message.clone() },
    }
}

/// Whether a verdict is the expected one; none is expected of a case that is being written.
fn holds(judged: &Judged, expected: Option<&Expectation>) -> bool {
    expected.is_some_and(|e| e.holds(judged.accepted, &judged.message, judged.processed))
}

/// What was expected and seen, for a person.
fn difference(place: &str, judged: &Judged, expected: Option<&Expectation>) -> String {
    let seen = as_expectation(judged);
    let expected = expected.map_or("nothing\n".into(), Expectation::line);
    format!("{place}\n  expected {expected}  seen     {}", seen.line())
}

#[test]
fn names_are_unique_and_reasons_of_differences_are_documented() {
    let parity = std::fs::read_to_string(root().join("docs/parity.md")).expect("docs/parity.md");
    // Lines may break anywhere.
    let parity = parity.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut names = std::collections::HashSet::new();
    for file in files() {
        for case in &file.cases {
            assert!(names.insert(case.name.clone()), "{}: twice", file.place(case));
            assert!(case.expected.is_some(), "{}: no expectation", file.place(case));
            if let Some(here) = &case.here {
                let documented = parity.contains(&here.why);
                assert!(
                    documented,
                    "{}: '{}' is not in docs/parity.md",
                    file.place(case),
                    here.why
                );
            }
        }
    }
    assert!(names.len() >= 60, "{} cases", names.len());
}
