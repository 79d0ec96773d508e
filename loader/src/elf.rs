//! ELF: sections, symbols and relocations, with everything that they say about sizes and indexes
//! checked. Nothing here knows what a section means.

use crate::error::{Problem, Result};
use ebpfvm_asm::ByteOrder;
use object::elf as e;
use object::read::elf::{FileHeader, Rel as _, SectionHeader as _, Sym as _};
use object::{Endian as _, Endianness};
use std::fmt;

type Header = e::FileHeader64<Endianness>;

/// The type of a relocation (`R_BPF_*` of LLVM's `BPFRelocations`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RelocKind(pub u32);

impl RelocKind {
    /// A 64-bit immediate load: a map, a variable or a function's address.
    pub const R64_64: RelocKind = RelocKind(1);
    /// 8 bytes of data.
    pub const ABS64: RelocKind = RelocKind(2);
    /// 4 bytes of data.
    pub const ABS32: RelocKind = RelocKind(3);
    /// 4 bytes of BTF data.
    pub const NODYLD32: RelocKind = RelocKind(4);
    /// A call.
    pub const R64_32: RelocKind = RelocKind(10);
}

impl fmt::Display for RelocKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            RelocKind::R64_64 => f.write_str("R_BPF_64_64"),
            RelocKind::ABS64 => f.write_str("R_BPF_64_ABS64"),
            RelocKind::ABS32 => f.write_str("R_BPF_64_ABS32"),
            RelocKind::NODYLD32 => f.write_str("R_BPF_64_NODYLD32"),
            RelocKind::R64_32 => f.write_str("R_BPF_64_32"),
            RelocKind(other) => write!(f, "relocation type {other}"),
        }
    }
}

/// A relocation of a section.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reloc {
    /// Offset of the bytes to change, within the section.
    pub(crate) offset: u64,
    /// Index into [`Elf::symbols`]; in range.
    pub(crate) symbol: usize,
    pub(crate) kind: RelocKind,
}

#[derive(Debug)]
pub(crate) struct Section<'a> {
    pub(crate) name: String,
    pub(crate) kind: u32,
    pub(crate) flags: u64,
    /// Alignment in bytes; 0 and 1 both mean none.
    pub(crate) align: u64,
    /// Size of an entry in bytes, of sections with entries of one size.
    pub(crate) entry_bytes: u64,
    /// The content; empty for `SHT_NOBITS`.
    pub(crate) data: &'a [u8],
    /// The size in memory, which for `SHT_NOBITS` nothing in the file vouches for.
    pub(crate) bytes: u64,
    /// In order of their offsets.
    pub(crate) relocs: Vec<Reloc>,
}

impl Section<'_> {
    pub(crate) fn is_progbits(&self) -> bool {
        self.kind == e::SHT_PROGBITS.0
    }

    pub(crate) fn is_nobits(&self) -> bool {
        self.kind == e::SHT_NOBITS.0
    }

    /// Whether it holds instructions.
    pub(crate) fn is_code(&self) -> bool {
        self.is_progbits() && self.flags & e::SHF_EXECINSTR.0 != 0
    }
}

/// Where a symbol is defined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Home {
    /// Elsewhere: an extern.
    Undefined,
    /// In this section; in range.
    Section(usize),
    /// Absolute, common or reserved.
    Special(u16),
}

#[derive(Debug)]
pub(crate) struct Symbol {
    pub(crate) name: String,
    pub(crate) value: u64,
    pub(crate) bytes: u64,
    pub(crate) home: Home,
    /// `STT_*`
    pub(crate) kind: u8,
    pub(crate) is_func: bool,
    pub(crate) is_section: bool,
    pub(crate) is_local: bool,
    pub(crate) is_weak: bool,
    /// `STV_HIDDEN` or `STV_INTERNAL`.
    pub(crate) is_hidden: bool,
}

/// A checked ELF file.
#[derive(Debug)]
pub(crate) struct Elf<'a> {
    pub(crate) order: ByteOrder,
    /// By section index; the null section first.
    pub(crate) sections: Vec<Section<'a>>,
    pub(crate) symbols: Vec<Symbol>,
}

impl<'a> Elf<'a> {
    /// Reads and checks the tables.
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Elf<'a>> {
        let header = check_header(bytes)?;
        let endian = header.endian().map_err(|err| table("the file header", err))?;
        let order = if endian.is_big_endian() { ByteOrder::Big } else { ByteOrder::Little };
        let headers =
            header.section_headers(endian, bytes).map_err(|err| table("the section table", err))?;
        let names = header.section_strings(endian, bytes, headers);
        let names = names.map_err(|err| table("the section names", err))?;

