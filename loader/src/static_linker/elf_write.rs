//! The result as an ELF file.

use super::error::LinkError;
use super::sections::Sections;
use super::symbols::Symbols;
use super::types::Types;
use ebpfvm_asm::ByteOrder;
use object::elf as e;
use std::collections::HashMap;

/// Size of the file header and of a section's header in bytes.
const HEADER_BYTES: u64 = 64;
/// Size of a symbol in bytes.
const SYMBOL_BYTES: u64 = 24;
/// Size of a relocation in bytes.
const RELOC_BYTES: u64 = 16;

/// What a section's header says besides its place.
struct Header {
    name: u32,
    kind: u32,
    flags: u64,
    /// Offset in the file and size in bytes.
    place: (u64, u64),
    link: u32,
    info: u32,
    align: u64,
    entry_bytes: u64,
}

/// Sections come first, in the order of the files, then symbols and their names, then relocations,
/// then types: indices of sections in the result are those in [`Sections`] and one more.
pub(super) fn write(
    order: ByteOrder,
    sections: &Sections,
    symbols: &Symbols,
    types: Option<Types>,
) -> Result<Vec<u8>, LinkError> {
    let mut file = Writer::new(order);
    for s in &sections.list {
        let header = Header {
            name: file.name(&s.name),
            kind: s.kind,
            flags: s.flags,
            place: (0, s.bytes),
            link: 0,
            info: 0,
            align: s.align,
            entry_bytes: s.entry_bytes,
        };
        file.section(header, &s.data);
    }
    let symbol_table = file.headers.len() as u32;
    let mut bytes = Words::new(order);
    for s in &symbols.list {
        bytes.u32(file.name(&s.name));
        bytes.out.extend([s.binding << 4 | s.kind & 0xf, if s.is_hidden { 2 } else { 0 }]);
        bytes.u16(s.section.map_or(0, |i| i as u16 + 1));
        bytes.u64(s.value);
        bytes.u64(s.bytes);
    }
    let name = file.name(".symtab");
    file.table(
        name,
        e::SHT_SYMTAB.0,
        symbol_table + 1,
        symbols.locals as u32,
        SYMBOL_BYTES,
        &bytes.out,
    );
    // The names are complete only in the end; this is their place.
    let name = file.name(".strtab");
    file.table(name, e::SHT_STRTAB.0, 0, 0, 0, &[]);
    for (i, s) in (1..).zip(&sections.list).filter(|(_, s)| !s.relocs.is_empty()) {
        let mut bytes = Words::new(order);
        for reloc in &s.relocs {
            bytes.u64(reloc.offset);
            bytes.u64((reloc.symbol as u64) << 32 | u64::from(reloc.kind.0));
        }
        let name = file.name(&format!(".rel{}", s.name));
        file.table(name, e::SHT_REL.0, symbol_table, i, RELOC_BYTES, &bytes.out);
    }
    for (name, bytes) in types.iter().flat_map(|t| [(".BTF", &t.btf), (".BTF.ext", &t.ext)]) {
        let name = file.name(name);
        file.table(name, e::SHT_PROGBITS.0, 0, 0, 0, bytes);
    }
    file.finish(symbol_table + 1)
}

struct Writer {
    out: Words,
    headers: Vec<Header>,
    names: Vec<u8>,
    known: HashMap<String, u32>,
}

impl Writer {
    fn new(order: ByteOrder) -> Writer {
        let null = Header {
            name: 0,
            kind: 0,
            flags: 0,
            place: (0, 0),
            link: 0,
            info: 0,
            align: 0,
            entry_bytes: 0,
        };
        let mut out = Words::new(order);
        out.out.resize(HEADER_BYTES as usize, 0);
        Writer { out, headers: vec![null], names: vec![0], known: HashMap::new() }
    }

    fn name(&mut self, name: &str) -> u32 {
        if name.is_empty() {
            return 0;
        }
        if let Some(at) = self.known.get(name) {
            return *at;
        }
        let at = self.names.len() as u32;
        self.names.extend_from_slice(name.as_bytes());
        self.names.push(0);
        self.known.insert(name.into(), at);
        at
    }

    fn section(&mut self, mut header: Header, data: &[u8]) {
        let at = self.out.out.len().next_multiple_of(header.align.max(1) as usize);
        header.place.0 = at as u64;
        self.out.out.resize(at, 0);
        self.out.out.extend_from_slice(data);
        self.headers.push(header);
    }

    /// A section that is not in memory.
    fn table(&mut self, name: u32, kind: u32, link: u32, info: u32, entry_bytes: u64, data: &[u8]) {
        let place = (0, data.len() as u64);
        let align = if kind == e::SHT_STRTAB.0 { 1 } else { 8 };
        self.section(Header { name, kind, flags: 0, place, link, info, align, entry_bytes }, data);
    }

    fn finish(mut self, names_at: u32) -> Result<Vec<u8>, LinkError> {
        if self.names.len() as u64 > u32::MAX.into() {
            let (what, found) = ("the number of bytes of names", self.names.len() as u64);
            return Err(LinkError::TooLarge { what, found, limit: u32::MAX.into() });
        }
        self.headers[names_at as usize].place =
            (self.out.out.len() as u64, self.names.len() as u64);
        self.out.out.append(&mut self.names);
        let table = self.out.out.len().next_multiple_of(8);
        self.out.out.resize(table, 0);
        for h in &self.headers {
            self.out.u32(h.name);
            self.out.u32(h.kind);
            self.out.u64(h.flags);
            self.out.u64(0);
            self.out.u64(h.place.0);
            self.out.u64(h.place.1);
            self.out.u32(h.link);
            self.out.u32(h.info);
            self.out.u64(h.align);
            self.out.u64(h.entry_bytes);
        }
        let header = file_header(self.out.order, table as u64, self.headers.len() as u16, names_at);
        self.out.out[..HEADER_BYTES as usize].copy_from_slice(&header.out);
        Ok(self.out.out)
    }
}

fn file_header(order: ByteOrder, table: u64, sections: u16, names_at: u32) -> Words {
    let mut h = Words::new(order);
    h.out.extend(e::ELFMAG);
    let data = match order {
        ByteOrder::Little => e::ELFDATA2LSB,
        ByteOrder::Big => e::ELFDATA2MSB,
    };
    h.out.extend([e::ELFCLASS64.0, data.0, 1]);
    h.out.resize(16, 0);
    h.u16(e::ET_REL.0);
    h.u16(e::EM_BPF.0);
    // The version; no entry point and no segments.
    h.u32(1);
    h.u64(0);
    h.u64(0);
    h.u64(table);
    h.u32(0);
    for half in [HEADER_BYTES as u16, 0, 0, HEADER_BYTES as u16, sections, names_at as u16] {
        h.u16(half);
    }
    h
}

/// Numbers in a byte order.
struct Words {
    out: Vec<u8>,
    order: ByteOrder,
}

macro_rules! put {
    ($($name:ident: $int:ty;)*) => {$(
        fn $name(&mut self, value: $int) {
            self.out.extend_from_slice(&match self.order {
                ByteOrder::Little => value.to_le_bytes(),
                ByteOrder::Big => value.to_be_bytes(),
            });
        }
    )*};
}

impl Words {
    fn new(order: ByteOrder) -> Words {
        Words { out: Vec::new(), order }
    }

    put! {
        u16: u16;
        u32: u32;
        u64: u64;
    }
}
