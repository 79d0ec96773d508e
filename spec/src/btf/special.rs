//! Fields that programs do not touch directly, as their types tell: locks, timers, kernel pointers,
//! lists (`btf_parse_fields` of `kernel/bpf/btf.c`, Linux 6.18).
//!
//! What the kernel ignores is ignored here: a lock at an odd offset, behind a typedef or in a union
//! is plain memory. Where the kernel finds a mistake, the whole value has no special field for it
//! and helpers refuse the value; a map of it can be created all the same.

use super::{Btf, Compound, Kind, KindTag, MAX_RESOLVE_STEPS, Member, SectionVar, TypeId};
use std::fmt;

/// How many special fields a value may have (`BTF_FIELDS_MAX`).
pub const MAX_SPECIAL_FIELDS: usize = 11;

/// How many members are looked at: structs nest as a tree that a hostile file can make wide as well
/// as deep.
const MAX_VISITS: u32 = 1 << 20;

macro_rules! special_kinds {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $bytes:literal, $align:literal, $often:ident;)*) => {
        /// What a special field is (`enum btf_field_type`).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum SpecialKind {
            $($(#[$doc])* $variant,)*
        }

        impl SpecialKind {
            /// All kinds.
            pub const ALL: &[SpecialKind] = &[$(SpecialKind::$variant),*];

            /// The name in the verifier's messages (`btf_field_type_name`).
            pub const fn name(self) -> &'static str {
                match self { $(SpecialKind::$variant => $name,)* }
            }

            /// The size in bytes.
            pub const fn bytes(self) -> u32 {
                match self { $(SpecialKind::$variant => $bytes,)* }
            }

            const fn align(self) -> u32 {
                match self { $(SpecialKind::$variant => $align,)* }
            }

            const fn occurs(self) -> Occurs {
                match self { $(SpecialKind::$variant => Occurs::$often,)* }
            }
        }
    };
}

/// How often a kind may occur in a value.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Occurs {
    /// Once.
    Once,
    /// Often, but not in arrays.
    Apart,
    /// Often, in arrays too.
    Often,
}

special_kinds! {
    /// `struct bpf_spin_lock`
    SpinLock = "bpf_spin_lock", 4, 4, Once;
    /// `struct bpf_res_spin_lock`
    ResSpinLock = "bpf_res_spin_lock", 4, 4, Once;
    /// `struct bpf_timer`
    Timer = "bpf_timer", 16, 8, Once;
    /// `struct bpf_wq`
    Workqueue = "bpf_wq", 16, 8, Once;
    /// `struct bpf_task_work`
    TaskWork = "bpf_task_work", 8, 8, Once;
    /// `struct bpf_refcount`
    Refcount = "bpf_refcount", 4, 4, Apart;
    /// `struct bpf_list_head`
    ListHead = "bpf_list_head", 16, 8, Often;
    /// `struct bpf_list_node`
    ListNode = "bpf_list_node", 24, 8, Apart;
    /// `struct bpf_rb_root`
    RbRoot = "bpf_rb_root", 16, 8, Often;
    /// `struct bpf_rb_node`
    RbNode = "bpf_rb_node", 32, 8, Apart;
    /// A kernel pointer without a reference (`kptr_untrusted`).
    KptrUnref = "kptr", 8, 8, Often;
    /// A kernel pointer that holds a reference (`kptr`).
    KptrRef = "kptr", 8, 8, Often;
    /// A pointer to an object with one instance for each CPU (`percpu_kptr`).
    KptrPerCpu = "percpu_kptr", 8, 8, Often;
    /// A pointer to memory of the process (`uptr`).
    Uptr = "uptr", 8, 8, Often;
}

impl SpecialKind {
    /// Whether it is a pointer, which programs load and, as [`SpecialKind::KptrUnref`], store whole.
    pub const fn is_pointer(self) -> bool {
        use SpecialKind::*;
        matches!(self, KptrUnref | KptrRef | KptrPerCpu | Uptr)
    }

