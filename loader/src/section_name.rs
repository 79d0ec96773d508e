//! What the name of a program's section says about the program: libbpf 1.7's `SEC()` names.

use ebpfvm_spec::{AttachType, ProgType};

/// A row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SectionName {
    /// The name. With a final `+` also `name/target` is allowed; otherwise it is exact.
    pub pattern: &'static str,
    /// Program type.
    pub prog_type: ProgType,
    /// Expected attach type.
    pub attach_type: AttachType,
    /// Bits of [`load_flags`](ebpfvm_spec::load_flags).
    pub load_flags: u32,
    /// Whether the target is looked up in the kernel's BTF.
    pub needs_attach_btf: bool,
}

/// What the name of a section means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meaning<'a> {
    /// The row that fits; none if the name is not known.
    pub row: Option<&'static SectionName>,
    /// What stands after the `/` of a `+` form.
    pub target: Option<&'a str>,
    /// Whether the program is loaded unless asked otherwise: the name does not begin with `?`.
    pub autoload: bool,
}

/// Looks a section name up.
pub fn meaning(section: &str) -> Meaning<'_> {
    let (autoload, name) = match section.strip_prefix('?') {
        Some(name) => (false, name),
        None => (true, section),
    };
    for row in TABLE {
        match row.pattern.strip_suffix('+') {
            None if name == row.pattern => {
                return Meaning { row: Some(row), target: None, autoload };
            }
            Some(prefix) if name == prefix => {
                return Meaning { row: Some(row), target: None, autoload };
            }
            Some(prefix) => {
                let rest = name.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('/'));
                if let Some(target) = rest {
                    return Meaning { row: Some(row), target: Some(target), autoload };
                }
            }
            None => {}
        }
    }
    Meaning { row: None, target: None, autoload }
}

macro_rules! rows {
    ($($pattern:literal $prog_type:ident $attach:ident $($flag:ident)*;)*) => {
        &[$(SectionName {
            pattern: $pattern,
            prog_type: ProgType::$prog_type,
            attach_type: AttachType::$attach,
            load_flags: 0 $(| flag::$flag.0)*,
            needs_attach_btf: false $(| flag::$flag.1)*,
        }),*]
    };
}

/// Load flags, and whether the attach target is a kernel type.
mod flag {
    use ebpfvm_spec::load_flags::{SLEEPABLE, XDP_HAS_FRAGS};

    pub(super) const SLEEP: (u32, bool) = (SLEEPABLE, false);
    pub(super) const FRAGS: (u32, bool) = (XDP_HAS_FRAGS, false);
    pub(super) const BTF: (u32, bool) = (0, true);
}

