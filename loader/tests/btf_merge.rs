//! Writing types to bytes, and merging sets of them.

mod skip;

use ebpfvm_asm::ByteOrder;
use ebpfvm_loader::btf::c;
use ebpfvm_loader::btf::dedup::{Merged, dedup, merge};
use ebpfvm_loader::{Object, encode_btf, parse_btf};
use ebpfvm_spec::btf::{
    Btf, BtfBuilder, Compound, EnumValue, IntEncoding, Kind, KindTag, Linkage, Member, Name, Param,
    SectionVar, TypeId,
};
use proptest::prelude::*;
use skip::skipped;
use std::time::{Duration, Instant};

const OBJECTS: [&str; 8] =
    ["calls", "calls_be", "core", "data", "data_be", "maps", "sections", "values"];

fn object(name: &str) -> Object {
    let path = format!("{}/tests/objects/{name}.o", env!("CARGO_MANIFEST_DIR"));
    Object::parse(&std::fs::read(&path).unwrap(), &path).unwrap()
}

/// What a set says, names as texts.
fn described(btf: &Btf) -> Vec<String> {
    btf.iter().map(|(id, _)| shown(btf, id)).collect()
}

fn shown(btf: &Btf, id: TypeId) -> String {
    let t = btf.get(id).unwrap();
    let list = match t.kind {
        Kind::Compound { members, .. } => format!("{:?}", btf.list(members)),
        Kind::Enum { values, .. } => format!("{:?}", btf.list(values)),
        Kind::FuncProto { params, .. } => format!("{:?}", btf.list(params)),
        Kind::Datasec { vars, .. } => format!("{:?}", btf.list(vars)),
        kind => format!("{kind:?}"),
    };
    let mut names = Vec::new();
    btf.each_name(t.kind, |n| names.push(btf.str(n)));
    // The texts are listed instead.
    let list = without(&list, "name: Name(");
    format!("{:?} {} {:?} {list} {names:?}", t.kind.tag(), btf.str(t.name), btf.size_of(id).ok())
}

/// A text without the numbers that follow a marker.
fn without(text: &str, marker: &str) -> String {
    let digits = |part: &str| part.trim_start_matches(|c: char| c.is_ascii_digit()).to_string();
    let mut parts = text.split(marker);
    let first = parts.next().unwrap_or_default().to_string();
    std::iter::once(first).chain(parts.map(digits)).collect()
}

#[test]
fn what_was_read_is_written() {
    for name in OBJECTS {
        let object = object(name);
        let btf = object.btf().unwrap();
        for order in [ByteOrder::Little, ByteOrder::Big] {
            let bytes = encode_btf(btf, order).unwrap();
            let again = parse_btf(&bytes, None).unwrap();
            assert_eq!(described(btf), described(&again), "{name}");
            assert_eq!(encode_btf(&again, order).unwrap(), bytes, "{name}");
        }
    }
}

#[test]
fn a_split_set_is_written_without_its_base() {
    let base = std::sync::Arc::new(
        parse_btf(&encode_btf(&pair(true), ByteOrder::Little).unwrap(), None).unwrap(),
    );
    let mut b = BtfBuilder::with_strings(String::new(), Some(base.clone()));
    let name = b.intern("more");
    b.push(name, Kind::Typedef(TypeId(1)));
    let split = b.finish().unwrap();
    let bytes = encode_btf(&split, ByteOrder::Big).unwrap();
    assert_eq!(bytes.len(), 24 + 12 + 5);
    let again = parse_btf(&bytes, Some(base)).unwrap();
    assert_eq!(described(&split), described(&again));
}

