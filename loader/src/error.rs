//! Why an object or one of its programs cannot be had: what, where, and what was expected.

use crate::btf::value::ValueError;
use crate::core_relo::{CoreKind, CoreProblem};
use crate::elf::RelocKind;
use crate::kconfig::KconfigProblem;
use ebpfvm_asm::DecodeErrorKind;
use ebpfvm_spec::ProgType;
use ebpfvm_spec::btf::{BtfError, LayoutError, TypeId};
use std::fmt;

/// Why an object or one of its programs cannot be had.
#[derive(Clone, Debug)]
pub struct LoadError {
    /// The file, as the caller named it.
    pub file: String,
    /// Where in the file, if it is about one place.
    pub place: Option<Place>,
    /// What is wrong.
    pub problem: Box<Problem>,
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.file)?;
        if let Some(place) = &self.place {
            write!(f, "{place}: ")?;
        }
        self.problem.fmt(f)
    }
}

impl std::error::Error for LoadError {}

/// A place in an object file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Name of the section.
    pub section: String,
    /// Offset in the section in bytes; none if it is about the section as a whole.
    pub offset: Option<u64>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "section '{}'", self.section)?;
        match self.offset {
            Some(offset) => write!(f, ", offset {offset:#x}"),
            None => Ok(()),
        }
    }
}

/// What is wrong with an object.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// The bytes do not start like an ELF file.
    #[error("not an ELF file: {0}")]
    NotElf(&'static str),
    /// An ELF file for something else.
    #[error("{what} is {found}, expected {expected}")]
    Foreign {
        /// Which property.
        what: &'static str,
        /// What the file says.
        found: u64,
        /// What it should say.
        expected: &'static str,
    },
    /// An ELF table that cannot be read.
    #[error("cannot read {what}: {reason}")]
    Table {
        /// Which table.
        what: &'static str,
        /// Why.
        reason: String,
    },
    /// A section reaches beyond the file.
    #[error(
        "the section claims {bytes} bytes at file offset {at:#x}, but the file has {file_bytes}"
    )]
    SectionOutside {
        /// Claimed size.
        bytes: u64,
        /// Claimed file offset.
        at: u64,
        /// Size of the file.
        file_bytes: u64,
    },
    /// Two sections share bytes of the file.
    #[error("the section overlaps section '{other}' in the file")]
    SectionOverlap {
        /// The other section.
        other: String,
    },
    /// There is more than one section of a kind that may occur once.
    #[error("more than one {0}, expected one")]
    Twice(&'static str),
    /// Size or alignment that the content does not allow.
    #[error("{what} is {found}, expected {expected}")]
    Size {
        /// What has the size.
        what: &'static str,
        /// The size found in bytes.
        found: u64,
        /// What was expected.
        expected: String,
    },
    /// Data sections want more memory than is allowed.
    #[error("data sections take {bytes} bytes with this one, at most {limit} are allowed")]
    DataTooLarge {
        /// Sum of the sizes so far.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// A symbol index beyond the symbol table.
    #[error("the relocation names symbol {symbol}, but there are {count}")]
    SymbolOutOfRange {
        /// The index.
        symbol: u64,
        /// Number of symbols.
        count: usize,
    },
    /// A relocation that changes bytes outside its section.
    #[error("the relocation is for offset {offset:#x}, but the section has {bytes} bytes")]
    RelocOutOfRange {
        /// Offset of the bytes to change.
        offset: u64,
        /// Size of the section in bytes.
        bytes: u64,
    },
    /// Two relocations change the same instruction.
    #[error("a second relocation for the same instruction")]
    RelocTwice,
    /// A function symbol that does not fit its section.
    #[error(
        "function '{name}' has {bytes} bytes at {start:#x}, expected whole instructions within \
         the {section_bytes} bytes of the section"
    )]
    FunctionOutside {
        /// Name of the symbol.
        name: String,
        /// Its offset in bytes.
        start: u64,
        /// Its size in bytes.
        bytes: u64,
        /// Size of the section in bytes.
        section_bytes: u64,
    },
    /// Two functions share instructions without being the same.
    #[error("function '{name}' overlaps function '{other}'")]
    FunctionOverlap {
        /// The function that starts later.
        name: String,
        /// The other one.
        other: String,
    },
    /// Wrong BTF or BTF.ext.
    #[error("BTF: {0}")]
    Btf(#[from] BtfProblem),
    /// Something in a map definition.
    #[error("map '{map}': {problem}")]
    Map {
        /// Name of the map.
        map: String,
        /// What is wrong.
        problem: MapProblem,
    },
    /// Map definitions of the BTF form in an object without BTF.
    #[error("map definitions need BTF; compile with -g")]
    MapsWithoutBtf,
    /// There is no program with this name.
    #[error("there is no program '{name}'; the file has {}", list(.known))]
    NoProgram {
        /// The name asked for.
        name: String,
        /// The names there are.
        known: Vec<String>,
    },
    /// The section name says nothing about the program's type.
    #[error(
        "program '{name}': section name '{section}' is not known, so its type is not; use a name \
         such as SEC(\"xdp\"), or SEC(\"raw\") for a program on plain memory"
    )]
    UnknownSectionName {
        /// Name of the program.
        name: String,
        /// Name of its section.
        section: String,
    },
    /// The platform has no programs of this type.
    #[error("program '{name}' is of type {}, which the platform does not have", .prog_type.name())]
    NotOnPlatform {
        /// Name of the program.
        name: String,
        /// Its type.
        prog_type: ProgType,
    },
    /// A relocation on an instruction that cannot take one.
    #[error("{kind} against '{symbol}' on opcode {opcode:#04x}, expected {expected}")]
    RelocInsn {
        /// The relocation.
        kind: RelocKind,
        /// The symbol.
        symbol: String,
        /// Opcode of the instruction.
        opcode: u8,
        /// What the instruction should be.
        expected: &'static str,
    },
    /// A relocation to something that cannot be referred to.
    #[error("refers to '{symbol}' in section '{section}', expected {expected}")]
    RelocTarget {
        /// The symbol.
        symbol: String,
        /// Section of the symbol.
        section: String,
        /// What can be referred to.
        expected: &'static str,
    },
    /// A reference to a variable beyond the end of its section.
    #[error("refers to byte {offset} of '{section}', which has {bytes}")]
    DataOffset {
        /// Section of the variable.
        section: String,
        /// Byte offset.
        offset: i64,
        /// Size of the section.
        bytes: u32,
    },
    /// A call or function address that names no function's start.
    #[error("refers to instruction {slot} of section '{section}', where no function starts")]
    NoFunction {
        /// Section of the callee.
        section: String,
        /// Index of the slot in that section.
        slot: i64,
    },
    /// A symbol of the kernel or of its configuration that cannot be resolved.
    #[error("extern '{symbol}': {problem}")]
    Extern {
        /// The symbol.
        symbol: String,
        /// Why not.
        problem: ExternProblem,
    },
    /// A global variable that cannot be set.
    #[error("there is no global variable '{0}' in .data, .rodata or .bss")]
    NoGlobal(String),
    /// A value that does not fit a global variable.
    #[error("global variable '{name}': {problem}")]
    Global {
        /// Name of the variable.
        name: String,
        /// What does not fit.
        problem: ValueError,
    },
    /// A CO-RE relocation that cannot be answered.
    #[error("CO-RE relocation of {access}{}: {problem}", of(.kind))]
    Core {
        /// What is asked about the target's types; none if that is not known.
        kind: Option<CoreKind>,
        /// About what, as C.
        access: String,
        /// Why there is no answer.
        problem: CoreProblem,
    },
    /// A slot that is not an instruction.
    #[error("function '{function}', instruction {slot}: {kind}")]
    Insn {
        /// The function.
        function: String,
        /// Index of the slot in the function.
        slot: usize,
        /// Why.
        kind: DecodeErrorKind,
    },
}

