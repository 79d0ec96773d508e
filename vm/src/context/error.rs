//! Why a context cannot be made or changed.

use crate::packet::PacketError;
use ebpfvm_spec::ProgType;

/// Why a context cannot be made or changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ContextError {
    /// The bytes cannot be a packet.
    #[error(transparent)]
    Packet(#[from] PacketError),
    /// The program type cannot be run here.
    #[error("programs of type {0} cannot be run: {why}", why = why_not(.0))]
    NoContext(&'static str),
    /// The context has no such field.
    #[error("{context} has no field {field}; its fields are {known}")]
    NoField {
        /// Name of the context struct.
        context: String,
        /// The name that was asked for.
        field: String,
        /// All that there are.
        known: String,
    },
    /// The field holds an address that the machine sets.
    #[error("{context}.{field} is set by the machine")]
    FieldFixed {
        /// Name of the context struct.
        context: String,
        /// Name of the field.
        field: String,
    },
    /// The value does not fit the field.
    #[error("{context}.{field} takes {bytes} bytes; {value} does not fit")]
    FieldRange {
        /// Name of the context struct.
        context: String,
        /// Name of the field.
        field: String,
        /// Size of the field in bytes.
        bytes: u32,
        /// The value.
        value: u64,
    },
    /// The field is no pointer to a socket, or the socket is not of its kind.
    #[error("{context}.{field} takes {expected}")]
    NoSocket {
        /// Name of the context struct.
        context: String,
        /// Name of the field.
        field: String,
        /// What it takes.
        expected: &'static str,
    },
    /// Nothing of this name can be given with the context.
    #[error("{context} is given no {name}; it is given {known}")]
    NoBytes {
        /// Name of the context struct.
        context: String,
        /// The name that was asked for.
        name: String,
        /// All that there are.
        known: String,
    },
    /// Too few or too many bytes for what is given with the context.
    #[error(
        "{context} takes {min} to {max} bytes as {name}, a multiple of {unit}; {got} were given"
    )]
    BytesRange {
        /// Name of the context struct.
        context: String,
        /// The name.
        name: String,
        /// The fewest bytes.
        min: usize,
        /// The most bytes.
        max: usize,
        /// What their number is a multiple of.
        unit: usize,
        /// How many there are.
        got: usize,
    },
    /// The value contradicts what the field means.
    #[error("{context}.{field} cannot be {value}: {why}")]
    Contradiction {
        /// Name of the context struct.
        context: String,
        /// Name of the field.
        field: String,
        /// The value.
        value: u64,
        /// What it can be.
        why: &'static str,
    },
    /// The bytes have the wrong size.
    #[error("programs of type {prog_type} take {expected}; {got} bytes were given")]
    Size {
        /// Name of the program type.
        prog_type: &'static str,
        /// What the type takes.
        expected: String,
        /// How many bytes there are.
        got: usize,
    },
    /// The machine has no memory left.
    #[error("there is no memory left for the context")]
    OutOfMemory,
}

fn why_not(prog_type: &str) -> &'static str {
    const OF_KERNEL_TYPES: [ProgType; 4] =
        [ProgType::Tracing, ProgType::Lsm, ProgType::StructOps, ProgType::Ext];
    match OF_KERNEL_TYPES.iter().any(|t| t.name() == prog_type) {
        true => "their context is made of the types of a kernel, which is not here",
        false => "their context is not available here",
    }
}
