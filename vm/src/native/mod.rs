//! Programs as machine code: the forms of an instance that `ebpfvm-jit` has compiled, and how they
//! are entered.
//!
//! A form is compiled when the program is bound, or when it is first needed. Which one a run takes is
//! decided as for the interpreter ([`Instance::form`]), so both do the same.

mod linking;
mod prepared;
mod runtime;
mod view;

use crate::instance::{Instance, LinkError, LinkErrorKind};
use crate::memory::{Range, Stack};
use crate::run::{Run, Trust};
use crate::trap::{Trap, TrapKind};
use ebpfvm_asm::Pc;
use ebpfvm_jit::exec::Program as Code;
use ebpfvm_jit::functions::Extent;
use ebpfvm_jit::symbols::{Symbols, Told};
use ebpfvm_jit::{Options, Source, State};
use linking::Linking;
pub use prepared::Prepared;
use std::panic::resume_unwind;
use std::sync::OnceLock;
pub use view::View;

/// How programs run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Engine {
    /// As machine code if that is possible, otherwise by interpreting them. Both do the same.
    #[default]
    Auto,
    /// By interpreting them.
    Interpreter,
    /// As machine code of the host, which must be one that [`ebpfvm_jit`] knows. A program for which
    /// there is none is not bound.
    Jit,
}

/// A program as machine code.
pub(crate) struct Native {
    /// Before the code, so that nobody is told of what is gone.
    #[expect(dead_code, reason = "ends when it is dropped")]
    told: Told,
    code: Code,
    functions: Box<[Extent]>,
    is_checked: bool,
    uses_cpu: bool,
    /// Nothing that the code calls leaves anything behind in the run.
    is_alone: bool,
    /// What lookups in its code need; the code has its addresses.
    #[expect(dead_code, reason = "held for the code")]
    tables: Box<[Box<linking::Table>]>,
}

/// The forms of an instance. Those that failed to compile say why.
#[derive(Default)]
pub(crate) struct Forms {
    /// Every access is checked, fuel is counted.
    checked: OnceLock<Result<Native, String>>,
    /// By the verdict; fuel is counted.
    metered: OnceLock<Result<Native, String>>,
    /// By the verdict, without a limit.
    unmetered: OnceLock<Result<Native, String>>,
}

impl Instance {
    /// Compiles the form that runs usually take, as the machine was told.
    ///
    /// # Errors
    /// The host does not let us, or has another processor.
    pub(crate) fn compile(self) -> Result<Instance, LinkError> {
        let form = self.compiled(self.is_verified(), self.vm().jit_options().is_metered);
        match form {
            Err(why) if self.vm().engine() == Engine::Jit => {
                Err(LinkError { pc: None, kind: LinkErrorKind::Native(why.clone()) })
            }
            _ => Ok(self),
        }
    }

    /// The form for runs by the verdict or not, with fuel or not; compiled if it has not been.
    #[inline]
    fn compiled(&self, verified: bool, metered: bool) -> &Result<Native, String> {
        let forms = &self.native;
        let form = match (verified, metered) {
            (false, _) => &forms.checked,
            (true, true) => &forms.metered,
            (true, false) => &forms.unmetered,
        };
        form.get_or_init(|| {
            let symbols = self.vm().jit_symbols();
            let has_map = symbols != Symbols::default();
            let is_metered = metered || !verified;
            let options = Options { is_metered, has_map, ..*self.vm().jit_options() };
            let linking = Linking::new(self, verified);
            let source = match self.judged().filter(|_| verified) {
                Some((program, code)) => Source::verified(program, code),
                None => Source::checked(self.program()),
            };
            let emitted = ebpfvm_jit::compile(&source, &linking, &options);
            let emitted = emitted.map_err(|error| error.to_string())?;
            let code = Code::load(&emitted).map_err(|error| error.to_string())?;
            let told = symbols.tell(self.program(), &emitted, &code);
            let told = told.map_err(|error| format!("the names of its code: {error}"))?;
            Ok(Native {
                told,
                code,
                functions: emitted.extents.into(),
                is_checked: !verified,
                uses_cpu: linking.uses_cpu(),
                is_alone: !emitted.calls_helpers,
                tables: linking.into_tables(),
            })
        })
    }

    /// The number of the CPU that a run is on; always one that per-CPU maps have a slot for.
    fn cpu(&self) -> u32 {
        self.host().cpu().0.min(self.cpus() - 1)
    }

    /// The machine code that a run takes; none if it is interpreted.
    #[inline]
    pub(crate) fn native(&self, run: &Run<'_>) -> Option<&Result<Native, String>> {
        let engine = self.vm().engine();
        if engine == Engine::Interpreter {
            return None;
        }
        let verified = match run.trust {
            Trust::Everything => return None,
            Trust::Verified => self.is_verified() && run.room.holds(&self.needs()),
            Trust::Nothing => false,
        };
        let native = self.compiled(verified, run.metered);
        Some(native).filter(|native| native.is_ok() || engine == Engine::Jit)
    }
}

