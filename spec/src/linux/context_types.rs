//! Which types in a function's declaration stand for the context (`btf_is_prog_ctx_type` and
//! `btf_validate_prog_ctx_type` of `kernel/bpf/btf.c`, `include/linux/bpf_types.h`, Linux 6.18).

use super::Arch;
use crate::attach::{AttachType, AttachTypeSet};
use crate::platform::{ContextTypes, TaggedContext, TaggedRule};
use crate::program::ProgType;
use std::borrow::Cow;

const fn always(form: TaggedContext) -> TaggedRule {
    TaggedRule { attach_types: AttachTypeSet::ALL, form }
}

const fn at(attach_types: &[AttachType], form: TaggedContext) -> TaggedRule {
    TaggedRule { attach_types: AttachTypeSet::of(attach_types), form }
}

const ANYTHING: &[TaggedRule] = &[always(TaggedContext::Anything)];
const WORDS: &[TaggedRule] = &[always(TaggedContext::Word)];
const TRACING: &[TaggedRule] = &[
    at(&[AttachType::TRACE_RAW_TP], TaggedContext::Struct("bpf_raw_tracepoint_args")),
    at(
        &[
            AttachType::TRACE_RAW_TP,
            AttachType::TRACE_FENTRY,
            AttachType::TRACE_FEXIT,
            AttachType::MODIFY_RETURN,
        ],
        TaggedContext::Word,
    ),
    at(&[AttachType::TRACE_ITER], TaggedContext::StructPrefix("bpf_iter__")),
];
const PT_REGS: &[TaggedRule] = &[always(TaggedContext::Struct("pt_regs"))];
const USER_PT_REGS: &[TaggedRule] = &[always(TaggedContext::Struct("user_pt_regs"))];

/// The registers as programs know them on every machine.
const PT_REGS_ALIAS: &str = "bpf_user_pt_regs_t";

/// The types that stand for the context of programs of this type.
pub fn context_types(prog_type: ProgType, arch: Arch) -> ContextTypes {
    use ProgType as T;
    let named = |name: &'static str| ContextTypes {
        names: vec![Cow::Borrowed(name)],
        layout: Some(Cow::Borrowed(name)),
        ..ContextTypes::default()
    };
    let tagged = |tagged| ContextTypes { tagged: Cow::Borrowed(tagged), ..ContextTypes::default() };
    let skb =
        || ContextTypes { names: vec!["__sk_buff".into(), "sk_buff".into()], ..named("__sk_buff") };
    let registers = match arch {
        Arch::X86_64 => "pt_regs",
        Arch::Arm64 => "user_pt_regs",
    };
    match prog_type {
        T::SocketFilter
        | T::SchedCls
        | T::SchedAct
        | T::CgroupSkb
        | T::LwtIn
        | T::LwtOut
        | T::LwtXmit
        | T::LwtSeg6local
        | T::SkSkb
        | T::FlowDissector => skb(),
        T::Xdp => {
            ContextTypes { names: vec!["xdp_md".into(), "xdp_buff".into()], ..named("xdp_md") }
        }
        T::CgroupSock => named("bpf_sock"),
        T::CgroupSockAddr => named("bpf_sock_addr"),
        T::SockOps => named("bpf_sock_ops"),
        T::SkMsg => named("sk_msg_md"),
        T::Kprobe => ContextTypes {
            names: vec![PT_REGS_ALIAS.into(), registers.into()],
            layout: Some(registers.into()),
            alias: Some(PT_REGS_ALIAS),
            tagged_alias: Some(PT_REGS_ALIAS),
            tagged: Cow::Borrowed(PT_REGS),
        },
        T::PerfEvent => ContextTypes {
            tagged_alias: Some(PT_REGS_ALIAS),
            tagged: Cow::Borrowed(match arch {
                Arch::X86_64 => PT_REGS,
                Arch::Arm64 => USER_PT_REGS,
            }),
            ..named("bpf_perf_event_data")
        },
        T::RawTracepoint | T::RawTracepointWritable => {
            ContextTypes { tagged: Cow::Borrowed(WORDS), ..named("bpf_raw_tracepoint_args") }
        }
        T::Tracepoint => ContextTypes { names: vec!["__u64".into()], ..tagged(ANYTHING) },
        T::LircMode2 => ContextTypes { names: vec!["__u32".into()], ..ContextTypes::default() },
        T::CgroupDevice => named("bpf_cgroup_dev_ctx"),
        T::CgroupSysctl => named("bpf_sysctl"),
        T::CgroupSockopt => named("bpf_sockopt"),
        T::SkReuseport => named("sk_reuseport_md"),
        T::SkLookup => named("bpf_sk_lookup"),
        T::Netfilter => named("bpf_nf_ctx"),
        T::Tracing => tagged(TRACING),
        T::Lsm | T::StructOps => tagged(WORDS),
        T::Syscall | T::Ext => tagged(ANYTHING),
        T::Unspec | T::Raw => ContextTypes::default(),
    }
}
