//! What the judge may be told: privileges, strictness, limits.

use ebpfvm_spec::linux::Capabilities;

/// What the one who loads the program may do.
///
/// The default is root. Every field left out is a stricter rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Privileges {
    /// `CAP_BPF`: functions, loops, most helpers.
    pub bpf: bool,
    /// `CAP_PERFMON`: tracing, pointers as numbers, reads of kernel memory, no protection against
    /// speculation.
    pub perfmon: bool,
    /// `CAP_NET_ADMIN`: programs of the network.
    pub net_admin: bool,
}

impl Privileges {
    /// Root.
    pub const ALL: Privileges = Privileges { bpf: true, perfmon: true, net_admin: true };
    /// A plain user.
    pub const NONE: Privileges = Privileges { bpf: false, perfmon: false, net_admin: false };

    /// Whether pointers may be compared, stored and calculated with as if they were numbers
    /// (`allow_ptr_leaks`); without, programs must also hold on speculative paths.
    pub const fn may_leak_pointers(self) -> bool {
        self.perfmon
    }
}

impl Privileges {
    /// The capabilities that they are.
    pub(crate) fn capabilities(self) -> Capabilities {
        let each = [
            (self.bpf, Capabilities::BPF),
            (self.perfmon, Capabilities::PERFMON),
            (self.net_admin, Capabilities::NET_ADMIN),
        ];
        let held = each.into_iter().filter(|(is_held, _)| *is_held);
        held.fold(Capabilities::NONE, |all, (_, one)| all | one)
    }
}

impl Default for Privileges {
    fn default() -> Privileges {
        Privileges::ALL
    }
}

/// Bounds on what judging a program may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Instructions followed, over all paths (`BPF_COMPLEXITY_LIMIT_INSNS`).
    pub processed: u32,
    /// Branches that wait to be followed (`BPF_COMPLEXITY_LIMIT_JMP_SEQ`).
    pub pending: usize,
    /// States kept for an instruction for unprivileged programs (`BPF_COMPLEXITY_LIMIT_STATES`).
    pub states_per_insn: u32,
    /// Bytes that the log may grow to; what goes beyond is cut off at the front.
    pub log_bytes: usize,
    /// Milliseconds after which the program is rejected; none: no limit. Linux has none.
    pub time_ms: Option<u64>,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            processed: 1_000_000,
            pending: 8192,
            states_per_insn: 64,
            log_bytes: 64 << 20,
            time_ms: None,
        }
    }
}

/// What is written into the log (`log_level` of `bpf()`), combined with `|`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct LogLevel(pub u32);

impl LogLevel {
    /// Nothing.
    pub const NONE: LogLevel = LogLevel(0);
    /// The path that failed.
    pub const FAILURE: LogLevel = LogLevel(1);
    /// Every path and what is known on it.
    pub const FULL: LogLevel = LogLevel(2);
    /// The statistics.
    pub const STATS: LogLevel = LogLevel(4);

    /// Whether all of `other` are in it.
    pub const fn has(self, other: LogLevel) -> bool {
        self.0 & other.0 == other.0
    }
}

/// How a program is judged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// What the one who loads it may do.
    pub privileges: Privileges,
    /// What is logged.
    pub log: LogLevel,
    /// Limits.
    pub limits: Limits,
    /// How many CPUs the machine has that runs the program (`nr_cpu_ids`): the result of
    /// `get_smp_processor_id` is below it. None if that is not known.
    pub cpus: Option<u32>,
    /// What old states are compared by.
    pub precision: Precision,
    /// Of programs without a context (`raw`): how many bytes of memory they are given at least.
    /// Engines run them on no less.
    pub memory_bytes: u32,
    /// Whether they are given exactly as many: then the length in `r2` is known, and loops over the
    /// memory end. Engines run them with checks on any other.
    pub memory_is_exact: bool,
}

/// The most CPUs that Linux can be built for on x86_64 (`NR_CPUS`).
const MAX_CPUS: u32 = 8192;

impl Options {
    /// No CPU of the machine has this number or a greater one.
    pub(crate) fn cpu_limit(&self) -> u32 {
        self.cpus.unwrap_or(MAX_CPUS).max(1)
    }
}

/// What of an old state a new one must lie within to be covered by it.
///
/// [`Precision::Full`] needs no reasoning about what matters, so it is what the other is tested
/// against: it follows more paths, among them all that the other follows. It does not help loops of
/// callbacks to converge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// What is read later, and of numbers those that mattered to a verdict on the way from it, as in
    /// Linux.
    #[default]
    Marked,
    /// Everything.
    Full,
}