/// All section names. The first row that fits counts.
pub static TABLE: &[SectionName] = rows! {
    "socket" SocketFilter NONE;
    "sk_reuseport/migrate" SkReuseport SK_REUSEPORT_SELECT_OR_MIGRATE;
    "sk_reuseport" SkReuseport SK_REUSEPORT_SELECT;
    "kprobe+" Kprobe NONE;
    "uprobe+" Kprobe NONE;
    "uprobe.s+" Kprobe NONE SLEEP;
    "kretprobe+" Kprobe NONE;
    "uretprobe+" Kprobe NONE;
    "uretprobe.s+" Kprobe NONE SLEEP;
    "kprobe.multi+" Kprobe TRACE_KPROBE_MULTI;
    "kretprobe.multi+" Kprobe TRACE_KPROBE_MULTI;
    "kprobe.session+" Kprobe TRACE_KPROBE_SESSION;
    "uprobe.multi+" Kprobe TRACE_UPROBE_MULTI;
    "uretprobe.multi+" Kprobe TRACE_UPROBE_MULTI;
    "uprobe.session+" Kprobe TRACE_UPROBE_SESSION;
    "uprobe.multi.s+" Kprobe TRACE_UPROBE_MULTI SLEEP;
    "uretprobe.multi.s+" Kprobe TRACE_UPROBE_MULTI SLEEP;
    "uprobe.session.s+" Kprobe TRACE_UPROBE_SESSION SLEEP;
    "ksyscall+" Kprobe NONE;
    "kretsyscall+" Kprobe NONE;
    "usdt+" Kprobe NONE;
    "usdt.s+" Kprobe NONE SLEEP;
    "tc/ingress" SchedCls TCX_INGRESS;
    "tc/egress" SchedCls TCX_EGRESS;
    "tcx/ingress" SchedCls TCX_INGRESS;
    "tcx/egress" SchedCls TCX_EGRESS;
    "tc" SchedCls NONE;
    "classifier" SchedCls NONE;
    "action" SchedAct NONE;
    "netkit/primary" SchedCls NETKIT_PRIMARY;
    "netkit/peer" SchedCls NETKIT_PEER;
    "tracepoint+" Tracepoint NONE;
    "tp+" Tracepoint NONE;
    "tracepoint.s+" Tracepoint NONE SLEEP;
    "tp.s+" Tracepoint NONE SLEEP;
    "raw_tracepoint+" RawTracepoint NONE;
    "raw_tp+" RawTracepoint NONE;
    "raw_tracepoint.s+" RawTracepoint NONE SLEEP;
    "raw_tp.s+" RawTracepoint NONE SLEEP;
    "raw_tracepoint.w+" RawTracepointWritable NONE;
    "raw_tp.w+" RawTracepointWritable NONE;
    "tp_btf+" Tracing TRACE_RAW_TP BTF;
    "tp_btf.s+" Tracing TRACE_RAW_TP BTF SLEEP;
    "fentry+" Tracing TRACE_FENTRY BTF;
    "fmod_ret+" Tracing MODIFY_RETURN BTF;
    "fexit+" Tracing TRACE_FEXIT BTF;
    "fentry.s+" Tracing TRACE_FENTRY BTF SLEEP;
    "fmod_ret.s+" Tracing MODIFY_RETURN BTF SLEEP;
    "fexit.s+" Tracing TRACE_FEXIT BTF SLEEP;
    "fsession+" Tracing TRACE_FSESSION BTF;
    "fsession.s+" Tracing TRACE_FSESSION BTF SLEEP;
    "freplace+" Ext NONE BTF;
    "lsm+" Lsm LSM_MAC BTF;
    "lsm.s+" Lsm LSM_MAC BTF SLEEP;
    "lsm_cgroup+" Lsm LSM_CGROUP BTF;
    "iter+" Tracing TRACE_ITER BTF;
    "iter.s+" Tracing TRACE_ITER BTF SLEEP;
    "syscall" Syscall NONE SLEEP;
    "xdp.frags/devmap" Xdp XDP_DEVMAP FRAGS;
    "xdp/devmap" Xdp XDP_DEVMAP;
    "xdp.frags/cpumap" Xdp XDP_CPUMAP FRAGS;
    "xdp/cpumap" Xdp XDP_CPUMAP;
    "xdp.frags" Xdp XDP FRAGS;
    "xdp" Xdp XDP;
    "perf_event" PerfEvent NONE;
    "lwt_in" LwtIn NONE;
    "lwt_out" LwtOut NONE;
    "lwt_xmit" LwtXmit NONE;
    "lwt_seg6local" LwtSeg6local NONE;
    "sockops" SockOps CGROUP_SOCK_OPS;
    "sk_skb/stream_parser" SkSkb SK_SKB_STREAM_PARSER;
    "sk_skb/stream_verdict" SkSkb SK_SKB_STREAM_VERDICT;
    "sk_skb/verdict" SkSkb SK_SKB_VERDICT;
    "sk_skb" SkSkb NONE;
    "sk_msg" SkMsg SK_MSG_VERDICT;
    "lirc_mode2" LircMode2 LIRC_MODE2;
    "flow_dissector" FlowDissector FLOW_DISSECTOR;
    "cgroup_skb/ingress" CgroupSkb CGROUP_INET_INGRESS;
    "cgroup_skb/egress" CgroupSkb CGROUP_INET_EGRESS;
    "cgroup/skb" CgroupSkb NONE;
    "cgroup/sock_create" CgroupSock CGROUP_INET_SOCK_CREATE;
    "cgroup/sock_release" CgroupSock CGROUP_INET_SOCK_RELEASE;
    "cgroup/sock" CgroupSock CGROUP_INET_SOCK_CREATE;
    "cgroup/post_bind4" CgroupSock CGROUP_INET4_POST_BIND;
    "cgroup/post_bind6" CgroupSock CGROUP_INET6_POST_BIND;
    "cgroup/bind4" CgroupSockAddr CGROUP_INET4_BIND;
    "cgroup/bind6" CgroupSockAddr CGROUP_INET6_BIND;
    "cgroup/connect4" CgroupSockAddr CGROUP_INET4_CONNECT;
    "cgroup/connect6" CgroupSockAddr CGROUP_INET6_CONNECT;
    "cgroup/connect_unix" CgroupSockAddr CGROUP_UNIX_CONNECT;
    "cgroup/sendmsg4" CgroupSockAddr CGROUP_UDP4_SENDMSG;
    "cgroup/sendmsg6" CgroupSockAddr CGROUP_UDP6_SENDMSG;
    "cgroup/sendmsg_unix" CgroupSockAddr CGROUP_UNIX_SENDMSG;
    "cgroup/recvmsg4" CgroupSockAddr CGROUP_UDP4_RECVMSG;
    "cgroup/recvmsg6" CgroupSockAddr CGROUP_UDP6_RECVMSG;
    "cgroup/recvmsg_unix" CgroupSockAddr CGROUP_UNIX_RECVMSG;
    "cgroup/getpeername4" CgroupSockAddr CGROUP_INET4_GETPEERNAME;
    "cgroup/getpeername6" CgroupSockAddr CGROUP_INET6_GETPEERNAME;
    "cgroup/getpeername_unix" CgroupSockAddr CGROUP_UNIX_GETPEERNAME;
    "cgroup/getsockname4" CgroupSockAddr CGROUP_INET4_GETSOCKNAME;
    "cgroup/getsockname6" CgroupSockAddr CGROUP_INET6_GETSOCKNAME;
    "cgroup/getsockname_unix" CgroupSockAddr CGROUP_UNIX_GETSOCKNAME;
    "cgroup/sysctl" CgroupSysctl CGROUP_SYSCTL;
    "cgroup/getsockopt" CgroupSockopt CGROUP_GETSOCKOPT;
    "cgroup/setsockopt" CgroupSockopt CGROUP_SETSOCKOPT;
    "cgroup/dev" CgroupDevice CGROUP_DEVICE;
    "struct_ops+" StructOps NONE;
    "struct_ops.s+" StructOps NONE SLEEP;
    "sk_lookup" SkLookup SK_LOOKUP;
    "netfilter" Netfilter NETFILTER;
    // Not of libbpf: a program on plain memory.
    "raw" Raw NONE;
};

