//! Programs of object files with their maps: the same inputs on this machine and on the kernel.
//!
//! A [`Side`] brings an object's maps and programs into being and runs them; what it leaves after a
//! run is an [`Observation`], whose [`difference`](Observation::difference) from another is text for
//! a person. [`Machine`] is the interpreter here, [`Live`] the running kernel.

mod live;
mod live_map;
mod machine;
mod observation;

pub use live::Live;
pub(crate) use live_map::create_map;
pub use machine::{Machine, Mode};
pub use observation::{Contents, Observation};

use ebpfvm_spec::{Errno, MapDef, MapType};

/// What a program is run on.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Input {
    /// The packet, with its Ethernet header.
    pub packet: Vec<u8>,
    /// Fields of the context that the host sets, by name: `mark`, `cb[2]`.
    pub fields: Vec<(String, u32)>,
}

impl Input {
    /// A packet in a context as it comes.
    pub fn packet(bytes: impl Into<Vec<u8>>) -> Input {
        Input { packet: bytes.into(), fields: Vec::new() }
    }
}

/// Why an object was not brought into being or a program not run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ObjectError {
    /// A map cannot be created or filled.
    #[error("map '{map}': {why}")]
    Map {
        /// Name of the map.
        map: String,
        /// Why.
        why: String,
    },
    /// A program is not accepted.
    #[error("program '{program}': {why}")]
    Program {
        /// Name of the program.
        program: String,
        /// Why; the verifier's reason, if it is the kernel.
        why: String,
    },
    /// The input cannot be given to a program of this type.
    #[error("the input is refused: {0}")]
    Input(String),
    /// A program was stopped.
    #[error("program '{program}' stopped: {why}")]
    Trap {
        /// Name of the program.
        program: String,
        /// Why and where.
        why: String,
    },
}

impl ObjectError {
    fn map(map: &str, errno: Errno) -> ObjectError {
        ObjectError::Map { map: map.into(), why: errno.to_string() }
    }

    fn program(program: &str, why: impl ToString) -> ObjectError {
        ObjectError::Program { program: program.into(), why: why.to_string() }
    }
}

/// A machine with the maps and programs of one object.
pub trait Side {
    /// Sets an entry of a map; of a per-CPU map on all CPUs.
    ///
    /// # Errors
    /// There is no such map, or it refuses.
    fn write(&mut self, map: &str, key: &[u8], value: &[u8]) -> Result<(), ObjectError>;

    /// Removes an entry of a map.
    ///
    /// # Errors
    /// As [`Side::write`].
    fn remove(&mut self, map: &str, key: &[u8]) -> Result<(), ObjectError>;

    /// Makes a program ready.
    ///
    /// # Errors
    /// There is no such program, or it is not accepted.
    fn load(&mut self, program: &str) -> Result<(), ObjectError>;

    /// Runs a program on an input, on maps as earlier runs left them.
    ///
    /// # Errors
    /// It cannot be loaded, the input is refused, or the run did not end.
    fn run(&mut self, program: &str, input: &Input) -> Result<Observation, ObjectError>;
}

/// Fields of the context that the kernel's test-run gives back (`convert_skb_to___skb`, Linux
/// 6.18).
const SKB_FIELDS: &[&str] = &[
    "mark",
    "priority",
    "ifindex",
    "ingress_ifindex",
    "tstamp",
    "wire_len",
    "gso_segs",
    "gso_size",
    "cb[0]",
    "cb[1]",
    "cb[2]",
    "cb[3]",
    "cb[4]",
];

/// How the contents of a map are observed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum View {
    /// Keys and values.
    Entries,
    /// Keys only: values are numbers of programs, maps or sockets, which differ.
    Keys,
    /// Values in order.
    Sequence,
    /// Records, which are taken.
    Records,
    /// Nothing can be read.
    Hidden,
}

fn view(def: &MapDef) -> View {
    use MapType::*;
    match def.map_type {
        ProgArray | ArrayOfMaps | HashOfMaps => View::Keys,
        Queue | Stack => View::Sequence,
        Ringbuf => View::Records,
        Hash | Array | PercpuHash | PercpuArray | LruHash | LruPercpuHash | LpmTrie | Devmap
        | DevmapHash | Cpumap => View::Entries,
        _ => View::Hidden,
    }
}

/// The host's form of a value: repeated for each CPU, with room up to a multiple of 8 bytes.
fn for_host(def: &MapDef, value: &[u8], host_bytes: usize) -> Vec<u8> {
    if !def.map_type.is_percpu() {
        return value.to_vec();
    }
    let mut one = value.to_vec();
    one.resize(value.len().next_multiple_of(8), 0);
    one.repeat(host_bytes / one.len().max(1))
}
