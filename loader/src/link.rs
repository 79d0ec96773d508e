//! Joining a program with the functions it calls, and replacing symbols by what they stand for
//! (`bpf_object__relocate_calls` and `bpf_object__relocate_data` of libbpf).

use crate::btf::ext::{CoreRecord, Records};
use crate::core_relo::{CoreKind, CoreOutcome, Relocator};
use crate::error::{Fault, Problem, Result};
use crate::externs::POISON_KFUNC;
use crate::functions::{CodeSection, Function};
use crate::object::{Absent, LinkOptions, Object};
use crate::resolve::{CALL, LOAD_IMM, LOCAL, Resolver, Target};
use ebpfvm_asm::slot::SLOT_BYTES;
use ebpfvm_asm::{Code, Pc, Slot};
use ebpfvm_spec::btf::{Kind, Linkage};
use ebpfvm_spec::{FuncInfo, LineInfo};
use std::collections::HashMap;
use std::ops::Range;

/// Source fields of a 64-bit immediate load (`BPF_PSEUDO_*`).
mod pseudo {
    pub(super) const BTF_ID: u8 = 3;
    pub(super) const FUNC: u8 = 4;
    pub(super) const MAP_IDX: u8 = 5;
    pub(super) const MAP_IDX_VALUE: u8 = 6;
    /// Of a call: the callee is the kernel's.
    pub(super) const KFUNC_CALL: u8 = 2;
}

/// A linked program's code with what is known about it.
#[derive(Debug)]
pub(crate) struct Linked {
    pub(crate) code: Code,
    pub(crate) funcs: Vec<FuncInfo>,
    pub(crate) lines: Vec<LineInfo>,
    pub(crate) core: Vec<CoreOutcome>,
    pub(crate) absent: Vec<Absent>,
}

/// Links the function with this index and everything that it can call.
pub(crate) fn link<'a>(
    object: &'a Object,
    entry: usize,
    options: &LinkOptions<'a>,
) -> Result<Linked> {
    let types = object.btf.as_deref();
    let mut linker = Linker {
        object,
        relocator: types.map(|btf| Relocator::new(btf, options.target_btf, object.byte_order())),
        resolver: Resolver { object, options: *options },
        core: Vec::new(),
        absent: Vec::new(),
        slots: Vec::new(),
        starts: HashMap::new(),
        order: Vec::new(),
        funcs: Vec::new(),
        lines: Vec::new(),
    };
    linker.append(entry)?;
    linker.relocate_all(entry)?;
    if let Some(callback) = linker.exception_callback(entry)?
        && !linker.starts.contains_key(&callback)
    {
        linker.append(callback)?;
        linker.relocate_all(callback)?;
    }
    linker.finish()
}

struct Linker<'a> {
    object: &'a Object,
    /// None if the object has no types; it then has no relocations about types either.
    relocator: Option<Relocator<'a>>,
    resolver: Resolver<'a>,
    core: Vec<CoreOutcome>,
    absent: Vec<Absent>,
    slots: Vec<Slot>,
    /// Start in `slots` of each function that is there.
    starts: HashMap<usize, u32>,
    /// Those functions in order.
    order: Vec<usize>,
    funcs: Vec<FuncInfo>,
    lines: Vec<LineInfo>,
}

impl<'a> Linker<'a> {
    fn function(&self, index: usize) -> (&'a Function, &'a CodeSection) {
        let f = &self.object.functions.list[index];
        (f, &self.object.functions.sections[&f.section])
    }

    /// Relocates a function and those it refers to. Depth first, as libbpf does it, but with a stack
    /// of our own: chains of calls can be long.
    fn relocate_all(&mut self, entry: usize) -> Result<()> {
        let mut stack = vec![(entry, 0u32)];
        while let Some((function, from)) = stack.pop() {
            if let Some((callee, next)) = self.relocate(function, from)? {
                stack.push((function, next));
                stack.push((callee, 0));
            }
        }
        Ok(())
    }

