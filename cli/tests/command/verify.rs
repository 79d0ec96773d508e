//! `ebpfvm verify`, and `ebpfvm run` of programs that are not accepted.

use super::{Ended, ebpfvm, ebpfvm_on, scratch, stable};
use insta::assert_snapshot;
use serde_json::{Value, json};

const FIREWALL: &str = "examples/xdp_firewall/xdp_firewall.bpf.o";
const TAIL_CALLS: &str = "examples/tail_calls/tail_calls.bpf.o";
const MISSING: &str = "examples/missing_check/missing_check.bpf.o";
const PLAIN: &str = "examples/raw/raw.bpf.o";
const PROBES: &str = "conformance/projects/probes.bpf.o";
const TRAPS: &str = "cli/tests/objects/traps.o";

/// The verdicts of a run with `--json`, one a line.
fn lines(ended: &Ended) -> Vec<Value> {
    assert_eq!(ended.err, "");
    ended.out.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// Standard output of a run with this exit code.
fn shown(args: &str, code: i32) -> String {
    let ended = ebpfvm(args);
    assert_eq!((ended.code, ended.err.as_str()), (code, ""), "{args}: {}", ended.out);
    stable(&ended.out)
}

#[test]
fn verdicts_as_text() {
    assert_snapshot!(shown(&format!("verify {FIREWALL}"), 0));
    assert_snapshot!(shown(&format!("verify {TAIL_CALLS}"), 0));
    assert_snapshot!(shown(&format!("verify {MISSING}"), 1));
    assert_snapshot!(shown(&format!("verify {TRAPS}"), 1));
}

#[test]
fn verdicts_as_json() {
    let ended = ebpfvm(&format!("verify {TAIL_CALLS} {MISSING} --json"));
    assert_eq!(ended.code, 1);
    let verdicts = lines(&ended);
    assert_eq!(verdicts.len(), 6);
    let keys = [
        "object",
        "section",
        "program",
        "prog_type",
        "verdict",
        "message",
        "code",
        "pc",
        "source",
        "insns",
        "processed",
        "states",
        "time_us",
    ];
    for verdict in &verdicts {
        let found: Vec<&String> = verdict.as_object().expect("an object").keys().collect();
        assert_eq!(found, keys);
        assert!(verdict["time_us"].is_u64());
    }
    let accepted = &verdicts[0];
    assert_eq!(accepted["verdict"], "accepted");
    assert_eq!((&accepted["message"], &accepted["code"]), (&json!(""), &Value::Null));
    let rejected = &verdicts[5];
    assert_eq!(rejected["object"], MISSING);
    assert_eq!((&rejected["section"], &rejected["prog_type"]), (&json!("xdp"), &json!("xdp")));
    assert_eq!(
        (&rejected["program"], &rejected["verdict"]),
        (&json!("missing_check"), &json!("rejected"))
    );
    assert_eq!(rejected["message"], "R1 offset is outside of the packet");
    assert_eq!((&rejected["code"], &rejected["pc"]), (&json!("access.outside_packet"), &json!(13)));
    assert_eq!(rejected["source"], json!({"file": "./missing_check.bpf.c", "line": 19}));
    assert_eq!(rejected["insns"], 18);
}

#[test]
fn more_json_when_asked_for() {
    let verdict = &lines(&ebpfvm(&format!("verify {MISSING} --json --details --log-level 1")))[0];
    assert!(verdict["registers"].as_str().expect("registers").contains(" R1=pkt(r=34) "));
    assert!(verdict["hint"].as_str().expect("a hint").contains("data_end"));
    let last = verdict["way"].as_array().and_then(|way| way.last()).expect("a way");
    assert_eq!((&last["pc"], &last["turn"]), (&json!(12), &json!("not taken")));
    let log = verdict["log"].as_str().expect("a log");
    assert!(log.starts_with("0: R1=ctx() R10=fp0\n"), "{log}");
    assert!(log.contains("\nR1 offset is outside of the packet\nprocessed "), "{log}");
}

#[test]
fn the_log_as_the_kernel_writes_it() {
    // These logs are the kernel's: a test of the conformance crate compares them where there is one.
    for (name, args) in [
        ("log_rejected", format!("{MISSING} --log-level 2")),
        ("log_failing_path", format!("{TRAPS} -p null_value --log-level 1")),
        (
            "log_functions",
            "examples/ringbuf_events/ringbuf_events.bpf.o -p xdp_ringbuf --log-level 2".into(),
        ),
        (
            "log_legacy",
            "examples/socket_filter/socket_filter.bpf.o -p https_legacy --log-level 2".into(),
        ),
        ("log_inner_map", "conformance/objects/collections.bpf.o -p nested --log-level 2".into()),
    ] {
        assert_snapshot!(name, stable(&ebpfvm(&format!("verify {args}")).out));
    }
    let ended = ebpfvm(&format!("verify {MISSING} --log-level 4"));
    assert!(ended.out.contains("\nverification time "), "{}", ended.out);
    assert!(ended.out.contains("\nstack depth 0\n"), "{}", ended.out);
    assert!(ebpfvm(&format!("verify {MISSING} --log-level 8")).failed(2).contains("--log-level"));
}

#[test]
fn statistics_as_veristat_has_them() {
    let csv = shown(&format!("verify {TAIL_CALLS} {MISSING} --stats csv"), 1);
    let rows: Vec<Vec<&str>> = csv.lines().map(|line| line.split(',').collect()).collect();
    assert_eq!(rows.len(), 7);
    assert!(rows.iter().all(|row| row.len() == rows[0].len()));
    assert_eq!(rows[0][..5], ["file_name", "prog_name", "verdict", "duration", "total_insns"]);
    assert_eq!(rows[6][..3], ["missing_check.bpf.o", "missing_check", "failure"]);
    let table = shown(&format!("verify {TAIL_CALLS} {MISSING} no_such.o --stats table"), 3);
    let mut lines = table.lines();
    assert!(lines.next().expect("a head").starts_with("File                 Program"), "{table}");
    assert!(lines.all(|line| line.starts_with(['-', 't', 'm', 'n'])), "{table}");
    // What veristat has no word for is told, not lost.
    let ended = ebpfvm("verify no_such.o --stats csv");
    assert_eq!(ended.code, 3);
    assert!(ended.err.contains("not in the table: no_such.o: error"), "{}", ended.err);
}

#[test]
fn what_cannot_be_judged_keeps_nothing_from_being_judged() {
    let ended = ebpfvm(&format!("verify no_such.o examples/README.md {MISSING} --json"));
    assert_eq!(ended.code, 3);
    let verdicts = lines(&ended);
    let words: Vec<&Value> = verdicts.iter().map(|verdict| &verdict["verdict"]).collect();
    assert_eq!(words, ["error", "error", "rejected"]);
    assert!(verdicts[0]["message"].as_str().expect("text").contains("No such file"));
    let ended = ebpfvm("verify loader/tests/objects/externs.o --json");
    let verdicts = lines(&ended);
    let of = |name: &str| {
        let found = verdicts.iter().find(|verdict| verdict["program"] == name);
        found.unwrap_or_else(|| panic!("{name}")).clone()
    };
    assert_eq!((ended.code, &of("plain")["verdict"]), (3, &json!("accepted")));
    assert_eq!(of("strong")["verdict"], "error");
    assert!(of("strong")["message"].as_str().expect("text").contains("CONFIG_HZ"));
}

#[test]
fn what_is_not_judged_yet_is_named() {
    let ended = ebpfvm("verify loader/tests/objects/kfuncs.o -p locks --json");
    if ended.code == 3 {
        eprintln!(
            "skipped: no types of a kernel here, which the kernel functions are looked up in"
        );
        return;
    }
    assert_eq!(ended.code, 4);
    let verdict = &lines(&ended)[0];
    assert_eq!(
        (&verdict["verdict"], &verdict["code"]),
        (&json!("unsupported"), &json!("unsupported"))
    );
    assert!(verdict["message"].as_str().expect("text").contains("kernel function"), "{verdict}");
}

#[test]
fn bare_instructions() {
    let verdict = |text: &str, args: &[&str]| {
        let ended = ebpfvm_on(&[&["verify", "-", "--json"], args].concat(), text.as_bytes());
        lines(&ended)[0].clone()
    };
    let safe = "r0 = 2\nexit";
    assert_eq!(verdict(safe, &["--type", "xdp"])["verdict"], "accepted");
    assert_eq!(verdict("b700000002000000 9500000000000000", &[])["verdict"], "accepted");
    let wrong = verdict("r0 = *(u32 *)(r1 + 4096)\nexit", &["--type", "xdp"]);
    assert_eq!(wrong["message"], "invalid bpf_context access off=4096 size=4");
    assert_eq!((&wrong["program"], &wrong["section"]), (&Value::Null, &Value::Null));
    let unprivileged = ["--type", "socket_filter", "--unprivileged"];
    assert_eq!(verdict("r0 = r1\nexit", &unprivileged)["message"], "R0 leaks addr as return value");
    let error = verdict("r0 = 2\nexi", &[]);
    assert_eq!(error["verdict"], "error");
    let ended = ebpfvm_on(&["verify", "-", "--type", "xpd"], safe.as_bytes());
    assert!(ended.failed(2).contains("the types are socket_filter, kprobe"));
}

#[test]
fn options_change_the_verdict() {
    // A state at every instruction.
    let states = |flags: &str| {
        lines(&ebpfvm(&format!("verify {FIREWALL} --json{flags}")))[0]["states"].as_u64()
    };
    assert!(states(" --prog-flags 0x8") > states(""));
    let flags = ebpfvm(&format!("verify {FIREWALL} --prog-flags 0x10000 --json"));
    assert_eq!(lines(&flags)[0]["code"], "program.flags");
    let plain_user = ebpfvm(&format!("verify {FIREWALL} --unprivileged --json"));
    assert_eq!(lines(&plain_user)[0]["verdict"], "rejected");
}

#[test]
fn one_program_is_chosen_by_name_or_section() {
    let judged = |args: &str| {
        let ended = ebpfvm(&format!("verify {args} --json"));
        let names = lines(&ended).into_iter().map(|verdict| verdict["program"].clone());
        (ended.code, names.collect::<Vec<Value>>())
    };
    for option in ["-p", "--program"] {
        assert_eq!(judged(&format!("{TAIL_CALLS} {option} xdp_udp")), (0, vec![json!("xdp_udp")]));
    }
    for option in ["-s", "--section"] {
        let judged = judged(&format!("{PROBES} {option} raw_tracepoint/sys_enter"));
        assert_eq!(judged, (0, vec![json!("count_calls")]));
    }
    // All programs of a section.
    assert_eq!(judged(&format!("{TAIL_CALLS} --section xdp")).1.len(), 5);
    let exits = format!("{PROBES} --section tracepoint/syscalls/sys_exit_openat");
    assert_eq!(judged(&exits), (0, vec![json!("open_leave"), json!("open_leave_perf")]));
    let both =
        ebpfvm(&format!("verify {PROBES} -p wakeup --section kprobe/do_nanosleep")).failed(2);
    assert!(both.contains("cannot be used with"), "{both}");
    let error = ebpfvm(&format!("verify {PROBES} --section kprobe/do_nanoslee")).failed(2);
    assert!(error.contains("hint: did you mean 'kprobe/do_nanosleep'?"), "{error}");
}

#[test]
fn plain_memory_has_as_many_bytes_as_said() {
    let verdict = |bytes: &str| {
        lines(&ebpfvm(&format!("verify {PLAIN} --json{bytes}")))[0]["message"].clone()
    };
    // The program asks how many bytes there are, but no number that it is given is checked by itself.
    assert_eq!(verdict(""), "R1 invalid mem access 'mem_or_null'");
    let outside = "R1 min value is outside of the allowed memory range";
    assert_eq!(verdict(" --memory-bytes 8"), outside);
    assert_eq!(verdict(" --memory-bytes 27"), outside.replace("R1", "R8"));
    // The last field that it touches ends at byte 28.
    for enough in ["28", "0x20", "4096"] {
        assert_eq!(verdict(&format!(" --memory-bytes {enough}")), "", "{enough}");
    }
    let code = ["verify", "-", "--json", "--memory-bytes", "4"];
    let message = |text: &str| lines(&ebpfvm_on(&code, text.as_bytes()))[0]["message"].clone();
    assert_eq!(message("r0 = *(u8 *)(r1 + 3)\nexit"), "");
    assert_ne!(message("r0 = *(u8 *)(r1 + 4)\nexit"), "");
}

#[test]
fn globals_are_what_they_are_said_to_be() {
    let processed = |globals: &str| {
        let verdict = &lines(&ebpfvm(&format!("verify {PROBES} -p wakeup --json{globals}")))[0];
        assert_eq!(verdict["verdict"], "accepted", "{globals}");
        verdict["processed"].as_u64().expect("a count")
    };
    // `only_pid` is constant: as it is, 0, what compares with it is no way to go.
    assert_eq!(processed(" --global only_pid=0"), processed(""));
    assert!(processed(" --global only_pid=7") > processed(""));
    assert_eq!(
        processed(" --global least_us=7 --global only_pid=7"),
        processed(" --global only_pid=7")
    );
    for (global, problem) in [("only_pi=7", "did you mean 'only_pid'?"), ("only_pid", "NAME=JSON")]
    {
        let error = ebpfvm(&format!("verify {PROBES} --global {global}")).failed(2);
        assert!(error.contains(problem), "{error}");
    }
    let ended = ebpfvm(&format!("verify {PROBES} --json --global only_pid=-1"));
    let problem = "--global only_pid: found -1, expected a number from 0 to 4294967295";
    assert_eq!((ended.code, &lines(&ended)[0]["message"]), (3, &json!(problem)));
}

#[test]
fn types_of_a_kernel_are_taken_from_a_file() {
    const CORE: &str = "loader/tests/objects/core.o";
    let verdict = |btf: &str| {
        let ended = ebpfvm(&format!("verify {CORE} -p sizes --json --btf {btf}"));
        let verdict = &lines(&ended)[0];
        (ended.code, verdict["code"].clone())
    };
    // Its own types have what it asks for; those of the other file do not, which the loader makes a
    // call of nothing.
    assert_eq!(verdict(CORE), (0, Value::Null));
    let other = "loader/tests/objects/target.btf";
    assert_eq!(verdict(other), (1, json!("call.unknown")));
    let ended = ebpfvm(&format!("verify {CORE} --json --btf README.md"));
    let error = &lines(&ended)[0];
    assert_eq!((ended.code, &error["verdict"]), (3, &json!("error")));
    assert!(error["message"].as_str().expect("text").contains("README.md"), "{error}");
}

#[test]
fn the_configuration_is_taken_from_a_file() {
    const EXTERNS: &str = "loader/tests/objects/externs.o";
    let judged = |file: &str| {
        let ended = ebpfvm(&format!("verify {EXTERNS} -p strong --json --kconfig {file}"));
        let verdict = &lines(&ended)[0];
        let message = verdict["message"].as_str().expect("text").to_owned();
        (ended.code, verdict["verdict"].clone(), message)
    };
    let given = scratch("verify.config", "# a comment\nCONFIG_HZ=250\nCONFIG_SMP=y\n");
    assert_eq!(judged(&given), (0, json!("accepted"), String::new()));
    let others = judged(&scratch("verify_others.config", "CONFIG_SMP=y\n"));
    assert_eq!((others.0, &others.1), (3, &json!("error")));
    assert!(others.2.contains("CONFIG_HZ"), "{}", others.2);
    let wrong = judged(&scratch("verify_wrong.config", "CONFIG_HZ=lots\n"));
    assert!(wrong.2.contains("'CONFIG_HZ': the value lots is not a number"), "{}", wrong.2);
    assert!(judged("README.md").2.contains("no line of this file sets a CONFIG_ option"));
    assert!(judged("no_such").2.contains("No such file"));
}

#[test]
fn wrong_use() {
    for (args, problem) in [
        (format!("{FIREWALL} -p xdp_firewal"), "did you mean 'xdp_firewall'?"),
        (format!("{FIREWALL} --stats csv --json"), "--stats and --json do not go together"),
        (format!("{FIREWALL} --type xdp"), "--type is for bare instructions"),
        (format!("{FIREWALL} --prog-flags many"), "a number such as 8 or 0x8 is expected"),
        (String::new(), "required arguments"),
        ("- -".into(), "standard input can only be read once"),
    ] {
        let ended = ebpfvm(&format!("verify {args}"));
        assert_eq!(ended.code, 2, "{args}: {ended:?}");
        assert!((ended.err + &ended.out).contains(problem), "{args}");
    }
    // What is chosen need not be in every file.
    let ended = ebpfvm(&format!("verify {FIREWALL} {MISSING} -p missing_check --json"));
    assert_eq!((ended.code, lines(&ended).len()), (1, 1));
}

#[test]
fn a_rejected_program_is_not_run() {
    let packet = "examples/missing_check/short_tcp.hex";
    let text = ebpfvm(&format!("run {MISSING} --packet {packet}")).failed(1);
    assert_snapshot!(text);
    let ended = ebpfvm(&format!("run {MISSING} --packet {packet} --json"));
    let error = &ended.json()["error"];
    assert_eq!((ended.code, &error["kind"]), (1, &json!("rejected")));
    assert_eq!((&error["code"], &error["pc"]), (&json!("access.outside_packet"), &json!(13)));
    let run = ebpfvm(&format!("run {MISSING} --packet {packet} --unverified")).failed(1);
    assert!(run.contains("right past the end of the packet"), "{run}");
}
