//! BTF to bytes (`Documentation/bpf/btf.rst`): what [`super::read`] reads.

use ebpfvm_asm::ByteOrder;
use ebpfvm_spec::btf::{Btf, Compound, Kind, Linkage, Type, TypeId};

/// Most members, parameters, values or variables of a type: the count has 16 bits.
const MAX_COUNT: usize = 0xffff;
/// Where bit fields end that the wire form can hold: their offsets have 24 bits.
const BITFIELD_END: u32 = 1 << 24;
/// Size of the header in bytes.
const HEADER_BYTES: u32 = 24;

/// What the wire form has no room for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// A type with a field that is too large.
    #[error("type {id} '{name}': {what} is {found}, at most {limit} can be written")]
    TooLarge {
        /// Id of the type.
        id: TypeId,
        /// Its name.
        name: String,
        /// Which field.
        what: &'static str,
        /// What it holds.
        found: u64,
        /// The limit.
        limit: u64,
    },
    /// The whole is too large.
    #[error("types and strings take {bytes} bytes, at most {limit} can be written")]
    Total {
        /// Their size in bytes.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
}

/// Writes a set; of a split one the own part, to be read with the same base.
///
/// # Errors
/// [`WriteError`]: sets that were read never give one.
pub fn encode_btf(btf: &Btf, order: ByteOrder) -> Result<Vec<u8>, WriteError> {
    let mut types = Words { bytes: Vec::new(), order };
    for (id, t) in btf.iter_own().filter(|(id, _)| *id != TypeId::VOID) {
        write_type(btf, id, t, &mut types)?;
    }
    let strings = btf.own_strings();
    let (types_bytes, bytes) = (types.bytes.len(), types.bytes.len() + strings.len());
    let limit = (u32::MAX - HEADER_BYTES) as usize;
    if bytes > limit {
        return Err(WriteError::Total { bytes, limit });
    }
    let mut out = Words { bytes: Vec::with_capacity(bytes + HEADER_BYTES as usize), order };
    // The magic number, the version, no flags.
    let first = match order {
        ByteOrder::Little => 0x0001_eb9f,
        ByteOrder::Big => 0xeb9f_0100,
    };
    let sizes = (types_bytes as u32, strings.len() as u32);
    out.put([first, HEADER_BYTES, 0, sizes.0, sizes.0, sizes.1]);
    out.bytes.append(&mut types.bytes);
    out.bytes.extend_from_slice(strings.as_bytes());
    Ok(out.bytes)
}

/// Bytes made of words in a byte order.
pub(crate) struct Words {
    pub(crate) bytes: Vec<u8>,
    pub(crate) order: ByteOrder,
}

impl Words {
    pub(crate) fn put<const N: usize>(&mut self, words: [u32; N]) {
        for word in words {
            self.bytes.extend_from_slice(&match self.order {
                ByteOrder::Little => word.to_le_bytes(),
                ByteOrder::Big => word.to_be_bytes(),
            });
        }
    }
}

fn write_type(btf: &Btf, id: TypeId, t: Type, out: &mut Words) -> Result<(), WriteError> {
    let too_large = |what, found: u64, limit: u64| {
        let name = btf.name(id).to_string();
        Err(WriteError::TooLarge { id, name, what, found, limit })
    };
    let (flag, count, third) = head(btf, t.kind);
    if count > MAX_COUNT {
        return too_large("the length of its list", count as u64, MAX_COUNT as u64);
    }
    let info = u32::from(flag) << 31 | u32::from(t.kind.tag() as u8) << 24 | count as u32;
    out.put([t.name.0, info, third]);
    match t.kind {
        Kind::Int { encoding: e, bit_offset, bits, .. } => {
            let flags = u32::from(e.signed) | u32::from(e.char) << 1 | u32::from(e.bool) << 2;
            out.put([flags << 24 | u32::from(bit_offset) << 16 | u32::from(bits)]);
        }
        Kind::Array { element, index, count } => out.put([element.0, index.0, count]),
        Kind::Compound { members, .. } => {
            for m in btf.list(members) {
                let offset = if flag {
                    if m.bit_offset >= BITFIELD_END {
                        let limit = u64::from(BITFIELD_END) - 1;
                        return too_large("the bit offset of a member", m.bit_offset.into(), limit);
                    }
                    if m.bitfield_bits > 0xff {
                        return too_large("the width of a bit field", m.bitfield_bits.into(), 0xff);
                    }
                    m.bitfield_bits << 24 | m.bit_offset
                } else {
                    m.bit_offset
                };
                out.put([m.name.0, m.type_id.0, offset]);
            }
        }
        Kind::Enum { is_64, values, .. } => {
            for v in btf.list(values) {
                out.put([v.name.0, v.value as u32]);
                if is_64 {
                    out.put([(v.value as u64 >> 32) as u32]);
                }
            }
        }
        Kind::FuncProto { params, .. } => {
            for p in btf.list(params) {
                out.put([p.name.0, p.type_id.0]);
            }
        }
        Kind::Var { linkage, .. } => out.put([number(linkage)]),
        Kind::Datasec { vars, .. } => {
            for v in btf.list(vars) {
                out.put([v.type_id.0, v.offset, v.bytes]);
            }
        }
        Kind::DeclTag { component, .. } => out.put([component.unwrap_or(u32::MAX)]),
        _ => {}
    }
    Ok(())
}

/// The flag, the count and the third word of a type.
fn head(btf: &Btf, kind: Kind) -> (bool, usize, u32) {
    match kind {
        Kind::Void => (false, 0, 0),
        Kind::Int { bytes, .. } | Kind::Float { bytes } => (false, 0, bytes),
        Kind::Array { .. } => (false, 0, 0),
        Kind::Compound { bytes, members, .. } => {
            let has_bitfield = btf.list(members).iter().any(|m| m.bitfield_bits != 0);
            (has_bitfield, members.len(), bytes)
        }
        Kind::Enum { bytes, signed, values, .. } => (signed, values.len(), bytes),
        Kind::Fwd(compound) => (compound == Compound::Union, 0, 0),
        Kind::Ptr(to)
        | Kind::Typedef(to)
        | Kind::Volatile(to)
        | Kind::Const(to)
        | Kind::Restrict(to)
        | Kind::Var { type_id: to, .. } => (false, 0, to.0),
        Kind::Func { proto, linkage } => (false, number(linkage) as usize, proto.0),
        Kind::FuncProto { ret, params } => (false, params.len(), ret.0),
        Kind::Datasec { bytes, vars } => (false, vars.len(), bytes),
        Kind::DeclTag { type_id, attribute, .. } | Kind::TypeTag { type_id, attribute } => {
            (attribute, 0, type_id.0)
        }
    }
}

const fn number(linkage: Linkage) -> u32 {
    match linkage {
        Linkage::Static => 0,
        Linkage::Global => 1,
        Linkage::Extern => 2,
    }
}
