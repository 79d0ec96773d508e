//! Code as an ELF object in memory: a symbol for each function, and the source lines as DWARF.

use super::Listed;
use gimli::constants::{
    DW_AT_high_pc, DW_AT_language, DW_AT_low_pc, DW_AT_name, DW_AT_producer, DW_LANG_C99,
    DW_TAG_subprogram,
};
use gimli::write::{
    Address, AttributeValue, DwarfUnit, EndianVec, LineProgram, LineString, Sections,
};
use gimli::{Encoding, Format, LineEncoding, LittleEndian};
use object::elf::{
    EM_X86_64, ET_EXEC, SHF_ALLOC, SHF_EXECINSTR, SHT_PROGBITS, STB_LOCAL, STT_FUNC, SymbolOther,
    SymbolSection,
};
use object::write::elf::{FileHeader, SectionHeader, SectionIndex, Sym, Writer};
use std::collections::HashMap;
use std::io;
use std::ops::Range;

/// DWARF 4: what all debuggers know.
const ENCODING: Encoding = Encoding { format: Format::Dwarf32, version: 4, address_size: 8 };

/// The object file of a program's code.
///
/// # Errors
/// It is too large for its format.
pub(super) fn file(listed: &Listed<'_>) -> io::Result<Vec<u8>> {
    let mut file = Vec::new();
    let debug = debug_sections(listed).map_err(io::Error::other)?;
    write(listed, &debug, &mut file).map_err(io::Error::other)?;
    Ok(file)
}

/// The debug sections that are not empty, with their names.
fn debug_sections(listed: &Listed<'_>) -> gimli::write::Result<Vec<(&'static str, Vec<u8>)>> {
    let mut dwarf = DwarfUnit::new(ENCODING);
    dwarf.unit.line_program = lines(listed);
    let at =
        |offset: u32| AttributeValue::Address(Address::Constant(listed.start + u64::from(offset)));
    let text = |text: &str| AttributeValue::String(clean(text));
    let file = listed.program.lines.first().map_or("", |line| &line.file);
    let root = dwarf.unit.root();
    let entry = dwarf.unit.get_mut(root);
    entry.set(DW_AT_name, text(file));
    entry.set(DW_AT_producer, text("ebpfvm"));
    entry.set(DW_AT_language, AttributeValue::Language(DW_LANG_C99));
    entry.set(DW_AT_low_pc, at(0));
    entry.set(DW_AT_high_pc, AttributeValue::Udata(listed.emitted.code.len() as u64));
    for piece in &listed.pieces {
        let function = dwarf.unit.add(root, DW_TAG_subprogram);
        let entry = dwarf.unit.get_mut(function);
        entry.set(DW_AT_name, text(&piece.name));
        entry.set(DW_AT_low_pc, at(piece.range.start));
        let bytes = piece.range.end - piece.range.start;
        entry.set(DW_AT_high_pc, AttributeValue::Udata(bytes.into()));
    }
    let mut sections = Sections::new(EndianVec::new(LittleEndian));
    dwarf.write(&mut sections)?;
    let mut found = Vec::new();
    sections.for_each(|id, section| {
        if !section.slice().is_empty() {
            found.push((id.name(), section.slice().to_vec()));
        }
        gimli::write::Result::Ok(())
    })?;
    Ok(found)
}

/// Which source line each place in the code belongs to.
fn lines(listed: &Listed<'_>) -> LineProgram {
    let first = listed.program.lines.first().map_or("", |line| &line.file);
    let mut program = LineProgram::new(
        ENCODING,
        LineEncoding::default(),
        LineString::String(b".".to_vec()),
        None,
        LineString::String(clean(first)),
        None,
    );
    let directory = program.default_directory();
    let mut files = HashMap::new();
    program.begin_sequence(Some(Address::Constant(listed.start)));
    let mut last = None;
    for (offset, pc) in &listed.emitted.map {
        let Some(line) = listed.program.line(*pc) else { continue };
        let here = (&line.file, line.line, line.column);
        if last.replace(here) == Some(here) {
            continue;
        }
        let file = *files.entry(line.file.clone()).or_insert_with(|| {
            program.add_file(LineString::String(clean(&line.file)), directory, None)
        });
        let row = program.row();
        row.address_offset = u64::from(*offset);
        (row.file, row.line, row.column) = (file, line.line.into(), line.column.into());
        program.generate_row();
    }
    program.end_sequence(listed.emitted.code.len() as u64);
    program
}

