//! How much there is of a context that is as long as what it is made of: a record, arguments, the
//! buffer of a tracepoint.
//!
//! Linux tells at attachment, or at a test-run, whether a program reaches farther than there is
//! (`max_ctx_offset` and `max_tp_access` of `struct bpf_prog_aux`); here a run tells ([`Room`]).

use super::{Context, ContextError, Data};
use crate::map::memory::load_word;
use crate::shown::Shown;
use ebpfvm_spec::context::Pointee;
use ebpfvm_spec::{ContextDef, FieldKind, ProgType};

/// How much there is for a program, or how much it needs to run without checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct Room {
    /// Plain memory, in bytes.
    pub(crate) memory_bytes: u64,
    /// Whether that is exactly what is needed.
    pub(crate) memory_is_exact: bool,
    /// Of the context, in bytes of the program's view.
    pub(crate) context_bytes: u32,
    /// Of the buffer of a writable tracepoint, in bytes.
    pub(crate) buffer_bytes: u32,
}

impl Room {
    /// Whether there is as much of everything.
    #[inline]
    pub(crate) fn holds(&self, needed: &Room) -> bool {
        self.memory_bytes >= needed.memory_bytes
            && (!needed.memory_is_exact || self.memory_bytes == needed.memory_bytes)
            && self.context_bytes >= needed.context_bytes
            && self.buffer_bytes >= needed.buffer_bytes
    }
}

/// The longest argument of a system call's program is one byte shorter than its layout: the kernel
/// counts it in 16 bits.
pub(super) fn max_bytes(prog_type: ProgType, def: &ContextDef) -> u32 {
    match prog_type {
        ProgType::Syscall => def.bytes.min(u16::MAX.into()),
        _ => def.bytes,
    }
}

impl Context {
    /// What there is for a run.
    #[inline]
    pub(crate) fn room(&self) -> Room {
        let Some(_) = &self.def else {
            let memory_bytes = self.memory().map_or(0, |memory| memory.len() as u64);
            return Room { memory_bytes, ..Room::default() };
        };
        let buffer_bytes = match self.kind {
            Data::Buffer => self.shown_as(Pointee::TpBuffer).map_or(0, |shown| shown.len() as u32),
            _ => 0,
        };
        Room { memory_bytes: u64::MAX, context_bytes: self.extent, buffer_bytes, ..Room::default() }
    }

    /// Copies bytes in the program's view into the numbers of the context. Pointers are the machine's.
    pub(super) fn fill(&mut self, data: &[u8]) {
        const CELL_BYTES: u32 = 8;
        let Some(def) = self.def.clone() else { return };
        for field in def.fields.iter().filter(|field| field.kind == FieldKind::Scalar) {
            let unit = field.unit.clamp(1, CELL_BYTES);
            for offset in (field.offset..field.offset + field.bytes).step_by(unit as usize) {
                let Some(rest) = data.get(offset as usize..) else { break };
                let bytes = &rest[..rest.len().min(unit as usize)];
                self.set_cell(def.host_offset(field.offset, offset), unit, load_word(bytes));
            }
        }
    }

    /// How much there is of a context made of so many bytes.
    pub(super) fn measure(&mut self, kind: Data, bytes: usize) {
        let Some(def) = &self.def else { return };
        self.extent = match kind {
            Data::Record => bytes as u32,
            // The pointer.
            Data::Buffer => def.fields.first().map_or(0, |field| field.bytes),
            _ => def.bytes,
        };
    }

    /// Makes a context longer so that a field that is set is in it.
    pub(super) fn reach(&mut self, end: u32) {
        if let (Data::Record | Data::Buffer, Some(def)) = (self.kind, &self.def) {
            self.extent = self.extent.max(end.min(max_bytes(self.prog_type, def)));
        }
    }

    /// Puts a buffer behind the pointer of a writable tracepoint.
    pub(super) fn set_buffer(&mut self, data: &[u8]) -> Result<(), ContextError> {
        let buffer = Shown::bytes(Pointee::TpBuffer, data);
        let buffer = buffer.map_err(|_| ContextError::OutOfMemory)?;
        self.shown.retain(|shown| shown.pointee() != Pointee::TpBuffer);
        let address = self.show(buffer);
        let Some(def) = self.def.clone() else { return Ok(()) };
        let kind = FieldKind::Pointer(Pointee::TpBuffer);
        for field in def.fields.iter().filter(|field| field.kind == kind) {
            self.set_cell(super::fields::first(&def, field), 8, address);
        }
        Ok(())
    }

    /// What programs can write that is neither packet nor field: the argument of a system call's
    /// program, the buffer of a writable tracepoint.
    pub(super) fn written(&self) -> Vec<u8> {
        let may_write = |def: &ContextDef| {
            def.fields.iter().any(|field| field.write.prog_types.contains(self.prog_type))
        };
        match (self.kind, &self.def) {
            (Data::Buffer, _) => {
                self.shown_as(Pointee::TpBuffer).map(Shown::content).unwrap_or_default()
            }
            (Data::Record, Some(def)) if may_write(def) => {
                let bytes = self.cells.iter().flat_map(|cell| cell.to_ne_bytes());
                bytes.take(self.extent as usize).collect()
            }
            _ => Vec::new(),
        }
    }
}
