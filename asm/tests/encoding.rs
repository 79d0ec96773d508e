//! Encoder and decoder: inverse to each other, and as strict as the kernel.

use ebpfvm_asm::decode::FieldName;
use ebpfvm_asm::table::{Encoding, Field, Op, TABLE};
use ebpfvm_asm::{ByteOrder, Code, DecodeErrorKind, Insn, Slot, decode, encode};

const REGISTERS: [i32; 3] = [0, 1, 10];
const OFFSETS: [i32; 6] = [0, 1, -1, 8, i16::MIN as i32, i16::MAX as i32];
const IMMEDIATES: [i32; 7] = [0, 1, -1, 8, 0x1234_5678, i32::MIN, i32::MAX];

/// The values of a field to try: all that it may hold if they are few.
fn values(field: Field, edges: &[i32]) -> Vec<i32> {
    match field {
        Field::Is(value) => vec![value],
        Field::OneOf(values) => values.to_vec(),
        Field::Any => edges.to_vec(),
    }
}

/// Every combination of field values of an encoding.
fn slots_of(e: &Encoding) -> Vec<Vec<Slot>> {
    let mut all = Vec::new();
    for dst in values(e.dst, &REGISTERS) {
        for src in values(e.src, &REGISTERS) {
            for offset in values(e.offset, &OFFSETS) {
                for imm in values(e.imm, &IMMEDIATES) {
                    let first = Slot {
                        opcode: e.opcode,
                        dst: dst as u8,
                        src: src as u8,
                        offset: offset as i16,
                        imm,
                    };
                    match e.imm2 {
                        None => all.push(vec![first]),
                        Some(imm2) => {
                            for imm in values(imm2, &IMMEDIATES) {
                                all.push(vec![first, Slot { imm, ..Slot::default() }]);
                            }
                        }
                    }
                }
            }
        }
    }
    all
}

fn all_encodings() -> impl Iterator<Item = (&'static ebpfvm_asm::table::Row, &'static Encoding)> {
    TABLE.iter().flat_map(|row| row.encodings.iter().map(move |e| (row, e)))
}

#[test]
fn decoding_and_encoding_are_inverse() {
    let mut count = 0;
    for (row, encoding) in all_encodings() {
        for slots in slots_of(encoding) {
            let insn = decode(&slots).unwrap_or_else(|e| panic!("{slots:?}: {e}"));
            assert_eq!(insn.op(), row.op, "{slots:?}");
            assert_eq!(insn.slots(), slots.len());
            let (first, second) = encode(&insn).unwrap_or_else(|e| panic!("{insn:?}: {e}"));
            let again: Vec<Slot> = std::iter::once(first).chain(second).collect();
            assert_eq!(again, slots, "{insn:?}");
            for order in [ByteOrder::Little, ByteOrder::Big] {
                let bytes: Vec<u8> = slots.iter().flat_map(|s| s.to_bytes(order)).collect();
                let code = Code::from_bytes(&bytes, order).expect("what was decoded once");
                assert_eq!(code.iter().map(|(_, i)| *i).collect::<Vec<_>>(), [insn]);
                assert_eq!(code.to_bytes(order).as_ref(), Ok(&bytes));
            }
            count += 1;
        }
    }
    assert!(count > 5_000, "only {count} encodings tried");
}

/// The value that a reserved field is set to: one that no operation with the opcode takes there.
fn reserved_value(opcode: u8, field: fn(&Encoding) -> Field, candidates: &[i32]) -> Option<i32> {
    let accepted = |v: i32| {
        all_encodings().filter(|(_, e)| e.opcode == opcode).any(|(_, e)| field(e).accepts(v))
    };
    candidates.iter().copied().find(|v| !accepted(*v))
}

#[test]
fn a_set_reserved_field_is_refused_by_name() {
    let mut refused = 0;
    let mut check = |slots: &[Slot], name: FieldName, value: i32| {
        let error = decode(slots).expect_err("a reserved field is set");
        match &error {
            DecodeErrorKind::Reserved { field, value: found, allowed, .. } => {
                assert_eq!((*field, *found), (name, value), "{slots:?}");
                assert!(!allowed.is_empty() && !allowed.contains(&value), "{slots:?}");
            }
            other => panic!("{slots:?}: {other:?}"),
        }
        let text = error.to_string();
        assert!(text.contains(&format!("{name} is {value}, expected ")), "{text}");
        refused += 1;
    };
    for (_, e) in all_encodings() {
        let slots = slots_of(e).swap_remove(0);
        let with = |change: &dyn Fn(&mut Slot)| {
            let mut slots = slots.clone();
            change(&mut slots[0]);
            slots
        };
        if let Some(v) = reserved_value(e.opcode, |e| e.dst, &[3, 9]) {
            check(&with(&|s| s.dst = v as u8), FieldName::Dst, v);
        }
        if let Some(v) = reserved_value(e.opcode, |e| e.src, &[3, 9]) {
            check(&with(&|s| s.src = v as u8), FieldName::Src, v);
        }
        if let Some(v) = reserved_value(e.opcode, |e| e.offset, &[3, -3]) {
            check(&with(&|s| s.offset = v as i16), FieldName::Offset, v);
        }
        if let Some(v) = reserved_value(e.opcode, |e| e.imm, &[3, -3]) {
            check(&with(&|s| s.imm = v), FieldName::Imm, v);
        }
        let Some(imm2) = e.imm2 else { continue };
        let changes: [fn(&mut Slot); 4] =
            [|s| s.opcode = 7, |s| s.dst = 7, |s| s.src = 7, |s| s.offset = 7];
        for change in changes {
            let mut slots = slots.clone();
            change(&mut slots[1]);
            check(&slots, FieldName::SecondSlot, 7);
        }
        if imm2 != Field::Any {
            let mut slots = slots.clone();
            slots[1].imm = 7;
            check(&slots, FieldName::SecondImm, 7);
        }
        assert_eq!(decode(&slots[..1]), Err(DecodeErrorKind::Truncated));
    }
    assert!(refused > 100, "only {refused} reserved fields tried");
}

