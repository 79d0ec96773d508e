//! Bytes that are wrong, in ways that happen and in ways that someone would think up: each gives an
//! error that says what and where, none a panic, and none takes long.

use ebpfvm_loader::btf::value::{from_json, to_json};
use ebpfvm_loader::{LinkOptions, LoadError, Object, Problem, parse_btf};
use proptest::prelude::*;
use std::time::{Duration, Instant};

const OBJECTS: [&str; 12] = [
    "arena", "callback", "calls", "calls_be", "core", "data", "data_be", "externs", "legacy",
    "maps", "sections", "values",
];

fn bytes(name: &str) -> Vec<u8> {
    let path = format!("{}/tests/objects/{name}.o", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).unwrap_or_else(|err| panic!("{path}: {err}"))
}

fn parse(bytes: &[u8]) -> Result<Object, LoadError> {
    Object::parse(bytes, "hostile.o")
}

/// Does with the bytes whatever can be done.
fn exercise(bytes: &[u8]) {
    let Ok(object) = parse(bytes) else { return };
    for program in object.programs() {
        if let Ok(program) = object.link(&program.name) {
            for (pc, _) in program.code.iter() {
                program.line(pc);
            }
        }
        let target_btf = object.btf().map(|b| &**b);
        let own = LinkOptions { target_btf, ..LinkOptions::default() };
        let _ = object.link_for(&program.name, &own);
    }
    object.relocations().count();
    object.needs();
    let Some(btf) = object.btf() else { return };
    let _ = ebpfvm_loader::btf::c::header(btf);
    let data = vec![0; 4096];
    for map in object.maps() {
        if let Some(id) = map.value_type {
            let _ = to_json(btf, id, &data, object.byte_order());
        }
    }
    for (id, _) in btf.iter() {
        let _ = btf.size_of(id);
        let _ = btf.align_of(id);
    }
}

/// The header of a section: the file offset of its 64 bytes.
fn header(bytes: &[u8], name: &str) -> usize {
    let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap()) as usize;
    let half = |at: usize| usize::from(u16::from_le_bytes(bytes[at..at + 2].try_into().unwrap()));
    let (table, count, names) = (word(0x28), half(0x3c), half(0x3e));
    let names = word(table + names * 64 + 24);
    (0..count)
        .map(|i| table + i * 64)
        .find(|at| {
            let text = names + u32::from_le_bytes(bytes[*at..at + 4].try_into().unwrap()) as usize;
            bytes[text..].starts_with(name.as_bytes()) && bytes[text + name.len()] == 0
        })
        .unwrap_or_else(|| panic!("no section {name}"))
}

/// The file offset of a section's content.
fn content(bytes: &[u8], name: &str) -> usize {
    let at = header(bytes, name) + 24;
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap()) as usize
}

fn put<const N: usize>(bytes: &mut [u8], at: usize, value: [u8; N]) {
    bytes[at..at + N].copy_from_slice(&value);
}

const FLAGS: usize = 8;
const OFFSET: usize = 24;
const SIZE: usize = 32;
const INFO: usize = 44;
const ENTRY: usize = 56;

/// An object with a change, and a part of the error that it should give.
fn changed(name: &str, expected: &str, change: impl Fn(&mut Vec<u8>)) {
    let mut bytes = bytes(name);
    change(&mut bytes);
    let error = match parse(&bytes) {
        Err(error) => error.to_string(),
        Ok(object) => object
            .programs()
            .iter()
            .find_map(|p| object.link(&p.name).err())
            .unwrap_or_else(|| panic!("no error; expected: {expected}"))
            .to_string(),
    };
    assert!(error.starts_with("hostile.o: "), "{error}");
    assert!(error.contains(expected), "found: {error}\nexpected: {expected}");
}

#[test]
fn files_that_are_not_bpf_objects_are_named() {
    let message = |bytes: &[u8]| parse(bytes).unwrap_err().to_string();
    assert_eq!(message(b""), "hostile.o: not an ELF file: the file is empty");
    assert!(message(b"#!/bin/sh").contains("does not begin with 7f 'ELF'"));
    assert!(message(b"\x7fELF").contains("ends within the header"));
    changed("maps", "the ELF class is 1, expected 2 (64-bit)", |b| b[4] = 1);
    changed("maps", "the machine is 62, expected 247 (BPF)", |b| put(b, 18, [62, 0]));
    changed("maps", "the ELF type is 2, expected 1 (relocatable object)", |b| put(b, 16, [2, 0]));
    changed("maps", "cannot read the section table", |b| put(b, 0x28, u64::MAX.to_le_bytes()));
}

#[test]
fn machine_none_is_taken_as_libbpf_does() {
    let mut bytes = bytes("maps");
    put(&mut bytes, 18, [0, 0]);
    parse(&bytes).unwrap();
}

