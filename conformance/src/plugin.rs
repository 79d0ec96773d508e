//! The plugin protocol of the bpf_conformance runner.
//!
//! The runner starts the plugin once a test:
//!
//! - arguments: the memory first, if the test has any, then options
//! - standard input: the program in one line, or an ELF file with `--elf`
//! - standard output: `r0` in hexadecimal; exit code 0
//! - on failure: the reason on standard error; another exit code
//!
//! Bytes are two hexadecimal digits each with any space between (the runner writes two spaces).
//! Helper 5 is `unwind` there: it returns its argument, and would end the program if that is 0.

use crate::machine::MachineEngine;
use crate::{Engine, Outcome};
use ebpfvm::{Helper, TrapKind, Vm};
use ebpfvm_asm::{ByteOrder, Slot};
use ebpfvm_spec::helper::{Arg, Effect, Ret};
use ebpfvm_spec::{HelperProto, MapUse, ProgTypeSet};
use object::{Object, ObjectSection, ObjectSymbol, SymbolKind};
use std::io::Read;

/// Why a test could not be run, or what stopped its program.
#[derive(Debug, thiserror::Error)]
pub enum PluginError {
    /// The arguments are wrong.
    #[error("{0}\nusage: bpf_conformance_plugin [MEMORY] [--elf] [--program BYTES]")]
    Usage(String),
    /// Bytes are not in hexadecimal.
    #[error("{what}: `{word}` is not a byte of two hexadecimal digits")]
    NotHex {
        /// Which bytes: memory or program.
        what: &'static str,
        /// The word at fault.
        word: String,
    },
    /// Standard input cannot be read or is too long.
    #[error("standard input: {0}")]
    Input(String),
    /// The ELF file has no program to run.
    #[error("the ELF file: {0}")]
    Elf(String),
    /// The program's size.
    #[error("the program has {0} bytes, which is not a multiple of 8")]
    Length(usize),
    /// The program was refused or stopped.
    #[error("{0}")]
    Program(String),
}

impl PluginError {
    /// The exit code: 2 for wrong use, 1 otherwise.
    pub fn exit_code(&self) -> u8 {
        if let PluginError::Usage(_) = self { 2 } else { 1 }
    }
}

/// The longest program text: a million instructions at four characters a byte.
const MAX_INPUT_BYTES: u64 = 32 << 20;

struct Request {
    memory: Option<Vec<u8>>,
    program: Option<Vec<u8>>,
    elf: bool,
}

fn bytes(what: &'static str, text: &str) -> Result<Vec<u8>, PluginError> {
    let byte = |word: &str| {
        let value = u8::from_str_radix(word, 16).ok().filter(|_| word.len() == 2);
        value.ok_or_else(|| PluginError::NotHex { what, word: word.into() })
    };
    text.split_whitespace().map(byte).collect()
}

fn request(args: &[String]) -> Result<Request, PluginError> {
    let mut request = Request { memory: None, program: None, elf: false };
    let mut args = args.iter();
    let mut is_first = true;
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--elf" => request.elf = true,
            "--program" => {
                let missing = || PluginError::Usage("--program needs the bytes".into());
                request.program = Some(bytes("program", args.next().ok_or_else(missing)?)?);
            }
            option if option.starts_with('-') => {
                return Err(PluginError::Usage(format!("there is no option `{option}`")));
            }
            memory if is_first => request.memory = Some(bytes("memory", memory)?),
            other => {
                let what = format!("`{other}`: the memory must be the first argument");
                return Err(PluginError::Usage(what));
            }
        }
        is_first = false;
    }
    Ok(request)
}

/// The instructions of the function `main` of an ELF file: those of its section.
fn elf_program(file: &[u8]) -> Result<Vec<u8>, PluginError> {
    let fail = |what: String| PluginError::Elf(what);
    let elf = object::File::parse(file).map_err(|e| fail(e.to_string()))?;
    let is_main = |s: &object::Symbol<'_, '_>| {
        s.name() == Ok("main") && s.kind() != SymbolKind::Section && s.is_definition()
    };
    let main = elf.symbols().find(is_main);
    if main.is_none() && elf.section_by_name("xdp").is_some() {
        let what = "a program for XDP (--xdp_prolog), but tests run on plain memory here";
        return Err(fail(what.into()));
    }
    let index = main.as_ref().and_then(|main| main.section_index());
    let section = match index {
        Some(index) => elf.section_by_index(index).map_err(|e| fail(e.to_string()))?,
        None => elf.section_by_name(".text").ok_or_else(|| {
            fail("there is neither a function `main` nor a section `.text`".into())
        })?,
    };
    if section.relocations().next().is_some() {
        return Err(fail("the program has relocations, which a test has not".into()));
    }
    let code = section.data().map_err(|e| fail(e.to_string()))?;
    let start = main.map_or(0, |main| main.address());
    let code = usize::try_from(start).ok().and_then(|start| code.get(start..));
    code.map(<[u8]>::to_vec).ok_or_else(|| fail("`main` is outside its section".into()))
}

/// Linux's helpers, with `unwind` as number 5.
fn machine() -> Vm {
    const UNWIND: u32 = 5;
    let proto = HelperProto {
        id: UNWIND,
        name: "unwind".into(),
        since: "",
        args: [Arg::Anything, Arg::None, Arg::None, Arg::None, Arg::None],
        ret: Ret::Integer,
        effects: Effect::NONE,
        allowed: ProgTypeSet::ALL,
        attach: &[],
        maps: MapUse::ANY,
    };
    let unwind = |call: &mut ebpfvm::Call<'_, '_>| match call.arg(1) {
        0 => Err(TrapKind::Unsupported("unwind(0) ends the program early".into())),
        value => Ok(value),
    };
    Vm::linux().helper(Helper::new(proto, unwind)).build()
}

/// Runs the test that arguments (without the program's name) and standard input describe, and
/// returns `r0`.
///
/// # Errors
/// [`PluginError`].
pub fn run(args: &[String], stdin: impl Read) -> Result<u64, PluginError> {
    let request = request(args)?;
    let input = match request.program {
        Some(program) => program,
        None => {
            let mut text = String::new();
            let read = stdin.take(MAX_INPUT_BYTES + 1).read_to_string(&mut text);
            if read.map_err(|e| PluginError::Input(e.to_string()))? as u64 > MAX_INPUT_BYTES {
                return Err(PluginError::Input(format!("more than {MAX_INPUT_BYTES} bytes")));
            }
            bytes("program", &text)?
        }
    };
    let program = if request.elf { elf_program(&input)? } else { input };
    let slots = Slot::all_from_bytes(&program, ByteOrder::Little)
        .map_err(|_| PluginError::Length(program.len()))?;
    match MachineEngine::on(machine()).run(&slots, request.memory.as_deref()) {
        Outcome::Value(value) => Ok(value),
        Outcome::Refused(why) | Outcome::Trapped(why) | Outcome::Unsupported(why) => {
            Err(PluginError::Program(why))
        }
    }
}
