//! What can be fuzzed, by name.

use crate::draw::Draw;
use crate::generate::{Case, Judged, Rules, compiled, judged, program, runnable, wild};
use crate::minimise::minimise;
use crate::oracle::compiled::Machines;
use crate::oracle::runs::Runners;
use crate::oracle::verdict::Judges;
use crate::oracle::{Failure, Seen, encoding, engines, kernel, loader, text};
use crate::{mutate, seeds};
use ebpfvm_asm::text::{NoSymbols, Style, listing};
use ebpfvm_asm::{ByteOrder, Code};
use ebpfvm_conformance::kernel::KernelEngine;
use ebpfvm_kernel::Kernel;
use std::cell::RefCell;
use std::sync::OnceLock;

/// A generator and what has to hold for what it makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Sensible programs on the interpreter and on the reference machine.
    Programs,
    /// Senseless programs on both.
    Wild,
    /// Programs for compilers, interpreted and compiled, with passes on and off.
    Jit,
    /// Programs for Linux, on the interpreter, the reference machine and the kernel.
    Kernel,
    /// Programs for verifiers, judged here and by the kernel.
    Verdicts,
    /// Programs that the verifier accepts, run with checks, without, and by the kernel.
    Runs,
    /// Changed programs as bytes, decoded and encoded.
    Encoding,
    /// Bytes as programs.
    RawEncoding,
    /// Programs as text, printed and read.
    Print,
    /// Changed texts of the vectors.
    Text,
    /// Bytes as text.
    RawText,
    /// Changed object files.
    Object,
    /// Bytes as an object file.
    RawObject,
    /// Changed object files, linked with others.
    Link,
    /// Changed types.
    Btf,
    /// Bytes as types.
    RawBtf,
}

impl Target {
    /// All targets.
    pub const ALL: [Target; 16] = [
        Target::Programs,
        Target::Wild,
        Target::Jit,
        Target::Kernel,
        Target::Verdicts,
        Target::Runs,
        Target::Encoding,
        Target::RawEncoding,
        Target::Print,
        Target::Text,
        Target::RawText,
        Target::Object,
        Target::RawObject,
        Target::Link,
        Target::Btf,
        Target::RawBtf,
    ];