    /// The kind of node that it is the root of.
    const fn node(self) -> Option<SpecialKind> {
        match self {
            SpecialKind::ListHead => Some(SpecialKind::ListNode),
            SpecialKind::RbRoot => Some(SpecialKind::RbNode),
            _ => None,
        }
    }

    fn of_pointer(tag: &str) -> Option<SpecialKind> {
        match tag {
            "kptr_untrusted" => Some(SpecialKind::KptrUnref),
            "kptr" => Some(SpecialKind::KptrRef),
            "percpu_kptr" => Some(SpecialKind::KptrPerCpu),
            "uptr" => Some(SpecialKind::Uptr),
            _ => None,
        }
    }
}

/// A set of kinds of special fields.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct SpecialSet(u16);

impl SpecialSet {
    /// No kind.
    pub const NONE: SpecialSet = SpecialSet(0);

    /// The set of these kinds.
    pub const fn of(kinds: &[SpecialKind]) -> SpecialSet {
        let mut bits = 0;
        let mut i = 0;
        while i < kinds.len() {
            bits |= 1 << kinds[i] as u16;
            i += 1;
        }
        SpecialSet(bits)
    }

    /// The kinds of these fields.
    pub fn of_fields(fields: &[SpecialField]) -> SpecialSet {
        SpecialSet(fields.iter().fold(0, |bits, field| bits | 1 << field.kind as u16))
    }

    /// Whether the kind is in the set.
    pub const fn contains(self, kind: SpecialKind) -> bool {
        self.0 >> kind as u16 & 1 == 1
    }

    /// Whether some kind is in both.
    pub const fn meets(self, other: SpecialSet) -> bool {
        self.0 & other.0 != 0
    }
}

impl fmt::Debug for SpecialSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(SpecialKind::ALL.iter().filter(|kind| self.contains(**kind))).finish()
    }
}

/// What has the fields: it decides which kinds there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Holder {
    /// The value of a map, or globals (a data section).
    MapValue,
    /// An object that a program allocates.
    Object,
}

impl Holder {
    const fn has(self, kind: SpecialKind) -> bool {
        use SpecialKind::*;
        match self {
            Holder::MapValue => !matches!(kind, ListNode | RbNode),
            Holder::Object => !matches!(kind, Timer | Workqueue | TaskWork | Uptr),
        }
    }
}

/// A special field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpecialField {
    /// What it is.
    pub kind: SpecialKind,
    /// Offset in the value in bytes.
    pub offset: u32,
    /// Size in bytes.
    pub bytes: u32,
    /// Of a pointer, the struct that it points to; of a list or tree, that of its elements.
    pub target: Option<TypeId>,
    /// Of a list or tree, where in an element its node is, in bytes.
    pub node_offset: u32,
}

/// Why a value has no special fields although its type names some.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpecialError {
    /// The type is neither a struct nor a data section.
    #[error("type {0} is neither a struct nor a data section")]
    NoStruct(TypeId),
    /// More than [`MAX_SPECIAL_FIELDS`].
    #[error("more than {MAX_SPECIAL_FIELDS} special fields")]
    TooMany,
    /// A kind that may occur once occurs again.
    #[error("more than one {}", .0.name())]
    Twice(SpecialKind),
    /// A kind that may not occur in arrays does.
    #[error("an array of {}", .0.name())]
    InArray(SpecialKind),
    /// A member starts within a byte.
    #[error("a member of type {0} starts within a byte")]
    BitField(TypeId),
    /// A pointer with a tag that is not of a special field, with two tags, or not to a struct.
    #[error("pointer type {0} has a wrong tag or does not point to a struct")]
    Pointer(TypeId),
    /// A list or tree that does not tell the type and member of its nodes.
    #[error("{} needs one declaration tag `contains:TYPE:MEMBER` that names a node", .0.name())]
    Contains(SpecialKind),
    /// A list or tree without a lock beside it.
    #[error("{} needs a spin lock in the same value", .0.name())]
    NoLock(SpecialKind),
    /// Both kinds of spin locks.
    #[error("both kinds of spin locks")]
    TwoLocks,
    /// Nodes of a list and of a tree without a reference count.
    #[error("nodes of a list and of a tree need a reference count")]
    NoRefcount,
    /// Fields overlap or do not follow one another.
    #[error("{} at {offset} overlaps another field or stands before it", kind.name())]
    Order {
        /// What it is.
        kind: SpecialKind,
        /// Where, in bytes.
        offset: u32,
    },
    /// A field ends behind the value.
    #[error("{} at {offset} is outside of the value", kind.name())]
    Outside {
        /// What it is.
        kind: SpecialKind,
        /// Where, in bytes.
        offset: u64,
    },
    /// Structs or arrays nest too deep, or there are too many members.
    #[error("types nest too deep")]
    TooDeep,
}

