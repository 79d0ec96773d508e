//! BTF from bytes (`Documentation/bpf/btf.rst`): the `.BTF` section of objects, or a raw file such
//! as the kernel's own.

use super::wire::Reader;
use crate::error::{BtfProblem, Problem, Result as LoadResult};
use ebpfvm_asm::ByteOrder;
use ebpfvm_spec::btf::{
    Btf, BtfBuilder, Compound, EnumValue, IntEncoding, Kind, Linkage, Member, Name, Param,
    SectionVar, TypeId,
};
use object::Endianness;
use object::elf::FileHeader64;
use object::read::elf::{FileHeader as _, SectionHeader as _};
use std::sync::Arc;

/// `BTF_MAGIC`
const MAGIC: u16 = 0xeb9f;
/// Size of the header that is known, in bytes.
const HEADER_BYTES: u32 = 24;

/// Reads BTF from a raw file.
///
/// `base` is the set that split BTF, such as a kernel module's, goes on from.
///
/// # Errors
/// [`BtfProblem`]: what is wrong and with which type.
pub fn parse_btf(bytes: &[u8], base: Option<Arc<Btf>>) -> Result<Btf, BtfProblem> {
    builder(bytes, base)?.finish().map_err(Into::into)
}

/// Reads BTF from a raw file or from the section `.BTF` of a 64-bit ELF file for any machine, such as
/// a kernel's `vmlinux`.
///
/// # Errors
/// As [`parse_btf`]; of ELF files also that it is none or has no such section.
pub fn parse_btf_file(bytes: &[u8]) -> Result<Btf, BtfProblem> {
    if !bytes.starts_with(&object::elf::ELFMAG) {
        return parse_btf(bytes, None);
    }
    let problem = |error: object::Error| BtfProblem::Elf(error.to_string());
    let header = FileHeader64::<Endianness>::parse(bytes).map_err(problem)?;
    let endian = header.endian().map_err(problem)?;
    let sections = header.sections(endian, bytes).map_err(problem)?;
    let found = sections.section_by_name(endian, b".BTF");
    let (_, section) = found.ok_or(BtfProblem::NoTypes)?;
    parse_btf(section.data(endian, bytes).map_err(problem)?, None)
}

/// The byte order that the magic number tells.
pub(crate) fn byte_order(bytes: &[u8]) -> Result<ByteOrder, BtfProblem> {
    let Some(magic) = bytes.first_chunk::<2>() else {
        return Err(BtfProblem::Truncated { what: "the header", bytes: 24, left: bytes.len() });
    };
    match (u16::from_le_bytes(*magic), u16::from_be_bytes(*magic)) {
        (MAGIC, _) => Ok(ByteOrder::Little),
        (_, MAGIC) => Ok(ByteOrder::Big),
        (found, _) => Err(BtfProblem::Header {
            what: "the magic number",
            found: found.into(),
            expected: MAGIC.into(),
        }),
    }
}

/// Reads all types; references between them are checked when the builder finishes.
pub(crate) fn builder(bytes: &[u8], base: Option<Arc<Btf>>) -> Result<BtfBuilder, BtfProblem> {
    let order = byte_order(bytes)?;
    let mut header = Reader::new(bytes, order);
    let [first, header_bytes, types_at, types_bytes, strings_at, strings_bytes] =
        header.words("the header")?;
    let version = match order {
        ByteOrder::Little => first >> 16 & 0xff,
        ByteOrder::Big => first >> 8 & 0xff,
    };
    if version != 1 {
        let what = "the version";
        return Err(BtfProblem::Header { what, found: version, expected: 1 });
    }
    if header_bytes < HEADER_BYTES {
        let what = "the size of the header";
        return Err(BtfProblem::Header { what, found: header_bytes, expected: HEADER_BYTES });
    }
    let part = |at: u32, length: u32, what| {
        let mut reader = Reader::new(bytes, order);
        reader.take(u64::from(header_bytes) + u64::from(at), what)?;
        reader.take(length.into(), what)
    };
    let types = part(types_at, types_bytes, "the types")?;
    let strings = part(strings_at, strings_bytes, "the strings")?;
    let starts = base.is_some() || strings.first() == Some(&0);
    if !starts || strings.last().is_some_and(|b| *b != 0) {
        return Err(BtfProblem::Strings);
    }
    let mut builder = BtfBuilder::with_strings(text(strings), base);
    let mut reader = Reader::new(types, order);
    while reader.left() > 0 {
        read_type(&mut reader, &mut builder)?;
    }
    Ok(builder)
}

/// The string table as text. Compilers write UTF-8; a byte that is not shows as `?`, so that
/// offsets stay what they are.
fn text(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(_) => bytes.iter().map(|b| if b.is_ascii() { char::from(*b) } else { '?' }).collect(),
    }
}

