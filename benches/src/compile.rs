//! What it takes to get from instructions to something that can be called.

use crate::bench_program::BenchProgram;
use crate::engine::{compile_sbpf, machine, options};
use crate::measure::repeat;
use crate::workload::Workload;
use ebpfvm::Engine;
use ebpfvm::asm::text::{Dialect, assemble};
use ebpfvm::asm::{ByteOrder, Code};
use ebpfvm::jit::opt::Passes;
use ebpfvm::spec::{ProgType, Program};
use ebpfvm_kernel::{Kernel, LoadRequest};
use rbpf::EbpfVmRaw;
use std::time::Duration;

/// A program without maps, in the forms that compilers begin with.
pub struct Source {
    /// What the table calls it.
    pub name: String,
    /// How many instructions the entry on plain memory has.
    pub instructions: usize,
    /// The entry on plain memory.
    plain: Vec<u8>,
    /// The entry that Linux would run.
    linux: Program,
}

/// Bytes of memory that the programs are given.
const MEMORY_BYTES: usize = 4096;

impl Source {
    fn generated(name: &str, text: &str) -> Source {
        let code = assemble(text, Dialect::PseudoC).expect("the text is a program");
        let plain = code.to_bytes(ByteOrder::Little).expect("the text has encodings");
        let instructions = code.iter().count();
        let linux = Program::from_code("generated", ProgType::Raw, code);
        Source { name: name.to_owned(), instructions, plain, linux }
    }

    /// Loads, stores and sums without a jump. What is loaded is memory for some engines and for the
    /// kernel fields of a socket buffer.
    pub fn straight(count: usize) -> Source {
        const LINES: [&str; 8] = [
            "r3 = *(u32 *)(r1 + 0)\n",
            "r0 += r3\n",
            "r0 ^= 0x5a5a\n",
            "*(u64 *)(r10 - 8) = r0\n",
            "r4 = r0\n",
            "r4 <<= 7\n",
            "w0 += w4\n",
            "*(u32 *)(r10 - 16) = r4\n",
        ];
        let text: String = LINES.iter().copied().cycle().take(count - 2).collect();
        Source::generated("straight", &format!("r0 = 1\n{text}exit\n"))
    }

    /// Every third instruction is a jump ahead.
    pub fn branches(count: usize) -> Source {
        let block = |at: usize| {
            let (next, field) = (at + 1, at % 8 * 4);
            format!("l{at}:\nr3 = *(u32 *)(r1 + {field})\nif r3 > {at} goto l{next}\nr0 += r3\n")
        };
        let blocks = (count - 2) / 3;
        let text: String = (0..blocks).map(block).collect();
        Source::generated("branches", &format!("r0 = 1\n{text}l{blocks}:\nexit\n"))
    }

    /// The entry that Linux would run.
    pub fn program(&self) -> &Program {
        &self.linux
    }

    /// A bench program.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn of(workload: &Workload) -> Result<Source, String> {
        let plain = BenchProgram::plain(workload)?.bytes;
        let code =
            Code::from_bytes(&plain, ByteOrder::Little).map_err(|error| error.to_string())?;
        let linux = BenchProgram::linux(workload)?.program_behind(&[])?;
        let instructions = code.iter().count();
        Ok(Source { name: workload.name.to_owned(), instructions, plain, linux })
    }
}

/// Compiles a source so many times and says how long that takes; without what is done once.
pub type Compile = Box<dyn FnMut(u64) -> Duration>;

/// A way from instructions to something that can be called.
pub struct Compiler {
    /// Heads its column.
    pub name: &'static str,
    /// Makes it ready for a source; the error says why it cannot compile it.
    pub prepare: fn(&Source) -> Result<Compile, String>,
}

