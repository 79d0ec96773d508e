//! Reasons of the load as a whole.

use super::table::reasons;

reasons! {
    /// Why a program is refused before its code is looked at. For some Linux writes nothing into its
    /// log; the words are ours then.
    pub enum ProgramReason in "program";
    /// A program type that the platform does not have.
    Type { name: String } = "type", EINVAL, "unknown program type {name}";
    /// A program type that takes more capabilities than the one who loads it has.
    Privileges { prog_type: &'static str } = "privileges", EPERM,
        "programs of type {prog_type} take capabilities that are missing";
    /// No instruction.
    Empty = "empty", E2BIG, "the program has no instructions";
    /// More slots than may be loaded.
    TooLong { slots: usize, most: usize } = "too_long", E2BIG,
        "the program has {slots} instructions, at most {most} may be loaded";
    /// Load flags that Linux 6.18 does not know.
    Flags { flags: u32 } = "flags", EINVAL, "unknown load flags {flags:#x}";
    /// An attach type that the program type does not have.
    AttachType { number: u32, prog_type: &'static str } = "attach_type", EINVAL,
        "expected attach type {number} is not one of program type {prog_type}";
    /// A program that may sleep, of a type that may not.
    Sleepable = "sleepable", EINVAL,
        "Only fentry/fexit/fmod_ret, lsm, iter, uprobe, and struct_ops programs can be sleepable";
    /// A system-call program that is not marked as one that may sleep.
    SyscallSleeps = "syscall_sleeps", EINVAL, "Syscall programs can only be sleepable";
    /// A map with a list or tree.
    TracingCollection = "tracing_collection", EINVAL,
        "tracing progs cannot use bpf_{{list_head,rb_root}} yet";
    /// A map with a spin lock.
    FilterSpinLock = "filter_spin_lock", EINVAL,
        "socket filter progs cannot use bpf_spin_lock yet";
    /// A map with a spin lock.
    TracingSpinLock = "tracing_spin_lock", EINVAL, "tracing progs cannot use bpf_spin_lock yet";
    /// A map with a timer.
    TracingTimer = "tracing_timer", EINVAL, "tracing progs cannot use bpf_timer yet";
    /// A map with a work queue.
    TracingWorkqueue = "tracing_workqueue", EINVAL, "tracing progs cannot use bpf_wq yet";
    /// A table of functions for the kernel.
    StructOpsMap = "struct_ops_map", EINVAL, "bpf_struct_ops map cannot be used in prog";
    /// A kind of map that programs which may sleep cannot use.
    SleepableMap = "sleepable_map", EINVAL,
        "Sleepable programs can only use array, hash, ringbuf and local storage maps";
}
