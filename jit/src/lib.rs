//! Compiles eBPF programs to machine code.
//!
//! ```text
//! Source -> build -> Unit -> passes -> Unit -> emit -> Emitted -> exec::Program
//! ```
//!
//! - [`ir`]: blocks of operations, the form between a program and machine code
//! - `build`: from instructions to blocks, whose operations stand in one row until a pass wants to change
//!   them
//! - [`opt`]: the passes, each a function on a [`Unit`](ir::Unit)
//! - `emit`: one pass over the blocks, on any target
//! - [`exec`]: memory that holds code; the only part that is bound to a host, and unsafe
//!
//! A program that the verifier accepted is compiled without checks of what it accesses; of any other
//! every access is compared with the memory of the run. Which of the two is decided by how the
//! [`Source`] was made.

#![deny(unsafe_code)]

mod build;
mod emit;
pub mod exec;
mod features;
pub mod functions;
pub mod ir;
pub mod link;
mod masm;
#[cfg(all(test, target_arch = "x86_64", target_os = "linux"))]
mod native;
mod needs;
pub mod opt;
mod plan;
pub mod state;
pub mod symbols;
mod x86_64;

pub use emit::Emitted;
pub use features::Features;
pub use link::{Answer, Array, Callee, Link, Lookup, Runtime, Trusting, Way};
pub use state::{FRAME_BYTES, MAX_FRAMES, Region, State};
pub use symbols::Symbols;

use ebpfvm_asm::{Code, Pc, TargetError};
use ebpfvm_spec::Program;
use ebpfvm_verifier::{Facts, VerifiedProgram};
use ir::row::Blocks;

/// A program to compile.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    code: &'a Code,
    facts: Option<&'a Facts>,
}

impl<'a> Source<'a> {
    /// A program that was accepted, with its accesses to the context rewritten to the host's layout
    /// (`code` is the program's own if there are none). It is compiled without checks.
    pub fn verified(program: &'a VerifiedProgram, code: &'a Code) -> Source<'a> {
        Source { code, facts: Some(program.facts()) }
    }

    /// Any program. Every access is checked.
    pub fn checked(program: &'a Program) -> Source<'a> {
        Source { code: &program.code, facts: None }
    }
}

/// The blocks of a program, before any pass.
///
/// # Errors
/// [`Error`], with the first instruction that cannot be compiled.
pub fn lower(source: &Source<'_>, link: &dyn Link) -> Result<ir::Unit, Error> {
    Ok(build::build(source, link)?.into_unit())
}

/// How programs are compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// What the processor has.
    pub features: Features,
    /// Whether the code counts fuel: [`State::fuel`] is what it may use.
    pub is_metered: bool,
    /// Whether constants of the program are kept out of the code, so that nobody can put bytes of their
    /// choice there. Then no passes are run, and code is slower.
    pub is_blinded: bool,
    /// The passes of the optimiser.
    pub passes: opt::Passes,
    /// Whether [`Emitted::map`] is made. Who reads the code needs it; runs do not.
    pub has_map: bool,
}

impl Default for Options {
    /// For this processor, with fuel and all passes.
    fn default() -> Options {
        Options {
            features: Features::detect(),
            is_metered: true,
            is_blinded: false,
            passes: opt::Passes::ALL,
            has_map: true,
        }
    }
}

/// Compiles a program to code for x86_64.
///
/// # Errors
/// [`Error`], with the first instruction that cannot be compiled.
pub fn compile(source: &Source<'_>, link: &dyn Link, options: &Options) -> Result<Emitted, Error> {
    compile_by(source, link, options, opt::run)
}

/// As [`compile`]; `see` is told of each pass that has run, by its place in
/// [`PASSES`](opt::PASSES), with the blocks before and after it.
///
/// # Errors
/// As [`compile`].
pub fn compile_seen(
    source: &Source<'_>,
    link: &dyn Link,
    options: &Options,
    see: impl FnMut(usize, &ir::Unit, &ir::Unit),
) -> Result<Emitted, Error> {
    compile_by(source, link, options, |unit, given, passes| {
        opt::run_seen(unit, given, passes, see);
    })
}

fn compile_by(
    source: &Source<'_>,
    link: &dyn Link,
    options: &Options,
    improve: impl FnOnce(&mut ir::Unit, &opt::Given<'_>, opt::Passes),
) -> Result<Emitted, Error> {
    let row = build::build(source, link)?;
    // Passes put constants where they cannot be hidden.
    if options.is_blinded || options.passes == opt::Passes::NONE {
        return Ok(emit_blocks(&row, link.runtime(), options));
    }
    let mut unit = row.into_unit();
    if !options.is_metered {
        opt::forget_costs(&mut unit);
    }
    let given = opt::Given { facts: source.facts, has_spare: !options.is_metered };
    improve(&mut unit, &given, options.passes);
    Ok(emit_unit(&unit, link.runtime(), options))
}

/// The code of blocks, whatever passes have made of them.
pub fn emit_unit(unit: &ir::Unit, runtime: &Runtime, options: &Options) -> Emitted {
    emit_blocks(unit, runtime, options)
}

fn emit_blocks<B: Blocks>(unit: &ir::Unit<B>, runtime: &Runtime, options: &Options) -> Emitted {
    let plan = plan::Plan::new(unit, runtime, options.is_metered, options.is_blinded);
    emit::emit::<x86_64::X64<'_>, B>(&plan, &unit.blocks, options.features, options.has_map)
}

/// Why a program cannot be compiled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ErrorKind {
    /// A jump or call does not go to an instruction.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// An instruction writes to the frame pointer.
    #[error("r10 is the frame pointer and read-only")]
    WritesFramePointer,
    /// The machine has nothing for an instruction.
    #[error("{0}")]
    Link(String),
}

/// Why a program cannot be compiled, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("instruction {pc}: {kind}")]
pub struct Error {
    /// The instruction.
    pub pc: Pc,
    /// What is wrong.
    pub kind: ErrorKind,
}
