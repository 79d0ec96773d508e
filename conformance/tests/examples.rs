//! The example programs do here what they did in the kernel: return value, packet, maps, globals,
//! events and printed lines of every case in `examples/*/expected.json` (the format is described in
//! `examples/README.md`).

use ebpfvm::map::{Cpu, PerfEventArray, ProgArray, Ringbuf, UpdateFlags};
use ebpfvm::spec::map::{InitialValue, MapDef, MapOrigin};
use ebpfvm::spec::{ProgType, Program};
use ebpfvm::{Context, DEFAULT_FUEL, Engine, Instance, MapRef, SystemHost, Vm};
use ebpfvm_loader::Object;
use object::{Object as _, ObjectSection, ObjectSymbol};
use serde_json::{Map as JsonMap, Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Names of kernel verdicts, by number.
const XDP_ACTIONS: [&str; 5] = ["XDP_ABORTED", "XDP_DROP", "XDP_PASS", "XDP_TX", "XDP_REDIRECT"];
/// Room for perf samples in bytes.
const PERF_BYTES: usize = 1 << 16;

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples")
}

/// A variable: section, offset and size in bytes.
type Globals = BTreeMap<String, (String, usize, usize)>;

struct Example {
    folder: PathBuf,
    object: Object,
    globals: Globals,
}

#[test]
fn examples_do_what_the_kernel_did() {
    let mut passed = 0;
    let mut failures = Vec::new();
    let entries = std::fs::read_dir(examples()).expect("examples");
    let mut folders: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    folders.sort();
    for folder in folders {
        let Ok(text) = std::fs::read_to_string(folder.join("expected.json")) else { continue };
        let expected: Value = serde_json::from_str(&text).expect("JSON");
        let example = Example::open(&folder, expected["object"].as_str().expect("object"));
        for case in expected["cases"].as_array().expect("cases") {
            if !example.is_plain(case) {
                continue;
            }
            let name = format!("{}: {}", expected["object"], case["name"]);
            let want = outputs(case);
            for engine in [Engine::Interpreter, Engine::Jit] {
                let got = example.run(case, engine);
                if got == want {
                    passed += 1;
                } else {
                    failures.push(format!("{name}, {engine:?}\n  want {want}\n   got {got}"));
                }
            }
        }
    }
    eprintln!("{passed} passed, {} failed", failures.len());
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(passed > 0, "no example ran");
}

/// The fields of a case that say what came out.
fn outputs(case: &Value) -> Value {
    const INPUTS: &[&str] =
        &["name", "program", "packet", "repeat", "maps_in", "maps_delete", "globals_in"];
    let fields = case.as_object().expect("a case").clone();
    let mut out = JsonMap::new();
    for (name, value) in fields {
        if !INPUTS.contains(&name.as_str()) {
            out.insert(name, value);
        }
    }
    Value::Object(out)
}

impl Example {
    fn open(folder: &Path, object: &str) -> Example {
        let bytes = std::fs::read(folder.join(object)).expect("the object file");
        let elf = object::File::parse(&*bytes).expect("ELF");
        let globals = elf
            .symbols()
            .filter(|symbol| symbol.size() != 0)
            .filter_map(|symbol| {
                let section = elf.section_by_index(symbol.section_index()?).ok()?;
                let place = (symbol.address() as usize, symbol.size() as usize);
                let section = section.name().ok()?.to_owned();
                Some((symbol.name().ok()?.to_owned(), (section, place.0, place.1)))
            })
            .collect();
        let object = Object::parse(&bytes, object).expect("an object");
        Example { folder: folder.to_owned(), object, globals }
    }

    /// Whether a program only needs a packet. The others are the command's.
    fn is_plain(&self, case: &Value) -> bool {
        use ProgType::{CgroupSkb, Raw, SchedCls, SocketFilter, Xdp};
        let name = case["program"].as_str().expect("program");
        let info = self.object.programs().iter().find(|info| info.name == name);
        let prog_type = info.expect("a program").prog_type.unwrap_or(Raw);
        let alone = case["ctx"].is_null() && case["host"].is_null();
        alone && [CgroupSkb, Raw, SchedCls, SocketFilter, Xdp].contains(&prog_type)
    }

    fn run(&self, case: &Value, engine: Engine) -> Value {
        let host = Arc::new(SystemHost::new(1));
        let vm = Vm::linux().host(host.clone()).engine(engine).build();
        let defs: Vec<MapDef> = self.object.maps().iter().map(|d| self.set(d, case)).collect();
        let maps: Vec<MapRef> = defs.iter().map(|def| vm.create_map(def).expect("a map")).collect();
        for (map, def) in maps.iter().zip(&defs) {
            if let Some(array) = map.as_kind::<ProgArray>() {
                for (index, value) in &def.values {
                    let InitialValue::Program(name) = value else { continue };
                    array.set(*index, self.link(&vm, name, &maps)).expect("a slot");
                }
            }
            if let Some(events) = map.as_kind::<PerfEventArray>() {
                events.open(0, Cpu(0), PERF_BYTES).expect("a slot");
            }
        }
        self.seed(case, &maps);

        let program = case["program"].as_str().expect("program");
        let instance = self.link(&vm, program, &maps);
        let packet = hex_file(&self.folder.join(case["packet"].as_str().expect("packet")));
        let prog_type = instance.prog_type();
        let mut context = match prog_type {
            ProgType::Raw => Context::raw(packet),
            _ => Context::packet(prog_type, &packet).expect("a context"),
        };
        let mut retval = 0;
        for _ in 0..case["repeat"].as_u64().unwrap_or(1) {
            let outcome = instance.run(&mut context, DEFAULT_FUEL);
            retval = outcome.unwrap_or_else(|trap| panic!("{}: {trap}", case["name"])).retval;
        }

        if prog_type != ProgType::Raw {
            retval = retval as u32 as u64;
        }
        let mut got = json!({
            "retval": retval,
            "verdict": verdict(prog_type, retval),
            "data_out": hex(&context.data_out()),
        });
        if prog_type == ProgType::SchedCls {
            got["mark"] = context.field("mark").expect("a field").into();
        }
        self.collect(&maps, &mut got);
        let lines = host.take_lines();
        if !lines.is_empty() {
            got["printk"] = lines.into();
        }
        got
    }

