//! What the verifier accepts does the same with checks, without them, interpreted, compiled, and in
//! the kernel.
//!
//! - `stage`: the maps of both sides, and what is in them when a program starts and when it ends
//! - here: the runs and the comparison

mod stage;

use super::compiled::SETUPS;
use super::{Failure, Seen};
use crate::draw::Draw;
use crate::generate::Judged;
use crate::generate::world::world;
use ebpfvm::host::Random;
use ebpfvm::{Context, Instance, NO_FUEL_LIMIT, TrapKind, Vm};
use ebpfvm_asm::{Code, Insn, Pc};
use ebpfvm_kernel::prog::log_level;
use ebpfvm_kernel::{Kernel, Prog, TestRun};
use ebpfvm_spec::program::FuncInfo;
use ebpfvm_spec::{ProgType, Program};
use ebpfvm_verifier::Options;
use stage::{Contents, Entries, Stage};
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

/// What Linux says of a function whose address is taken and that nothing calls.
const NO_FUNCTION: &str = "verifier bug: No program to jit";

/// Packets that programs run on.
const PACKETS: usize = 3;

/// What a run may cost: loops in loops may take long.
const FUEL: u64 = 1 << 20;

/// More than any packet has afterwards.
const DATA_CAPACITY: usize = 80_000;

/// Fields of `__sk_buff` that a test-run takes and gives back: name, offset, bytes.
const FIELDS: [(&str, usize, usize); 8] = [
    ("mark", 8, 4),
    ("priority", 32, 4),
    ("cb[0]", 48, 4),
    ("cb[1]", 52, 4),
    ("cb[2]", 56, 4),
    ("cb[3]", 60, 4),
    ("cb[4]", 64, 4),
    ("tstamp", 152, 8),
];
/// The size of `struct __sk_buff`.
const SK_BUFF_BYTES: usize = 192;

/// What a run left.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    retval: u32,
    packet: Vec<u8>,
    /// The values of [`FIELDS`].
    fields: Vec<u64>,
    /// By index of the map.
    maps: BTreeMap<usize, Entries>,
    records: Vec<Vec<u8>>,
}

impl Outcome {
    /// Where another one differs.
    fn difference(&self, other: &Outcome) -> Option<String> {
        let packets = || bytes_differ("packet", &self.packet, &other.packet);
        let numbers = || {
            let one = [&[self.retval.into()], &self.fields[..]].concat();
            let other = [&[other.retval.into()], &other.fields[..]].concat();
            (one != other).then(|| format!("result and context: {one:x?}; {other:x?}"))
        };
        let map = || {
            let (index, other) =
                other.maps.iter().find(|(i, other)| self.maps.get(i) != Some(other))?;
            let name = stage::defs().get(*index).map(|def| &def.name);
            Some(format!("map {name:?}: {:x?}; {other:x?}", self.maps.get(index)))
        };
        let records = || bytes_differ("records", &self.records.concat(), &other.records.concat());
        let count = || {
            let counts = (self.records.len(), other.records.len());
            (self.records != other.records).then(|| format!("records: {counts:?}"))
        };
        numbers().or_else(packets).or_else(map).or_else(records).or_else(count)
    }
}

/// Where some bytes differ.
fn bytes_differ(what: &str, one: &[u8], other: &[u8]) -> Option<String> {
    if one == other {
        return None;
    }
    let at = one.iter().zip(other).take_while(|(one, other)| one == other).count();
    let part = |bytes: &[u8]| bytes[at..].iter().take(32).copied().collect::<Vec<_>>();
    Some(format!(
        "{what} of {} and {} bytes from {at}: {:x?}; {:x?}",
        one.len(),
        other.len(),
        part(one),
        part(other)
    ))
}

/// What goes in.
struct Input {
    packet: Vec<u8>,
    /// The values of [`FIELDS`]; none of XDP.
    fields: Vec<u64>,
    contents: Contents,
}