#[cfg(test)]
mod tests {
    use super::*;
    use ebpfvm_spec::load_flags::{SLEEPABLE, XDP_HAS_FRAGS};

    fn found(section: &str) -> (Option<&'static str>, Option<&str>, bool) {
        let m = meaning(section);
        (m.row.map(|r| r.pattern), m.target, m.autoload)
    }

    #[test]
    fn names_are_exact_unless_they_take_a_target() {
        assert_eq!(found("xdp"), (Some("xdp"), None, true));
        assert_eq!(found("xdp/mine"), (None, None, true));
        assert_eq!(found("xdp_pass"), (None, None, true));
        assert_eq!(found("xdp.frags/devmap"), (Some("xdp.frags/devmap"), None, true));
        assert_eq!(found("kprobe/do_exit"), (Some("kprobe+"), Some("do_exit"), true));
        assert_eq!(found("kprobe"), (Some("kprobe+"), None, true));
        assert_eq!(found("kprobes/x"), (None, None, true));
        assert_eq!(found("tp/sched/sched_switch"), (Some("tp+"), Some("sched/sched_switch"), true));
        assert_eq!(found("?tc/ingress"), (Some("tc/ingress"), None, false));
        assert_eq!(found(""), (None, None, true));
    }

    #[test]
    fn flags_follow_the_name() {
        let row = |s| *meaning(s).row.unwrap();
        assert_eq!(row("xdp.frags").load_flags, XDP_HAS_FRAGS);
        assert_eq!(row("lsm.s/file_open").load_flags, SLEEPABLE);
        assert!(row("lsm.s/file_open").needs_attach_btf);
        assert!(!row("uprobe.s/x").needs_attach_btf);
        assert_eq!(row("xdp").attach_type, AttachType(37));
    }

    #[test]
    fn no_pattern_stands_twice() {
        let mut patterns: Vec<_> = TABLE.iter().map(|r| r.pattern).collect();
        patterns.sort_unstable();
        patterns.dedup();
        assert_eq!(patterns.len(), TABLE.len());
    }
}
