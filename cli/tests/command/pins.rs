//! Maps that live on between runs: `run --pin-root`, `map dump`.

use super::{ebpfvm, root, scratch};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// A directory of the test's own, which is not there yet.
fn dir(name: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("pins").join(name);
    let _ = std::fs::remove_dir_all(&dir);
    dir
}

fn files(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(dir)
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// A run of the tc example, which counts verdicts on each CPU.
fn count(dir: &Path, options: &str) -> Value {
    let run = "run examples/tc_nat/tc_nat.bpf.o --packet examples/tc_nat/dns_query.hex --json";
    ebpfvm(&format!("{run} --pin-root {} {options}", dir.display())).json()
}

#[test]
fn contents_live_on_between_runs() {
    let dir = dir("live_on");
    for runs in 1..=3 {
        let entries = count(&dir, "--pin-all")["maps"]["verdicts"].clone();
        let lanes = &entries[0]["formatted"]["values"][0];
        assert_eq!(lanes["value"], runs, "{entries}");
    }
    assert_eq!(files(&dir), ["translations", "verdicts"]);
    // No map of the object is pinned by name.
    assert_eq!(count(&dir, "")["maps"]["verdicts"][0]["formatted"]["values"][0]["value"], 1);
}

/// Without `--pin-all` only maps that the program pins by name are kept.
#[test]
fn maps_that_are_pinned_by_name() {
    let dir = dir("by_name");
    let run =
        "run loader/tests/objects/maps.o -p target --packet examples/xdp_firewall/web_request.hex";
    ebpfvm(&format!("{run} --pin-root {}", dir.display())).well();
    assert_eq!(files(&dir), ["flows"]);
}

#[test]
fn variables_live_on_and_constants_are_the_programs_own() {
    let dir = dir("variables");
    let run = |options: &str| {
        let args = "run examples/cgroup_policy/cgroup_policy.bpf.o -p egress_policy --json \
                    --packet examples/cgroup_policy/web_request.hex";
        ebpfvm(&format!("{args} --pin-root {} --pin-all {options}", dir.display())).json()
    };
    assert_eq!(run("")["verdict"], "PASS");
    let kept = files(&dir);
    assert!(kept.contains(&"cgroup_p.bss".into()), "{kept:?}");
    assert!(!kept.contains(&"cgroup_p.rodata".into()), "{kept:?}");
    run("--global budget_bytes=1");
    let bss = run("--global budget_bytes=1")["maps"]["cgroup_p.bss"].clone();
    assert_eq!(bss[0]["formatted"]["value"]["denied"]["by_budget"], 2, "{bss}");
}

#[test]
fn a_file_of_another_map_is_told() {
    let dir = dir("other");
    count(&dir, "--pin-all");
    std::fs::copy(dir.join("translations"), dir.join("verdicts")).unwrap();
    let error = count(&dir, "--pin-all")["error"].clone();
    let message = error["message"].as_str().unwrap();
    let tail =
        "verdicts: the contents are of a map with kind hash, but map 'verdicts' has percpu_array";
    assert!(message.ends_with(tail), "{message}");
    assert_eq!((&error["kind"], &error["exit_code"]), (&"input".into(), &3.into()));
    assert!(error["hint"].as_str().unwrap().starts_with("remove the file"), "{error}");

    std::fs::write(dir.join("verdicts"), "text").unwrap();
    let message = count(&dir, "--pin-all")["error"]["message"].to_string();
    assert!(message.contains("offset 0: these are no map contents"), "{message}");
}

/// A run that a trap ends keeps what was there.
#[test]
fn a_trap_changes_no_file() {
    let dir = dir("trap");
    let args = "run cli/tests/objects/traps.o -p null_value \
                --packet examples/xdp_firewall/web_request.hex";
    ebpfvm(&format!("{args} --pin-root {} --pin-all", dir.display())).failed(1);
    assert!(!dir.exists());
}

#[test]
fn a_directory_that_cannot_be_is_told() {
    let file = scratch("no_directory", "");
    let run = "run examples/tc_nat/tc_nat.bpf.o --packet examples/tc_nat/dns_query.hex --pin-all";
    let error = ebpfvm(&format!("{run} --pin-root {file}")).failed(3);
    assert!(error.contains("no_directory"), "{error}");
    let raw = "run examples/raw/regular_rounding.hex --pin-root x";
    assert!(ebpfvm(raw).failed(2).contains("--pin-root needs an object file"));
    let error = ebpfvm(&format!("{run} --json")).json();
    assert_eq!(error["error"]["kind"], "usage", "--pin-all needs a root");
}

#[test]
fn files_are_shown() {
    let dir = dir("shown");
    count(
        &dir,
        "--pin-all --map translations={\"10.9.0.4\":{\"outside_address\":\"203.0.113.9\"}}",
    );
    let file = dir.join("translations");
    let bare = ebpfvm(&format!("map dump {}", file.display())).well();
    let facts = "hash: 4 bytes -> 8 bytes, at most 4096 entries\n";
    assert_eq!(
        bare,
        format!("{facts}translations (hash, 1 entry):\n  0a090004: cb00710900000000\n")
    );
    let object = "--object examples/tc_nat/tc_nat.bpf.o";
    let typed = ebpfvm(&format!("map dump {} {object}", file.display())).well();
    let entry = "  10.9.0.4: {outside_address: 203.0.113.9, out_ifindex: 0}\n";
    assert_eq!(typed, format!("{facts}translations (hash, 1 entry):\n{entry}"));

    let json =
        ebpfvm(&format!("map dump {} {object} --json", dir.join("verdicts").display())).json();
    assert_eq!((&json["type"], &json["max_entries"]), (&"percpu_array".into(), &8.into()));
    assert_eq!(json["entries"][0]["formatted"]["values"][0]["value"], 1, "{json}");

    // Types of another size do not fit.
    let other = "--object loader/tests/objects/maps.o --map flows";
    let error = ebpfvm(&format!("map dump {} {other}", file.display())).failed(3);
    assert!(error.contains("keys have 4 and values 8 bytes, but those of map 'flows'"), "{error}");
}

#[test]
fn files_that_are_no_maps_are_told() {
    let error = ebpfvm("map dump docs/cli.md").failed(3);
    assert!(error.contains("docs/cli.md: offset 0: these are no map contents"), "{error}");
    assert!(ebpfvm("map dump no_such").failed(3).contains("no_such: "));
    assert!(root().join("docs/pinned-maps.md").exists(), "the format is described");
}
