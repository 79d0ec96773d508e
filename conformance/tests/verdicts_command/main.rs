//! The command `verdicts` on the objects of this repository: what Linux 6.18 says of some of their
//! programs is in `truth.jsonl`.

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

const TRUTH: &str = include_str!("truth.jsonl");

/// What a run gave.
struct Ended {
    code: i32,
    out: String,
    err: String,
}

impl Ended {
    /// The lines of a run with `--json`.
    fn json(&self) -> Vec<Value> {
        assert_eq!(self.err, "");
        self.out.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }
}

fn objects() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("projects")
}

/// Runs the command on verdicts that it finds in a file of the test's own.
fn verdicts(test: &str, truth: &str, options: &[&str]) -> Ended {
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{test}.jsonl"));
    std::fs::write(&file, truth).expect("the file can be written");
    let mut command = Command::new(env!("CARGO_BIN_EXE_verdicts"));
    let output = command.arg(objects()).arg(file).args(options).output().expect("it runs");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    Ended {
        code: output.status.code().expect("an exit code"),
        out: text(output.stdout),
        err: text(output.stderr),
    }
}

/// The verdicts on record with the one on this program changed.
fn with(program: &str, from: &str, to: &str) -> String {
    let changed = TRUTH.lines().map(|line| {
        let is_it = line.contains(&format!("\"program\": \"{program}\""));
        assert!(!is_it || line.contains(from), "{line}");
        if is_it { line.replace(from, to) } else { line.into() }
    });
    changed.collect::<Vec<String>>().join("\n")
}

/// The words of the table's row for a tier up to the count of crashes.
fn row(out: &str, tier: &str) -> Vec<String> {
    let row = out.lines().find(|line| line.split_whitespace().next() == Some(tier));
    let words = row.unwrap_or_else(|| panic!("no row '{tier}':\n{out}")).split_whitespace();
    words.skip(1).take(7).map(str::to_owned).collect()
}

#[test]
fn the_same_verdicts_are_counted() {
    let ended = verdicts("same", TRUTH, &[]);
    assert_eq!((ended.code, ended.err.as_str()), (0, ""), "{}", ended.out);
    assert!(ended.out.starts_with("tier  programs   same  f.accept"), "{}", ended.out);
    assert_eq!(row(&ended.out, "A"), ["3", "3", "0", "0", "0", "0", "0"]);
    assert_eq!(row(&ended.out, "B"), ["2", "2", "0", "0", "0", "0", "0"]);
    assert_eq!(row(&ended.out, "all"), ["5", "5", "0", "0", "0", "0", "0"]);
    // Messages and counts of instructions are the same too.
    assert!(ended.out.contains(" 3/3 100.0 % "), "{}", ended.out);
    assert!(ended.out.contains(" 5/5 100.0 % "), "{}", ended.out);
}

#[test]
fn json_has_each_program_and_the_table() {
    let lines = verdicts("json", TRUTH, &["--json", "--jobs", "2"]).json();
    let (table, programs) = lines.split_last().expect("lines");
    assert_eq!(programs.len(), 5);
    assert!(programs.iter().all(|line| line["kind"] == "same"), "{programs:?}");
    let lock = &programs[4];
    assert_eq!((&lock["program"], &lock["processed"]), (&"lock_kept".into(), &22.into()));
    assert_eq!(lock["ours"], lock["linux"]);
    let all = &table["table"][2];
    assert_eq!((&all["tier"], &all["programs"]), (&"all".into(), &5.into()));
    assert_eq!((&all["refused"], &all["same_message"]), (&3.into(), &3.into()));
    assert_eq!((&all["near_processed"], &all["same_processed"]), (&5.into(), &5.into()));
}

