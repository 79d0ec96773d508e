//! The verifier's verdicts and counts of processed instructions on all objects of this repository:
//! beside those that are on record, and beside the running kernel's.
//!
//! `EBPFVM_BLESS=1` writes what the verifier says into the record, to be looked at before it is
//! committed.

mod ours;
mod table;

use ebpfvm_asm::text::{Dialect, assemble};
use ebpfvm_conformance::corpus::TargetKernel;
use ebpfvm_conformance::judge::{Judged, LiveJudge};
use ebpfvm_kernel::prog::log_level;
use ebpfvm_kernel::{Kernel, linux_6_18_or_skip, report_skip};
use ebpfvm_spec::{ProgType, Program};
use ours::{Subject, subjects};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use table::{Row, Table};

/// What the verifier says of each program, a line each: object, program, verdict, instructions.
const RECORD: &str = "conformance/tests/verification/record.txt";

/// Programs that are judged differently from Linux, each with words of `docs/parity.md` that say why.
/// One that is not any more must be taken from here.
const DIFFERENT: [(&str, &str, &str); 1] = [(
    "conformance/projects/mistakes.bpf.o",
    "callback_round_forgotten",
    "Calls of helpers that call back are loops",
)];

/// Of programs that both judge alike, at least this share follows as many instructions as Linux, by
/// [`table::WITHIN_PERCENT`].
const NEAR_PERCENT: usize = 90;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn linux(kernel: &Kernel, subject: &Subject) -> Result<Judged, String> {
    let program = &subject.program;
    if program.prog_type == ProgType::Raw {
        return Err("plain memory is a context of this project's".into());
    }
    let mut live = LiveJudge::new(kernel, program.maps.clone(), program.btf.as_deref())?;
    let judged = live.judge(program, log_level::STATS)?;
    if !judged.accepted && judged.message.is_empty() && !takes(kernel, program) {
        return Err(format!("this kernel has no programs of type {}", program.prog_type.name()));
    }
    Ok(judged)
}

/// Whether the kernel is built with programs of this type, or tells why it is not that.
fn takes(kernel: &Kernel, program: &Program) -> bool {
    let code = assemble("r0 = 1\nexit\n", Dialect::PseudoC).expect("two instructions");
    let mut least = Program::from_code("least", program.prog_type, code);
    least.attach_type = program.attach_type;
    let judged = LiveJudge::new(kernel, least.maps.clone(), None)
        .and_then(|mut live| live.judge(&least, log_level::STATS));
    judged.is_ok_and(|judged| judged.accepted || !judged.message.is_empty())
}

#[test]
fn verdicts_are_on_record() {
    let path = root().join(RECORD);
    let found = subjects(None);
    found.skipped.iter().for_each(|why| report_skip("verdicts_are_on_record", why));
    let seen: BTreeMap<String, String> =
        found.judged.iter().map(|(subject, judged)| (subject.name(), ours::line(judged))).collect();
    let text: String = seen.iter().map(|(name, line)| format!("{name} {line}\n")).collect();
    if std::env::var_os("EBPFVM_BLESS").is_some() {
        std::fs::write(&path, text).expect("the record can be written");
        return;
    }
    let record = std::fs::read_to_string(&path).expect("the record");
    let recorded: BTreeMap<String, String> = record
        .lines()
        .map(|line| {
            let mut words = line.splitn(3, ' ');
            let mut word = || words.next().unwrap_or_else(|| panic!("'{line}' is too short"));
            (format!("{} {}", word(), word()), word().to_string())
        })
        .collect();
    let names = seen.keys().chain(recorded.keys()).collect::<std::collections::BTreeSet<_>>();
    let none = String::from("nothing");
    let wrong: Vec<String> = names
        .iter()
        .filter(|name| seen.get(**name) != recorded.get(**name))
        .map(|name| {
            let line = |lines: &BTreeMap<String, String>| lines.get(*name).unwrap_or(&none).clone();
            format!("{name}\n  on record {}\n  seen      {}", line(&recorded), line(&seen))
        })
        .collect();
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
    assert!(seen.len() >= 200, "{} programs", seen.len());
}

#[test]
fn the_kernel_says_the_same() {
    const NAME: &str = "the_kernel_says_the_same";
    let Some(kernel) = linux_6_18_or_skip(NAME) else { return };
    let target = TargetKernel::running();
    let found = subjects(Some(&target));
    let rows = found.judged.iter().map(|(subject, judged)| {
        let linux = linux(&kernel, subject);
        Row { name: subject.name(), ours: judged.clone(), linux }
    });
    let table = Table { rows: rows.collect() };
    table.print();
    let not_loaded = table.not_loaded();
    report_skip(
        NAME,
        format!(
            "{} of {} programs were not given to the kernel",
            not_loaded.len(),
            table.rows.len()
        ),
    );
    not_loaded.iter().for_each(|why| report_skip(NAME, why));

    let parity = std::fs::read_to_string(root().join("docs/parity.md")).expect("docs/parity.md");
    let listed = |name: &str| {
        DIFFERENT.iter().find(|(object, program, _)| name == format!("{object} {program}"))
    };
    let mut wrong: Vec<String> = Vec::new();
    for row in &table.rows {
        match (row.differs(), listed(&row.name)) {
            (true, None) => wrong.push(row.line()),
            (false, Some(_)) => {
                wrong.push(format!("{}: listed as different, but is not", row.name))
            }
            (true, Some((.., why))) if !parity.contains(why) => {
                wrong.push(format!("{}: '{why}' is not in docs/parity.md", row.name));
            }
            _ => {}
        }
    }
    assert!(wrong.is_empty(), "{} verdicts differ:\n{}", wrong.len(), wrong.join("\n"));
    let (near, same) = table.near();
    assert!(same >= 150, "only {same} programs were compared");
    assert!(near * 100 >= same * NEAR_PERCENT, "counts of only {near} of {same} are near");
}
