//! Programs as the loader makes them and the verifier and the machine take them.

use crate::attach::AttachType;
use crate::btf::{Btf, TypeId};
use crate::map::MapDef;
use ebpfvm_asm::{Code, Pc};
use std::sync::Arc;

macro_rules! prog_types {
    ($($variant:ident = $number:literal, $name:literal, $since:literal;)*) => {
        /// The type of a program (`enum bpf_prog_type` of `include/uapi/linux/bpf.h`, Linux 6.18).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum ProgType {
            $(
                #[doc = concat!("`", $name, "`")]
                $variant = $number,
            )*
        }

        impl ProgType {
            /// All types in the order of their numbers.
            pub const ALL: &[ProgType] = &[$(ProgType::$variant),*];

            /// The type with this number.
            pub const fn from_number(number: u32) -> Option<ProgType> {
                match number {
                    $($number => Some(ProgType::$variant),)*
                    _ => None,
                }
            }

            /// The name, as bpftool prints it.
            pub const fn name(self) -> &'static str {
                match self {
                    $(ProgType::$variant => $name,)*
                }
            }

            /// The first Linux release that has it; empty for those that are not of Linux.
            ///
            /// Source: `data/feature-versions.yaml` of the eBPF documentation (docs.ebpf.io,
            /// commit 05758d372ab0), which names the kernel's commit for each.
            pub const fn since(self) -> &'static str {
                match self {
                    $(ProgType::$variant => $since,)*
                }
            }
        }
    };
}

prog_types! {
    Unspec = 0, "unspec", "";
    SocketFilter = 1, "socket_filter", "3.19";
    Kprobe = 2, "kprobe", "4.1";
    SchedCls = 3, "sched_cls", "4.1";
    SchedAct = 4, "sched_act", "4.1";
    Tracepoint = 5, "tracepoint", "4.7";
    Xdp = 6, "xdp", "4.8";
    PerfEvent = 7, "perf_event", "4.9";
    CgroupSkb = 8, "cgroup_skb", "4.10";
    CgroupSock = 9, "cgroup_sock", "4.10";
    LwtIn = 10, "lwt_in", "4.10";
    LwtOut = 11, "lwt_out", "4.10";
    LwtXmit = 12, "lwt_xmit", "4.10";
    SockOps = 13, "sock_ops", "4.13";
    SkSkb = 14, "sk_skb", "4.14";
    CgroupDevice = 15, "cgroup_device", "4.15";
    SkMsg = 16, "sk_msg", "4.17";
    RawTracepoint = 17, "raw_tracepoint", "4.17";
    CgroupSockAddr = 18, "cgroup_sock_addr", "4.17";
    LwtSeg6local = 19, "lwt_seg6local", "4.18";
    LircMode2 = 20, "lirc_mode2", "4.18";
    SkReuseport = 21, "sk_reuseport", "4.19";
    FlowDissector = 22, "flow_dissector", "4.20";
    CgroupSysctl = 23, "cgroup_sysctl", "5.2";
    RawTracepointWritable = 24, "raw_tracepoint_writable", "5.2";
    CgroupSockopt = 25, "cgroup_sockopt", "5.3";
    Tracing = 26, "tracing", "5.5";
    StructOps = 27, "struct_ops", "5.6";
    Ext = 28, "ext", "5.6";
    Lsm = 29, "lsm", "5.7";
    SkLookup = 30, "sk_lookup", "5.9";
    Syscall = 31, "syscall", "5.14";
    Netfilter = 32, "netfilter", "6.4";
    // Not of Linux: the number is beyond the range of the kernel's types.
    Raw = 63, "raw", "";
}

/// A set of program types.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct ProgTypeSet(u64);

impl ProgTypeSet {
    /// No type.
    pub const NONE: ProgTypeSet = ProgTypeSet(0);
    /// Every type.
    pub const ALL: ProgTypeSet = ProgTypeSet(u64::MAX);

    /// The set of these types.
    pub const fn of(types: &[ProgType]) -> ProgTypeSet {
        let mut bits = 0;
        let mut i = 0;
        while i < types.len() {
            bits |= 1 << types[i] as u64;
            i += 1;
        }
        ProgTypeSet(bits)
    }

    /// Types in either set.
    pub const fn union(self, other: ProgTypeSet) -> ProgTypeSet {
        ProgTypeSet(self.0 | other.0)
    }

