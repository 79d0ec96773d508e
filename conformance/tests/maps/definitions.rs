//! Definitions of maps that are taken or refused.

use crate::cases::{Case, cases};
use crate::judge::request;
use ebpfvm::map::{Map, MapLimits};
use ebpfvm_kernel::linux_6_18_or_skip;
use ebpfvm_spec::{MapDef, MapFlags, MapType};

/// Definitions around the edges of every rule. Sizes that the kernel would really allocate stay
/// small; where it may say ENOMEM, the machine's limit decides instead.
#[test]
fn the_same_definitions_are_refused() {
    let Some(kernel) = linux_6_18_or_skip("the_same_definitions_are_refused") else { return };
    let limits = MapLimits { map_bytes: 1 << 40, ..MapLimits::default() };
    let mut compared = 0;
    let mut compare = |def: MapDef| {
        let got = Map::bytes_needed(&def, kernel.possible_cpus(), &limits).map(drop);
        let expected = kernel.map_create(&request(&def)).map(drop);
        match &got {
            Err(e) => assert_eq!(Err(e.errno()), expected, "{e}"),
            Ok(()) => assert_eq!(Ok(()), expected, "{def:?}"),
        }
        compared += 1;
    };
    let mut seen = Vec::new();
    for Case { def, .. } in cases() {
        if seen.contains(&def.map_type) {
            continue;
        }
        seen.push(def.map_type);
        // The kernel allocates what it takes: values of megabytes only for a few entries.
        let few = if def.map_type == MapType::Ringbuf { def.max_entries } else { 2 };
        let def = MapDef { max_entries: few, ..def };
        // The flag bits of Linux 6.18, one by one; BPF_F_NUMA_NODE goes with node 0.
        for bit in 0..32 {
            compare(MapDef { flags: MapFlags(def.flags.0 ^ 1 << bit), ..def.clone() });
        }
        for both in [3 << 3, 3 << 7, 0x5a] {
            compare(MapDef { flags: MapFlags(def.flags.0 | both), ..def.clone() });
        }
        for extra in [1, 15, 16, u64::MAX] {
            compare(MapDef { extra, ..def.clone() });
        }
        let big = [1 << 15, (1 << 15) + 1, 4194024, 4194025, 4194255, 4 << 20, (4 << 20) + 1];
        let huge = [1 << 31, u32::MAX];
        let small = [0, 1, 3, 4, 5, 7, 8, 12, 16, 260, 261];
        for key_bytes in small.into_iter().chain(big).chain(huge) {
            compare(MapDef { key_bytes, ..def.clone() });
        }
        for value_bytes in small.into_iter().chain(big).chain(huge) {
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
        // What hash tables refuse without allocating.
        if matches!(def.map_type, MapType::Hash | MapType::PercpuHash | MapType::LruHash) {
            entries.extend([(1 << 27) + 1, 1 << 31, u32::MAX]);
        }
        for max_entries in entries {
            compare(MapDef { max_entries, ..def.clone() });
        }
    }
    eprintln!("{compared} definitions of {} kinds compared", seen.len());
    assert!(compared > 60 * seen.len());
}
