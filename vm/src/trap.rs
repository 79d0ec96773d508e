//! Why a run stopped before its program returned.

use ebpfvm_asm::Pc;
use ebpfvm_spec::context::Direction;
use std::fmt;

/// A region of memory near an address that was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NearRegion {
    /// What it is: `stack`, `packet`, `context`, `value of map m`, ...
    pub name: String,
    /// Its size in bytes.
    pub bytes: u64,
    /// The refused address less the region's first.
    pub offset: i64,
    /// Whether programs may write it.
    pub writable: bool,
}

impl fmt::Display for NearRegion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let NearRegion { name, bytes, offset, .. } = self;
        if *offset < 0 {
            write!(f, "{} bytes before the {name} ({bytes} bytes)", offset.unsigned_abs())
        } else if offset.unsigned_abs() >= *bytes {
            match offset.unsigned_abs() - bytes {
                0 => write!(f, "right past the end of the {name} ({bytes} bytes)"),
                past => write!(f, "{past} bytes past the end of the {name} ({bytes} bytes)"),
            }
        } else {
            write!(f, "at byte {offset} of the {name} ({bytes} bytes)")
        }
    }
}

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrapKind {
    /// An access outside the memory that the program was given.
    #[error("invalid {} of {bytes} bytes at 0x{address:x}{}", verb(*.direction), place(.near))]
    Access {
        /// The address.
        address: u64,
        /// The size of the access in bytes.
        bytes: u64,
        /// Load or store.
        direction: Direction,
        /// The closest region, if one is within reach.
        near: Option<NearRegion>,
    },
    /// An access to the context that its layout does not allow.
    #[error("invalid {} of {bytes} bytes at offset {offset} of the context {context}{}", verb(*.direction), named(.field))]
    Context {
        /// Name of the context struct.
        context: String,
        /// Offset in the context in bytes.
        offset: u64,
        /// The size of the access in bytes.
        bytes: u64,
        /// Load or store.
        direction: Direction,
        /// The field at the offset.
        field: Option<String>,
    },
    /// The verified program reaches farther than what it was given.
    #[error(
        "the program reaches {needed} bytes of its {what}, which has {given}: Linux refuses that too; \
         give it a longer one"
    )]
    Short {
        /// `context` or `buffer`.
        what: &'static str,
        /// How far it reaches, in bytes.
        needed: u32,
        /// How much there is, in bytes.
        given: u32,
    },
    /// The budget is used up.
    #[error("out of fuel after {0} instructions: the program loops too long")]
    OutOfFuel(u64),
    /// More than 8 nested calls.
    #[error("more than 8 nested calls")]
    CallDepth,
    /// Control ran over the end of the program.
    #[error("control runs over the end of the program")]
    FellOff,
    /// A helper got an argument that it does not take.
    #[error("helper {helper}: argument {arg} (0x{value:x}) {expected}")]
    HelperArg {
        /// Name of the helper.
        helper: String,
        /// Number of the argument from 1.
        arg: u8,
        /// The value given.
        value: u64,
        /// What it should have been.
        expected: String,
    },
    /// A helper's memory argument lies outside the memory that the program was given.
    #[error("helper {helper}: argument {arg}: {access}")]
    HelperAccess {
        /// Name of the helper.
        helper: String,
        /// Number of the argument from 1.
        arg: u8,
        /// The refused access.
        access: Box<TrapKind>,
    },
    /// `callx` names no helper.
    #[error("there is no helper with the number {0}")]
    NoSuchHelper(u64),
    /// The program has called a helper of Linux that is not available here.
    #[error("the helper {name} is not available here{}", because(*.why))]
    NoHelperCode {
        /// Its name.
        name: String,
        /// Why it will not be; none if it may come later.
        why: Option<&'static str>,
    },
    /// The program needs something that the context does not have.
    #[error("{0}")]
    Unsupported(String),
}

fn because(why: Option<&str>) -> String {
    why.map_or(String::new(), |why| format!(": {why}"))
}

fn verb(direction: Direction) -> &'static str {
    match direction {
        Direction::Read => "load",
        Direction::Write => "store",
    }
}

fn place(near: &Option<NearRegion>) -> String {
    match near {
        Some(near) if near.offset >= 0 && (near.offset as u64) < near.bytes && !near.writable => {
            format!(": {near} that is read-only")
        }
        Some(near) => format!(": {near}"),
        None => ": near no memory of the program".into(),
    }
}

fn named(field: &Option<String>) -> String {
    match field {
        Some(name) => format!(" (field {name})"),
        None => " (no field is there)".into(),
    }
}

/// A run that stopped, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{program}: instruction {pc}: {kind}")]
pub struct Trap {
    /// Name of the program: the last that a tail call entered.
    pub program: String,
    /// The instruction.
    pub pc: Pc,
    /// What went wrong.
    pub kind: TrapKind,
    /// The source line, as `file:line: text`, if the object has it.
    pub line: Option<String>,
}
