//! Why files cannot be linked.

use crate::btf::dedup::MergeError;
use crate::btf::write::WriteError;
use crate::error::{LoadError, MapProblem};
use ebpfvm_asm::ByteOrder;

/// Why files cannot be linked: which, and what about them.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// There is nothing to link.
    #[error("no files to link, expected at least one")]
    Nothing,
    /// One of the files cannot be read.
    #[error(transparent)]
    Object(#[from] LoadError),
    /// The files are for different machines.
    #[error("{first} is {first_order} endian, {second} {second_order}: expected the same")]
    Order {
        /// The first file.
        first: String,
        /// Its byte order.
        first_order: &'static str,
        /// Another file.
        second: String,
        /// Its byte order.
        second_order: &'static str,
    },
    /// Sections of one name that do not fit together.
    #[error("section '{section}': {what} is {found:#x} in {second}, but {expected:#x} in {first}")]
    Section {
        /// Name of the sections.
        section: String,
        /// Which property.
        what: &'static str,
        /// The first file with the section.
        first: String,
        /// What it is there.
        expected: u64,
        /// The other file.
        second: String,
        /// What it is there.
        found: u64,
    },
    /// A section that is linked into memory in a way that is not known.
    #[error("{file}: section '{section}' is of type {kind}, expected data (1) or zeros (8)")]
    SectionKind {
        /// The file.
        file: String,
        /// The section.
        section: String,
        /// Its type.
        kind: u32,
    },
    /// Alignment that is none.
    #[error(
        "{file}: section '{section}' is aligned to {align} bytes, expected a power of two up to {limit}"
    )]
    Align {
        /// The file.
        file: String,
        /// The section.
        section: String,
        /// Alignment in bytes.
        align: u64,
        /// The largest alignment in bytes.
        limit: u64,
    },
    /// `license` or `version` differ.
    #[error("section '{section}' is {expected} in {first}, but {found} in {second}")]
    Content {
        /// Name of the section.
        section: String,
        /// The first file with the section.
        first: String,
        /// What it holds there.
        expected: Box<str>,
        /// The other file.
        second: String,
        /// What it holds there.
        found: Box<str>,
    },
    /// Two definitions of which none gives way.
    #[error("'{symbol}' is defined in {first} and in {second}; make one of them weak or static")]
    Twice {
        /// Name of the symbol.
        symbol: String,
        /// The file with the first definition.
        first: String,
        /// The file with the second one.
        second: String,
    },
    /// Declarations or definitions of one symbol with different types.
    #[error("'{symbol}': {what} is {expected} in {first}, but {found} in {second}")]
    Type {
        /// Name of the symbol.
        symbol: Box<str>,
        /// Which part of the type.
        what: Box<str>,
        /// The file with the definition, or the first one.
        first: String,
        /// What it is there.
        expected: Box<str>,
        /// The other file.
        second: String,
        /// What it is there.
        found: Box<str>,
    },
    /// A map definition that cannot be read.
    #[error("{file}: map '{map}': {problem}")]
    Map {
        /// The file.
        file: String,
        /// The map.
        map: String,
        /// What is wrong.
        problem: MapProblem,
    },
    /// A symbol with a place that it cannot have.
    #[error("{file}: symbol '{symbol}' is {what}")]
    Symbol {
        /// The file.
        file: String,
        /// Name of the symbol.
        symbol: String,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A relocation that cannot be rewritten.
    #[error("{file}: section '{section}', offset {offset:#x}: {what}")]
    Place {
        /// The file.
        file: String,
        /// The section that is relocated, or whose instructions a record is about.
        section: String,
        /// Offset in the section in bytes.
        offset: u64,
        /// What is wrong.
        what: String,
    },
    /// Something has no room in the result, or would take too long.
    #[error("{what} would be {found}, at most {limit} is possible")]
    TooLarge {
        /// What there is too much of.
        what: &'static str,
        /// How much.
        found: u64,
        /// The limit.
        limit: u64,
    },
    /// The types cannot be merged.
    #[error("types: {0}")]
    Merge(#[from] MergeError),
    /// The merged types cannot be written.
    #[error("types: {0}")]
    Write(#[from] WriteError),
}

pub(super) fn order_name(order: ByteOrder) -> &'static str {
    match order {
        ByteOrder::Little => "little",
        ByteOrder::Big => "big",
    }
}
