//! `ebpfvm asm`

use super::{ebpfvm, ebpfvm_on, root, scratch};
use insta::assert_snapshot;

const PROGRAM: &str = "r0 = 1\nif r1 == 0 goto out\nr0 = 2\nout: exit\n";
const CODE: &str = "b700000001000000\n1501010000000000\nb700000002000000\n9500000000000000\n";

#[test]
fn hex_to_standard_output() {
    let ended = ebpfvm_on(&["asm", "-", "--hex"], PROGRAM.as_bytes());
    assert_eq!(ended.well(), CODE);
    let big = ebpfvm_on(&["asm", "-", "--hex", "--order", "big"], b"r0 = 1; exit").well();
    assert_eq!(big, "b700000000000001\n9500000000000000\n");
}

#[test]
fn bytes_to_a_file_and_back() {
    let (text, code) = (scratch("asm.txt", PROGRAM), scratch("asm.bin", ""));
    assert_eq!(ebpfvm(&format!("asm {text} -o {code}")).well(), "");
    assert_eq!(std::fs::read(&code).unwrap().len(), 32);
    let listing = ebpfvm(&format!("disasm {code}")).well();
    assert_eq!(ebpfvm_on(&["asm", "-", "--hex"], listing.as_bytes()).well(), CODE);
    assert_eq!(ebpfvm(&format!("asm {text} --hex -o {code}")).well(), "");
    assert_eq!(std::fs::read_to_string(&code).unwrap(), CODE);
    assert_eq!(ebpfvm(&format!("disasm {code}")).well(), listing, "hex is read too");
}

#[test]
fn json() {
    let report = ebpfvm_on(&["asm", "-", "--json"], b"r0 = 1; exit").json();
    assert_eq!(report.to_string(), r#"{"slots":2,"code":"b7000000010000009500000000000000"}"#);
}

#[test]
fn dialects() {
    let mnemonics = b"mov %r0, 1\nexit\n";
    for dialect in ["auto", "mnemonic"] {
        let ended = ebpfvm_on(&["asm", "-", "--hex", "--dialect", dialect], mnemonics);
        assert_eq!(ended.well(), "b700000001000000\n9500000000000000\n");
    }
    let error = ebpfvm_on(&["asm", "-", "--dialect", "pseudo-c"], mnemonics).failed(3);
    assert!(error.contains("--> standard input:1:"), "{error}");
}

#[test]
fn helpers_by_name() {
    for call in ["call bpf_ktime_get_ns", "call ktime_get_ns", "call 5"] {
        let ended = ebpfvm_on(&["asm", "-", "--hex"], format!("{call}\nexit").as_bytes());
        assert_eq!(ended.well(), "8500000005000000\n9500000000000000\n");
    }
}

#[test]
fn errors_show_the_place() {
    assert_snapshot!(ebpfvm_on(&["asm", "-"], b"r0 = 1\n\tr1 = r11\nexit\n").failed(3));
    assert_snapshot!(ebpfvm_on(&["asm", "-"], b"goto nowhere\nexit\n").failed(3));
    assert_snapshot!(ebpfvm_on(&["asm", "-", "--json"], b"r0 = 1\nr1 = r11\n").out);
    let not_text = ebpfvm("asm examples/raw/raw.bpf.o").failed(3);
    assert_snapshot!(not_text);
}

/// Every program of the examples comes back from its own listing.
#[test]
fn listings_of_programs_are_read_back() {
    let mut programs = 0;
    for entry in std::fs::read_dir(root().join("examples")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let object = format!("examples/{name}/{name}.bpf.o");
        if !root().join(&object).exists() {
            continue;
        }
        let all = ebpfvm(&format!("disasm {object} --json")).json();
        for program in all["programs"].as_array().unwrap() {
            let bytes = |insn: &serde_json::Value| insn["bytes"].as_str().unwrap().to_string();
            let code: String = program["insns"].as_array().unwrap().iter().map(bytes).collect();
            for style in ["pseudo-c", "mnemonic"] {
                let name = program["name"].as_str().unwrap();
                let args = format!("disasm {object} -p {name} --style {style} --raw");
                let listing = ebpfvm(&args).well();
                let back = ebpfvm_on(&["asm", "-", "--json"], listing.as_bytes()).json();
                assert_eq!(back["code"], code.as_str(), "{object} {name} {style}");
                programs += 1;
            }
        }
    }
    assert!(programs > 20, "{programs}");
}
