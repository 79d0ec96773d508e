//! The kernel's own structs of maps, as far as programs that may see kernel memory read them: each
//! begins with `struct bpf_map`.

use crate::map::MapType;

/// The name of the kernel's struct of a kind of map (`map_btf_id` of `struct bpf_map_ops`).
pub const fn kernel_map_struct(kind: MapType) -> &'static str {
    match kind {
        MapType::Hash
        | MapType::PercpuHash
        | MapType::LruHash
        | MapType::LruPercpuHash
        | MapType::HashOfMaps => "bpf_htab",
        MapType::StackTrace => "bpf_stack_map",
        MapType::LpmTrie => "lpm_trie",
        MapType::Devmap | MapType::DevmapHash => "bpf_dtab",
        MapType::Sockmap => "bpf_stab",
        MapType::Sockhash => "bpf_shtab",
        MapType::Cpumap => "bpf_cpu_map",
        MapType::Xskmap => "xsk_map",
        MapType::CgroupStorage | MapType::PercpuCgroupStorage => "bpf_cgroup_storage_map",
        MapType::ReuseportSockarray => "reuseport_array",
        MapType::Queue | MapType::Stack => "bpf_queue_stack",
        MapType::SkStorage
        | MapType::InodeStorage
        | MapType::TaskStorage
        | MapType::CgrpStorage => "bpf_local_storage_map",
        MapType::StructOps => "bpf_struct_ops_map",
        MapType::Ringbuf | MapType::UserRingbuf => "bpf_ringbuf_map",
        MapType::BloomFilter => "bpf_bloom_filter",
        MapType::Arena => "bpf_arena",
        _ => "bpf_array",
    }
}

/// Numbers among the fields of `struct bpf_map` of Linux 6.18 on 64-bit machines: offset and size in
/// bytes. Pointers, locks and counters are not among them, nor are the flags after them.
const NUMBERS: [(u32, u32); 15] = [
    (0, 32),   // sha
    (32, 4),   // excl
    (64, 4),   // map_type
    (68, 4),   // key_size
    (72, 4),   // value_size
    (76, 4),   // max_entries
    (80, 8),   // map_extra
    (88, 4),   // map_flags
    (92, 4),   // id
    (104, 4),  // numa_node
    (108, 4),  // btf_key_type_id
    (112, 4),  // btf_value_type_id
    (116, 4),  // btf_vmlinux_value_type_id
    (136, 16), // name
    (280, 8),  // cookie
];

/// Whether a load of so many bytes at `offset` of the kernel's struct of a map lies in one number
/// (`btf_struct_walk`).
pub fn shows_number(offset: u32, bytes: u32) -> bool {
    let end = u64::from(offset) + u64::from(bytes);
    NUMBERS.iter().any(|(start, size)| offset >= *start && end <= u64::from(start + size))
}
