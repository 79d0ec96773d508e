//! The system calls, and the layouts that `bpf()` takes.
//!
//! All other modules build on the handful of functions here. What makes a call safe is that every
//! pointer in its attribute points at live memory of the length that the kernel will use; each
//! caller argues that for itself.

use ebpfvm_spec::Errno;

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
pub(crate) use linux::*;

#[cfg(not(target_os = "linux"))]
mod elsewhere;
#[cfg(not(target_os = "linux"))]
pub(crate) use elsewhere::*;

/// The commands of `enum bpf_cmd` that this crate uses.
#[derive(Clone, Copy, Debug)]
#[repr(u32)]
pub(crate) enum Command {
    MapCreate = 0,
    MapLookup = 1,
    MapUpdate = 2,
    MapDelete = 3,
    MapNextKey = 4,
    ProgLoad = 5,
    ProgTestRun = 10,
    ObjectInfo = 15,
    BtfLoad = 18,
    MapLookupAndDelete = 21,
    MapFreeze = 22,
    MapLookupBatch = 24,
    MapLookupAndDeleteBatch = 25,
    MapUpdateBatch = 26,
    MapDeleteBatch = 27,
}

/// A member of `union bpf_attr`.
///
/// # Safety
/// The type is `repr(C)`, has no padding and accepts every bit pattern, since the kernel reads and
/// writes all its bytes.
pub(crate) unsafe trait Attribute {}

macro_rules! attributes {
    ($($(#[$doc:meta])* $name:ident, $bytes:literal { $($field:ident: $type:ty,)* })*) => {$(
        $(#[$doc])*
        #[repr(C)]
        #[derive(Default)]
        pub(crate) struct $name { $(pub(crate) $field: $type,)* }

        // No padding: the fields fill the whole size.
        const _: () = assert!(
            size_of::<$name>() == $bytes && 0 $(+ size_of::<$type>())* == $bytes
        );

        // SAFETY: `repr(C)`, integers and arrays of them, without padding as asserted above.
        unsafe impl Attribute for $name {}
    )*};
}

attributes! {
    /// `BPF_MAP_CREATE`
    MapCreateAttr, 72 {
        map_type: u32,
        key_bytes: u32,
        value_bytes: u32,
        max_entries: u32,
        flags: u32,
        inner_map_fd: u32,
        numa_node: u32,
        name: [u8; 16],
        ifindex: u32,
        btf_fd: u32,
        btf_key_type_id: u32,
        btf_value_type_id: u32,
        btf_vmlinux_value_type_id: u32,
        extra: u64,
    }
    /// `BPF_MAP_*_ELEM`, `BPF_MAP_GET_NEXT_KEY`, `BPF_MAP_FREEZE`
    MapElementAttr, 32 {
        map_fd: u32,
        reserved: u32,
        key: u64,
        value_or_next_key: u64,
        flags: u64,
    }
    /// `BPF_MAP_*_BATCH`
    MapBatchAttr, 56 {
        in_batch: u64,
        out_batch: u64,
        keys: u64,
        values: u64,
        count: u32,
        map_fd: u32,
        element_flags: u64,
        flags: u64,
    }
    /// `BPF_PROG_LOAD`
    ProgLoadAttr, 144 {
        prog_type: u32,
        insn_count: u32,
        insns: u64,
        license: u64,
        log_level: u32,
        log_bytes: u32,
        log: u64,
        kernel_version: u32,
        flags: u32,
        name: [u8; 16],
        ifindex: u32,
        expected_attach_type: u32,
        btf_fd: u32,
        func_info_record_bytes: u32,
        func_info: u64,
        func_info_count: u32,
        line_info_record_bytes: u32,
        line_info: u64,
        line_info_count: u32,
        attach_btf_id: u32,
        attach_fd: u32,
        core_relo_count: u32,
        fd_array: u64,
        core_relos: u64,
        core_relo_record_bytes: u32,
        log_true_bytes: u32,
    }
    /// `BPF_PROG_TEST_RUN`
    TestRunAttr, 80 {
        prog_fd: u32,
        retval: u32,
        data_in_bytes: u32,
        data_out_bytes: u32,
        data_in: u64,
        data_out: u64,
        repeat: u32,
        duration_ns: u32,
        ctx_in_bytes: u32,
        ctx_out_bytes: u32,
        ctx_in: u64,
        ctx_out: u64,
        flags: u32,
        cpu: u32,
        batch_count: u32,
        reserved: u32,
    }
    /// `BPF_BTF_LOAD`
    BtfLoadAttr, 32 {
        btf: u64,
        log: u64,
        btf_bytes: u32,
        log_bytes: u32,
        log_level: u32,
        log_true_bytes: u32,
    }
    /// `BPF_OBJ_GET_INFO_BY_FD`
    ObjectInfoAttr, 16 {
        fd: u32,
        info_bytes: u32,
        info: u64,
    }
}

/// The address of a slice for an attribute; null for an empty one, as the kernel wants it.
pub(crate) fn address<T>(slice: &[T]) -> u64 {
    if slice.is_empty() { 0 } else { slice.as_ptr().addr() as u64 }
}

/// As [`address`], for memory that the kernel writes.
pub(crate) fn address_mut<T>(slice: &mut [T]) -> u64 {
    if slice.is_empty() { 0 } else { slice.as_mut_ptr().expose_provenance() as u64 }
}

/// A length for an attribute.
///
/// # Errors
/// `E2BIG` when it does not fit 32 bits.
pub(crate) fn length(length: usize) -> Result<u32, Errno> {
    u32::try_from(length).map_err(|_| Errno::E2BIG)
}