    /// Types in this set but not in the other.
    pub const fn without(self, other: ProgTypeSet) -> ProgTypeSet {
        ProgTypeSet(self.0 & !other.0)
    }

    /// Whether the type is in the set.
    pub const fn contains(self, prog_type: ProgType) -> bool {
        self.0 >> prog_type as u64 & 1 == 1
    }
}

impl std::fmt::Debug for ProgTypeSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let types = ProgType::ALL.iter().filter(|t| self.contains(**t));
        f.debug_set().entries(types.map(|t| t.name())).finish()
    }
}

/// Bits of [`Program::flags`]: `BPF_F_*` of `BPF_PROG_LOAD` (`include/uapi/linux/bpf.h`, Linux 6.18).
pub mod load_flags {
    /// Accesses must be aligned to their size.
    pub const STRICT_ALIGNMENT: u32 = 1 << 0;
    /// Accesses need not be aligned.
    pub const ANY_ALIGNMENT: u32 = 1 << 1;
    /// The upper halves that a 32-bit operation must zero are random before, in tests; no effect on
    /// verdicts.
    pub const TEST_RND_HI32: u32 = 1 << 2;
    /// The verifier keeps a state at every prune point, to test pruning.
    pub const TEST_STATE_FREQ: u32 = 1 << 3;
    /// The program may sleep.
    pub const SLEEPABLE: u32 = 1 << 4;
    /// XDP packets may lie in several buffers.
    pub const XDP_HAS_FRAGS: u32 = 1 << 5;
    /// The program may be bound to a device.
    pub const XDP_DEV_BOUND_ONLY: u32 = 1 << 6;
    /// Bounds that contradict themselves reject the program.
    pub const TEST_REG_INVARIANTS: u32 = 1 << 7;
}

/// A function of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FuncInfo {
    /// Its first instruction.
    pub start: Pc,
    /// Its name.
    pub name: String,
    /// Its type (kind `Func`) in the program's BTF.
    pub type_id: Option<TypeId>,
    /// Whether the symbol is global: verified apart from its callers.
    pub is_global: bool,
}

/// A source position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineInfo {
    /// The first instruction of the line.
    pub pc: Pc,
    /// File name as the compiler recorded it.
    pub file: Arc<str>,
    /// The text of the line.
    pub text: Arc<str>,
    /// Line, from 1.
    pub line: u32,
    /// Column, from 1; 0 if unknown.
    pub column: u32,
}

/// A program that is ready to be judged and run: its functions joined, its maps and data resolved
/// to indexes into [`Program::maps`].
#[derive(Clone, Debug)]
pub struct Program {
    /// Name of the entry function.
    pub name: String,
    /// ELF section it comes from; empty if it does not come from a file.
    pub section: String,
    /// Type.
    pub prog_type: ProgType,
    /// Expected attach type.
    pub attach_type: AttachType,
    /// Bits of [`load_flags`].
    pub flags: u32,
    /// Licence string of the object; decides about GPL-only helpers.
    pub license: String,
    /// The instructions: the entry function first, then the functions it can call.
    pub code: Code,
    /// The functions in order of their start; the first is the entry at 0.
    pub funcs: Vec<FuncInfo>,
    /// Source lines in order of their positions.
    pub lines: Vec<LineInfo>,
    /// The maps of the object, which `MapIdx` loads name by index.
    pub maps: Arc<[MapDef]>,
    /// The types of the object.
    pub btf: Option<Arc<Btf>>,
}

impl Program {
    /// A program without a file: only instructions.
    pub fn from_code(name: impl Into<String>, prog_type: ProgType, code: Code) -> Program {
        let name = name.into();
        Program {
            section: String::new(),
            prog_type,
            attach_type: AttachType::default(),
            flags: 0,
            license: "GPL".into(),
            funcs: vec![FuncInfo {
                start: Pc(0),
                name: name.clone(),
                type_id: None,
                is_global: true,
            }],
            name,
            code,
            lines: Vec::new(),
            maps: Arc::new([]),
            btf: None,
        }
    }

    /// The source line of an instruction: the last one that starts at or before it.
    pub fn line(&self, pc: Pc) -> Option<&LineInfo> {
        let after = self.lines.partition_point(|l| l.pc <= pc);
        self.lines[..after].last()
    }

    /// The function that an instruction belongs to.
    pub fn func(&self, pc: Pc) -> Option<&FuncInfo> {
        let after = self.funcs.partition_point(|f| f.start <= pc);
        self.funcs[..after].last()
    }
}
