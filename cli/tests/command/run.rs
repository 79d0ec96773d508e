//! `ebpfvm run`

use super::{ebpfvm, ebpfvm_on, root, scratch, stable};
use insta::assert_snapshot;
use serde_json::{Value, json};

const FIREWALL: &str = "examples/xdp_firewall/xdp_firewall.bpf.o";
const REQUEST: &str = "examples/xdp_firewall/web_request.hex";

/// A run with an argument that has spaces.
fn with(args: &str, last: [&str; 2]) -> super::Ended {
    let args: Vec<&str> = args.split_whitespace().chain(last).collect();
    ebpfvm_on(&args, b"")
}

#[test]
fn text() {
    for (name, args) in [
        ("pass", format!("{FIREWALL} --packet {REQUEST}")),
        ("maps", format!("{FIREWALL} --packet {REQUEST} --dump-maps")),
        ("changed", example("xdp_lb", "-p xdp_lb_nat --packet DIR/web_syn.hex")),
        ("longer", example("xdp_lb", "-p xdp_lb_encap --packet DIR/web_syn.hex --dump-maps")),
        ("shorter", example("xdp_trim", "-p xdp_pop_vlan --packet DIR/dns_query_vlan.hex")),
        ("cut", example("xdp_trim", "-p xdp_trim --packet DIR/web_request.hex")),
        ("padded", example("xdp_trim", "-p xdp_pad --packet DIR/bare_ack.hex")),
        ("tail_call", example("tail_calls", "-p xdp_dispatch --packet DIR/ping.hex --dump-maps")),
        ("events", example("ringbuf_events", "-p xdp_ringbuf --packet DIR/web_syn.hex")),
        ("perf", example("ringbuf_events", "-p xdp_perf --packet DIR/web_syn.hex")),
        ("printed", example("ringbuf_events", "-p xdp_printk --packet DIR/web_syn.hex")),
        ("context", example("tc_counter", "--packet DIR/ping.hex --dump-maps")),
        (
            "hidden_header",
            example("cgroup_policy", "-p egress_policy --packet DIR/web_request.hex"),
        ),
        ("kept", example("socket_filter", "-p https_legacy --packet DIR/tls_client_hello.hex")),
        ("dropped", example("socket_filter", "-p https_legacy --packet DIR/web_request.hex")),
        ("memory", example("raw", "--memory DIR/new_customer.hex")),
        ("repeated", format!("{FIREWALL} --packet {REQUEST} --repeat 3 --dump-maps")),
    ] {
        assert_snapshot!(format!("run_{name}"), ebpfvm(&format!("run {args}")).well());
    }
}

fn example(name: &str, args: &str) -> String {
    let folder = format!("examples/{name}");
    format!("{folder}/{name}.bpf.o {}", args.replace("DIR", &folder))
}

#[test]
fn json() {
    let mut report = ebpfvm(&format!("run {FIREWALL} --packet {REQUEST} --json")).json();
    let duration = report.as_object_mut().unwrap().shift_remove("duration_ns").unwrap();
    assert!(duration.as_u64().unwrap() > 0);
    assert_snapshot!(serde_json::to_string_pretty(&report).unwrap());
}

#[test]
fn a_redirect_is_told() {
    let object = example("tc_nat", "--packet DIR/dns_query.hex");
    let entry =
        r#"translations={"192.0.2.53": {"outside_address": "203.0.113.9", "out_ifindex": 7}}"#;
    let packet = std::fs::read_to_string(root().join("examples/tc_nat/dns_query.hex")).unwrap();
    let digits: String = packet.split_whitespace().collect();
    let source = &digits[2 * 26..2 * 30];
    let entry = entry.replace("192.0.2.53", source);
    let ended = with(&format!("run {object}"), ["--map", &entry]);
    assert_eq!(ended.code, 0, "{}", ended.err);
    assert!(ended.out.contains("returned TC_ACT_REDIRECT (7)"), "{}", ended.out);
    assert!(ended.out.contains("redirect: to interface 7\n"), "{}", ended.out);
    let report = with(&format!("run {object} --json"), ["--map", &entry]).json();
    assert_eq!(report["redirect"], json!({"ifindex": 7, "flags": 0}));
}