    /// The name by which it is chosen.
    pub const fn name(self) -> &'static str {
        match self {
            Target::Programs => "programs",
            Target::Wild => "wild",
            Target::Jit => "jit",
            Target::Kernel => "kernel",
            Target::Verdicts => "verdicts",
            Target::Runs => "runs",
            Target::Encoding => "encoding",
            Target::RawEncoding => "raw_encoding",
            Target::Print => "print",
            Target::Text => "text",
            Target::RawText => "raw_text",
            Target::Object => "object",
            Target::RawObject => "raw_object",
            Target::Link => "link",
            Target::Btf => "btf",
            Target::RawBtf => "raw_btf",
        }
    }

    /// The target with this name.
    pub fn named(name: &str) -> Option<Target> {
        Target::ALL.into_iter().find(|target| target.name() == name)
    }

    /// Why the target cannot be run on this machine, if it cannot.
    pub fn unavailable(self) -> Option<String> {
        match self {
            Target::Kernel => kernel_engine().as_ref().err().cloned(),
            Target::Verdicts => with_judges(|_| ()).err(),
            Target::Runs => with_runners(|_| ()).err(),
            _ => None,
        }
    }

    /// Checks what the bytes give.
    ///
    /// # Errors
    /// What does not hold.
    pub fn check(self, bytes: &[u8]) -> Result<Seen, Failure> {
        if let Some(case) = self.case(bytes) {
            return self.check_case(&case, bytes);
        }
        if let Some(judged) = self.judged(bytes) {
            return self.check_judged(&judged, bytes);
        }
        let mut draw = Draw::new(bytes);
        match self {
            Target::Encoding => encoding::check(&encoded(draw)),
            Target::RawEncoding => encoding::check(bytes),
            Target::Print => match draw.any::<Code>() {
                Some(code) => text::check_code(&code),
                None => Ok("nothing"),
            },
            Target::Text => {
                let (seed, other) =
                    (pick(&mut draw, seeds::texts()), pick(&mut draw, seeds::texts()));
                text::check_text(&mutate::text(&mut draw, &seed, &other))
            }
            Target::RawText => text::check_text(&String::from_utf8_lossy(bytes)),
            Target::Object => {
                let seed = pick(&mut draw, seeds::objects());
                loader::check_object(&mutate::bytes(&mut draw, &seed))
            }
            Target::RawObject => loader::check_object(bytes),
            Target::Link => {
                let (seed, other) =
                    (pick(&mut draw, seeds::objects()), pick(&mut draw, seeds::objects()));
                loader::check_link(&mutate::bytes(&mut draw, &seed), &other)
            }
            Target::Btf => {
                let seed = pick(&mut draw, seeds::types());
                loader::check_btf(&mutate::bytes(&mut draw, &seed))
            }
            Target::RawBtf => loader::check_btf(bytes),
            Target::Programs
            | Target::Wild
            | Target::Jit
            | Target::Kernel
            | Target::Verdicts
            | Target::Runs => Ok("nothing"),
        }
    }

    /// As [`Target::check`], for cargo-fuzz.
    ///
    /// # Panics
    /// If something does not hold.
    pub fn fuzz(self, bytes: &[u8]) {
        if let Err(failure) = self.check(bytes) {
            panic!("{failure}\n{}", self.explain(bytes, &failure));
        }
    }

    /// The program that the bytes give, if the target is about running programs.
    pub fn case(self, bytes: &[u8]) -> Option<Case> {
        let draw = Draw::new(bytes);
        match self {
            Target::Programs => Some(program(draw, Rules::Rfc)),
            Target::Wild => Some(wild(draw)),
            Target::Jit => Some(compiled(draw)),
            Target::Kernel => Some(program(draw, Rules::Linux)),
            _ => None,
        }
    }

    /// The program that the bytes give, if the target is about verified programs.
    pub fn judged(self, bytes: &[u8]) -> Option<Judged> {
        match self {
            Target::Verdicts => Some(judged(Draw::new(bytes))),
            Target::Runs => Some(runnable(Draw::new(bytes))),
            _ => None,
        }
    }

    fn check_judged(self, judged: &Judged, bytes: &[u8]) -> Result<Seen, Failure> {
        let seen = match self {
            Target::Runs => with_runners(|runners| runners.check(judged, bytes)),
            _ => with_judges(|judges| judges.check(judged, bytes)),
        };
        seen.unwrap_or(Ok("no kernel"))
    }

    /// The smallest program on which there is the same difference.
    fn explain_judged(self, first: &Judged, bytes: &[u8], failure: &Failure) -> String {
        let with = |case: &Case| Judged { code: case.code.clone(), ..first.clone() };
        let same = |e: Failure| e.check == failure.check;
        let case = Case { code: first.code.clone(), memory: Vec::new() };
        let fails = |case: &Case| self.check_judged(&with(case), bytes).is_err_and(same);
        let smallest = minimise(&case, fails);
        let outcome = self.check_judged(&with(&smallest), bytes);
        let outcome = outcome.map_or_else(|e| e.to_string(), str::to_string);
        let text = listing(&smallest.code, Style::PseudoC, &NoSymbols);
        let (prog_type, flags) = (first.prog_type.name(), first.flags);
        format!("smallest: {outcome}\ntype {prog_type}, flags {flags}\n{text}")
    }

    fn check_case(self, case: &Case, bytes: &[u8]) -> Result<Seen, Failure> {
        if self == Target::Jit {
            return with_machines(|machines| machines.check(case, bytes))
                .map_err(Failure::setup)?;
        }
        let seen = engines::check(case, bytes)?;
        match (self, kernel_engine()) {
            (Target::Kernel, Ok(kernel)) => kernel::check(kernel, case),
            (Target::Kernel, Err(_)) => Ok("no kernel"),
            _ => Ok(seen),
        }
    }

    /// The smallest program that fails in the same check, for targets about running programs.
    pub fn explain(self, bytes: &[u8], failure: &Failure) -> String {
        if let Some(judged) = self.judged(bytes) {
            return self.explain_judged(&judged, bytes, failure);
        }
        let Some(case) = self.case(bytes) else { return String::new() };
        let same = |e: Failure| e.check == failure.check;
        let smallest = minimise(&case, |case| self.check_case(case, bytes).is_err_and(same));
        let Case { code, memory } = &smallest;
        let outcome =
            self.check_case(&smallest, bytes).map_or_else(|e| e.to_string(), str::to_string);
        let text = listing(code, Style::Mnemonic, &NoSymbols);
        let blamed = self.blame(&smallest, bytes, failure).unwrap_or_default();
        format!("smallest: {outcome}\n{blamed}memory: {memory:02x?}\n{text}")
    }

    /// The passes that it takes to show a failure of compiled code.
    fn blame(self, case: &Case, bytes: &[u8], failure: &Failure) -> Option<String> {
        let blamed = match self {
            Target::Jit => with_machines(|m| m.blame(case, bytes, failure.check)).ok()?,
            _ => engines::blame(case, bytes, failure.check),
        };
        let (setup, failure) = blamed?;
        Some(format!("fewest passes: {setup:?}: {failure}\n"))
    }
}