        let mut sections = Vec::with_capacity(headers.len());
        for header in headers {
            let name = header.name(endian, names).map_err(|err| table("a section name", err))?;
            let name = String::from_utf8_lossy(name).into_owned();
            let size = header.sh_size(endian);
            let data = header.data(endian, bytes).map_err(|_| {
                let (at, file_bytes) = (header.sh_offset(endian), bytes.len() as u64);
                Problem::SectionOutside { bytes: size, at, file_bytes }.in_section(&name)
            })?;
            sections.push(Section {
                name,
                kind: header.sh_type(endian).0,
                flags: header.sh_flags(endian).0,
                align: header.sh_addralign(endian),
                entry_bytes: header.sh_entsize(endian),
                data,
                bytes: size,
                relocs: Vec::new(),
            });
        }
        check_overlaps(headers, endian, &sections)?;

        let mut elf = Elf { order, sections, symbols: Vec::new() };
        let symbol_table = elf.read_symbols(bytes, headers, endian)?;
        elf.read_relocs(bytes, headers, endian, symbol_table)?;
        Ok(elf)
    }

    /// The index of the first section with this name.
    pub(crate) fn section_index(&self, name: &str) -> Option<usize> {
        self.sections.iter().position(|s| s.name == name)
    }

    /// The first section with this name.
    pub(crate) fn section(&self, name: &str) -> Option<&Section<'a>> {
        self.section_index(name).map(|i| &self.sections[i])
    }

    /// The name of the section a symbol is in, for messages.
    pub(crate) fn home_name(&self, symbol: &Symbol) -> String {
        match symbol.home {
            Home::Section(i) => self.sections[i].name.clone(),
            Home::Undefined => "(undefined)".into(),
            Home::Special(n) => format!("(special {n:#x})"),
        }
    }

    /// The name of a symbol, or of its section for section symbols, for messages.
    pub(crate) fn symbol_name(&self, symbol: &Symbol) -> String {
        if symbol.name.is_empty() { self.home_name(symbol) } else { symbol.name.clone() }
    }

    fn read_symbols(
        &mut self,
        bytes: &'a [u8],
        headers: &'a [e::SectionHeader64<Endianness>],
        endian: Endianness,
    ) -> Result<usize> {
        let mut tables =
            headers.iter().enumerate().filter(|(_, h)| h.sh_type(endian) == e::SHT_SYMTAB);
        let Some((index, header)) = tables.next() else { return Ok(0) };
        if tables.next().is_some() {
            return Err(Problem::Twice("symbol table").anywhere());
        }
        let name = self.sections[index].name.clone();
        let entry = header.sh_entsize(endian);
        if entry != 24 || header.sh_size(endian) % 24 != 0 {
            let what = "the size of a symbol";
            let expected = "24, with a whole number of symbols".into();
            return Err(Problem::Size { what, found: entry, expected }.in_section(&name));
        }
        let in_table = |err: object::Error| {
            Problem::Table { what: "the symbol table", reason: err.to_string() }.in_section(&name)
        };
        let symbols: &[e::Sym64<Endianness>] =
            header.data_as_array(endian, bytes).map_err(in_table)?;
        let strings_index = header.sh_link(endian) as usize;
        let strings = headers.get(strings_index).ok_or_else(|| {
            let what = "the index of the symbol names";
            let expected = format!("below {}", headers.len());
            Problem::Size { what, found: strings_index as u64, expected }.in_section(&name)
        })?;
        let strings = strings.strings(endian, bytes).map_err(in_table)?.unwrap_or_default();
        for (i, symbol) in symbols.iter().enumerate() {
            let at = i as u64 * 24;
            let text = symbol.name(endian, strings).map_err(|err| {
                Problem::Table { what: "a symbol's name", reason: err.to_string() }.at(&name, at)
            })?;
            let section = symbol.st_shndx(endian).0;
            let home = match section {
                0 => Home::Undefined,
                n if n >= e::SHN_LORESERVE => Home::Special(n),
                n if usize::from(n) < self.sections.len() => Home::Section(n.into()),
                n => {
                    let what = "the section of a symbol";
                    let expected = format!("below {}", self.sections.len());
                    return Err(Problem::Size { what, found: n.into(), expected }.at(&name, at));
                }
            };
            let visibility = symbol.st_other().0 & 3;
            self.symbols.push(Symbol {
                name: String::from_utf8_lossy(text).into_owned(),
                value: symbol.st_value(endian),
                bytes: symbol.st_size(endian),
                home,
                kind: symbol.st_type().0,
                is_func: symbol.st_type() == e::STT_FUNC,
                is_section: symbol.st_type() == e::STT_SECTION,
                is_local: symbol.st_bind() == e::STB_LOCAL,
                is_weak: symbol.st_bind() == e::STB_WEAK,
                is_hidden: visibility == 1 || visibility == 2,
            });
        }
        Ok(index)
    }

    /// Reads the relocations of the sections that end up in a program or a map; those of debugging
    /// information are nobody's business here.
    fn read_relocs(
        &mut self,
        bytes: &'a [u8],
        headers: &'a [e::SectionHeader64<Endianness>],
        endian: Endianness,
        symbol_table: usize,
    ) -> Result<()> {
        for (index, header) in headers.iter().enumerate() {
            let kind = header.sh_type(endian);
            if kind != e::SHT_REL && kind != e::SHT_RELA {
                continue;
            }
            let name = self.sections[index].name.clone();
            let bad = |what, found: u64, expected: String| {
                Err(Problem::Size { what, found, expected }.in_section(&name))
            };
            let target = header.sh_info(endian) as usize;
            if target >= self.sections.len() {
                let expected = format!("below {}", self.sections.len());
                return bad("the index of the relocated section", target as u64, expected);
            }
            let section = &self.sections[target];
            if section.flags & e::SHF_ALLOC.0 == 0 {
                continue;
            }
            if kind == e::SHT_RELA {
                return bad("the section type", kind.0.into(), "SHT_REL (9)".into());
            }
            let (entry, size) = (header.sh_entsize(endian), header.sh_size(endian));
            if entry != 16 || size % 16 != 0 {
                let expected = "16, with a whole number of relocations".into();
                return bad("the size of a relocation", entry, expected);
            }
            if header.sh_link(endian) as usize != symbol_table {
                let expected = format!("{symbol_table}, the symbol table");
                return bad("the linked section", header.sh_link(endian).into(), expected);
            }
            let entries: &[e::Rel64<Endianness>] =
                header.data_as_array(endian, bytes).map_err(|err| table("the relocations", err))?;
            let mut relocs = Vec::with_capacity(entries.len());
            for (i, entry) in entries.iter().enumerate() {
                let at = i as u64 * 16;
                let offset = entry.r_offset(endian);
                let symbol = entry.r_sym(endian);
                if offset >= section.bytes {
                    let bytes = section.bytes;
                    return Err(Problem::RelocOutOfRange { offset, bytes }.at(&name, at));
                }
                if symbol as usize >= self.symbols.len() {
                    let (symbol, count) = (symbol.into(), self.symbols.len());
                    return Err(Problem::SymbolOutOfRange { symbol, count }.at(&name, at));
                }
                let kind = RelocKind(entry.r_type(endian).0);
                relocs.push(Reloc { offset, symbol: symbol as usize, kind });
            }
            relocs.sort_by_key(|r| r.offset);
            let section = &mut self.sections[target];
            if section.relocs.is_empty() {
                section.relocs = relocs;
            } else {
                let what = "relocation section for one section";
                return Err(Problem::Twice(what).in_section(&name));
            }
        }
        Ok(())
    }
}

