//! An object file as a whole.

use crate::btf::ext::{self, Ext};
use crate::btf::value::{ValueProblem, from_json};
use crate::btf::{fixup, read};
use crate::core_relo::CoreOutcome;
use crate::elf::{Elf, Home, RelocKind, Symbol};
use crate::error::{BtfProblem, LoadError, Problem, Result as Faulty};
use crate::externs::Externs;
use crate::functions::Functions;
use crate::kconfig::Kconfig;
use crate::kernel_symbols::KernelSymbols;
use crate::link::{self, Linked};
use crate::maps::Maps;
use crate::section_name::{self, Meaning};
use ebpfvm_asm::{ByteOrder, Pc};
use ebpfvm_spec::btf::{Btf, Kind, Linkage};
use ebpfvm_spec::map::MapOrigin;
use ebpfvm_spec::{AttachType, MapDef, Platform, ProgType, Program, load_flags};
use std::collections::HashSet;
use std::sync::Arc;

/// An object file, opened: its programs, maps and types.
#[derive(Debug)]
pub struct Object {
    file: String,
    order: ByteOrder,
    license: String,
    version: Option<u32>,
    pub(crate) functions: Functions,
    pub(crate) symbols: Vec<Symbol>,
    pub(crate) section_names: Vec<String>,
    pub(crate) maps: Arc<[MapDef]>,
    pub(crate) map_places: Maps,
    pub(crate) externs: Externs,
    pub(crate) btf: Option<Arc<Btf>>,
    pub(crate) ext: Ext,
    programs: Vec<ProgramInfo>,
}

/// A program of an object before it is linked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramInfo {
    /// Name of the function.
    pub name: String,
    /// Section, as the file spells it.
    pub section: String,
    /// Type; none if the section's name is not known.
    pub prog_type: Option<ProgType>,
    /// Expected attach type.
    pub attach_type: AttachType,
    /// What it attaches to, from the section's name: `do_exit` of `kprobe/do_exit`.
    pub attach_target: Option<String>,
    /// Whether it is loaded unless asked otherwise (no `?` before the section's name).
    pub autoload: bool,
    /// Bits of [`load_flags`].
    pub flags: u32,
    /// Whether the attach target is looked up in the kernel's BTF.
    pub needs_attach_btf: bool,
    /// Size in slots, without the functions it calls.
    pub slots: u32,
}

/// A relocation of an instruction, before linking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelocInfo {
    /// Section of the instruction.
    pub section: String,
    /// Its offset in the section in bytes.
    pub offset: u64,
    /// Kind of the relocation.
    pub kind: RelocKind,
    /// The symbol it refers to; the section's name for section symbols.
    pub symbol: String,
    /// The section that the symbol is in.
    pub home: String,
}

/// What programs are linked against.
#[derive(Clone, Copy, Debug, Default)]
pub struct LinkOptions<'a> {
    /// The types of the kernel that CO-RE relocations ask about.
    pub target_btf: Option<&'a Btf>,
    /// The addresses that kernel symbols without a type stand for.
    pub symbols: Option<&'a KernelSymbols>,
}

/// A program with what linking it took.
#[derive(Clone, Debug)]
pub struct LinkedProgram {
    /// The program.
    pub program: Program,
    /// Its CO-RE relocations, in the order of its functions.
    pub core: Vec<CoreOutcome>,
    /// Its instructions that were replaced because the target lacks what they need, in the order of
    /// its functions.
    pub absent: Vec<Absent>,
}

/// An instruction that must not be reached: the target lacks what it needs, and a call of a helper that
/// nobody has stands in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Absent {
    /// Where it stands in the linked program.
    pub pc: Pc,
    /// What is missing.
    pub why: String,
}

impl ProgramInfo {
    /// Whether it may sleep.
    pub fn is_sleepable(&self) -> bool {
        self.flags & load_flags::SLEEPABLE != 0
    }

    /// Whether it takes packets in several buffers.
    pub fn has_frags(&self) -> bool {
        self.flags & load_flags::XDP_HAS_FRAGS != 0
    }
}

