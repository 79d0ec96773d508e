//! Maps of an object on the running kernel.

use ebpfvm_kernel::{Btf, Kernel, Map, MapError, MapRequest};
use ebpfvm_spec::map::MapOrigin;
use ebpfvm_spec::{Errno, MapDef, MapFlags, MapType};

/// Makes a map as libbpf does, with its types where the kernel looks into values.
pub(super) fn create(kernel: &Kernel, def: &MapDef, btf: Option<&Btf>) -> Result<Map, Errno> {
    let inner = def.inner.as_deref().map(|inner| create(kernel, inner, btf)).transpose()?;
    let mut request = MapRequest {
        flags: def.flags.0,
        name: &def.name,
        inner_map: inner.as_ref(),
        numa_node: def.numa_node,
        extra: def.extra,
        ..MapRequest::new(def.map_type, def.key_bytes, def.value_bytes, capacity(kernel, def))
    };
    if let (true, Some(value)) = (takes_types(def.map_type), def.value_type) {
        let key = def.key_type.map_or(0, |key| key.0);
        (request.btf, request.btf_key_type_id, request.btf_value_type_id) = (btf, key, value.0);
    }
    // What the kernel cannot read of the types it need not look after.
    kernel.map_create(&request).or_else(|_| {
        kernel.map_create(&MapRequest {
            btf: None,
            btf_key_type_id: 0,
            btf_value_type_id: 0,
            ..request
        })
    })
}

/// Entries as libbpf asks for them: a buffer for each CPU, whole pages in powers of two.
fn capacity(kernel: &Kernel, def: &MapDef) -> u32 {
    const PAGE_BYTES: u32 = 4096;
    match def.map_type {
        MapType::PerfEventArray if def.max_entries == 0 => kernel.possible_cpus(),
        MapType::Ringbuf | MapType::UserRingbuf => {
            def.max_entries.max(PAGE_BYTES).checked_next_power_of_two().unwrap_or(def.max_entries)
        }
        _ => def.max_entries,
    }
}

/// Whether values may have fields that the kernel looks after (`map_check_btf`).
fn takes_types(map_type: MapType) -> bool {
    use MapType::*;
    matches!(
        map_type,
        Hash | Array
            | LruHash
            | PercpuHash
            | PercpuArray
            | LruPercpuHash
            | SkStorage
            | InodeStorage
            | TaskStorage
            | CgrpStorage
    )
}

/// Gives the map of a data section its content, read-only where programs may not write.
pub(super) fn fill_section(map: &Map, def: &MapDef) -> Result<(), MapError> {
    if let MapOrigin::Section { data, .. } = &def.origin {
        map.update(&[0; 4], data, 0)?;
        if def.flags.has(MapFlags::RDONLY_PROG) {
            map.freeze()?;
        }
    }
    Ok(())
}

/// A map that programs are to be judged with: made and filled with what verdicts depend on.
pub(crate) fn create_map(kernel: &Kernel, def: &MapDef, btf: Option<&Btf>) -> Result<Map, String> {
    let map = create(kernel, def, btf).map_err(|errno| errno.to_string())?;
    fill_section(&map, def).map_err(|e| e.to_string())?;
    Ok(map)
}
