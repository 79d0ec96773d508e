//! Global functions, which are judged apart: what they take, and their calls.

use crate::apply::call::dynptr;
use crate::apply::memory::helper_memory;
use crate::apply::{null, reference};
use crate::check::argument::may_be_moved;
use crate::check::fixed_offset;
use crate::contract::{ArgContract, Contract, ContractError, Host, Scope, Trust, contract};
use crate::explore::Past;
use crate::reject::{CallReason, FlowReason, Reason};
use crate::state::{Flags, Kind, ReferenceKind, SubprogId, Value};
use crate::step::{Flow, Step};
use crate::subject::Subject;
use ebpfvm_asm::Reg;
use ebpfvm_spec::helper::MemAccess;
use std::rc::Rc;

/// What a function takes by its types (`btf_prepare_func_args`); none if it has no types.
///
/// # Errors
/// Why its types do not say it.
pub(crate) fn contract_of(
    subject: &Subject<'_>,
    past: &mut Past,
    func: SubprogId,
) -> Result<Option<Rc<Contract>>, ContractError> {
    let known = &past.contracts[func.0 as usize];
    if known.is_some() {
        return Ok(known.clone());
    }
    let shape = subject.structure.subprog(func);
    let info = subject.program.funcs.iter().find(|f| f.start == shape.start);
    let (Some(btf), Some(id)) = (subject.btf(), info.and_then(|f| f.type_id)) else {
        return Ok(None);
    };
    let types = subject.platform.context_types(subject.program.prog_type);
    let host = Host { context: &types, attach_type: subject.attach_type };
    let scope = if shape.is_global { Scope::Global } else { Scope::Static };
    let contract = Rc::new(contract(btf, id, host, scope)?);
    past.contracts[func.0 as usize] = Some(contract.clone());
    Ok(Some(contract))
}

/// Writes why a function has no contract.
pub(crate) fn log_no_contract(past: &mut Past, error: &ContractError) {
    if *error != ContractError::Silent {
        past.log.write(format_args!("{error}\n"));
    }
}

/// Whether the arguments of a call fit the types of the function; the first difference is logged
/// (`btf_check_subprog_call`). It decides about calls of global functions only.
///
/// # Errors
/// [`Reason::Limit`] if the verifier fails.
pub(super) fn check_arguments(step: &mut Step<'_, '_>, callee: SubprogId) -> Result<bool, Reason> {
    let index = callee.0 as usize;
    if step.past.subprogs[index].unreliable {
        return Ok(false);
    }
    let fits = match contract_of(step.subject, step.past, callee) {
        Ok(None) => return Ok(false),
        Ok(Some(contract)) => fit(step, &contract),
        Err(error) => {
            log_no_contract(step.past, &error);
            step.past.subprogs[index].unreliable = true;
            return Ok(false);
        }
    };
    match fits {
        Ok(()) => Ok(true),
        Err(failure @ Reason::Limit(_)) => Err(failure),
        Err(failure @ Reason::Unsupported(_))
            if step.subject.structure.subprog(callee).is_global =>
        {
            Err(failure)
        }
        Err(difference) => {
            step.past.log.write(format_args!("{difference}\n"));
            step.past.subprogs[index].unreliable = true;
            Ok(false)
        }
    }
}

/// That the values in the registers of arguments are what a function takes
/// (`btf_check_func_arg_match`).
fn fit(step: &mut Step<'_, '_>, contract: &Contract) -> Result<(), Reason> {
    for (arg, takes) in contract.args.iter().enumerate() {
        let reg = Reg::new(arg as u8 + 1).ok_or_else(|| Reason::internal("a sixth argument"))?;
        fit_one(step, arg, reg, takes)?;
    }
    Ok(())
}

