//! `ebpfvm inspect`

use super::{ebpfvm, ebpfvm_on, root, scratch};
use insta::assert_snapshot;

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
    let error = ebpfvm(&format!("inspect {object} --btf {object}")).failed(3);
    assert!(error.contains("hint: raw BTF is expected"), "{error}");
    assert!(ebpfvm(&format!("inspect {object} --btf no_such")).failed(3).contains("no_such: "));
}