#[test]
fn the_kernels_types_are_written_and_found_to_be_without_twins() {
    const PATH: &str = "/sys/kernel/btf/vmlinux";
    let Ok(bytes) = std::fs::read(PATH) else {
        skipped(
            "the_kernels_types_are_written_and_found_to_be_without_twins",
            &format!("cannot read {PATH}"),
        );
        return;
    };
    let btf = parse_btf(&bytes, None).unwrap();
    let start = Instant::now();
    let written = encode_btf(&btf, ByteOrder::Little).unwrap();
    let (wrote, start) = (start.elapsed(), Instant::now());
    assert!(written == bytes, "{} bytes, {} written", bytes.len(), written.len());
    let merged = merge(&[&btf, &btf]).unwrap();
    println!(
        "{} types: written in {wrote:?}; twice, merged in {:?} to {}",
        btf.len(),
        start.elapsed(),
        merged.btf.len()
    );
    let is_place = |k: Kind| matches!(k, Kind::Var { .. } | Kind::Datasec { .. });
    let types = |btf: &Btf| btf.iter().filter(|(_, t)| !is_place(t.kind)).count();
    // pahole leaves a few twins.
    assert!(types(&merged.btf) <= types(&btf) && types(&merged.btf) > types(&btf) * 9 / 10);
    for (id, t) in btf.iter() {
        let new = merged.ids.get(0, id).unwrap();
        if !is_place(t.kind) {
            assert_eq!(merged.ids.get(1, id), Some(new));
        }
        assert_eq!(btf.name(id), merged.btf.name(new));
        assert_eq!(btf.size_of(id), merged.btf.size_of(new));
    }
}

/// `struct pair { struct other *other; int a; }` and `struct other`, defined or only declared.
fn pair(defined: bool) -> Btf {
    let mut b = BtfBuilder::new();
    let (int, pair, other) = (b.intern("int"), b.intern("pair"), b.intern("other"));
    let (a, back) = (b.intern("a"), b.intern("back"));
    let encoding = IntEncoding { signed: true, ..IntEncoding::default() };
    let int = b.push(int, Kind::Int { bytes: 4, encoding, bit_offset: 0, bits: 32 });
    let member = |name, type_id, bit_offset| Member { name, type_id, bit_offset, bitfield_bits: 0 };
    let members = b.span([member(other, TypeId(3), 0), member(a, int, 64)]);
    b.push(pair, Kind::Compound { compound: Compound::Struct, bytes: 16, members });
    b.push(Name::EMPTY, Kind::Ptr(TypeId(4)));
    if defined {
        let members = b.span([member(back, TypeId(5), 0)]);
        b.push(other, Kind::Compound { compound: Compound::Struct, bytes: 8, members });
        b.push(Name::EMPTY, Kind::Ptr(TypeId(2)));
    } else {
        b.push(other, Kind::Fwd(Compound::Struct));
    }
    b.finish().unwrap()
}

#[test]
fn structs_that_refer_to_each_other_are_one_and_declarations_become_them() {
    let (full, declared) = (pair(true), pair(false));
    for sets in [[&full, &declared], [&declared, &full]] {
        let merged = merge(&sets).unwrap();
        // void, int, pair, other, and a pointer to each.
        assert_eq!(merged.btf.len(), 6, "{:?}", described(&merged.btf));
        assert_eq!(merged.ids.get(0, TypeId(2)), merged.ids.get(1, TypeId(2)));
        let other = merged.ids.get(1, TypeId(4)).unwrap();
        assert_eq!(merged.btf.kind(other).unwrap().tag(), KindTag::Struct);
        assert_eq!(merged.btf.named("other").count(), 1);
    }
    assert_eq!(dedup(&declared).unwrap().btf.len(), declared.len());
}

/// A set with `struct name { int field; }`, or its declaration, and a pointer to it.
fn one(name: &str, field: Option<&str>) -> Btf {
    let mut b = BtfBuilder::new();
    let (int, name) = (b.intern("int"), b.intern(name));
    let int = b.push(
        int,
        Kind::Int { bytes: 4, encoding: IntEncoding::default(), bit_offset: 0, bits: 32 },
    );
    let kind = match field {
        Some(field) => {
            let member = b.intern(field);
            let members =
                b.span([Member { name: member, type_id: int, bit_offset: 0, bitfield_bits: 0 }]);
            Kind::Compound { compound: Compound::Struct, bytes: 4, members }
        }
        None => Kind::Fwd(Compound::Struct),
    };
    let id = b.push(name, kind);
    b.push(Name::EMPTY, Kind::Ptr(id));
    b.finish().unwrap()
}