impl Input {
    fn draw(draw: &mut Draw<'_>, prog_type: ProgType) -> Input {
        let bytes = 14 + draw.one(&[1, 6, 20, 46, 100, 186]);
        let mut packet: Vec<u8> = (0..bytes).map(|_| draw.any().unwrap_or(0x45)).collect();
        // Linux refuses packets that are too short for what they say they are.
        match draw.below(if bytes < 54 { 1 } else { 4 }) {
            1 => packet[12..14].copy_from_slice(&[8, 0]),
            2 => packet[12..14].copy_from_slice(&[0x86, 0xdd]),
            3 => packet[12..14].copy_from_slice(&[0x81, 0]),
            _ => {}
        }
        let field = |(_, _, bytes): &(&str, usize, usize)| match (draw.number(), bytes) {
            (number, 8) => number >> 8,
            (number, _) => u64::from(number as u32),
        };
        let fields = match prog_type {
            ProgType::Xdp => Vec::new(),
            _ => FIELDS.iter().map(field).collect(),
        };
        Input { packet, fields, contents: Contents::draw(draw) }
    }

    fn context(&self, prog_type: ProgType) -> Result<Context, String> {
        let mut context =
            Context::packet(prog_type, &self.packet).map_err(|why| why.to_string())?;
        for ((name, ..), value) in FIELDS.iter().zip(&self.fields) {
            context.set_field(name, *value).map_err(|why| why.to_string())?;
        }
        Ok(context)
    }
}

/// Both sides, by program type: made once for a thread.
pub struct Runners {
    kernel: Kernel,
    cpu: u32,
    stages: BTreeMap<ProgType, Stage>,
}

impl Runners {
    /// Runners on the CPU that the thread is on, where it stays.
    ///
    /// # Errors
    /// The thread cannot be kept there.
    pub fn new(kernel: Kernel) -> Result<Runners, String> {
        let cpu = kernel.pin_thread().map_err(|e| e.to_string())?;
        Ok(Runners { kernel, cpu, stages: BTreeMap::new() })
    }

    /// Runs the program, if it is accepted, and compares.
    ///
    /// # Errors
    /// Accepted here but not by Linux, a trap, or a difference.
    pub fn check(&mut self, judged: &Judged, bytes: &[u8]) -> Result<Seen, Failure> {
        let setup = |why: String| Failure::new("setup", why);
        if !self.stages.contains_key(&judged.prog_type) {
            let stage = Stage::new(&self.kernel, self.cpu, judged.prog_type).map_err(setup)?;
            self.stages.insert(judged.prog_type, stage);
        }
        let Some(stage) = self.stages.get_mut(&judged.prog_type) else { return Ok("nothing") };
        let program = program(judged);
        let accepted = match stage.vm.verify(program.clone(), &Options::default()).verdict {
            Ok(accepted) => accepted,
            Err(rejection) => {
                if std::env::var_os("EBPFVM_FUZZ_REFUSALS").is_some() {
                    eprintln!("refused: {}", rejection.reason);
                }
                return Ok("refused");
            }
        };
        let (linux, prog) = stage.live.load(&program, 0).map_err(setup)?;
        let Some(prog) = prog else {
            let again = stage.live.load(&program, log_level::STATS);
            let why = again.map_or_else(|why| why, |(linux, _)| linux.message);
            // See docs/parity.md: a function that only a call with no rounds names.
            if why.contains(NO_FUNCTION) {
                return Ok("refused by a fault of Linux");
            }
            return Err(Failure::new("verdict", format!("accepted; Linux: {why} {}", linux.log)));
        };
        let vms = [stage.vm.clone(), stage.compiler(setup_number(bytes)).clone()];
        let link = |vm: &Vm| {
            let linked = vm.link_verified(accepted.clone(), stage.our_maps());
            linked.map_err(|e| setup(e.to_string()))
        };
        let instances = [link(&vms[0])?, link(&vms[1])?];
        let used = stage::used(&program.code);
        let mut seen = "no test run";
        for n in 0..PACKETS {
            let more = input_bytes(bytes, n);
            let input = Input::draw(&mut Draw::new(&more), judged.prog_type);
            match run(stage, &instances, &prog, &input, &used)? {
                "ran" if !instances[0].is_verified() => seen = "ran with checks only",
                "no test run" => {}
                other => seen = other,
            }
        }
        Ok(seen)
    }
}

