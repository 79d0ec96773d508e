//! What is known where a function that is judged apart begins.

use super::function::{contract_of, log_no_contract};
use crate::contract::ArgContract;
use crate::domain::Scalar;
use crate::explore::Past;
use crate::reject::{FlowReason, Reason};
use crate::state::{DynptrKind, Flags, Kind, State, SubprogId, Value};
use crate::subject::Subject;
use ebpfvm_asm::Reg;
use ebpfvm_spec::load_flags;

/// The state at the entry of a function: the program's, or a global one's by its types
/// (`do_check_common`).
///
/// # Errors
/// If its arguments cannot be judged.
pub(crate) fn entry_state(
    subject: &Subject<'_>,
    past: &mut Past,
    subprog: SubprogId,
) -> Result<State, Reason> {
    let mut state = State::entry(subprog, subject.structure.subprog(subprog).start);
    state.sleepable = subject.has_flag(load_flags::SLEEPABLE);
    if subprog == SubprogId(0) {
        // Types of the program that say something else decide nothing, but it is logged.
        if let Err(error) = contract_of(subject, past, subprog) {
            log_no_contract(past, &error);
        }
        give_context(subject, past, &mut state);
    } else {
        give_arguments(subject, past, &mut state, subprog)?;
    }
    Ok(state)
}

/// What a program is given.
fn give_context(subject: &Subject<'_>, past: &mut Past, state: &mut State) {
    if subject.def.context.is_some() {
        *state.reg_mut(Reg::R1) = Value::pointer(Kind::Ctx);
    } else {
        let bytes = subject.options.memory_bytes;
        let memory = Value::pointer(Kind::Mem { bytes, dynptr: 0 });
        // Without memory the address is 0.
        *state.reg_mut(Reg::R1) = match bytes {
            0 => memory.with(Flags::MAYBE_NULL).with_id(past.new_id()),
            _ => memory,
        };
        let length = match subject.options.memory_is_exact {
            true => Scalar::constant(bytes.into()),
            // No memory is longer than half of all addresses.
            false => Scalar::unsigned_range(bytes.into(), i64::MAX as u64),
        };
        *state.reg_mut(Reg::R2) = Value { scalar: length, ..unknown(subject) };
    }
}

/// What a global function is given: the least that its types promise.
fn give_arguments(
    subject: &Subject<'_>,
    past: &mut Past,
    state: &mut State,
    subprog: SubprogId,
) -> Result<(), Reason> {
    let contract = contract_of(subject, past, subprog)
        .map_err(|error| FlowReason::GlobalTypes { problem: error.to_string() })?
        .ok_or_else(|| Reason::internal("a global function without types"))?;
    for (arg, takes) in contract.args.iter().enumerate() {
        let value = match takes {
            ArgContract::Scalar => unknown(subject),
            ArgContract::Ctx => Value::pointer(Kind::Ctx),
            ArgContract::Mem { bytes, nullable } => {
                let memory = Value::pointer(Kind::Mem { bytes: *bytes, dynptr: 0 });
                if *nullable {
                    memory.with(Flags::MAYBE_NULL).with_id(past.new_id())
                } else {
                    memory
                }
            }
            ArgContract::Dynptr => {
                let kind = Kind::Dynptr { kind: DynptrKind::Local, first_slot: true };
                Value::pointer(kind).with_id(past.new_id())
            }
            ArgContract::UntrustedMem => {
                return Err(Reason::unsupported("untrusted memory as an argument"));
            }
            ArgContract::Arena => return Err(Reason::unsupported("an arena as an argument")),
            ArgContract::Kernel { name, .. } => {
                return Err(Reason::unsupported(format!("a pointer to the kernel's type {name}")));
            }
        };
        let reg = Reg::new(arg as u8 + 1).ok_or_else(|| Reason::internal("a sixth argument"))?;
        *state.reg_mut(reg) = value;
    }
    Ok(())
}

fn unknown(subject: &Subject<'_>) -> Value {
    Value { precise: !subject.options.privileges.bpf, ..Value::UNKNOWN }
}
