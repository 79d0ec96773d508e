//! Names and source lines of machine code, for profilers and debuggers: on request only.
//!
//! A program is told of when its code is loaded and, to debuggers, when it is gone.

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod gdb;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod object;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod perf;
#[cfg(all(test, target_arch = "x86_64", target_os = "linux"))]
mod tests;

use crate::emit::Emitted;
use crate::exec;
use ebpfvm_asm::Pc;
use ebpfvm_spec::Program;
use std::io;
use std::ops::Range;
use std::path::PathBuf;

/// Who is told about machine code; nobody by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Symbols {
    /// `perf`, by the file `/tmp/perf-PID.map` of this process.
    pub perf: bool,
    /// Debuggers that know GDB's interface for compilers (gdb, lldb), now or when they attach.
    pub gdb: bool,
}

/// Where `perf` looks for the names of code that this process makes.
pub fn perf_map() -> PathBuf {
    format!("/tmp/perf-{}.map", std::process::id()).into()
}

impl Symbols {
    /// Prepares what is told. Not needed; it says early what [`Symbols::tell`] would say later.
    ///
    /// # Errors
    /// The file for `perf` cannot be written, or code does not run on this host.
    pub fn begin(self) -> io::Result<()> {
        if self == Symbols::default() {
            return Ok(());
        }
        self.begin_here()
    }

    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    fn begin_here(self) -> io::Result<()> {
        if self.perf { perf::begin() } else { Ok(()) }
    }

    #[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
    fn begin_here(self) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Tells about the code of a program.
    ///
    /// # Errors
    /// The file for `perf` cannot be written.
    pub fn tell(
        self,
        program: &Program,
        emitted: &Emitted,
        code: &exec::Program,
    ) -> io::Result<Told> {
        if self == Symbols::default() {
            return Ok(Told::default());
        }
        self.tell_of(&Listed::new(program, emitted, code.range().0 as u64))
    }

    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    fn tell_of(self, listed: &Listed<'_>) -> io::Result<Told> {
        if self.perf {
            perf::tell(listed)?;
        }
        let gdb = match self.gdb {
            true => Some(gdb::Registered::new(object::file(listed)?)),
            false => None,
        };
        Ok(Told { _gdb: gdb })
    }

    #[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
    fn tell_of(self, _: &Listed<'_>) -> io::Result<Told> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// What others were told about a program's code. It is dropped before the code is.
#[derive(Debug, Default)]
pub struct Told {
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    _gdb: Option<gdb::Registered>,
}

/// The code of a program, by functions and lines.
#[derive(Debug)]
#[cfg_attr(not(all(target_arch = "x86_64", target_os = "linux")), expect(dead_code))]
struct Listed<'a> {
    program: &'a Program,
    emitted: &'a Emitted,
    /// Address of the first byte.
    start: u64,
    pieces: Vec<Piece>,
}

/// Code in a row that belongs to one function.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Piece {
    /// Offsets in the code.
    range: Range<u32>,
    /// `bpf_prog_PROGRAM`, or `bpf_prog_PROGRAM_FUNCTION` of functions that it calls; what lies apart
    /// from the rest of its function ends in `.cold`.
    name: String,
    /// The first instruction of the function.
    function: Pc,
}

impl<'a> Listed<'a> {
    fn new(program: &'a Program, emitted: &'a Emitted, start: u64) -> Listed<'a> {
        let end = emitted.code.len() as u32;
        let ends = emitted.map.iter().skip(1).map(|(offset, _)| *offset).chain([end]);
        let mut pieces: Vec<Piece> = Vec::new();
        for ((begin, pc), end) in emitted.map.iter().zip(ends).filter(|((b, _), e)| b < e) {
            let function = program.func(*pc).map_or(Pc(0), |function| function.start);
            match pieces.last_mut().filter(|last| last.function == function) {
                Some(last) => last.range.end = end,
                None => {
                    let is_first = pieces.iter().all(|piece| piece.function != function);
                    let name = name(program, function, is_first);
                    pieces.push(Piece { range: *begin..end, name, function });
                }
            }
        }
        Listed { program, emitted, start, pieces }
    }
}

/// The symbol of a function.
fn name(program: &Program, function: Pc, is_first: bool) -> String {
    let mut name = format!("bpf_prog_{}", program.name);
    if function != Pc(0)
        && let Some(function) = program.func(function)
    {
        name += &format!("_{}", function.name);
    }
    if !is_first {
        name += ".cold";
    }
    // Names come from files; a line of a map ends at the end of the line.
    name.replace(|c: char| c.is_whitespace() || c.is_control(), "_")
}
