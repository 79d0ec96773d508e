//! `ebpfvm inspect --native`: programs as machine code.

use crate::command::Done;
use crate::failure::{Failure, Instead};
use crate::input::object::Choice;
use crate::input::target::Target;
use crate::model::disasm::LinkFailure;
use crate::model::native::{Listing, NativeReport, PassReport, Steps};
use crate::output::{Format, Output};
use crate::render;
use clap::ValueEnum;
use ebpfvm::jit::opt::{PASSES, Passes};
use ebpfvm::jit::{Features, Options};
use ebpfvm::{Engine, Instance, LoadOptions, Loaded, Vm};
use ebpfvm_loader::{Object, ProgramInfo};
use ebpfvm_spec::ProgType;
use std::sync::Arc;

/// What is shown of machine code.
#[derive(clap::Args)]
#[command(next_help_heading = "Machine code")]
#[group(id = "machine_code")]
pub(super) struct Args {
    /// Show programs as machine code for x86_64 instead, beside their instructions and source lines
    #[arg(long, conflicts_with_all = ["types", "relocations"])]
    pub(super) native: bool,
    #[command(flatten)]
    choice: Choice,
    /// Show what this pass of the optimiser makes of the program's blocks instead
    #[arg(long, value_name = "NAME", requires = "native", value_parser = pass)]
    pass: Option<String>,
    /// Show the form that checks every access; programs on plain memory have no other
    #[arg(long, requires = "native")]
    checked: bool,
    /// Show the form that counts fuel; those that check do so always
    #[arg(long, requires = "native")]
    metered: bool,
    /// The passes that run: all, none, their names with commas between, or names that are left out
    /// as -NAME
    #[arg(
        long,
        value_name = "LIST",
        requires = "native",
        default_value = "all",
        allow_hyphen_values = true
    )]
    passes: Passes,
    /// Hide the program's constants in the code, as Linux's JIT does when it is hardened; then no pass
    /// runs
    #[arg(long, requires = "native", conflicts_with_all = ["pass", "passes"])]
    blinded: bool,
    /// The processor that the code is for
    #[arg(long, value_enum, requires = "native", default_value_t)]
    cpu: Cpu,
}

/// Which instructions code may have.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Cpu {
    /// What this processor has
    #[default]
    Host,
    /// What all have
    Base,
    /// BMI1, BMI2, MOVBE and AVX too
    All,
}

impl From<Cpu> for Features {
    fn from(cpu: Cpu) -> Features {
        match cpu {
            Cpu::Host => Features::detect(),
            Cpu::Base => Features::NONE,
            Cpu::All => Features::ALL,
        }
    }
}

/// The name of a pass.
fn pass(name: &str) -> Result<String, String> {
    if PASSES.iter().any(|pass| pass.name == name) {
        return Ok(name.into());
    }
    let width = Passes::names().map(str::len).max().unwrap_or_default();
    let about = |name| PASSES.iter().find(|pass| pass.name == name).map_or("", |pass| pass.about);
    let lines: String =
        Passes::names().map(|name| format!("\n  {name:width$}  {}", about(name))).collect();
    Err(format!("there is no such pass; the passes are{lines}"))
}

impl Args {
    /// Whether something was chosen that only machine code has.
    pub(super) fn stray(&self) -> Option<&'static str> {
        let given = [
            (self.choice.program.is_some(), "--program"),
            (self.choice.section.is_some(), "--section"),
        ];
        given.into_iter().find(|(given, _)| *given && !self.native).map(|(_, option)| option)
    }

    fn options(&self) -> Options {
        Options {
            features: self.cpu.into(),
            is_metered: self.metered,
            is_blinded: self.blinded,
            passes: if self.blinded { Passes::NONE } else { self.passes },
            ..Options::default()
        }
    }
}

pub(super) fn run(
    args: &Args,
    target: &Target,
    object: Object,
    output: &mut Output,
) -> Result<Done, Failure> {
    if let Some(name) = args.pass.as_deref().filter(|name| !args.passes.has(name)) {
        return Err(Failure::Usage(format!(
            "--passes leaves the pass {name} out, so it does not run"
        )));
    }
    let object = Arc::new(object);
    let vm = Vm::linux().engine(Engine::Interpreter).build();
    let (mut listings, mut passes, mut errors) = (Vec::new(), Vec::new(), Vec::new());
    let mut last = None;
    for info in args.choice.all(&object)? {
        let shown = instance(args, target, &vm, &object, info).and_then(|instance| {
            let view = instance.view(args.checked, args.options());
            let mut steps = Steps::new(args.pass.as_deref());
            let emitted = view.compile(|place, before, after| steps.see(place, before, after));
            let emitted = emitted.map_err(|error| Failure::Link {
                file: object.file().into(),
                message: format!("{}: {}: {error}", object.file(), info.name),
                pc: error.pc.map(|pc| pc.0),
                source_line: None,
            })?;
            match args.pass {
                Some(_) => passes.push(PassReport::new(instance.program(), &view, steps)),
                None => listings.push(Listing::new(instance.program(), &view, &emitted)),
            }
            Ok(())
        });
        if let Err(failure) = shown {
            let message = failure.to_string();
            errors.push(LinkFailure { program: info.name.clone(), message });
            last = Some(failure);
        }
    }
    if let Some(failure) = last.filter(|_| listings.is_empty() && passes.is_empty()) {
        return Err(failure);
    }
    match (output.format(), &args.pass) {
        (Format::Json, None) => output.json(&NativeReport { programs: listings, errors })?,
        (Format::Json, Some(_)) => output.json(&NativeReport { programs: passes, errors })?,
        (Format::Text, _) => {
            for LinkFailure { message, .. } in &errors {
                output.note(&format!("warning: {message}"));
            }
            let texts = listings.iter().map(render::native::listing);
            let texts: Vec<String> = texts.chain(passes.iter().map(render::native::pass)).collect();
            output.text(&texts.join("\n"))?;
        }
    }
    Ok(Done::Well)
}

/// A program as `run` would load it.
fn instance(
    args: &Args,
    target: &Target,
    vm: &Vm,
    object: &Arc<Object>,
    info: &ProgramInfo,
) -> Result<Arc<Instance>, Failure> {
    let is_judged = !args.checked && info.prog_type != Some(ProgType::Raw);
    let options = LoadOptions {
        target_btf: target.types(object, &[info.name.as_str()])?,
        verify: is_judged.then(Default::default),
        ..LoadOptions::default()
    };
    let loaded = Loaded::with(vm, object.clone(), options);
    let instance = loaded.and_then(|loaded| loaded.program(&info.name));
    instance.map_err(|error| match error.into() {
        Failure::NotAccepted { judged, .. } => {
            Failure::NotAccepted { judged, instead: Instead::Show }
        }
        failure => failure,
    })
}
