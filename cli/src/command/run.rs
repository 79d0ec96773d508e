//! `ebpfvm run`: a program on a packet.

use super::{Done, disasm};
use crate::failure::Failure;
use crate::input::object::Choice;
use crate::input::pins::Pins;
use crate::input::socket::Find;
use crate::input::target::Target;
use crate::input::value::Json;
use crate::input::world::Around;
use crate::input::{context, file, globals, hex, map, object, world};
use crate::model::data;
use crate::model::disasm::Names;
use crate::model::effects::{self, Before};
use crate::model::maps::{entries, is_filled};
use crate::model::run::{CloneTo, FiredTimer, RedirectTo, RunReport, SystemCall, records};
use crate::output::{Format, Output};
use crate::render;
use clap::ValueEnum;
use ebpfvm::map::{Cpu, PerfEventArray};
use ebpfvm::{Context, DEFAULT_FUEL, Instance, LoadOptions, Loaded, Outcome, Trap, TrapKind, Vm};
use ebpfvm_asm::ByteOrder;
use ebpfvm_loader::Object;
use ebpfvm_spec::map::InitialValue;
use ebpfvm_spec::{AttachType, MapDef, ProgType, Program};
use ebpfvm_verifier::Options;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Run a program on a packet
///
/// The program is judged first, as Linux would when it is loaded. Shows what it decided, how it changed the packet, what it printed and sent, and the
/// contents of its maps. Packets are raw bytes or text: hex digits or a hex dump.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// An object file, or bare instructions (raw or hex), which run on plain memory
    file: PathBuf,
    #[command(flatten)]
    choice: Choice,
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    context: context::RunInput,
    #[command(flatten)]
    world: world::WorldInput,
    /// Run so many times, one run after the other on the same packet
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    repeat: u64,
    /// Entries of a map: {KEY: VALUE} or [{"key": KEY, "value": VALUE}], or @FILE with such
    #[arg(long = "map", value_name = "NAME=JSON")]
    maps: Vec<String>,
    /// The initial value of a global variable, as JSON or @FILE
    #[arg(long = "global", value_name = "NAME=JSON")]
    globals: Vec<String>,
    #[command(flatten)]
    pins: Pins,
    /// Show the contents of all maps afterwards
    #[arg(long)]
    dump_maps: bool,
    /// Write the packet afterwards to a file, as raw bytes
    #[arg(long, value_name = "FILE")]
    data_out: Option<PathBuf>,
    /// Run programs without judging them first: every access is checked while they run
    #[arg(long)]
    unverified: bool,
    /// How programs run: as machine code if this processor is one that they are compiled for, or
    /// interpreted
    #[arg(long, value_enum, default_value_t)]
    engine: Engine,
    /// Tell the names and source lines of machine code
    #[arg(long, value_enum, value_delimiter = ',', value_name = "WHOM")]
    jit_symbols: Vec<Symbols>,
    /// Fire the timers that are due so many nanoseconds after the run, in order of time
    #[arg(long, value_name = "NS")]
    timers: Option<u64>,
    /// The most instructions of one run
    #[arg(long, value_name = "N", default_value_t = DEFAULT_FUEL)]
    fuel: u64,
}

/// How programs run.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Engine {
    /// As machine code where that is possible, otherwise interpreted
    #[default]
    Auto,
    /// Interpreted
    Interp,
    /// As machine code
    Jit,
}

impl From<Engine> for ebpfvm::Engine {
    fn from(engine: Engine) -> ebpfvm::Engine {
        match engine {
            Engine::Auto => ebpfvm::Engine::Auto,
            Engine::Interp => ebpfvm::Engine::Interpreter,
            Engine::Jit => ebpfvm::Engine::Jit,
        }
    }
}

/// Who is told about machine code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Symbols {
    /// The profiler: writes /tmp/perf-PID.map, which it reads
    Perf,
    /// A debugger that runs or attaches to this command: gdb, lldb
    Gdb,
}

