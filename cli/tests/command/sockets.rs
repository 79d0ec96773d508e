//! Programs at sockets: contexts, worlds and maps with sockets, messages and streams.

use super::{Ended, ebpfvm_on, scratch};
use serde_json::{Value, json};

/// Runs a program of an example with these options.
fn run(example: &str, program: &str, options: &[&str]) -> Ended {
    let object = format!("examples/{example}/{example}.bpf.o");
    ebpfvm_on(&[&["run", &object, "-p", program], options].concat(), b"")
}

#[test]
fn sockets_of_contexts_are_described() {
    let ctx = json!({"sk": {"cookie": 7, "local": "[2001:db8::1]:80", "remote": "[::1]:9"}});
    let out = run("cgroup_sock", "create", &["--json", "--ctx", &ctx.to_string()]).json();
    let address = u32::from_ne_bytes([0x20, 1, 0xd, 0xb8]);
    assert_eq!((&out["ctx"]["src_ip6[0]"], &out["ctx"]["src_port"]), (&json!(address), &json!(80)));
    for (ctx, problem) in [
        (json!({"sk": {"mrak": 1}}), "--ctx: sk.mrak: a socket has no mrak; it has cookie"),
        (json!({"sk": 3}), "--ctx: sk: no socket of the --host file has the handle 3"),
        (json!({"sk": null}), "--ctx: sk: "),
        (json!({"sk": "tcp"}), "sk: found \"tcp\", expected a socket"),
        (json!({"sk": {"state": "time_wait"}}), "sk: bpf_sock.sk takes a full socket"),
        (json!({"mark": {"a": 1}}), "mark.a: bpf_sock has no field mark.a"),
    ] {
        let error = run("cgroup_sock", "create", &["--ctx", &ctx.to_string()]).failed(3);
        assert!(error.contains(problem), "{ctx}: {error}");
    }
}

#[test]
fn messages_and_streams_are_called_so_and_messages_are_divided() {
    let missing = |example, program| run(example, program, &[]).failed(2);
    assert!(missing("sk_msg", "frame").contains("needs a message: give --packet FILE"));
    assert!(missing("sk_skb", "parser").contains("needs a stream: give --packet FILE"));
    let data = "examples/sk_msg/request.hex";
    let parts = |parts: Value| {
        let ctx = json!({"parts": parts}).to_string();
        run("sk_msg", "frame", &["--packet", data, "--ctx", &ctx])
    };
    assert!(parts(json!([3, 2])).out.contains("message: 14 -> 18 bytes"));
    for (wrong, problem) in [
        (json!([100]), "a message of at most 17 parts"),
        (json!(7), "parts: found 7, expected the lengths"),
        (json!(["x"]), "parts: found [\"x\"], expected the lengths"),
    ] {
        let error = parts(wrong).failed(3);
        assert!(error.contains(problem), "{error}");
    }
}

#[test]
fn sockets_go_into_maps() {
    let world = json!({"sockets": [{"handle": 3, "local": "192.0.2.1:80"}]});
    let host = scratch("a_listener.json", world.to_string());
    let run = |map: &str| {
        run(
            "sk_lookup",
            "many_ports",
            &["--host", &host, "--ctx", r#"{"family": 2}"#, "--map", map],
        )
    };
    let ended = run(r#"servers={"0": {"socket": 3}}"#);
    assert!(ended.out.contains("maps with entries: servers"), "{}{}", ended.out, ended.err);
    let described = run(r#"servers={"0": {"socket": {"local": "10.0.0.1:1"}}}"#);
    assert_eq!(described.code, 0, "{}", described.err);
    for (map, problem) in [
        (r#"servers={"0": 3}"#, "expected {\"socket\": ...}, a handle or a description"),
        (r#"servers={"0": {"socket": 4}}"#, "no socket of the --host file has the handle 4"),
        (r#"servers={"1": {"socket": 3}}"#, "E2BIG"),
        (r#"servers={"0": {"socket": {"family": 2}}}"#, "it takes TCP sockets that listen"),
    ] {
        let error = run(map).failed(3);
        assert!(error.contains(problem), "{map}: {error}");
    }
}
