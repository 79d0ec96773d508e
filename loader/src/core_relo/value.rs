//! The number that an access gives.

use super::access::{Access, enumerators, members};
use super::{About, CoreKind, CoreProblem, Result};
use ebpfvm_asm::ByteOrder;
use ebpfvm_spec::btf::{Btf, IntEncoding, Kind, TypeId};

/// The numbers of a relocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// From the object's own types: what the instruction should hold.
    pub(super) before: u64,
    /// From the target's types; none if it does not have what is asked for.
    pub(super) after: Option<u64>,
    /// Whether the compiler is known to put `before` into the instruction.
    pub(super) is_checked: bool,
    /// Sizes of the field in the object's and in the target's types, in bytes, when a load or store
    /// has to follow a change.
    pub(super) sizes: Option<(u32, u32)>,
    /// Whether a load or store may follow a change of the size.
    pub(super) may_resize: bool,
}

impl Answer {
    /// A number that is the same everywhere and not checked.
    pub(super) fn number(value: u64) -> Answer {
        Answer {
            before: value,
            after: Some(value),
            is_checked: false,
            sizes: None,
            may_resize: true,
        }
    }
}

/// A number with what is needed to change an instruction.
#[derive(Clone, Copy, Debug)]
struct Number {
    value: u64,
    is_checked: bool,
    /// Size of the field and its type, for the offset of one that is no bit field.
    field: Option<(u32, Kind)>,
}

impl Number {
    fn checked(value: u64) -> Number {
        Number { value, is_checked: true, field: None }
    }
}

