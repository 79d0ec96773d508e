//! Programs of every type on contexts of JSON, in worlds with sockets, networks and memory.

use super::{Ended, ebpfvm_on, scratch};
use serde_json::{Value, json};

fn object(example: &str) -> String {
    format!("examples/{example}/{example}.bpf.o")
}

/// Runs an example's program with these options.
fn run(example: &str, options: &[&str]) -> Ended {
    let object = object(example);
    ebpfvm_on(&[&["run", &object], options].concat(), b"")
}

fn report(example: &str, options: &[&str]) -> Value {
    run(example, &[options, &["--json"]].concat()).json()
}

/// A run that must fail because of its context.
fn refused(example: &str, ctx: &Value) -> String {
    run(example, &["--ctx", &ctx.to_string()]).failed(3)
}

#[test]
fn bytes_of_contexts_are_text_or_hex() {
    let ctx = json!({"write": 1, "name": "net/core/somaxconn", "new_value": {"hex": "39 0a"}});
    let ended = run("cgroup_sysctl", &["--ctx", &ctx.to_string()]);
    assert!(ended.out.contains("system call: goes on\n"), "{}", ended.out);
    let ctx = json!({"write": 1, "name": "net/core/somaxconn", "new_value": "70000"});
    let ended = run("cgroup_sysctl", &["--ctx", &ctx.to_string()]);
    assert!(ended.out.contains("context: new_value \"70000\" -> \"4096\"\n"), "{}", ended.out);
    let ctx = json!({"write": 1, "name": "kernel/hostname"});
    let ended = run("cgroup_sysctl", &["--ctx", &ctx.to_string()]);
    assert!(ended.out.contains("system call: fails with EPERM (-1)\n"), "{}", ended.out);
    for (ctx, problem) in [
        (json!({"name": 7}), "name: found 7, expected a text or {\"hex\": \"...\"}"),
        (json!({"name": ""}), "name: bpf_sysctl takes 1 to 4096 bytes as name"),
        (json!({"name": {"hex": "7"}}), "name: a single hex digit"),
        (json!({"write": 2}), "write: bpf_sysctl.write cannot be 2"),
        (json!({"nam": {"hex": "00"}}), "bpf_sysctl is given no nam; it is given name"),
    ] {
        let error = refused("cgroup_sysctl", &ctx);
        assert!(error.contains(problem), "{ctx}: {error}");
    }
}

