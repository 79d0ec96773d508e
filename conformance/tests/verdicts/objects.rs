//! Objects in the style of real projects (`conformance/objects`, `examples`): the verdict and the count of
//! processed instructions of each program here and on the kernel.

use super::root;
use ebpfvm_conformance::judge::{Judged, LiveJudge, guarded, judge};
use ebpfvm_kernel::prog::log_level;
use ebpfvm_kernel::{Kernel, report_skip};
use ebpfvm_loader::Object;
use ebpfvm_spec::{Platform, Program};
use ebpfvm_verifier::Options;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Counts that are within so many percent are near.
const NEAR_PERCENT: u64 = 10;
/// Programs of which so many percent have to be near.
const MOST_PERCENT: usize = 90;

/// All objects below a folder, in order.
fn objects(folder: &Path, found: &mut Vec<PathBuf>) {
    let entries = std::fs::read_dir(folder).expect("a folder");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            objects(&path, found);
        } else if path.to_string_lossy().ends_with(".bpf.o") {
            found.push(path);
        }
    }
}

/// A row of the table.
struct Row {
    name: String,
    insns: usize,
    here: Judged,
    linux: Judged,
}

impl Row {
    fn is_near(&self) -> bool {
        let (here, linux) = (self.here.processed.unwrap_or(0), self.linux.processed.unwrap_or(0));
        here.abs_diff(linux) * 100 <= linux * NEAR_PERCENT
    }

    fn line(&self) -> String {
        let micros = |judged: &Judged| judged.time.as_micros();
        format!(
            "{:<42} {:>6} {:>9} {:>9} {:>8} {:>8}  {}",
            self.name,
            self.insns,
            self.here.processed.unwrap_or(0),
            self.linux.processed.unwrap_or(0),
            micros(&self.here),
            micros(&self.linux),
            self.linux.verdict(),
        )
    }
}

fn judged_here(program: Program) -> Judged {
    let work = move || judge(program, &Platform::linux(), &Options::default());
    guarded(Duration::from_secs(120), work).unwrap_or_else(|mishap| {
        let message = mishap.to_string();
        Judged { message, ..Judged::default() }
    })
}

#[test]
fn objects_get_the_kernels_verdicts() {
    const NAME: &str = "objects_get_the_kernels_verdicts";
    let Some(kernel) = super::kernel::kernel(NAME) else { return };
    let (mut paths, mut rows) = (Vec::new(), Vec::new());
    objects(&root().join("conformance/objects"), &mut paths);
    objects(&root().join("examples"), &mut paths);
    for path in paths {
        rows.extend(judged(&kernel, &path));
    }
    let lines: Vec<String> = rows.iter().map(Row::line).collect();
    report_skip(
        NAME,
        format!(
            "nothing; program, instructions, processed here and by Linux, microseconds:\n{}",
            lines.join("\n")
        ),
    );
    let other: Vec<String> = rows
        .iter()
        .filter(|row| row.here.verdict() != row.linux.verdict())
        .map(|row| format!("{}: {} | {}", row.name, row.here.verdict(), row.linux.verdict()))
        .collect();
    assert!(other.is_empty(), "here | Linux:\n{}", other.join("\n"));
    let near = rows.iter().filter(|row| row.is_near()).count();
    assert!(near * 100 >= rows.len() * MOST_PERCENT, "{near} of {} counts are near", rows.len());
    assert!(rows.len() >= 60, "{} programs", rows.len());
}

/// The programs of an object.
fn judged(kernel: &Kernel, path: &Path) -> Vec<Row> {
    let file = path.file_name().expect("a name").to_string_lossy().into_owned();
    let bytes = std::fs::read(path).expect("a file");
    let object = Object::parse(&bytes, &file).unwrap_or_else(|e| panic!("{e}"));
    let types = object.btf().cloned();
    let mut live = LiveJudge::new(kernel, object.maps().into(), types.as_deref())
        .unwrap_or_else(|why| panic!("{file}: {why}"));
    let platform = Platform::linux();
    let mut rows = Vec::new();
    for info in object.programs() {
        // A program on plain memory has no type of Linux's.
        let Ok(program) = object.program(&info.name, &platform) else { continue };
        if live_type(&program).is_none() {
            continue;
        }
        let name = format!("{} {}", file.trim_end_matches(".bpf.o"), info.name);
        let linux = live.judge(&program, log_level::STATS);
        let linux = linux.unwrap_or_else(|why| panic!("{name}: {why}"));
        let insns = program.code.len();
        rows.push(Row { name, insns, here: judged_here(program), linux });
    }
    rows
}

/// The program's type, if Linux has it.
fn live_type(program: &Program) -> Option<ebpfvm_spec::ProgType> {
    Some(program.prog_type).filter(|t| *t != ebpfvm_spec::ProgType::Raw)
}
