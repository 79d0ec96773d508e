//! `ebpfvm inspect`

use super::{ebpfvm, ebpfvm_on, root};
use insta::assert_snapshot;

#[test]
fn text() {
    for name in ["xdp_lb", "tail_calls", "ringbuf_events", "tc_nat"] {
        let args = format!("inspect examples/{name}/{name}.bpf.o");
        assert_snapshot!(format!("inspect_{name}"), ebpfvm(&args).well());
    }
    for name in ["maps", "sections", "externs", "values_be"] {
        let args = format!("inspect loader/tests/objects/{name}.o");
        assert_snapshot!(format!("inspect_object_{name}"), ebpfvm(&args).well());
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
