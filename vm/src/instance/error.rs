//! Why a program cannot be bound to a machine.

use ebpfvm_asm::{Pc, TargetError};
use ebpfvm_spec::ProgType;

/// Why a program cannot be bound.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkErrorKind {
    /// A jump or call does not go to an instruction.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// An instruction writes to the frame pointer.
    #[error("r10 is the frame pointer and read-only")]
    WritesFramePointer,
    /// The platform has no such helper.
    #[error("there is no helper number {0}")]
    UnknownHelper(u32),
    /// The helper is not for programs of this type.
    #[error("the helper {name} (number {id}) is not for programs of type {}", .prog_type.name())]
    HelperNotAllowed {
        /// Its number.
        id: u32,
        /// Its name.
        name: String,
        /// The program's type.
        prog_type: ProgType,
    },
    /// A map index beyond the maps given.
    #[error("there is no map number {index}; the program has {maps}")]
    NoMap {
        /// The index.
        index: u32,
        /// How many there are.
        maps: usize,
    },
    /// A direct access to the value of a map that has no single value, or beyond it.
    #[error("map {map} has no byte {offset} in a single, directly accessible value")]
    NoMapValue {
        /// Name of the map.
        map: String,
        /// Offset in bytes.
        offset: u32,
    },
    /// A map by file descriptor.
    #[error("the program names a map by file descriptor {0}, which means nothing here")]
    FileDescriptor(i32),
    /// A kernel variable.
    #[error("the program takes the address of the kernel variable with BTF id {0}")]
    KernelVariable(u32),
    /// A kernel function.
    #[error("the program calls the kernel function with BTF id {0}")]
    Kfunc(i32),
    /// A conversion between address spaces.
    #[error("addr_space_cast needs an arena, which is not available here")]
    NeedsArena,
    /// A program without instructions.
    #[error("the program has no instructions")]
    Empty,
    /// The machine has more CPUs than the verifier was told.
    #[error("the program was verified for {assumed} CPUs, this machine has {cpus}")]
    TooManyCpus {
        /// CPUs of the machine.
        cpus: u32,
        /// CPUs that the verdict is about.
        assumed: u32,
    },
    /// There is no machine code for the program.
    #[error("the program was not compiled: {0}; the interpreter runs it")]
    Native(String),
    /// A map of another kind, size or contents than the verifier was told.
    #[error("the map '{map}' is not the one that the program was verified with")]
    OtherMap {
        /// Name of the map.
        map: String,
    },
}

/// Why a program cannot be bound, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkError {
    /// The instruction; none if it is not about one.
    pub pc: Option<Pc>,
    /// What is wrong.
    pub kind: LinkErrorKind,
}

impl std::fmt::Display for LinkError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.pc {
            Some(pc) => write!(f, "instruction {pc}: {}", self.kind),
            None => self.kind.fmt(f),
        }
    }
}

impl std::error::Error for LinkError {}