/// What is wrong with BTF or BTF.ext.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BtfProblem {
    /// The bytes end too early.
    #[error("{what} needs {bytes} bytes, {left} are left")]
    Truncated {
        /// What is read.
        what: &'static str,
        /// Its size in bytes.
        bytes: u64,
        /// Bytes that are there.
        left: usize,
    },
    /// An ELF file that cannot be read.
    #[error("the ELF file: {0}")]
    Elf(String),
    /// An ELF file without types.
    #[error("the ELF file has no section .BTF")]
    NoTypes,
    /// Another magic number or version.
    #[error("{what} is {found:#x}, expected {expected:#x}")]
    Header {
        /// Which field.
        what: &'static str,
        /// What it holds.
        found: u32,
        /// What was expected.
        expected: u32,
    },
    /// A type of a kind that is not known.
    #[error("type {id} has kind {kind}, expected 1 to 19")]
    Kind {
        /// Id of the type.
        id: TypeId,
        /// Its kind.
        kind: u32,
    },
    /// A field of a type with a value it cannot have.
    #[error("type {id}: {what} is {found}, expected {expected}")]
    Field {
        /// Id of the type.
        id: TypeId,
        /// Which field.
        what: &'static str,
        /// What it holds.
        found: u64,
        /// What was expected.
        expected: &'static str,
    },
    /// The string table is not one.
    #[error("the string table has to begin and end with a zero byte")]
    Strings,
    /// More text than the string table can hold without sharing.
    #[error("source lines share the bytes of their texts, expected separate texts")]
    SharedText,
    /// Types do not fit together.
    #[error(transparent)]
    Set(#[from] BtfError),
    /// A record of BTF.ext names a section that is not there.
    #[error("{what} for section '{section}', which there is not")]
    NoSection {
        /// Which records.
        what: &'static str,
        /// The name of the section.
        section: String,
    },
    /// A variable of a data section without its symbol.
    #[error("variable '{name}' of '{section}' has no symbol")]
    NoSymbol {
        /// Name of the variable.
        name: String,
        /// Name of the section.
        section: String,
    },
}