/// A field before its target is known; the offset grows when structs nest.
#[derive(Clone, Copy)]
struct Found {
    kind: SpecialKind,
    offset: u64,
    target: Option<TypeId>,
    node_offset: u32,
}

/// Who declares a member: where its declaration tags are.
#[derive(Clone, Copy)]
struct Owner {
    type_id: TypeId,
    component: Option<u32>,
}

struct Search<'a> {
    btf: &'a Btf,
    holder: Holder,
    seen: SpecialSet,
    visits: u32,
}

/// The special fields of a value of this type and size, in the order of their offsets.
///
/// The target of a [`SpecialKind::KptrRef`] is not looked for among the kernel's types: a caller
/// that knows them refuses those without a destructor (`btf_find_dtor_kfunc`).
///
/// # Errors
/// [`SpecialError`]: the kernel treats such a value as one without special fields.
pub fn special_fields(
    btf: &Btf,
    value_type: TypeId,
    value_bytes: u32,
    holder: Holder,
) -> Result<Vec<SpecialField>, SpecialError> {
    let mut search = Search { btf, holder, seen: SpecialSet::NONE, visits: 0 };
    let (id, kind) = btf.resolve(value_type).map_err(|_| SpecialError::NoStruct(value_type))?;
    let mut found = Vec::new();
    match kind {
        Kind::Compound { compound: Compound::Struct, members, .. } => {
            search.members(id, btf.list(members), 0, &mut found)?;
        }
        Kind::Datasec { vars, .. } => search.variables(btf.list(vars), &mut found)?,
        _ => return Err(SpecialError::NoStruct(id)),
    }
    let fields = in_order(&found, value_bytes)?;
    check_company(&fields)?;
    Ok(fields)
}

fn in_order(found: &[Found], value_bytes: u32) -> Result<Vec<SpecialField>, SpecialError> {
    let mut end = 0;
    let mut fields = Vec::with_capacity(found.len());
    for Found { kind, offset, target, node_offset } in found.iter().copied() {
        let next = offset + u64::from(kind.bytes());
        let place = u32::try_from(offset).ok().filter(|_| next <= value_bytes.into());
        let offset = place.ok_or(SpecialError::Outside { kind, offset })?;
        if u64::from(offset) < end {
            return Err(SpecialError::Order { kind, offset });
        }
        end = next;
        fields.push(SpecialField { kind, offset, bytes: kind.bytes(), target, node_offset });
    }
    Ok(fields)
}

/// What the presence of one field asks of the others.
fn check_company(fields: &[SpecialField]) -> Result<(), SpecialError> {
    use SpecialKind::*;
    let kinds = SpecialSet::of_fields(fields);
    let root = [ListHead, RbRoot].into_iter().find(|kind| kinds.contains(*kind));
    match root {
        Some(root) if !kinds.meets(SpecialSet::of(&[SpinLock, ResSpinLock])) => {
            return Err(SpecialError::NoLock(root));
        }
        _ => {}
    }
    if kinds.contains(SpinLock) && kinds.contains(ResSpinLock) {
        return Err(SpecialError::TwoLocks);
    }
    if kinds.contains(ListNode) && kinds.contains(RbNode) && !kinds.contains(Refcount) {
        return Err(SpecialError::NoRefcount);
    }
    Ok(())
}

