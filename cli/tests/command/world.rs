//! Worlds in which everything is given.

use super::{ebpfvm, ebpfvm_on, scratch};
use serde_json::{Value, json};

/// A program of these instructions, as a file of its own.
fn program(name: &str, text: &str) -> String {
    let source = scratch(&format!("{name}.s"), text);
    let file = scratch(&format!("{name}.bin"), "");
    assert_eq!(ebpfvm(&format!("asm {source} -o {file}")).code, 0);
    file
}

/// What a program returns.
fn retval(file: &str, options: &[&str]) -> Value {
    let args = [&["run", file, "--json"], options].concat();
    ebpfvm_on(&args, b"").json()["retval"].clone()
}

#[test]
fn time_chance_and_cpu_are_given() {
    let clock = program("clock", "call 5\nexit");
    assert_eq!(retval(&clock, &["--clock", "12345"]), 12345);
    assert_eq!(retval(&clock, &["--cpu", "0"]), 1_000_000_000);
    let cpu = program("cpu", "call 8\nexit");
    assert_eq!(retval(&cpu, &["--cpu", "3"]), 3);
    assert_eq!(retval(&cpu, &["--cpus", "4"]), 0);
    let random = program("random", "call 7\nexit");
    let of_seed = |seed| retval(&random, &["--seed", seed]);
    assert_eq!(of_seed("7"), of_seed("7"));
    assert_ne!(of_seed("7"), of_seed("8"));
    assert_eq!(of_seed("0"), retval(&random, &["--clock", "1"]));
}

#[test]
fn a_file_gives_the_rest() {
    let world = json!({
        "seed": 7,
        "cpu": 2,
        "clock": {"monotonic_ns": 100, "boot_ns": 200, "step_ns": 10},
        "task": {"pid": 4712, "tgid": 4711, "uid": 33, "gid": 44, "cgroups": ["/", "/web"]},
    });
    let file = scratch("world.json", world.to_string());
    let of = |name: &str, text: &str| retval(&program(name, text), &["--host", &file]);
    assert_eq!(of("twice", "call 5\ncall 5\nexit"), 110);
    assert_eq!(of("boot", "call 125\nexit"), 200);
    assert_eq!(of("which_cpu", "call 8\nexit"), 2);
    assert_eq!(of("task", "call 14\nexit"), json!(4711_u64 << 32 | 4712));
    assert_eq!(of("user", "call 15\nexit"), json!(44_u64 << 32 | 33));
    assert_eq!(of("cgroup", "call 80\nexit"), 2);
    // Options go before the file.
    let clock = program("clock_again", "call 5\nexit");
    assert_eq!(retval(&clock, &["--host", &file, "--clock", "7"]), 7);
}

#[test]
fn wrong_worlds_are_refused() {
    let file = program("any", "r0 = 0\nexit");
    for (world, problem) in [
        ("{\"sed\": 1}", "sed: unknown field `sed`"),
        ("{\"seed\": -1}", "seed: invalid value: integer `-1`, expected u64"),
        ("{\"task\": {\"pid\": \"x\"}}", "task.pid: invalid type: string \"x\", expected u32"),
        ("[]", "expected an object"),
        ("{\"seed\": 1", "wrong_world.json:1:10: EOF"),
    ] {
        let path = scratch("wrong_world.json", world);
        let error = ebpfvm(&format!("run {file} --host {path}")).failed(3);
        assert!(error.contains(problem) && error.contains("wrong_world.json"), "{error}");
    }
    let error = ebpfvm(&format!("run {file} --cpu 3 --cpus 2")).failed(2);
    assert!(error.contains("runs on CPU 3, but there are only 2"), "{error}");
    let error = ebpfvm(&format!("run {file} --cpus 0")).failed(2);
    assert!(error.contains("--cpus"), "{error}");
}
