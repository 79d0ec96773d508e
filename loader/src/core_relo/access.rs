//! An access: a type and the way from it to a member, an array element or an enumerator.

use super::{About, CoreProblem, Result};
use crate::btf::ext::CoreRecord;
use ebpfvm_spec::btf::{Btf, Compound, EnumValue, Kind, Member, Span, TypeId};
use std::fmt::Write;

/// Most steps of an access (`BPF_CORE_SPEC_MAX_LEN` of libbpf).
pub(super) const MAX_STEPS: usize = 64;

/// A step that means something in the source: a named member, or an array index. Steps into
/// anonymous members are not recorded, because the target may have others.
#[derive(Clone, Copy, Debug)]
pub(super) struct Point<'a> {
    /// The type that has the member; for an index, the type of the element.
    pub(super) type_id: TypeId,
    /// Index of the member, the element or the enumerator.
    pub(super) index: u32,
    /// Name of the member or enumerator; none for an array index.
    pub(super) name: Option<&'a str>,
}

/// An access through the types of one BTF.
#[derive(Clone, Debug)]
pub(super) struct Access<'a> {
    pub(super) root: TypeId,
    /// The first one is the index of the pointer that the access starts from; none for types.
    pub(super) points: Vec<Point<'a>>,
    /// Steps with those into anonymous members.
    pub(super) depth: usize,
    /// Offset of the field from the start of the type, in bits.
    pub(super) bit_offset: u64,
}

/// The members of a struct or union.
pub(super) fn members(kind: Kind) -> Option<Span<Member>> {
    match kind {
        Kind::Compound { members, .. } => Some(members),
        _ => None,
    }
}

/// The enumerators of an enum.
pub(super) fn enumerators(kind: Kind) -> Option<Span<EnumValue>> {
    match kind {
        Kind::Enum { values, .. } => Some(values),
        _ => None,
    }
}

impl<'a> Access<'a> {
    pub(super) fn new(root: TypeId) -> Access<'a> {
        Access { root, points: Vec::new(), depth: 0, bit_offset: 0 }
    }

    /// Adds a step of the low level.
    pub(super) fn deeper(&mut self) -> Result<()> {
        self.depth += 1;
        if self.depth > MAX_STEPS { Err(CoreProblem::TooComplex) } else { Ok(()) }
    }

    /// Moves the offset on by elements of a type.
    pub(super) fn skip(&mut self, btf: &Btf, element: TypeId, index: u32) -> Result<()> {
        let bits = btf.size_of(element)?.checked_mul(8).and_then(|b| b.checked_mul(index.into()));
        self.bit_offset =
            bits.and_then(|b| b.checked_add(self.bit_offset)).ok_or(CoreProblem::TooComplex)?;
        Ok(())
    }

    /// Reads the access string of a record, `0:1:2`, through the object's own types.
    pub(super) fn parse(btf: &'a Btf, record: &CoreRecord, about: About) -> Result<Access<'a>> {
        let text = btf.str(record.access);
        let misfit = || CoreProblem::Access { text: text.into(), id: record.type_id };
        let mut access = Access::new(record.type_id);
        if btf.get(record.type_id).is_none() {
            return Err(misfit());
        }
        if about == About::Type {
            return if text == "0" { Ok(access) } else { Err(misfit()) };
        }
        let mut indexes = Vec::new();
        for part in text.split(':') {
            indexes.push(part.parse::<u32>().map_err(|_| misfit())?);
            if indexes.len() > MAX_STEPS {
                return Err(CoreProblem::TooComplex);
            }
        }
        let (first, rest) = indexes.split_first().ok_or_else(misfit)?;
        let (mut id, kind) = btf.resolve(record.type_id)?;
        access.deeper()?;
        if about == About::Enumerator {
            let values = enumerators(kind).ok_or_else(misfit)?;
            let value = btf.list(values).get(*first as usize).ok_or_else(misfit)?;
            if !rest.is_empty() {
                return Err(misfit());
            }
            let name = Some(btf.str(value.name));
            access.points.push(Point { type_id: id, index: *first, name });
            return Ok(access);
        }
        access.points.push(Point { type_id: id, index: *first, name: None });
        access.skip(btf, id, *first)?;
        for index in rest {
            access.deeper()?;
            let (at, kind) = btf.resolve(id)?;
            match kind {
                Kind::Compound { members, .. } => {
                    let m = btf.list(members).get(*index as usize).ok_or_else(misfit)?;
                    access.bit_offset = access
                        .bit_offset
                        .checked_add(m.bit_offset.into())
                        .ok_or(CoreProblem::TooComplex)?;
                    if !m.name.is_empty() {
                        let name = Some(btf.str(m.name));
                        access.points.push(Point { type_id: at, index: *index, name });
                    }
                    id = m.type_id;
                }
                Kind::Array { element, count, .. } => {
                    if *index >= count && !access.ends_in_flexible(btf, count) {
                        return Err(misfit());
                    }
                    id = btf.resolve(element)?.0;
                    access.points.push(Point { type_id: id, index: *index, name: None });
                    access.skip(btf, id, *index)?;
                }
                _ => return Err(misfit()),
            }
        }
        Ok(access)
    }

    /// Whether an array of `count` elements at the end of the access is a flexible one: of no length
    /// and the last member of its struct.
    pub(super) fn ends_in_flexible(&self, btf: &Btf, count: u32) -> bool {
        let Some(Point { type_id, index, name: Some(_) }) = self.points.last() else {
            return false;
        };
        let last = btf.kind(*type_id).and_then(members).map_or(0, |m| m.len());
        count == 0 && *index as usize + 1 == last
    }

    /// The access as C.
    pub(super) fn describe(&self, btf: &Btf) -> String {
        let mut text = type_text(btf, self.root);
        for (i, point) in self.points.iter().enumerate() {
            let is_enumerator = btf.kind(point.type_id).is_some_and(|k| enumerators(k).is_some());
            let _ = match point.name {
                Some(name) if i == 0 && is_enumerator => write!(text, "::{name}"),
                Some(name) => write!(text, ".{name}"),
                None if i == 0 && point.index == 0 => Ok(()),
                None => write!(text, "[{}]", point.index),
            };
        }
        text
    }
}

/// A type with its keyword.
pub(super) fn type_text(btf: &Btf, id: TypeId) -> String {
    let keyword = match btf.kind(id) {
        Some(Kind::Compound { compound: Compound::Struct, .. }) => "struct ",
        Some(Kind::Compound { compound: Compound::Union, .. }) => "union ",
        Some(Kind::Enum { .. }) => "enum ",
        _ => "",
    };
    match btf.name(id) {
        "" => format!("{keyword}(anonymous) {id}"),
        name => format!("{keyword}{name}"),
    }
}
