//! Types as C: what they look like, and that a compiler lays them out as the object's did.

mod skip;

use ebpfvm_loader::btf::c;
use ebpfvm_loader::{Object, parse_btf};
use ebpfvm_spec::btf::{Btf, Kind, KindTag};
use skip::skipped;
use std::fmt::Write;
use std::process::{Command, Stdio};

fn object(name: &str) -> Object {
    let path = format!("{}/tests/objects/{name}.o", env!("CARGO_MANIFEST_DIR"));
    Object::parse(&std::fs::read(&path).unwrap(), &path).unwrap()
}

#[test]
fn declarations_read_as_in_the_source() {
    let object = object("values");
    let btf = object.btf().unwrap();
    let all = btf.find("all", KindTag::Struct).unwrap();
    let Some(Kind::Compound { members, .. }) = btf.kind(all) else { panic!() };
    let member = |name: &str| {
        let m = btf.list(members).iter().find(|m| btf.str(m.name) == name).unwrap();
        c::declaration(btf, m.type_id, name).unwrap()
    };
    assert_eq!(member("byte"), "u8 byte");
    assert_eq!(member("points"), "struct point points[2]");
    assert_eq!(member("pointer"), "void *pointer");
    assert_eq!(member("call"), "int (*call)(int, struct all *)");
    assert_eq!(member("texts"), "const volatile char * const texts[2]");
    let prog = btf.find("prog", KindTag::Func).unwrap();
    assert_eq!(c::declaration(btf, prog, "").unwrap(), "int prog(void *mem)");
    let packed = btf.find("packed_t", KindTag::Struct).unwrap();
    let text = "struct packed_t {\n\tu8 a;\n\tu32 b;\n} __attribute__((packed));";
    assert_eq!(c::definition(btf, packed).unwrap(), text);
    let color = btf.find("color", KindTag::Enum).unwrap();
    let text = "enum color {\n\tRED = 1,\n\tGREEN = 2,\n\tBELOW = -3,\n};";
    assert_eq!(c::definition(btf, color).unwrap(), text);
}

/// Whether clang takes the header with checks of every named struct's size and member offsets.
fn compiles(btf: &Btf, what: &str, target: &str) {
    let mut source = c::header(btf).unwrap();
    // Types that share a name are told apart by suffixes; these checks are for the others.
    let mut named = std::collections::HashMap::new();
    for (_, t) in btf.iter() {
        if matches!(t.kind, Kind::Compound { .. } | Kind::Enum { .. }) {
            *named.entry(btf.str(t.name)).or_insert(0) += 1;
        }
    }
    let mut checked = 0;
    for (id, t) in btf.iter() {
        let Kind::Compound { bytes, members, .. } = t.kind else { continue };
        let (name, word) = (btf.str(t.name), t.kind.tag().name().to_lowercase());
        if name.is_empty() || named[name] > 1 || btf.list(members).is_empty() {
            continue;
        }
        checked += 1;
        let _ =
            writeln!(source, "_Static_assert(sizeof({word} {name}) == {bytes}, \"[{}]\");", id.0);
        for m in btf.list(members).iter().filter(|m| m.bitfield_bits == 0 && !m.name.is_empty()) {
            let (member, offset) = (btf.str(m.name), m.bit_offset / 8);
            let _ = writeln!(
                source,
                "_Static_assert(__builtin_offsetof({word} {name}, {member}) == {offset}, \"{name}\");"
            );
        }
    }
    assert!(checked > 0);
    let clang = Command::new("clang-19")
        .args([target, "-fsyntax-only", "-w", "-ferror-limit=10", "-x", "c", "-"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut clang) = clang else {
        skipped(what, "no clang-19");
        return;
    };
    use std::io::Write as _;
    clang.stdin.take().unwrap().write_all(source.as_bytes()).unwrap();
    let output = clang.wait_with_output().unwrap();
    assert!(output.status.success(), "{what}:\n{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_compiler_lays_the_types_out_the_same() {
    for name in ["values", "maps", "data", "calls", "core"] {
        compiles(object(name).btf().unwrap(), name, "--target=bpf");
    }
}

#[test]
fn a_compiler_takes_the_kernels_types() {
    let Ok(bytes) = std::fs::read("/sys/kernel/btf/vmlinux") else {
        skipped("a_compiler_takes_the_kernels_types", "no kernel BTF");
        return;
    };
    compiles(
        &parse_btf(&bytes, None).unwrap(),
        "vmlinux",
        &format!("--target={}-linux-gnu", std::env::consts::ARCH),
    );
}
