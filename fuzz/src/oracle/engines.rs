//! The interpreter does as the reference machine does, with checks and, if the program needs none,
//! without them; and so does machine code with checks.

use super::compiled::{SETUPS, Setup, choice, fewest};
use super::{Failure, Seen, bounded, expect};
use crate::generate::Case;
use crate::reference::{self, Fault, Outcome, Report, Value};
use ebpfvm::{Context, Engine, Trap, TrapKind, Vm};
use ebpfvm_spec::{Platform, ProgType, Program};
use std::sync::OnceLock;

/// Instructions that a program may execute.
const MAX_STEPS: u64 = 1 << 16;
/// Fuel for programs whose course is not known beforehand.
const FUEL: u64 = 1 << 20;

/// Compares the interpreter and a compiler with the reference machine; with which passes it compiles,
/// the bytes say.
///
/// # Errors
/// The first difference.
pub fn check(case: &Case, bytes: &[u8]) -> Result<Seen, Failure> {
    static COMPILERS: [OnceLock<Vm>; SETUPS] = [const { OnceLock::new() }; SETUPS];
    let number = choice(bytes, 0);
    check_with(case, COMPILERS[number].get_or_init(|| compiler(Setup::number(number))))
}

/// The fewest passes with which a case fails in the same check.
pub fn blame(case: &Case, bytes: &[u8], check: &str) -> Option<(Setup, Failure)> {
    let setup = Setup::number(choice(bytes, 0));
    let fails = |setup| check_with(case, &compiler(setup)).err().filter(|e| e.check == check);
    fewest(setup, fails)
}

/// Compares the interpreter and a compiler with the reference machine.
///
/// # Errors
/// The first difference.
pub(super) fn check_with(case: &Case, compiler: &Vm) -> Result<Seen, Failure> {
    let expected = reference::run(&case.code, &case.memory, MAX_STEPS);
    let program = Program::from_code("fuzz", ProgType::Raw, case.code.clone());
    let compiled = compiler.link(program.clone(), &[]);
    let instance = match (machine().link(program, &[]), expected.outcome) {
        (Ok(instance), _) => instance,
        (Err(_), Outcome::Refused) => return Ok("refused"),
        (Err(e), outcome) => {
            return Err(Failure::new("link", format!("refused: {e}; expected {outcome:?}")));
        }
    };
    let slots = case.code.len() as u64;
    // A step costs at most a pass over the program.
    let fuel = match expected.outcome {
        Outcome::Undetermined(_) | Outcome::OutOfSteps => FUEL,
        _ => (expected.steps + 1) * slots,
    };
    let mut context = Context::raw(case.memory.as_slice());
    let got = bounded("checked", || instance.run(&mut context, fuel))?;
    let memory = context.memory().unwrap_or_default();
    let seen = compare("checked", &expected, &got, memory)?;
    let compiled = compiled.map_err(|e| Failure::new("compiled link", e.to_string()))?;
    let mut other = Context::raw(case.memory.as_slice());
    let native = bounded("compiled", || compiled.run_checked(&mut other, fuel))?;
    compare("compiled", &expected, &native, other.memory().unwrap_or_default())?;
    if let (Ok(interpreted), Ok(native), Outcome::Returned(_)) = (&got, &native, expected.outcome) {
        let (one, other) = (interpreted.fuel_used, native.fuel_used);
        expect("compiled fuel", one == other, || format!("{other} units; expected {one}"))?;
    }
    if let Ok(outcome) = &got {
        let (steps, used) = (expected.steps, outcome.fuel_used);
        let determined = matches!(expected.outcome, Outcome::Returned(_) | Outcome::OutOfSteps);
        expect("fuel", !determined || steps <= used + slots, || {
            format!("{steps} instructions were executed for {used} units, in {slots} slots")
        })?;
    }
    let mut context = Context::raw(case.memory.as_slice());
    let got = bounded("unchecked", || instance.run_both(&mut context, fuel))?;
    // Here the stack may lie so close to the memory that an access far outside the one hits the
    // other, which is allowed.
    if !matches!(expected.outcome, Outcome::Trapped { .. }) {
        compare("unchecked", &expected, &got, context.memory().unwrap_or_default())?;
    }
    Ok(seen)
}

/// A machine without helpers.
fn machine() -> &'static Vm {
    static VM: OnceLock<Vm> = OnceLock::new();
    let make = || Vm::with_platform(Platform::linux()).engine(Engine::Interpreter).build();
    VM.get_or_init(make)
}

/// A machine without helpers that compiles.
fn compiler(setup: Setup) -> Vm {
    Vm::with_platform(Platform::linux()).engine(Engine::Jit).jit(setup.options()).build()
}

fn compare(
    engine: &'static str,
    expected: &Report,
    got: &Result<ebpfvm::Outcome, Box<Trap>>,
    memory: &[u8],
) -> Result<Seen, Failure> {
    let differs = || Failure::new(engine, format!("{got:x?}; expected {:x?}", expected.outcome));
    let seen = match (expected.outcome, got) {
        (Outcome::Undetermined(_), _) => return Ok("undetermined"),
        (Outcome::OutOfSteps, _) => return Ok("out of steps"),
        (Outcome::Returned(Value::Number(number)), Ok(got)) if got.retval == number => "returned",
        (Outcome::Returned(Value::Pointer(_) | Value::Unknown), Ok(_)) => "returned an address",
        (Outcome::Trapped { pc, fault }, Err(trap)) if trap.pc == pc && is(fault, &trap.kind) => {
            "trapped"
        }
        _ => return Err(differs()),
    };
    let same = |(expected, got): (&Option<u8>, &u8)| expected.is_none_or(|byte| byte == *got);
    let at = expected.memory.iter().zip(memory).position(|bytes| !same(bytes));
    expect(engine, at.is_none() && memory.len() == expected.memory.len(), || {
        format!("memory differs at byte {at:?}: {memory:x?}; expected {:x?}", expected.memory)
    })?;
    Ok(seen)
}

fn is(fault: Fault, kind: &TrapKind) -> bool {
    match (fault, kind) {
        (Fault::Access { bytes, direction }, TrapKind::Access { bytes: b, direction: d, .. }) => {
            bytes == *b && direction == *d
        }
        (Fault::CallDepth, TrapKind::CallDepth) | (Fault::FellOff, TrapKind::FellOff) => true,
        (Fault::NoSuchHelper, TrapKind::NoSuchHelper(_)) => true,
        _ => false,
    }
}
