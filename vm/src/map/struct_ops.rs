//! Tables of functions for the kernel, as data (`kernel/bpf/bpf_struct_ops.c`).
//!
//! Nothing is registered anywhere: the host writes and reads the one value, with the states that the
//! kernel's has. What its members are, and that those that are functions hold programs, only BTF
//! tells; the bytes behind the state are taken as they are. An object's table is in the map's definition:
//! as in the kernel it becomes the value when somebody writes it, which registers it.

use super::array::index_of;
use super::kind::Shape;
use super::memory::OutOfMemory;
use super::{MapOps, UpdateFlags};
use ebpfvm_spec::{Errno, MapFlags};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What a value begins with: how often it is used and its state, 4 bytes each.
pub(super) const HEADER_BYTES: u32 = 8;

/// The size of the value that has a table of so many bytes: the table lies behind the header in cache
/// lines of its own (`struct bpf_struct_ops_value`). `None` if no number holds it.
pub(crate) fn value_bytes(table_bytes: usize) -> Option<u32> {
    const LINE_BYTES: u32 = 64;
    let table = u32::try_from(table_bytes).ok()?.checked_next_multiple_of(LINE_BYTES)?;
    table.checked_add(LINE_BYTES)
}

/// `enum bpf_struct_ops_state`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StructOpsState {
    /// Nothing was written yet.
    Init = 0,
    /// Written and registered.
    InUse = 1,
    /// Removed; the kernel frees it once nobody uses it.
    ToBeFree = 2,
    /// Written, to be registered through a link (`BPF_F_LINK`).
    Ready = 3,
}

/// A `struct_ops` map.
pub struct StructOps {
    /// Registered through a link, not by writing.
    by_link: bool,
    inner: Mutex<(StructOpsState, Vec<u8>)>,
}

impl StructOps {
    pub(super) fn needed(shape: &Shape<'_>) -> Option<u64> {
        Some(shape.def.value_bytes.into())
    }

    pub(super) fn build(shape: &Shape<'_>) -> Result<Box<dyn MapOps>, OutOfMemory> {
        let mut value = Vec::new();
        value.try_reserve_exact(shape.def.value_bytes as usize).map_err(|_| OutOfMemory)?;
        value.resize(shape.def.value_bytes as usize, 0);
        let by_link = shape.def.flags.has(MapFlags::LINK);
        Ok(Box::new(StructOps { by_link, inner: Mutex::new((StructOpsState::Init, value)) }))
    }

    /// Where the value is in its life.
    pub fn state(&self) -> StructOpsState {
        self.lock().0
    }

    fn lock(&self) -> MutexGuard<'_, (StructOpsState, Vec<u8>)> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Programs cannot use this kind.
impl MapOps for StructOps {
    fn delete(&self, _key: &[u8]) -> Result<(), Errno> {
        if self.by_link {
            return Err(Errno::EOPNOTSUPP);
        }
        let mut inner = self.lock();
        match inner.0 {
            StructOpsState::InUse => {
                inner.0 = StructOpsState::ToBeFree;
                Ok(())
            }
            StructOpsState::ToBeFree => Err(Errno::EINPROGRESS),
            StructOpsState::Init | StructOpsState::Ready => Err(Errno::ENOENT),
        }
    }

    fn next_key(&self, key: Option<&[u8]>) -> Result<Vec<u8>, Errno> {
        match key.and_then(index_of) {
            Some(0) => Err(Errno::ENOENT),
            _ => Ok(vec![0; 4]),
        }
    }

    fn keys(&self) -> Box<dyn Iterator<Item = Vec<u8>> + '_> {
        Box::new(std::iter::once(vec![0; 4]))
    }

    fn read(&self, key: &[u8]) -> Result<Vec<u8>, Errno> {
        if index_of(key) != Some(0) {
            return Err(Errno::ENOENT);
        }
        let inner = self.lock();
        let mut value = inner.1.clone();
        // Nobody but the map uses it here.
        let header = [0, inner.0 as u32].map(u32::to_ne_bytes);
        value[..HEADER_BYTES as usize].copy_from_slice(header.as_flattened());
        Ok(value)
    }

    fn write(&self, key: &[u8], value: &[u8], flags: UpdateFlags) -> Result<(), Errno> {
        if flags != UpdateFlags::ANY {
            return Err(Errno::EINVAL);
        }
        if index_of(key) != Some(0) {
            return Err(Errno::E2BIG);
        }
        if value[..HEADER_BYTES as usize].iter().any(|byte| *byte != 0) {
            return Err(Errno::EINVAL);
        }
        let mut inner = self.lock();
        if inner.0 != StructOpsState::Init {
            return Err(Errno::EBUSY);
        }
        inner.1.copy_from_slice(value);
        inner.0 = if self.by_link { StructOpsState::Ready } else { StructOpsState::InUse };
        Ok(())
    }
}
