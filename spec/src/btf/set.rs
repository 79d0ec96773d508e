//! A set of types, and how one is made.

use super::{EnumValue, Kind, KindTag, Member, Name, Param, SectionVar, Span, Type, TypeId};
use std::fmt;
use std::sync::{Arc, OnceLock};

/// Types that refer to each other by id.
///
/// A set may stand on a base (split BTF): its ids, names and lists then go on where the base's end,
/// and everything of the base is reachable through it.
#[derive(Clone)]
pub struct Btf {
    base: Option<Arc<Btf>>,
    strings: String,
    types: Vec<Type>,
    pools: Pools,
    start: Start,
    by_name: OnceLock<Vec<u64>>,
}

mod sealed {
    use super::{EnumValue, Member, Param, SectionVar};

    /// Where the own part of a set begins, after its base.
    #[derive(Clone, Copy, Debug, Default)]
    pub struct Start {
        pub types: u32,
        pub strings: u32,
        pub members: u32,
        pub params: u32,
        pub values: u32,
        pub vars: u32,
    }

    #[derive(Clone, Default)]
    pub struct Pools {
        pub members: Vec<Member>,
        pub params: Vec<Param>,
        pub values: Vec<EnumValue>,
        pub vars: Vec<SectionVar>,
    }

    pub trait Pooled: Copy + Sized {
        fn pool(pools: &Pools) -> &Vec<Self>;
        fn pool_mut(pools: &mut Pools) -> &mut Vec<Self>;
        fn start(start: &Start) -> u32;
    }
}

use sealed::{Pools, Start};

/// Elements of the lists of a type: [`Member`], [`Param`], [`EnumValue`], [`SectionVar`].
pub trait Listed: sealed::Pooled {}

macro_rules! pooled {
    ($($element:ty: $field:ident;)*) => {$(
        impl sealed::Pooled for $element {
            fn pool(pools: &Pools) -> &Vec<Self> {
                &pools.$field
            }
            fn pool_mut(pools: &mut Pools) -> &mut Vec<Self> {
                &mut pools.$field
            }
            fn start(start: &Start) -> u32 {
                start.$field
            }
        }
        impl Listed for $element {}
    )*};
}

pooled! {
    Member: members;
    Param: params;
    EnumValue: values;
    SectionVar: vars;
}

/// FNV-1a over the name: spreads identifiers well enough to make equal hashes rare.
fn hash(name: &str) -> u32 {
    name.bytes().fold(0x811c_9dc5, |h, b| (h ^ u32::from(b)).wrapping_mul(0x0100_0193))
}

/// A name without its flavour: what stands before the last `___` between other characters
/// (`bpf_core_essential_name_len` of libbpf).
pub fn essential_name(name: &str) -> &str {
    let b = name.as_bytes();
    let is_separator = |i: &usize| b[*i] != b'_' && &b[i + 1..i + 4] == b"___" && b[i + 4] != b'_';
    match (0..b.len().saturating_sub(4)).rev().find(is_separator) {
        // What follows is an underscore, so this is the end of a character.
        Some(i) => &name[..i + 1],
        None => name,
    }
}

impl Btf {
    /// The type with this id.
    pub fn get(&self, id: TypeId) -> Option<Type> {
        match (&self.base, id.0.checked_sub(self.start.types)) {
            (Some(base), None) => base.get(id),
            (_, own) => self.types.get(own? as usize).copied(),
        }
    }

    /// What the type with this id is.
    pub fn kind(&self, id: TypeId) -> Option<Kind> {
        self.get(id).map(|t| t.kind)
    }

    /// The text of a name; empty for a name that is not of this set.
    pub fn str(&self, name: Name) -> &str {
        match (&self.base, name.0.checked_sub(self.start.strings)) {
            (Some(base), None) => base.str(name),
            (_, own) => own.map_or("", |offset| text_at(&self.strings, offset)),
        }
    }

    /// The name of the type with this id; empty for anonymous and unknown types.
    pub fn name(&self, id: TypeId) -> &str {
        self.get(id).map_or("", |t| self.str(t.name))
    }

    /// The elements of a list of one of the types.
    pub fn list<T: Listed>(&self, span: Span<T>) -> &[T] {
        match (&self.base, span.start.checked_sub(T::start(&self.start))) {
            (Some(base), None) => base.list(span),
            (_, own) => own
                .and_then(|start| {
                    let start = start as usize;
                    T::pool(&self.pools).get(start..start.checked_add(span.len())?)
                })
                .unwrap_or(&[]),
        }
    }

