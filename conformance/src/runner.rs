//! Runs directories of vectors on engines and reports.

use crate::engine::{Engine, Outcome, Unavailable, Verdicts};
use crate::kernel::KernelEngine;
use crate::machine::MachineEngine;
use crate::vector::{Expected, Vector};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Whether an engine did what a vector says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It did.
    Passed,
    /// It did not, or the file is no vector.
    Failed,
    /// It could not be tried: the engine is not available here, or its own verifier refuses the
    /// program, which says nothing about its result.
    Skipped,
}

impl Verdict {
    /// The word in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Verdict::Passed => "passed",
            Verdict::Failed => "failed",
            Verdict::Skipped => "skipped",
        }
    }
}

/// What one vector gave on one engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The file's name.
    pub file: String,
    /// The engine's name.
    pub engine: String,
    /// Whether it is right.
    pub verdict: Verdict,
    /// What the vector says.
    pub expected: String,
    /// What came of it.
    pub got: String,
}

/// Compares what came of a vector with what must come of it.
pub fn judge(expected: &Expected, outcome: &Outcome, verdicts: Verdicts) -> Verdict {
    let passed = |yes| if yes { Verdict::Passed } else { Verdict::Failed };
    match (expected, outcome) {
        (_, Outcome::Unsupported(_)) => Verdict::Skipped,
        (Expected::Value(expected), Outcome::Value(got)) => passed(expected == got),
        (Expected::Value(_), Outcome::Refused(_)) if verdicts == Verdicts::Foreign => {
            Verdict::Skipped
        }
        (Expected::Value(_), Outcome::Refused(_) | Outcome::Trapped(_)) => Verdict::Failed,
        (Expected::Error(_), Outcome::Value(_)) => Verdict::Failed,
        (Expected::Error(text), Outcome::Refused(why) | Outcome::Trapped(why)) => {
            passed(verdicts == Verdicts::Foreign || why.contains(text.as_str()))
        }
    }
}

/// Runs a vector on an engine.
pub fn run(vector: &Vector, engine: &dyn Engine) -> Report {
    let (outcome, verdicts) = match &vector.program {
        Ok(program) => (engine.run(program, vector.memory.as_deref()), engine.verdicts()),
        // The assembler's refusal; its words are this project's whatever the engine.
        Err(why) => (Outcome::Refused(why.clone()), Verdicts::Own),
    };
    Report {
        file: vector.file_name(),
        engine: engine.name().to_string(),
        verdict: judge(&vector.expected, &outcome, verdicts),
        expected: vector.expected.to_string(),
        got: outcome.to_string(),
    }
}

/// How many reports have each verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Summary {
    /// As they should be.
    pub passed: usize,
    /// Not as they should be.
    pub failed: usize,
    /// Not tried.
    pub skipped: usize,
}

impl Summary {
    /// Counts a verdict.
    pub fn add(&mut self, verdict: Verdict) {
        match verdict {
            Verdict::Passed => self.passed += 1,
            Verdict::Failed => self.failed += 1,
            Verdict::Skipped => self.skipped += 1,
        }
    }
}

impl std::fmt::Display for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

/// Why vectors could not be run at all.
#[derive(Debug, thiserror::Error)]
pub enum ConformError {
    /// The directory cannot be read.
    #[error("{}: {source}", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// The directory has no vectors.
    #[error("{}: no *.data files here", .0.display())]
    NoVectors(PathBuf),
    /// There is no such engine.
    #[error("there is no engine `{name}`; there are {}, all", ENGINES.join(", "))]
    UnknownEngine {
        /// The name given.
        name: String,
    },
    /// The report cannot be written.
    #[error("writing the report failed: {0}")]
    Write(#[from] io::Error),
}

/// The names of all engines.
pub const ENGINES: &[&str] = &["interp", "checked", "jit", "jit-checked", "kernel"];

/// The engine with this name, or all of them for `all`. One that cannot be used here is an
/// [`Unavailable`].
///
/// # Errors
/// [`ConformError::UnknownEngine`].
pub fn engines(name: &str) -> Result<Vec<Box<dyn Engine>>, ConformError> {
    let engine = |name: &str| -> Box<dyn Engine> {
        match name {
            "interp" => Box::new(MachineEngine::unchecked()),
            "checked" => Box::new(MachineEngine::checked()),
            "jit" => Box::new(MachineEngine::jit()),
            "jit-checked" => Box::new(MachineEngine::jit_checked()),
            "kernel" => match KernelEngine::new() {
                Ok(engine) => Box::new(engine),
                Err(e) => Box::new(Unavailable { name: name.into(), why: e.to_string() }),
            },
            other => unreachable!("{other} is in ENGINES"),
        }
    };
    match name {
        "all" => Ok(ENGINES.iter().copied().map(engine).collect()),
        name if ENGINES.contains(&name) => Ok(vec![engine(name)]),
        name => Err(ConformError::UnknownEngine { name: name.into() }),
    }
}

/// The vectors of a directory, `*.data`, sorted by name.
///
/// # Errors
/// [`ConformError::Directory`], [`ConformError::NoVectors`].
pub fn vector_files(dir: &Path) -> Result<Vec<PathBuf>, ConformError> {
    let fail = |source| ConformError::Directory { path: dir.into(), source };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(fail)? {
        let path = entry.map_err(fail)?.path();
        if path.extension().is_some_and(|e| e == "data") {
            files.push(path);
        }
    }
    if files.is_empty() {
        return Err(ConformError::NoVectors(dir.into()));
    }
    files.sort();
    Ok(files)
}

/// Runs every vector of a directory on every engine and gives each report to `each`. A file that is
/// no vector fails on every engine.
///
/// # Errors
/// [`ConformError`] when there is nothing to run, and whatever `each` gives.
pub fn run_dir(
    dir: &Path,
    engines: &[Box<dyn Engine>],
    mut each: impl FnMut(&Report) -> Result<(), ConformError>,
) -> Result<Summary, ConformError> {
    let mut summary = Summary::default();
    for path in vector_files(dir)? {
        let vector = Vector::read(&path);
        for engine in engines {
            let report = match &vector {
                Ok(vector) => run(vector, engine.as_ref()),
                Err(e) => Report {
                    file: path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
                    engine: engine.name().to_string(),
                    verdict: Verdict::Failed,
                    expected: "a vector".into(),
                    got: e.to_string(),
                },
            };
            summary.add(report.verdict);
            each(&report)?;
        }
    }
    Ok(summary)
}

/// How reports are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For people: what failed or was skipped, then the summary.
    Text,
    /// One JSON object a vector and engine, each on a line, then the summary as text on none: the
    /// numbers are those of the objects.
    Json,
}

