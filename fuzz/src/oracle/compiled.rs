//! Machine code does as the interpreter does: of programs that the verifier accepts without checks,
//! with and without counting fuel, and with checks; of others with checks alone. With all passes of
//! the optimiser, none and some, and with and without the processor's newer instructions.

use super::engines;
use super::{Failure, Seen};
use crate::generate::{BLEND, Case, MIX, STOP_IF_ODD, tables};
use ebpfvm::host::{Random, World};
use ebpfvm::jit::opt::Passes;
use ebpfvm::jit::{Features, Options as JitOptions};
use ebpfvm::map::UpdateFlags;
use ebpfvm::{
    Context, Engine, Helper, Instance, MapRef, NO_FUEL_LIMIT, Outcome, Trap, TrapKind, Vm,
};
use ebpfvm_asm::{Imm64, Insn, Pc};
use ebpfvm_spec::context::Direction;
use ebpfvm_spec::helper::{Arg, Effect, MapUse, Ret};
use ebpfvm_spec::{HelperProto, MapType, Platform, ProgType, ProgTypeSet, Program};
use ebpfvm_verifier::{Limits, Options, VerifiedProgram};
use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, OnceLock};

/// What a program may cost.
const FUEL: u64 = 1 << 20;

/// Instructions that the verifier follows: programs with more take more time than they are worth.
const PROCESSED: u32 = 20_000;

/// CPUs of the machines, and the one that programs run on.
const CPUS: (u32, u32) = (3, 1);

/// How programs are compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setup {
    /// Which passes.
    pub passes: Passes,
    /// For which processor.
    pub features: Features,
}

/// How many setups there are.
pub const SETUPS: usize = 256;

impl Setup {
    /// One of the [`SETUPS`]: all passes, none, each alone, all but each, some.
    pub fn number(number: usize) -> Setup {
        let (newest, oldest) = (Features::detect(), Features::NONE);
        let names: Vec<&str> = Passes::names().collect();
        let one = |index: usize| names.get(index).copied();
        let (alone, without) = (4, 4 + names.len());
        let (passes, features) = match number {
            0 => (Passes::ALL, newest),
            1 => (Passes::NONE, newest),
            2 => (Passes::ALL, oldest),
            3 => (Passes::NONE, oldest),
            _ => {
                let alone = one(number - alone).and_then(|name| Passes::only(name).ok());
                let without = number.checked_sub(without).and_then(one);
                let without = without.and_then(|name| Passes::ALL.without(name).ok());
                match alone.or(without) {
                    Some(passes) => (passes, newest),
                    None => Setup::some(&names, number),
                }
            }
        };
        Setup { passes, features }
    }

    /// As the machine takes it.
    pub fn options(self) -> JitOptions {
        JitOptions {
            passes: self.passes,
            features: self.features,
            // What the verifier accepted runs without a limit first.
            is_metered: false,
            ..JitOptions::default()
        }
    }

    fn some(names: &[&str], number: usize) -> (Passes, Features) {
        let random = Random::new(number as u64);
        let yes = || random.next_u32() & 0x100 != 0;
        let passes = names.iter().filter(|_| yes()).copied().collect::<Vec<_>>();
        let passes = passes.iter().fold(Passes::NONE, |set, name| set.with(name).unwrap_or(set));
        let mut features = Features::detect();
        for feature in
            [&mut features.bmi1, &mut features.bmi2, &mut features.movbe, &mut features.avx]
        {
            *feature &= yes();
        }
        (passes, features)
    }
}

/// What a run of a form gives.
#[derive(Debug, PartialEq, Eq)]
struct Ran {
    /// The result, or where and why it was stopped.
    end: Result<u64, (Pc, Why)>,
    /// None where fuel is not counted, and of runs that were stopped.
    fuel_used: Option<u64>,
    memory: Vec<u8>,
    /// Entries by map.
    maps: Vec<(usize, Entries)>,
}

/// Keys and values, sorted.
type Entries = Vec<(Vec<u8>, Vec<u8>)>;

/// Why a run was stopped, without addresses.
#[derive(Debug, PartialEq, Eq)]
enum Why {
    Access(u64, Direction),
    Other(String),
}

impl From<&Trap> for Why {
    fn from(trap: &Trap) -> Why {
        match &trap.kind {
            TrapKind::Access { bytes, direction, .. } => Why::Access(*bytes, *direction),
            other => Why::Other(before_addresses(&other.to_string())),
        }
    }
}

/// A text up to its first address: what memory is near it, each run's layout says.
fn before_addresses(text: &str) -> String {
    text.split("0x").next().unwrap_or_default().to_owned()
}

/// Which form runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Unmetered,
    Metered,
    Checked,
}

/// The check of programs that the verifier refuses.
const REFUSED: &str = "compiled, refused";