#[test]
fn what_programs_run_on_is_called_by_its_name() {
    let missing = |example: &str, program: &str| run(example, &["-p", program]).failed(2);
    assert!(missing("flow_keys", "flow_keys").contains("needs a packet: give --packet FILE"));
    let short = run("syscall_args", &[]).failed(1);
    assert!(short.contains("reaches 12 bytes of its context, which has 0"), "{short}");
    assert!(short.contains("hint: --packet FILE gives the argument"), "{short}");
    let data = "examples/syscall_args/12_and_18.hex";
    let ended = run("syscall_args", &["--data", data]);
    assert!(ended.out.contains("\nargument: 12 bytes, 1 changed\n"), "{}", ended.out);
    let ctx = r#"{"level": 1, "optname": 8}"#;
    let data = "examples/cgroup_sockopt/rcvbuf_1m.hex";
    let ended = run("cgroup_sockopt", &["-p", "limit", "--data", data, "--ctx", ctx]);
    assert!(ended.out.contains("goes on with the value 00 00 01 00\n"), "{}", ended.out);
    assert!(ended.out.contains("\noption value: "), "{}", ended.out);
    let keys = json!({"flow_keys": {"nhoff": 3}}).to_string();
    let packet = "examples/flow_keys/dns_query_vlan.hex";
    let fixed = run("flow_keys", &["--packet", packet, "--ctx", &keys]).failed(3);
    assert!(fixed.contains("flow_keys.nhoff is set by the machine"), "{fixed}");
    let negative = run("cgroup_sockopt", &["-p", "limit", "--ctx", r#"{"optlen": -1}"#]).failed(3);
    assert!(negative.contains("no option has a negative length"), "{negative}");
    let taken = run("cgroup_device", &["--data", data]).failed(2);
    assert!(taken.contains("take no bytes, only fields; 4 bytes were given"), "{taken}");
}

#[test]
fn packets_are_shaped() {
    let jumbo = "examples/xdp_frags/jumbo.hex";
    let xdp = |ctx: Value| run("xdp_frags", &["--packet", jumbo, "--ctx", &ctx.to_string()]);
    let ended = xdp(json!({"metadata": {"hex": "01020304"}, "first_bytes": 100}));
    assert!(ended.out.contains("metadata 01 02 03 04"), "{}{}", ended.out, ended.err);
    assert!(xdp(json!({"metadata": "abc"})).failed(3).contains("a multiple of 4 bytes"));
    assert!(xdp(json!({"first_bytes": 10_000})).failed(3).contains("cannot be metadata and first"));
    assert!(xdp(json!({"first_bytes": -1})).failed(3).contains("first_bytes: found -1"));
}

#[test]
fn storage_of_sockets_is_filled() {
    const OBJECT: &str = "conformance/projects/sockets.bpf.o";
    let world = json!({"sockets": [
        {"handle": 7, "local": "10.0.0.1:80", "remote": "10.0.0.2:5000"},
        {"handle": 8, "local": "10.0.0.1:81", "remote": "10.0.0.2:5000", "cookie": 99},
    ]})
    .to_string();
    let with = |key: Value| {
        let sessions = json!([{"key": key, "value": {"bytes": 1000}}]);
        let entries = format!("sessions={sessions}");
        let packet = "examples/tc_nat/dns_query.hex";
        let options = ["-p", "account", "--packet", packet, "--host", &world, "--ctx"];
        let last = [r#"{"sk": 7}"#, "--map", &entries, "--json"];
        ebpfvm_on(&[&["run", OBJECT], &options[..], &last].concat(), b"")
    };
    let bytes = |report: &Value| -> Vec<u64> {
        let sessions = report["maps"]["sessions"].as_array().expect("entries");
        let bytes = sessions.iter().map(|entry| &entry["formatted"]["value"]["bytes"]);
        bytes.map(|bytes| bytes.as_u64().expect("a number")).collect()
    };
    let own = bytes(&with(json!({"socket": 7})).json());
    assert!(own.len() == 1 && own[0] > 1000, "{own:?}");
    // The storage of another socket: the program makes one for its own.
    for other in [json!({"socket": 8}), json!(99)] {
        let both = bytes(&with(other).json());
        assert!(both.len() == 2 && both.contains(&1000), "{both:?}");
    }
    let unknown = with(json!({"socket": 9}));
    let error = "[0].socket: no socket of the --host file has the handle 9";
    assert!(unknown.code == 3 && unknown.out.contains(error), "{}", unknown.out);
}

#[test]
fn worlds_have_sockets_networks_and_memory() {
    let host = |world: Value| scratch("a_world.json", world.to_string());
    let world = host(json!({
        "task": {"pid": 4711, "comm": "cat", "cgroups": ["/", "/a"], "classid": 3,
                 "pid_namespace": {"dev": 4, "ino": 5, "pid": 2, "tgid": 1}},
        "memory": [{"address": "0x1000", "text": "/etc"}],
        "stacks": {"user": [1, 2], "kernel": ["0xffffffff81000000"]},
        "network": {"devices": [{"ifindex": 2}], "routes": [{"to": "::/0", "ifindex": 2}]},
        "sockets": [{"handle": 1, "local": "0.0.0.0:80"}, {"listener": 1}],
        "netns": {"7": 9},
    }));
    let out = report("kprobe_open", &["--host", &world, "--ctx", r#"{"si": 4096}"#]);
    let record = out["events"]["opened"][0].as_str().expect("a record");
    assert!(record.starts_with("67120000636174") && record.contains("2f65746300"), "{record}");
    for (world, problem) in [
        (json!({"sockets": [1]}), "sockets[0]: found 1, expected an object"),
        (
            json!({"sockets": [{"handle": "a"}]}),
            "sockets[0].handle: found \"a\", expected a number",
        ),
        (json!({"sockets": [{"handle": 1}, {"handle": 1}]}), "sockets[1].handle: another socket"),
        (json!({"sockets": [{"cookie": 1}, {"cookie": 1}]}), "sockets[1].cookie: another socket"),
        (json!({"sockets": [{"listener": 2}]}), "sockets[0].listener: no socket of the --host"),
        (json!({"memory": [{"address": "x", "hex": ""}]}), "memory[0].address: found \"x\""),
        (json!({"network": {"routes": [{"to": "::", "ifindex": 9}]}}), "there is no device 9"),
        (json!({"stacks": {"user": [-1]}}), "stacks.user[0]: found -1"),
        (json!({"task": {"pid_namespace": {"dev": 1}}}), "task.pid_namespace: missing field `ino`"),
    ] {
        let options = ["--host", &host(world), "--ctx", r#"{"si": 4096}"#];
        let error = run("kprobe_open", &options).failed(3);
        assert!(error.contains(problem), "{error}");
    }
    let out = report("kprobe_open", &["--host", r#"{"seed": 1}"#, "--ctx", r#"{"si": 4096}"#]);
    assert_eq!(out["events"]["opened"], json!([]));
    for option in ["--host", "--ctx"] {
        let error = run("kprobe_open", &[option, "si=3"]).failed(2);
        assert!(error.contains("expected a JSON object, {...}, or a file with one"), "{error}");
    }
    let error = run("kprobe_open", &["--cpu", "4294967295"]).failed(2);
    assert!(error.contains("there are at most 4096"), "{error}");
}
