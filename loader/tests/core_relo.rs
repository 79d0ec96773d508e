//! CO-RE against targets made for the test: the object's own types, types that differ, and the
//! running kernel's.

mod skip;

use ebpfvm_asm::{CallTarget, Insn};
use ebpfvm_loader::core_relo::{CoreKind, CoreProblem, POISON};
use ebpfvm_loader::{LinkOptions, LinkedProgram, LoadError, Object, Problem, parse_btf};
use ebpfvm_spec::btf::{
    Btf, BtfBuilder, Compound, EnumValue, IntEncoding, Kind, Member, Name, TypeId,
};
use skip::skipped;

fn object() -> Object {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/objects/core.o");
    Object::parse(&std::fs::read(path).unwrap(), path).unwrap()
}

fn link(object: &Object, program: &str, target: &Btf) -> Result<LinkedProgram, LoadError> {
    object.link_for(program, &LinkOptions { target_btf: Some(target), ..LinkOptions::default() })
}

/// Each relocation: what it is about, and the answer.
fn answers(linked: &LinkedProgram) -> Vec<(&str, CoreKind, Option<u64>)> {
    linked.core.iter().map(|c| (c.access.as_str(), c.kind, c.after)).collect()
}

/// A target with one struct.
struct Target(BtfBuilder);

impl Target {
    fn new() -> (Target, TypeId) {
        let mut b = BtfBuilder::new();
        let name = b.intern("int");
        let encoding = IntEncoding { signed: true, ..IntEncoding::default() };
        let int = b.push(name, Kind::Int { bytes: 4, encoding, bit_offset: 0, bits: 32 });
        (Target(b), int)
    }

    fn compound(
        &mut self,
        name: &str,
        compound: Compound,
        bytes: u32,
        members: &[(&str, TypeId, u32, u32)],
    ) -> TypeId {
        let members: Vec<Member> = members
            .iter()
            .map(|(name, type_id, bit_offset, bits)| Member {
                name: self.0.intern(name),
                type_id: *type_id,
                bit_offset: *bit_offset,
                bitfield_bits: *bits,
            })
            .collect();
        let members = self.0.span(members);
        let name = self.0.intern(name);
        self.0.push(name, Kind::Compound { compound, bytes, members })
    }
}

#[test]
fn against_the_objects_own_types_nothing_changes() {
    let object = object();
    let own = object.btf().unwrap();
    for program in ["fields", "sizes"] {
        let linked = link(&object, program, own).unwrap();
        assert!(!linked.core.is_empty());
        for outcome in &linked.core {
            assert_eq!(outcome.after, Some(outcome.before), "{outcome:?}");
        }
    }
}

#[test]
fn fields_are_found_where_the_target_has_them() {
    let object = object();
    let (mut t, int) = Target::new();
    // struct inner_t { int x, a, b; }; struct task_struct { int pad[3]; union { struct { int tgid; }; };
    // struct inner_t in[8]; };
    let inner = t.compound(
        "inner_t",
        Compound::Struct,
        12,
        &[("x", int, 0, 0), ("a", int, 32, 0), ("b", int, 64, 0)],
    );
    let nested = t.compound("", Compound::Struct, 4, &[("tgid", int, 0, 0)]);
    let union = t.compound("", Compound::Union, 4, &[("", nested, 0, 0)]);
    let array = t.0.push(Name::EMPTY, Kind::Array { element: inner, index: int, count: 8 });
    let pad = t.0.push(Name::EMPTY, Kind::Array { element: int, index: int, count: 3 });
    t.compound(
        "task_struct___flavour",
        Compound::Struct,
        112,
        &[("pad", pad, 0, 0), ("", union, 96, 0), ("in", array, 128, 0)],
    );
    let target = t.0.finish().unwrap();
    let linked = link(&object, "fields", &target).unwrap();
    let offset = CoreKind::FieldByteOffset;
    let expected = [
        ("struct task_struct.tgid", offset, Some(12)),
        ("struct task_struct.in[2].b", offset, Some(16 + 2 * 12 + 8)),
    ];
    assert_eq!(answers(&linked), expected);
    let loads: Vec<i16> = linked
        .program
        .code
        .iter()
        .filter_map(|(_, i)| match i {
            Insn::Load { size: ebpfvm_asm::Size::W, offset, .. } => Some(*offset),
            _ => None,
        })
        .collect();
    assert_eq!(loads, [12, 48]);
}