impl Form {
    fn name(self) -> &'static str {
        match self {
            Form::Unmetered => "compiled",
            Form::Metered => "compiled, metered",
            Form::Checked => "compiled, checked",
        }
    }
}

/// Machines of all kinds with the same maps: made once for a thread.
pub struct Machines {
    interpreter: Vm,
    compilers: Vec<Option<Vm>>,
    maps: Vec<MapRef>,
}

/// A program that is ready for the comparison.
struct Subject<'a> {
    case: &'a Case,
    program: Program,
    accepted: Option<VerifiedProgram>,
    /// The maps that it names.
    used: BTreeSet<usize>,
}

impl Machines {
    /// Machines with empty maps.
    ///
    /// # Errors
    /// A map cannot be made.
    pub fn new() -> Result<Machines, String> {
        let interpreter = machine(None);
        let maps = tables().iter().map(|def| interpreter.create_map(def)).collect::<Result<_, _>>();
        let maps = maps.map_err(|e| e.to_string())?;
        Ok(Machines { interpreter, compilers: vec![None; SETUPS], maps })
    }

    /// Compares the interpreter with compiled forms; which, the bytes say.
    ///
    /// # Errors
    /// The first difference.
    pub fn check(&mut self, case: &Case, bytes: &[u8]) -> Result<Seen, Failure> {
        let subject = self.subject(case);
        if subject.accepted.is_none() && subject.used.is_empty() && !calls_helpers(case) {
            // The reference machine knows what depends on addresses.
            return engines::check_with(case, self.compiler(choice(bytes, 0)));
        }
        let expected = self.interpreted(&subject)?;
        let first = choice(bytes, 0);
        for (number, forms) in [(first, choice(bytes, 1)), (choice(bytes, 2), choice(bytes, 3))] {
            let vm = self.compiler(number).clone();
            let setup = Setup::number(number);
            let compared = self.compare(&subject, &vm, setup, forms, &expected);
            if compared.is_err() && self.is_undetermined(&subject, &expected) {
                return Ok("undetermined");
            }
            compared?;
        }
        Ok(match (&expected.end, &subject.accepted) {
            (Ok(_), Some(_)) => "returned",
            (Err(_), Some(_)) => "stopped",
            (_, None) => "refused",
        })
    }

    /// The fewest passes with which a case fails in the same check, and the failure; none if it does
    /// not fail with all passes that a choice of the bytes has.
    pub fn blame(&mut self, case: &Case, bytes: &[u8], check: &str) -> Option<(Setup, Failure)> {
        [choice(bytes, 0), choice(bytes, 2)].into_iter().find_map(|number| {
            fewest(Setup::number(number), |setup| self.fails_with(case, bytes, setup, check))
        })
    }

    fn fails_with(
        &mut self,
        case: &Case,
        bytes: &[u8],
        setup: Setup,
        check: &str,
    ) -> Option<Failure> {
        let subject = self.subject(case);
        let vm = machine(Some(setup));
        let result =
            if subject.accepted.is_none() && subject.used.is_empty() && !calls_helpers(case) {
                engines::check_with(case, &vm).map(|_| ())
            } else {
                self.interpreted(&subject).and_then(|expected| {
                    let forms = [choice(bytes, 1), choice(bytes, 3)];
                    let compared = forms
                        .into_iter()
                        .try_for_each(|forms| self.compare(&subject, &vm, setup, forms, &expected));
                    match compared {
                        Err(_) if self.is_undetermined(&subject, &expected) => Ok(()),
                        other => other,
                    }
                })
            };
        result.err().filter(|failure| failure.check == check)
    }

    fn compiler(&mut self, number: usize) -> &Vm {
        self.compilers[number].get_or_insert_with(|| machine(Some(Setup::number(number))))
    }

