//! `ebpfvm inspect`

use super::{ebpfvm, ebpfvm_on, root, scratch};
use insta::assert_snapshot;
use serde_json::Value;
use std::io::Write;

#[test]
fn text() {
    for name in ["xdp_lb", "tail_calls", "ringbuf_events", "tc_nat"] {
        let args = format!("inspect examples/{name}/{name}.bpf.o");
        assert_snapshot!(format!("inspect_{name}"), ebpfvm(&args).well());
    }
}

/// What no example has: the lines that tell it.
#[test]
fn properties_of_programs_and_maps() {
    for (name, lines) in [
        (
            "sections",
            &[
                "  xdp_devmap: xdp, section xdp.frags/devmap, 2 slots, several buffers\n",
                "  not_loaded: sched_cls, section ?tc, 2 slots, not loaded unless asked for\n",
                "  lsm_prog: lsm, section lsm.s/file_open, 2 slots, attaches to file_open, sleepable\n",
                "  odd_prog: unknown type, section mine/odd, ",
                " sleepable programs (5.10), XDP packets in several buffers (5.18)\n",
            ][..],
        ),
        (
            "maps",
            &[
                "  flows: hash, struct key (8) -> struct value (16), at most 1024 entries, flags \
                 NO_PREALLOC | NUMA_NODE, pinned by name\n",
                "  outer: array_of_maps, 4 bytes -> 4 bytes, at most 3 entries\n    0: inner_a\n    \
                 2: inner_b\n",
            ][..],
        ),
        ("values_be", &["values_be.o: big-endian, no licence\n"][..]),
    ] {
        let text = ebpfvm(&format!("inspect loader/tests/objects/{name}.o")).well();
        for line in lines {
            assert!(text.contains(line), "{line}{text}");
        }
    }
}

#[test]
fn relocations() {
    let object = "examples/ringbuf_events/ringbuf_events.bpf.o";
    assert_snapshot!(ebpfvm(&format!("inspect {object} --relocations")).well());
}

#[test]
fn json() {
    let report = ebpfvm("inspect examples/tail_calls/tail_calls.bpf.o --json").json();
    assert_snapshot!(serde_json::to_string_pretty(&report).unwrap());
}

#[test]
fn types_as_c() {
    let object = "examples/tc_nat/tc_nat.bpf.o";
    let types = ebpfvm(&format!("inspect {object} --types")).well();
    assert!(types.contains("struct translation {\n\t__be32 outside_address;\n"), "{types}");
    let json = ebpfvm(&format!("inspect {object} --types --json")).json();
    assert_eq!(json["types"], types.as_str());
}

#[test]
fn an_object_from_standard_input() {
    let bytes = std::fs::read(root().join("examples/raw/raw.bpf.o")).unwrap();
    let ended = ebpfvm_on(&["inspect", "-"], &bytes).well();
    assert!(ended.starts_with("standard input: little-endian"), "{ended}");
}

#[test]
fn what_cannot_be_linked_is_told() {
    let text = ebpfvm("inspect loader/tests/objects/externs.o").well();
    assert!(text.contains("\n    cannot be linked: loader/tests/objects/externs.o: "), "{text}");
    assert!(text.contains("\n  .kconfig  int LINUX_KERNEL_VERSION;\n"), "{text}");
    assert!(text.contains("\n  .ksyms  int kernel_function(int);\n"), "{text}");
    assert!(!text.contains("helper 200"), "calls of absent functions are no helpers: {text}");
}

/// The types of an object as raw BTF, which is what a kernel shows.
fn types_of(object: &str) -> String {
    let bytes = std::fs::read(root().join(object)).unwrap();
    let object = ebpfvm_loader::Object::parse(&bytes, object).unwrap();
    let order = ebpfvm_asm::ByteOrder::Little;
    scratch("types.btf", ebpfvm_loader::encode_btf(object.btf().unwrap(), order).unwrap())
}