#[test]
fn a_declaration_of_two_different_things_stays() {
    let (a, b, declared) = (one("s", Some("a")), one("s", Some("b")), one("s", None));
    let merged = merge(&[&a, &b, &declared]).unwrap();
    let kind = |set| merged.btf.kind(merged.ids.get(set, TypeId(2)).unwrap()).unwrap().tag();
    assert_eq!([kind(0), kind(1), kind(2)], [KindTag::Struct, KindTag::Struct, KindTag::Fwd]);
    let twice = merge(&[&a, &a, &declared]).unwrap();
    assert_eq!(twice.btf.len(), a.len());
}

#[test]
fn variables_and_sections_are_kept_apart() {
    let set = || {
        let mut b = BtfBuilder::new();
        let (int, x, data) = (b.intern("int"), b.intern("x"), b.intern(".data"));
        let int = b.push(
            int,
            Kind::Int { bytes: 4, encoding: IntEncoding::default(), bit_offset: 0, bits: 32 },
        );
        let var = b.push(x, Kind::Var { type_id: int, linkage: Linkage::Static });
        let vars = b.span([SectionVar { type_id: var, offset: 0, bytes: 4 }]);
        b.push(data, Kind::Datasec { bytes: 4, vars });
        b.finish().unwrap()
    };
    let merged = merge(&[&set(), &set()]).unwrap();
    assert_eq!(merged.btf.len(), 1 + 1 + 4);
    assert_eq!(merged.btf.own_strings(), "\0int\0x\0.data\0");
}

#[test]
fn a_chain_of_ambiguous_declarations_ends() {
    // Two files, each with structs s0 to s99; the last ones differ, and each is told apart only once the
    // declaration of the next is.
    let file = |differs: bool| {
        let mut b = BtfBuilder::new();
        let names: Vec<Name> = (0..100).map(|i| b.intern(&format!("s{i}"))).collect();
        let (next, last) = (b.intern("next"), b.intern(if differs { "a" } else { "b" }));
        let member = |name, type_id| Member { name, type_id, bit_offset: 0, bitfield_bits: 0 };
        // For each: the struct, a pointer to the next one's declaration, that declaration.
        for (i, name) in (0..).zip(&names) {
            let to = TypeId(3 * i + 2);
            let members = b.span([member(if i == 99 { last } else { next }, to)]);
            b.push(*name, Kind::Compound { compound: Compound::Struct, bytes: 8, members });
            b.push(Name::EMPTY, Kind::Ptr(TypeId(3 * i + 3)));
            b.push(names[(i as usize + 1) % 100], Kind::Fwd(Compound::Struct));
        }
        b.finish().unwrap()
    };
    let merged = merge(&[&file(false), &file(true)]).unwrap();
    assert_eq!(
        merged
            .btf
            .named("s99")
            .filter(|id| merged.btf.kind(*id).unwrap().tag() == KindTag::Struct)
            .count(),
        2
    );
}

#[test]
fn names_that_share_bytes_are_refused() {
    let long: Vec<String> = (0..20_000).map(|i| i.to_string()).collect();
    let mut b = BtfBuilder::with_strings(format!("\0{}\0", long.concat()), None);
    for i in 1..40_000 {
        b.push(Name(i), Kind::Fwd(Compound::Struct));
    }
    let error = dedup(&b.finish().unwrap()).map(|m| m.btf).unwrap_err();
    assert_eq!(error.to_string(), "names share the bytes of their texts, expected separate texts");
}

#[test]
fn long_chains_and_rings_take_no_long() {
    let mut b = BtfBuilder::new();
    const N: u32 = 200_000;
    // A chain of pointers into the void, and a ring of qualifiers of which one is another.
    b.push(Name::EMPTY, Kind::Ptr(TypeId::VOID));
    for i in 1..N {
        b.push(Name::EMPTY, Kind::Ptr(TypeId(i)));
    }
    for i in 0..N {
        let to = TypeId(N + 1 + (i + 1) % N);
        b.push(Name::EMPTY, if i == 0 { Kind::Volatile(to) } else { Kind::Const(to) });
    }
    let set = b.finish().unwrap();
    let start = Instant::now();
    assert_eq!(merge(&[&set, &set]).unwrap().btf.len(), set.len());
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
}