fn fit_one(
    step: &mut Step<'_, '_>,
    arg: usize,
    reg: Reg,
    takes: &ArgContract,
) -> Result<(), Reason> {
    let value = *step.reg(reg);
    let number = reg.number();
    match takes {
        ArgContract::Scalar if value.is_number() => Ok(()),
        ArgContract::Scalar => Err(FlowReason::ArgumentNoNumber { reg: number }.into()),
        // Reads of it are watched when the program runs.
        ArgContract::UntrustedMem | ArgContract::Kernel { trust: Trust::Untrusted, .. } => Ok(()),
        ArgContract::Ctx => {
            check_offset(&value, reg)?;
            // With the flag it is another type.
            if value.kind == Kind::Ctx && value.flags == Flags::NONE {
                Ok(())
            } else {
                Err(FlowReason::ArgumentNoContext { arg }.into())
            }
        }
        ArgContract::Mem { bytes, nullable } => {
            check_offset(&value, reg)?;
            check_memory(step, &value, reg, *bytes)?;
            // Linux takes the constant null, and then judges the function as if it could not be.
            if !nullable && (value.may_be_null() || value.is_null()) {
                return Err(FlowReason::ArgumentNull { arg }.into());
            }
            Ok(())
        }
        ArgContract::Dynptr => {
            check_offset(&value, reg)?;
            if matches!(value.kind, Kind::Stack { .. } | Kind::Dynptr { .. }) {
                dynptr::check_given(step, &value, reg)
            } else {
                Err(FlowReason::ArgumentNoDynptr { arg }.into())
            }
        }
        ArgContract::Arena if value.is_number() => Ok(()),
        ArgContract::Arena => Err(FlowReason::ArgumentNoArena { reg: number }.into()),
        ArgContract::Kernel { nullable: true, .. } if value.is_null() => step.mark_precise(reg),
        // No value is one while pointers to kernel types are not judged.
        ArgContract::Kernel { .. } => Err(CallReason::Type {
            reg: number,
            found: value.type_name().to_string(),
            expected: "ptr_, trusted_ptr_, rcu_ptr_".into(),
        }
        .into()),
    }
}

/// That a pointer has an offset that functions take (`check_func_arg_reg_off`).
fn check_offset(value: &Value, reg: Reg) -> Result<(), Reason> {
    if may_be_moved(value) { Ok(()) } else { fixed_offset(value, reg, false) }
}

/// That a pointer points to so many bytes that can be read and written, unless it is null
/// (`check_mem_reg`).
fn check_memory(
    step: &mut Step<'_, '_>,
    value: &Value,
    reg: Reg,
    bytes: u32,
) -> Result<(), Reason> {
    if value.is_null() {
        // Another number would be no pointer; Linux lets paths with one end where null was given.
        return step.mark_precise(reg);
    }
    // The caller need not know that it is not null.
    let mut memory_value = *value;
    if value.may_be_null() {
        null::set_non_null(step.subject, &mut memory_value);
    }
    *step.state.reg_mut(reg) = memory_value;
    let accesses = [MemAccess::Read, MemAccess::ReadWrite];
    let checked = accesses
        .into_iter()
        .try_for_each(|access| helper_memory(step, reg, bytes, access, true).map(|_| ()));
    *step.state.reg_mut(reg) = *value;
    checked
}

/// A call of a global function: nothing of it is followed, so all that it may do is assumed.
///
/// # Errors
/// If it cannot be called here, or with these arguments.
pub(super) fn call(step: &mut Step<'_, '_>, callee: SubprogId, fits: bool) -> Result<Flow, Reason> {
    let shape = step.subject.structure.subprog(callee);
    let state = &*step.state;
    if state.references.iter().any(|r| matches!(r.kind, ReferenceKind::Lock { .. })) {
        return Err(FlowReason::GlobalCallLocked.into());
    }
    if shape.might_sleep && (state.rcu_locked || state.preempt_locks > 0 || !state.sleepable) {
        return Err(FlowReason::GlobalCallSleeps.into());
    }
    if !fits {
        let (func, name) = (callee.0, shape.name.clone());
        return Err(FlowReason::GlobalCallArguments { func, name }.into());
    }
    if step.past.log.is_on() {
        let text =
            format_args!("Func#{} ('{}') is global and assumed valid.\n", callee.0, shape.name);
        step.past.log.write(text);
    }
    if shape.changes_packet {
        reference::invalidate_packet(step);
    }
    step.past.subprogs[callee.0 as usize].called = true;
    super::clear_caller_saved(step);
    step.write_unknown(Reg::R0);
    Ok(Flow::Next)
}