#[test]
fn relocations_about_types_of_a_kernel() {
    let object = "loader/tests/objects/core.o";
    let btf = types_of(object);
    let args = format!("inspect {object} --btf {btf}");
    let text = ebpfvm(&format!("{args} --relocations")).well();
    let line = "    CO-RE: offset of a field of struct task_struct.";
    assert!(text.contains(line) && !text.contains("cannot be linked"), "{text}");
    let core = &ebpfvm(&format!("{args} --json")).json()["programs"][0]["core"][0];
    assert_eq!(core["kind"], "offset of a field");
    assert_eq!(core["before"], core["after"], "its own types are where the compiler saw them");
    let listing = ebpfvm(&format!("disasm {object} -p fields --btf {btf}")).well();
    assert!(listing.starts_with("// fields: section raw_tp/x"), "{listing}");
    // In an ELF file they are the same.
    let elf = format!("inspect {object} --btf {object} --relocations");
    assert_eq!(ebpfvm(&elf).well(), text);
    let error = ebpfvm(&format!("inspect {object} --btf docs/cli.md")).failed(3);
    assert!(error.contains("hint: raw BTF such as "), "{error}");
    let empty = "docs/cli.md: the magic number is 0x2023, expected 0xeb9f";
    assert!(error.contains(empty), "{error}");
    assert!(ebpfvm(&format!("inspect {object} --btf no_such")).failed(3).contains("no_such: "));
}

#[test]
fn what_a_kernel_must_have() {
    let text =
        ebpfvm("inspect loader/tests/objects/needs.o --btf loader/tests/objects/needs.o").well();
    let (_, needs) = text.split_once("\nNeeds\n").unwrap();
    assert_snapshot!(needs);
    let needs = &ebpfvm("inspect loader/tests/objects/externs.o --json").json()["needs"];
    assert_eq!(needs["linux"], "5.13");
    assert_eq!(needs["because"]["name"], "calls of kernel functions");
    let list = needs["list"].as_array().unwrap();
    let kfunc = list.iter().find(|need| need["name"] == "kernel_function").unwrap();
    assert_eq!((&kfunc["kind"], &kfunc["since"]), (&"kernel function".into(), &Value::Null));
}

/// The configuration decides what `.kconfig` variables hold, packed or not.
#[test]
fn a_kernel_configuration() {
    let config = "#\n# Linux/x86 6.12.41 Kernel Configuration\n#\nCONFIG_HZ=250\nCONFIG_SMP=y\n\
                  CONFIG_CC=\"\"\n# CONFIG_EXPERT is not set\n";
    let plain = scratch("config", config);
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(config.as_bytes()).unwrap();
    let packed = scratch("config.gz", packed.finish().unwrap());
    let run = |program: &str, options: &str| {
        ebpfvm(&format!(
            "run loader/tests/objects/externs.o -p {program} --json \
             --packet examples/xdp_firewall/web_request.hex {options}"
        ))
    };
    for path in [&plain, &packed] {
        let option = format!("--kconfig {path}");
        assert_eq!(run("strong", &option).json()["retval"], 251);
        assert_eq!(run("config", &option).json()["retval"], 6 << 16 | 12 << 8 | 41);
    }
    assert_eq!(run("config", "").json()["retval"], 6 << 16 | 18 << 8, "the default");
    let error = &run("strong", "").json()["error"]["message"];
    assert!(error.as_str().unwrap().contains("CONFIG_HZ"), "{error}");
}

#[test]
fn configurations_that_are_none() {
    let wrong = |path: &str| {
        ebpfvm(&format!("inspect loader/tests/objects/externs.o --kconfig {path}")).failed(3)
    };
    let error = wrong("docs/cli.md");
    assert!(
        error.contains("docs/cli.md: no line of this file sets a CONFIG_ option\nhint: "),
        "{error}"
    );
    let error = wrong(&scratch("broken.gz", b"\x1f\x8b\x08\0\0\0"));
    assert!(error.contains("broken.gz: "), "{error}");
    // 16 MiB and more of zeros, in a few kilobytes.
    let mut bomb = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    bomb.write_all(&vec![0; (16 << 20) + 1]).unwrap();
    let error = wrong(&scratch("bomb.gz", bomb.finish().unwrap()));
    assert!(error.contains("at most 16777216 are read"), "{error}");
    let error = wrong(&scratch("misfit", "CONFIG_HZ=many\n"));
    assert!(error.contains("CONFIG_HZ") && error.contains("many"), "{error}");
    let error = ebpfvm(&format!(
        "disasm examples/raw/regular_rounding.hex --kconfig {}",
        scratch("config2", "CONFIG_A=y")
    ))
    .failed(2);
    assert!(error.contains("--kconfig needs an object file"), "{error}");
}