/// A type of a random set, whose references are taken modulo the number of types.
#[derive(Clone, Debug)]
enum Plan {
    Int(u32),
    Ptr(u32),
    Array(u32, u32),
    Struct(u8, Vec<(u8, u32)>),
    Enum(u8, Vec<i64>),
    Fwd(u8),
    Typedef(u8, u32),
    Const(u32),
    Proto(u32, Vec<u32>),
    Func(u8, u32),
    Var(u8, u32),
    Tag(u8, u32),
}

fn plan() -> impl Strategy<Value = Plan> {
    let r = 0u32..64;
    let name = 0u8..4;
    prop_oneof![
        (0u32..3).prop_map(Plan::Int),
        r.clone().prop_map(Plan::Ptr),
        (r.clone(), 0u32..3).prop_map(|(t, n)| Plan::Array(t, n)),
        (name.clone(), prop::collection::vec((0u8..3, r.clone()), 0..3))
            .prop_map(|(n, m)| Plan::Struct(n, m)),
        (name.clone(), prop::collection::vec(-2i64..2, 0..3)).prop_map(|(n, v)| Plan::Enum(n, v)),
        name.clone().prop_map(Plan::Fwd),
        (name.clone(), r.clone()).prop_map(|(n, t)| Plan::Typedef(n, t)),
        r.clone().prop_map(Plan::Const),
        (r.clone(), prop::collection::vec(r.clone(), 0..3)).prop_map(|(t, p)| Plan::Proto(t, p)),
        (name.clone(), r.clone()).prop_map(|(n, t)| Plan::Func(n, t)),
        (name.clone(), r.clone()).prop_map(|(n, t)| Plan::Var(n, t)),
        (name, r).prop_map(|(n, t)| Plan::Tag(n, t)),
    ]
}

fn build(plans: &[Plan]) -> Btf {
    let mut b = BtfBuilder::new();
    let names: Vec<Name> = ["", "a", "b", "c"].iter().map(|n| b.intern(n)).collect();
    let count = plans.len() as u32 + 1;
    let id = |n: &u32| TypeId(n % count);
    let name = |n: &u8| names[usize::from(*n)];
    for plan in plans {
        let (label, kind) = match plan {
            Plan::Int(n) => {
                let bytes = 1 << n;
                let encoding = IntEncoding { signed: true, ..IntEncoding::default() };
                (names[1], Kind::Int { bytes, encoding, bit_offset: 0, bits: bytes as u8 * 8 })
            }
            Plan::Ptr(t) => (Name::EMPTY, Kind::Ptr(id(t))),
            Plan::Array(t, count) => {
                (Name::EMPTY, Kind::Array { element: id(t), index: id(t), count: *count })
            }
            Plan::Struct(n, m) => {
                let members = b.span((0..).zip(m).map(|(i, (n, t))| Member {
                    name: name(n),
                    type_id: id(t),
                    bit_offset: 64 * i,
                    bitfield_bits: 0,
                }));
                let bytes = 8 * m.len() as u32;
                (name(n), Kind::Compound { compound: Compound::Struct, bytes, members })
            }
            Plan::Enum(n, v) => {
                let values = b.span(v.iter().map(|v| EnumValue { name: names[2], value: *v }));
                (name(n), Kind::Enum { is_64: v.len() == 2, bytes: 4, signed: true, values })
            }
            Plan::Fwd(n) => (name(n), Kind::Fwd(Compound::Struct)),
            Plan::Typedef(n, t) => (name(n), Kind::Typedef(id(t))),
            Plan::Const(t) => (Name::EMPTY, Kind::Const(id(t))),
            Plan::Proto(t, p) => {
                let params = b.span(p.iter().map(|t| Param { name: Name::EMPTY, type_id: id(t) }));
                (Name::EMPTY, Kind::FuncProto { ret: id(t), params })
            }
            Plan::Func(n, t) => (name(n), Kind::Func { proto: id(t), linkage: Linkage::Global }),
            Plan::Var(n, t) => (name(n), Kind::Var { type_id: id(t), linkage: Linkage::Static }),
            Plan::Tag(n, t) => (
                name(n),
                Kind::DeclTag {
                    type_id: id(t),
                    component: (*n > 1).then_some(*n as u32),
                    attribute: false,
                },
            ),
        };
        b.push(label, kind);
    }
    b.finish().unwrap()
}

