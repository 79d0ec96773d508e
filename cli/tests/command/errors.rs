//! What is said when something is wrong: each class of message, with its exit code.

use super::{ebpfvm, ebpfvm_on, root, scratch, stable};
use insta::assert_snapshot;

const FIREWALL: &str = "examples/xdp_firewall/xdp_firewall.bpf.o";
const REQUEST: &str = "examples/xdp_firewall/web_request.hex";

/// The message of a run of the firewall with one more option.
fn firewall(option: &str, argument: &str, code: i32) -> String {
    ebpfvm_on(&["run", FIREWALL, "--packet", REQUEST, option, argument], b"").failed(code)
}

#[test]
fn names_that_are_not_there() {
    let tail_calls = "examples/tail_calls/tail_calls.bpf.o --packet x";
    assert_snapshot!(ebpfvm(&format!("run {tail_calls}")).failed(2));
    assert_snapshot!(ebpfvm(&format!("run {tail_calls} -p xdp_dispach")).failed(2));
    assert_snapshot!(ebpfvm(&format!("run {tail_calls} -s tc")).failed(2));
    assert_snapshot!(ebpfvm(&format!("run {tail_calls} -s xdp")).failed(2));
    assert_snapshot!(firewall("--map", "blokced={}", 2));
    assert_snapshot!(firewall("--global", "limit=1", 2));
    let lb = "run examples/xdp_lb/xdp_lb.bpf.o -p xdp_lb_nat --packet x";
    assert_snapshot!(ebpfvm(&format!("{lb} --global outer_tll=1")).failed(2));
    assert_snapshot!(ebpfvm(&format!("{lb} --map .data={{\"outer_tll\":1}}")).failed(2));
}

#[test]
fn wrong_use() {
    assert_snapshot!(ebpfvm(&format!("run {FIREWALL}")).failed(2));
    assert_snapshot!(firewall("--map", "blocked", 2));
    for args in ["", "rnu", "run", "run x --fuel many", "run x -p a -s b"] {
        let error = ebpfvm(args).failed(2);
        assert!(error.contains("Usage: ebpfvm") || error.contains("--help"), "{args}: {error}");
    }
    let code = scratch("exit.hex", "9500000000000000");
    for option in ["-p main", "-s xdp", "--map m={}", "--global g=1"] {
        let error = ebpfvm(&format!("run {code} {option}")).failed(2);
        assert!(error.contains("needs an object file"), "{error}");
    }
}

#[test]
fn values_of_maps() {
    for (name, entries) in [
        ("syntax", "{\"10.0.0.1\": }"),
        ("shape", "7"),
        ("entry", "[{\"kye\": 1}]"),
        ("key", "{\"10.0.0\": 1}"),
        ("value", "{\"10.0.0.1\": \"many\"}"),
        ("range", "{\"10.0.0.1\": -1}"),
        ("removed", "{\"10.0.0.1\": null}"),
    ] {
        assert_snapshot!(
            format!("map_{name}"),
            firewall("--map", &format!("blocked={entries}"), 3)
        );
    }
    assert_snapshot!(firewall("--map", "counters=[{\"key\": 99, \"value\": {}}]", 3));
    assert_snapshot!(firewall("--map", "counters=[{\"key\": 0, \"value\": {\"pakcets\": 1}}]", 3));
    let cpu = "counters=[{\"key\": 0, \"values\": [{\"cpu\": 7, \"value\": {}}]}]";
    assert_snapshot!(firewall("--map", cpu, 3));
    let file = scratch("broken.json", "[\n  {\"key\": 1,\n]");
    let error = firewall("--map", &format!("blocked=@{file}"), 3);
    assert!(error.contains("broken.json:3:1: "), "{error}");
    assert!(firewall("--map", "blocked=@no_such.json", 3).contains("no_such.json: No such file"));
    let ringbuf = "run examples/ringbuf_events/ringbuf_events.bpf.o -p xdp_perf --packet x";
    let error = ebpfvm(&format!("{ringbuf} --map connections={{\"1\":1}}")).failed(3);
    assert!(error.contains("a map of kind ringbuf takes no entries"), "{error}");
    let tails = "run examples/tail_calls/tail_calls.bpf.o -p xdp_tcp --packet x";
    let error = ebpfvm(&format!("{tails} --map per_protocol={{\"300\":\"xdp_tcp\"}}")).failed(3);
    assert!(error.contains("the array has 256 slots"), "{error}");
    let error = ebpfvm(&format!("{tails} --map per_protocol={{\"3\":\"xdp_tpc\"}}")).failed(3);
    assert!(error.contains("there is no program 'xdp_tpc'"), "{error}");
}