impl Object {
    /// Opens an object file.
    ///
    /// `file` names it in messages; its last part up to the first dot is the object's name, from
    /// which names of data maps are made.
    ///
    /// # Errors
    /// [`LoadError`]: what in the file is wrong and where.
    pub fn parse(bytes: &[u8], file: &str) -> Result<Object, LoadError> {
        Object::read(bytes, file).map_err(|fault| fault.named(file))
    }

    fn read(bytes: &[u8], file: &str) -> Faulty<Object> {
        let elf = Elf::parse(bytes)?;
        let btf = read_btf(&elf)?;
        let ext = read_ext(&elf, btf.as_deref())?;
        let functions = Functions::read(&elf)?;
        let mut map_places = Maps::read(&elf, btf.as_deref(), &functions, object_name(file))?;
        let mut externs = Externs::read(&elf, btf.as_deref())?;
        if let Some(btf) = btf.as_deref().filter(|_| externs.config_bytes > 0) {
            let data = externs.fill(btf, &Kconfig::default(), elf.order)?;
            map_places.add_config(object_name(file), btf, data);
        }
        if let Some(btf) = btf.as_deref() {
            map_places.add_struct_ops(&elf, btf, &functions)?;
        }
        let programs = functions.programs().map(|(i, _)| program_info(&functions, i)).collect();
        Ok(Object {
            file: file.into(),
            order: elf.order,
            license: license(&elf),
            version: version(&elf)?,
            maps: std::mem::take(&mut map_places.defs).into(),
            map_places,
            externs,
            btf,
            ext,
            programs,
            functions,
            section_names: elf.sections.into_iter().map(|s| s.name).collect(),
            symbols: elf.symbols,
        })
    }

    /// The programs in order of their sections and positions.
    pub fn programs(&self) -> &[ProgramInfo] {
        &self.programs
    }

    /// The maps: declared ones in order of declaration, then data sections.
    pub fn maps(&self) -> &[MapDef] {
        &self.maps
    }

