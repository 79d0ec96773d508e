//! Sizes and alignments. Every walk has a bound, because a file may hold types that contain
//! themselves.

use super::{Btf, Kind, KindTag, TypeId};

/// Size of a pointer in the data of BPF programs, in bytes.
pub const POINTER_BYTES: u32 = 8;

/// How many qualifiers, typedefs and array levels may stand between a type and its size; the
/// kernel's `MAX_RESOLVE_DEPTH`.
pub const MAX_RESOLVE_STEPS: usize = 32;

/// Why a type has no size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// There is no type with this id.
    #[error("there is no type {0}")]
    NoType(TypeId),
    /// Types of this kind have no values, or their definition is missing.
    #[error("type {0} ({name}) has no size", name = .1.name())]
    NoSize(TypeId, KindTag),
    /// Typedefs, qualifiers and arrays follow one another without end.
    #[error("type {0} stands behind more than {MAX_RESOLVE_STEPS} typedefs, qualifiers or arrays")]
    TooDeep(TypeId),
    /// An array is larger than the address space.
    #[error("type {0} is too large")]
    TooLarge(TypeId),
}

impl Btf {
    /// The type behind all typedefs and qualifiers, or an error if they never end.
    ///
    /// # Errors
    /// [`LayoutError::NoType`], [`LayoutError::TooDeep`].
    pub fn resolve(&self, id: TypeId) -> Result<(TypeId, Kind), LayoutError> {
        self.skip(id, Kind::same_values)
    }

    /// The type behind all qualifiers, typedefs kept.
    ///
    /// # Errors
    /// As [`Btf::resolve`].
    pub fn unqualified(&self, id: TypeId) -> Result<(TypeId, Kind), LayoutError> {
        self.skip(id, Kind::qualified)
    }

    fn skip(
        &self,
        id: TypeId,
        next: impl Fn(&Kind) -> Option<TypeId>,
    ) -> Result<(TypeId, Kind), LayoutError> {
        let mut at = id;
        for _ in 0..=MAX_RESOLVE_STEPS {
            let kind = self.kind(at).ok_or(LayoutError::NoType(at))?;
            match next(&kind) {
                Some(to) => at = to,
                None => return Ok((at, kind)),
            }
        }
        Err(LayoutError::TooDeep(id))
    }

    /// The size of a value of the type in bytes (`btf__resolve_size` of libbpf).
    ///
    /// # Errors
    /// [`LayoutError`]; functions, `void` and forward declarations have no size.
    pub fn size_of(&self, id: TypeId) -> Result<u64, LayoutError> {
        let mut count: u64 = 1;
        let mut at = id;
        for _ in 0..=MAX_RESOLVE_STEPS {
            let kind = self.kind(at).ok_or(LayoutError::NoType(at))?;
            let bytes = match kind {
                Kind::Int { bytes, .. }
                | Kind::Compound { bytes, .. }
                | Kind::Enum { bytes, .. }
                | Kind::Datasec { bytes, .. }
                | Kind::Float { bytes } => bytes,
                Kind::Ptr(_) => POINTER_BYTES,
                Kind::Array { element, count: n, .. } => {
                    count = count.checked_mul(n.into()).ok_or(LayoutError::TooLarge(id))?;
                    at = element;
                    continue;
                }
                Kind::Var { type_id, .. } => {
                    at = type_id;
                    continue;
                }
                _ => {
                    at = kind.same_values().ok_or(LayoutError::NoSize(at, kind.tag()))?;
                    continue;
                }
            };
            return count.checked_mul(bytes.into()).ok_or(LayoutError::TooLarge(id));
        }
        Err(LayoutError::TooDeep(id))
    }

    /// The natural alignment of the type in bytes (`btf__align_of` of libbpf); 1 for a packed
    /// struct. Bounded: deeper nesting than [`MAX_RESOLVE_STEPS`] is an error.
    ///
    /// # Errors
    /// [`LayoutError`], as [`Btf::size_of`].
    pub fn align_of(&self, id: TypeId) -> Result<u32, LayoutError> {
        // Structs nest as a tree that a hostile file can make wide as well as deep.
        let mut budget = 4096;
        self.align_within(id, MAX_RESOLVE_STEPS, &mut budget)
    }