const EXAMPLES: &str = "\
Keys and values are written through their types, as a string of hex digits, or as an IP address:
  ebpfvm run xdp.o --packet pkt.bin --map 'blocked={\"203.0.113.66\": 1}'
  ebpfvm run xdp.o --packet pkt.hex --map blocked=@blocked.json --dump-maps
  ebpfvm run tc.o -p count --packet - --json < pkt.bin";

/// What perf events may take on each CPU, in bytes.
const PERF_BYTES: usize = 1 << 20;

pub(crate) fn run(args: &Args, output: &mut Output) -> Result<Done, Failure> {
    let around = args.world.read()?;
    let engine = args.engine.into();
    let symbols = symbols(args)?;
    let vm = Vm::linux()
        .engine(engine)
        .jit_symbols(symbols)
        .cpus(around.cpus())
        .host(around.host())
        .build();
    let find = |handle| around.host().socket(handle);
    let subject = Subject::load(args, &vm, &find)?;
    for note in &subject.not_kept {
        output.note(&format!("note: {note}"));
    }
    let mut context = context::make(&args.context, &vm, subject.instance.program(), &find)?;
    let before = Before::of(&context, &around);
    let outcome = repeat(args, &subject.instance, &mut context);
    let (outcome, mean) = outcome.map_err(|trap| subject.stopped(*trap, around.take_lines()))?;
    if let Some(loaded) = &subject.loaded {
        args.pins.store(loaded)?;
    }
    if let Some(path) = &args.data_out {
        file::write(path, &context.data_out())?;
    }
    let fired = args.timers.map_or_else(Vec::new, |ns| {
        let until = vm.host().monotonic_ns().saturating_add(ns);
        let run = vm.fire_timers(until, args.fuel);
        if run.fuel_left == 0 {
            output.note("note: the timers have used up their fuel: allow more with --fuel N");
        }
        run.fired.iter().map(FiredTimer::from).collect()
    });
    let all_maps = args.dump_maps || output.format() == Format::Json;
    let mut report = subject.report(args, &around, &context, before, &outcome, mean);
    report.shown.timer_is_due = vm.next_timer_ns().is_some();
    subject.show_maps(&mut report, all_maps);
    report.timers = fired;
    report.output = around.take_lines();
    match output.format() {
        Format::Json => output.json(&report)?,
        Format::Text => output.text(&render::run::text(&report, subject.loaded.as_ref()))?,
    }
    Ok(Done::Well)
}

/// Who is told about machine code, if what they read can be written.
fn symbols(args: &Args) -> Result<ebpfvm::jit::Symbols, Failure> {
    let has = |whom| args.jit_symbols.contains(&whom);
    let symbols = ebpfvm::jit::Symbols { perf: has(Symbols::Perf), gdb: has(Symbols::Gdb) };
    symbols.begin().map_err(|source| {
        let file = ebpfvm::jit::symbols::perf_map().display().to_string();
        Failure::Write { file, source }
    })?;
    Ok(symbols)
}

/// The program that runs, and the object that it comes from, if it does.
struct Subject {
    file: String,
    loaded: Option<Loaded>,
    instance: Arc<Instance>,
    /// Maps that are pinned and cannot be kept, and why.
    not_kept: Vec<String>,
}

impl Subject {
    fn load(args: &Args, vm: &Vm, find: Find<'_>) -> Result<Subject, Failure> {
        let file = file::name(&args.file);
        let content = file::read(&args.file)?;
        if object::is_elf(&content) {
            let mut object = object::parse(&content, &file)?;
            args.target.configure(&mut object)?;
            return Subject::of_object(args, vm, file, object, find);
        }
        for (given, option) in [
            (args.choice.program.is_some(), "--program"),
            (args.choice.section.is_some(), "--section"),
            (!args.maps.is_empty(), "--map"),
            (!args.globals.is_empty(), "--global"),
            (args.pins.is_given(), "--pin-root"),
        ] {
            if given {
                let problem = format!("{option} needs an object file; {file} is none");
                return Err(Failure::Usage(problem));
            }
        }
        if let Some(option) = args.target.given() {
            return Err(Failure::Usage(format!("{option} needs an object file; {file} is none")));
        }
        if content.is_empty() {
            let (problem, hint) = ("the file is empty".into(), None);
            return Err(Failure::Input { file, problem, hint });
        }
        let bytes = hex::instructions(&file, content)?;
        let code = disasm::decode(&file, &bytes, ByteOrder::HOST)?;
        let program = Program::from_code("program", ProgType::Raw, code);
        let instance = vm.link(program, &[]).map_err(|error| Failure::Link {
            message: format!("{file}: {error}"),
            file: file.clone(),
            pc: error.pc.map(|pc| pc.0),
            source_line: None,
        })?;
        Ok(Subject { file, loaded: None, instance, not_kept: Vec::new() })
    }

