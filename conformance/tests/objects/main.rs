//! Programs of object files here and on the kernel: the same verdict, packet, context and maps
//! after every run. `EBPFVM_FUZZ_RUNS=N` gives each program N packets.

mod folder;
mod linked;
mod packets;
mod pair;

use ebpfvm_conformance::files::{OBJECT, files_below};
use ebpfvm_conformance::object::Input;
use ebpfvm_kernel::{Kernel, linux_6_18_or_skip};
use packets::{Numbers, mutate, whole_and_cut};
use pair::{Counts, Pair, open, packet_programs, set_global};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Packets for each program, unless the environment says otherwise.
const RUNS: usize = 300;

/// Programs that differ, each by something that `docs/parity.md` lists. One that does so no more must
/// be taken from here.
const DIFFERENT: [&str; 0] = [];

fn runs() -> usize {
    match std::env::var("EBPFVM_FUZZ_RUNS") {
        Ok(text) => text.parse().expect("EBPFVM_FUZZ_RUNS is a number"),
        Err(_) => RUNS,
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Files below a folder of the repository.
fn files(folder: &str, end: &str) -> Vec<PathBuf> {
    files_below(&root().join(folder), end).expect("a folder")
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
    let pair = |pair: &[u8]| {
        let digits = std::str::from_utf8(pair).ok()?;
        u8::from_str_radix(digits, 16).ok()
    };
    digits.chunks(2).map(|digits| pair(digits).expect("hex digits")).collect()
}

fn hex_file(path: &Path) -> Vec<u8> {
    unhex(&std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display())))
}

/// The packets of all examples.
fn seeds() -> Vec<Vec<u8>> {
    let mut seeds: Vec<Vec<u8>> =
        files("examples", ".hex").iter().map(|path| hex_file(path)).collect();
    // The kernel's test-run takes no more than a page in a socket buffer.
    seeds.retain(|packet| (14..=3500).contains(&packet.len()));
    seeds
}

fn entries(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a string")
}

/// The cases of the examples, maps and globals set as they say.
#[test]
fn examples_do_the_same_on_the_kernel() {
    let Some(kernel) = linux_6_18_or_skip("examples_do_the_same_on_the_kernel") else { return };
    let (mut counts, mut differences) = (Counts::default(), Vec::new());
    for path in files("examples", "expected.json") {
        let folder = path.parent().expect("a folder");
        let expected = std::fs::read_to_string(&path).expect("text");
        let expected: Value = serde_json::from_str(&expected).expect("JSON");
        let object = open(&folder.join(text(&expected["object"])));
        for case in expected["cases"].as_array().expect("cases") {
            let program = text(&case["program"]);
            // What is given of the world is not the kernel's.
            let is_alone = case["ctx"].is_null() && case["host"].is_null();
            if !is_alone || !packet_programs(&object).iter().any(|p| p == program) {
                continue;
            }
            let mut defs = object.maps().to_vec();
            for (name, value) in entries(&case["globals_in"]) {
                set_global(&object, &mut defs, name, &unhex(text(value)));
            }
            let mut pair = Pair::new(&kernel, &object, defs);
            for side in pair.sides() {
                for (map, list) in entries(&case["maps_in"]) {
                    for entry in list.as_array().expect("entries") {
                        let (key, value) =
                            (unhex(text(&entry["key"])), unhex(text(&entry["value"])));
                        side.write(map, &key, &value).expect("written");
                    }
                }
                for (map, keys) in entries(&case["maps_delete"]) {
                    for key in keys.as_array().expect("keys") {
                        side.remove(map, &unhex(text(key))).expect("removed");
                    }
                }
            }
            let input = Input::packet(hex_file(&folder.join(text(&case["packet"]))));
            for _ in 0..case["repeat"].as_u64().unwrap_or(1) {
                if let Some(difference) = pair.compare(program, &input, &mut counts) {
                    differences.push(format!("{}: {}\n{difference}", object.file(), case["name"]));
                }
            }
        }
    }
    eprintln!("{} runs compared, {} inputs refused", counts.runs, counts.refused);
    assert!(differences.is_empty(), "here / the kernel:\n{}", differences.join("\n"));
    assert!(counts.runs > 50);
}

