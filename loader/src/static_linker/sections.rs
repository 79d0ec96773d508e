//! Sections of one name, one after the other.

use super::File;
use super::error::LinkError;
use super::symbols::Symbols;
use crate::elf::{Home, Reloc, RelocKind, Section};
use ebpfvm_asm::ByteOrder;
use ebpfvm_asm::slot::SLOT_BYTES;
use object::elf as e;
use std::collections::HashMap;

/// Largest alignment in bytes: a page of the machines with the largest pages.
const MAX_ALIGN: u64 = 1 << 16;
/// Most content of the result in bytes. The files vouch for their own content, but not for the gaps
/// that alignment makes.
const MAX_BYTES: u64 = 256 << 20;
/// Most sections: with one of relocations for each and some tables the numbers of sections have to fit
/// 16 bits.
const MAX_SECTIONS: u64 = 32_000;
/// Sections that every file has for itself and that have to agree.
const AGREED: [&str; 2] = ["license", "version"];

/// A section of the result.
pub(super) struct Joined {
    pub(super) name: String,
    pub(super) kind: u32,
    pub(super) flags: u64,
    pub(super) entry_bytes: u64,
    pub(super) align: u64,
    /// The content; empty for `SHT_NOBITS`.
    pub(super) data: Vec<u8>,
    /// The size in memory in bytes.
    pub(super) bytes: u64,
    /// With indices into the symbols of the result.
    pub(super) relocs: Vec<Reloc>,
    /// The first file that has it.
    file: usize,
}

/// Where a section of a file went.
#[derive(Clone, Copy)]
pub(super) struct Placed {
    /// Index in the result.
    pub(super) section: usize,
    /// Offset there in bytes.
    pub(super) offset: u64,
    /// Whether another file's section of the same content stands for it.
    pub(super) is_copy: bool,
}

pub(super) struct Sections {
    pub(super) list: Vec<Joined>,
    by_name: HashMap<String, usize>,
    /// By file and section.
    places: Vec<Vec<Option<Placed>>>,
}

/// Sections that are made anew, whatever their flags say.
const REMADE: [&str; 2] = [".BTF", ".BTF.ext"];

/// Whether a section is of no consequence: neither in memory nor holding anything.
fn is_left_out(section: &Section<'_>) -> bool {
    REMADE.contains(&section.name.as_str())
        || section.flags & e::SHF_ALLOC.0 == 0
        || section.is_code() && section.bytes == 0
}

