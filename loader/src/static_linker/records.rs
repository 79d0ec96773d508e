//! `.BTF.ext` of the result.

use super::File;
use super::error::LinkError;
use super::sections::Sections;
use super::symbols::Symbols;
use crate::btf::copy::Copier;
use crate::btf::ext::Records;
use crate::btf::write::Words;
use ebpfvm_asm::ByteOrder;
use ebpfvm_asm::slot::SLOT_BYTES;
use ebpfvm_spec::btf::{Name, TypeId};
use std::collections::BTreeMap;

/// Size of the header in bytes.
const HEADER_BYTES: u32 = 32;

/// The records of one section of the result, in the wire form.
#[derive(Default)]
struct Rewritten {
    funcs: Vec<[u32; 2]>,
    lines: Vec<[u32; 4]>,
    cores: Vec<[u32; 4]>,
}

/// Rewrites the records of all files, whose types and names are in `copier`.
pub(super) fn write<'a>(
    files: &'a [File<'_>],
    sections: &'a Sections,
    symbols: &Symbols,
    of_file: &[usize],
    copier: &mut Copier<'a>,
    new_id: impl Fn(usize, TypeId) -> Option<TypeId>,
) -> Result<Vec<u8>, LinkError> {
    let mut all: BTreeMap<usize, Rewritten> = BTreeMap::new();
    for (set, file) in of_file.iter().enumerate() {
        let f = &files[*file];
        for (index, section) in f.elf.sections.iter().enumerate() {
            let place = sections.place(*file, index).filter(|p| !p.is_copy);
            let is_first = f.by_name.get(&section.name) == Some(&index);
            let (Some(place), true) = (place, is_first) else { continue };
            let Some(records) = f.ext.get(&section.name) else { continue };
            let fault = |offset: u32, what: String| {
                let (file, section) = (f.name.into(), section.name.clone());
                LinkError::Place { file, section, offset: offset.into(), what }
            };
            check_offsets(records, section.bytes).map_err(|(o, what)| fault(o, what.into()))?;
            let alive = |offset: u32| !symbols.is_dead(*file, index, offset.into());
            // Within the section, whose end has been placed.
            let moved = |offset: u32| (place.offset + u64::from(offset)) as u32;
            let id = |offset: u32, id: TypeId| {
                let new = new_id(set, id);
                new.ok_or_else(|| fault(offset, format!("a record refers to type {id}")))
            };
            let out = all.entry(place.section).or_default();
            for r in records.funcs.iter().filter(|r| alive(r.offset)) {
                out.funcs.push([moved(r.offset), id(r.offset, r.type_id)?.0]);
            }
            for r in records.lines.iter().filter(|r| alive(r.offset)) {
                let (file, text) = (copier.text(&r.file)?, copier.text(&r.text)?);
                let place = r.line << 10 | r.column & 0x3ff;
                out.lines.push([moved(r.offset), file.0, text.0, place]);
            }
            for r in records.cores.iter().filter(|r| alive(r.offset)) {
                let text = f.btf.as_ref().map_or("", |btf| btf.str(r.access));
                let access = copier.text(text)?;
                let type_id = id(r.offset, r.type_id)?;
                out.cores.push([moved(r.offset), type_id.0, access.0, r.kind]);
            }
        }
    }
    let mut named = Vec::new();
    for (section, records) in all {
        named.push((copier.text(&sections.list[section].name)?, records));
    }
    Ok(encode(files[0].elf.order, &named))
}

fn check_offsets(records: &Records, bytes: u64) -> Result<(), (u32, &'static str)> {
    if let Some(offset) = records.misaligned() {
        return Err((offset, "a record for the middle of an instruction"));
    }
    let funcs = records.funcs.last().map(|r| r.offset);
    let lines = records.lines.last().map(|r| r.offset);
    let cores = records.cores.last().map(|r| r.offset);
    let last = funcs.into_iter().chain(lines).chain(cores).max();
    match last.filter(|o| u64::from(*o) + SLOT_BYTES as u64 > bytes) {
        Some(offset) => Err((offset, "a record beyond the end of the section")),
        None => Ok(()),
    }
}

fn encode(order: ByteOrder, named: &[(Name, Rewritten)]) -> Vec<u8> {
    let mut body = Words { bytes: Vec::new(), order };
    let mut parts = Vec::new();
    let mut part = |body: &mut Words, add: &dyn Fn(&mut Words)| {
        let start = body.bytes.len() as u32;
        add(body);
        parts.extend([start, body.bytes.len() as u32 - start]);
    };
    part(&mut body, &|out| table(out, named, |r| &r.funcs));
    part(&mut body, &|out| table(out, named, |r| &r.lines));
    part(&mut body, &|out| table(out, named, |r| &r.cores));
    let first = match order {
        ByteOrder::Little => 0x0001_eb9f,
        ByteOrder::Big => 0xeb9f_0100,
    };
    let mut out = Words { bytes: Vec::new(), order };
    out.put([first, HEADER_BYTES]);
    for word in parts {
        out.put([word]);
    }
    out.bytes.append(&mut body.bytes);
    out.bytes
}

/// One kind of records by section; nothing at all if there are none.
fn table<const N: usize>(
    out: &mut Words,
    named: &[(Name, Rewritten)],
    records: impl Fn(&Rewritten) -> &Vec<[u32; N]>,
) {
    let with = || named.iter().map(|(n, r)| (n, records(r))).filter(|(_, r)| !r.is_empty());
    if with().next().is_none() {
        return;
    }
    out.put([4 * N as u32]);
    for (name, records) in with() {
        out.put([name.0, records.len() as u32]);
        for record in records {
            out.put(*record);
        }
    }
}