/// Why an extern symbol cannot be resolved.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ExternProblem {
    /// The types do not say what it is.
    #[error("the types do not say what it is; declare it in SEC(\".ksyms\") or SEC(\".kconfig\")")]
    Unknown,
    /// A strong configuration value that the configuration does not have.
    #[error("the kernel configuration has no such value; give one or declare the symbol weak")]
    NoValue,
    /// A configuration value of the wrong form.
    #[error(transparent)]
    Config(KconfigProblem),
    /// The address of a kernel symbol without a type.
    #[error("it is the address of a kernel symbol, and no kernel's symbols are given")]
    Address,
    /// A name without a type that the kernel has at several addresses.
    #[error("the kernel has several symbols of that name")]
    TwoAddresses,
    /// It needs the target's types.
    #[error("it is a {0}, which needs the types of a target kernel, and none are given")]
    NoTarget(&'static str),
    /// The target does not have it.
    #[error("the target has no such {0}")]
    NotFound(&'static str),
    /// The target has another one.
    #[error("the {0} of the target has another type")]
    Mismatch(&'static str),
    /// A function is used as a variable or the reverse.
    #[error("the instruction is for a {0}")]
    Misused(&'static str),
}

/// What is wrong with a map definition.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MapProblem {
    /// The variable is not what a map definition is.
    #[error("{what} is {found}, expected {expected}")]
    Shape {
        /// Which part.
        what: String,
        /// What it is.
        found: String,
        /// What was expected.
        expected: &'static str,
    },
    /// A member that means nothing.
    #[error(
        "unknown member '{0}', expected type, key, value, key_size, value_size, max_entries, \
         map_flags, map_extra, numa_node, pinning or values"
    )]
    UnknownMember(String),
    /// There is no map kind with this number.
    #[error("map type {0} is not known, expected 1 to 33")]
    UnknownType(u32),
    /// A name that no map has.
    #[error("the name has {0} bytes, at most 255 are allowed")]
    LongName(usize),
    /// More members in all definitions together than anyone writes.
    #[error("the definitions of the file have more than {0} members together")]
    TooMany(usize),
    /// Two definitions share bytes.
    #[error("the definition at {offset} begins before the one before it ends, at {end}")]
    Overlap {
        /// Offset of the later one in bytes.
        offset: u64,
        /// Where the other one ends.
        end: u64,
    },
    /// The kind is missing.
    #[error("the definition has no 'type'")]
    NoType,
    /// Two members say different things about one size.
    #[error("{what} is {first} bytes and {second} bytes")]
    Conflict {
        /// Which size.
        what: &'static str,
        /// One size.
        first: u64,
        /// The other.
        second: u64,
    },
    /// A key or value type without a size.
    #[error("{what}: {error}")]
    Layout {
        /// Key or value.
        what: &'static str,
        /// Why it has none.
        error: LayoutError,
    },
    /// The definition reaches beyond its section.
    #[error("the definition at {offset} has {bytes} bytes, the section has {section_bytes}")]
    Outside {
        /// Offset in bytes.
        offset: u64,
        /// Size in bytes.
        bytes: u64,
        /// Size of the section in bytes.
        section_bytes: u64,
    },
    /// An initial value that cannot be one.
    #[error("initial value '{symbol}' is not {expected}")]
    Value {
        /// The symbol.
        symbol: String,
        /// What was expected.
        expected: &'static str,
    },
    /// An initial value at an index that the map does not have.
    #[error("an initial value at index {index}, the map has {max_entries} entries")]
    ValueIndex {
        /// The index.
        index: u64,
        /// The capacity.
        max_entries: u32,
    },
}

fn of(kind: &Option<CoreKind>) -> String {
    kind.map(|k| format!(" ({k})")).unwrap_or_default()
}

fn list(names: &[String]) -> String {
    /// Enough to see a typing error.
    const SHOWN: usize = 20;
    if names.is_empty() {
        return "none".into();
    }
    let mut text =
        names.iter().take(SHOWN).map(|n| format!("'{n}'")).collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN {
        text.push_str(&format!(" and {} more", names.len() - SHOWN));
    }
    text
}

/// A problem on its way out of the crate: boxed, because problems are large and rare.
pub(crate) type Result<T> = std::result::Result<T, Box<Fault>>;

/// A problem with its place, before the file's name is added.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) place: Option<Place>,
    pub(crate) problem: Problem,
}

impl Fault {
    pub(crate) fn named(self, file: &str) -> LoadError {
        LoadError { file: file.into(), place: self.place, problem: Box::new(self.problem) }
    }
}

impl Problem {
    /// A problem of the whole file.
    pub(crate) fn anywhere(self) -> Box<Fault> {
        Box::new(Fault { place: None, problem: self })
    }

    /// A problem of a section.
    pub(crate) fn in_section(self, section: &str) -> Box<Fault> {
        let place = Place { section: section.into(), offset: None };
        Box::new(Fault { place: Some(place), problem: self })
    }

    /// A problem at an offset of a section.
    pub(crate) fn at(self, section: &str, offset: u64) -> Box<Fault> {
        let place = Place { section: section.into(), offset: Some(offset) };
        Box::new(Fault { place: Some(place), problem: self })
    }
}
