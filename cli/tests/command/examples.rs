//! Every case of every `expected.json`: what the command says is what the kernel did.

use super::{Ended, ebpfvm_on, root, scratch};
use serde_json::{Value, json};

/// Runs `inspect --json` on an object.
fn inspect(object: &str) -> Value {
    ebpfvm_on(&["inspect", object, "--json"], b"").json()
}

/// What a case may expect of the report, field by field.
const OUTCOMES: [&str; 10] = [
    "retval",
    "verdict",
    "data_out",
    "redirect",
    "clones",
    "system_call",
    "assigned_socket",
    "selected_socket",
    "sockets",
    "events",
];

fn run(object: &str, folder: &str, number: usize, case: &Value) -> Ended {
    let name = object.rsplit('/').next().expect("a name");
    let mut args = vec!["run".into(), object.to_string(), "--json".into()];
    args.extend(["--program".into(), case["program"].as_str().expect("program").into()]);
    if let Some(packet) = case["packet"].as_str() {
        args.extend(["--packet".into(), format!("{folder}/{packet}")]);
    }
    for (field, option) in [("ctx", "--ctx"), ("host", "--host")] {
        if !case[field].is_null() {
            let file = scratch(&format!("{name}-{number}-{field}.json"), case[field].to_string());
            args.extend([option.into(), file]);
        }
    }
    for (field, option) in [("repeat", "--repeat"), ("timers", "--timers")] {
        if let Some(number) = case[field].as_u64() {
            args.extend([option.into(), number.to_string()]);
        }
    }
    for (map, entries) in case["maps_in"].as_object().into_iter().flatten() {
        let file = scratch(&format!("{name}-{number}-{map}.json"), entries.to_string());
        args.extend(["--map".into(), format!("{map}=@{file}")]);
    }
    for (map, keys) in case["maps_delete"].as_object().into_iter().flatten() {
        let null = |key: &Value| json!({"key": key, "value": null});
        let entries: Value = keys.as_array().expect("keys").iter().map(null).collect();
        args.extend(["--map".into(), format!("{map}={entries}")]);
    }
    for (name, value) in case["globals_in"].as_object().into_iter().flatten() {
        args.extend(["--global".into(), format!("{name}={value}")]);
    }
    ebpfvm_on(&args.iter().map(String::as_str).collect::<Vec<_>>(), b"")
}

/// A map's entries as `expected.json` has them.
fn plain(entries: &Value) -> Value {
    let plain = |entry: &Value| match entry["values"].as_array() {
        Some(lanes) => json!({"key": entry["key"], "value": lanes[0]["value"]}),
        None => json!({"key": entry["key"], "value": entry["value"]}),
    };
    let entries = entries.as_array().map(Vec::as_slice).unwrap_or_default();
    let nonzero = |entry: &&Value| {
        let value = &plain(entry)["value"];
        entry["formatted"]["key"].as_u64() != Some(0)
            || value.as_str().is_some_and(|v| v.bytes().any(|b| b != b'0'))
    };
    entries.iter().filter(nonzero).map(plain).collect()
}

/// The bytes of a global variable.
fn global(inspection: &Value, report: &Value, name: &str) -> Value {
    let globals = inspection["globals"].as_array().expect("globals");
    let var = globals.iter().find(|g| g["name"] == name).expect("the variable");
    let maps = inspection["maps"].as_array().expect("maps");
    let map = maps.iter().find(|m| m["section"] == var["section"]).expect("its map");
    let entry = &report["maps"][map["name"].as_str().expect("a name")][0];
    let hex = entry["value"].as_str().expect("the value");
    let number = |field: &str| 2 * var[field].as_u64().expect("a number") as usize;
    hex[number("offset")..][..number("bytes")].into()
}

#[test]
fn examples_do_what_the_kernel_did() {
    let mut cases = 0;
    let folders = std::fs::read_dir(root().join("examples")).expect("examples");
    for folder in folders.map(|entry| entry.expect("an entry").path()) {
        let Ok(text) = std::fs::read_to_string(folder.join("expected.json")) else { continue };
        let expected: Value = serde_json::from_str(&text).expect("JSON");
        let folder = format!("examples/{}", folder.file_name().unwrap().to_str().unwrap());
        let object = format!("{folder}/{}", expected["object"].as_str().expect("object"));
        let inspection = inspect(&object);
        for (number, case) in expected["cases"].as_array().expect("cases").iter().enumerate() {
            let what = format!("{object}: {}", case["name"]);
            let ended = run(&object, &folder, number, case);
            assert_eq!((ended.code, ended.err.as_str()), (0, ""), "{what}: {}", ended.out);
            let report = ended.json();
            for field in OUTCOMES.iter().filter(|field| !case[field].is_null()) {
                assert_eq!(report[field], case[field], "{what}: {field}");
            }
            if !case["timers_fired"].is_null() {
                assert_eq!(report["timers"], case["timers_fired"], "{what}: timers");
            }
            for (field, value) in case["ctx_out"].as_object().into_iter().flatten() {
                assert_eq!(&report["ctx"][field], value, "{what}: {field}");
            }
            if !case["mark"].is_null() {
                assert_eq!(report["ctx"]["mark"], case["mark"], "{what}");
            }
            for (map, entries) in case["maps"].as_object().into_iter().flatten() {
                let got = plain(&report["maps"][map]);
                assert_eq!(got, plain(entries), "{what}: {map}");
            }
            for (name, bytes) in case["globals"].as_object().into_iter().flatten() {
                assert_eq!(&global(&inspection, &report, name), bytes, "{what}: {name}");
            }
            if !case["printk"].is_null() {
                assert_eq!(report["output"], case["printk"], "{what}");
            }
            cases += 1;
        }
    }
    assert!(cases > 100, "only {cases} cases were found");
}