    /// The function that a tag `exception_callback:NAME` on the program names; nothing refers to it
    /// by a relocation.
    fn exception_callback(&self, entry: usize) -> Result<Option<usize>> {
        const TAG: &str = "exception_callback:";
        let (Some(btf), Some(id)) = (&self.object.btf, self.funcs.first().and_then(|f| f.type_id))
        else {
            return Ok(None);
        };
        let mut tags = btf.iter().filter_map(|(_, t)| match t.kind {
            Kind::DeclTag { type_id, component: None, .. } if type_id == id => {
                btf.str(t.name).strip_prefix(TAG)
            }
            _ => None,
        });
        // With more than one it is for the verifier to complain.
        let (Some(name), None) = (tags.next(), tags.next()) else { return Ok(None) };
        let functions = &self.object.functions;
        let found = functions.list.iter().position(|f| f.name == name && f.is_global);
        match found {
            Some(index) => Ok(Some(index)),
            None => {
                let (_, section) = self.function(entry);
                let (symbol, expected) = (name.to_string(), "a global function of this object");
                let problem =
                    Problem::RelocTarget { symbol, section: section.name.clone(), expected };
                Err(problem.in_section(&section.name))
            }
        }
    }

    /// Appends a function as it stands in its section, with its lines and types.
    fn append(&mut self, index: usize) -> Result<()> {
        let (f, section) = self.function(index);
        let start = self.slots.len() as u32;
        self.starts.insert(index, start);
        self.order.push(index);
        self.slots.extend_from_slice(&section.slots[f.start as usize..][..f.slots as usize]);

        let records = self.object.ext.get(&section.name);
        let bytes = f.start * SLOT_BYTES as u32..(f.start + f.slots) * SLOT_BYTES as u32;
        let pc = |offset: u32| Pc(start + (offset - bytes.start) / SLOT_BYTES as u32);
        let types = records.map_or(&[][..], |r| within(&r.funcs, |f| f.offset, &bytes));
        let type_id = types.first().filter(|t| t.offset == bytes.start).map(|t| t.type_id);
        let (name, is_global) = (f.name.clone(), self.is_global(f, type_id));
        self.funcs.push(FuncInfo { start: Pc(start), name, type_id, is_global });
        for line in records.map_or(&[][..], |r| within(&r.lines, |l| l.offset, &bytes)) {
            self.lines.push(LineInfo {
                pc: pc(line.offset),
                file: line.file.clone(),
                text: line.text.clone(),
                line: line.line,
                column: line.column,
            });
        }
        for core in records.map_or(&[][..], |r| within(&r.cores, |c| c.offset, &bytes)) {
            self.answer(core, &section.name, pc(core.offset))?;
        }
        Ok(())
    }

    /// Answers a question about the target's types.
    fn answer(&mut self, record: &CoreRecord, section: &str, pc: Pc) -> Result<()> {
        let Some(relocator) = &mut self.relocator else { return Ok(()) };
        let access = relocator.describe(record);
        let width = if self.slots[pc.index()].opcode == LOAD_IMM { 2 } else { 1 };
        match relocator.relocate(record, &mut self.slots[pc.index()..]) {
            Ok((kind, before, after)) => {
                if after.is_none() {
                    let why = format!("the target has no {kind} for {access}");
                    let slots = pc.0..pc.0 + width;
                    self.absent.extend(slots.map(|i| Absent { pc: Pc(i), why: why.clone() }));
                }
                let (section, offset) = (section.into(), record.offset);
                self.core.push(CoreOutcome { section, offset, kind, access, before, after });
                Ok(())
            }
            Err(problem) => {
                let kind = CoreKind::from_number(record.kind);
                Err(Problem::Core { kind, access, problem }.at(section, record.offset.into()))
            }
        }
    }

    fn is_global(&self, f: &Function, type_id: Option<ebpfvm_spec::btf::TypeId>) -> bool {
        let kind = self.object.btf.as_ref().zip(type_id).and_then(|(b, id)| b.kind(id));
        f.is_global && !matches!(kind, Some(Kind::Func { linkage: Linkage::Static, .. }))
    }