    /// The definition with the variables that the case sets.
    fn set(&self, def: &MapDef, case: &Value) -> MapDef {
        let mut def = def.clone();
        if let MapOrigin::Section { section, data } = &mut def.origin {
            let mut bytes = data.to_vec();
            for (name, value) in entries(&case["globals_in"]) {
                let (at_section, at, size) = &self.globals[name];
                if at_section == section {
                    bytes[*at..at + size].copy_from_slice(&unhex(value));
                }
            }
            *data = bytes.into();
        }
        def
    }

    fn link(&self, vm: &Vm, name: &str, maps: &[MapRef]) -> Arc<Instance> {
        let mut program: Program = self.object.link(name).expect("a program");
        if program.section == "raw" {
            program.prog_type = ProgType::Raw;
        }
        vm.link(program, maps).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    fn seed(&self, case: &Value, maps: &[MapRef]) {
        let named = |name: &str| {
            maps.iter().find(|map| map.def().name == name).unwrap_or_else(|| panic!("{name}"))
        };
        for (name, list) in entries(&case["maps_in"]) {
            for entry in list.as_array().expect("entries") {
                let (map, mut value) = (named(name), unhex(&entry["value"]));
                value.resize(map.host_value_bytes(), 0);
                map.write(&unhex(&entry["key"]), &value, UpdateFlags::ANY).expect("written");
            }
        }
        for (name, keys) in entries(&case["maps_delete"]) {
            for key in keys.as_array().expect("keys") {
                named(name).remove(&unhex(key)).expect("removed");
            }
        }
    }

    /// Adds what is in the maps to the result, as `expected.json` has it.
    fn collect(&self, maps: &[MapRef], got: &mut Value) {
        let (mut contents, mut globals, mut events) =
            (JsonMap::new(), JsonMap::new(), JsonMap::new());
        for map in maps {
            let name = map.def().name.clone();
            if let MapOrigin::Section { section, .. } = &map.def().origin {
                let data = map.read(&[0; 4]).expect("globals");
                for (variable, (at_section, at, size)) in &self.globals {
                    if at_section == section && section != ".rodata" {
                        globals.insert(variable.clone(), hex(&data[*at..at + size]).into());
                    }
                }
            } else if let Some(ring) = map.as_kind::<Ringbuf>() {
                let mut records = Vec::new();
                ring.consume(|record| records.push(Value::from(hex(record))));
                events.insert(name, records.into());
            } else if let Some(array) = map.as_kind::<PerfEventArray>() {
                let samples: Vec<Value> =
                    array.drain().iter().map(|sample| hex(&sample.data).into()).collect();
                events.insert(name, samples.into());
            } else if map.as_kind::<ProgArray>().is_none() {
                contents.insert(name, list(map));
            }
        }
        for (field, value) in [("maps", contents), ("globals", globals), ("events", events)] {
            if !value.is_empty() {
                got[field] = value.into();
            }
        }
    }
}

/// A map's entries, sorted by key; values of per-CPU maps added up word by word.
fn list(map: &MapRef) -> Value {
    let def = map.def();
    let is_array = !matches!(def.map_type.name(), "hash" | "percpu_hash");
    let mut entries: Vec<(Vec<u8>, Vec<u8>)> = map.entries().collect();
    entries.sort();
    entries
        .into_iter()
        .filter(|(_, value)| !is_array || value.iter().any(|byte| *byte != 0))
        .map(|(key, value)| json!({ "key": hex(&key), "value": hex(&value) }))
        .collect::<Vec<Value>>()
        .into()
}

fn verdict(prog_type: ProgType, retval: u64) -> Value {
    match prog_type {
        ProgType::Xdp => XDP_ACTIONS.get(retval as usize).copied().into(),
        ProgType::SchedCls => match retval {
            0 => "TC_ACT_OK".into(),
            2 => "TC_ACT_SHOT".into(),
            7 => "TC_ACT_REDIRECT".into(),
            _ => Value::Null,
        },
        _ => Value::Null,
    }
}

fn entries(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(value: &Value) -> Vec<u8> {
    parse_hex(value.as_str().expect("hex digits"))
}

fn hex_file(path: &Path) -> Vec<u8> {
    parse_hex(&std::fs::read_to_string(path).expect("a packet"))
}

fn parse_hex(text: &str) -> Vec<u8> {
    let digits: Vec<char> = text.chars().filter(|c| !c.is_whitespace()).collect();
    let pair = |pair: &[char]| u8::from_str_radix(&pair.iter().collect::<String>(), 16);
    digits.chunks(2).map(|chunk| pair(chunk).expect("hex digits")).collect()
}