/// Runs the firewall with entries; the entries afterwards.
fn blocked(entries: &str) -> Value {
    let args = format!("run {FIREWALL} --packet {REQUEST} --json");
    let ended = with(&args, ["--map", &format!("blocked={entries}")]);
    assert_eq!(ended.code, 0, "{entries}: {}", ended.out);
    ended.json()["maps"]["blocked"].clone()
}

#[test]
fn entries_in_all_forms() {
    let expected = blocked(r#"{"203.0.113.200": 0}"#);
    assert_eq!(expected[0]["key"], "cb0071c8");
    let number = u32::from_ne_bytes([203, 0, 113, 200]);
    for same in [
        r#"{"cb0071c8": 0}"#.to_string(),
        format!("{{\"{number}\": 0}}"),
        format!(r#"[{{"key": {number}, "value": 0}}]"#),
        r#"[{"key": "203.0.113.200", "value": "0x0"}]"#.into(),
        expected.to_string(),
    ] {
        assert_eq!(blocked(&same), expected, "{same}");
    }
    let file = scratch("blocked.json", expected.to_string());
    assert_eq!(blocked(&format!("@{file}")), expected);
    assert_eq!(blocked(&format!("{}", json!([]))), json!([]));
}

#[test]
fn values_of_cpus() {
    let args = format!("run {FIREWALL} --packet {REQUEST} --json");
    let value = json!({"packets": 40, "bytes": 1000});
    for entries in [
        json!([{"key": 0, "value": value}]),
        json!([{"key": 0, "values": [{"cpu": 0, "value": value}]}]),
        json!({"0": value}),
    ] {
        let report = with(&args, ["--map", &format!("counters={entries}")]).json();
        let after = &report["maps"]["counters"][0]["formatted"]["values"][0]["value"];
        let bytes = 1000 + report["data_out"].as_str().unwrap().len() / 2;
        assert_eq!(after, &json!({"packets": 41, "bytes": bytes}), "{entries}");
    }
}

#[test]
fn programs_of_an_array() {
    let args = example("tail_calls", "-p xdp_dispatch --packet DIR/web_syn.hex --json");
    let run = |entries: &str| with(&format!("run {args}"), ["--map", entries]).json();
    assert_eq!(run("per_protocol={}")["verdict"], "XDP_PASS");
    let report = run(r#"per_protocol={"6": "xdp_udp"}"#);
    assert_eq!(report["verdict"], "XDP_DROP");
    assert_eq!(report["maps"]["per_protocol"][1]["value"], "xdp_udp");
    let removed = run(r#"per_protocol={"6": null}"#);
    assert_eq!(removed["maps"]["per_protocol"].as_array().unwrap().len(), 3);
}

#[test]
fn globals_before_the_run() {
    let args = example("xdp_lb", "-p xdp_lb_encap --packet DIR/web_syn.hex --json");
    let run = |name: &str, last: [&str; 2]| {
        let report = with(&format!("run {args}"), last).json();
        report["maps"][format!("xdp_lb.{name}")][0]["formatted"]["value"].clone()
    };
    assert_eq!(run("data", ["--global", "outer_ttl=9"])["outer_ttl"], 9);
    assert_eq!(run("data", ["--global", "outer_ttl=\"0a000000\""])["outer_ttl"], 10);
    assert_eq!(run("data", ["--map", ".data={\"outer_ttl\": 9}"])["outer_ttl"], 9);
    let address = run("rodata", ["--global", "balancer_address=\"198.51.100.9\""]);
    assert_eq!(address["balancer_address"], u32::from_ne_bytes([198, 51, 100, 9]));
    assert_eq!(address["service_port"], 80u16.to_be(), "others stay as they are");
}

#[test]
fn context_fields() {
    let fields = scratch("ctx.json", r#"{"mark": 5, "cb": [1, 2]}"#);
    let args = example("tc_counter", "--packet DIR/ping.hex --json --ctx ");
    let report = ebpfvm(&format!("run {args}{fields}")).json();
    assert_eq!((&report["ctx"]["cb[0]"], &report["ctx"]["cb[1]"]), (&json!(1), &json!(2)));
    let args = example("tc_counter", "--packet DIR/ping.hex --json --ctx");
    let given = r#"{"cb":["0x10","192.0.2.1"],"remote_ip6":"2001:db8::1"}"#;
    let report = ebpfvm(&format!("run {args} {given}")).json();
    let address = u64::from(u32::from_ne_bytes([192, 0, 2, 1]));
    assert_eq!((&report["ctx"]["cb[0]"], &report["ctx"]["cb[1]"]), (&json!(16), &json!(address)));
    assert_eq!(report["ctx"]["remote_ip6[0]"], u32::from_ne_bytes([0x20, 1, 0xd, 0xb8]));
    assert_eq!(report["ctx"]["remote_ip6[3]"], u32::from_ne_bytes([0, 0, 0, 1]));
    let given = r#"{"mark":-1,"priority":{"be16":4660},"tc_classid":{"be32":1}}"#;
    let report = ebpfvm(&format!("run {args} {given}")).json();
    assert_eq!(report["ctx"]["priority"], 0x1234_u16.to_be());
    assert_eq!(report["ctx"]["tc_classid"], 1_u32.to_be());
    let args = example("tc_counter", "--packet DIR/ping.hex --ctx ");
    for (fields, problem) in [
        ("{\"mark\": \"many\"}", "mark: found \"many\", expected a number"),
        ("{\"mark\": {}}", "mark: found {}, expected a number"),
        ("{\"mark\": \"2001:db8::1\"}", "has no field mark[1]"),
        ("{\"cb\": [1, 2, 3, 4, 5, 6]}", "has no field cb[5]"),
        ("{\"mrak\": \"x\"}", "mrak: __sk_buff has no field mrak"),
        ("{\"mrak\": 1}", "mrak: __sk_buff has no field mrak"),
        ("{\"data\": 1}", "data: __sk_buff.data is set by the machine"),
        ("{\"mark\": 4294967296}", "mark: __sk_buff.mark takes 4 bytes"),
        ("{\"mark\": -4294967296}", "mark: -4294967296 does not fit"),
        ("{\"mark\": {\"be16\": 1000000}}", "expected a number that fits"),
        ("{\"mark\": {\"hex\": \"00\"}}", "__sk_buff is given no mark"),
        ("[1]", "expected an object of fields"),
    ] {
        let file = scratch("wrong_ctx.json", fields);
        let error = ebpfvm(&format!("run {args}{file}")).failed(3);
        assert!(error.contains(problem) && error.contains("wrong_ctx.json"), "{error}");
    }
}

#[test]
fn packets_in_all_forms() {
    let hex = std::fs::read_to_string(root().join(REQUEST)).unwrap();
    let digits: String = hex.split_whitespace().collect();
    let raw: Vec<u8> = (0..digits.len())
        .step_by(2)
        .map(|i| u8::from_str_radix(&digits[i..i + 2], 16).unwrap())
        .collect();
    let dump: String = raw
        .chunks(16)
        .enumerate()
        .map(|(i, row)| {
            let bytes: String = row.iter().map(|b| format!(" {b:02x}")).collect();
            format!("{:08x} {bytes}\n", 16 * i)
        })
        .collect();
    let args = ["run", FIREWALL, "--json", "--packet", "-"];
    let expected = ebpfvm_on(&args, hex.as_bytes()).json()["data_out"].clone();
    assert_eq!(expected, digits.as_str());
    for packet in [raw.clone(), digits.clone().into(), format!("0x{digits}").into(), dump.into()] {
        let ended = ebpfvm_on(&args, &packet);
        assert_eq!(ended.json()["data_out"], expected, "{packet:?}");
    }
    let text = ebpfvm_on(
        &["run", FIREWALL, "--json", "--encoding", "raw", "--packet", "-"],
        hex.as_bytes(),
    );
    assert_eq!(text.json()["data_out"].as_str().unwrap().len(), 2 * hex.len());
}

#[test]
fn the_packet_to_a_file() {
    let out = scratch("out.bin", "");
    let args = example("xdp_lb", "-p xdp_lb_encap --packet DIR/web_syn.hex --json --data-out ");
    let report = ebpfvm(&format!("run {args}{out}")).json();
    let bytes = std::fs::read(&out).unwrap();
    let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(report["data_out"], hex.as_str());
    let nowhere =
        ebpfvm(&format!("run {}", args.replace("--json", "") + "no/such/dir/out")).failed(3);
    assert!(nowhere.contains("no/such/dir/out: "), "{nowhere}");
}

#[test]
fn bare_instructions_on_memory() {
    let code =
        scratch("sum.hex", "7110000000000000 7112010000000000 0f20000000000000 9500000000000000");
    let text = ebpfvm_on(&["run", &code, "--memory", "-"], b"0203").well();
    assert_snapshot!(text);
    let report = ebpfvm_on(&["run", &code, "--memory", "-", "--json"], b"0203").json();
    assert_eq!((&report["retval"], &report["program"]), (&json!(5), &Value::Null));
}

#[test]
fn repeated_runs_go_on_with_the_same_packet_and_maps() {
    let args = format!("run {FIREWALL} --packet {REQUEST} --repeat 1000 --json");
    let report = ebpfvm(&args).json();
    assert_eq!(report["repeat"], 1000);
    let packets = &report["maps"]["counters"][0]["formatted"]["values"][0]["value"]["packets"];
    assert_eq!(packets, 1000);
    assert!(ebpfvm("run x --repeat 0").failed(2).contains("'--repeat <N>'"));
}

#[test]
fn events_that_find_no_room_are_counted() {
    let args = example("ringbuf_events", "-p xdp_ringbuf --packet DIR/web_syn.hex --repeat 5000");
    let report = ebpfvm(&format!("run {args} --json")).json();
    let kept = report["events"]["connections"].as_array().unwrap().len();
    // A record of 16 bytes with its header takes 24; one byte always stays free.
    assert_eq!(kept, 65536 / 24);
    assert_eq!(report["lost_events"]["connections"], 5000 - kept);
    let text = stable(&ebpfvm(&format!("run {args}")).out);
    assert!(text.contains(&format!("event: connections: {} more found no room", 5000 - kept)));
}

#[test]
fn timers_fire_when_they_are_asked_to() {
    const TIMERS: &str = "conformance/objects/timers.bpf.o -p clocks --clock 0";
    let run = format!("run {TIMERS} --packet {REQUEST}");
    let none = ebpfvm(&format!("{run} --json")).json();
    assert_eq!(none.get("timers"), None);
    let report = ebpfvm(&format!("{run} --timers 25000000 --json")).json();
    let fired = json!([
        {"map": "array", "key": "02000000", "due_ns": 10_000_000},
        {"map": "array", "key": "01000000", "due_ns": 20_000_000},
    ]);
    assert_eq!(report["timers"], fired);
    let text = ebpfvm(&format!("{run} --timers 300000000")).well();
    assert!(text.contains("timer: hash[0a 00 00 00] fired at 205000000 ns\n"), "{text}");
    assert_eq!(text.matches("timer: ").count(), 15, "{text}");
    let stopped = ebpfvm(&format!("{run} --timers 300000000 --fuel 300"));
    assert!(stopped.err.contains("--fuel"), "{}", stopped.err);
}
