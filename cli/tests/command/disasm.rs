//! `ebpfvm disasm`

use super::{ebpfvm, ebpfvm_on, scratch};
use insta::assert_snapshot;

const OBJECT: &str = "examples/tail_calls/tail_calls.bpf.o";

#[test]
fn styles() {
    for style in ["pseudo-c", "mnemonic", "llvm", "kernel"] {
        let args = format!("disasm {OBJECT} --program xdp_dispatch --style {style}");
        assert_snapshot!(format!("style_{style}"), ebpfvm(&args).well());
    }
}

#[test]
fn bytes_and_source_lines() {
    let all = ebpfvm(&format!("disasm {OBJECT} -p xdp_forever --raw --no-source")).well();
    assert_snapshot!(all);
    let kernel = ebpfvm(&format!("disasm {OBJECT} -p xdp_forever --raw --style kernel")).well();
    assert_snapshot!(kernel);
}

#[test]
fn subprograms_have_headings() {
    let listing = ebpfvm("disasm examples/raw/raw.bpf.o").well();
    assert!(listing.starts_with("// price: section raw, type raw, "), "{listing}");
    assert!(listing.contains("\n// function discount\ndiscount:\n"), "{listing}");
}

#[test]
fn all_programs_or_those_of_a_section() {
    let heads = |args: &str| {
        let listing = ebpfvm(&format!("disasm {args}")).well();
        listing.lines().filter(|l| l.starts_with("// ") && l.contains(": section ")).count()
    };
    assert_eq!(heads(OBJECT), 5);
    assert_eq!(heads(&format!("{OBJECT} --section xdp")), 5);
    assert_eq!(heads("examples/cgroup_policy/cgroup_policy.bpf.o -s cgroup_skb/egress"), 1);
}

#[test]
fn json() {
    let report = ebpfvm(&format!("disasm {OBJECT} -p xdp_forever --json")).json();
    assert_snapshot!(serde_json::to_string_pretty(&report).unwrap());
}

#[test]
fn bare_instructions() {
    let hex = "b700000001000000 9500000000000000";
    let raw = [0xb7, 0, 0, 0, 1, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0];
    let expected = "\tr0 = 0x1\n\texit\n";
    assert_eq!(ebpfvm_on(&["disasm", "-"], hex.as_bytes()).well(), expected);
    assert_eq!(ebpfvm_on(&["disasm", "-"], &raw).well(), expected);
    assert_eq!(ebpfvm_on(&["disasm", "-", "--encoding", "raw"], &raw).well(), expected);
    let big = b"b700000000000001";
    assert_eq!(ebpfvm_on(&["disasm", "-", "--order", "big"], big).well(), "\tr0 = 0x1\n");
}

#[test]
fn one_program_that_cannot_be_linked_does_not_hide_the_others() {
    let ended = ebpfvm("disasm loader/tests/objects/externs.o");
    assert_eq!(ended.code, 0);
    assert!(ended.out.contains("// plain: section xdp"), "{}", ended.out);
    assert!(ended.err.contains("warning: strong: "), "{}", ended.err);
    let json = ebpfvm("disasm loader/tests/objects/externs.o --json").json();
    let names = |list: &str, field: &str| {
        let list = json[list].as_array().unwrap().iter();
        list.map(|item| item[field].as_str().unwrap().to_string()).collect::<Vec<_>>()
    };
    assert!(names("programs", "name").contains(&"plain".into()));
    assert!(names("errors", "program").contains(&"strong".into()));
    let alone = ebpfvm("disasm loader/tests/objects/externs.o -p strong").failed(3);
    assert!(alone.contains("CONFIG_HZ"), "{alone}");
}

#[test]
fn wrong_instructions_name_their_place() {
    assert_snapshot!(ebpfvm_on(&["disasm", "-"], b"b700000001000000 ff00000000000000").failed(3));
    assert_snapshot!(ebpfvm_on(&["disasm", "-"], b"b70000000100").failed(3));
    assert_snapshot!(ebpfvm(&format!("disasm {}", scratch("d.txt", "r0 = 1\n"))).failed(3));
    let usage = ebpfvm_on(&["disasm", "-", "-p", "main"], b"9500000000000000").failed(2);
    assert_snapshot!(usage);
}