impl Search<'_> {
    /// The fields of a struct at `level` of nesting, with offsets from its start.
    fn members(
        &mut self,
        owner: TypeId,
        members: &[Member],
        level: usize,
        found: &mut Vec<Found>,
    ) -> Result<(), SpecialError> {
        for (i, member) in members.iter().enumerate() {
            if member.bit_offset % 8 != 0 {
                return Err(SpecialError::BitField(member.type_id));
            }
            let owner = Owner { type_id: owner, component: Some(i as u32) };
            self.one(owner, member.type_id, member.bit_offset / 8, None, level, found)?;
        }
        Ok(())
    }

    /// The fields of variables of a data section.
    fn variables(
        &mut self,
        vars: &[SectionVar],
        found: &mut Vec<Found>,
    ) -> Result<(), SpecialError> {
        for var in vars {
            let Some(Kind::Var { type_id, .. }) = self.btf.kind(var.type_id) else { continue };
            let owner = Owner { type_id: var.type_id, component: None };
            self.one(owner, type_id, var.offset, Some(var.bytes), 0, found)?;
        }
        Ok(())
    }

    /// What a member or variable brings (`btf_find_field_one`).
    fn one(
        &mut self,
        owner: Owner,
        type_id: TypeId,
        offset: u32,
        section_bytes: Option<u32>,
        level: usize,
        found: &mut Vec<Found>,
    ) -> Result<(), SpecialError> {
        self.visits += 1;
        if self.visits > MAX_VISITS {
            return Err(SpecialError::TooDeep);
        }
        let (type_id, count) = self.element(type_id)?;
        let Some(kind) = self.btf.kind(type_id) else { return Ok(()) };
        if count == 0 {
            return Ok(());
        }
        // The kernel multiplies in 32 bits.
        let fills = |bytes: u32| {
            section_bytes.is_none_or(|all| all == 0 || all == bytes.wrapping_mul(count))
        };
        let structure = match kind {
            Kind::Compound { compound: Compound::Struct, bytes, members } => Some((bytes, members)),
            _ => None,
        };
        let first = found.len();
        let (special, bytes) = match (self.kind_of(type_id, structure.is_some())?, structure) {
            (Some(special), _) => (special, special.bytes()),
            (None, Some((bytes, members))) => {
                if fills(bytes) {
                    if level + 1 >= MAX_RESOLVE_STEPS {
                        return Err(SpecialError::TooDeep);
                    }
                    let members = self.btf.list(members);
                    self.members(type_id, members, level + 1, found)?;
                    for field in &mut found[first..] {
                        field.offset += u64::from(offset);
                    }
                    repeat(found, first, count, bytes)?;
                }
                return Ok(());
            }
            (None, None) => return Ok(()),
        };
        if !fills(bytes) || !offset.is_multiple_of(special.align()) {
            return Ok(());
        }
        let mut field =
            Found { kind: special, offset: offset.into(), target: None, node_offset: 0 };
        if special.is_pointer() {
            let Some((kind, target)) = self.pointer(type_id)? else { return Ok(()) };
            (field.kind, field.target) = (kind, Some(target));
        } else {
            // A type of this name that is something else.
            if structure.is_none_or(|(bytes, _)| bytes != special.bytes()) {
                return Ok(());
            }
            if let Some(node) = special.node() {
                let (target, node_offset) =
                    self.node(owner, node).ok_or(SpecialError::Contains(special))?;
                (field.target, field.node_offset) = (Some(target), node_offset);
            }
        }
        if found.len() >= MAX_SPECIAL_FIELDS {
            return Err(SpecialError::TooMany);
        }
        found.push(field);
        repeat(found, first, count, bytes)
    }

    /// The element type of an array of arrays and the number of its elements; 1 for no array.
    fn element(&self, mut type_id: TypeId) -> Result<(TypeId, u32), SpecialError> {
        let mut count: u32 = 1;
        for _ in 0..MAX_RESOLVE_STEPS {
            let Some(Kind::Array { element, count: n, .. }) = self.btf.kind(type_id) else {
                return Ok((type_id, count));
            };
            count = count.wrapping_mul(n);
            type_id = element;
        }
        Err(SpecialError::TooDeep)
    }

    /// The kind that the name of a type stands for; that of a pointer is not told apart yet.
    fn kind_of(
        &mut self,
        type_id: TypeId,
        is_struct: bool,
    ) -> Result<Option<SpecialKind>, SpecialError> {
        let name = self.btf.name(type_id);
        let named = SpecialKind::ALL
            .iter()
            .copied()
            .find(|kind| !kind.is_pointer() && self.holder.has(*kind) && kind.name() == name);
        if let Some(kind) = named
            && kind.occurs() == Occurs::Once
        {
            if self.seen.contains(kind) {
                return Err(SpecialError::Twice(kind));
            }
            self.seen.0 |= 1 << kind as u16;
        }
        Ok(named.or((!is_struct).then_some(SpecialKind::KptrRef)))
    }

    /// What a tagged pointer is and points to (`btf_find_kptr`); none for a pointer without a tag.
    fn pointer(&self, type_id: TypeId) -> Result<Option<(SpecialKind, TypeId)>, SpecialError> {
        let mut kind = self.btf.kind(type_id);
        if let Some(Kind::Volatile(to)) = kind {
            kind = self.btf.kind(to);
        }
        let Some(Kind::Ptr(to)) = kind else { return Ok(None) };
        let Some(Kind::TypeTag { type_id: tagged, .. }) = self.btf.kind(to) else {
            return Ok(None);
        };
        let wrong = SpecialError::Pointer(type_id);
        let Some(special) = SpecialKind::of_pointer(self.btf.name(to)) else { return Err(wrong) };
        if matches!(self.btf.kind(tagged), Some(Kind::TypeTag { .. })) {
            return Err(wrong);
        }
        if !self.holder.has(special) {
            return Ok(None);
        }
        match self.btf.resolve(tagged) {
            Ok((target, kind)) if kind.tag() == KindTag::Struct => Ok(Some((special, target))),
            _ => Err(wrong),
        }
    }

    /// The struct that a list or tree holds and where its node is (`btf_find_graph_root`,
    /// `btf_parse_graph_root`).
    fn node(&mut self, owner: Owner, node: SpecialKind) -> Option<(TypeId, u32)> {
        // The search for the tag looks at every type.
        self.visits = self.visits.saturating_add(self.btf.len() as u32 / 16);
        let mut tags = self.btf.iter().filter_map(|(_, t)| match t.kind {
            Kind::DeclTag { type_id, component, .. }
                if type_id == owner.type_id && component == owner.component =>
            {
                self.btf.str(t.name).strip_prefix("contains:")
            }
            _ => None,
        });
        let tag = tags.next()?;
        if tags.next().is_some() {
            return None;
        }
        let (name, member_name) = tag.split_once(':')?;
        let target = self.btf.find(name, KindTag::Struct)?;
        let Kind::Compound { members, .. } = self.btf.kind(target)? else { return None };
        let mut named = self
            .btf
            .list(members)
            .iter()
            .filter(|m| !member_name.is_empty() && self.btf.str(m.name) == member_name);
        let member = named.next()?;
        let is_node = self.btf.kind(member.type_id)?.tag() == KindTag::Struct
            && self.btf.name(member.type_id) == node.name();
        let aligned = member.bit_offset % (8 * node.align()) == 0;
        (is_node && aligned && named.next().is_none()).then_some((target, member.bit_offset / 8))
    }
}

