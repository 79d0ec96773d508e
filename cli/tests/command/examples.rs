//! Every case of every `expected.json`: what the command says is what the kernel did.

use super::{Ended, ebpfvm_on, root, scratch};
use serde_json::{Value, json};

/// Runs `inspect --json` on an object.
fn inspect(object: &str) -> Value {
    ebpfvm_on(&["inspect", object, "--json"], b"").json()
}

fn run(object: &str, folder: &str, number: usize, case: &Value) -> Ended {
    let text = |field: &str| case[field].as_str().expect("text").to_string();
    let packet = format!("{folder}/{}", text("packet"));
    let mut args = vec!["run".into(), object.to_string(), "--json".into()];
    args.extend(["--program".into(), text("program"), "--packet".into(), packet]);
    if let Some(repeat) = case["repeat"].as_u64() {
        args.extend(["--repeat".into(), repeat.to_string()]);
    }
    for (map, entries) in case["maps_in"].as_object().into_iter().flatten() {
        let name = object.rsplit('/').next().expect("a name");
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
            assert_eq!(report["retval"], case["retval"], "{what}");
            assert_eq!(report["data_out"], case["data_out"], "{what}");
            if !case["verdict"].is_null() {
                assert_eq!(report["verdict"], case["verdict"], "{what}");
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
            for (map, records) in case["events"].as_object().into_iter().flatten() {
                assert_eq!(&report["events"][map], records, "{what}: {map}");
            }
            if !case["printk"].is_null() {
                assert_eq!(report["output"], case["printk"], "{what}");
            }
            cases += 1;
        }
    }
    assert!(cases > 50, "only {cases} cases were found");
}
