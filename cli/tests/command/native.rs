//! `ebpfvm inspect --native`, and what `run --jit-symbols` tells others.

use super::{ebpfvm, root};
use serde_json::Value;
use std::collections::BTreeSet;
use std::process::{Command, Stdio};

/// The programs of an example as machine code.
fn native(example: &str, options: &str) -> Vec<Value> {
    let file = format!("examples/{example}/{example}.bpf.o");
    let json = ebpfvm(&format!("inspect --native --json {options} {file}")).json();
    assert!(json.get("errors").is_none(), "{json}");
    json["programs"].as_array().expect("programs").clone()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("a number: {value}"))
}

/// Every byte is decoded, belongs to an instruction, and jumps go where instructions begin.
#[test]
fn machine_code_decodes_and_belongs_to_source_lines() {
    for (example, options) in [
        ("tc_counter", ""),
        ("tc_counter", "--checked"),
        ("tail_calls", "--metered"),
        ("tail_calls", "--passes none --cpu base"),
        ("ringbuf_events", "--cpu all"),
        ("xdp_lb", "--passes -dead,-wide"),
    ] {
        for program in native(example, options) {
            let code = program["code"].as_array().expect("code");
            let insns = program["insns"].as_array().expect("instructions");
            let offsets: BTreeSet<u64> = code.iter().map(|line| number(&line["offset"])).collect();
            let mut sizes = vec![0; number(&program["slots"]) as usize + 1];
            let mut at = 0;
            for line in code {
                assert_eq!(number(&line["offset"]), at, "{line}");
                let text = line["text"].as_str().expect("text");
                assert!(!text.contains("bad"), "{line}");
                let bytes = line["bytes"].as_str().expect("bytes").len() as u64 / 2;
                at += bytes;
                sizes[number(&line["pc"]) as usize] += bytes;
                if let Some(target) = line.get("target") {
                    assert!(offsets.contains(&number(target)), "{line}");
                }
            }
            assert_eq!(number(&program["code_bytes"]), at);
            // The first instruction has a source line, so all code has.
            assert!(insns[0].get("source").is_some(), "{}", insns[0]);
            for insn in insns {
                let pc = number(&insn["pc"]) as usize;
                assert_eq!(number(&insn["code_bytes"]), sizes[pc], "{insn}");
            }
        }
    }
}

/// Every instruction and every source line is in the text, and every line of machine code once.
#[test]
fn text_has_all_of_both() {
    for example in ["tc_counter", "ringbuf_events", "xdp_firewall"] {
        let programs = native(example, "");
        let file = format!("examples/{example}/{example}.bpf.o");
        let text = ebpfvm(&format!("inspect --native {file}")).well();
        let texts: Vec<&str> = text.split(": section ").skip(1).collect();
        assert_eq!(texts.len(), programs.len());
        for (text, program) in texts.into_iter().zip(programs) {
            for insn in program["insns"].as_array().expect("instructions") {
                let left =
                    format!("{:>5}  {}", number(&insn["pc"]), insn["text"].as_str().unwrap());
                assert!(text.contains(&left), "{left} in\n{text}");
                if let Some(source) = insn.get("source") {
                    let [file, text_of] = ["file", "text"].map(|key| source[key].as_str().unwrap());
                    let line = format!("; {file}:{}: {text_of}", source["line"]);
                    assert!(text.contains(&line), "{line} in\n{text}");
                }
            }
            for line in program["code"].as_array().expect("code") {
                let offset = format!(" {:>5x}  ", number(&line["offset"]));
                let found = text
                    .lines()
                    .filter(|line| line.get(43..).is_some_and(|right| right.contains(&offset)));
                assert_eq!(found.count(), 1, "{line} in\n{text}");
            }
        }
    }
}

#[test]
fn calls_and_addresses_are_named() {
    let code = |programs: Vec<Value>| -> String {
        let lines = programs.iter().flat_map(|program| program["code"].as_array().expect("code"));
        lines.map(|line| format!("{}\n", line["text"].as_str().expect("text"))).collect()
    };
    let text = code(native("tc_counter", ""));
    for name in [
        " table of by_ethertype\n",
        " map by_ethertype\n",
        " lookup\n",
        " call_helper\n",
        " by_ip_protocol\n",
    ] {
        assert!(text.contains(name), "{name} in\n{text}");
    }
    let text = code(native("ringbuf_events", "-p xdp_perf"));
    for name in ["call parse_syn\n", "call classify\n"] {
        assert!(text.contains(name), "{name} in\n{text}");
    }
}

#[test]
fn forms_are_told() {
    for (options, told) in [
        ("", "accepted by the verifier, fuel not counted, passes: all\n"),
        ("--metered --passes none", "accepted by the verifier, fuel counted, passes: none\n"),
        (
            "--checked --passes values,dead",
            "every access checked, fuel counted, passes: values,dead\n",
        ),
        (
            "--blinded",
            "accepted by the verifier, fuel not counted, passes: none, constants hidden\n",
        ),
    ] {
        let args = format!("inspect --native {options} examples/xdp_trim/xdp_trim.bpf.o");
        let text = ebpfvm(&args).well();
        assert!(text.contains(told), "{told} in\n{text}");
    }
    // Plain memory has no verdict.
    let text = ebpfvm("inspect --native examples/raw/raw.bpf.o").well();
    assert!(text.contains("every access checked"), "{text}");
}

#[test]
fn constants_can_be_hidden() {
    // The protocol of service tags in network byte order.
    let constant = |options: &str| {
        let programs = native("xdp_firewall", options);
        let is_there = |line: &Value| line["text"].as_str().expect("text").contains(" 0xa888");
        programs.iter().flat_map(|program| program["code"].as_array().expect("code")).any(is_there)
    };
    assert!(constant("--passes none") && !constant("--blinded"));
}

