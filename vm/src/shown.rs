//! What programs see through pointers that contexts and helpers give them and that are neither
//! packets nor values of maps: sockets, flow keys, buffers of tracepoints.
//!
//! Each is a copy in the layout that programs see, made for one run or one context, so that no
//! other thread writes what a program reads. It stays where it is until the run ends.

use crate::fields::Fields;
use crate::map::memory::{Memory, OutOfMemory, words_for};
use crate::socket::{Socket, layout};
use ebpfvm_spec::context::Pointee;
use std::sync::Arc;

/// Memory that a pointer shows.
pub(crate) struct Shown {
    pointee: Pointee,
    memory: Memory,
    bytes: usize,
    socket: Option<Arc<Socket>>,
}

impl Shown {
    /// These bytes, which a pointer to `pointee` shows.
    pub(crate) fn bytes(pointee: Pointee, bytes: &[u8]) -> Result<Shown, OutOfMemory> {
        let memory = Memory::zeroed(words_for(bytes.len()))?;
        memory.write(0, bytes);
        Ok(Shown { pointee, memory, bytes: bytes.len(), socket: None })
    }

    /// Zeros, as long as what a pointer of this kind shows.
    pub(crate) fn zeroed(pointee: Pointee) -> Result<Shown, OutOfMemory> {
        Shown::bytes(pointee, Fields::zeroed(layout(pointee)).bytes())
    }

    /// What a pointer of this kind shows of a socket; none if it is no such socket.
    pub(crate) fn socket(
        pointee: Pointee,
        socket: Arc<Socket>,
    ) -> Option<Result<Shown, OutOfMemory>> {
        let image = socket.image(pointee)?;
        let shown = Shown::bytes(pointee, &image);
        Some(shown.map(|shown| Shown { socket: Some(socket), ..shown }))
    }

    /// What the pointer points to.
    pub(crate) fn pointee(&self) -> Pointee {
        self.pointee
    }

    /// The pointer.
    pub(crate) fn address(&self) -> u64 {
        self.memory.address() as u64
    }

    /// The size in bytes.
    pub(crate) fn len(&self) -> usize {
        self.bytes
    }

    /// Whether programs may write there.
    pub(crate) fn is_writable(&self) -> bool {
        matches!(self.pointee, Pointee::FlowKeys | Pointee::TpBuffer)
    }

    /// Puts bytes at its start, at most as many as there are.
    ///
    /// # Panics
    /// If there are more.
    pub(crate) fn write(&self, bytes: &[u8]) {
        assert!(bytes.len() <= self.bytes);
        self.memory.write(0, bytes);
    }

    /// The bytes as they are now.
    pub(crate) fn content(&self) -> Vec<u8> {
        let mut out = vec![0; self.bytes];
        self.memory.read(0, &mut out);
        out
    }

    /// Shows this socket as it is now, if it is the one. A socket that is no longer of the kind
    /// that the pointer shows stays as it was.
    pub(crate) fn refresh(&self, socket: &Arc<Socket>) {
        let is_this = self.socket.as_ref().is_some_and(|shown| Arc::ptr_eq(shown, socket));
        if let Some(image) = is_this.then(|| socket.image(self.pointee)).flatten() {
            self.memory.write(0, &image);
        }
    }

    /// The socket, if it is one.
    pub(crate) fn as_socket(&self) -> Option<&Arc<Socket>> {
        self.socket.as_ref()
    }
}

impl std::fmt::Debug for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shown").field("pointee", &self.pointee).finish_non_exhaustive()
    }
}
