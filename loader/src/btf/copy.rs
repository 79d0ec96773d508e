//! Copying types from one set to another, each text once.

use super::dedup::MergeError;
use ebpfvm_spec::btf::{Btf, BtfBuilder, EnumValue, Kind, Member, Name, Param, SectionVar, TypeId};
use std::collections::HashMap;

/// How many times the bytes of the string tables may be copied. Compilers let different names not
/// share bytes, some let a name be the end of another; were all allowed to, a small file could make
/// many large copies.
const MAX_COPIES: usize = 4;

/// Types of several sets on their way into one.
pub(crate) struct Copier<'a> {
    sets: &'a [&'a Btf],
    pub(crate) builder: BtfBuilder,
    known: HashMap<&'a str, Name>,
    /// By set and name there, so that a long name is not compared again at each use.
    seen: HashMap<(u32, Name), Name>,
    /// Bytes of text that may still be copied.
    left: usize,
}

impl<'a> Copier<'a> {
    pub(crate) fn new(sets: &'a [&'a Btf]) -> Copier<'a> {
        let bytes: usize = sets.iter().map(|s| s.string_bytes()).sum();
        Copier {
            sets,
            builder: BtfBuilder::new(),
            known: HashMap::new(),
            seen: HashMap::new(),
            left: bytes.saturating_mul(MAX_COPIES).min(u32::MAX as usize),
        }
    }

    /// Allows so many bytes of text more.
    pub(crate) fn allow(&mut self, bytes: usize) {
        self.left = self.left.saturating_add(bytes).min(u32::MAX as usize);
    }

    /// A name of a set as it is in the new one.
    pub(crate) fn name(&mut self, set: usize, name: Name) -> Result<Name, MergeError> {
        if name.is_empty() {
            return Ok(Name::EMPTY);
        }
        if let Some(name) = self.seen.get(&(set as u32, name)) {
            return Ok(*name);
        }
        let text = self.sets[set].str(name);
        let new = self.text(text)?;
        self.seen.insert((set as u32, name), new);
        Ok(new)
    }

    /// A text as a name of the new set.
    pub(crate) fn text(&mut self, text: &'a str) -> Result<Name, MergeError> {
        if text.is_empty() {
            return Ok(Name::EMPTY);
        }
        if let Some(name) = self.known.get(text) {
            return Ok(*name);
        }
        self.left = self.left.checked_sub(text.len() + 1).ok_or(MergeError::SharedText)?;
        let name = self.builder.intern(text);
        self.known.insert(text, name);
        Ok(name)
    }

    /// Copies a type and gives its new id.
    pub(crate) fn push(
        &mut self,
        set: usize,
        name: Name,
        kind: Kind,
        id: impl Fn(TypeId) -> TypeId,
    ) -> Result<TypeId, MergeError> {
        let name = self.name(set, name)?;
        let kind = self.kind(set, kind, id)?;
        Ok(self.builder.push(name, kind))
    }

    fn kind(
        &mut self,
        set: usize,
        kind: Kind,
        id: impl Fn(TypeId) -> TypeId,
    ) -> Result<Kind, MergeError> {
        let from = self.sets[set];
        Ok(match kind {
            Kind::Void | Kind::Int { .. } | Kind::Fwd(_) | Kind::Float { .. } => kind,
            Kind::Ptr(to) => Kind::Ptr(id(to)),
            Kind::Typedef(to) => Kind::Typedef(id(to)),
            Kind::Volatile(to) => Kind::Volatile(id(to)),
            Kind::Const(to) => Kind::Const(id(to)),
            Kind::Restrict(to) => Kind::Restrict(id(to)),
            Kind::TypeTag { type_id, attribute } => {
                Kind::TypeTag { type_id: id(type_id), attribute }
            }
            Kind::Func { proto, linkage } => Kind::Func { proto: id(proto), linkage },
            Kind::Var { type_id, linkage } => Kind::Var { type_id: id(type_id), linkage },
            Kind::DeclTag { type_id, component, attribute } => {
                Kind::DeclTag { type_id: id(type_id), component, attribute }
            }
            Kind::Array { element, index, count } => {
                Kind::Array { element: id(element), index: id(index), count }
            }
            Kind::Compound { compound, bytes, members } => {
                let mut list = from.list(members).to_vec();
                for m in &mut list {
                    *m = Member { name: self.name(set, m.name)?, type_id: id(m.type_id), ..*m };
                }
                Kind::Compound { compound, bytes, members: self.builder.span(list) }
            }
            Kind::Enum { is_64, bytes, signed, values } => {
                let mut list = from.list(values).to_vec();
                for v in &mut list {
                    *v = EnumValue { name: self.name(set, v.name)?, value: v.value };
                }
                Kind::Enum { is_64, bytes, signed, values: self.builder.span(list) }
            }
            Kind::FuncProto { ret, params } => {
                let mut list = from.list(params).to_vec();
                for p in &mut list {
                    *p = Param { name: self.name(set, p.name)?, type_id: id(p.type_id) };
                }
                Kind::FuncProto { ret: id(ret), params: self.builder.span(list) }
            }
            Kind::Datasec { bytes, vars } => {
                let vars = from.list(vars).iter();
                let vars = vars.map(|v| SectionVar { type_id: id(v.type_id), ..*v });
                Kind::Datasec { bytes, vars: self.builder.span(vars) }
            }
        })
    }
}
