//! `ebpfvm verify`: would Linux load these programs?

use super::{Done, disasm};
use crate::failure::Failure;
use crate::input::object::{Choice, parse};
use crate::input::target::Target;
use crate::input::value::Json;
use crate::input::{file, globals, hex, object};
use crate::model::verify::{Judged, Verdict, Wanted};
use crate::output::{Format, Output};
use crate::render;
use clap::ValueEnum;
use ebpfvm_asm::ByteOrder;
use ebpfvm_asm::text::{Dialect, assemble_with};
use ebpfvm_loader::{LinkOptions, Object, ProgramInfo};
use ebpfvm_spec::btf::Btf;
use ebpfvm_spec::{MapDef, Platform, ProgType, Program};
use ebpfvm_verifier::{LogLevel, Options, Privileges, verify};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Judge programs as Linux 6.18 would
///
/// Tells for every program whether Linux would load it, and if not, why, where, on which path, and what
/// would help. Nothing is loaded.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Object files, or bare instructions (raw, in hex, or as assembly text); - for standard input
    #[arg(required = true)]
    files: Vec<PathBuf>,
    #[command(flatten)]
    choice: Choice,
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    judge: Judge,
    /// The initial value of a global variable, as JSON or @FILE
    #[arg(long = "global", value_name = "NAME=JSON")]
    globals: Vec<String>,
    /// The program type of bare instructions, such as xdp; plain memory if not given
    #[arg(long = "type", value_name = "TYPE", value_parser = prog_type)]
    prog_type: Option<ProgType>,
    /// Write the kernel's log: 1 the path that failed, 2 every path, 4 statistics; add them up
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=7))]
    log_level: u32,
    /// Write the statistics of all programs instead, with the columns of veristat
    #[arg(long, value_enum, value_name = "FORM")]
    stats: Option<Stats>,
    /// With --json, tell registers, hint and way of rejections too
    #[arg(long)]
    details: bool,
}

/// How programs are judged.
#[derive(clap::Args)]
pub(crate) struct Judge {
    /// Load flags (BPF_F_*) to add, such as 0x8 for a state at every instruction
    #[arg(long, value_name = "N", default_value = "0", value_parser = number, hide_default_value = true)]
    prog_flags: u32,
    /// Judge as for a user without any privilege
    #[arg(long)]
    unprivileged: bool,
    /// Of programs on plain memory, how many bytes they are given at least
    #[arg(long, value_name = "N", default_value = "0", value_parser = number, hide_default_value = true)]
    memory_bytes: u32,
}

impl Judge {
    /// The options for the verifier.
    pub(crate) fn options(&self, log_level: u32) -> Options {
        let privileges = if self.unprivileged { Privileges::NONE } else { Privileges::ALL };
        let memory_bytes = self.memory_bytes;
        Options { privileges, log: LogLevel(log_level), memory_bytes, ..Options::default() }
    }

    /// Adds the load flags.
    pub(crate) fn flag(&self, program: &mut Program) {
        program.flags |= self.prog_flags;
    }
}

/// How statistics are written.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Stats {
    /// Aligned columns
    Table,
    /// For veristat -C and spreadsheets
    Csv,
}

const EXAMPLES: &str = "\
Exit code: 3 if a file could not be opened or a program not linked; else 4 if one needs what this
verifier does not judge yet; else 1 if one is rejected; else 0.

  ebpfvm verify *.bpf.o
  ebpfvm verify xdp.bpf.o -p filter --log-level 2
  ebpfvm verify *.bpf.o --stats csv > here.csv && veristat -C there.csv here.csv";

fn number(text: &str) -> Result<u32, String> {
    let parsed = match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16),
        None => text.parse(),
    };
    parsed.map_err(|error| format!("{error}; a number such as 8 or 0x8 is expected"))
}

fn prog_type(text: &str) -> Result<ProgType, String> {
    let known = || ProgType::ALL.iter().filter(|t| **t != ProgType::Unspec);
    known().find(|t| t.name() == text).copied().ok_or_else(|| {
        let names: Vec<&str> = known().map(|t| t.name()).collect();
        format!("the types are {}", names.join(", "))
    })
}

pub(crate) fn run(args: &Args, output: &mut Output) -> Result<Done, Failure> {
    if args.stats.is_some() && output.format() == Format::Json {
        return Err(Failure::Usage("--stats and --json do not go together".into()));
    }
    if args.files.iter().filter(|path| file::is_stream(path)).count() > 1 {
        return Err(Failure::Usage("standard input can only be read once".into()));
    }
    let mut session = Session { args, platform: Platform::linux(), output, judged: Vec::new() };
    let mut not_chosen = None;
    for path in &args.files {
        match session.file(path) {
            Ok(()) => {}
            // What is chosen must be somewhere, not in every file.
            Err(failure @ Failure::Unknown { .. }) => not_chosen = Some(failure),
            Err(failure @ (Failure::Usage(_) | Failure::ClosedPipe)) => return Err(failure),
            Err(failure) => {
                let message = failure.to_string();
                session.tell(Judged::error(&file::name(path), None, message))?;
            }
        }
    }
    let judged = session.judged;
    if let (true, Some(failure)) = (judged.is_empty(), not_chosen) {
        return Err(failure);
    }
    match args.stats {
        Some(Stats::Csv) => {
            for judged in judged.iter().filter(|judged| !render::verify::has_row(judged)) {
                output.note(&format!("not in the table: {}", render::verify::headline(judged)));
            }
            output.text(&render::verify::csv(&judged))?;
        }
        Some(Stats::Table) => output.text(&render::verify::table(&judged))?,
        None if output.format() == Format::Text && judged.len() > 1 => {
            output.text(&render::verify::summary(&judged))?;
        }
        None => {}
    }
    Ok(done(&judged))
}

