//! Maps whose values have locks, timers, counts and pointers, which copies leave alone.

use crate::cases::{Case, Numbers, Order, case, roomy};
use crate::operations::{OPERATIONS, compare};
use ebpfvm_kernel::linux_6_18_or_skip;
use ebpfvm_spec::btf::{
    BtfBuilder, Compound, IntEncoding, Kind, Member, Name, SpecialKind, TypeId,
};
use ebpfvm_spec::{MapFlags, MapType};

/// A struct of these members: types and offsets in bytes.
fn structure(b: &mut BtfBuilder, name: &str, bytes: u32, members: &[(TypeId, u32)]) -> TypeId {
    let member = b.intern("m");
    let member = |(type_id, offset): &(TypeId, u32)| Member {
        name: member,
        type_id: *type_id,
        bit_offset: offset * 8,
        bitfield_bits: 0,
    };
    let members = b.span(members.iter().map(member).collect::<Vec<_>>());
    let name = b.intern(name);
    b.push(name, Kind::Compound { compound: Compound::Struct, bytes, members })
}

/// The type of a field: a struct of the field's name, or a pointer with its tag.
fn field(b: &mut BtfBuilder, kind: SpecialKind, int: TypeId) -> TypeId {
    let tag = match kind {
        SpecialKind::KptrUnref => "kptr_untrusted",
        SpecialKind::KptrRef => "kptr",
        _ => {
            let words = kind.bytes() / 4;
            let array = Kind::Array { element: int, index: int, count: words };
            let array = b.push(Name::EMPTY, array);
            return structure(b, kind.name(), kind.bytes(), &[(array, 0)]);
        }
    };
    let task = structure(b, "task_struct", 8, &[]);
    let tag = b.intern(tag);
    let tagged = b.push(tag, Kind::TypeTag { type_id: task, attribute: false });
    b.push(Name::EMPTY, Kind::Ptr(tagged))
}

/// A map whose values have these fields at these places.
fn typed(mut case: Case, fields: &[(SpecialKind, u32)]) -> Case {
    let mut b = BtfBuilder::new();
    let name = b.intern("int");
    let encoding = IntEncoding { signed: true, ..IntEncoding::default() };
    let int = b.push(name, Kind::Int { bytes: 4, encoding, bit_offset: 0, bits: 32 });
    let members: Vec<(TypeId, u32)> =
        fields.iter().map(|(kind, offset)| (field(&mut b, *kind, int), *offset)).collect();
    let value = structure(&mut b, "value", case.def.value_bytes, &members);
    let types = b.finish().unwrap();
    (case.def.key_type, case.def.value_type) = (Some(int), Some(value));
    case.def.find_special(&types);
    assert_eq!(case.def.special.len(), fields.len(), "{fields:?}");
    case.types = Some(types);
    case
}

/// Every kind that may have fields, every field that programs of it may have and whose content the
/// kernel shows as of a fresh value: a list shows addresses of the kernel's.
pub(crate) fn cases() -> Vec<Case> {
    use MapType::*;
    use SpecialKind::*;
    let array = |bytes| case(Array, 4, bytes, 7, 0, Order::Defined);
    let hash = |bytes| case(Hash, 4, bytes, 16, 0, Order::Free);
    let grown = |bytes| case(Hash, 4, bytes, 16, MapFlags::NO_PREALLOC, Order::Free);
    let lru = |bytes| roomy(case(LruHash, 4, bytes, 4096, 0, Order::Free));
    let mixed = [(SpinLock, 4), (Timer, 8), (Refcount, 28), (KptrRef, 40)];
    vec![
        typed(array(4), &[(SpinLock, 0)]),
        typed(array(24), &[(SpinLock, 0)]),
        typed(array(24), &[(SpinLock, 12)]),
        typed(array(21), &[(SpinLock, 16)]),
        typed(array(51), &mixed),
        typed(array(16), &[(ResSpinLock, 8)]),
        typed(array(32), &[(Workqueue, 8)]),
        typed(array(32), &[(TaskWork, 8)]),
        typed(hash(4), &[(SpinLock, 0)]),
        typed(hash(24), &[(SpinLock, 4)]),
        typed(hash(51), &mixed),
        typed(hash(24), &[(Timer, 0)]),
        typed(grown(24), &[(SpinLock, 8)]),
        typed(grown(51), &mixed),
        typed(lru(51), &mixed[1..]),
        typed(case(PercpuArray, 4, 27, 6, 0, Order::Defined), &[(KptrRef, 8), (Refcount, 16)]),
        typed(case(PercpuHash, 4, 24, 16, 0, Order::Free), &[(KptrUnref, 8)]),
        typed(roomy(case(LruPercpuHash, 4, 24, 4096, 0, Order::Free)), &[(KptrRef, 16)]),
    ]
}

#[test]
fn values_with_fields_are_copied_alike() {
    let Some(kernel) = linux_6_18_or_skip("values_with_fields_are_copied_alike") else { return };
    let mut numbers = Numbers(0x2545_f491_4f6c_dd1d);
    let cases = cases();
    cases.iter().for_each(|case| compare(&kernel, case, &mut numbers));
    eprintln!("{} maps, {} operations on each", cases.len(), 2 * OPERATIONS);
}
