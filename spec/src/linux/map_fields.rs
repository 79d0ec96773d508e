//! Which maps may have which special fields, and which programs may use which maps
//! (`map_check_btf` of `kernel/bpf/syscall.c` and `check_map_prog_compatibility` of
//! `kernel/bpf/verifier.c`, Linux 6.18).

use crate::btf::SpecialKind::*;
use crate::btf::SpecialSet;
use crate::errno::Errno;
use crate::map::MapType::*;
use crate::map::{MapFlags, MapType, MapTypeSet};
use crate::program::{ProgType, ProgTypeSet};

const fn fields(kinds: &[crate::btf::SpecialKind]) -> SpecialSet {
    SpecialSet::of(kinds)
}

const LOCAL_STORAGE: MapTypeSet =
    MapTypeSet::of(&[SkStorage, InodeStorage, TaskStorage, CgrpStorage]);

/// Kinds of fields, and the maps whose values may have them.
const HOLDERS: &[(SpecialSet, MapTypeSet)] = &[
    (
        fields(&[SpinLock, ResSpinLock]),
        MapTypeSet::of(&[Hash, Array, CgroupStorage]).union(LOCAL_STORAGE),
    ),
    (fields(&[Timer, Workqueue, TaskWork]), MapTypeSet::of(&[Hash, LruHash, Array])),
    (
        fields(&[KptrUnref, KptrRef, KptrPerCpu, Refcount]),
        MapTypeSet::of(&[Hash, PercpuHash, LruHash, LruPercpuHash, Array, PercpuArray])
            .union(LOCAL_STORAGE),
    ),
    (fields(&[Uptr]), MapTypeSet::of(&[TaskStorage])),
    (fields(&[ListHead, RbRoot]), MapTypeSet::of(&[Hash, LruHash, Array])),
];

/// Checks that a map of this kind, with these flags, can be created with values that have such
/// fields.
///
/// # Errors
/// `EACCES` where programs may only read or only write values, `EOPNOTSUPP` if the kind has no such
/// fields.
pub fn check_holder(kind: MapType, flags: MapFlags, kinds: SpecialSet) -> Result<(), Errno> {
    let one_sided = flags.0 & (MapFlags::RDONLY_PROG | MapFlags::WRONLY_PROG) != 0;
    if one_sided && kinds != SpecialSet::NONE {
        return Err(Errno::EACCES);
    }
    let held = HOLDERS.iter().all(|(about, maps)| !kinds.meets(*about) || maps.contains(kind));
    if held { Ok(()) } else { Err(Errno::EOPNOTSUPP) }
}

/// Why a program may not use a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProgMapRefusal {
    /// `tracing progs cannot use bpf_{list_head,rb_root} yet`
    TracingCollection,
    /// `socket filter progs cannot use bpf_spin_lock yet`
    FilterSpinLock,
    /// `tracing progs cannot use bpf_spin_lock yet`
    TracingSpinLock,
    /// `tracing progs cannot use bpf_timer yet`
    TracingTimer,
    /// `tracing progs cannot use bpf_wq yet`
    TracingWorkqueue,
    /// `bpf_struct_ops map cannot be used in prog`
    StructOps,
    /// `Sleepable programs can only use array, hash, ringbuf and local storage maps`
    Sleepable,
}

/// `is_tracing_prog_type`
const TRACING: ProgTypeSet = ProgTypeSet::of(&[
    ProgType::Kprobe,
    ProgType::Tracepoint,
    ProgType::PerfEvent,
    ProgType::RawTracepoint,
    ProgType::RawTracepointWritable,
]);
const FILTER: ProgTypeSet = ProgTypeSet::of(&[ProgType::SocketFilter]);

/// What these programs may not use, in the order in which the kernel looks.
const REFUSED: &[(SpecialSet, ProgTypeSet, ProgMapRefusal)] = &[
    (fields(&[ListHead, RbRoot]), TRACING, ProgMapRefusal::TracingCollection),
    (fields(&[SpinLock, ResSpinLock]), FILTER, ProgMapRefusal::FilterSpinLock),
    (fields(&[SpinLock, ResSpinLock]), TRACING, ProgMapRefusal::TracingSpinLock),
    (fields(&[Timer]), TRACING, ProgMapRefusal::TracingTimer),
    (fields(&[Workqueue]), TRACING, ProgMapRefusal::TracingWorkqueue),
];

/// Maps that programs that may sleep can use.
const SLEEPABLE: MapTypeSet = MapTypeSet::of(&[
    Hash,
    LruHash,
    Array,
    PercpuHash,
    PercpuArray,
    LruPercpuHash,
    ArrayOfMaps,
    HashOfMaps,
    Ringbuf,
    UserRingbuf,
    InodeStorage,
    SkStorage,
    TaskStorage,
    CgrpStorage,
    Queue,
    Stack,
    Arena,
]);

/// Whether a program may name a map of this kind whose values have such fields.
///
/// # Errors
/// Why not.
pub fn map_in_program(
    prog_type: ProgType,
    sleepable: bool,
    kind: MapType,
    fields: SpecialSet,
) -> Result<(), ProgMapRefusal> {
    let refused =
        REFUSED.iter().find(|(about, types, _)| fields.meets(*about) && types.contains(prog_type));
    if let Some((_, _, refusal)) = refused {
        return Err(*refusal);
    }
    if kind == StructOps {
        return Err(ProgMapRefusal::StructOps);
    }
    if sleepable && !SLEEPABLE.contains(kind) {
        return Err(ProgMapRefusal::Sleepable);
    }
    Ok(())
}
