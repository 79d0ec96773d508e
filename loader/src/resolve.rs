//! What a relocated instruction refers to: the symbol of its relocation, read as libbpf reads it
//! (`bpf_program__record_reloc`).

use crate::elf::{Home, Reloc, RelocKind, Symbol};
use crate::error::{ExternProblem, Problem, Result};
use crate::externs::Resolved;
use crate::functions::CodeSection;
use crate::object::{LinkOptions, Object};
use ebpfvm_asm::Slot;
use ebpfvm_asm::slot::SLOT_BYTES;

/// First slot of a 64-bit immediate load.
pub(crate) const LOAD_IMM: u8 = 0x18;
/// A call.
pub(crate) const CALL: u8 = 0x85;
/// Source field of a call within the program (`BPF_PSEUDO_CALL`).
pub(crate) const LOCAL: u8 = 1;

/// What an instruction refers to.
pub(crate) enum Target {
    Map(u32),
    MapValue {
        map: u32,
        offset: u32,
    },
    Function(usize),
    /// A function of the kernel by the id of its type.
    Kfunc(u32),
    /// A variable of the kernel, or the address of a function.
    KernelAddress(u32),
    /// A call to a weak kernel function that there is not.
    NoKfunc(u32),
    /// A number: the address of a kernel symbol without a type, 0 for a weak one that there is not.
    Address(u64),
}

/// Where symbols are looked up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Resolver<'a> {
    pub(crate) object: &'a Object,
    /// Types and addresses of the target, for symbols of the kernel.
    pub(crate) options: LinkOptions<'a>,
}

impl Resolver<'_> {
    /// What a relocated instruction refers to.
    pub(crate) fn target(
        &self,
        section: &CodeSection,
        slot: Slot,
        place: u32,
        reloc: &Reloc,
    ) -> Result<Target> {
        let object = self.object;
        let symbol = &object.symbols[reloc.symbol];
        let fault = |p: Problem| p.at(&section.name, u64::from(place) * SLOT_BYTES as u64);
        let is_load = slot.opcode == LOAD_IMM;
        let fits = match reloc.kind {
            RelocKind::R64_64 => is_load,
            RelocKind::R64_32 => slot.opcode == CALL && slot.src == LOCAL,
            _ => false,
        };
        let name = object.symbol_name(symbol);
        if !fits {
            let expected = "R_BPF_64_64 on a 64-bit immediate load or R_BPF_64_32 on a local call";
            let (kind, opcode) = (reloc.kind, slot.opcode);
            return Err(fault(Problem::RelocInsn { kind, symbol: name, opcode, expected }));
        }
        let home = match symbol.home {
            Home::Section(home) => home,
            Home::Undefined => {
                return self
                    .external(reloc.symbol, is_load)
                    .map_err(|problem| fault(Problem::Extern { symbol: name.clone(), problem }));
            }
            Home::Special(_) => {
                let expected = "a function, a map or a variable of this object";
                let section = object.home_name(symbol);
                return Err(fault(Problem::RelocTarget { symbol: name, section, expected }));
            }
        };
        let value = symbol.value as i64;
        let imm = i64::from(slot.imm);
        let bytes = SLOT_BYTES as i64;
        if object.functions.sections.contains_key(&home) {
            // A call holds the distance to the callee in slots, less one; a load the byte offset.
            let (whole, to) = if is_load {
                let at = value.wrapping_add(imm);
                (at % bytes == 0, at / bytes)
            } else {
                (value % bytes == 0, (value / bytes) + imm + 1)
            };
            let to = if whole { to } else { -1 };
            return self.callee(home, to).map_err(|p| fault(*p));
        }
        self.data(symbol, home, value, imm, is_load).map_err(|p| fault(*p))
    }

    fn external(&self, symbol: usize, is_load: bool) -> std::result::Result<Target, ExternProblem> {
        let object = self.object;
        let found = object.externs.resolve(symbol, object.btf.as_deref(), &self.options)?;
        Ok(match (found, is_load, object.map_places.config) {
            (Resolved::Config(offset), true, Some(map)) => Target::MapValue { map, offset },
            (Resolved::Function(id), false, _) => Target::Kfunc(id.0),
            (Resolved::Function(id) | Resolved::Variable(id), true, _) => {
                Target::KernelAddress(id.0)
            }
            (Resolved::Absent(index), false, _) => Target::NoKfunc(index),
            (Resolved::Address(address), true, _) => Target::Address(address),
            (Resolved::Absent(_), true, _) => Target::Address(0),
            (_, true, _) => return Err(ExternProblem::Misused("variable")),
            (_, false, _) => return Err(ExternProblem::Misused("function")),
        })
    }

    fn data(
        &self,
        symbol: &Symbol,
        home: usize,
        value: i64,
        imm: i64,
        is_load: bool,
    ) -> std::result::Result<Target, Box<Problem>> {
        let object = self.object;
        let section = || object.section_names[home].clone();
        if is_load {
            let offset = value.wrapping_add(imm);
            if let Some(map) = object.map_places.by_place.get(&(home, offset as u64)) {
                return Ok(Target::Map(*map));
            }
            if let Some((_, map)) = object.map_places.arena.filter(|(s, _)| *s == home) {
                return Ok(Target::MapValue { map, offset: offset as u32 });
            }
            if let Some(map) = object.map_places.by_section.get(&home) {
                let bytes = object.maps[*map as usize].value_bytes;
                // One past the end is a valid address, for loops over a whole section.
                if offset < 0 || offset > i64::from(bytes) {
                    let section = section();
                    return Err(Box::new(Problem::DataOffset { section, offset, bytes }));
                }
                return Ok(Target::MapValue { map: *map, offset: offset as u32 });
            }
        }
        let expected = if is_load {
            "a function, a map, or a variable in .data, .rodata or .bss"
        } else {
            "a function"
        };
        let symbol = object.symbol_name(symbol);
        Err(Box::new(Problem::RelocTarget { symbol, section: section(), expected }))
    }

    pub(crate) fn callee(
        &self,
        section: usize,
        slot: i64,
    ) -> std::result::Result<Target, Box<Problem>> {
        let found = u32::try_from(slot).ok().and_then(|s| self.object.functions.at(section, s));
        found.map(Target::Function).ok_or_else(|| {
            let section = self.object.section_names[section].clone();
            Box::new(Problem::NoFunction { section, slot })
        })
    }
}

impl CodeSection {
    /// The relocation of the instruction at this slot.
    pub(crate) fn reloc_at(&self, slot: u32) -> Option<&Reloc> {
        let offset = u64::from(slot) * SLOT_BYTES as u64;
        let i = self.relocs.binary_search_by_key(&offset, |r| r.offset).ok()?;
        Some(&self.relocs[i])
    }
}
