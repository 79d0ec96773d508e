//! `ebpfvm conform`

use super::{ebpfvm, scratch, stable};
use insta::assert_snapshot;
use std::path::Path;

/// A directory with vectors that pass and fail.
fn vectors() -> String {
    let pass = scratch("vectors/pass.data", "");
    for (name, text) in [
        ("pass.data", "-- asm\nmov %r0, 7\nexit\n-- result\n0x7\n"),
        ("fail.data", "-- asm\nmov %r0, 7\nexit\n-- result\n0x8\n"),
        ("broken.data", "-- result\n0x8\n"),
    ] {
        scratch(&format!("vectors/{name}"), text);
    }
    Path::new(&pass).parent().unwrap().to_str().unwrap().to_string()
}

#[test]
fn the_last_line_counts_and_the_code_tells() {
    let ended = ebpfvm("conform --vectors conformance/vectors --engine checked");
    assert_eq!((ended.code, ended.err.as_str()), (0, ""), "{}", ended.out);
    let last = ended.out.lines().last().unwrap();
    let words: Vec<&str> = last.split(' ').collect();
    let [passed, "passed,", "0", "failed,", _, "skipped"] = words[..] else { panic!("{last}") };
    assert!(passed.parse::<usize>().unwrap() > 100, "{last}");
    let ended = ebpfvm(&format!("conform --vectors {} --engine checked", vectors()));
    assert_eq!(ended.code, 1);
    assert_snapshot!(stable(&ended.out));
}

#[test]
fn json_is_one_object_a_vector() {
    let ended = ebpfvm(&format!("conform --vectors {} --engine interp --json", vectors()));
    assert_eq!(ended.code, 1);
    assert_snapshot!(stable(&ended.out));
}

#[test]
fn all_engines_unless_one_is_named() {
    let all = ebpfvm(&format!("conform --vectors {} --json", vectors())).out;
    let explicit = ebpfvm(&format!("conform --vectors {} --engine all --json", vectors())).out;
    assert_eq!(all, explicit);
    for engine in ["interp", "checked", "kernel"] {
        assert_eq!(all.matches(&format!("\"engine\":\"{engine}\"")).count(), 3, "{all}");
    }
}

#[test]
fn wrong_use() {
    let engine = ebpfvm("conform --vectors conformance/vectors --engine chekced").failed(2);
    assert!(engine.contains("'checked'") && engine.contains("kernel, all"), "{engine}");
    assert_snapshot!(ebpfvm("conform --vectors no_such_directory").failed(3));
    assert_snapshot!(ebpfvm("conform --vectors examples").failed(3));
    assert_snapshot!(ebpfvm("conform --vectors Cargo.toml").failed(3));
}
