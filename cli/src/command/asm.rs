//! `ebpfvm asm`: text to instructions.

use super::Done;
use crate::failure::Failure;
use crate::input::file;
use crate::input::order::Order;
use crate::model::asm::Assembled;
use crate::model::disasm::Names;
use crate::output::{Format, Output};
use crate::render::hex;
use clap::ValueEnum;
use ebpfvm_asm::text::{self, assemble_with};
use std::io::IsTerminal;
use std::path::PathBuf;

/// Assemble a program from text
///
/// The result is the bare instructions, 8 bytes each, as `ebpfvm run`, `ebpfvm disasm` and other
/// machines take them.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The text; - for standard input
    file: PathBuf,
    /// Where the instructions go; standard output if not given
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// The language of the text
    #[arg(long, value_enum, default_value = "auto")]
    dialect: Dialect,
    /// Write pairs of hex digits, an instruction a line
    #[arg(long)]
    hex: bool,
    /// Byte order of the instructions
    #[arg(long, value_enum, default_value = "little")]
    order: Order,
}

#[derive(Clone, Copy, ValueEnum)]
enum Dialect {
    /// Whichever the text is written in
    Auto,
    /// LLVM's and the kernel log's: r0 = *(u32 *)(r1 + 4)
    PseudoC,
    /// bpf_conformance's: ldxw %r0, [%r1+4]
    Mnemonic,
}

pub(crate) fn run(args: &Args, output: &mut Output) -> Result<Done, Failure> {
    let name = file::name(&args.file);
    let bytes = file::read(&args.file)?;
    let source = file::text(&name, &bytes)?;
    let dialect = match args.dialect {
        Dialect::Auto => text::Dialect::Auto,
        Dialect::PseudoC => text::Dialect::PseudoC,
        Dialect::Mnemonic => text::Dialect::Mnemonic,
    };
    let code = assemble_with(source, dialect, &Names(None))
        .map_err(|error| Failure::Assembly { file: name.clone(), error })?;
    let bytes = code.to_bytes(args.order.into()).map_err(|e| Failure::Input {
        file: name,
        problem: e.to_string(),
        hint: None,
    })?;
    let hex_lines = || bytes.chunks(8).map(|slot| hex::string(slot) + "\n").collect::<String>();
    match &args.output {
        Some(path) if args.hex => file::write(path, hex_lines().as_bytes())?,
        Some(path) => file::write(path, &bytes)?,
        None if output.format() == Format::Json => {}
        None if args.hex => output.text(&hex_lines())?,
        None if std::io::stdout().is_terminal() => {
            let what = "the instructions are no text; give -o FILE, or --hex to see them here";
            return Err(Failure::Usage(what.into()));
        }
        None => output.bytes(&bytes)?,
    }
    if output.format() == Format::Json {
        output.json(&Assembled { slots: code.len(), code: hex::string(&bytes) })?;
    }
    Ok(Done::Well)
}
