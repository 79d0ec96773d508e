//! The functions of an object: what the symbol table says about the code sections.

use crate::elf::{Elf, Home, Reloc};
use crate::error::{Problem, Result};
use ebpfvm_asm::Slot;
use ebpfvm_asm::slot::SLOT_BYTES;
use std::collections::{BTreeMap, HashMap};

/// Section of the functions that are no programs.
pub(crate) const TEXT: &str = ".text";

/// A function.
#[derive(Clone, Debug)]
pub(crate) struct Function {
    pub(crate) name: String,
    /// Index of its section.
    pub(crate) section: usize,
    /// First slot within the section.
    pub(crate) start: u32,
    /// Number of slots.
    pub(crate) slots: u32,
    /// Visible to other objects, so verified apart from its callers.
    pub(crate) is_global: bool,
}

/// A section with instructions.
#[derive(Clone, Debug)]
pub(crate) struct CodeSection {
    pub(crate) name: String,
    pub(crate) slots: Vec<Slot>,
    /// In order of their offsets, at most one for an instruction.
    pub(crate) relocs: Vec<Reloc>,
}

/// All functions.
#[derive(Clone, Debug, Default)]
pub(crate) struct Functions {
    pub(crate) sections: BTreeMap<usize, CodeSection>,
    /// In order of section and start.
    pub(crate) list: Vec<Function>,
    by_start: HashMap<(usize, u32), usize>,
}

impl Functions {
    /// Reads the code sections and their function symbols.
    pub(crate) fn read(elf: &Elf<'_>) -> Result<Functions> {
        let mut functions = Functions::default();
        for (index, section) in elf.sections.iter().enumerate().filter(|(_, s)| s.is_code()) {
            let slots = Slot::all_from_bytes(section.data, elf.order).map_err(|_| {
                let what = "the size of the code";
                let expected = "a multiple of 8".into();
                Problem::Size { what, found: section.bytes, expected }.in_section(&section.name)
            })?;
            check_relocs(&section.name, &section.relocs)?;
            let (name, relocs) = (section.name.clone(), section.relocs.clone());
            functions.sections.insert(index, CodeSection { name, slots, relocs });
        }
        for symbol in elf.symbols.iter().filter(|s| s.is_func) {
            let Home::Section(section) = symbol.home else { continue };
            let Some(code) = functions.sections.get(&section) else { continue };
            functions.list.push(function(symbol, section, code)?);
        }
        functions.list.sort_by_key(|f| (f.section, f.start, f.slots));
        for (i, f) in functions.list.iter().enumerate() {
            functions.by_start.entry((f.section, f.start)).or_insert(i);
        }
        functions.check_overlaps()?;
        Ok(functions)
    }

    /// Functions may be the same (aliases) but not share a part: each is linked as a whole.
    fn check_overlaps(&self) -> Result<()> {
        for pair in self.list.windows(2) {
            let [a, b] = pair else { continue };
            let same = (a.start, a.slots) == (b.start, b.slots);
            if a.section == b.section && !same && b.start < a.start + a.slots {
                let problem =
                    Problem::FunctionOverlap { name: b.name.clone(), other: a.name.clone() };
                let offset = u64::from(b.start) * SLOT_BYTES as u64;
                return Err(problem.at(&self.sections[&b.section].name, offset));
            }
        }
        Ok(())
    }

    /// The function that starts at this slot of a section.
    pub(crate) fn at(&self, section: usize, slot: u32) -> Option<usize> {
        self.by_start.get(&(section, slot)).copied()
    }

    /// Functions that are programs: those outside `.text`, and the only function of an object
    /// (`prog_is_subprog` of libbpf, which took the latter too before 1.0).
    pub(crate) fn programs(&self) -> impl Iterator<Item = (usize, &Function)> {
        let only = self.list.len() == 1;
        let is_program = move |f: &Function| only || self.sections[&f.section].name != TEXT;
        self.list.iter().enumerate().filter(move |(_, f)| is_program(f))
    }

    /// The program with this name.
    pub(crate) fn program(&self, name: &str) -> Option<usize> {
        self.programs().find(|(_, f)| f.name == name).map(|(i, _)| i)
    }
}

fn check_relocs(section: &str, relocs: &[Reloc]) -> Result<()> {
    for (i, reloc) in relocs.iter().enumerate() {
        if reloc.offset % SLOT_BYTES as u64 != 0 {
            let what = "the offset of a relocation";
            let expected = "a multiple of 8".into();
            let problem = Problem::Size { what, found: reloc.offset, expected };
            return Err(problem.at(section, reloc.offset));
        }
        if i > 0 && relocs[i - 1].offset == reloc.offset {
            return Err(Problem::RelocTwice.at(section, reloc.offset));
        }
    }
    Ok(())
}

fn function(symbol: &crate::elf::Symbol, section: usize, code: &CodeSection) -> Result<Function> {
    let section_bytes = (code.slots.len() * SLOT_BYTES) as u64;
    let (start, bytes) = (symbol.value, symbol.bytes);
    let whole = start % SLOT_BYTES as u64 == 0 && bytes % SLOT_BYTES as u64 == 0;
    let inside = start.checked_add(bytes).is_some_and(|end| end <= section_bytes);
    if bytes == 0 || !whole || !inside {
        let name = symbol.name.clone();
        let problem = Problem::FunctionOutside { name, start, bytes, section_bytes };
        return Err(problem.in_section(&code.name));
    }
    Ok(Function {
        name: symbol.name.clone(),
        section,
        start: (start / SLOT_BYTES as u64) as u32,
        slots: (bytes / SLOT_BYTES as u64) as u32,
        is_global: !symbol.is_local && !symbol.is_hidden,
    })
}