    /// The number of types, `void` and the base's included: one more than the highest id.
    pub fn len(&self) -> usize {
        self.start.types as usize + self.types.len()
    }

    /// Whether there is no type but `void`.
    pub fn is_empty(&self) -> bool {
        self.len() <= 1
    }

    /// The size of the string table in bytes, the base's included.
    pub fn string_bytes(&self) -> usize {
        self.start.strings as usize + self.strings.len()
    }

    /// The own part of the string table, without the base's: what names from the base's
    /// [`Btf::string_bytes`] on are offsets into.
    pub fn own_strings(&self) -> &str {
        &self.strings
    }

    /// The set this one goes on from.
    pub fn base(&self) -> Option<&Arc<Btf>> {
        self.base.as_ref()
    }

    /// The lowest id that is not the base's: 0 without a base.
    pub fn first_own(&self) -> TypeId {
        TypeId(self.start.types)
    }

    /// All types with their ids, `void` first, then the base's.
    pub fn iter(&self) -> impl Iterator<Item = (TypeId, Type)> + '_ {
        (0..self.len() as u32).filter_map(|i| Some((TypeId(i), self.get(TypeId(i))?)))
    }

    /// The own types with their ids, without the base's.
    pub fn iter_own(&self) -> impl Iterator<Item = (TypeId, Type)> + '_ {
        (self.start.types..).zip(&self.types).map(|(i, t)| (TypeId(i), *t))
    }

    /// The ids of the types with this name, lowest first; the base's come first.
    pub fn named<'a>(&'a self, name: &'a str) -> Box<dyn Iterator<Item = TypeId> + 'a> {
        let own = self.own_named(name);
        match &self.base {
            Some(base) => Box::new(base.named(name).chain(own)),
            None => Box::new(own),
        }
    }

    /// The ids of the types whose names are `essential` or a flavour of it, lowest first; the
    /// base's come first.
    pub fn flavours<'a>(&'a self, essential: &'a str) -> Box<dyn Iterator<Item = TypeId> + 'a> {
        let own = self
            .own_indexed(essential)
            .filter(move |id| essential_name(self.name(*id)) == essential);
        match &self.base {
            Some(base) => Box::new(base.flavours(essential).chain(own)),
            None => Box::new(own),
        }
    }

    fn own_named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = TypeId> + 'a {
        self.own_indexed(essential_name(name)).filter(move |id| self.name(*id) == name)
    }

    /// Types whose essential names have the hash of this one.
    fn own_indexed<'a>(&'a self, essential: &str) -> impl Iterator<Item = TypeId> + use<'a> {
        let index = self.by_name.get_or_init(|| self.make_index());
        let key = u64::from(hash(essential)) << 32;
        let first = index.partition_point(|e| *e < key);
        index[first..].iter().take_while(move |e| **e >> 32 == key >> 32).map(|e| TypeId(*e as u32))
    }

    /// Hash of the essential name in the upper, id in the lower half, sorted: one allocation, no copies of names.
    fn make_index(&self) -> Vec<u64> {
        let mut index: Vec<u64> = self
            .iter_own()
            .filter(|(_, t)| !t.name.is_empty())
            .map(|(id, t)| {
                u64::from(hash(essential_name(self.str(t.name)))) << 32 | u64::from(id.0)
            })
            .collect();
        index.sort_unstable();
        index
    }

    /// The first type with this name and kind.
    pub fn find(&self, name: &str, tag: KindTag) -> Option<TypeId> {
        self.named(name).find(|id| self.kind(*id).is_some_and(|k| k.tag() == tag))
    }
}

impl fmt::Debug for Btf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Btf({} types)", self.len())
    }
}

/// Longest text that is read, in bytes; what is beyond is cut off. Identifiers of the kernel have at
/// most 511. A table without zero bytes thus cannot make each of many names cost its whole length.
pub const MAX_TEXT_BYTES: usize = 4096;

fn text_at(strings: &str, offset: u32) -> &str {
    let Some(rest) = strings.get(offset as usize..) else { return "" };
    let mut end = rest
        .bytes()
        .take(MAX_TEXT_BYTES)
        .position(|b| b == 0)
        .unwrap_or(rest.len().min(MAX_TEXT_BYTES));
    while !rest.is_char_boundary(end) {
        end -= 1;
    }
    &rest[..end]
}