/// Repeats the fields from `first` on for each element of an array (`btf_repeat_fields`).
fn repeat(
    found: &mut Vec<Found>,
    first: usize,
    count: u32,
    element_bytes: u32,
) -> Result<(), SpecialError> {
    let fields = found.len() - first;
    if count <= 1 || fields == 0 {
        return Ok(());
    }
    if let Some(once) = found[first..].iter().find(|f| f.kind.occurs() != Occurs::Often) {
        return Err(SpecialError::InArray(once.kind));
    }
    let all = (count as usize).checked_mul(fields).ok_or(SpecialError::TooMany)?;
    if first + all > MAX_SPECIAL_FIELDS {
        return Err(SpecialError::TooMany);
    }
    for i in 1..u64::from(count) {
        for at in first..first + fields {
            let field = found[at];
            found.push(Found { offset: field.offset + i * u64::from(element_bytes), ..field });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::btf::BtfBuilder;

    fn structure(b: &mut BtfBuilder, name: &str, bytes: u32, members: &[(TypeId, u32)]) -> TypeId {
        let member = |(type_id, offset): &(TypeId, u32)| Member {
            name: Default::default(),
            type_id: *type_id,
            bit_offset: offset * 8,
            bitfield_bits: 0,
        };
        let members = b.span(members.iter().map(member).collect::<Vec<_>>());
        let name = b.intern(name);
        b.push(name, Kind::Compound { compound: Compound::Struct, bytes, members })
    }

    #[test]
    fn fields_of_nested_structs_stand_at_their_sums() {
        let mut b = BtfBuilder::new();
        let lock = structure(&mut b, "bpf_spin_lock", 4, &[]);
        let timer = structure(&mut b, "bpf_timer", 16, &[]);
        let inner = structure(&mut b, "inner", 24, &[(timer, 8)]);
        let value = structure(&mut b, "value", 32, &[(lock, 0), (inner, 8)]);
        let btf = b.finish().unwrap();
        let fields = special_fields(&btf, value, 32, Holder::MapValue).unwrap();
        let places: Vec<_> = fields.iter().map(|f| (f.kind, f.offset, f.bytes)).collect();
        assert_eq!(places, [(SpecialKind::SpinLock, 0, 4), (SpecialKind::Timer, 16, 16)]);
        // An object has no timer: what is there is memory.
        let fields = special_fields(&btf, value, 32, Holder::Object).unwrap();
        assert_eq!(fields.len(), 1);
        let outside = SpecialError::Outside { kind: SpecialKind::Timer, offset: 16 };
        assert_eq!(special_fields(&btf, value, 24, Holder::MapValue), Err(outside));
    }

    #[test]
    fn mistakes_are_told_apart() {
        let mut b = BtfBuilder::new();
        let lock = structure(&mut b, "bpf_spin_lock", 4, &[]);
        let head = structure(&mut b, "bpf_list_head", 16, &[]);
        let locks = structure(&mut b, "locks", 8, &[(lock, 0), (lock, 4)]);
        let list = structure(&mut b, "list", 24, &[(lock, 0), (head, 8)]);
        let name = b.intern("int");
        let encoding = crate::btf::IntEncoding::default();
        let int = b.push(name, Kind::Int { bytes: 4, encoding, bit_offset: 0, bits: 32 });
        let btf = b.finish().unwrap();
        let of = |id, bytes| special_fields(&btf, id, bytes, Holder::MapValue);
        assert_eq!(of(locks, 8), Err(SpecialError::Twice(SpecialKind::SpinLock)));
        assert_eq!(of(list, 24), Err(SpecialError::Contains(SpecialKind::ListHead)));
        assert_eq!(of(int, 4), Err(SpecialError::NoStruct(int)));
        assert_eq!(of(TypeId(99), 4), Err(SpecialError::NoStruct(TypeId(99))));
    }

    /// Each level doubles the number of members.
    #[test]
    fn wide_nests_end() {
        let mut b = BtfBuilder::new();
        let mut inner = structure(&mut b, "leaf", 0, &[]);
        for _ in 0..30 {
            inner = structure(&mut b, "level", 0, &[(inner, 0), (inner, 0)]);
        }
        let btf = b.finish().unwrap();
        let fields = special_fields(&btf, inner, 0, Holder::MapValue);
        assert_eq!(fields, Err(SpecialError::TooDeep));
    }
}
