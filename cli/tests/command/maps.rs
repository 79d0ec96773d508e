//! What maps hold before and after a run, as JSON: kinds without keys, and maps in maps.

use super::{ebpfvm, scratch};
use serde_json::{Value, json};

const OBJECT: &str = "conformance/objects/collections.bpf.o";

/// A run of a program that leaves these maps alone, with the JSON of options in files: nothing has
/// to be quoted.
fn run(test: &str, options: &[(&str, Value)]) -> String {
    let mut line = format!(
        "run {OBJECT} -p atomics --packet examples/xdp_firewall/web_request.hex --dump-maps"
    );
    for (i, (map, entries)) in options.iter().enumerate() {
        let file = scratch(&format!("{test}_{map}_{i}.json"), entries.to_string());
        line.push_str(&format!(" --map {map}=@{file}"));
    }
    line
}

#[test]
fn values_without_keys_go_in_and_come_out_in_order() {
    let given = [
        ("waiting", json!([1, 2, {"value": 3}])),
        ("recent", json!([[1, 2, 3], {"value": [4, 5, 6]}])),
        ("met", json!([7, 8])),
    ];
    let report = ebpfvm(&format!("{} --json", run("values", &given))).json();
    let values = |map: &str| -> Vec<Value> {
        let entries = report["maps"][map].as_array().unwrap().iter();
        entries.map(|entry| entry["formatted"]["value"].clone()).collect()
    };
    assert_eq!(values("waiting"), [1, 2, 3]);
    assert_eq!(values("recent"), [json!([1, 2, 3]), json!([4, 5, 6])]);
    assert!(report["maps"]["waiting"][0].get("key").is_none());
    // What a run shows goes into the next.
    let again = ["waiting", "recent"].map(|map| (map, report["maps"][map].clone()));
    let second = ebpfvm(&format!("{} --json", run("values_again", &again))).json();
    assert_eq!(second["maps"]["waiting"], report["maps"]["waiting"]);
    assert_eq!(second["maps"]["recent"], report["maps"]["recent"]);
    let text = ebpfvm(&run("values", &given)).well();
    assert!(text.contains("recent (stack, 2 entries):\n  [1, 2, 3]\n  [4, 5, 6]\n"), "{text}");
}

#[test]
fn entries_go_into_inner_maps() {
    // The object puts maps at 0 and 2; one at 1 is made.
    let given = [("outer", json!({"0": {"1": 11}, "1": [{"key": 0, "value": 5}]}))];
    let report = ebpfvm(&format!("{} --json", run("inner", &given))).json();
    let outer = report["maps"]["outer"].as_array().unwrap();
    let keys: Vec<_> = outer.iter().map(|entry| entry["formatted"]["key"].clone()).collect();
    assert_eq!(keys, [0, 1, 2]);
    let inner = |at: usize| outer[at]["entries"][0]["formatted"].clone();
    assert_eq!((inner(0)["key"].clone(), inner(0)["value"].clone()), (json!(1), json!(11)));
    assert_eq!((inner(1)["key"].clone(), inner(1)["value"].clone()), (json!(0), json!(5)));
    let again = [("outer", report["maps"]["outer"].clone())];
    let second = ebpfvm(&format!("{} --json", run("inner_again", &again))).json();
    assert_eq!(second["maps"]["outer"], report["maps"]["outer"]);
    let text = ebpfvm(&run("inner", &given)).well();
    assert!(text.contains("  0:\n    1: 11\n  1:\n    0: 5\n"), "{text}");
}

#[test]
fn what_does_not_go_in_is_told() {
    for (map, entries, expected) in [
        ("waiting", json!({"1": 1}), "expected a list of values"),
        ("waiting", json!(["many"]), "[0]: the value: "),
        ("waiting", json!(vec![1; 1000]), "E2BIG (too big): the map takes "),
        ("outer", json!({"0": 7}), "expected an object {KEY: VALUE}"),
        ("outer", json!([{"key": 0, "value": 7}]), "expected {\"key\": ..., \"entries\": ...}"),
        ("outer", json!({"0": {"one": 1}}), "key \"0\" > key \"one\": the key: "),
        ("outer", json!({"99": {"0": 1}}), "E2BIG"),
        ("even", json!([{"key": 0, "entries": []}]), "has values, not entries"),
    ] {
        let error = ebpfvm(&run("refused", &[(map, entries)])).failed(3);
        assert!(error.contains(expected), "{error}");
    }
}