/// Where compiled code is entered.
#[derive(Clone, Copy)]
pub(crate) struct Entry<'a> {
    native: &'a Native,
    /// Number of the function.
    function: usize,
}

impl Native {
    /// The program's beginning.
    pub(crate) fn entry(&self) -> Entry<'_> {
        Entry { native: self, function: 0 }
    }

    /// The function that starts at `pc`, if one does whose address the program takes.
    pub(crate) fn function(&self, pc: Pc) -> Option<Entry<'_>> {
        let function = self.functions.binary_search_by_key(&pc, |f| f.start).ok()?;
        self.code.has_entry(function).then_some(Entry { native: self, function })
    }
}

impl Entry<'_> {
    /// What it costs and reaches.
    pub(crate) fn extent(&self) -> Extent {
        self.native.functions[self.function]
    }
}

/// Runs a program or one of its functions in the first frame of a stack.
///
/// # Errors
/// The trap that stopped it.
///
/// # Safety
/// Code without checks must be safe to run on this context with these arguments: accepted by the
/// verifier.
pub(crate) unsafe fn start(
    run: &mut Run<'_>,
    instance: &Instance,
    stack: &mut Stack,
    entry: Entry<'_>,
    args: [u64; 5],
) -> Result<u64, Box<Trap>> {
    run.regions.set_stack(stack.memory.as_mut_ptr() as u64);
    run.instance = instance;
    // SAFETY: the stack has all frames; the rest is the caller's promise.
    unsafe { enter(run, instance, entry, args) }
}

/// Enters code in the next frame.
///
/// # Safety
/// As [`start`]; there is a frame left.
pub(crate) unsafe fn enter(
    run: &mut Run<'_>,
    instance: &Instance,
    entry: Entry<'_>,
    args: [u64; 5],
) -> Result<u64, Box<Trap>> {
    let Entry { native, function } = entry;
    run.regions.push_native_frame(native.functions[function].stack_bytes);
    if native.uses_cpu {
        run.regions.state.cpu = instance.cpu();
    }
    let checked = std::mem::replace(&mut run.checked, native.is_checked);
    let run: *mut Run<'_> = run;
    // SAFETY: the run is borrowed by this function alone, and used through this pointer from here on;
    // code has the state in it, and what it calls finds the run around it. The rest is the caller's
    // promise.
    let value = unsafe {
        let state = &raw mut (*run).regions.state;
        let unwind = (*state).unwind;
        ((*state).fuel, (*state).stop) = ((*run).fuel_left, State::RETURNED);
        let value = match function {
            0 => native.code.enter(state, args),
            _ => native.code.enter_function(function, state, args).unwrap_or_default(),
        };
        ((*run).fuel_left, (*state).unwind) = ((*state).fuel, unwind);
        value
    };
    // SAFETY: the code has ended.
    let run = unsafe { &mut *run };
    run.checked = checked;
    ended(run, instance, value)
}

/// What a run of compiled code brought that has just ended.
#[inline]
fn ended(run: &mut Run<'_>, instance: &Instance, value: u64) -> Result<u64, Box<Trap>> {
    match run.regions.state.stop {
        State::RETURNED => Ok(value),
        _ => Err(stopped(run, instance)),
    }
}

/// Why compiled code has stopped.
#[cold]
fn stopped(run: &mut Run<'_>, instance: &Instance) -> Box<Trap> {
    // It may be a frame that is gone.
    run.regions.state.last = Range::default();
    if let Some(panic) = run.panic.take() {
        resume_unwind(panic);
    }
    let kind = match run.regions.state.stop {
        State::OUT_OF_FUEL => TrapKind::OutOfFuel(run.fuel),
        State::CALL_DEPTH => TrapKind::CallDepth,
        State::FELL_OFF => TrapKind::FellOff,
        _ => match run.trapped.take() {
            Some(trap) => return trap,
            None => run.trap.take().unwrap_or(TrapKind::FellOff),
        },
    };
    instance.trap(Pc(run.regions.state.pc), kind)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vm::Vm;
    use ebpfvm_asm::text::{Dialect, assemble};
    use ebpfvm_spec::{ProgType, Program};

    /// One form, and that of the runs that the machine was told of.
    #[test]
    fn one_form_is_compiled_when_a_program_is_bound() {
        for is_metered in [false, true] {
            let options = Options { is_metered, ..Options::default() };
            let vm = Vm::linux().engine(Engine::Auto).jit(options).build();
            let code = assemble("r0 = 1\nexit", Dialect::PseudoC).expect("a program");
            let program = Program::from_code("test", ProgType::Raw, code);
            let made = |instance: &Instance| {
                let Forms { checked, metered, unmetered } = &instance.native;
                [checked, metered, unmetered].map(|form| form.get().is_some())
            };
            let unjudged = vm.link(program.clone(), &[]).expect("it can be bound");
            assert_eq!(made(&unjudged), [true, false, false]);
            let judged = vm.verify(program, &ebpfvm_verifier::Options::default());
            let judged = vm.link_verified(judged.verdict.expect("accepted"), &[]).expect("bound");
            assert_eq!(made(&judged), [false, is_metered, !is_metered]);
        }
    }
}