    fn subject<'a>(&self, case: &'a Case) -> Subject<'a> {
        let used = case.code.iter().filter_map(|(_, insn)| match insn {
            Insn::LoadImm { value: Imm64::MapIdx(index), .. } => Some(*index as usize),
            _ => None,
        });
        let used: BTreeSet<usize> = used.filter(|index| *index < self.maps.len()).collect();
        let mut program = Program::from_code("fuzz", ProgType::Raw, case.code.clone());
        program.maps = tables();
        let limits = Limits { processed: PROCESSED, ..Limits::default() };
        let memory_bytes = case.memory.len() as u32;
        let options = Options { memory_bytes, limits, cpus: Some(CPUS.0), ..Options::default() };
        let accepted = self.interpreter.verify(program.clone(), &options).verdict.ok();
        Subject { case, program, accepted, used }
    }

    fn link(&self, vm: &Vm, subject: &Subject<'_>) -> Result<Arc<Instance>, String> {
        match &subject.accepted {
            Some(accepted) => vm.link_verified(accepted.clone(), &self.maps),
            None => vm.link(subject.program.clone(), &self.maps),
        }
        .map_err(|error| error.to_string())
    }

    /// Whether a program that the verifier refuses does something else where its stack and memory lie
    /// elsewhere, or after it has run before.
    fn is_undetermined(&self, subject: &Subject<'_>, expected: &Ran) -> bool {
        let is_same = |again: Result<Ran, Failure>| again.is_ok_and(|again| again == *expected);
        // Twice: what lies beside the values of maps is not filled anew, and may have been changed and
        // changed back.
        let again = || (0..2).all(|_| is_same(self.interpreted(subject)));
        let is_always_same =
            std::thread::scope(|scope| scope.spawn(again).join()).is_ok_and(|same| same);
        subject.accepted.is_none() && !is_always_same
    }

    /// What the interpreter does.
    fn interpreted(&self, subject: &Subject<'_>) -> Result<Ran, Failure> {
        let instance = self.link(&self.interpreter, subject);
        let instance = instance.map_err(|why| Failure::new("link", why))?;
        let form = if subject.accepted.is_some() { Form::Metered } else { Form::Checked };
        self.run(subject, &instance, form, FUEL)
    }

    /// Runs forms of the program as one machine compiles them.
    fn compare(
        &self,
        subject: &Subject<'_>,
        vm: &Vm,
        setup: Setup,
        forms: usize,
        expected: &Ran,
    ) -> Result<(), Failure> {
        let instance = self.link(vm, subject);
        let instance = instance.map_err(|why| Failure::new("compiled link", why))?;
        let is_stopped =
            matches!(&expected.end, Err((_, Why::Other(why))) if why.starts_with("out of fuel"));
        let others = [Form::Metered, Form::Checked];
        let mut chosen = match (&subject.accepted, is_stopped) {
            (Some(_), false) => vec![Form::Unmetered],
            _ => Vec::new(),
        };
        chosen.push(if subject.accepted.is_some() { others[forms % 2] } else { Form::Checked });
        for form in chosen {
            let got = self.run(subject, &instance, form, FUEL)?;
            let name = if subject.accepted.is_some() { form.name() } else { REFUSED };
            same(name, expected, &got, setup)?;
        }
        // Less than it needs: where it is stopped, and what it has done until then.
        if let Some(used) = expected.fuel_used.filter(|used| *used > 0 && forms % 8 < 3) {
            let (less, form) = (forms as u64 / 8 % used, others[forms % 2]);
            let form = if subject.accepted.is_some() { form } else { Form::Checked };
            let interpreted = self.link(&self.interpreter, subject);
            let interpreted = interpreted.map_err(|why| Failure::new("link", why))?;
            let expected = self.run(subject, &interpreted, form, less)?;
            let got = self.run(subject, &instance, form, less)?;
            same("compiled, out of fuel", &expected, &got, setup)?;
        }
        Ok(())
    }

    /// Runs a form from the same start.
    fn run(
        &self,
        subject: &Subject<'_>,
        instance: &Instance,
        form: Form,
        fuel: u64,
    ) -> Result<Ran, Failure> {
        self.fill(&subject.used).map_err(|why| Failure::new("maps", why))?;
        let mut context = Context::raw(subject.case.memory.as_slice());
        let result: Result<Outcome, Box<Trap>> = match form {
            Form::Unmetered => instance.run(&mut context, NO_FUEL_LIMIT),
            Form::Metered => instance.run(&mut context, fuel),
            Form::Checked => instance.run_checked(&mut context, fuel),
        };
        let counts = form != Form::Unmetered;
        let maps = subject.used.iter().map(|index| {
            let mut entries: Entries = self.maps[*index].entries().collect();
            entries.sort();
            (*index, entries)
        });
        Ok(Ran {
            fuel_used: result.as_ref().ok().filter(|_| counts).map(|outcome| outcome.fuel_used),
            end: match &result {
                Ok(outcome) => Ok(outcome.retval),
                Err(trap) => Err((trap.pc, Why::from(&**trap))),
            },
            memory: context.memory().unwrap_or_default().to_vec(),
            maps: maps.collect(),
        })
    }

    /// Puts the same into the maps each time.
    fn fill(&self, used: &BTreeSet<usize>) -> Result<(), String> {
        for &index in used {
            let map = &self.maps[index];
            let def = map.def();
            let entries = match def.map_type {
                MapType::Array | MapType::PercpuArray => def.max_entries,
                _ => {
                    let keys: Vec<_> = map.entries().map(|(key, _)| key).collect();
                    keys.iter().try_for_each(|key| map.remove(key)).map_err(|e| e.to_string())?;
                    3
                }
            };
            for i in 0..entries {
                let mut key = vec![0; def.key_bytes as usize];
                key[..4].copy_from_slice(&i.to_ne_bytes());
                let bytes = 0..map.host_value_bytes() as u32;
                let value: Vec<u8> =
                    bytes.map(|at| (at * 37 + i * 11 + index as u32) as u8).collect();
                map.write(&key, &value, UpdateFlags::ANY).map_err(|e| e.to_string())?;
            }
        }
        Ok(())
    }
}