    /// The relocations of instructions, in order of sections and offsets.
    pub fn relocations(&self) -> impl Iterator<Item = RelocInfo> + '_ {
        self.functions.sections.values().flat_map(move |section| {
            section.relocs.iter().map(move |reloc| {
                let symbol = &self.symbols[reloc.symbol];
                RelocInfo {
                    section: section.name.clone(),
                    offset: reloc.offset,
                    kind: reloc.kind,
                    symbol: self.symbol_name(symbol),
                    home: self.home_name(symbol),
                }
            })
        })
    }

    /// The types.
    pub fn btf(&self) -> Option<&Arc<Btf>> {
        self.btf.as_ref()
    }

    /// The licence; empty if the file names none.
    pub fn license(&self) -> &str {
        &self.license
    }

    /// `KERNEL_VERSION` in the section `version`.
    pub fn version(&self) -> Option<u32> {
        self.version
    }

    /// The byte order of the code and of initial values of data sections.
    pub fn byte_order(&self) -> ByteOrder {
        self.order
    }

    /// The name given to [`Object::parse`].
    pub fn file(&self) -> &str {
        &self.file
    }

    /// Links a program for a platform, without types of a target: as [`Object::program_for`] with
    /// the default options.
    ///
    /// # Errors
    /// As [`Object::program_for`]; programs with CO-RE relocations give one.
    pub fn program(&self, name: &str, platform: &Platform) -> Result<Program, LoadError> {
        self.program_for(name, platform, &LinkOptions::default())
    }

    /// Links a program for a platform.
    ///
    /// # Errors
    /// There is no such program, its type is not known or not on the platform, or it refers to
    /// something that cannot be resolved.
    pub fn program_for(
        &self,
        name: &str,
        platform: &Platform,
        options: &LinkOptions<'_>,
    ) -> Result<Program, LoadError> {
        Ok(self.linked_program_for(name, platform, options)?.program)
    }

    /// As [`Object::program_for`], with what linking took.
    ///
    /// # Errors
    /// As [`Object::program_for`].
    pub fn linked_program_for(
        &self,
        name: &str,
        platform: &Platform,
        options: &LinkOptions<'_>,
    ) -> Result<LinkedProgram, LoadError> {
        let linked = self.link_for(name, options)?;
        let program = &linked.program;
        if program.prog_type == ProgType::Unspec {
            let (name, section) = (program.name.clone(), program.section.clone());
            return Err(self.error(Problem::UnknownSectionName { name, section }));
        }
        if platform.prog_type(program.prog_type).is_none() {
            let (name, prog_type) = (name.into(), program.prog_type);
            return Err(self.error(Problem::NotOnPlatform { name, prog_type }));
        }
        Ok(linked)
    }

    /// Links a program whatever the platform, as disassembling and inspecting need it: as
    /// [`Object::link_for`] with the default options.
    ///
    /// # Errors
    /// As [`Object::link_for`].
    pub fn link(&self, name: &str) -> Result<Program, LoadError> {
        Ok(self.link_for(name, &LinkOptions::default())?.program)
    }

    /// Links a program whatever the platform. Its type is [`ProgType::Unspec`] if the section's name
    /// is not known; the caller may set another.
    ///
    /// # Errors
    /// There is no such program, or it refers to something that cannot be resolved.
    pub fn link_for(
        &self,
        name: &str,
        options: &LinkOptions<'_>,
    ) -> Result<LinkedProgram, LoadError> {
        let Some(index) = self.functions.program(name) else {
            let known = self.programs.iter().map(|p| p.name.clone()).collect();
            return Err(self.error(Problem::NoProgram { name: name.into(), known }));
        };
        let info = program_info(&self.functions, index);
        let Linked { code, funcs, lines, core, absent } =
            link::link(self, index, options).map_err(|fault| fault.named(&self.file))?;
        let program = Program {
            name: info.name,
            section: info.section,
            prog_type: info.prog_type.unwrap_or(ProgType::Unspec),
            attach_type: info.attach_type,
            flags: info.flags,
            license: self.license.clone(),
            code,
            funcs,
            lines,
            maps: self.maps.clone(),
            btf: self.btf.clone(),
        };
        Ok(LinkedProgram { program, core, absent })
    }

    /// Gives the `.kconfig` variables their values from a kernel configuration. Until then they have
    /// those of [`Kconfig::default`].
    ///
    /// # Errors
    /// A value does not fit the type of its variable.
    pub fn set_kconfig(&mut self, config: &Kconfig) -> Result<(), LoadError> {
        let (Some(btf), Some(map)) = (&self.btf, self.map_places.config) else { return Ok(()) };
        let filled = self.externs.fill(btf, config, self.order);
        let data = filled.map_err(|fault| fault.named(&self.file))?;
        self.set_data(map as usize, data);
        Ok(())
    }

    /// Sets the initial value of a global variable, by name; its type tells how the value is read.
    ///
    /// # Errors
    /// There is no such variable, or the value does not fit its type.
    pub fn set_global(&mut self, name: &str, value: &serde_json::Value) -> Result<(), LoadError> {
        let found = self.btf.as_deref().and_then(|btf| self.global(btf, name).map(|g| (btf, g)));
        let Some((btf, (map, type_id, offset))) = found else {
            return Err(self.error(Problem::NoGlobal(name.into())));
        };
        let MapOrigin::Section { data, .. } = &self.maps[map].origin else {
            return Err(self.error(Problem::NoGlobal(name.into())));
        };
        let mut data = data.to_vec();
        let bytes = from_json(btf, type_id, value, self.order);
        let written = bytes.and_then(|bytes| {
            let (start, found) = (offset as usize, data.len());
            let place = data.get_mut(start..).and_then(|rest| rest.get_mut(..bytes.len()));
            let needed = (start + bytes.len()) as u64;
            place
                .ok_or_else(|| ValueProblem::Short { needed, found }.here())?
                .copy_from_slice(&bytes);
            Ok(())
        });
        if let Err(problem) = written {
            return Err(self.error(Problem::Global { name: name.into(), problem }));
        }
        self.set_data(map, data);
        Ok(())
    }

    /// A variable of a data section: its map, its type and its offset in bytes.
    fn global(&self, btf: &Btf, name: &str) -> Option<(usize, ebpfvm_spec::btf::TypeId, u32)> {
        self.map_places.by_section.values().find_map(|map| {
            let section = self.maps[*map as usize].value_type?;
            let Some(Kind::Datasec { vars, .. }) = btf.kind(section) else { return None };
            let var = btf.list(vars).iter().find(|v| {
                btf.name(v.type_id) == name
                    && !matches!(
                        btf.kind(v.type_id),
                        Some(Kind::Var { linkage: Linkage::Extern, .. })
                    )
            })?;
            Some((*map as usize, var.type_id, var.offset))
        })
    }

    fn set_data(&mut self, map: usize, bytes: Vec<u8>) {
        let mut maps = self.maps.to_vec();
        if let MapOrigin::Section { data, .. } = &mut maps[map].origin {
            *data = bytes.into();
        }
        self.maps = maps.into();
    }

    fn error(&self, problem: Problem) -> LoadError {
        problem.anywhere().named(&self.file)
    }

    /// The name of a symbol, or of its section for section symbols.
    pub(crate) fn symbol_name(&self, symbol: &Symbol) -> String {
        if symbol.name.is_empty() { self.home_name(symbol) } else { symbol.name.clone() }
    }

    pub(crate) fn home_name(&self, symbol: &Symbol) -> String {
        match symbol.home {
            Home::Section(i) => self.section_names[i].clone(),
            Home::Undefined => "(undefined)".into(),
            Home::Special(n) => format!("(special {n:#x})"),
        }
    }
}

