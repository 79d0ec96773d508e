//! `ebpfvm disasm`: instructions to text.

use super::Done;
use crate::failure::Failure;
use crate::input::hex::Encoding;
use crate::input::object::Choice;
use crate::input::order::Order;
use crate::input::target::Target;
use crate::input::{file, hex, object};
use crate::model::disasm::{Disassembly, LinkFailure, Listing};
use crate::output::{Format, Output};
use crate::render;
use crate::render::disasm::Shown;
use clap::ValueEnum;
use ebpfvm_asm::{ByteOrder, Code, text};
use ebpfvm_loader::{LinkOptions, LinkedProgram, Object};
use ebpfvm_spec::{ProgType, Program};
use std::path::PathBuf;

/// Write the instructions of programs as text
///
/// Reads an object file, with its source lines, or bare instructions (raw or in hex).
#[derive(clap::Args)]
pub(crate) struct Args {
    /// An object file or bare instructions; - for standard input
    file: PathBuf,
    #[command(flatten)]
    choice: Choice,
    #[command(flatten)]
    target: Target,
    /// How instructions are spelled
    #[arg(long, value_enum, default_value = "pseudo-c")]
    style: Style,
    /// Show the bytes of each instruction
    #[arg(long)]
    raw: bool,
    /// Leave source lines out
    #[arg(long)]
    no_source: bool,
    /// How bare instructions are written in the file
    #[arg(long, value_enum, default_value = "auto")]
    encoding: Encoding,
    /// Byte order of bare instructions
    #[arg(long, value_enum, default_value = "little")]
    order: Order,
}

#[derive(Clone, Copy, ValueEnum)]
enum Style {
    /// LLVM's language with labels; `ebpfvm asm` reads it back
    PseudoC,
    /// As llvm-objdump spells instructions
    Llvm,
    /// As the kernel's verifier log spells them
    Kernel,
    /// The words of bpf_conformance with labels; `ebpfvm asm` reads it back
    Mnemonic,
}

impl From<Style> for text::Style {
    fn from(style: Style) -> text::Style {
        match style {
            Style::PseudoC => text::Style::PseudoC,
            Style::Llvm => text::Style::Llvm,
            Style::Kernel => text::Style::Kernel,
            Style::Mnemonic => text::Style::Mnemonic,
        }
    }
}

pub(crate) fn run(args: &Args, output: &mut Output) -> Result<Done, Failure> {
    let name = file::name(&args.file);
    let content = file::read(&args.file)?;
    let (linked, order) = if object::is_elf(&content) {
        let mut object = object::parse(&content, &name)?;
        args.target.configure(&mut object)?;
        (linked(&object, args)?, object.byte_order())
    } else {
        let programs = vec![bare(&name, content, args)?];
        (Linked { programs, errors: Vec::new() }, args.order.into())
    };
    let shown = Shown { style: args.style.into(), bytes: args.raw, source: !args.no_source };
    let list = |program: &Program| Listing::new(program, shown.style, order);
    let programs: Vec<Listing> = linked.programs.iter().map(list).collect();
    match output.format() {
        Format::Json => output.json(&Disassembly { programs, errors: linked.errors })?,
        Format::Text => {
            for LinkFailure { program, message } in &linked.errors {
                output.note(&format!("warning: {program}: {message}"));
            }
            for (i, listing) in programs.iter().enumerate() {
                let separator = if i > 0 { "\n" } else { "" };
                output.text(&(separator.to_string() + &render::disasm::text(listing, shown)))?;
            }
        }
    }
    Ok(Done::Well)
}

/// The programs that are meant, and those of them that cannot be linked.
struct Linked {
    programs: Vec<Program>,
    errors: Vec<LinkFailure>,
}

/// Links the programs that are meant. It is an error if none of them can be.
fn linked(object: &Object, args: &Args) -> Result<Linked, Failure> {
    let mut linked = Linked { programs: Vec::new(), errors: Vec::new() };
    let mut last = None;
    let chosen = args.choice.all(object)?;
    let names: Vec<&str> = chosen.iter().map(|info| info.name.as_str()).collect();
    let target = args.target.types(object, &names)?;
    let options = LinkOptions { target_btf: target.as_deref(), ..LinkOptions::default() };
    for info in chosen {
        match object.link_for(&info.name, &options) {
            Ok(LinkedProgram { program, .. }) => linked.programs.push(program),
            Err(error) => {
                let (program, message) = (info.name.clone(), error.to_string());
                linked.errors.push(LinkFailure { program, message });
                last = Some(error);
            }
        }
    }
    match last {
        Some(error) if linked.programs.is_empty() => Err(error.into()),
        _ => Ok(linked),
    }
}

fn bare(name: &str, content: Vec<u8>, args: &Args) -> Result<Program, Failure> {
    if let Some(what) = args.choice.program.as_ref().or(args.choice.section.as_ref()) {
        let problem = format!("'{what}' cannot be chosen: {name} is not an object file");
        return Err(Failure::Usage(problem));
    }
    if let Some(option) = args.target.given() {
        return Err(Failure::Usage(format!("{option} needs an object file; {name} is none")));
    }
    let bytes = match args.encoding {
        Encoding::Auto => hex::instructions(name, content)?,
        encoding => hex::bytes(name, content, encoding)?,
    };
    let code = decode(name, &bytes, args.order.into())?;
    Ok(Program::from_code("", ProgType::Raw, code))
}

/// Bare instructions, decoded.
pub(crate) fn decode(name: &str, bytes: &[u8], order: ByteOrder) -> Result<Code, Failure> {
    Code::from_bytes(bytes, order).map_err(|error| Failure::Input {
        file: name.into(),
        problem: format!("{error} (byte {:#x})", 8 * error.slot),
        hint: (!bytes.len().is_multiple_of(8)).then(|| {
            let n = bytes.len();
            format!("the file has {n} bytes; instructions are 8 bytes each")
        }),
    })
}