/// Why types do not make a set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BtfError {
    /// A type refers to an id that there is not.
    #[error("type {id} '{name}' refers to type {refers_to}, but the highest id is {highest}")]
    TypeOutOfRange {
        /// The type that refers.
        id: TypeId,
        /// Its name.
        name: String,
        /// The id it names.
        refers_to: TypeId,
        /// The highest id of the set.
        highest: u32,
    },
    /// A name lies outside the string table or within a character.
    #[error("type {id} has a name at offset {offset}, outside the {bytes} bytes of strings")]
    NameOutOfRange {
        /// The type, or the one whose member it is.
        id: TypeId,
        /// Offset into the string table.
        offset: u32,
        /// Size of the string table, the base's included.
        bytes: u32,
    },
}

/// Collects the types of a [`Btf`].
#[derive(Debug)]
pub struct BtfBuilder {
    btf: Btf,
}

impl BtfBuilder {
    /// An empty set with `void`.
    pub fn new() -> BtfBuilder {
        BtfBuilder::with_strings("\0".into(), None)
    }

    /// A set whose names are offsets into `strings`, NUL-terminated texts, on top of `base`.
    pub fn with_strings(strings: String, base: Option<Arc<Btf>>) -> BtfBuilder {
        let start = base.as_deref().map(Btf::end).unwrap_or_default();
        let void = Type { name: Name::EMPTY, kind: Kind::Void };
        let types = if base.is_some() { Vec::new() } else { vec![void] };
        BtfBuilder {
            btf: Btf {
                base,
                strings,
                types,
                pools: Pools::default(),
                start,
                by_name: OnceLock::new(),
            },
        }
    }

    /// Adds a text to the string table.
    pub fn intern(&mut self, text: &str) -> Name {
        if text.is_empty() {
            return Name::EMPTY;
        }
        let name = Name(self.btf.start.strings + self.btf.strings.len() as u32);
        self.btf.strings.push_str(text);
        self.btf.strings.push('\0');
        name
    }

    /// Stores a list for a kind that has one.
    pub fn span<T: Listed>(&mut self, elements: impl IntoIterator<Item = T>) -> Span<T> {
        let first = T::start(&self.btf.start);
        let pool = T::pool_mut(&mut self.btf.pools);
        let before = pool.len();
        pool.extend(elements);
        Span {
            start: first + before as u32,
            len: (pool.len() - before) as u32,
            of: std::marker::PhantomData,
        }
    }

    /// Adds a type and returns its id.
    pub fn push(&mut self, name: Name, kind: Kind) -> TypeId {
        let id = TypeId(self.btf.len() as u32);
        self.btf.types.push(Type { name, kind });
        id
    }

    /// Replaces one of the own types.
    ///
    /// # Panics
    /// If `id` is not of this builder.
    pub fn replace(&mut self, id: TypeId, kind: Kind) {
        self.btf.types[(id.0 - self.btf.start.types) as usize].kind = kind;
    }

    /// The set as it is so far; references are not checked yet.
    pub fn so_far(&self) -> &Btf {
        &self.btf
    }

    /// Checks all references and ends the collection.
    ///
    /// # Errors
    /// The first type or name that is referred to but is not there.
    pub fn finish(mut self) -> Result<Btf, BtfError> {
        self.btf.by_name = OnceLock::new();
        let btf = &self.btf;
        let highest = btf.len() as u32 - 1;
        for (id, t) in btf.iter_own() {
            btf.check_name(id, t.name)?;
            let mut wrong = Ok(());
            btf.each_name(t.kind, |name| {
                if wrong.is_ok() {
                    wrong = btf.check_name(id, name);
                }
            });
            wrong?;
            let mut missing = None;
            btf.each_reference(t.kind, |to| {
                if to.0 > highest {
                    missing.get_or_insert(to);
                }
            });
            if let Some(refers_to) = missing {
                let name = btf.str(t.name).to_string();
                return Err(BtfError::TypeOutOfRange { id, name, refers_to, highest });
            }
        }
        Ok(self.btf)
    }
}

impl Default for BtfBuilder {
    fn default() -> BtfBuilder {
        BtfBuilder::new()
    }
}

impl Btf {
    fn end(&self) -> Start {
        Start {
            types: self.len() as u32,
            strings: self.start.strings + self.strings.len() as u32,
            members: self.start.members + self.pools.members.len() as u32,
            params: self.start.params + self.pools.params.len() as u32,
            values: self.start.values + self.pools.values.len() as u32,
            vars: self.start.vars + self.pools.vars.len() as u32,
        }
    }