fn signed_values(flag: bool, [name, value]: [u32; 2]) -> EnumValue {
    let value = if flag { i64::from(value as i32) } else { i64::from(value) };
    EnumValue { name: Name(name), value }
}

fn read_type(reader: &mut Reader<'_>, b: &mut BtfBuilder) -> Result<(), BtfProblem> {
    let id = TypeId(b.so_far().len() as u32);
    let [name, info, size_or_type] = reader.words("a type")?;
    let (count, kind, flag) = (info & 0xffff, info >> 24 & 0x1f, info >> 31 == 1);
    let (bytes, to) = (size_or_type, TypeId(size_or_type));
    let compound = |is_union| if is_union { Compound::Union } else { Compound::Struct };
    let kind = match kind {
        1 => {
            let word = reader.word("an integer")?;
            let (encoding, bit_offset, bits) = (word >> 24, word >> 16 & 0xff, word & 0xff);
            let (found, what) = (bits.into(), "the number of bits");
            if bits > 128 || bit_offset + bits > 128 || bits > bytes.saturating_mul(8) {
                let expected = "at most 128 and within the integer";
                return Err(BtfProblem::Field { id, what, found, expected });
            }
            let encoding = IntEncoding {
                signed: encoding & 1 != 0,
                char: encoding & 2 != 0,
                bool: encoding & 4 != 0,
            };
            Kind::Int { bytes, encoding, bit_offset: bit_offset as u8, bits: bits as u8 }
        }
        2 => Kind::Ptr(to),
        3 => {
            let [element, index, count] = reader.words("an array")?;
            Kind::Array { element: TypeId(element), index: TypeId(index), count }
        }
        4 | 5 => {
            let members = reader.records::<3>(count, "the members")?;
            let members = b.span(members.map(|[name, type_id, offset]| {
                // With the flag, the upper byte holds the width of a bit field.
                let (bit_offset, bits) =
                    if flag { (offset & 0xff_ffff, offset >> 24) } else { (offset, 0) };
                let (name, type_id) = (Name(name), TypeId(type_id));
                Member { name, type_id, bit_offset, bitfield_bits: bits }
            }));
            Kind::Compound { compound: compound(kind == 5), bytes, members }
        }
        6 => {
            let values = reader.records::<2>(count, "the enumerators")?;
            let values = b.span(values.map(|v| signed_values(flag, v)));
            Kind::Enum { is_64: false, bytes, signed: flag, values }
        }
        7 => Kind::Fwd(compound(flag)),
        8 => Kind::Typedef(to),
        9 => Kind::Volatile(to),
        10 => Kind::Const(to),
        11 => Kind::Restrict(to),
        12 => Kind::Func { proto: to, linkage: linkage(id, count)? },
        13 => {
            let params = reader.records::<2>(count, "the parameters")?;
            let params = b.span(
                params.map(|[name, type_id]| Param { name: Name(name), type_id: TypeId(type_id) }),
            );
            Kind::FuncProto { ret: to, params }
        }
        14 => Kind::Var { type_id: to, linkage: linkage(id, reader.word("a variable")?)? },
        15 => {
            let vars = reader.records::<3>(count, "the variables")?;
            let vars = b.span(vars.map(|[type_id, offset, bytes]| SectionVar {
                type_id: TypeId(type_id),
                offset,
                bytes,
            }));
            Kind::Datasec { bytes, vars }
        }
        16 => Kind::Float { bytes },
        17 => {
            let component = reader.word("a tag")?;
            let component = (component != u32::MAX).then_some(component);
            Kind::DeclTag { type_id: to, component, attribute: flag }
        }
        18 => Kind::TypeTag { type_id: to, attribute: flag },
        19 => {
            let values = reader.records::<3>(count, "the enumerators")?;
            let values = b.span(values.map(|[name, low, high]| EnumValue {
                name: Name(name),
                value: (u64::from(high) << 32 | u64::from(low)) as i64,
            }));
            Kind::Enum { is_64: true, bytes, signed: flag, values }
        }
        kind => return Err(BtfProblem::Kind { id, kind }),
    };
    b.push(Name(name), kind);
    Ok(())
}

fn linkage(id: TypeId, number: u32) -> Result<Linkage, BtfProblem> {
    match number {
        0 => Ok(Linkage::Static),
        1 => Ok(Linkage::Global),
        2 => Ok(Linkage::Extern),
        n => Err(BtfProblem::Field {
            id,
            what: "the linkage",
            found: n.into(),
            expected: "0 (static), 1 (global) or 2 (extern)",
        }),
    }
}

/// Names the section of a problem.
pub(crate) fn in_section<T>(section: &str, result: Result<T, BtfProblem>) -> LoadResult<T> {
    result.map_err(|problem| Problem::Btf(problem).in_section(section))
}