/// How the command ends: by what is farthest from a verdict that one hopes for.
fn done(judged: &[Judged]) -> Done {
    let has = |verdict| judged.iter().any(|judged| judged.verdict == verdict);
    match () {
        () if has(Verdict::Error) => Done::Unusable,
        () if has(Verdict::Unsupported) => Done::Unsupported,
        () if has(Verdict::Rejected) => Done::Failed,
        () => Done::Well,
    }
}

struct Session<'a> {
    args: &'a Args,
    platform: Platform,
    output: &'a mut Output,
    judged: Vec<Judged>,
}

impl Session<'_> {
    /// Judges the programs of a file that are meant.
    fn file(&mut self, path: &Path) -> Result<(), Failure> {
        let name = file::name(path);
        let content = file::read(path)?;
        if !object::is_elf(&content) {
            let program = self.bare(&name, content)?;
            return self.judge(&name, program);
        }
        if self.args.prog_type.is_some() {
            let problem = format!("--type is for bare instructions; {name} is an object file");
            return Err(Failure::Usage(problem));
        }
        let mut object = parse(&content, &name)?;
        self.args.target.configure(&mut object)?;
        let chosen = self.args.choice.all(&object)?;
        let mut defs = object.maps().to_vec();
        for argument in &self.args.globals {
            let (global, json) = Json::assignment("--global", argument)?;
            globals::set(&object, &mut defs, &global, &json)?;
        }
        let defs: Arc<[MapDef]> = defs.into();
        let names: Vec<&str> = chosen.iter().map(|info| info.name.as_str()).collect();
        let target = self.args.target.types(&object, &names)?;
        for info in chosen {
            match link(&object, info, target.as_deref()) {
                Ok(mut program) => {
                    program.maps = defs.clone();
                    self.judge(&name, program)?;
                }
                Err(message) => self.tell(Judged::error(&name, Some(info), message))?,
            }
        }
        Ok(())
    }

    /// A program of bare instructions.
    fn bare(&self, name: &str, content: Vec<u8>) -> Result<Program, Failure> {
        for (given, option) in [
            (self.args.choice.program.is_some(), "--program"),
            (self.args.choice.section.is_some(), "--section"),
            (!self.args.globals.is_empty(), "--global"),
        ] {
            if given {
                let problem = format!("{option} needs an object file; {name} is none");
                return Err(Failure::Usage(problem));
            }
        }
        if content.is_empty() {
            let (problem, hint) = ("the file is empty".into(), None);
            return Err(Failure::Input { file: name.into(), problem, hint });
        }
        let code = match hex::instructions(name, content.clone()) {
            Ok(bytes) => disasm::decode(name, &bytes, ByteOrder::HOST)?,
            Err(not_hex) if is_c(name) => return Err(not_hex),
            Err(_) => {
                let text = file::text(name, &content)?;
                assemble_with(text, Dialect::Auto, &crate::model::disasm::Names(None))
                    .map_err(|error| Failure::Assembly { file: name.into(), error })?
            }
        };
        let prog_type = self.args.prog_type.unwrap_or(ProgType::Raw);
        Ok(Program::from_code("program", prog_type, code))
    }

    fn judge(&mut self, object: &str, mut program: Program) -> Result<(), Failure> {
        self.args.judge.flag(&mut program);
        let options = self.args.judge.options(self.args.log_level);
        let judgement = verify(program.clone(), &self.platform, &options);
        let wanted = Wanted { details: self.args.details, log: self.args.log_level != 0 };
        self.tell(Judged::new(object, &program, &judgement, wanted))
    }

    /// Shows a verdict, unless the statistics of all are shown at the end.
    fn tell(&mut self, judged: Judged) -> Result<(), Failure> {
        if self.args.stats.is_none() {
            match self.output.format() {
                Format::Json => self.output.json(&judged)?,
                Format::Text => self.output.text(&render::verify::text(&judged))?,
            }
            // Verdicts may take a while each.
            self.output.flush()?;
        }
        self.judged.push(judged);
        Ok(())
    }
}

fn is_c(name: &str) -> bool {
    [".c", ".h"].iter().any(|ending| name.ends_with(ending))
}

/// Links a program, whether or not its type can be judged.
fn link(object: &Object, info: &ProgramInfo, target: Option<&Btf>) -> Result<Program, String> {
    let options = LinkOptions { target_btf: target, ..LinkOptions::default() };
    let linked = object.link_for(&info.name, &options).map_err(|error| error.to_string())?;
    if linked.program.prog_type == ProgType::Unspec {
        let (name, section) = (&info.name, &info.section);
        return Err(format!("{name}: the section's name {section} tells no program type"));
    }
    Ok(linked.program)
}