#[test]
fn a_false_accept_is_found_and_fails() {
    let truth = with("track_xdp", "\"accepted\": true", "\"accepted\": false");
    let truth = truth.replacen("\"message\": \"\"", "\"message\": \"R2 is wrong\"", 1);
    let ended = verdicts("false_accept", &truth, &["--list", "false-accept"]);
    assert_eq!((ended.code, ended.err.as_str()), (1, ""), "{}", ended.out);
    let listed = "1 false-accept:\n  accepted | R2 is wrong | flows.c track_xdp\n";
    assert!(ended.out.starts_with(listed), "{}", ended.out);
    assert_eq!(row(&ended.out, "A"), ["3", "2", "1", "0", "0", "0", "0"]);
    // It fails whatever is shown, but not when it is not asked for.
    assert_eq!(verdicts("false_accept_json", &truth, &["--json"]).code, 1);
    assert_eq!(verdicts("false_accept_tier", &truth, &["--tier", "B"]).code, 0);
}

#[test]
fn what_differs_otherwise_is_told_and_no_failure() {
    let truth = with("value_not_checked", "\"accepted\": false", "\"accepted\": true");
    let ended = verdicts("false_reject", &truth, &["--list", "false-reject"]);
    assert_eq!(ended.code, 0, "{}", ended.out);
    let listed =
        "  R0 invalid mem access 'map_value_or_null' | accepted | mistakes.c value_not_checked\n";
    assert!(ended.out.contains(listed), "{}", ended.out);
    assert_eq!(row(&ended.out, "B"), ["2", "1", "0", "1", "0", "0", "0"]);

    let truth = with("packet_not_checked", "outside of the packet", "wrong");
    let ended = verdicts("message", &truth, &["--list", "message"]);
    let listed =
        "1 message:\n  R1 offset is outside of the packet | R1 offset is wrong | mistakes.c";
    assert!(ended.code == 0 && ended.out.starts_with(listed), "{}", ended.out);

    let truth = with("track_xdp", "\"processed\": 4416", "\"processed\": 2208");
    let ended = verdicts("processed", &truth, &["--list", "processed", "--list", "unequal"]);
    let line = "      2.00  4416 here, 2208 Linux  flows.c track_xdp\n";
    let listed = format!("1 processed:\n{line}\n1 unequal:\n{line}");
    assert!(ended.code == 0 && ended.out.starts_with(&listed), "{}", ended.out);

    let truth = with("lock_kept", "mistakes.c", "nothing.c");
    let ended = verdicts("error", &truth, &["--list", "error"]);
    assert!(ended.code == 0 && ended.out.contains("nothing.bpf.o: No such file"), "{}", ended.out);
    assert_eq!(row(&ended.out, "B"), ["2", "1", "0", "0", "0", "1", "0"]);
}

#[test]
fn a_choice_is_judged_alone() {
    let lines = |options: &[&str]| {
        let lines = verdicts("choice", TRUTH, &[options, &["--json"]].concat()).json();
        let names = lines.iter().filter_map(|line| line["program"].as_str().map(str::to_owned));
        names.collect::<Vec<String>>()
    };
    assert_eq!(lines(&["--program", "open_to_all"]), ["open_to_all"]);
    assert_eq!(lines(&["--file", "mistakes.c", "--tier", "B"]), ["value_not_checked", "lock_kept"]);
    let none = verdicts("none", TRUTH, &["--file", "other.c"]);
    assert_eq!((none.code, none.err.as_str()), (2, "verdicts: no program is selected\n"));
    let log = verdicts("log", TRUTH, &["--program", "packet_not_checked", "--log", "1"]);
    assert_eq!(log.code, 0);
    assert!(
        log.out.starts_with("== mistakes.c packet_not_checked\n0: R1=ctx() R10=fp0\n"),
        "{}",
        log.out
    );
    assert!(log.out.ends_with("=> R1 offset is outside of the packet\n"), "{}", log.out);
}

#[test]
fn a_file_that_is_wrong_is_named() {
    let ended = verdicts("wrong", &with("lock_kept", "\"tier\"", "\"t\""), &[]);
    assert_eq!(ended.code, 2);
    assert!(ended.err.ends_with("wrong.jsonl:5: field 'tier' is missing\n"), "{}", ended.err);
}
