//! What a load asks for before the code is looked at (`bpf_prog_load`, `check_attach_btf_id`,
//! `check_map_prog_compatibility`).

use crate::options::Options;
use crate::reject::{ProgramReason, Reason};
use crate::subject::MapInfo;
use ebpfvm_asm::{CallTarget, Imm64, Insn, Pc};
use ebpfvm_spec::btf::{Kind, SpecialSet};
use ebpfvm_spec::linux::{ProgMapRefusal, map_in_program, needed_for_program};
use ebpfvm_spec::load_flags;
use ebpfvm_spec::platform::ProgTypeDef;
use ebpfvm_spec::program::{ProgType, ProgTypeSet, Program};

/// The most slots of a program (`BPF_COMPLEXITY_LIMIT_INSNS`).
const MAX_SLOTS: usize = 1_000_000;
/// The most slots of a program of a plain user (`BPF_MAXINSNS`).
const MAX_PLAIN_SLOTS: usize = 4096;
/// Load flags that Linux 6.18 has.
const KNOWN_FLAGS: u32 = load_flags::STRICT_ALIGNMENT
    | load_flags::ANY_ALIGNMENT
    | load_flags::TEST_RND_HI32
    | load_flags::TEST_STATE_FREQ
    | load_flags::SLEEPABLE
    | load_flags::XDP_HAS_FRAGS
    | load_flags::XDP_DEV_BOUND_ONLY
    | load_flags::TEST_REG_INVARIANTS;

/// The tag of a program that names its exception callback (`bpf_find_exception_callback_insn_off`).
const EXCEPTION_CALLBACK: &str = "exception_callback:";

/// Types whose programs may sleep (`can_be_sleepable`); those attached to functions of the kernel
/// are not judged here.
const MAY_SLEEP: ProgTypeSet = ProgTypeSet::of(&[ProgType::Kprobe, ProgType::Syscall]);

/// Checks what does not need the code.
///
/// # Errors
/// Why the program cannot be loaded.
pub(crate) fn check(program: &Program, def: &ProgTypeDef, options: &Options) -> Result<(), Reason> {
    let slots = program.code.len();
    let most = if options.privileges.bpf { MAX_SLOTS } else { MAX_PLAIN_SLOTS };
    if slots == 0 {
        return Err(ProgramReason::Empty.into());
    }
    if slots > most {
        return Err(ProgramReason::TooLong { slots, most }.into());
    }
    if program.flags & !KNOWN_FLAGS != 0 {
        return Err(ProgramReason::Flags { flags: program.flags & !KNOWN_FLAGS }.into());
    }
    if !options.privileges.capabilities().has(needed_for_program(program.prog_type)) {
        let prog_type = program.prog_type.name();
        return Err(ProgramReason::Privileges { prog_type }.into());
    }
    if def.attach_type(program.attach_type).is_none() {
        let prog_type = program.prog_type.name();
        return Err(ProgramReason::AttachType { number: program.attach_type.0, prog_type }.into());
    }
    Ok(())
}

/// Checks that a program that may sleep is of a type that may, and the other way round
/// (`check_attach_btf_id`); asked after the shape of the code was looked at.
///
/// # Errors
/// If it is not.
pub(crate) fn check_sleepable(program: &Program) -> Result<(), Reason> {
    let sleepable = program.flags & load_flags::SLEEPABLE != 0;
    if program.prog_type == ProgType::Syscall && !sleepable {
        return Err(ProgramReason::SyscallSleeps.into());
    }
    if sleepable && !MAY_SLEEP.contains(program.prog_type) {
        return Err(ProgramReason::Sleepable.into());
    }
    Ok(())
}

/// Checks that a program of this type may use the maps that its code names.
///
/// # Errors
/// The first one that it may not.
pub(crate) fn check_maps(program: &Program, maps: &[MapInfo]) -> Result<(), Reason> {
    let sleepable = program.flags & load_flags::SLEEPABLE != 0;
    for (_, insn) in program.code.iter() {
        let Insn::LoadImm { value, .. } = insn else { continue };
        let (Imm64::MapIdx(index) | Imm64::MapIdxValue { index, .. }) = value else { continue };
        let Some(map) = maps.get(*index as usize) else { continue };
        let fields = SpecialSet::of_fields(map.fields());
        map_in_program(program.prog_type, sleepable, map.def.map_type, fields)
            .map_err(refused_map)?;
    }
    Ok(())
}

/// Checks that the program needs nothing that is not judged yet, not even in code that no path comes
/// to: Linux looks for kernel functions and variables before it follows any.
///
/// # Errors
/// What it needs, as [`Reason::Unsupported`].
pub(crate) fn check_needs(program: &Program) -> Result<(), Reason> {
    for (_, insn) in program.code.iter() {
        match *insn {
            Insn::Call { target: CallTarget::Kfunc { btf_id, .. } } => {
                return Err(Reason::unsupported(format!("kernel function {btf_id}")));
            }
            Insn::LoadImm { value: Imm64::Variable { btf_id, .. }, .. } => {
                return Err(Reason::unsupported(format!("kernel variable {btf_id}")));
            }
            Insn::AddrSpaceCast { .. } => {
                return Err(Reason::unsupported("addr_space_cast (arena)"));
            }
            _ => {}
        }
    }
    let entry = program.funcs.iter().find(|f| f.start == Pc(0)).and_then(|f| f.type_id);
    if let (Some(btf), Some(entry)) = (program.btf.as_deref(), entry) {
        let has_callback = btf.iter().any(|(_, t)| {
            matches!(t.kind, Kind::DeclTag { type_id, component: None, .. } if type_id == entry)
                && btf.str(t.name).starts_with(EXCEPTION_CALLBACK)
        });
        if has_callback {
            return Err(Reason::unsupported("exception callbacks"));
        }
    }
    Ok(())
}

fn refused_map(refusal: ProgMapRefusal) -> Reason {
    match refusal {
        ProgMapRefusal::TracingCollection => ProgramReason::TracingCollection,
        ProgMapRefusal::FilterSpinLock => ProgramReason::FilterSpinLock,
        ProgMapRefusal::TracingSpinLock => ProgramReason::TracingSpinLock,
        ProgMapRefusal::TracingTimer => ProgramReason::TracingTimer,
        ProgMapRefusal::TracingWorkqueue => ProgramReason::TracingWorkqueue,
        ProgMapRefusal::StructOps => ProgramReason::StructOpsMap,
        ProgMapRefusal::Sleepable => ProgramReason::SleepableMap,
    }
    .into()
}