fn same(check: &'static str, expected: &Ran, got: &Ran, setup: Setup) -> Result<(), Failure> {
    let fuel = got.fuel_used.is_none() || got.fuel_used == expected.fuel_used;
    let what = if expected.end != got.end {
        format!("{:x?}; expected {:x?}", got.end, expected.end)
    } else if expected.memory != got.memory {
        format!("memory {:x?}; expected {:x?}", got.memory, expected.memory)
    } else if let Some((one, other)) =
        got.maps.iter().zip(&expected.maps).find(|(one, other)| one != other)
    {
        format!("map {}: {:x?}; expected {:x?}", one.0, one.1, other.1)
    } else if !fuel {
        format!("fuel {:?}; expected {:?}", got.fuel_used, expected.fuel_used)
    } else {
        return Ok(());
    };
    Err(Failure::new(check, format!("{what}; with {setup:?}")))
}

/// The fewest passes and the newest processor of a setup with which something still fails, and the
/// failure; none if it does not fail.
pub(super) fn fewest(
    setup: Setup,
    mut fails: impl FnMut(Setup) -> Option<Failure>,
) -> Option<(Setup, Failure)> {
    let mut fewest = (setup, fails(setup)?);
    for name in Passes::names() {
        let Ok(passes) = fewest.0.passes.without(name) else { continue };
        let fewer = Setup { passes, ..fewest.0 };
        if let Some(failure) = fails(fewer) {
            fewest = (fewer, failure);
        }
    }
    let newest = Setup { features: Features::detect(), ..fewest.0 };
    if let Some(failure) = fails(newest) {
        fewest = (newest, failure);
    }
    Some(fewest)
}

/// A number that the bytes give.
pub(super) fn choice(bytes: &[u8], n: u8) -> usize {
    let mut hasher = DefaultHasher::new();
    (bytes, n).hash(&mut hasher);
    let number = hasher.finish() as usize;
    // Everything on is what programs usually run with.
    if n == 0 && number % 4 < 2 { number % 4 * 2 } else { number / 4 % SETUPS }
}

fn calls_helpers(case: &Case) -> bool {
    use ebpfvm_asm::CallTarget;
    let is_helper = |insn: &Insn| matches!(insn, Insn::Call { target: CallTarget::Helper(_) });
    case.code.iter().any(|(_, insn)| is_helper(insn))
}

/// A machine with the helpers of the programs.
fn machine(setup: Option<Setup>) -> Vm {
    let host = World::new().on_cpu(CPUS.1);
    let builder = Vm::linux()
        .host(Arc::new(host))
        .cpus(CPUS.0)
        .helper(Helper::direct(proto(MIX, "mix", 3), mix))
        .helper(Helper::new(proto(BLEND, "blend", 5), |call| {
            let [a, b, c, d, e] = [1, 2, 3, 4, 5].map(|number| call.arg(number));
            Ok(mix(mix(a, b, c, 0, 0), d, e, 0, 0))
        }))
        .helper(Helper::new(proto(STOP_IF_ODD, "stop_if_odd", 1), |call| match call.arg(1) {
            odd if odd % 2 == 1 => Err(TrapKind::Unsupported("odd".into())),
            even => Ok(even / 2),
        }));
    match setup {
        None => builder.engine(Engine::Interpreter).build(),
        Some(setup) => builder.engine(Engine::Jit).jit(setup.options()).build(),
    }
}

/// What programs of these machines may rely on.
pub(crate) fn platform() -> &'static Platform {
    static PLATFORM: OnceLock<Platform> = OnceLock::new();
    PLATFORM.get_or_init(|| machine(None).platform().clone())
}

extern "C" fn mix(a: u64, b: u64, c: u64, _: u64, _: u64) -> u64 {
    (a.rotate_left(17) ^ b).wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(c.rotate_right(9))
}

fn proto(id: u32, name: &'static str, count: usize) -> HelperProto {
    let mut args = [Arg::None; 5];
    args[..count].fill(Arg::Anything);
    HelperProto {
        id,
        name: name.into(),
        since: "",
        args,
        ret: Ret::Integer,
        effects: Effect::NONE,
        allowed: ProgTypeSet::ALL,
        attach: &[],
        maps: MapUse::ANY,
    }
}