#[test]
fn sections_stay_within_the_file_and_apart() {
    changed("data", "claims 4294967296 bytes", |b| {
        let at = header(b, ".rodata");
        put(b, at + SIZE, (1u64 << 32).to_le_bytes());
    });
    changed("data", "section '.bss': data sections take", |b| {
        let at = header(b, ".bss");
        put(b, at + SIZE, (1u64 << 32).to_le_bytes());
    });
    changed("data", "overlaps section", |b| {
        let other = content(b, ".rodata") as u64 + 1;
        let at = header(b, ".data");
        put(b, at + OFFSET, other.to_le_bytes());
    });
    changed("sections", "section 'xdp': the size of the code is 12", |b| {
        let at = header(b, "xdp");
        put(b, at + SIZE, 12u64.to_le_bytes());
    });
    changed("maps", "section '.symtab': the size of a symbol is 23", |b| {
        let at = header(b, ".symtab");
        put(b, at + ENTRY, 23u64.to_le_bytes());
    });
}

#[test]
fn relocations_stay_in_range() {
    changed("maps", "section '.relxdp', offset 0x0: the relocation is for offset 0xffffff", |b| {
        let at = content(b, ".relxdp");
        put(b, at, 0xff_ffffu64.to_le_bytes());
    });
    changed("maps", "section '.relxdp', offset 0x10: the relocation names symbol 65535", |b| {
        let at = content(b, ".relxdp") + 16 + 12;
        put(b, at, 65535u32.to_le_bytes());
    });
    changed("maps", "the offset of a relocation is", |b| {
        let at = content(b, ".relxdp");
        put(b, at, 9u64.to_le_bytes());
    });
    changed("maps", "a second relocation for the same instruction", |b| {
        let at = content(b, ".relxdp");
        let next = b[at + 16..at + 24].try_into().unwrap();
        put::<8>(b, at, next);
    });
    changed("maps", "the size of a relocation is 8", |b| {
        let at = header(b, ".relxdp");
        put(b, at + ENTRY, 8u64.to_le_bytes());
    });
    changed("maps", "the index of the relocated section is 999", |b| {
        let at = header(b, ".relxdp");
        put(b, at + INFO, 999u32.to_le_bytes());
    });
    changed("maps", "R_BPF_64_ABS64 against", |b| {
        let at = content(b, ".relxdp");
        put(b, at + 8, 2u32.to_le_bytes());
    });
    changed("data", "refers to byte 268435455 of '.rodata', which has 17", |b| {
        // The immediate of a reference to a static variable: its offset in the section.
        let at = content(b, "xdp");
        let relocated = content(b, ".relxdp");
        for i in 0..8 {
            let offset = b[relocated + 16 * i] as usize | (b[relocated + 16 * i + 1] as usize) << 8;
            put(b, at + offset + 4, 0x0fff_ffffu32.to_le_bytes());
        }
    });
}

#[test]
fn functions_and_calls_fit() {
    changed("calls", "where no function starts", |b| {
        let at = content(b, ".text");
        for slot in 0..40 {
            if b[at + 8 * slot] == 0x85 && b[at + 8 * slot + 1] == 0x10 {
                put(b, at + 8 * slot + 4, 100_000i32.to_le_bytes());
            }
        }
    });
    changed("maps", "function 'target'", |b| {
        let symbols = content(b, ".symtab");
        for i in 0.. {
            let symbol = symbols + 24 * i;
            if b[symbol + 4] == 0x12 {
                put(b, symbol + 16, (1u64 << 40).to_le_bytes());
                break;
            }
        }
    });
    changed("maps", "unknown opcode 0xff", |b| {
        let at = content(b, "xdp");
        b[at] = 0xff;
    });
}

#[test]
fn wrong_types_are_named() {
    changed("maps", "section '.BTF': BTF: the magic number is 0x0", |b| {
        let at = content(b, ".BTF");
        put(b, at, [0, 0]);
    });
    changed("maps", "the strings needs 4294967295 bytes", |b| {
        let at = content(b, ".BTF");
        put(b, at + 20, u32::MAX.to_le_bytes());
    });
    changed("maps", "has kind 31, expected 1 to 19", |b| {
        let at = content(b, ".BTF") + 24;
        b[at + 7] = 31;
    });
    changed("maps", "refers to type [65535]", |b| {
        // The first type is a pointer.
        let at = content(b, ".BTF") + 24;
        put(b, at + 8, 0xffffu32.to_le_bytes());
    });
    changed("maps", "section '.BTF.ext': BTF: the header needs", |b| {
        let at = header(b, ".BTF.ext");
        put(b, at + SIZE, 10u64.to_le_bytes());
    });
    changed("maps", "the size of a record is 0x1, expected 0x8", |b| {
        let at = content(b, ".BTF.ext");
        let first = at + u32::from_le_bytes(b[at + 4..at + 8].try_into().unwrap()) as usize;
        put(b, first, 1u32.to_le_bytes());
    });
    changed("data", "section '.relxdp': the linked section is 0, expected", |b| {
        let at = header(b, ".relxdp");
        put(b, at + 40, 0u32.to_le_bytes());
    });
    changed("data", "refers to", |b| {
        // A data section without the flag that makes it memory, and of no known type.
        let at = header(b, ".data");
        put(b, at + 4, 0x7000_0000u32.to_le_bytes());
        put(b, at + FLAGS, 3u64.to_le_bytes());
    });
}