/// Computes the numbers of an access in the object's types and in the target's.
pub(super) fn answer(
    kind: CoreKind,
    local: (&Btf, &Access<'_>),
    target: Option<(&Btf, &Access<'_>)>,
    order: ByteOrder,
) -> Result<Answer> {
    let before = number(kind, local, order)?;
    let after = match (target, kind) {
        (Some(target), _) => Some(number(kind, target, order)?),
        // Without the thing, the answer to questions about a type or whether it exists is no.
        (None, CoreKind::FieldExists | CoreKind::EnumeratorExists) => Some(Number::checked(0)),
        (None, _) if kind.about() == About::Type => Some(Number::checked(0)),
        (None, _) => None,
    };
    let fields = before.field.zip(after.and_then(|a| a.field));
    let may_resize = match fields {
        Some(((_, Kind::Ptr(_)), (_, Kind::Ptr(_)))) => true,
        Some(((_, Kind::Int { encoding: a, .. }), (_, Kind::Int { encoding: b, .. }))) => {
            !is_signed_only(a) && !is_signed_only(b)
        }
        _ => false,
    };
    Ok(Answer {
        before: before.value,
        after: after.map(|a| a.value),
        is_checked: before.is_checked,
        sizes: fields.map(|(a, b)| (a.0, b.0)),
        may_resize,
    })
}

fn is_signed_only(encoding: IntEncoding) -> bool {
    encoding.signed && !encoding.char && !encoding.bool
}

fn number(kind: CoreKind, (btf, access): (&Btf, &Access<'_>), order: ByteOrder) -> Result<Number> {
    match kind {
        CoreKind::FieldExists
        | CoreKind::TypeExists
        | CoreKind::TypeMatches
        | CoreKind::EnumeratorExists => Ok(Number::checked(1)),
        // Linking objects may change the id in the instruction.
        CoreKind::TypeIdLocal | CoreKind::TypeIdTarget => {
            Ok(Number { value: access.root.0.into(), is_checked: false, field: None })
        }
        CoreKind::TypeSize => Ok(Number::checked(btf.size_of(access.root)?)),
        CoreKind::EnumeratorValue => enumerator(btf, access),
        _ => field(kind, btf, access, order),
    }
}

fn misfit(btf: &Btf, access: &Access<'_>) -> CoreProblem {
    CoreProblem::Access { text: access.describe(btf), id: access.root }
}

fn enumerator(btf: &Btf, access: &Access<'_>) -> Result<Number> {
    let value = access.points.first().and_then(|point| {
        let kind = btf.kind(point.type_id)?;
        let value = btf.list(enumerators(kind)?).get(point.index as usize)?.value;
        let is_64 = matches!(kind, Kind::Enum { is_64: true, .. });
        // The wire form of 32-bit enums is signed, and that is what instructions hold.
        Some(if is_64 { value as u64 } else { value as i32 as u64 })
    });
    value.map(Number::checked).ok_or_else(|| misfit(btf, access))
}

/// The size of a field; of an array, that of its elements, because they are what is loaded.
fn element_bytes(btf: &Btf, id: TypeId) -> Result<u32> {
    let mut at = btf.resolve(id)?;
    for _ in 0..ebpfvm_spec::btf::MAX_RESOLVE_STEPS {
        match at.1 {
            Kind::Array { element, .. } => at = btf.resolve(element)?,
            _ => return Ok(u32::try_from(btf.size_of(at.0)?).unwrap_or(u32::MAX)),
        }
    }
    Err(CoreProblem::TooComplex)
}

fn field(kind: CoreKind, btf: &Btf, access: &Access<'_>, order: ByteOrder) -> Result<Number> {
    let point = access.points.last().ok_or_else(|| misfit(btf, access))?;
    if point.name.is_none() {
        let (id, _) = btf.resolve(point.type_id)?;
        return match kind {
            CoreKind::FieldByteOffset => {
                let element = btf.kind(point.type_id).unwrap_or(Kind::Void);
                let field = Some((element_bytes(btf, id)?, element));
                Ok(Number { value: access.bit_offset / 8, is_checked: true, field })
            }
            CoreKind::FieldByteSize => Ok(Number::checked(btf.size_of(point.type_id)?)),
            _ => Err(CoreProblem::ArrayElement),
        };
    }
    let list = btf.kind(point.type_id).and_then(members);
    let member = list.and_then(|m| btf.list(m).get(point.index as usize).copied());
    let member = member.ok_or_else(|| misfit(btf, access))?;
    let (field_id, field_kind) = btf.resolve(member.type_id)?;
    let is_bitfield = member.bitfield_bits > 0;
    let (bit_offset, mut bits) = (access.bit_offset, u64::from(member.bitfield_bits));
    let mut bytes = btf.size_of(field_id)?;
    let offset = if is_bitfield {
        if bytes == 0 {
            return Err(CoreProblem::BitField);
        }
        // The smallest aligned load that covers it.
        let mut offset = bit_offset / 8 / bytes * bytes;
        while bit_offset + bits - offset * 8 > bytes * 8 {
            if bytes >= 8 {
                return Err(CoreProblem::BitField);
            }
            bytes *= 2;
            offset = bit_offset / 8 / bytes * bytes;
        }
        offset
    } else {
        bits = bytes * 8;
        bit_offset / 8
    };
    // About bit fields, compilers and libbpf may disagree.
    let number = |value| Number { value, is_checked: !is_bitfield, field: None };
    Ok(match kind {
        CoreKind::FieldByteOffset => {
            let field = (!is_bitfield)
                .then(|| element_bytes(btf, field_id).map(|b| (b, field_kind)))
                .transpose()?;
            Number { field, ..number(offset) }
        }
        CoreKind::FieldByteSize => number(bytes),
        CoreKind::FieldSigned => {
            let signed = match field_kind {
                Kind::Int { encoding, .. } => encoding.signed,
                Kind::Enum { signed, .. } => signed,
                _ => false,
            };
            Number::checked(signed.into())
        }
        CoreKind::FieldLshift => number(match order {
            ByteOrder::Little => 64u64.wrapping_sub(bit_offset + bits - offset * 8),
            ByteOrder::Big => {
                8u64.wrapping_sub(bytes).wrapping_mul(8).wrapping_add(bit_offset - offset * 8)
            }
        }),
        _ => Number::checked(64u64.wrapping_sub(bits)),
    })
}
