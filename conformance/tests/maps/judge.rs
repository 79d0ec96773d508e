//! Definitions and results in a form in which both sides can be compared.

use ebpfvm::map::MapError;
use ebpfvm_kernel::{MapError as KernelError, MapRequest};
use ebpfvm_spec::{Errno, MapDef};

pub(crate) fn request(def: &MapDef) -> MapRequest<'_> {
    MapRequest {
        flags: def.flags.0,
        extra: def.extra,
        ..MapRequest::new(def.map_type, def.key_bytes, def.value_bytes, def.max_entries)
    }
}

pub(crate) fn ours<T>(result: Result<T, MapError>) -> Result<T, Errno> {
    result.map_err(|e| e.errno())
}

pub(crate) fn theirs<T>(result: Result<T, KernelError>) -> Result<T, Errno> {
    result.map_err(|e| e.errno().unwrap_or_else(|| panic!("a wrong size: {e}")))
}

/// A value as the kernel's interface gives it, with none for an entry that is not there.
pub(crate) fn present(result: Result<Option<Vec<u8>>, Errno>) -> Result<Vec<u8>, Errno> {
    result.and_then(|value| value.ok_or(Errno::ENOENT))
}

/// The bytes of per-CPU values that fill them up to 8 are the kernel's to choose.
pub(crate) fn without_padding(
    def: &MapDef,
    value: Result<Vec<u8>, Errno>,
) -> Result<Vec<u8>, Errno> {
    let mut value = value?;
    if def.map_type.is_percpu() {
        let bytes = def.value_bytes as usize;
        value.chunks_mut(bytes.next_multiple_of(8)).for_each(|lane| lane[bytes..].fill(0));
    }
    Ok(value)
}