#[test]
fn every_prefix_gives_an_error_or_an_object() {
    for name in OBJECTS {
        let bytes = bytes(name);
        for end in (0..bytes.len()).step_by(7) {
            exercise(&bytes[..end]);
        }
    }
}

/// Raw BTF with these types and strings.
fn raw_btf(types: &[u32], strings: &[u8]) -> Vec<u8> {
    let types: Vec<u8> = types.iter().flat_map(|w| w.to_le_bytes()).collect();
    let (bytes, text) = (types.len() as u32, strings.len() as u32);
    let header = [0x0001_eb9f, 24, 0, bytes, bytes, text];
    let header = header.iter().flat_map(|w: &u32| w.to_le_bytes());
    header.chain(types).chain(strings.iter().copied()).collect()
}

#[test]
fn types_that_contain_themselves_end() {
    const STRUCT: u32 = 4 << 24;
    // struct { self; self; }, and an array of 2^32 - 1 of nothing, and a typedef of itself.
    let types = [
        [0, STRUCT | 2, 8].as_slice(),
        &[0, 1, 0, 0, 1, 0],
        &[0, STRUCT, 0],
        &[0, 3 << 24, 0, 2, 2, u32::MAX],
        &[0, 8 << 24, 4],
    ]
    .concat();
    let btf = parse_btf(&raw_btf(&types, b"\0"), None).unwrap();
    let start = Instant::now();
    for (id, _) in btf.iter().skip(1) {
        let _ = to_json(&btf, id, &[0; 64], Default::default());
        let _ = btf.size_of(id);
        let _ = btf.align_of(id);
    }
    assert!(start.elapsed() < Duration::from_secs(5));
}

#[test]
fn numbers_without_bits_have_no_value() {
    // enum of no bytes; enum of 2^32 - 1 bytes; int of no bytes
    let types = [0, 6 << 24, 0, 0, 6 << 24, u32::MAX, 0, 1 << 24, 0, 0];
    let btf = parse_btf(&raw_btf(&types, b"\0"), None).unwrap();
    for (id, _) in btf.iter().skip(1) {
        assert!(to_json(&btf, id, &[0; 64], Default::default()).is_err(), "{id}");
        assert!(from_json(&btf, id, &serde_json::json!(0), Default::default()).is_err(), "{id}");
    }
}

#[test]
fn names_without_end_cost_nothing() {
    // 50,000 forward declarations, all named by one long text without zero bytes.
    let mut types = Vec::new();
    for i in 0..50_000 {
        types.extend([1 + i, 7 << 24, 0]);
    }
    let mut strings = vec![b'a'; 1 << 20];
    strings[0] = 0;
    strings.push(0);
    let start = Instant::now();
    let btf = parse_btf(&raw_btf(&types, &strings), None).unwrap();
    assert_eq!(btf.find("nothing", ebpfvm_spec::btf::KindTag::Fwd), None);
    assert!(start.elapsed() < Duration::from_secs(5));
}

#[test]
fn strings_have_to_be_terminated() {
    let error = parse_btf(&raw_btf(&[], b"\0abc"), None).unwrap_err();
    assert_eq!(error.to_string(), "the string table has to begin and end with a zero byte");
}

#[test]
fn problems_can_be_matched() {
    let error = parse(b"").unwrap_err();
    assert!(matches!(*error.problem, Problem::NotElf(_)));
    assert_eq!(error.place, None);
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 2000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn changed_bytes_do_no_harm(
        name in prop::sample::select(&OBJECTS[..]),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        words in prop::collection::vec(
            (any::<prop::sample::Index>(), prop::sample::select(vec![0u32, 1, 0x7fff_ffff, u32::MAX])),
            0..3,
        ),
    ) {
        let mut bytes = bytes(name);
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        for (at, word) in words {
            let at = at.index(bytes.len() / 4) * 4;
            put(&mut bytes, at, word.to_le_bytes());
        }
        exercise(&bytes);
    }

    /// Most bytes of an object are names and debugging information; here only the types change.
    #[test]
    fn changed_types_do_no_harm(
        name in prop::sample::select(vec!["maps", "values", "data", "core", "externs"]),
        section in prop::sample::select(vec![".BTF", ".BTF.ext"]),
        changes in prop::collection::vec((0usize..4000, any::<u8>()), 1..6),
    ) {
        let mut bytes = bytes(name);
        let start = content(&bytes, section);
        let size = header(&bytes, section) + SIZE;
        let size = u64::from_le_bytes(bytes[size..size + 8].try_into().unwrap()) as usize;
        for (at, byte) in changes {
            bytes[start + at % size] = byte;
        }
        exercise(&bytes);
    }
}
