//! The contexts of programs that trace, of those that a system call runs, and of remote controls.

use super::{address, array, number, untranslated};
use crate::context::{Access, ContextDef, Field, FieldKind, Pointee, Sizes};
use crate::linux::Arch;
use crate::program::{ProgType, ProgTypeSet};
use std::borrow::Cow;

const NONE: Access = Access::NONE;
const KPROBE: ProgTypeSet = ProgTypeSet::of(&[ProgType::Kprobe]);
const PERF: ProgTypeSet = ProgTypeSet::of(&[ProgType::PerfEvent]);

/// A register: any part by a probe, whole by a program of a perf event.
const fn register(offset: u32, name: &'static str) -> Field {
    registers(offset, 8, name, Access::by(KPROBE, Sizes::ANY))
}

const fn registers(offset: u32, bytes: u32, name: &'static str, access: Access) -> Field {
    array(offset, bytes, 8, name, access, NONE)
}

static PT_REGS_X86_64: [Field; 21] = [
    register(0, "r15"),
    register(8, "r14"),
    register(16, "r13"),
    register(24, "r12"),
    register(32, "bp"),
    register(40, "bx"),
    register(48, "r11"),
    register(56, "r10"),
    register(64, "r9"),
    register(72, "r8"),
    register(80, "ax"),
    register(88, "cx"),
    register(96, "dx"),
    register(104, "si"),
    register(112, "di"),
    register(120, "orig_ax"),
    register(128, "ip"),
    register(136, "cs"),
    register(144, "flags"),
    register(152, "sp"),
    register(160, "ss"),
];

static PT_REGS_ARM64: [Field; 4] = [
    registers(0, 248, "regs", Access::by(KPROBE, Sizes::ANY)),
    register(248, "sp"),
    register(256, "pc"),
    register(264, "pstate"),
];

/// `struct pt_regs`; of arm64 the part that user space knows, `struct user_pt_regs`.
pub(crate) fn pt_regs(arch: Arch) -> ContextDef {
    match arch {
        Arch::X86_64 => untranslated("pt_regs", 168, &PT_REGS_X86_64),
        Arch::Arm64 => untranslated("user_pt_regs", 272, &PT_REGS_ARM64),
    }
}

/// `struct bpf_perf_event_data`: the registers, each read whole, then the sample.
pub(crate) fn perf_event(arch: Arch) -> ContextDef {
    let regs = pt_regs(arch);
    let register = |field: &Field| Field { read: Access::by(PERF, Sizes::DWORD), ..field.clone() };
    let sample = |offset, name| number(offset, 8, name, Access::by(PERF, Sizes::ANY), NONE);
    let mut fields: Vec<Field> = regs.fields.iter().map(register).collect();
    fields.push(sample(regs.bytes, "sample_period"));
    fields.push(sample(regs.bytes + 8, "addr"));
    ContextDef {
        name: "bpf_perf_event_data".into(),
        bytes: regs.bytes + 16,
        fields: Cow::Owned(fields),
        translated: true,
    }
}

/// The longest record of a tracepoint, in bytes (`PERF_MAX_TRACE_SIZE`).
const MAX_RECORD_BYTES: u32 = 8192;
const TRACEPOINT: Access = Access::by(ProgTypeSet::of(&[ProgType::Tracepoint]), Sizes::ANY);

/// The first 8 bytes are the kernel's.
static RECORD: [Field; 1] = [array(8, MAX_RECORD_BYTES - 8, 8, "record", TRACEPOINT, NONE)];

/// The record of a tracepoint.
pub(crate) fn tracepoint() -> ContextDef {
    untranslated("tracepoint record", MAX_RECORD_BYTES, &RECORD)
}

const RAW: Access = Access::by(ProgTypeSet::of(&[ProgType::RawTracepoint]), Sizes::ANY);
const WRITABLE: ProgTypeSet = ProgTypeSet::of(&[ProgType::RawTracepointWritable]);

/// As many as a traced function may have (`MAX_BPF_FUNC_ARGS`).
static RAW_TRACEPOINT: [Field; 1] = [array(0, 96, 8, "args", RAW, NONE)];

/// `struct bpf_raw_tracepoint_args`
pub(crate) fn raw_tracepoint() -> ContextDef {
    untranslated("bpf_raw_tracepoint_args", 96, &RAW_TRACEPOINT)
}

static RAW_TRACEPOINT_WRITABLE: [Field; 2] = [
    address(0, 8, "buffer", FieldKind::Pointer(Pointee::TpBuffer), WRITABLE),
    array(8, 88, 8, "args", Access::by(WRITABLE, Sizes::ANY), NONE),
];

/// The arguments of a raw tracepoint, the first of which is a buffer that may be written.
pub(crate) fn raw_tracepoint_writable() -> ContextDef {
    untranslated("bpf_raw_tracepoint_args", 96, &RAW_TRACEPOINT_WRITABLE)
}

const SYSCALL: Access = Access::by(ProgTypeSet::of(&[ProgType::Syscall]), Sizes::ANY);

/// `U16_MAX` is the first offset that is refused.
static ARGUMENT: [Field; 2] = [
    array(0, 65528, 8, "data", SYSCALL, SYSCALL),
    // The last byte is reached by a wider access only.
    array(65528, 8, 8, "data_last", SYSCALL.starting_in(7), SYSCALL.starting_in(7)),
];

/// Memory that the caller gives.
pub(crate) fn syscall() -> ContextDef {
    untranslated("syscall argument", 65536, &ARGUMENT)
}

const LIRC: ProgTypeSet = ProgTypeSet::of(&[ProgType::LircMode2]);

static SAMPLE: [Field; 1] = [number(0, 4, "sample", Access::by(LIRC, Sizes::WORD), NONE)];

/// A sample of a remote control.
pub(crate) fn lirc() -> ContextDef {
    untranslated("lirc sample", 4, &SAMPLE)
}