    /// Relocates a function from slot `from` on. Stops after a reference to a function that was not
    /// there yet: gives it and where to go on.
    fn relocate(&mut self, index: usize, from: u32) -> Result<Option<(usize, u32)>> {
        let (f, section) = self.function(index);
        let base = self.starts[&index];
        let mut at = from;
        while at < f.slots {
            let slot = self.slots[(base + at) as usize];
            let place = f.start + at;
            let fault = |p: Problem| p.at(&section.name, u64::from(place) * SLOT_BYTES as u64);
            let reloc = section.reloc_at(place);
            let width = if slot.opcode == LOAD_IMM { 2 } else { 1 };
            let target = match reloc {
                Some(reloc) => Some(self.resolver.target(section, slot, place, reloc)?),
                None if slot.opcode == CALL && slot.src == LOCAL => {
                    let to = i64::from(place) + 1 + i64::from(slot.imm);
                    Some(self.resolver.callee(f.section, to).map_err(|p| fault(*p))?)
                }
                None => None,
            };
            let Some(target) = target else {
                at += width;
                continue;
            };
            let second = (base + at + 1) as usize;
            if slot.opcode == LOAD_IMM && at + 1 >= f.slots {
                let (function, slot) = (f.name.clone(), at as usize);
                let kind = ebpfvm_asm::DecodeErrorKind::Truncated;
                return Err(fault(Problem::Insn { function, slot, kind }));
            }
            match target {
                Target::Map(map) => {
                    self.set(base + at, pseudo::MAP_IDX, map as i32);
                    self.slots[second].imm = 0;
                }
                Target::MapValue { map, offset } => {
                    self.set(base + at, pseudo::MAP_IDX_VALUE, map as i32);
                    self.slots[second].imm = offset as i32;
                }
                Target::Kfunc(id) => {
                    self.set(base + at, pseudo::KFUNC_CALL, id as i32);
                    self.slots[(base + at) as usize].offset = 0;
                }
                Target::KernelAddress(id) => {
                    self.set(base + at, pseudo::BTF_ID, id as i32);
                    self.slots[second].imm = 0;
                }
                Target::Address(address) => {
                    self.set(base + at, 0, address as i32);
                    self.slots[second].imm = (address >> 32) as i32;
                }
                Target::NoKfunc(index) => {
                    let name = &self.object.externs.list[index as usize].name;
                    let why = format!("the target has no kernel function '{name}'");
                    self.absent.push(Absent { pc: Pc(base + at), why });
                    let imm = POISON_KFUNC.wrapping_add(index as i32);
                    self.slots[(base + at) as usize] =
                        Slot { opcode: CALL, imm, ..Slot::default() };
                }
                Target::Function(callee) => {
                    let is_new = !self.starts.contains_key(&callee);
                    if is_new {
                        self.append(callee)?;
                    }
                    let offset = self.starts[&callee] as i32 - (base + at) as i32 - 1;
                    if slot.opcode == LOAD_IMM {
                        self.set(base + at, pseudo::FUNC, offset);
                        self.slots[second].imm = 0;
                    } else {
                        self.set(base + at, LOCAL, offset);
                    }
                    if is_new {
                        return Ok(Some((callee, at + width)));
                    }
                }
            }
            at += width;
        }
        Ok(None)
    }

    fn set(&mut self, slot: u32, src: u8, imm: i32) {
        let slot = &mut self.slots[slot as usize];
        (slot.src, slot.imm) = (src, imm);
    }

    fn finish(self) -> Result<Linked> {
        let code = Code::decode(&self.slots).map_err(|err| self.decode_fault(err))?;
        Ok(Linked {
            code,
            funcs: self.funcs,
            lines: self.lines,
            core: self.core,
            absent: self.absent,
        })
    }

    fn decode_fault(&self, err: ebpfvm_asm::DecodeError) -> Box<Fault> {
        let position = self.funcs.partition_point(|f| f.start.index() <= err.slot) - 1;
        let (f, section) = self.function(self.order[position]);
        let slot = err.slot - self.funcs[position].start.index();
        let offset = (f.start as usize + slot) * SLOT_BYTES;
        Problem::Insn { function: f.name.clone(), slot, kind: err.kind }
            .at(&section.name, offset as u64)
    }
}

/// The records whose offsets lie in the range; they are in order.
fn within<'a, T>(records: &'a [T], offset: impl Fn(&T) -> u32, range: &Range<u32>) -> &'a [T] {
    let start = records.partition_point(|r| offset(r) < range.start);
    let end = records.partition_point(|r| offset(r) < range.end);
    &records[start..end]
}

impl Records {
    /// Whether an offset lies off the start of an instruction.
    pub(crate) fn misaligned(&self) -> Option<u32> {
        let lines = self.lines.iter().map(|l| l.offset);
        let funcs = self.funcs.iter().map(|f| f.offset);
        let cores = self.cores.iter().map(|c| c.offset);
        lines.chain(funcs).chain(cores).find(|o| o % SLOT_BYTES as u32 != 0)
    }
}
