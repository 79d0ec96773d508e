//! The page `docs/contexts.md`, made from the tables.

use super::given::{Form, GIVEN};
use super::{Data, data_of};
use ebpfvm_spec::context::{Access, Field, FieldKind};
use ebpfvm_spec::{ContextDef, Platform, ProgType};
use std::fmt::Write as _;

fn holds(field: &Field) -> String {
    let number = |bytes: u32| format!("{} bits", 8 * bytes);
    match field.kind {
        FieldKind::Scalar if field.bytes > field.unit => {
            format!("{} times {}", field.bytes / field.unit, number(field.unit))
        }
        FieldKind::Scalar => number(field.bytes),
        FieldKind::PacketStart => "the first byte of the data".into(),
        FieldKind::PacketEnd => "the end of the data".into(),
        FieldKind::PacketMeta => "the metadata".into(),
        FieldKind::Pointer(to) => format!("a pointer to a `{}`", to.name()),
        FieldKind::PointerOrNull(to) => format!("a pointer to a `{}`, or null", to.name()),
    }
}

fn section(text: &mut String, prog_type: ProgType, def: &ContextDef, data: Data) {
    let name = prog_type.name();
    let _ = write!(text, "\n## {name}\n\n`{}`. Bytes (`--packet`): {}.", def.name, data.describe());
    let given: Vec<String> = GIVEN
        .iter()
        .filter(|given| given.types.contains(&prog_type))
        .map(|given| match given.form {
            Form::Number(bytes) => format!("`{}` ({} bits)", given.name, 8 * bytes),
            Form::Bytes { .. } => format!("`{}` (bytes)", given.name),
        })
        .collect();
    if !given.is_empty() {
        let _ = write!(text, " Besides its fields: {}.", given.join(", "));
    }
    text.push_str("\n\n| Field | Holds | Programs may |\n|---|---|---|\n");
    for field in def.fields.iter() {
        let may = |access: &Access| access.prog_types.contains(prog_type);
        let may = match (may(&field.read), may(&field.write)) {
            (true, true) => "read, write",
            (true, false) => "read",
            (false, true) => "write",
            // What neither can be done with is not there for programs of the type.
            (false, false) => continue,
        };
        let _ = writeln!(text, "| `{}` | {} | {may} |", field.name, holds(field));
    }
}

fn document() -> String {
    let mut text = "# Contexts\n\n\
        What programs are given when they start, type by type. `ebpfvm run` takes the bytes with `--packet` and the\n\
        fields with `--ctx`, by the names below; the library with `Context::linux` and `Context::set_field`. Who may\n\
        touch a field can depend on the attach type too. This page is made from the tables in\n\
        `spec/src/linux/contexts` and `vm/src/context`; `EBPFVM_BLESS=1 cargo test -p ebpfvm --lib context` writes it\n\
        anew.\n"
        .to_string();
    let platform = Platform::linux();
    let mut rest = Vec::new();
    for prog_type in ProgType::ALL {
        let def = platform.prog_type(*prog_type).and_then(|def| def.context.as_ref());
        match (def, data_of(*prog_type)) {
            (Some(def), Some(data)) => section(&mut text, *prog_type, def, data),
            _ if matches!(prog_type, ProgType::Unspec | ProgType::Raw) => {}
            _ => rest.push(format!("`{}`", prog_type.name())),
        }
    }
    text.push_str(
        "\n## raw\n\nNo type of Linux's: `r1` is the address of the bytes, `r2` their number.\n",
    );
    let _ = write!(
        text,
        "\n## Not here\n\nPrograms of these types cannot be run: what they are given are structures of the kernel.\n\n{}\n",
        rest.join(", ")
    );
    text
}

#[test]
fn the_document_lists_them() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/contexts.md");
    if std::env::var_os("EBPFVM_BLESS").is_some() {
        std::fs::write(path, document()).unwrap();
    }
    let written = std::fs::read_to_string(path).unwrap_or_default();
    assert!(written == document(), "docs/contexts.md differs; EBPFVM_BLESS=1 writes it anew");
}
