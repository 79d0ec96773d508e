//! Reasons of helper calls.

use super::table::reasons;

reasons! {
    /// Why a call of a helper is refused.
    pub enum CallReason in "call";

    /// A number that no helper has.
    Unknown { name: String, id: i32 } = "unknown", EINVAL, "invalid func {name}#{id}";
    /// A helper that this program must not call: by its type, its attach type or its privileges.
    NotAllowed { name: String, id: u32 } = "not_allowed", EINVAL,
        "program of this type cannot use helper bpf_{name}#{id}";
    /// A helper for GPL-compatible programs only.
    License = "license", EINVAL,
        "cannot call GPL-restricted function from non-GPL compatible program";
    /// A helper that may sleep where nothing may.
    Sleeps = "sleeps", EINVAL, "helper call might sleep in a non-sleepable prog";
    /// The same in an RCU read section.
    SleepsInRcu { name: String, id: u32 } = "sleeps_in_rcu", EINVAL,
        "sleepable helper bpf_{name}#{id} in rcu_read_lock region";
    /// The same without preemption.
    SleepsWithoutPreemption { name: String, id: u32 } = "sleeps_without_preemption", EINVAL,
        "sleepable helper bpf_{name}#{id} in non-preemptible region";
    /// A call while a lock is held.
    LockHeld = "lock_held", EINVAL, "function calls are not allowed while holding a lock";

    /// A pointer given as a number.
    LeaksAddress { reg: u8 } = "leaks_address", EACCES, "R{reg} leaks addr into helper function";
    /// Packet memory for a helper that cannot take it.
    Packet = "packet", EACCES, "helper access to the packet is not allowed";
    /// A value of a type that the argument does not take.
    Type { reg: u8, found: String, expected: String } = "type", EACCES,
        "R{reg} type={found} expected={expected}";
    /// A size that must be known before the program runs.
    UnknownSize { reg: u8 } = "unknown_size", EACCES, "R{reg} is not a known constant'";
    /// A number that must be known before the program runs is not 0.
    StorageFlags = "storage_flags", EINVAL,
        "get_local_storage() doesn't support non-zero flags";

    /// A map that does not go with the helper.
    MapKind { map_type: u32, name: String, id: u32 } = "map_kind", EINVAL,
        "cannot pass map_type {map_type} into func bpf_{name}#{id}";
    /// A map of sockets that this program must not change.
    SockmapUpdate { map_type: u32, name: String, id: u32 } = "sockmap_update", EINVAL,
        "cannot update sockmap in this context\n\
         cannot pass map_type {map_type} into func bpf_{name}#{id}";
    /// A map of sockets as a map of plain values.
    SockmapValue = "sockmap_value", EINVAL, "invalid arg_type for sockmap/sockhash";
    /// A change of a map that programs only read.
    MapReadOnly = "map_read_only", EACCES, "write into map forbidden";
    /// A timer and a map that do not belong together.
    TimerMap { timer_uid: u32, map_uid: u32 } = "timer_map", EINVAL,
        "timer pointer in R1 map_uid={timer_uid} doesn't match map pointer in R2 map_uid={map_uid}";
    /// A tail call with a map of something else than programs.
    TailCallMap = "tail_call_map", EINVAL, "expected prog array map for tail call";
    /// Different maps at one tail call of an unprivileged program.
    TailCallMaps = "tail_call_maps", EINVAL, "tail_call abusing map_ptr";

    /// An object to be released whose pointer was moved.
    ReleaseOffset { reg: u8 } = "release_offset", EINVAL,
        "R{reg} must have zero offset when passed to release func or trusted arg to kfunc";
    /// An object to be released that the program does not own.
    NotReferenced { reg: u8 } = "not_referenced", EINVAL,
        "R{reg} must be referenced when passed to release function";
    /// A reference that was released before.
    NotAcquired { name: String, id: u32 } = "not_acquired", EINVAL,
        "func bpf_{name}#{id} reference has not been acquired before";
    /// Two arguments that hold references.
    TwoReferences { reg: u8, second: u32, first: u32 } = "two_references", EACCES,
        "more than one arg with ref_obj_id R{reg} {second} {first}";

    /// A place for a new dynptr that is none.
    DynptrPlace { why: String } = "dynptr_place", EINVAL,
        "{why}Dynptr has to be an uninitialized dynptr";
    /// No dynptr where one is read.
    DynptrMissing { why: String, argument: u8 } = "dynptr_missing", EINVAL,
        "{why}Expected an initialized dynptr as arg #{argument}";
    /// A dynptr to something else than the helper takes.
    DynptrKind { kind: &'static str, argument: u8 } = "dynptr_kind", EINVAL,
        "Expected a dynptr of type {kind} as arg #{argument}";
    /// A dynptr that the helper would change.
    DynptrConst = "dynptr_const", EINVAL,
        "cannot pass pointer to const bpf_dynptr, the helper mutates it";
    /// A dynptr to be released that is no reference.
    DynptrUnacquired { why: String, reg: u8 } = "dynptr_unacquired", EINVAL,
        "{why}arg {reg} is an unacquired reference";
    /// A dynptr to be released that a callback was given.
    DynptrUnowned = "dynptr_unowned", EINVAL, "cannot release unowned const bpf_dynptr";
    /// A dynptr that is a reference and would be lost.
    DynptrOverwritten = "dynptr_overwritten", EINVAL, "cannot overwrite referenced dynptr";
    /// A dynptr to memory that is no map value.
    DynptrMemory { found: String } = "dynptr_memory", EACCES,
        "Unsupported reg type {found} for bpf_dynptr_from_mem data";

    /// A string that programs can change.
    StringWritable { reg: u8 } = "string_writable", EACCES,
        "R{reg} does not point to a readonly map'";
    /// A string at an unknown place.
    StringPlace { reg: u8 } = "string_place", EACCES, "R{reg} is not a constant address'";
    /// A map whose values have no fixed address.
    StringMap = "string_map", EACCES, "no direct value access support for this map type";
    /// A string without an end.
    StringEnd = "string_end", EINVAL, "string is not zero-terminated";
    /// A format that the helper cannot take.
    Format = "format", EINVAL, "Invalid format string";
    /// Arguments of a format that are no 64-bit words. Linux gives no message.
    FormatArguments { bytes: u64 } = "format_arguments", EINVAL, "";

    /// A special field at an unknown place.
    FieldPlace { reg: u8, field: &'static str } = "field_place", EINVAL,
        "R{reg} doesn't have constant offset. {field} has to be at the constant offset";
    /// A special field in a map without types.
    FieldTypes { map: String, field: &'static str } = "field_types", EINVAL,
        "map '{map}' has to have BTF in order to use {field}";
    /// A special field in a map without one.
    FieldMissing { map: String, field: &'static str } = "field_missing", EINVAL,
        "map '{map}' has no valid {field}";
    /// A pointer that is not at the special field.
    FieldOffset { offset: i64, field: &'static str, at: u32 } = "field_offset", EINVAL,
        "off {offset} doesn't point to 'struct {field}' that is at {at}";
    /// A second lock.
    LockTwice = "lock_twice", EINVAL, "Locking two bpf_spin_locks are not allowed";
    /// No lock to be given back.
    UnlockNone = "unlock_none", EINVAL, "bpf_spin_unlock without taking a lock";
    /// Another lock than the one that is held.
    UnlockOther = "unlock_other", EINVAL, "bpf_spin_unlock of different lock";
}