fn table(what: &'static str, err: object::Error) -> Box<crate::error::Fault> {
    Problem::Table { what, reason: err.to_string() }.anywhere()
}

fn check_header(bytes: &[u8]) -> Result<&Header> {
    if !bytes.starts_with(&e::ELFMAG) {
        let why =
            if bytes.is_empty() { "the file is empty" } else { "it does not begin with 7f 'ELF'" };
        return Err(Problem::NotElf(why).anywhere());
    }
    let foreign =
        |what, found, expected| Err(Problem::Foreign { what, found, expected }.anywhere());
    match bytes.get(4) {
        Some(2) => {}
        Some(&class) => return foreign("the ELF class", class.into(), "2 (64-bit)"),
        None => return Err(Problem::NotElf("it ends within the header").anywhere()),
    }
    let header = Header::parse(bytes).map_err(|err| table("the file header", err))?;
    let endian = header.endian().map_err(|err| table("the file header", err))?;
    let machine = header.e_machine(endian).0;
    // Before the machine number was assigned, LLVM left it 0; libbpf takes both.
    if machine != e::EM_BPF.0 && machine != e::EM_NONE.0 {
        return foreign("the machine", machine.into(), "247 (BPF)");
    }
    let kind = header.e_type(endian).0;
    if kind != e::ET_REL.0 {
        return foreign("the ELF type", kind.into(), "1 (relocatable object)");
    }
    Ok(header)
}

fn check_overlaps(
    headers: &[e::SectionHeader64<Endianness>],
    endian: Endianness,
    sections: &[Section<'_>],
) -> Result<()> {
    let mut ranges: Vec<(u64, u64, usize)> = headers
        .iter()
        .zip(0..)
        .filter_map(|(h, i)| h.file_range(endian).map(|(at, bytes)| (at, bytes, i)))
        .filter(|(_, bytes, i)| *bytes > 0 && sections[*i].kind != e::SHT_NULL.0)
        .collect();
    ranges.sort_unstable();
    for pair in ranges.windows(2) {
        let [(at, bytes, first), (next, _, second)] = *pair else { continue };
        if at + bytes > next {
            let other = sections[first].name.clone();
            return Err(Problem::SectionOverlap { other }.in_section(&sections[second].name));
        }
    }
    Ok(())
}
