//! Every encoding of the instruction table has a vector of ours that runs it.

use ebpfvm_asm::table::{Encoding, Field, Imm64Kind, Op, TABLE};
use ebpfvm_asm::{Code, Pc, Slot};
use ebpfvm_conformance::runner::vector_files;
use ebpfvm_conformance::{Expected, Vector};
use std::collections::BTreeSet;
use std::path::Path;

/// An operation in one of its forms: the opcode says width, size and source; the selector is the
/// value of the field that says what the opcode does not, such as the size of a byte swap.
type Form = (Op, u8, i32);

/// What a vector cannot hold, since the format has no maps and no kernel types.
const OUT_OF_REACH: &[(Op, &str)] = &[
    (Op::LoadImm(Imm64Kind::MapFd), "needs a map"),
    (Op::LoadImm(Imm64Kind::MapFdValue), "needs a map"),
    (Op::LoadImm(Imm64Kind::MapIdx), "needs a map"),
    (Op::LoadImm(Imm64Kind::MapIdxValue), "needs a map"),
    (Op::LoadImm(Imm64Kind::Variable), "needs the kernel's types"),
    (Op::LoadImm(Imm64Kind::Func), "needs a helper that takes a function"),
    (Op::CallKfunc, "needs the kernel's types"),
    (Op::AddrSpaceCast, "needs an arena map"),
];

/// The value of a field, for those that choose among the encodings of an opcode or within one.
fn selector(encoding: &Encoding, offset: i32, imm: i32) -> i32 {
    match (encoding.offset, encoding.imm) {
        (Field::OneOf(_), _) => offset,
        (_, Field::OneOf(_) | Field::Is(_)) => imm,
        _ => 0,
    }
}

/// All forms of the table.
fn all_forms() -> BTreeSet<Form> {
    let mut forms = BTreeSet::new();
    for row in TABLE {
        for encoding in row.encodings {
            let selectors: &[i32] = match (&encoding.offset, &encoding.imm) {
                (Field::OneOf(values), _) | (_, Field::OneOf(values)) => values,
                (_, Field::Is(value)) => &[*value],
                _ => &[0],
            };
            forms.extend(selectors.iter().map(|s| (row.op, encoding.opcode, *s)));
        }
    }
    forms
}

/// The forms in a program.
fn forms_of(slots: &[Slot], code: &Code) -> Vec<Form> {
    let form = |(pc, op): (Pc, Op)| {
        let slot = &slots[pc.index()];
        let row = TABLE.iter().find(|row| row.op == op).expect("a decoded operation has a row");
        let (offset, imm) = (slot.offset.into(), slot.imm);
        let fits = |e: &&Encoding| {
            e.opcode == slot.opcode && e.offset.accepts(offset) && e.imm.accepts(imm)
        };
        let encoding = row.encodings.iter().find(fits).expect("a decoded opcode has an encoding");
        (op, slot.opcode, selector(encoding, offset, imm))
    };
    code.iter().map(|(pc, insn)| (pc, insn.op())).map(form).collect()
}

fn covered() -> BTreeSet<Form> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors");
    let mut covered = BTreeSet::new();
    for path in vector_files(&dir).unwrap() {
        let vector = Vector::read(&path).unwrap();
        // A program that must be refused runs nothing.
        if let (Ok(slots), Expected::Value(_)) = (&vector.program, &vector.expected) {
            covered.extend(forms_of(slots, &Code::decode(slots).unwrap()));
        }
    }
    covered
}

#[test]
fn every_form_of_every_operation_has_a_vector() {
    let covered = covered();
    let reachable = |form: &&Form| OUT_OF_REACH.iter().all(|(op, _)| *op != form.0);
    let all = all_forms();
    let missing: Vec<&Form> = all.difference(&covered).filter(reachable).collect();
    assert!(missing.is_empty(), "no vector for (operation, opcode, selector) {missing:#?}");
    assert!(covered.iter().all(|form| all.contains(form)));
}

#[test]
fn no_operation_is_excused_without_need() {
    let covered = covered();
    for (op, why) in OUT_OF_REACH {
        assert!(
            covered.iter().all(|form| form.0 != *op),
            "{op:?} has a vector but is excused: {why}"
        );
        assert!(TABLE.iter().any(|row| row.op == *op));
    }
}

#[test]
fn every_vector_says_what_it_tests() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors");
    for path in vector_files(&dir).unwrap() {
        let vector = Vector::read(&path).unwrap();
        assert!(!vector.description.is_empty(), "{}: begins without a comment", path.display());
    }
}