#[test]
fn unknown_opcodes_are_refused() {
    let known: std::collections::HashSet<u8> = all_encodings().map(|(_, e)| e.opcode).collect();
    for opcode in 0..=255 {
        let slots = [Slot { opcode, ..Slot::default() }, Slot::default()];
        let unknown = decode(&slots) == Err(DecodeErrorKind::UnknownOpcode(opcode));
        assert_eq!(unknown, !known.contains(&opcode), "opcode {opcode:#04x}");
    }
}

#[test]
fn registers_above_r10_are_refused() {
    for (_, e) in all_encodings() {
        for number in 11..16 {
            let mut slots = slots_of(e).swap_remove(0);
            let kind = |field| Err(DecodeErrorKind::Register { field, value: number });
            if e.dst == Field::Any {
                slots[0].dst = number;
                assert_eq!(decode(&slots), kind(FieldName::Dst));
                slots[0].dst = 0;
            }
            if e.src == Field::Any {
                slots[0].src = number;
                assert_eq!(decode(&slots), kind(FieldName::Src));
            }
        }
    }
}

/// What Linux 6.18 says of field values: `+` it takes them, `-` it calls a field reserved, a
/// register or the opcode unknown. Recorded by loading each instruction among others.
#[test]
fn the_kernel_agrees_about_fields() {
    let mut count = 0;
    let mut wrong = Vec::new();
    for line in include_str!("data/linux-6.18-fields.txt").lines() {
        let Some((verdict @ ("+" | "-"), hex)) = line.split_once(' ') else { continue };
        let bytes: Vec<u8> = (0..hex.len())
            .step_by(2)
            .map(|i| u8::from_str_radix(&hex[i..i + 2], 16).expect("hexadecimal digits"))
            .collect();
        let code = Code::from_bytes(&bytes, ByteOrder::Little);
        let ours = match &code {
            // Reserved in RFC 9669 and a conformance group of its own; Linux does not have it.
            Ok(code) => !code.iter().any(|(_, insn)| insn.op() == Op::CallReg),
            // Linux does not look at the offset of `exit`. RFC 9669, section 3, does.
            Err(_) => {
                let slot = Slot::all_from_bytes(&bytes, ByteOrder::Little).expect("whole slots")[0];
                let plain = Slot { offset: 0, ..slot };
                slot.offset != 0 && decode(&[plain]) == Ok(Insn::Exit)
            }
        };
        if ours != (verdict == "+") {
            wrong.push(format!("{hex}: {verdict} {code:?}"));
        }
        count += 1;
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
    assert!(count > 1000, "only {count} instructions");
}

#[test]
fn every_operation_has_one_row() {
    use ebpfvm_asm::{AluOp, AtomicOp, EndianOp, JmpOp};
    let mut ops: Vec<Op> = TABLE.iter().map(|row| row.op).collect();
    ops.sort_unstable();
    let count = ops.len();
    ops.dedup();
    assert_eq!(ops.len(), count, "an operation has two rows");
    let families = AluOp::ALL
        .map(Op::Alu)
        .into_iter()
        .chain(JmpOp::ALL.map(Op::JumpIf))
        .chain(AtomicOp::ALL.map(Op::Atomic))
        .chain(EndianOp::ALL.map(Op::Endian));
    for op in families {
        assert_eq!(ebpfvm_asm::table::row(op).op, op);
    }
}

/// RFC 9669, section 2.4 and appendix A, for the encodings in which the groups are easily mixed up.
#[test]
fn conformance_groups_are_those_of_the_rfc() {
    use ebpfvm_asm::table::Group::{self, *};
    let group = |opcode: u8, offset: i32, imm: i32| -> Vec<Group> {
        let mut groups: Vec<Group> = all_encodings()
            .map(|(_, e)| e)
            .filter(|e| e.opcode == opcode && e.offset.accepts(offset) && e.imm.accepts(imm))
            .map(|e| e.group)
            .collect();
        groups.dedup();
        groups
    };
    for (opcode, offset, imm, wanted) in [
        (0x05, 1, 0, Base32),
        (0x06, 0, 1, Base32),
        (0x85, 0, 1, Base32),
        (0x95, 0, 0, Base32),
        (0x15, 1, 1, Base64),
        (0x16, 1, 1, Base32),
        (0xd4, 0, 16, Base32),
        (0xdc, 0, 32, Base32),
        (0xd4, 0, 64, Base64),
        (0xd7, 0, 16, Base32),
        (0xd7, 0, 32, Base32),
        (0xd7, 0, 64, Base64),
        (0xbc, 8, 0, Base32),
        (0xbf, 32, 0, Base64),
        (0x24, 0, 1, Divmul32),
        (0x3f, 1, 0, Divmul64),
        (0x18, 0, 1, Base64),
        (0x61, 1, 0, Base32),
        (0x79, 1, 0, Base64),
        (0x91, 1, 0, Base64),
        (0x7a, 1, 1, Base64),
        (0x6b, 1, 0, Base32),
        (0xc3, 1, 0xe1, Atomic32),
        (0xdb, 1, 0xe1, Atomic64),
        (0x30, 0, 1, Packet),
    ] {
        assert_eq!(group(opcode, offset, imm), [wanted], "{opcode:#04x} {offset} {imm}");
    }
}
