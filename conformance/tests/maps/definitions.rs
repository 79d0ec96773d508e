//! Definitions of maps that are taken or refused.

use crate::cases::{Case, cases, storage, storage_types};
use crate::judge::try_theirs;
use ebpfvm::map::{Map, MapLimits};
use ebpfvm_kernel::linux_6_18_or_skip;
use ebpfvm_spec::MapType::{self, *};
use ebpfvm_spec::{MapDef, MapFlags};

/// Definitions around the edges of every rule. Sizes that the kernel would really allocate stay
/// small; where it may say ENOMEM, the machine's limit decides instead.
#[test]
fn the_same_definitions_are_refused() {
    let Some(kernel) = linux_6_18_or_skip("the_same_definitions_are_refused") else { return };
    let limits = MapLimits { map_bytes: 1 << 40, ..MapLimits::default() };
    let mut compared = 0;
    let mut wrong = Vec::new();
    let mut compare = |def: MapDef| {
        let got = Map::bytes_needed(&def, kernel.possible_cpus(), &limits).map(drop);
        let types = def.key_type.map(|_| storage_types(def.value_bytes));
        let expected = try_theirs(&kernel, &def, types.as_ref()).map(drop);
        if got.as_ref().map_err(|e| e.errno()) != expected.as_ref().map_err(|e| *e) {
            wrong.push(format!("{got:?}, but Linux {expected:?}: {def:?}"));
        }
        compared += 1;
    };
    let mut seen = Vec::new();
    let storages = [SkStorage, InodeStorage, TaskStorage, CgrpStorage];
    let storages = storages.map(|kind| storage(kind, 12, &[]));
    for Case { def, .. } in cases().into_iter().chain(storages) {
        if seen.contains(&def.map_type) {
            continue;
        }
        seen.push(def.map_type);
        // The kernel allocates what it takes: values of megabytes only for a few entries.
        let few = match def.map_type {
            Ringbuf | UserRingbuf => def.max_entries,
            _ => def.max_entries.min(2),
        };
        let def = MapDef { max_entries: few, ..def };
        // The flag bits of Linux 6.18, one by one; BPF_F_NUMA_NODE goes with node 0.
        for bit in 0..32 {
            compare(MapDef { flags: MapFlags(def.flags.0 ^ 1 << bit), ..def.clone() });
        }
        for both in [3 << 3, 3 << 7, 0x5a] {
            compare(MapDef { flags: MapFlags(def.flags.0 | both), ..def.clone() });
        }
        // Addresses of arenas with two pages, up to the last that fits below 4 GiB, and beyond.
        for extra in [1, 15, 16, u64::MAX, 4096, (1 << 32) - 8192, (1 << 32) - 4096, 1 << 44] {
            compare(MapDef { extra, ..def.clone() });
        }
        let big = [1 << 15, (1 << 15) + 1, 4194024, 4194025, 4194255, 4 << 20, (4 << 20) + 1];
        let huge = [1 << 31, u32::MAX];
        // The most frames of a stack, and the largest values that belong to something.
        let frames = [1008, 1016, 1024, 4064, 4096, 65399, 65400, 65407, 65408, 65535, 65536];
        let small = [0, 1, 3, 4, 5, 7, 8, 12, 16, 32, 64, 100, 260, 261, 511, 512, 513];
        for key_bytes in small.into_iter().chain(big).chain(huge) {
            compare(MapDef { key_bytes, ..def.clone() });
        }
        for value_bytes in small.into_iter().chain(frames).chain(big).chain(huge) {
            // An array would really allocate a value of almost 2 GiB; 2 GiB it refuses.
            compare(MapDef { value_bytes, ..def.clone() });
        }
        for key_bytes in [1, 8, (4 << 20) - 57, (4 << 20) - 56] {
            compare(MapDef { key_bytes, value_bytes: 8, max_entries: 1, ..def.clone() });
        }
        let mut entries = vec![0, 1, 2, 3, 4095, 4096, 8192, 12288];
        if def.map_type == MapType::Cpumap {
            // Between these lies NR_CPUS, which is the kernel's configuration.
            entries = vec![0, 1, 2, 3, 4, 8193, u32::MAX];
        }
        if def.map_type == MapType::DevmapHash {
            entries.extend([(1 << 31) + 1, u32::MAX]);
        }
        // What others refuse without allocating.
        match def.map_type {
            StackTrace => entries.extend([(1 << 31) + 1, u32::MAX]),
            Sockhash => entries.extend([(1 << 27) + 1, 1 << 31, u32::MAX]),
            Arena => entries.extend([1 << 20, (1 << 20) + 1, u32::MAX]),
            _ => {}
        }
        // What hash tables refuse without allocating.
        if matches!(def.map_type, MapType::Hash | MapType::PercpuHash | MapType::LruHash) {
            entries.extend([(1 << 27) + 1, 1 << 31, u32::MAX]);
        }
        for max_entries in entries {
            compare(MapDef { max_entries, ..def.clone() });
        }
        if def.key_type.is_some() {
            compare(MapDef { key_type: None, value_type: None, ..def.clone() });
            compare(MapDef { value_type: None, ..def.clone() });
        }
    }
    assert!(wrong.is_empty(), "{} of {compared}:\n{}", wrong.len(), wrong.join("\n"));
    eprintln!("{compared} definitions of {} kinds compared", seen.len());
    assert!(compared > 60 * seen.len());
}
