//! The functions of the program (`add_subprog_and_kfunc`, `check_subprogs`).

use super::{Subprog, ways};
use crate::contract::{
    FuncRecord, LineRecord, SubprogFacts, check_func_info, check_func_layout, check_line_info,
};
use crate::options::Options;
use crate::reject::{Reason, StructureReason};
use ebpfvm_asm::{CallTarget, Insn, Pc};
use ebpfvm_spec::btf::Kind;
use ebpfvm_spec::helper::Ret;
use ebpfvm_spec::platform::Platform;
use ebpfvm_spec::program::Program;

/// The most functions of a program (`BPF_MAX_SUBPROGS`).
const MAX_SUBPROGS: usize = 256;

/// Where the functions begin, in order.
///
/// # Errors
/// If one begins where there is no code, or there are too many.
pub(crate) fn starts(program: &Program, options: &Options) -> Result<Vec<Pc>, Reason> {
    let code = &program.code;
    let mut starts = vec![Pc(0)];
    for (pc, insn) in code.iter() {
        let is_kfunc = matches!(insn, Insn::Call { target: CallTarget::Kfunc { .. } });
        let offset = insn.function_offset();
        if (offset.is_some() || is_kfunc) && !options.privileges.bpf {
            return Err(StructureReason::FunctionsNeedPrivilege.into());
        }
        let Some(offset) = offset else { continue };
        let start =
            ways::slot(code, ways::target(pc, offset)).ok_or(StructureReason::CallToNowhere)?;
        if !starts.contains(&start) {
            starts.push(start);
        }
        if starts.len() > MAX_SUBPROGS {
            return Err(StructureReason::TooManyFunctions.into());
        }
    }
    starts.sort_unstable();
    Ok(starts)
}

/// The functions in the order of their positions.
///
/// # Errors
/// As [`starts`], and if a jump leaves its function or a function has no end.
pub(crate) fn find(
    program: &Program,
    platform: &Platform,
    options: &Options,
) -> Result<Vec<Subprog>, Reason> {
    let code = &program.code;
    let starts = starts(program, options)?;
    let ends = starts[1..].iter().copied().chain([Pc(code.len() as u32)]);
    let mut subprogs: Vec<Subprog> =
        starts.iter().zip(ends).map(|(start, end)| describe(program, *start, end)).collect();
    for subprog in &mut subprogs {
        check(program, platform, subprog)?;
    }
    Ok(subprogs)
}

/// The functions that the program has types of, as a load tells the kernel of them.
fn records(program: &Program) -> Vec<FuncRecord> {
    let typed = program.funcs.iter().filter_map(|f| f.type_id.map(|id| (f.start.0, id)));
    typed.map(|(slot, type_id)| FuncRecord { slot, type_id }).collect()
}

/// Checks that the types of the functions are in order and of functions, before the code is looked at
/// (`check_btf_info_early`).
///
/// # Errors
/// What the kernel says of them.
pub(crate) fn check_records(program: &Program) -> Result<(), Reason> {
    let Some(btf) = program.btf.as_deref() else { return Ok(()) };
    check_func_info(btf, &records(program))
        .map_err(|error| StructureReason::FunctionTypes { problem: error.to_string() }.into())
}

/// Checks that the types of the functions are about those that the code has, that functions which may
/// end early return a number, and that the source lines are in order and each function begins with one
/// (`check_btf_info`).
///
/// # Errors
/// What the kernel says of them.
pub(crate) fn check_types(program: &Program, subprogs: &[Subprog]) -> Result<(), Reason> {
    if has_exception_callback(program) {
        return Err(Reason::unsupported("exceptions"));
    }
    let facts = |s: &Subprog| SubprogFacts {
        start: s.start.0,
        has_legacy_load: s.has_legacy_load,
        has_tail_call: s.has_tail_call,
    };
    let subprogs: Vec<_> = subprogs.iter().map(facts).collect();
    check_func_layout(program.btf.as_deref(), &records(program), &subprogs)
        .map_err(|error| StructureReason::FunctionTypes { problem: error.to_string() })?;
    if program.btf.is_none() {
        // The kernel is told of lines only together with the types that hold their text.
        return Ok(());
    }
    // Names are text here already, so that none can be missing.
    let lines = program.lines.iter().map(|line| LineRecord { slot: line.pc.0, has_names: true });
    let lines: Vec<_> = lines.collect();
    let starts_insn = |slot| program.code.get(Pc(slot)).is_some();
    check_line_info(&lines, &subprogs, program.code.len() as u32, starts_insn)
        .map_err(|error| StructureReason::SourceLines { problem: error.to_string() }.into())
}

/// Whether the entry names a function that is called when an exception is thrown
/// (`bpf_find_exception_callback_insn_off`). No instruction names that function.
fn has_exception_callback(program: &Program) -> bool {
    let entry = program.funcs.first().and_then(|f| f.type_id);
    let (Some(btf), Some(entry)) = (program.btf.as_deref(), entry) else { return false };
    btf.iter().any(|(_, t)| match t.kind {
        Kind::DeclTag { type_id, .. } if type_id == entry => {
            btf.str(t.name).starts_with("exception_callback:")
        }
        _ => false,
    })
}

/// A function with the name that the program gives it.
fn describe(program: &Program, start: Pc, end: Pc) -> Subprog {
    let info = program.funcs.iter().find(|f| f.start == start);
    Subprog {
        start,
        end,
        name: info.map_or_else(String::new, |f| f.name.clone()),
        // Without types there is no contract to judge a function by apart from its callers.
        is_global: info.is_some_and(|f| f.is_global && f.type_id.is_some())
            && program.btf.is_some(),
        ..Subprog::default()
    }
}

/// Checks that control stays in the function, and notes what it contains.
fn check(program: &Program, platform: &Platform, subprog: &mut Subprog) -> Result<(), Reason> {
    let code = &program.code;
    let range = i64::from(subprog.start.0)..i64::from(subprog.end.0);
    let mut last = None;
    for slot in subprog.start.0..subprog.end.0 {
        let pc = Pc(slot);
        let Some(insn) = code.get(pc) else { continue };
        if let Some(to) = ways::jump_target(pc, insn)
            && !range.contains(&to)
        {
            return Err(StructureReason::JumpOutOfRange { from: pc.0, to }.into());
        }
        match *insn {
            Insn::Call { target: CallTarget::Helper(id) } => {
                let proto = platform.helper(id);
                subprog.has_tail_call |= proto.is_some_and(|p| p.ret == Ret::TailCall);
            }
            Insn::LoadAbs { .. } | Insn::LoadInd { .. } => subprog.has_legacy_load = true,
            _ => {}
        }
        last = Some((pc, insn));
    }
    match last {
        Some((pc, insn)) if insn.ends_block() && pc.0 + insn.slots() as u32 == subprog.end.0 => {
            Ok(())
        }
        _ => Err(StructureReason::FallsThrough.into()),
    }
}