/// All compilers.
pub const COMPILERS: &[Compiler] = &[
    Compiler { name: "jit", prepare: |source| ours(source, Engine::Jit, Passes::ALL) },
    Compiler { name: "jit base", prepare: |source| ours(source, Engine::Jit, Passes::NONE) },
    Compiler { name: "interp", prepare: |source| ours(source, Engine::Interpreter, Passes::NONE) },
    Compiler { name: "kernel", prepare: kernel },
    Compiler { name: "rbpf jit", prepare: rbpf_jit },
    #[cfg(feature = "cranelift")]
    Compiler { name: "cranelift", prepare: cranelift },
    Compiler { name: "sbpf jit", prepare: sbpf },
    #[cfg(feature = "ubpf")]
    Compiler { name: "ubpf jit", prepare: ubpf },
];

/// The time of something that is made and dropped; what it is made from is not counted.
fn timed<S, T>(runs: u64, mut source: impl FnMut() -> S, make: impl Fn(S) -> T) -> Duration {
    let sources: Vec<S> = (0..runs).map(|_| source()).collect();
    let mut sources = sources.into_iter();
    repeat(runs, || sources.next().map(&make))
}

/// From the verdict to an instance: what runs without fuel is compiled by then.
fn ours(source: &Source, engine: Engine, passes: Passes) -> Result<Compile, String> {
    let vm = machine(engine, passes);
    let judgement = vm.verify(source.linux.clone(), &options(MEMORY_BYTES));
    let verified = judgement.verdict.map_err(|rejection| rejection.to_string())?;
    Ok(Box::new(move |runs| {
        let link =
            |verified| vm.link_verified(verified, &[]).expect("a verified program is linked");
        timed(runs, || verified.clone(), link)
    }))
}

/// Verification and compilation.
fn kernel(source: &Source) -> Result<Compile, String> {
    let kernel = Kernel::probe().map_err(|why| why.to_string())?;
    let prog_type = match source.linux.prog_type {
        ProgType::Raw => ProgType::SocketFilter,
        other => other,
    };
    let bytes = source.linux.code.to_bytes(ByteOrder::HOST).map_err(|error| error.to_string())?;
    let load = move || kernel.prog_load(&LoadRequest::new(prog_type, &bytes));
    load().map_err(|error| error.to_string())?;
    Ok(Box::new(move |runs| timed(runs, || (), |()| load())))
}

fn rbpf_jit(source: &Source) -> Result<Compile, String> {
    // Its code has one page, and what does not fit is a panic.
    if source.instructions > 300 {
        return Err("it has room for a page of code".into());
    }
    let plain = source.plain.clone();
    repeated(move || {
        let mut vm = EbpfVmRaw::new(Some(&plain)).map_err(|error| error.to_string())?;
        vm.jit_compile().map_err(|error| error.to_string())
    })
}

#[cfg(feature = "cranelift")]
fn cranelift(source: &Source) -> Result<Compile, String> {
    let plain = source.plain.clone();
    repeated(move || {
        let mut vm = EbpfVmRaw::new(Some(&plain)).map_err(|error| error.to_string())?;
        vm.cranelift_compile().map_err(|error| error.to_string())
    })
}

/// With its verification.
fn sbpf(source: &Source) -> Result<Compile, String> {
    let plain = source.plain.clone();
    repeated(move || compile_sbpf(&plain))
}

#[cfg(feature = "ubpf")]
fn ubpf(source: &Source) -> Result<Compile, String> {
    let plain = source.plain.clone();
    repeated(move || crate::engine::compile_ubpf(&plain))
}

/// What compiles from the bytes each time.
fn repeated(compile: impl Fn() -> Result<(), String> + 'static) -> Result<Compile, String> {
    compile()?;
    Ok(Box::new(move |runs| timed(runs, || (), |()| compile())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_have_as_many_instructions_as_they_say() {
        for count in [2, 50, 1001] {
            assert_eq!(Source::straight(count).instructions, count);
        }
        assert_eq!(Source::branches(302).instructions, 302);
    }

    #[test]
    fn compilers_take_what_is_measured() {
        for source in [Source::straight(1000), Source::branches(1001)] {
            for compiler in COMPILERS {
                match (compiler.prepare)(&source) {
                    Ok(mut compile) => assert!(compile(2) > Duration::ZERO, "{}", compiler.name),
                    Err(why) => assert_eq!(compiler.name, "rbpf jit", "{}: {why}", source.name),
                }
            }
        }
    }
}