    fn align_within(&self, id: TypeId, depth: usize, budget: &mut u32) -> Result<u32, LayoutError> {
        if depth == 0 || *budget == 0 {
            return Err(LayoutError::TooDeep(id));
        }
        *budget -= 1;
        let (at, kind) = self.resolve(id)?;
        Ok(match kind {
            Kind::Int { bytes, .. } | Kind::Enum { bytes, .. } | Kind::Float { bytes } => {
                bytes.clamp(1, POINTER_BYTES)
            }
            Kind::Ptr(_) => POINTER_BYTES,
            Kind::Array { element, .. } => self.align_within(element, depth - 1, budget)?,
            Kind::Var { type_id, .. } => self.align_within(type_id, depth - 1, budget)?,
            Kind::Compound { bytes, members, .. } => {
                let mut align = 1;
                for m in self.list(members) {
                    let member = self.align_within(m.type_id, depth - 1, budget)?;
                    // A member off its alignment: the struct was declared packed.
                    if m.bitfield_bits == 0 && m.bit_offset % (8 * member) != 0 {
                        return Ok(1);
                    }
                    align = align.max(member);
                }
                if bytes % align == 0 { align } else { 1 }
            }
            _ => return Err(LayoutError::NoSize(at, kind.tag())),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::btf::{BtfBuilder, Compound, IntEncoding, Member, Name};

    fn int(b: &mut BtfBuilder, bytes: u32) -> TypeId {
        let encoding = IntEncoding::default();
        b.push(Name::EMPTY, Kind::Int { bytes, encoding, bit_offset: 0, bits: bytes as u8 * 8 })
    }

    #[test]
    fn sizes_follow_typedefs_and_arrays() {
        let mut b = BtfBuilder::new();
        let i = int(&mut b, 4);
        let t = b.push(Name::EMPTY, Kind::Typedef(i));
        let c = b.push(Name::EMPTY, Kind::Const(t));
        let a = b.push(Name::EMPTY, Kind::Array { element: c, index: i, count: 3 });
        let aa = b.push(Name::EMPTY, Kind::Array { element: a, index: i, count: 5 });
        let p = b.push(Name::EMPTY, Kind::Ptr(TypeId::VOID));
        let btf = b.finish().unwrap();
        assert_eq!(btf.size_of(aa), Ok(60));
        assert_eq!(btf.align_of(aa), Ok(4));
        assert_eq!(btf.size_of(p), Ok(8));
        assert_eq!(
            btf.size_of(TypeId::VOID),
            Err(LayoutError::NoSize(TypeId::VOID, KindTag::Void))
        );
        assert_eq!(btf.size_of(TypeId(99)), Err(LayoutError::NoType(TypeId(99))));
    }

    #[test]
    fn loops_and_overflow_are_errors() {
        let mut b = BtfBuilder::new();
        let t = b.push(Name::EMPTY, Kind::Typedef(TypeId(1)));
        let s = TypeId(2);
        let members =
            b.span([Member { name: Name::EMPTY, type_id: s, bit_offset: 0, bitfield_bits: 0 }]);
        b.push(Name::EMPTY, Kind::Compound { compound: Compound::Struct, bytes: 1, members });
        let mut a = int(&mut b, 8);
        for _ in 0..3 {
            a = b.push(Name::EMPTY, Kind::Array { element: a, index: s, count: u32::MAX });
        }
        let btf = b.finish().unwrap();
        assert_eq!(btf.resolve(t), Err(LayoutError::TooDeep(t)));
        assert_eq!(btf.size_of(t), Err(LayoutError::TooDeep(t)));
        assert!(btf.align_of(s).is_err());
        assert_eq!(btf.size_of(a), Err(LayoutError::TooLarge(a)));
    }

    #[test]
    fn a_packed_struct_is_aligned_to_bytes() {
        let mut b = BtfBuilder::new();
        let (c, i) = (int(&mut b, 1), int(&mut b, 4));
        let member = |type_id, bit_offset| Member {
            name: Name::EMPTY,
            type_id,
            bit_offset,
            bitfield_bits: 0,
        };
        let packed = b.span([member(c, 0), member(i, 8)]);
        let packed = b.push(
            Name::EMPTY,
            Kind::Compound { compound: Compound::Struct, bytes: 5, members: packed },
        );
        let natural = b.span([member(c, 0), member(i, 32)]);
        let natural = b.push(
            Name::EMPTY,
            Kind::Compound { compound: Compound::Struct, bytes: 8, members: natural },
        );
        let btf = b.finish().unwrap();
        assert_eq!(btf.align_of(packed), Ok(1));
        assert_eq!(btf.align_of(natural), Ok(4));
    }
}