impl Sections {
    pub(super) fn join(files: &[File<'_>]) -> Result<Sections, LinkError> {
        let mut sections =
            Sections { list: Vec::new(), by_name: HashMap::new(), places: Vec::new() };
        for (file, f) in files.iter().enumerate() {
            let mut places = Vec::with_capacity(f.elf.sections.len());
            for section in &f.elf.sections {
                places.push(if is_left_out(section) {
                    None
                } else {
                    let next = sections.list.len();
                    let index = *sections.by_name.entry(section.name.clone()).or_insert(next);
                    Some(sections.append(files, file, section, index)?)
                });
            }
            sections.places.push(places);
        }
        let (found, limit) = (sections.list.len() as u64, MAX_SECTIONS);
        if found > limit {
            return Err(LinkError::TooLarge { what: "the number of sections", found, limit });
        }
        Ok(sections)
    }

    pub(super) fn named(&self, name: &str) -> Option<&Joined> {
        self.by_name.get(name).map(|i| &self.list[*i])
    }

    /// Where a section went; none if it was left out.
    pub(super) fn place(&self, file: usize, section: usize) -> Option<Placed> {
        self.places[file].get(section).copied().flatten()
    }

    fn append(
        &mut self,
        files: &[File<'_>],
        file: usize,
        section: &Section<'_>,
        index: usize,
    ) -> Result<Placed, LinkError> {
        check(files[file].name, section)?;
        if index == self.list.len() {
            self.list.push(Joined {
                name: section.name.clone(),
                kind: section.kind,
                flags: section.flags,
                entry_bytes: section.entry_bytes,
                align: 1,
                data: Vec::new(),
                bytes: 0,
                relocs: Vec::new(),
                file,
            });
        }
        let joined = &mut self.list[index];
        let (first, second) = (files[joined.file].name, files[file].name);
        let properties = [
            ("the type", joined.kind.into(), section.kind.into()),
            ("the set of flags", joined.flags, section.flags),
            ("the size of an entry", joined.entry_bytes, section.entry_bytes),
        ];
        for (what, expected, found) in properties {
            if expected != found {
                let (first, second) = (first.into(), second.into());
                let section = section.name.clone();
                return Err(LinkError::Section { section, what, first, expected, second, found });
            }
        }
        if joined.file != file && AGREED.contains(&section.name.as_str()) {
            if joined.data != section.data {
                return Err(LinkError::Content {
                    section: section.name.clone(),
                    first: first.into(),
                    expected: shown(&joined.data).into(),
                    second: second.into(),
                    found: shown(section.data).into(),
                });
            }
            return Ok(Placed { section: index, offset: 0, is_copy: true });
        }
        // libbpf aligns to the largest alignment so far.
        let align = section.align.max(joined.align);
        let too_large = |found| {
            let what = "the number of bytes of a section";
            Err(LinkError::TooLarge { what, found, limit: MAX_BYTES })
        };
        let offset = joined.bytes.checked_next_multiple_of(align);
        let Some((offset, end)) = offset.and_then(|o| Some((o, o.checked_add(section.bytes)?)))
        else {
            return too_large(u64::MAX);
        };
        joined.align = align;
        joined.bytes = end;
        if !section.is_nobits() {
            if end > MAX_BYTES {
                return too_large(end);
            }
            joined.data.resize(offset as usize, 0);
            joined.data.extend_from_slice(section.data);
        }
        Ok(Placed { section: index, offset, is_copy: false })
    }

    /// Gives the relocations of all files to the result, and adapts what they are relative to.
    pub(super) fn relocate(
        &mut self,
        files: &[File<'_>],
        symbols: &Symbols,
    ) -> Result<(), LinkError> {
        for (file, f) in files.iter().enumerate() {
            for (index, section) in f.elf.sections.iter().enumerate() {
                let Some(place) = self.place(file, index) else { continue };
                if place.is_copy {
                    continue;
                }
                for reloc in &section.relocs {
                    if symbols.is_dead(file, index, reloc.offset) {
                        continue;
                    }
                    self.relocate_one(f, file, place, reloc, symbols).map_err(|what| {
                        let (file, section) = (f.name.into(), section.name.clone());
                        LinkError::Place { file, section, offset: reloc.offset, what }
                    })?;
                }
            }
        }
        Ok(())
    }

    fn relocate_one(
        &mut self,
        f: &File<'_>,
        file: usize,
        place: Placed,
        reloc: &Reloc,
        symbols: &Symbols,
    ) -> Result<(), String> {
        let symbol = &f.elf.symbols[reloc.symbol];
        let Some(new) = symbols.of(file, reloc.symbol) else {
            let name = f.elf.symbol_name(symbol);
            return Err(format!("the relocation refers to '{name}', which is not linked"));
        };
        let moved = match symbol.home {
            Home::Section(home) if symbol.is_section => {
                self.place(file, home).map_or(0, |p| p.offset)
            }
            _ => 0,
        };
        let joined = &mut self.list[place.section];
        let offset = place.offset + reloc.offset;
        if moved != 0 {
            add(&mut joined.data, offset, reloc.kind, moved, f.elf.order)?;
        }
        joined.relocs.push(Reloc { offset, symbol: new as usize, kind: reloc.kind });
        Ok(())
    }
}

/// Adds the distance by which a section moved to what a relocation against it is relative to.
fn add(
    data: &mut [u8],
    offset: u64,
    kind: RelocKind,
    moved: u64,
    order: ByteOrder,
) -> Result<(), String> {
    // The immediate of an instruction is its second half; of a call it counts instructions.
    let (skip, width, moved) = match kind {
        RelocKind::R64_64 => (4, 4, moved),
        RelocKind::R64_32 => (4, 4, moved / SLOT_BYTES as u64),
        RelocKind::ABS64 => (0, 8, moved),
        RelocKind::ABS32 => (0, 4, moved),
        other => return Err(format!("{other}, expected one of instructions or data")),
    };
    let start = offset as usize + skip;
    let Some(bytes) = data.get_mut(start..start + width) else {
        return Err(format!("{kind} changes {width} bytes, but the section ends before"));
    };
    let mut value = [0; 8];
    match order {
        ByteOrder::Little => {
            value[..width].copy_from_slice(bytes);
            let sum = u64::from_le_bytes(value).wrapping_add(moved);
            bytes.copy_from_slice(&sum.to_le_bytes()[..width]);
        }
        ByteOrder::Big => {
            value[8 - width..].copy_from_slice(bytes);
            let sum = u64::from_be_bytes(value).wrapping_add(moved);
            bytes.copy_from_slice(&sum.to_be_bytes()[8 - width..]);
        }
    }
    Ok(())
}

fn check(file: &str, section: &Section<'_>) -> Result<(), LinkError> {
    let (file, name) = (file.to_string(), section.name.clone());
    if !section.is_progbits() && !section.is_nobits() {
        return Err(LinkError::SectionKind { file, section: name, kind: section.kind });
    }
    let align = section.align.max(1);
    if !align.is_power_of_two() || align > MAX_ALIGN {
        return Err(LinkError::Align { file, section: name, align, limit: MAX_ALIGN });
    }
    Ok(())
}

/// The content of a short section for people: as text if it is one.
fn shown(data: &[u8]) -> String {
    /// Longer than any licence's name.
    const MAX_BYTES: usize = 64;
    let text = data.strip_suffix(&[0]).unwrap_or(data);
    let text = &text[..text.len().min(MAX_BYTES)];
    match std::str::from_utf8(text) {
        Ok(text) if text.chars().all(|c| !c.is_control()) => format!("\"{text}\""),
        _ => text.iter().map(|b| format!("{b:02x}")).collect::<Vec<_>>().join(" "),
    }
}