    fn of_object(
        args: &Args,
        vm: &Vm,
        file: String,
        object: Object,
        find: Find<'_>,
    ) -> Result<Subject, Failure> {
        let program = args.choice.one(&object)?.name.clone();
        let mut defs = object.maps().to_vec();
        for argument in &args.globals {
            let (name, json) = Json::assignment("--global", argument)?;
            globals::set(&object, &mut defs, &name, &json)?;
        }
        let mut entries = Vec::new();
        for argument in &args.maps {
            let (name, json) = Json::assignment("--map", argument)?;
            let index = map::find(&object, &name)?;
            match (object.btf(), map::section(&defs[index])) {
                // The content of data sections is set before they are created.
                (Some(btf), Some(_)) if json.value.is_object() => {
                    globals::set_section(btf, &mut defs[index], &json)?;
                }
                _ => entries.push((index, json)),
            }
        }
        let target_btf = args.target.types(&object, &needed(&program, &defs))?;
        // Plain memory has no rules to be judged by: how much there is, is known only when it runs.
        let is_plain = object
            .programs()
            .iter()
            .any(|info| info.name == program && info.prog_type == Some(ProgType::Raw));
        let verify = (!args.unverified && !is_plain).then(Options::default);
        let options = LoadOptions { maps: Some(defs), target_btf, verify };
        let loaded = Loaded::with(vm, object, options)?;
        let not_kept = args.pins.load(&loaded)?;
        let instance = loaded.program(&program)?;
        for (index, json) in entries {
            map::fill(&loaded, &loaded.maps()[index], &json, find)?;
        }
        // As user space does that listens: a slot for each CPU.
        for array in loaded.maps().iter().filter_map(|map| map.as_kind::<PerfEventArray>()) {
            for cpu in 0..vm.cpus().min(array.slots()) {
                // The slot is there: its index is below their number.
                let _ = array.open(cpu, Cpu(cpu), PERF_BYTES);
            }
        }
        Ok(Subject { file, loaded: Some(loaded), instance, not_kept })
    }

    /// What is told about a run that a trap ended.
    fn stopped(&self, trap: Trap, output: Vec<String>) -> Failure {
        // A tail call may have entered another program.
        let entered = self.loaded.as_ref().and_then(|loaded| loaded.program(&trap.program).ok());
        let program = entered.as_ref().unwrap_or(&self.instance).program();
        let insn = program.code.get(trap.pc).map(|insn| {
            let style = ebpfvm_asm::text::Style::PseudoC;
            ebpfvm_asm::text::print(insn, trap.pc, style, &Names(Some(program)))
        });
        let hint = hint(&trap.kind, program.prog_type);
        Failure::Trap { file: self.file.clone(), trap: Box::new(trap), insn, output, hint }
    }