/// Bytes that a packet and the maps are drawn from: enough of them, however few the program's are.
fn input_bytes(bytes: &[u8], n: usize) -> Vec<u8> {
    let mut hasher = DefaultHasher::new();
    (bytes, n).hash(&mut hasher);
    let random = Random::new(hasher.finish());
    (0..1024).flat_map(|_| random.next_u32().to_ne_bytes()).collect()
}

/// The program with its maps, types and functions.
fn program(judged: &Judged) -> Program {
    let world = world();
    let mut program = Program::from_code("fuzz", judged.prog_type, judged.code.clone());
    program.flags = judged.flags;
    program.maps = world.maps.clone();
    program.btf = Some(world.types.clone());
    program.funcs = starts(&judged.code)
        .into_iter()
        .map(|start| FuncInfo {
            start,
            name: "function".into(),
            type_id: Some(world.function),
            is_global: start == Pc(0),
        })
        .collect();
    program
}

/// Where functions start.
fn starts(code: &Code) -> BTreeSet<Pc> {
    let called = |(pc, insn): (Pc, &Insn)| pc.jump(insn.function_offset()?);
    code.iter().filter_map(called).chain([Pc(0)]).collect()
}

/// Which of the compilers a program is given to.
fn setup_number(bytes: &[u8]) -> usize {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    let number = hasher.finish() as usize;
    // Everything on is what programs usually run with.
    if number.is_multiple_of(4) { 0 } else { number / 4 % SETUPS }
}

/// The ways in which a program runs here: what they are called, which of the two instances, whether
/// with checks, and whether fuel is counted.
const WAYS: [(&str, usize, bool, u64); 5] = [
    ("accepted, traps", 0, true, FUEL),
    ("traps without checks", 0, false, FUEL),
    ("compiled with checks", 1, true, FUEL),
    ("compiled", 1, false, FUEL),
    ("compiled, without a limit", 1, false, NO_FUEL_LIMIT),
];

/// What a run here gives: what it left, or why there is nothing to compare.
fn here(
    stage: &mut Stage,
    instances: &[Arc<Instance>; 2],
    way: usize,
    input: &Input,
    used: &BTreeSet<usize>,
) -> Result<Result<Outcome, Seen>, Failure> {
    let setup = |why: String| Failure::new("setup", why);
    let (name, instance, checked, fuel) = WAYS[way];
    stage.point_to_target(instance).map_err(setup)?;
    let instance = &instances[instance];
    stage.fill_ours(used, &input.contents).map_err(setup)?;
    let Ok(mut context) = input.context(instance.prog_type()) else {
        return Ok(Err("no such packet"));
    };
    let result = match checked {
        true => instance.run_checked(&mut context, fuel),
        false => instance.run(&mut context, fuel),
    };
    let result = match result {
        Ok(result) => result,
        Err(trap) => {
            return match trap.kind {
                TrapKind::NoHelperCode { .. } | TrapKind::Unsupported(_) => Ok(Err("unsupported")),
                TrapKind::OutOfFuel(_) => Ok(Err("ran long")),
                _ => Err(Failure::new(name, trap.to_string())),
            };
        }
    };
    let (maps, records) = stage.our_contents(used).map_err(setup)?;
    let field = |(name, ..): &(&str, usize, usize)| context.field(name).unwrap_or_default();
    Ok(Ok(Outcome {
        retval: result.retval as u32,
        packet: context.data_out(),
        fields: FIELDS[..input.fields.len()].iter().map(field).collect(),
        maps,
        records,
    }))
}

