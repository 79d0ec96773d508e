//! Definitions and results in a form in which both sides can be compared.

use crate::cases::Case;
use ebpfvm::map::MapError;
use ebpfvm_asm::ByteOrder;
use ebpfvm_kernel::{Kernel, Map, MapError as KernelError, MapRequest};
use ebpfvm_loader::encode_btf;
use ebpfvm_spec::btf::{Btf, TypeId};
use ebpfvm_spec::{Errno, MapDef};

pub(crate) fn request(def: &MapDef) -> MapRequest<'_> {
    MapRequest {
        flags: def.flags.0,
        extra: def.extra,
        ..MapRequest::new(def.map_type, def.key_bytes, def.value_bytes, def.max_entries)
    }
}

/// The kernel's map of a definition, with its types if it has any.
pub(crate) fn try_theirs(kernel: &Kernel, def: &MapDef, types: Option<&Btf>) -> Result<Map, Errno> {
    let types = types.map(|types| {
        let bytes = encode_btf(types, ByteOrder::HOST).unwrap();
        kernel.btf_load(&bytes, 1).unwrap_or_else(|e| panic!("{e}\n{}", e.log))
    });
    let id = |id: Option<TypeId>| id.map_or(0, |id| id.0);
    kernel.map_create(&MapRequest {
        btf: types.as_ref(),
        btf_key_type_id: id(def.key_type),
        btf_value_type_id: id(def.value_type),
        ..request(def)
    })
}

/// The kernel's map of a case.
pub(crate) fn create_theirs(kernel: &Kernel, case: &Case) -> Map {
    try_theirs(kernel, &case.def, case.types.as_ref()).unwrap()
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
