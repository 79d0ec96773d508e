//! The opcode reference, made from the instruction table.

use crate::table::{Cpu, Encoding, Field, Group, Row, TABLE};
use crate::text::{NoSymbols, Style, print};
use crate::{Pc, Slot, decode};
use std::fmt::Write;

/// The instruction set as a Markdown document: what `docs/opcodes.md` holds.
pub fn reference() -> String {
    let mut text = String::from(HEAD);
    for row in TABLE {
        // Writing to a String does not fail.
        let _ = operation(&mut text, row);
    }
    text.push_str("\n## By opcode\n\n| Opcode | Operations |\n|---|---|\n");
    for opcode in 0..=u8::MAX {
        let mut names: Vec<&str> = TABLE
            .iter()
            .filter(|row| row.encodings.iter().any(|e| e.opcode == opcode))
            .map(|row| row.mnemonic)
            .collect();
        names.dedup();
        if !names.is_empty() {
            let _ = writeln!(text, "| `{opcode:#04x}` | {} |", names.join(", "));
        }
    }
    text
}

const HEAD: &str = "# Opcodes

Every instruction that ebpfvm knows: all of RFC 9669 and the extensions of Linux 6.18. This page is
made from the instruction table in `asm/src/table.rs`; `EBPFVM_BLESS=1 cargo test -p ebpfvm-asm` writes
it anew.

A field shows the values that it may hold: `any` for an operand, nothing for 0, which is all that an
unused field may hold. `r` is a register, 0 to 10. Opcodes alone do not tell operations apart;
`src`, `offset` and `imm` do where several share one. A *group* is a conformance group of RFC 9669,
section 2.4 (*linux* and *callx* are not in it), *cpu* the level of `clang -mcpu` that first has the
encoding, *since* the first release of Linux.

";

fn operation(text: &mut String, row: &Row) -> std::fmt::Result {
    let source = if row.rfc.is_empty() {
        "Linux".to_owned()
    } else {
        format!("RFC 9669, section {}", row.rfc)
    };
    let since = if row.since.is_empty() {
        "not in Linux".to_owned()
    } else {
        format!("since Linux {}", row.since)
    };
    writeln!(text, "## {}\n\n`{}` ({source}; {since})\n", row.mnemonic, row.meaning)?;
    text.push_str("| Opcode | dst | src | offset | imm | Group | cpu | Pseudo-C | Mnemonic |\n");
    text.push_str("|---|---|---|---|---|---|---|---|---|\n");
    for e in row.encodings {
        let insn = decode(&example(e)).expect("an encoding of the table");
        let spelled = |style| print(&insn, Pc(0), style, &NoSymbols);
        let imm = match e.imm2 {
            None => field(e.imm, "any"),
            Some(imm2) => format!("{}, next: {}", field(e.imm, "any"), field(imm2, "any")),
        };
        writeln!(
            text,
            "| `{:#04x}` | {} | {} | {} | {imm} | {} | {} | `{}` | `{}` |",
            e.opcode,
            field(e.dst, "r"),
            field(e.src, "r"),
            field(e.offset, "any"),
            group(e.group),
            cpu(e.cpu),
            // A bar ends a cell even in code.
            spelled(Style::PseudoC).replace('|', "\\|"),
            spelled(Style::Mnemonic),
        )?;
    }
    writeln!(text)
}

/// The slots of an instruction with this encoding.
fn example(e: &Encoding) -> [Slot; 2] {
    let value = |field: Field, operand: i32| match field {
        Field::Is(value) => value,
        Field::OneOf(values) => values[0],
        Field::Any => operand,
    };
    let first = Slot {
        opcode: e.opcode,
        dst: value(e.dst, 1) as u8,
        src: value(e.src, 2) as u8,
        offset: value(e.offset, 4) as i16,
        imm: value(e.imm, 7),
    };
    [first, Slot { imm: e.imm2.map_or(0, |imm2| value(imm2, 0)), ..Slot::default() }]
}

fn field(field: Field, any: &str) -> String {
    match field {
        Field::Is(0) => String::new(),
        Field::Is(value) => value.to_string(),
        Field::OneOf(values) => values.iter().map(i32::to_string).collect::<Vec<_>>().join(", "),
        Field::Any => any.to_owned(),
    }
}

const fn group(group: Group) -> &'static str {
    match group {
        Group::Base32 => "base32",
        Group::Base64 => "base64",
        Group::Divmul32 => "divmul32",
        Group::Divmul64 => "divmul64",
        Group::Atomic32 => "atomic32",
        Group::Atomic64 => "atomic64",
        Group::Packet => "packet",
        Group::Callx => "callx",
        Group::Linux => "linux",
    }
}

const fn cpu(cpu: Cpu) -> &'static str {
    match cpu {
        Cpu::V1 => "v1",
        Cpu::V2 => "v2",
        Cpu::V3 => "v3",
        Cpu::V4 => "v4",
    }
}
