//! Whether a type of the target is what the object's source meant.

use super::access::{Access, MAX_STEPS, Point, enumerators};
use super::{About, CoreKind, CoreProblem, Result};
use ebpfvm_spec::btf::{Btf, EnumValue, Kind, Member, Name, Span, TypeId, essential_name};

/// How deep types that must be alike are compared.
const MAX_LEVEL: u32 = 32;

/// Comparisons left.
pub(super) struct Budget(pub(super) u64);

impl Budget {
    fn spend(&mut self) -> Result<()> {
        self.0 = self.0.checked_sub(1).ok_or(CoreProblem::TooComplex)?;
        Ok(())
    }
}

/// The types of the object and those of the target.
#[derive(Clone, Copy)]
pub(super) struct Pair<'l, 't> {
    pub(super) local: &'l Btf,
    pub(super) target: &'t Btf,
}

/// Whether two types are of the same kind; enums of 32 and 64 bits are.
pub(super) fn kinds_agree(a: &Kind, b: &Kind) -> bool {
    a.tag() == b.tag() || matches!((a, b), (Kind::Enum { .. }, Kind::Enum { .. }))
}

/// A pair of ids: one of the object, one of the target.
pub(super) type Ids = (TypeId, TypeId);

impl<'t> Pair<'_, 't> {
    /// Follows an access of the object through a type of the target; none if it does not fit.
    pub(super) fn follow(
        &self,
        local: &Access<'_>,
        root: TypeId,
        kind: CoreKind,
        budget: &mut Budget,
    ) -> Result<Option<Access<'t>>> {
        let mut access = Access::new(root);
        let fits = match kind.about() {
            About::Type if kind == CoreKind::TypeMatches => {
                self.types_match((local.root, root), false, MAX_LEVEL, budget)?
            }
            About::Type => self.types_compatible((local.root, root), MAX_LEVEL, budget)?,
            About::Enumerator => self.enumerator(local, root, &mut access)?,
            About::Field => self.field(local, root, &mut access, budget)?,
        };
        Ok(fits.then_some(access))
    }

    pub(super) fn compatible(&self, ids: Ids, budget: &mut Budget) -> Result<bool> {
        self.types_compatible(ids, MAX_LEVEL, budget)
    }

    fn enumerator(
        &self,
        local: &Access<'_>,
        root: TypeId,
        access: &mut Access<'t>,
    ) -> Result<bool> {
        let (id, kind) = self.target.resolve(root)?;
        let Some(values) = enumerators(kind) else { return Ok(false) };
        let wanted = local.points.first().and_then(|p| p.name).unwrap_or_default();
        for (index, value) in (0..).zip(self.target.list(values)) {
            let name = self.target.str(value.name);
            if essential_name(name) == essential_name(wanted) {
                access.points.push(Point { type_id: id, index, name: Some(name) });
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn field(
        &self,
        local: &Access<'_>,
        root: TypeId,
        access: &mut Access<'t>,
        budget: &mut Budget,
    ) -> Result<bool> {
        let mut at = root;
        for (i, point) in local.points.iter().enumerate() {
            let (id, kind) = self.target.resolve(at)?;
            at = id;
            if point.name.is_some() {
                match self.member(point, at, access, budget)? {
                    Some(next) => at = next,
                    None => return Ok(false),
                }
                continue;
            }
            // The first index is that of the pointer: the type itself is the element.
            if i > 0 {
                let Kind::Array { element, count, .. } = kind else { return Ok(false) };
                if point.index >= count && !access.ends_in_flexible(self.target, count) {
                    return Ok(false);
                }
                at = self.target.resolve(element)?.0;
            }
            access.deeper()?;
            access.points.push(Point { type_id: at, index: point.index, name: None });
            access.skip(self.target, at, point.index)?;
        }
        Ok(true)
    }

    /// Finds a member by name, in anonymous members too; gives its type. A member of that name
    /// whose type does not fit ends the search.
    fn member(
        &self,
        wanted: &Point<'_>,
        id: TypeId,
        access: &mut Access<'t>,
        budget: &mut Budget,
    ) -> Result<Option<TypeId>> {
        /// What a search of one level found.
        enum Found {
            Type(TypeId),
            Misfit,
            Nothing,
        }

        fn search<'t>(
            pair: &Pair<'_, 't>,
            (wanted, local_type): (&Point<'_>, TypeId),
            id: TypeId,
            access: &mut Access<'t>,
            budget: &mut Budget,
        ) -> Result<Found> {
            let (id, kind) = pair.target.resolve(id)?;
            let Kind::Compound { members, .. } = kind else { return Ok(Found::Nothing) };
            for (index, m) in (0..).zip(pair.target.list(members)) {
                budget.spend()?;
                if access.depth >= MAX_STEPS {
                    return Err(CoreProblem::TooComplex);
                }
                let before = access.bit_offset;
                access.depth += 1;
                access.bit_offset =
                    before.checked_add(m.bit_offset.into()).ok_or(CoreProblem::TooComplex)?;
                let name = pair.target.str(m.name);
                if name.is_empty() {
                    let found = search(pair, (wanted, local_type), m.type_id, access, budget)?;
                    if !matches!(found, Found::Nothing) {
                        return Ok(found);
                    }
                } else if Some(name) == wanted.name {
                    if !pair.fields_compatible((local_type, m.type_id))? {
                        return Ok(Found::Misfit);
                    }
                    access.points.push(Point { type_id: id, index, name: Some(name) });
                    return Ok(Found::Type(m.type_id));
                }
                access.depth -= 1;
                access.bit_offset = before;
            }
            Ok(Found::Nothing)
        }

        let members = self.local.kind(wanted.type_id).and_then(super::access::members);
        let member = members.and_then(|m| self.local.list(m).get(wanted.index as usize));
        let Some(Member { type_id, .. }) = member else { return Ok(None) };
        match search(self, (wanted, *type_id), id, access, budget)? {
            Found::Type(id) => Ok(Some(id)),
            Found::Misfit | Found::Nothing => Ok(None),
        }
    }

    /// Whether a field of one type can be read as one of the other.
    fn fields_compatible(&self, ids: Ids) -> Result<bool> {
        let (mut local, mut target) = ids;
        for _ in 0..MAX_LEVEL {
            let (local_id, a) = self.local.resolve(local)?;
            let (target_id, b) = self.target.resolve(target)?;
            if let (Kind::Compound { .. }, Kind::Compound { .. }) = (a, b) {
                return Ok(true);
            }
            if !kinds_agree(&a, &b) {
                return Ok(false);
            }
            return Ok(match (a, b) {
                (Kind::Ptr(_) | Kind::Float { .. }, _) => true,
                (Kind::Fwd(_) | Kind::Enum { .. }, _) => {
                    let a = essential_name(self.local.name(local_id));
                    let b = essential_name(self.target.name(target_id));
                    a.is_empty() || b.is_empty() || a == b
                }
                (Kind::Int { bit_offset: a, .. }, Kind::Int { bit_offset: b, .. }) => {
                    a == 0 && b == 0
                }
                (Kind::Array { element: a, .. }, Kind::Array { element: b, .. }) => {
                    (local, target) = (a, b);
                    continue;
                }
                _ => false,
            });
        }
        Err(CoreProblem::TooComplex)
    }

    /// Whether two types are compatible: of one kind, pointees and elements too; members and sizes
    /// do not count (`bpf_core_types_are_compat`).
    fn types_compatible(&self, ids: Ids, level: u32, budget: &mut Budget) -> Result<bool> {
        let kinds = self.local.kind(ids.0).zip(self.target.kind(ids.1));
        if !kinds.is_some_and(|(a, b)| kinds_agree(&a, &b)) {
            return Ok(false);
        }
        let (mut local, mut target) = ids;
        for _ in 0..MAX_LEVEL {
            budget.spend()?;
            let (_, a) = self.local.resolve(local)?;
            let (_, b) = self.target.resolve(target)?;
            if !kinds_agree(&a, &b) {
                return Ok(false);
            }
            (local, target) = match (a, b) {
                (Kind::Void | Kind::Compound { .. } | Kind::Enum { .. } | Kind::Fwd(_), _) => {
                    return Ok(true);
                }
                (Kind::Int { bit_offset: a, .. }, Kind::Int { bit_offset: b, .. }) => {
                    return Ok(a == 0 && b == 0);
                }
                (Kind::Ptr(a), Kind::Ptr(b)) => (a, b),
                (Kind::Array { element: a, .. }, Kind::Array { element: b, .. }) => (a, b),
                (Kind::FuncProto { ret, params }, Kind::FuncProto { ret: r, params: p }) => {
                    let (params, others) = (self.local.list(params), self.target.list(p));
                    if params.len() != others.len() {
                        return Ok(false);
                    }
                    let level = level.checked_sub(1).ok_or(CoreProblem::TooComplex)?;
                    for (a, b) in params.iter().zip(others) {
                        let ids =
                            (self.local.resolve(a.type_id)?.0, self.target.resolve(b.type_id)?.0);
                        if !self.types_compatible(ids, level, budget)? {
                            return Ok(false);
                        }
                    }
                    (ret, r)
                }
                _ => return Ok(false),
            };
        }
        Err(CoreProblem::TooComplex)
    }

    fn names_match(&self, local: Name, target: Name) -> bool {
        let (a, b) = (self.local.str(local), self.target.str(target));
        if b.is_empty() { a.is_empty() } else { essential_name(a) == essential_name(b) }
    }

    /// Whether the target's type has all that the object's has (`bpf_core_types_match`).
    fn types_match(
        &self,
        ids: Ids,
        mut behind_ptr: bool,
        level: u32,
        budget: &mut Budget,
    ) -> Result<bool> {
        if level == 0 {
            return Err(CoreProblem::TooComplex);
        }
        let (mut local, mut target) = ids;
        for _ in 0..MAX_LEVEL {
            budget.spend()?;
            let (local_id, a) = self.local.resolve(local)?;
            let (target_id, b) = self.target.resolve(target)?;
            let names = self.local.get(local_id).zip(self.target.get(target_id));
            if !names.is_some_and(|(a, b)| self.names_match(a.name, b.name)) {
                return Ok(false);
            }
            (local, target) = match (a, b) {
                (Kind::Void, Kind::Void) => return Ok(true),
                (Kind::Fwd(a), Kind::Fwd(b)) => return Ok(a == b),
                (Kind::Fwd(a), Kind::Compound { compound: b, .. }) => {
                    return Ok(behind_ptr && a == b);
                }
                (Kind::Compound { compound: a, .. }, Kind::Fwd(b)) => {
                    return Ok(behind_ptr && a == b);
                }
                (
                    Kind::Enum { bytes: a_bytes, values: a, .. },
                    Kind::Enum { bytes: b_bytes, values: b, .. },
                ) => return Ok(a_bytes == b_bytes && self.enumerators_match(a, b, budget)?),
                (
                    Kind::Compound { compound: a, members: local_members, .. },
                    Kind::Compound { compound: b, members: target_members, .. },
                ) => {
                    return Ok(a == b
                        && (behind_ptr
                            || self.members_match(
                                local_members,
                                target_members,
                                level,
                                budget,
                            )?));
                }
                (
                    Kind::Int { bytes: a_bytes, encoding: a, .. },
                    Kind::Int { bytes: b_bytes, encoding: b, .. },
                ) => return Ok(a_bytes == b_bytes && a.signed == b.signed),
                (Kind::Ptr(a), Kind::Ptr(b)) => {
                    behind_ptr = true;
                    (a, b)
                }
                (
                    Kind::Array { element: a, count: m, .. },
                    Kind::Array { element: b, count: n, .. },
                ) if m == n => (a, b),
                (Kind::FuncProto { ret, params }, Kind::FuncProto { ret: r, params: p }) => {
                    let (params, others) = (self.local.list(params), self.target.list(p));
                    if params.len() != others.len() {
                        return Ok(false);
                    }
                    for (a, b) in params.iter().zip(others) {
                        let ids = (a.type_id, b.type_id);
                        if !self.types_match(ids, behind_ptr, level - 1, budget)? {
                            return Ok(false);
                        }
                    }
                    (ret, r)
                }
                _ => return Ok(false),
            };
        }
        Err(CoreProblem::TooComplex)
    }

    fn enumerators_match(
        &self,
        local: Span<EnumValue>,
        target: Span<EnumValue>,
        budget: &mut Budget,
    ) -> Result<bool> {
        if local.len() > target.len() {
            return Ok(false);
        }
        for a in self.local.list(local) {
            let mut found = false;
            for b in self.target.list(target) {
                budget.spend()?;
                if self.names_match(a.name, b.name) {
                    found = true;
                    break;
                }
            }
            if !found {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn members_match(
        &self,
        local: Span<Member>,
        target: Span<Member>,
        level: u32,
        budget: &mut Budget,
    ) -> Result<bool> {
        if local.len() > target.len() {
            return Ok(false);
        }
        for a in self.local.list(local) {
            let mut found = false;
            for b in self.target.list(target) {
                budget.spend()?;
                if self.names_match(a.name, b.name)
                    && self.types_match((a.type_id, b.type_id), false, level - 1, budget)?
                {
                    found = true;
                    break;
                }
            }
            if !found {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
