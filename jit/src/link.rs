//! What a program is bound to: the code and data outside of it.
//!
//! Everything that compiled code calls is a C function whose address the machine gives. The
//! registers `r1` to `r5` are passed as they are, in the host's argument registers.

use crate::ir::{Check, Reg, RegSet};
use ebpfvm_asm::{CallTarget, Imm64, Insn, Pc, Size};

/// Gives the addresses that a program's instructions stand for.
pub trait Link {
    /// What a 64-bit immediate load puts into its register.
    ///
    /// # Errors
    /// Why there is no such thing.
    fn imm64(&self, pc: Pc, value: Imm64) -> Result<u64, String>;

    /// What a call of something outside the program calls; `map` is the map that it takes, where the
    /// verifier knows it.
    ///
    /// # Errors
    /// Why there is no such thing.
    fn callee(&self, pc: Pc, target: CallTarget, map: Option<u32>) -> Result<Callee, String>;

    /// How a call finds an element of this map, if it is one that looks up an element of what `r1` has,
    /// the key's address being in `r2`. Asked of programs that nobody has verified, where `r1` probably
    /// has the map.
    fn lookup(&self, pc: Pc, target: CallTarget, map: u32) -> Option<Lookup> {
        let _ = (pc, target, map);
        None
    }

    /// Where the host has what an instruction accesses if its base is the context of the run: the
    /// offset and size in the host's layout. None if the context has no such field.
    fn context(&self, insn: &Insn) -> Option<(u16, Size)>;

    /// The functions that all programs call.
    fn runtime(&self) -> &Runtime;
}

/// What a call calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Callee {
    /// A helper, through [`Runtime::helper`]; the number is put into [`State::site`](crate::State::site).
    Helper {
        /// The machine's number for it.
        site: u32,
        /// How many arguments it takes, those that its prototype does not name with them.
        args: u8,
        /// Whether it takes such: they are registers that a program may have left undefined.
        takes_unnamed: bool,
    },
    /// As [`Callee::Helper`], through [`Runtime::tail_call`].
    TailCall {
        /// The machine's number for it.
        site: u32,
        /// How many arguments it takes.
        args: u8,
    },
    /// The helper whose number is in a register (`callx`), through [`Runtime::by_number`].
    ByNumber {
        /// The register.
        register: Reg,
    },
    /// A C function that takes `r1` to `r5` and gives `r0`. It does not stop the run and does not look
    /// at its state.
    Direct {
        /// Its address.
        address: usize,
        /// How many arguments it takes.
        args: u8,
    },
    /// The address of an element of an array, or 0: its index is the 4 bytes at `r2`.
    Array(Array),
    /// The number of the CPU that the run is on, [`State::cpu`](crate::State::cpu).
    Cpu,
    /// A C function `fn(table, key) -> u64` in a table; the key's address is in `r2`.
    Table {
        /// Its address.
        address: usize,
        /// Its first argument.
        table: usize,
    },
    /// A helper that could be called directly if nobody need compare its arguments.
    Trusting(Trusting),
    /// A lookup in the map that is probably meant, where nobody has verified it.
    Lookup(Lookup),
}

/// A helper of a program with checks that sees nothing but its arguments and reads memory that they point
/// to. With memory that is known to be readable it is [`Callee::Direct`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trusting {
    /// Address of the function that does not compare anything.
    pub address: usize,
    /// How many arguments it takes.
    pub args: u8,
    /// Those that point to as many bytes as the next one says, by the bits of their numbers.
    pub memory: u8,
    /// Whether there may be no bytes.
    pub takes_none: bool,
    /// The machine's number for the helper.
    pub site: u32,
}

/// A lookup of a program with checks: `r1` and the key's memory are compared with what is likely. If
/// they are something else the helper is called, which knows what to do then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lookup {
    /// How the element is found.
    pub way: Way,
    /// What `r1` has for the map.
    pub map: u64,
    /// Whether `r1` is known to have it; then this need not be compared.
    pub is_map_known: bool,
    /// Size of a key in bytes, at least 1.
    pub key_bytes: u32,
    /// The check that the key's memory needs.
    pub key: Check,
    /// Size of a value in bytes: what is found is one, and the program may read all of it.
    pub value_bytes: u32,
    /// Whether the program may write to values.
    pub is_writable: bool,
    /// The machine's number for the helper.
    pub site: u32,
}