#[test]
fn passes_show_what_they_change() {
    let args = "inspect --native --pass dead examples/xdp_trim/xdp_trim.bpf.o -p xdp_trim";
    let text = ebpfvm(args).well();
    assert!(
        text.contains("\npass dead (") && text.contains(" results that nobody reads"),
        "{text}"
    );
    assert!(text.lines().any(|line| line.starts_with("- ")), "{text}");
    let json = ebpfvm(&format!("{args} --json")).json();
    let runs = json["programs"][0]["runs"].as_array().expect("runs");
    let places: Vec<u64> = runs.iter().map(|run| number(&run["place"])).collect();
    assert!(!places.is_empty() && places.is_sorted(), "{places:?}");
    for run in runs {
        assert_eq!(run["pass"], "dead");
        for change in run["changed"].as_array().expect("changes") {
            assert_ne!(change["before"], change["after"]);
        }
    }
}

#[test]
fn mistakes_are_explained() {
    let file = "examples/missing_check/missing_check.bpf.o";
    let rejected = ebpfvm(&format!("inspect --native {file}")).failed(1);
    assert!(
        rejected.contains("missing_check: rejected") && rejected.contains("--checked"),
        "{rejected}"
    );
    let json = ebpfvm(&format!("inspect --native {file} --json")).json();
    assert_eq!(json["error"]["kind"], "rejected");
    assert!(
        ebpfvm(&format!("inspect --native --checked {file}"))
            .well()
            .contains("every access checked")
    );

    let unknown = ebpfvm(&format!("inspect --native --pass ghost {file}")).failed(2);
    assert!(
        unknown.contains("\n  dead ") && unknown.contains("results that nobody reads"),
        "{unknown}"
    );
    for (args, said) in [
        ("--passes none --pass dead --native", "--passes leaves the pass dead out"),
        ("-p missing_check", "--program needs --native"),
        ("--pass dead", "--native"),
        ("--native --types", "cannot be used with"),
        ("--native -p ghost", "program 'ghost' is not in"),
    ] {
        let error = ebpfvm(&format!("inspect {args} {file}")).failed(2);
        assert!(error.contains(said), "{error}");
    }
}

/// Runs an example as machine code, with names; the number of the process.
fn run_with_symbols(whom: &str) -> u32 {
    let mut child = Command::new(env!("CARGO_BIN_EXE_ebpfvm"))
        .args(RUN.iter().chain(&["--jit-symbols", whom]))
        .current_dir(root())
        .stdout(Stdio::null())
        .spawn()
        .expect("the command starts");
    let pid = child.id();
    assert!(child.wait().expect("it ends").success());
    pid
}

/// A run of a program that calls functions.
const RUN: [&str; 8] = [
    "run",
    "--engine",
    "jit",
    "examples/ringbuf_events/ringbuf_events.bpf.o",
    "-p",
    "xdp_perf",
    "--packet",
    "examples/ringbuf_events/web_syn.hex",
];

fn runs_code() -> bool {
    let runs = cfg!(all(target_arch = "x86_64", target_os = "linux"));
    if !runs {
        eprintln!("skipped: there is no machine code for this host");
    }
    runs
}

#[test]
fn perf_is_told_the_names_of_functions() {
    if !runs_code() {
        return;
    }
    let path = format!("/tmp/perf-{}.map", run_with_symbols("perf"));
    let map = std::fs::read_to_string(&path).expect("the map");
    std::fs::remove_file(&path).expect("it can be removed");
    for name in ["bpf_prog_xdp_perf", "bpf_prog_xdp_perf_parse_syn", "bpf_prog_xdp_perf_classify"] {
        assert!(map.lines().any(|line| line.ends_with(&format!(" {name}"))), "{name} in\n{map}");
    }
    for line in map.lines() {
        let mut words = line.splitn(3, ' ');
        let mut hex = || u64::from_str_radix(words.next().unwrap_or(""), 16);
        assert!(hex().is_ok_and(|at| at > 0) && hex().is_ok_and(|bytes| bytes > 0), "{line}");
    }
    assert!(!std::path::Path::new(&format!("/tmp/perf-{}.map", run_with_symbols("gdb"))).exists());
}

#[test]
fn gdb_stops_at_functions_and_knows_their_lines() {
    if !runs_code() {
        return;
    }
    let mut gdb = Command::new("gdb");
    gdb.args(["-batch", "-nx"]);
    for command in [
        "set breakpoint pending on",
        "break bpf_prog_xdp_perf_classify",
        "run",
        "info symbol $pc",
        "info line *$pc",
        "info breakpoints",
    ] {
        gdb.args(["-ex", command]);
    }
    gdb.arg("--args").arg(env!("CARGO_BIN_EXE_ebpfvm")).args(RUN).args(["--jit-symbols", "gdb"]);
    let Ok(output) = gdb.current_dir(root()).env("DEBUGINFOD_URLS", "").output() else {
        return eprintln!("skipped: there is no gdb");
    };
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    let all = out.clone() + &String::from_utf8_lossy(&output.stderr);
    if all.contains("ptrace: ") || all.contains("Could not trace") {
        return eprintln!("skipped: gdb may not trace here");
    }
    let is_there = |line: &str| {
        line.starts_with("bpf_prog_xdp_perf_classify") && line.contains("in section .text")
    };
    assert!(out.lines().any(is_there), "{all}");
    assert!(
        out.lines().any(|line| line.starts_with("Line ") && line.contains("ringbuf_events.bpf.c")),
        "{all}"
    );
    assert!(all.contains("breakpoint already hit 1 time"), "{all}");
}