/// libbpf's name of an object: the last part of the path up to the first dot, at most 15 bytes.
fn object_name(file: &str) -> &str {
    let base = file.rsplit('/').next().unwrap_or(file);
    let base = base.split('.').next().unwrap_or(base);
    let mut end = base.len().min(15);
    while !base.is_char_boundary(end) {
        end -= 1;
    }
    &base[..end]
}

fn program_info(functions: &Functions, index: usize) -> ProgramInfo {
    let f = &functions.list[index];
    let section = functions.sections[&f.section].name.clone();
    let Meaning { row, target, autoload } = section_name::meaning(&section);
    ProgramInfo {
        name: f.name.clone(),
        prog_type: row.map(|r| r.prog_type),
        attach_type: row.map(|r| r.attach_type).unwrap_or_default(),
        attach_target: target.map(Into::into),
        autoload,
        flags: row.map_or(0, |r| r.load_flags),
        needs_attach_btf: row.is_some_and(|r| r.needs_attach_btf),
        slots: f.slots,
        section,
    }
}

fn read_btf(elf: &Elf<'_>) -> Faulty<Option<Arc<Btf>>> {
    const NAME: &str = ".BTF";
    let Some(section) = elf.section(NAME) else { return Ok(None) };
    let build = || {
        let mut builder = read::builder(section.data, None)?;
        fixup::fix(elf, &mut builder)?;
        builder.finish().map_err(BtfProblem::from)
    };
    Ok(Some(Arc::new(read::in_section(NAME, build())?)))
}

fn read_ext(elf: &Elf<'_>, btf: Option<&Btf>) -> Faulty<Ext> {
    const NAME: &str = ".BTF.ext";
    let (Some(section), Some(btf)) = (elf.section(NAME), btf) else { return Ok(Ext::new()) };
    let names: HashSet<&str> = elf.sections.iter().map(|s| s.name.as_str()).collect();
    let ext = read::in_section(NAME, ext::parse(section.data, btf, &names))?;
    for (name, records) in &ext {
        if let Some(offset) = records.misaligned() {
            let what = "the offset of a record";
            let expected = "a multiple of 8".into();
            return Err(Problem::Size { what, found: offset.into(), expected }.in_section(name));
        }
    }
    Ok(ext)
}

fn license(elf: &Elf<'_>) -> String {
    /// Longer than any licence the kernel compares with, short enough to show.
    const MAX_BYTES: usize = 128;
    let bytes = elf.section("license").map_or(&[][..], |s| s.data);
    let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len()).min(MAX_BYTES);
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

fn version(elf: &Elf<'_>) -> Faulty<Option<u32>> {
    const NAME: &str = "version";
    let Some(section) = elf.section(NAME) else { return Ok(None) };
    let Ok(bytes) = <[u8; 4]>::try_from(section.data) else {
        let (what, found) = ("the size of the version", section.bytes);
        return Err(Problem::Size { what, found, expected: "4".into() }.in_section(NAME));
    };
    Ok(Some(match elf.order {
        ByteOrder::Little => u32::from_le_bytes(bytes),
        ByteOrder::Big => u32::from_be_bytes(bytes),
    }))
}