    fn check_name(&self, id: TypeId, name: Name) -> Result<(), BtfError> {
        let inside = match (&self.base, name.0.checked_sub(self.start.strings)) {
            (Some(base), None) => return base.check_name(id, name),
            (_, own) => own.is_some_and(|o| {
                (o as usize) < self.strings.len() && self.strings.is_char_boundary(o as usize)
            }),
        };
        let bytes = self.start.strings + self.strings.len() as u32;
        if inside { Ok(()) } else { Err(BtfError::NameOutOfRange { id, offset: name.0, bytes }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::btf::{Compound, IntEncoding};

    fn int(bytes: u32) -> Kind {
        Kind::Int { bytes, encoding: IntEncoding::default(), bit_offset: 0, bits: bytes as u8 * 8 }
    }

    fn base() -> Arc<Btf> {
        let mut b = BtfBuilder::new();
        let name = b.intern("int");
        let id = b.push(name, int(4));
        let point = b.intern("point");
        let x = b.intern("x");
        let members = b.span([Member { name: x, type_id: id, bit_offset: 0, bitfield_bits: 0 }]);
        b.push(point, Kind::Compound { compound: Compound::Struct, bytes: 4, members });
        Arc::new(b.finish().unwrap())
    }

    #[test]
    fn a_type_is_found_by_name_and_kind() {
        let btf = base();
        assert_eq!(btf.find("int", KindTag::Int), Some(TypeId(1)));
        assert_eq!(btf.find("point", KindTag::Struct), Some(TypeId(2)));
        assert_eq!(btf.find("point", KindTag::Union), None);
        assert_eq!(btf.find("", KindTag::Int), None);
        assert_eq!(btf.find("nothing", KindTag::Int), None);
    }

    #[test]
    fn a_split_set_goes_on_from_its_base() {
        let base = base();
        let mut b = BtfBuilder::with_strings("split\0".into(), Some(base.clone()));
        let first = base.end();
        let members = b.span([Member {
            name: Name(first.strings),
            type_id: TypeId(2),
            bit_offset: 0,
            bitfield_bits: 0,
        }]);
        let id = b.push(
            Name(first.strings),
            Kind::Compound { compound: Compound::Struct, bytes: 4, members },
        );
        assert_eq!(id, TypeId(3));
        let split = b.finish().unwrap();
        assert_eq!(split.name(TypeId(3)), "split");
        assert_eq!(split.name(TypeId(2)), "point");
        let Some(Kind::Compound { members, .. }) = split.kind(TypeId(2)) else { panic!() };
        assert_eq!(split.str(split.list(members)[0].name), "x");
        assert_eq!(split.find("point", KindTag::Struct), Some(TypeId(2)));
        assert_eq!(split.find("split", KindTag::Struct), Some(TypeId(3)));
        assert_eq!(split.iter().count(), 4);
    }

    #[test]
    fn flavours_share_an_essential_name() {
        let cases = [
            ("task_struct", "task_struct"),
            ("task_struct___old", "task_struct"),
            ("a___b___c", "a___b"),
            ("___x", "___x"),
            ("x___", "x___"),
            ("x____y", "x____y"),
            ("é___y", "é"),
        ];
        for (name, essential) in cases {
            assert_eq!(essential_name(name), essential);
        }
        let mut b = BtfBuilder::new();
        for name in ["t", "t___two", "u"] {
            let name = b.intern(name);
            b.push(name, int(4));
        }
        let btf = b.finish().unwrap();
        assert_eq!(btf.flavours("t").collect::<Vec<_>>(), [TypeId(1), TypeId(2)]);
        assert_eq!(btf.named("t___two").collect::<Vec<_>>(), [TypeId(2)]);
    }

    #[test]
    fn references_are_checked() {
        let mut b = BtfBuilder::new();
        b.push(Name::EMPTY, Kind::Ptr(TypeId(7)));
        assert!(matches!(
            b.finish(),
            Err(BtfError::TypeOutOfRange { refers_to: TypeId(7), highest: 1, .. })
        ));
        let mut b = BtfBuilder::new();
        b.push(Name(9), Kind::Ptr(TypeId(0)));
        assert!(matches!(b.finish(), Err(BtfError::NameOutOfRange { offset: 9, bytes: 1, .. })));
    }
}