#[test]
fn packets() {
    let run = |packet: &[u8]| {
        let args = ["run", FIREWALL, "--packet", "-"];
        ebpfvm_on(&args, packet).failed(3)
    };
    assert_snapshot!(run(b""));
    assert_snapshot!(run(b"0102"));
    assert_snapshot!(run(&[0; 100_000]));
    assert_snapshot!(run(b"01 02 0g"));
    assert_snapshot!(run(b"01 02 0"));
    assert_snapshot!(run(b"\xd4\xc3\xb2\xa1\x02\x00"));
    assert_snapshot!(firewall("--packet", "no_such.pkt", 2).lines().next().unwrap());
    assert_snapshot!(ebpfvm(&format!("run {FIREWALL} --packet no_such.pkt")).failed(3));
    assert_snapshot!(ebpfvm(&format!("run {FIREWALL} --packet examples")).failed(3));
}

#[test]
fn objects() {
    let bytes = std::fs::read(root().join(FIREWALL)).unwrap();
    let run = |content: &[u8]| {
        let ended = ebpfvm_on(&["run", "-", "--packet", REQUEST], content);
        (ended.code, ended.err)
    };
    // Cut off anywhere: an error and no panic.
    for length in (1..bytes.len()).step_by(97) {
        let (code, error) = run(&bytes[..length]);
        assert_eq!(code, 3, "{length}: {error}");
        assert!(error.starts_with("error: standard input: "), "{length}: {error}");
    }
    let mut foreign = bytes.clone();
    foreign[18] = 62;
    assert_snapshot!(run(&foreign).1);
    foreign = bytes.clone();
    foreign[4] = 1;
    assert_snapshot!(run(&foreign).1);
    assert_snapshot!(run(&bytes[..200]).1);
    assert_snapshot!(run(b"").1);
    assert_snapshot!(ebpfvm("run examples/xdp_firewall/xdp_firewall.bpf.c").failed(3));
    assert_snapshot!(ebpfvm("inspect examples/xdp_firewall/xdp_firewall.bpf.c").failed(3));
    assert_snapshot!(ebpfvm("run loader/tests/objects/values_be.o").failed(3));
    let strong = ebpfvm("run loader/tests/objects/externs.o -p strong").failed(3);
    assert!(strong.contains("externs.o: section 'xdp', offset 0x") && strong.contains("CONFIG_HZ"));
    assert_snapshot!(ebpfvm("run loader/tests/objects/sections.o -p odd_prog").failed(3));
    assert_snapshot!(ebpfvm("run loader/tests/objects/sections.o -p lsm_prog").failed(3));
}

/// Assembles and runs on memory.
fn raw(program: &str, memory: &str, options: &[&str]) -> super::Ended {
    let hex = ebpfvm_on(&["asm", "-", "--hex"], program.as_bytes()).well();
    let code = scratch(&format!("trap-{}.hex", hex.len() + memory.len()), hex);
    let args = [&["run", &code, "--memory", "-"], options].concat();
    ebpfvm_on(&args, memory.as_bytes())
}

#[test]
fn traps() {
    assert_snapshot!(raw("r0 = *(u8 *)(r1 + 4)\nexit", "01020304", &[]).failed(1));
    assert_snapshot!(raw("r0 = 0\nr0 = *(u64 *)(r0 + 8)\nexit", "", &[]).failed(1));
    let endless = "again: goto again";
    assert_snapshot!(raw(endless, "", &["--fuel", "1000"]).failed(1));
    assert_snapshot!(stable(&raw(endless, "", &["--fuel", "1000", "--json"]).out));
    // A helper that there is not is found before the run.
    assert_snapshot!(raw("call 9999\nexit", "00", &[]).failed(3));
}

#[test]
fn a_trap_names_the_source_line() {
    let object = "cli/tests/objects/traps.o";
    let run = |program: &str| {
        ebpfvm(&format!("run {object} -p {program} --packet {REQUEST} --unverified")).failed(1)
    };
    assert_snapshot!(run("past_the_end"));
    assert_snapshot!(run("null_value"));
    assert_snapshot!(run("speaks_first"));
    let args = format!("run {object} -p speaks_first --packet {REQUEST} --json --unverified");
    let error = ebpfvm(&args);
    assert_eq!(error.code, 1);
    assert_snapshot!(stable(&serde_json::to_string_pretty(&error.json()).unwrap()));
}

#[test]
fn errors_as_json() {
    for (name, args) in [
        ("usage", "run".to_string()),
        ("unknown", "run examples/tail_calls/tail_calls.bpf.o -p xdp_dispach".into()),
        ("ambiguous", "run examples/tail_calls/tail_calls.bpf.o".into()),
        ("read", "run no_such.o".into()),
        ("object", "run loader/tests/objects/sections.o -p odd_prog".into()),
        ("map", format!("run {FIREWALL} --packet {REQUEST} --map blocked=7")),
        ("packet", format!("run {FIREWALL} --packet examples/README.md")),
        ("directory", "conform --vectors no_such_directory".into()),
    ] {
        let ended = ebpfvm(&format!("{args} --json"));
        assert_eq!(ended.err, "", "{args}");
        let report = ended.json();
        assert_eq!(report["error"]["exit_code"], ended.code, "{args}");
        assert_snapshot!(format!("json_{name}"), serde_json::to_string_pretty(&report).unwrap());
    }
}