/// What `ebpfvm conform` does: runs the vectors of a directory on an engine, or on `all`, and writes
/// reports to `out`. Text ends with the line `N passed, N failed, N skipped`; JSON is one object a
/// line with `file`, `engine`, `outcome`, `expected` and `got`.
///
/// # Errors
/// [`ConformError`] for wrong use; whether vectors failed is in the summary.
pub fn conform(
    dir: &Path,
    engine: &str,
    format: Format,
    out: &mut dyn Write,
) -> Result<Summary, ConformError> {
    let engines = engines(engine)?;
    let summary = run_dir(dir, &engines, |report| {
        match format {
            Format::Json => writeln!(out, "{}", json(report))?,
            Format::Text if report.verdict == Verdict::Passed => {}
            Format::Text => {
                let Report { file, engine, verdict, expected, got } = report;
                writeln!(
                    out,
                    "{} {file} ({engine}): expected {expected}, got {got}",
                    verdict.name()
                )?;
            }
        }
        Ok(())
    })?;
    if format == Format::Text {
        writeln!(out, "{summary}")?;
    }
    Ok(summary)
}

/// A report as a JSON object.
pub fn json(report: &Report) -> serde_json::Value {
    let Report { file, engine, verdict, expected, got } = report;
    serde_json::json!({
        "file": file,
        "engine": engine,
        "outcome": verdict.name(),
        "expected": expected,
        "got": got,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_follow_the_vector() {
        use Outcome::*;
        let value = Expected::Value(1);
        let error = Expected::Error("imm".into());
        let own = |e: &Expected, o: Outcome| judge(e, &o, Verdicts::Own);
        let foreign = |e: &Expected, o: Outcome| judge(e, &o, Verdicts::Foreign);
        assert_eq!(own(&value, Value(1)), Verdict::Passed);
        assert_eq!(own(&value, Value(2)), Verdict::Failed);
        assert_eq!(own(&value, Refused("imm".into())), Verdict::Failed);
        assert_eq!(own(&value, Trapped("x".into())), Verdict::Failed);
        assert_eq!(own(&value, Unsupported("x".into())), Verdict::Skipped);
        assert_eq!(foreign(&value, Refused("x".into())), Verdict::Skipped);
        assert_eq!(foreign(&value, Value(2)), Verdict::Failed);
        assert_eq!(own(&error, Refused("the imm is".into())), Verdict::Passed);
        assert_eq!(own(&error, Refused("another".into())), Verdict::Failed);
        assert_eq!(foreign(&error, Refused("another".into())), Verdict::Passed);
        assert_eq!(foreign(&error, Value(0)), Verdict::Failed);
    }

    #[test]
    fn reports_are_one_object_a_line() {
        let report = Report {
            file: "a\"b.data".into(),
            engine: "kernel".into(),
            verdict: Verdict::Failed,
            expected: "0x1".into(),
            got: "0x2".into(),
        };
        let line = json(&report).to_string();
        assert!(!line.contains('\n'));
        let back: serde_json::Value = serde_json::from_str(&line).unwrap();
        let fields = ["file", "engine", "outcome", "expected", "got"].map(|name| &back[name]);
        assert_eq!(fields, ["a\"b.data", "kernel", "failed", "0x1", "0x2"]);
    }

    #[test]
    fn wrong_use_is_told() {
        let error = engines("foo").err().unwrap().to_string();
        assert!(error.starts_with("there is no engine `foo`; there are "), "{error}");
        let missing = Path::new("no such directory");
        assert!(matches!(vector_files(missing), Err(ConformError::Directory { .. })));
    }
}