/// The kernel, or why it cannot be used.
fn kernel_engine() -> &'static Result<KernelEngine, String> {
    static KERNEL: OnceLock<Result<KernelEngine, String>> = OnceLock::new();
    KERNEL.get_or_init(|| KernelEngine::new().map_err(|e| e.to_string()))
}

/// Does something with this thread's machines.
///
/// # Errors
/// Why there are none.
fn with_machines<T>(act: impl FnOnce(&mut Machines) -> T) -> Result<T, String> {
    thread_local! {
        static MACHINES: RefCell<Option<Result<Machines, String>>> = const { RefCell::new(None) };
    }
    MACHINES.with_borrow_mut(|machines| {
        let machines = machines.get_or_insert_with(Machines::new);
        machines.as_mut().map(act).map_err(|why| why.clone())
    })
}

/// Does something with this thread's judges.
///
/// # Errors
/// Why there are none.
fn with_judges<T>(act: impl FnOnce(&mut Judges) -> T) -> Result<T, String> {
    thread_local! {
        static JUDGES: RefCell<Option<Result<Judges, String>>> = const { RefCell::new(None) };
    }
    JUDGES.with_borrow_mut(|judges| {
        let make = || Judges::new(&Kernel::probe().map_err(|e| e.to_string())?);
        judges.get_or_insert_with(make).as_mut().map(act).map_err(|why| why.clone())
    })
}

/// Does something with this thread's runners.
///
/// # Errors
/// Why there are none.
fn with_runners<T>(act: impl FnOnce(&mut Runners) -> T) -> Result<T, String> {
    thread_local! {
        static RUNNERS: RefCell<Option<Result<Runners, String>>> = const { RefCell::new(None) };
    }
    RUNNERS.with_borrow_mut(|runners| {
        let make = || Runners::new(Kernel::probe().map_err(|e| e.to_string())?);
        runners.get_or_insert_with(make).as_mut().map(act).map_err(|why| why.clone())
    })
}

/// One of the seeds; nothing if there are none.
fn pick<T: Clone + Default>(draw: &mut Draw<'_>, seeds: &[T]) -> T {
    if seeds.is_empty() { T::default() } else { seeds[draw.below(seeds.len())].clone() }
}

/// A program as bytes, half of the time changed a little.
fn encoded(mut draw: Draw<'_>) -> Vec<u8> {
    let order = draw.one(&[ByteOrder::Little, ByteOrder::Big]);
    let changes = draw.any::<[u8; 32]>().unwrap_or_default();
    let code = draw.any::<Code>().unwrap_or_default();
    let bytes = code.to_bytes(order).unwrap_or_default();
    match changes[0] % 2 {
        0 => bytes,
        _ => mutate::bytes(&mut Draw::new(&changes), &bytes),
    }
}
