//! `.BTF.ext`: which function type, source line and CO-RE relocation belongs to which instruction
//! (`Documentation/bpf/btf.rst`, section 3.6).

use super::wire::Reader;
use crate::error::BtfProblem;
use ebpfvm_spec::btf::{Btf, Name, TypeId};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// A function's type, by the offset of its first instruction in the section.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FuncRecord {
    pub(crate) offset: u32,
    pub(crate) type_id: TypeId,
}

/// A source line, by the offset of its first instruction in the section.
#[derive(Clone, Debug)]
pub(crate) struct LineRecord {
    pub(crate) offset: u32,
    pub(crate) file: Arc<str>,
    pub(crate) text: Arc<str>,
    pub(crate) line: u32,
    pub(crate) column: u32,
}

/// A question about the target's types, by the offset of the instruction that takes the answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CoreRecord {
    pub(crate) offset: u32,
    pub(crate) type_id: TypeId,
    pub(crate) access: Name,
    pub(crate) kind: u32,
}

/// The records of one section, each list in order of offsets.
#[derive(Clone, Debug, Default)]
pub(crate) struct Records {
    pub(crate) funcs: Vec<FuncRecord>,
    pub(crate) lines: Vec<LineRecord>,
    pub(crate) cores: Vec<CoreRecord>,
}

/// All records by section name.
pub(crate) type Ext = HashMap<String, Records>;

/// Reads `.BTF.ext`, whose names lie in the strings of `btf`.
///
/// `sections` are the names of the file's sections.
pub(crate) fn parse(bytes: &[u8], btf: &Btf, sections: &HashSet<&str>) -> Result<Ext, BtfProblem> {
    let order = super::read::byte_order(bytes)?;
    let mut header = Reader::new(bytes, order);
    let [_, header_bytes, funcs_at, funcs_bytes, lines_at, lines_bytes] =
        header.words("the header")?;
    // Older compilers end the header before the CO-RE part.
    let [cores_at, cores_bytes] =
        if header_bytes >= 32 { header.words("the header")? } else { [0, 0] };
    let part = |at: u32, length: u32, what| {
        let mut reader = Reader::new(bytes, order);
        reader.take(u64::from(header_bytes) + u64::from(at), what)?;
        Ok::<_, BtfProblem>(Reader::new(reader.take(length.into(), what)?, order))
    };
    let mut ext = Ext::new();
    let mut texts = Texts { btf, known: HashMap::new(), left: btf.string_bytes() };
    let names = Names { btf, sections };

    let funcs = part(funcs_at, funcs_bytes, "func_info")?;
    names.each::<2>(funcs, "func_info", &mut ext, |records, [offset, type_id]| {
        records.funcs.push(FuncRecord { offset, type_id: TypeId(type_id) });
        Ok(())
    })?;
    let lines = part(lines_at, lines_bytes, "line_info")?;
    names.each::<4>(lines, "line_info", &mut ext, |records, [offset, file, text, place]| {
        let (file, text) = (texts.get(file)?, texts.get(text)?);
        let (line, column) = (place >> 10, place & 0x3ff);
        records.lines.push(LineRecord { offset, file, text, line, column });
        Ok(())
    })?;
    let cores = part(cores_at, cores_bytes, "core_relo")?;
    names.each::<4>(cores, "core_relo", &mut ext, |records, [offset, id, access, kind]| {
        let (type_id, access) = (TypeId(id), Name(access));
        records.cores.push(CoreRecord { offset, type_id, access, kind });
        Ok(())
    })?;
    for records in ext.values_mut() {
        records.funcs.sort_by_key(|r| r.offset);
        records.lines.sort_by_key(|r| r.offset);
        records.cores.sort_by_key(|r| r.offset);
    }
    Ok(ext)
}

/// Texts that many lines share.
struct Texts<'a> {
    btf: &'a Btf,
    known: HashMap<u32, Arc<str>>,
    /// Bytes of text that may still be copied.
    left: usize,
}

impl Texts<'_> {
    /// Different texts of an honest file do not share bytes; were they allowed to, a small file
    /// could make many large copies.
    fn get(&mut self, name: u32) -> Result<Arc<str>, BtfProblem> {
        if let Some(text) = self.known.get(&name) {
            return Ok(text.clone());
        }
        let text = self.btf.str(Name(name));
        self.left = self.left.checked_sub(text.len()).ok_or(BtfProblem::SharedText)?;
        let text: Arc<str> = text.into();
        self.known.insert(name, text.clone());
        Ok(text)
    }
}

/// What the names of sections are looked up in.
struct Names<'a> {
    btf: &'a Btf,
    sections: &'a HashSet<&'a str>,
}

impl Names<'_> {
    /// Goes through the sections of one kind of records, of which the first `N` words are known.
    fn each<const N: usize>(
        &self,
        mut reader: Reader<'_>,
        what: &'static str,
        ext: &mut Ext,
        mut each: impl FnMut(&mut Records, [u32; N]) -> Result<(), BtfProblem>,
    ) -> Result<(), BtfProblem> {
        if reader.left() == 0 {
            return Ok(());
        }
        let record_bytes = reader.word(what)?;
        let expected = 4 * N as u32;
        if record_bytes < expected || record_bytes % 4 != 0 {
            let what = "the size of a record";
            return Err(BtfProblem::Header { what, found: record_bytes, expected });
        }
        while reader.left() > 0 {
            let [section, count] = reader.words(what)?;
            let section = self.btf.str(Name(section));
            if !self.sections.contains(section) {
                return Err(BtfProblem::NoSection { what, section: section.into() });
            }
            let records = ext.entry(section.to_string()).or_default();
            let bytes = reader.take(u64::from(record_bytes) * u64::from(count), what)?;
            for record in bytes.chunks_exact(record_bytes as usize) {
                each(records, Reader::new(record, reader.order()).words(what)?)?;
            }
        }
        Ok(())
    }
}