impl From<Way> for Callee {
    fn from(way: Way) -> Callee {
        match way {
            Way::Array(array) => Callee::Array(array),
            Way::Table { address, table } => Callee::Table { address, table },
        }
    }
}

/// How an element of a map is found that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// As [`Callee::Array`].
    Array(Array),
    /// As [`Callee::Table`].
    Table {
        /// Address of the function.
        address: usize,
        /// Its first argument.
        table: usize,
    },
}

/// Elements in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Array {
    /// Address of the first.
    pub base: u64,
    /// From one to the next, in bytes.
    pub stride: u32,
    /// How many there are.
    pub entries: u32,
    /// From those of a CPU to those of the next one, in bytes; 0 if all have the same. The number of
    /// the CPU is [`State::cpu`](crate::State::cpu).
    pub lane_bytes: u64,
}

impl Callee {
    /// The registers that it reads.
    pub fn uses(&self) -> RegSet {
        match *self {
            Callee::ByNumber { register } => RegSet::ARGS.with(register),
            Callee::Helper { args, .. }
            | Callee::TailCall { args, .. }
            | Callee::Trusting(Trusting { args, .. })
            | Callee::Direct { args, .. } => {
                RegSet((1..=args.min(5)).fold(0, |set, number| set | 1 << number))
            }
            Callee::Cpu => RegSet::NONE,
            Callee::Array(_) | Callee::Table { .. } => RegSet::of(Reg::R2),
            Callee::Lookup(_) => RegSet::of(Reg::R1).with(Reg::R2),
        }
    }

    /// Whether the memory that the program may touch may be another afterwards. What a lookup in a known
    /// map finds is there in any case.
    pub fn changes_regions(&self) -> bool {
        match self {
            Callee::Lookup(lookup) => !lookup.is_map_known,
            other => other.is_helper(),
        }
    }

    /// Whether it may look at the state of the run, call back or change what the program may touch.
    pub fn is_helper(&self) -> bool {
        match self {
            Callee::Helper { .. }
            | Callee::TailCall { .. }
            | Callee::ByNumber { .. }
            | Callee::Trusting(_)
            | Callee::Lookup(_) => true,
            Callee::Direct { .. } | Callee::Array(_) | Callee::Table { .. } | Callee::Cpu => false,
        }
    }
}

/// What code of the machine answers: in two registers of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Answer {
    /// The value, for `r0`.
    pub value: u64,
    /// One of [`Answer::GO_ON`], [`Answer::STOP`], [`Answer::RETURN`].
    pub way: u64,
}

impl Answer {
    /// The program goes on.
    pub const GO_ON: u64 = 0;
    /// The run stops; the machine knows why.
    pub const STOP: u64 = 1;
    /// The function returns the value.
    pub const RETURN: u64 = 2;
}

/// Addresses of C functions that compiled code calls. `state` is the run's
/// [`State`](crate::State); [`State::pc`](crate::State::pc) says where the program is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Runtime {
    /// `fn(r1, r2, r3, r4, r5, state) -> Answer`: the helper number [`State::site`](crate::State::site).
    pub helper: usize,
    /// The same for helpers that may enter another program: what that returns, the function returns.
    pub tail_call: usize,
    /// The same for the helper whose number is [`State::number`](crate::State::number).
    pub by_number: usize,
    /// `fn(address, access, state) -> u64`: the address for an access that the usual regions do not
    /// have ([`access`]), or 0 if the run stops. What is found becomes
    /// [`State::last`](crate::State::last). A load of the context gives the address of
    /// [`State::cell`](crate::State::cell), with the value in it, and so does a store, which then calls
    /// [`Runtime::commit`].
    pub find: usize,
    /// `fn(state) -> u64`: stores [`State::cell`](crate::State::cell) into the context where the last
    /// [`Runtime::find`] said; 0 if the run stops.
    pub commit: usize,
    /// `fn(offset, bytes, state) -> Answer`: a legacy packet load; the offset is 32 bits wide and signed.
    pub packet: usize,
}

/// An access as [`Runtime::find`] takes it: size in bytes, and whether it writes.
pub const fn access(bytes: u32, writes: bool, is_plain: bool) -> u64 {
    bytes as u64 | (writes as u64) << 16 | (is_plain as u64) << 17
}
