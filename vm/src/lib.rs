//! The eBPF machine: maps, helpers, contexts, the interpreter, and the face for embedders.
//!
//! A [`Vm`] holds what programs may rely on; [`Vm::link`] binds a program to its maps; an
//! [`Instance`] runs on a [`Context`]:
//!
//! ```
//! use ebpfvm::asm::{AluOp, Code, Insn, Reg, Size, Width};
//! use ebpfvm::spec::{ProgType, Program};
//! use ebpfvm::{Context, DEFAULT_FUEL, Vm};
//!
//! // r0 = *(u8 *)(r1 + 2)
//! let code: Code = [
//!     Insn::Load { size: Size::B, dst: Reg::R0, base: Reg::R1, offset: 2 },
//!     Insn::Exit,
//! ]
//! .into_iter()
//! .collect();
//! let vm = Vm::linux().build();
//! let instance = vm.link(Program::from_code("third", ProgType::Raw, code), &[])?;
//! let mut memory = Context::raw(*b"abcd");
//! assert_eq!(instance.run(&mut memory, DEFAULT_FUEL)?.retval, u64::from(b'c'));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod cells;
pub mod context;
mod dynptr;
pub mod fields;
pub mod helper;
pub mod host;
mod instance;
mod interp;
mod loaded;
pub mod map;
mod memory;
mod native;
pub mod packet;
pub mod pin;
mod rewrite;
mod run;
mod segments;
mod shown;
mod skb;
pub mod socket;
pub mod timer;
pub mod trap;
mod tunnel;
mod vm;

pub use context::{Context, ContextError};
pub use ebpfvm_asm as asm;
pub use ebpfvm_jit as jit;
pub use ebpfvm_loader as loader;
pub use ebpfvm_spec as spec;
pub use ebpfvm_verifier as verifier;
pub use helper::{Call, Helper};
pub use host::{Host, SystemHost, World};
pub use instance::{Instance, LinkError, LinkErrorKind, Outcome};
pub use loaded::{LoadOptions, Loaded, LoadedError};
pub use map::{Map, MapRef};
pub use native::{Engine, Prepared, View};
pub use packet::Packet;
pub use pin::{PinError, PinRoot};
pub use run::{NextHop, PacketClone, Redirect};
pub use socket::Socket;
pub use trap::{Trap, TrapKind};
pub use vm::{Builder, Vm};

/// Fuel for a run that is not expected to loop long: 100 million instructions, a second or less.
pub const DEFAULT_FUEL: u64 = 100_000_000;

/// The fuel of a run without a limit. Compiled programs that the verifier accepted then do not count
/// it; they end in any case.
pub const NO_FUEL_LIMIT: u64 = u64::MAX;

/// The code blocks of the README, tested.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;

/// The code blocks of the verifier's guide, tested.
#[cfg(doctest)]
#[doc = include_str!("../../docs/verifier.md")]
struct VerifierGuide;