/// Sends mutated packets through every program of the objects, maps kept from run to run.
fn compare_on_mutations(kernel: &Kernel, objects: &[PathBuf], seeds: &[Vec<u8>]) -> Counts {
    let (mut total, mut differences) = (Counts::default(), Vec::new());
    let runs = runs();
    for path in objects {
        let object = open(path);
        for program in packet_programs(&object) {
            let mut counts = Counts::default();
            let mut difference = None;
            let mut pair = Pair::new(kernel, &object, object.maps().to_vec());
            for side in pair.sides() {
                side.load(&program).unwrap_or_else(|e| panic!("{}: {e}", object.file()));
            }
            let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15 ^ total.programs as u64);
            let whole_and_cut = whole_and_cut(seeds);
            let mutations = (0..runs).map(|_| mutate(&mut numbers, seeds)).collect::<Vec<_>>();
            for (run, packet) in whole_and_cut.chain(mutations).enumerate() {
                let mut input = Input::packet(packet);
                // Before the program, the packet went through other hands.
                let fields = ["mark", "priority", "cb[0]", "cb[4]"];
                if pair.is_skb(&program) && run % 3 == 0 {
                    let value = numbers.next() as u32 >> numbers.below(32);
                    input.fields.push((fields[numbers.below(fields.len())].into(), value));
                }
                if let Some(found) = pair.compare(&program, &input, &mut counts) {
                    let packet: String =
                        input.packet.iter().map(|byte| format!("{byte:02x}")).collect();
                    difference = Some(format!("run {run} on {packet} {:?}\n{found}", input.fields));
                    // Maps differ from here on.
                    break;
                }
            }
            let known = DIFFERENT.contains(&program.as_str());
            let what = match difference {
                Some(_) if known => {
                    eprintln!("{}: {program}: differs as listed", object.file());
                    continue;
                }
                Some(difference) => Some(difference),
                None => known.then(|| "listed as different, but is not".into()),
            };
            differences.extend(what.map(|what| format!("{}: {program}: {what}", object.file())));
            eprintln!(
                "{}: {program}: {} runs, {} inputs refused, {} verdicts, most often {:?}",
                object.file(),
                counts.runs,
                counts.refused,
                counts.verdicts.len(),
                counts.most_often(),
            );
            total.programs += 1;
            total.runs += counts.runs;
            total.refused += counts.refused;
        }
    }
    eprintln!(
        "{} programs, {} runs compared, {} inputs refused",
        total.programs, total.runs, total.refused
    );
    assert!(differences.is_empty(), "here / the kernel:\n{}", differences.join("\n"));
    total
}

#[test]
fn examples_do_the_same_on_any_packet() {
    let Some(kernel) = linux_6_18_or_skip("examples_do_the_same_on_any_packet") else { return };
    // One without expectations shows what is refused.
    let mut objects = files("examples", OBJECT);
    objects.retain(|path| path.with_file_name("expected.json").exists());
    // The kernel's timers fire while others' programs run.
    objects.retain(|path| !path.ends_with("tc_timer.bpf.o"));
    let counts = compare_on_mutations(&kernel, &objects, &seeds());
    assert!(counts.programs >= 15 && counts.runs >= counts.programs * runs() / 2);
}

/// Programs that were written for this comparison, in the manner of known ones.
#[test]
fn programs_do_the_same_on_any_packet() {
    let Some(kernel) = linux_6_18_or_skip("programs_do_the_same_on_any_packet") else { return };
    let objects = files("conformance/objects", OBJECT);
    let mut seeds = seeds();
    seeds.extend(packets::more());
    let counts = compare_on_mutations(&kernel, &objects, &seeds);
    assert!(counts.programs >= 22 && counts.runs >= counts.programs * runs() / 2);
}