/// One input on all sides.
fn run(
    stage: &mut Stage,
    instances: &[Arc<Instance>; 2],
    prog: &Prog,
    input: &Input,
    used: &BTreeSet<usize>,
) -> Result<Seen, Failure> {
    let setup = |why: String| Failure::new("setup", why);
    let ours = match here(stage, instances, 0, input, used)? {
        Ok(ours) => ours,
        // What stops the interpreter stops compiled code too.
        Err(seen) => {
            for way in [2, 3] {
                let other = here(stage, instances, way, input, used)?;
                let other = other.map_or_else(|seen| seen, |_| "ran");
                if other != seen {
                    let what = format!("{}: {other}; expected {seen}", WAYS[way].0);
                    return Err(Failure::new("compiled ends", what));
                }
            }
            return Ok(seen);
        }
    };
    for (way, (name, ..)) in WAYS.iter().enumerate().skip(1) {
        let what = match here(stage, instances, way, input, used)? {
            Ok(other) => ours.difference(&other),
            Err(seen) => Some(format!("{seen}; expected a result")),
        };
        let Some(what) = what else { continue };
        // Compiled code has other addresses on its stack.
        let again = std::thread::scope(|scope| {
            let again = scope.spawn(|| here(stage, instances, 0, input, used));
            again.join().unwrap_or(Ok(Err("panicked")))
        });
        if way > 1 && again?.is_ok_and(|again| ours.difference(&again).is_some()) {
            return Ok("undetermined");
        }
        let what = format!("interpreted with checks, and {name}: {what}");
        return Err(Failure::new(if way > 1 { "compiled" } else { "modes" }, what));
    }
    let Some(linux) = on_kernel(stage, prog, input, used).map_err(setup)? else {
        return Ok("no test run");
    };
    let Some(what) = ours.difference(&linux) else { return Ok("ran") };
    // What depends on addresses, or on what was on the stack before, differs on another stack.
    let other = std::thread::scope(|scope| {
        scope.spawn(|| on_kernel(stage, prog, input, used)).join().unwrap_or(Ok(None))
    });
    if other.map_err(setup)?.is_none_or(|other| other != linux) {
        return Ok("undetermined");
    }
    Err(Failure::new("kernel", format!("here and in the kernel: {what}")))
}

/// None if the kernel does not run programs on such a packet.
fn on_kernel(
    stage: &mut Stage,
    prog: &Prog,
    input: &Input,
    used: &BTreeSet<usize>,
) -> Result<Option<Outcome>, String> {
    stage.fill_theirs(used, &input.contents)?;
    let mut ctx = Vec::new();
    if !input.fields.is_empty() {
        ctx.resize(SK_BUFF_BYTES, 0);
        for ((_, at, bytes), value) in FIELDS.iter().zip(&input.fields) {
            ctx[*at..][..*bytes].copy_from_slice(&value.to_ne_bytes()[..*bytes]);
        }
    }
    let request = TestRun {
        data_in: &input.packet,
        data_out_capacity: DATA_CAPACITY,
        ctx_in: &ctx,
        ctx_out_capacity: ctx.len(),
        ..TestRun::default()
    };
    let Ok(result) = prog.test_run(&request) else { return Ok(None) };
    let field = |(_, at, bytes): &(&str, usize, usize)| {
        let mut value = [0; 8];
        let given = result.ctx_out.get(*at..at + bytes).unwrap_or_default();
        value[..given.len()].copy_from_slice(given);
        u64::from_ne_bytes(value)
    };
    let fields = FIELDS[..input.fields.len()].iter().map(field).collect();
    let (maps, records) = stage.their_contents(used)?;
    Ok(Some(Outcome { retval: result.retval, packet: result.data_out, fields, maps, records }))
}