/// Text as DWARF takes it: not empty, with no zeros in it.
fn clean(text: &str) -> Vec<u8> {
    match text.replace('\0', "_") {
        text if text.is_empty() => b"?".to_vec(),
        text => text.into_bytes(),
    }
}

/// Writes the file: the code at its address, the debug sections, the symbols.
fn write(
    listed: &Listed<'_>,
    debug: &[(&'static str, Vec<u8>)],
    file: &mut Vec<u8>,
) -> object::write::Result<()> {
    let names: Vec<Vec<u8>> = listed.pieces.iter().map(|piece| clean(&piece.name)).collect();
    let mut writer = Writer::new(object::Endianness::Little, true, file);
    writer.reserve_null_section_index();
    let text = writer.reserve_section_index();
    let text_name = writer.add_section_name(b".text");
    let debug_names: Vec<_> = debug
        .iter()
        .map(|(name, _)| {
            writer.reserve_section_index();
            writer.add_section_name(name.as_bytes())
        })
        .collect();
    writer.reserve_symtab_section_index();
    writer.reserve_strtab_section_index();
    writer.reserve_shstrtab_section_index();
    writer.reserve_file_header();
    let code = &listed.emitted.code;
    let code_at = writer.reserve(code.len() as u64, 16);
    let debug_at: Vec<u64> =
        debug.iter().map(|(_, bytes)| writer.reserve(bytes.len() as u64, 1)).collect();
    writer.reserve_null_symbol_index();
    let symbols: Vec<_> = names
        .iter()
        .map(|name| {
            writer.reserve_symbol_index(Some(text));
            writer.add_string(name)
        })
        .collect();
    writer.reserve_symtab();
    writer.reserve_strtab()?;
    writer.reserve_shstrtab()?;
    writer.reserve_section_headers();

    writer.write_file_header(&FileHeader {
        e_type: ET_EXEC,
        e_machine: EM_X86_64,
        ..FileHeader::default()
    })?;
    writer.pad_until(code_at);
    writer.write(code);
    for ((_, bytes), at) in debug.iter().zip(&debug_at) {
        writer.pad_until(*at);
        writer.write(bytes);
    }
    writer.write_null_symbol();
    for (piece, name) in listed.pieces.iter().zip(&symbols) {
        let name = writer.string_offset(Some(*name));
        writer.write_symbol(&symbol(listed, piece.range.clone(), text, name));
    }
    writer.write_strtab();
    writer.write_shstrtab();
    writer.write_null_section_header();
    writer.write_section_header(&SectionHeader {
        sh_name: writer.section_name_offset(Some(text_name)),
        sh_type: SHT_PROGBITS,
        sh_flags: SHF_ALLOC | SHF_EXECINSTR,
        sh_addr: listed.start,
        sh_offset: code_at,
        sh_size: code.len() as u64,
        sh_addralign: 16,
        ..SectionHeader::default()
    });
    for (((_, bytes), at), name) in debug.iter().zip(&debug_at).zip(&debug_names) {
        writer.write_section_header(&SectionHeader {
            sh_name: writer.section_name_offset(Some(*name)),
            sh_type: SHT_PROGBITS,
            sh_offset: *at,
            sh_size: bytes.len() as u64,
            sh_addralign: 1,
            ..SectionHeader::default()
        });
    }
    writer.write_symtab_section_header(1 + symbols.len() as u32);
    writer.write_strtab_section_header();
    writer.write_shstrtab_section_header();
    Ok(())
}

fn symbol(listed: &Listed<'_>, range: Range<u32>, text: SectionIndex, name: u32) -> Sym {
    Sym {
        section: Some(text.0),
        st_name: name,
        st_info: STT_FUNC | STB_LOCAL,
        st_other: SymbolOther::default(),
        st_shndx: SymbolSection::default(),
        st_value: listed.start + u64::from(range.start),
        st_size: u64::from(range.end - range.start),
    }
}