#[test]
fn what_the_target_lacks_is_poisoned_or_answered_with_no() {
    let object = object();
    let (mut t, int) = Target::new();
    t.compound("task_struct", Compound::Struct, 4, &[("other", int, 0, 0)]);
    let target = t.0.finish().unwrap();
    let linked = link(&object, "fields", &target).unwrap();
    assert!(linked.core.iter().all(|c| c.after.is_none()));
    let bad = Insn::Call { target: CallTarget::Helper(POISON as u32) };
    assert_eq!(linked.program.code.iter().filter(|(_, i)| **i == bad).count(), 2);

    let linked = link(&object, "sizes", &target).unwrap();
    let by_kind = |kind| linked.core.iter().find(|c| c.kind == kind).unwrap().after;
    assert_eq!(by_kind(CoreKind::FieldExists), Some(0));
    assert_eq!(by_kind(CoreKind::TypeExists), Some(1));
    assert_eq!(by_kind(CoreKind::TypeSize), Some(4));
    assert_eq!(by_kind(CoreKind::FieldByteSize), None);
    assert_eq!(by_kind(CoreKind::EnumeratorValue), None);
}

#[test]
fn enumerators_are_found_by_name() {
    let object = object();
    let (mut t, int) = Target::new();
    t.compound("task_struct", Compound::Struct, 4, &[("pid", int, 0, 0)]);
    let values = ["STATE_X", "STATE_B"].map(|n| t.0.intern(n));
    let values: Vec<EnumValue> =
        (6..).zip(values).map(|(value, name)| EnumValue { name, value }).collect();
    let values = t.0.span(values);
    let name = t.0.intern("state");
    t.0.push(name, Kind::Enum { is_64: false, bytes: 4, signed: false, values });
    let target = t.0.finish().unwrap();
    let linked = link(&object, "sizes", &target).unwrap();
    let found = linked.core.iter().find(|c| c.kind == CoreKind::EnumeratorValue).unwrap();
    assert_eq!((found.access.as_str(), found.after), ("enum state::STATE_B", Some(7)));
}

#[test]
fn an_ambiguous_target_is_an_error() {
    let object = object();
    let (mut t, int) = Target::new();
    t.compound("task_struct", Compound::Struct, 4, &[("tgid", int, 0, 0)]);
    t.compound("task_struct___2", Compound::Struct, 8, &[("x", int, 0, 0), ("tgid", int, 32, 0)]);
    let target = t.0.finish().unwrap();
    let error = link(&object, "fields", &target).unwrap_err();
    assert!(matches!(
        &*error.problem,
        Problem::Core { problem: CoreProblem::Ambiguous { .. }, .. }
    ));
    let text = error.to_string();
    assert!(text.contains("section 'raw_tp/x', offset"), "{text}");
    assert!(text.contains("struct task_struct.tgid (offset of a field): ambiguous"), "{text}");
}

#[test]
fn the_running_kernel_is_a_target() {
    let Ok(bytes) = std::fs::read("/sys/kernel/btf/vmlinux") else {
        skipped("the_running_kernel_is_a_target", "no kernel BTF");
        return;
    };
    let target = parse_btf(&bytes, None).unwrap();
    let linked = link(&object(), "fields", &target).unwrap();
    let [tgid, inner] = linked.core.as_slice() else { panic!("{:?}", linked.core) };
    assert!(tgid.after.is_some_and(|a| a > tgid.before), "{tgid:?}");
    assert_eq!(inner.after, None, "no kernel has it");
}
