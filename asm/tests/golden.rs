//! Texts that people read, compared with files. `EBPFVM_BLESS=1` writes the files anew.

use ebpfvm_asm::text::{Dialect, assemble};
use std::path::Path;

/// Compares a text with a file, given from the crate's directory.
fn compare(file: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    if std::env::var_os("EBPFVM_BLESS").is_some() {
        std::fs::write(&path, text).expect("the file is writable");
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(expected == text, "{file} is out of date; EBPFVM_BLESS=1 writes it anew:\n{text}");
}

#[test]
fn the_opcode_reference_is_current() {
    compare("../docs/opcodes.md", &ebpfvm_asm::reference());
}

#[test]
fn the_code_in_the_language_guide_assembles() {
    let guide = include_str!("../../docs/assembly.md");
    let mut blocks = 0;
    for block in guide.split("```text\n").skip(1) {
        let source = block.split("```").next().expect("a block ends");
        if let Err(error) = assemble(source, Dialect::Auto) {
            panic!("{}", error.render());
        }
        blocks += 1;
    }
    assert!(blocks >= 4, "only {blocks} blocks");
}

#[test]
fn messages_for_wrong_texts() {
    const TEXTS: &[&str] = &[
        // Pseudo-C.
        "r0 = 1\nexti",
        "r0 = 1\n\tr11 = 2\n\texit",
        "r0 = w1",
        "w0 += r1",
        "r0 = 0x100000000",
        "r0 = 0xfffffffffffffffff ll",
        "r0 = 12ab",
        "r0 == 5",
        "r0",
        "r0 = *(u33 *)(r1 + 0)",
        "r0 = *(u32 *)(r1 + 40000)",
        "r0 = *(u32 *)(r1 + 4",
        "w0 = *(u64 *)(r1 + 0)",
        "w0 = (s32)w1",
        "*(s32 *)(r1 + 0) = 5",
        "lock *(u16 *)(r1 + 0) += r2",
        "lock *(u64 *)(r1 + 0) -= r2",
        "r3 = atomic_fetch_add((u64 *)(r1 + 0), r2)",
        "r0 = atomic_fetch_ad((u64 *)(r1 + 0), r0)",
        "r1 = le16 r2",
        "r1 = le8 r1",
        "r1 = -r2",
        "if r1 ~ 5 goto +1",
        "if r1 > 5 gotp +1",
        "if r1 > 5 goto 5",
        "goto loop\nexit",
        "loop1: r0 = 1; goto loop2; exit",
        "a: r0 = 1\na: exit",
        "goto +40000",
        "exit 5",
        "exit; exit; €",
        "r0 = addr_space_cast(r1, 1, 1)",
        "r1 = map[df:5]",
        "call",
        "call unknown_helper",
        // Mnemonics.
        "movv %r0, 1",
        "mov %r0 1",
        "mov %r0, %r1x",
        "mov %r0, 4294967296",
        "ldxw %r0, %r1",
        "ldxw %r0, [%r1+99999]",
        "lock ad [%r1], %r2",
        "lock fetch sub [%r1], %r2",
        "jeq %r1, 5, nowhere\nmov %r0, 0",
        "call some_helper\nmov %r0, 0",
        "addr_space_cast %r1, %r1, 0, 0",
        "stxw [%r1], 5",
    ];
    let mut messages = String::new();
    for text in TEXTS {
        let error = assemble(text, Dialect::Auto).expect_err("the text is wrong");
        messages.push_str(&error.render());
        messages.push('\n');
    }
    let mut far = "goto end\n".to_owned();
    far.push_str(&"r0 = 0\n".repeat(40_000));
    far.push_str("end: exit");
    let error = assemble(&far, Dialect::Auto).expect_err("too far");
    messages.push_str(&error.render());
    compare("tests/data/text-errors.txt", &messages);
}