/// Whether two types are the same to some depth, a declaration being whatever it declares.
fn alike(a: (&Btf, TypeId), b: (&Btf, TypeId), depth: u32) -> bool {
    let (s, t) = (a.0.get(a.1).unwrap(), b.0.get(b.1).unwrap());
    let enum_of_none = |k: Kind| matches!(k, Kind::Enum { values, .. } if values.is_empty());
    if matches!(s.kind, Kind::Fwd(_)) || enum_of_none(s.kind) {
        return a.0.str(s.name) == b.0.str(t.name);
    }
    // The ids differ, the rest may not.
    let plain = |btf: &Btf, id| {
        let t = btf.get(id).unwrap();
        match t.kind {
            Kind::Compound { .. } | Kind::Enum { .. } => without(&shown(btf, id), "type_id: ["),
            _ => format!("{:?} {}", t.kind.tag(), btf.str(t.name)),
        }
    };
    if plain(a.0, a.1) != plain(b.0, b.1) {
        return false;
    }
    if depth == 0 {
        return true;
    }
    let references = |btf: &Btf, kind| {
        let mut ids = Vec::new();
        btf.each_reference(kind, |id| ids.push(id));
        ids
    };
    let (left, right) = (references(a.0, s.kind), references(b.0, t.kind));
    left.len() == right.len()
        && left.iter().zip(&right).all(|(l, r)| alike((a.0, *l), (b.0, *r), depth - 1))
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 1000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn sets_survive_writing_and_reading(plans in prop::collection::vec(plan(), 0..24)) {
        let set = build(&plans);
        for order in [ByteOrder::Little, ByteOrder::Big] {
            let again = parse_btf(&encode_btf(&set, order).unwrap(), None).unwrap();
            prop_assert_eq!(described(&set), described(&again));
        }
    }

    #[test]
    fn merging_keeps_every_type_and_merging_again_changes_nothing(
        first in prop::collection::vec(plan(), 0..16),
        second in prop::collection::vec(plan(), 0..16),
    ) {
        let sets = [&build(&first), &build(&second)];
        let Merged { btf, ids } = merge(&sets).unwrap();
        for (set, old) in sets.iter().enumerate() {
            for (id, _) in old.iter() {
                let new = ids.get(set, id).unwrap();
                prop_assert!(alike((old, id), (&btf, new), 4), "{} {}", shown(old, id), shown(&btf, new));
            }
            prop_assert_eq!(ids.get(set, TypeId(old.len() as u32)), None);
        }
        let again = dedup(&btf).unwrap();
        prop_assert_eq!(described(&btf), described(&again.btf));
        prop_assert!(btf.iter().all(|(id, _)| again.ids.get(0, id) == Some(id)));
        // Which set comes first does not matter to what there is.
        let turned = merge(&[sets[1], sets[0]]).unwrap();
        prop_assert_eq!(turned.btf.len(), btf.len());
    }
}

#[test]
fn merged_types_read_as_before_in_c() {
    for name in OBJECTS {
        let object = object(name);
        let btf = object.btf().unwrap();
        let merged = dedup(btf).unwrap();
        assert_eq!(c::header(btf).unwrap(), c::header(&merged.btf).unwrap(), "{name}");
        println!("{name}: {} types, {} after", btf.len(), merged.btf.len());
    }
}