    fn report(
        &self,
        args: &Args,
        around: &Around,
        context: &Context,
        mut before: Before,
        outcome: &Outcome,
        mean: Duration,
    ) -> RunReport {
        let program = self.instance.program();
        let prog_type = program.prog_type;
        let retval = match prog_type {
            ProgType::Raw => outcome.retval,
            // The kernel takes no more of it.
            _ => u64::from(outcome.retval as u32),
        };
        let maps = self.loaded.iter().flat_map(|loaded| loaded.maps());
        let name = |map: &ebpfvm::MapRef| map.def().name.clone();
        let (mut events, mut lost) = (BTreeMap::new(), BTreeMap::new());
        for map in maps {
            let (records, dropped) = records(map);
            events.extend(records.map(|records| (name(map), records)));
            lost.extend((dropped > 0).then(|| (name(map), dropped)));
        }
        let platform = ebpfvm_spec::Platform::linux();
        let verdicts = platform.prog_type(prog_type).map(|def| def.verdicts.clone());
        // A parser says how long the next message is.
        let parses = program.attach_type == AttachType::SK_SKB_STREAM_PARSER;
        let verdicts = verdicts.filter(|_| !parses).unwrap_or_default();
        let sockets = before.sockets(context, around);
        RunReport {
            program: self.loaded.as_ref().map(|_| program.name.clone()),
            prog_type: prog_type.name(),
            retval,
            verdict: verdicts.iter().find(|(value, _)| *value == retval).map(|(_, name)| *name),
            data_out: render::hex::string(&context.data_out()),
            duration_ns: mean.as_nanos() as u64,
            repeat: args.repeat,
            fuel_used: outcome.fuel_used,
            redirect: outcome.redirect.as_ref().map(RedirectTo::from),
            clones: outcome.clones.iter().map(CloneTo::from).collect(),
            system_call: SystemCall::after(context, program.attach_type, outcome.retval),
            assigned_socket: sockets.assigned,
            selected_socket: sockets.selected,
            sockets: sockets.changed,
            ctx: effects::fields(context).into_iter().collect(),
            maps: BTreeMap::new(),
            events,
            lost_events: lost,
            timers: Vec::new(),
            output: Vec::new(),
            shown: before.compared(context, !verdicts.is_empty(), args.dump_maps),
        }
    }
}

impl Subject {
    /// Adds the contents of all maps, or only the names of those that hold something.
    fn show_maps(&self, report: &mut RunReport, all: bool) {
        let Some(loaded) = &self.loaded else { return };
        for map in loaded.maps() {
            let name = map.def().name.clone();
            if !all {
                report.shown.filled_maps.extend(is_filled(map).then_some(name));
            } else if let Some(entries) = entries(loaded.object().btf().map(|btf| &**btf), map) {
                report.maps.insert(name, entries);
            }
        }
    }
}

/// The programs that are linked for a run: the one that runs, and those in arrays.
fn needed<'a>(program: &'a str, defs: &'a [MapDef]) -> Vec<&'a str> {
    let values = defs.iter().flat_map(|def| &def.values);
    let in_arrays = values.filter_map(|(_, value)| match value {
        InitialValue::Program(name) => Some(name.as_str()),
        InitialValue::Map(_) => None,
    });
    std::iter::once(program).chain(in_arrays).collect()
}

/// Runs the program as often as asked; the last outcome and the mean time.
fn repeat(
    args: &Args,
    instance: &Instance,
    context: &mut Context,
) -> Result<(Outcome, Duration), Box<Trap>> {
    let start = Instant::now();
    let mut outcome = instance.run(context, args.fuel)?;
    for _ in 1..args.repeat {
        outcome = instance.run(context, args.fuel)?;
    }
    Ok((outcome, start.elapsed() / u32::try_from(args.repeat).unwrap_or(u32::MAX)))
}

/// What may help against a trap.
fn hint(kind: &TrapKind, prog_type: ProgType) -> Option<String> {
    /// No memory of a process lies below.
    const NULL_PAGE: u64 = 4096;
    let fixed = match kind {
        TrapKind::OutOfFuel(_) => "allow more with --fuel N",
        TrapKind::HelperAccess { access, .. } => return hint(access, prog_type),
        TrapKind::Short { .. } => {
            let what = data::name(prog_type);
            return Some(format!("--packet FILE gives the {what}, --ctx single fields"));
        }
        TrapKind::Access { address, .. } if *address < NULL_PAGE => {
            "the pointer is null: compare what a lookup returns with 0 before using it"
        }
        TrapKind::Access { near: Some(near), .. } if near.name == "packet" && near.offset >= 0 => {
            "compare with data_end first: if (ptr + size > data_end) return ...;"
        }
        _ => return None,
    };
    Some(fixed.into())
}
