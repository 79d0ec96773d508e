//! The context of a run: the cells that `r1` points to, and the packet or memory behind it.

mod around;
mod cgroup;
#[cfg(test)]
mod document;
mod error;
mod extent;
mod fields;
mod flow;
mod frame;
mod given;
mod hook;
mod layout;
mod make;
mod message;
pub(crate) mod socket;

pub use cgroup::SockoptResult;
pub use error::ContextError;
pub(crate) use extent::Room;
pub(crate) use layout::Layout;
pub use layout::{Data, data_of};
pub(crate) use message::Message;

use crate::packet::Packet;
use crate::shown::Shown;
use crate::skb::Skb;
use ebpfvm_spec::context::Pointee;
use ebpfvm_spec::{ContextDef, FieldKind, ProgType};
use layout::is_length;
use std::sync::Arc;

/// What is behind a context.
#[derive(Debug)]
enum Behind {
    /// Nothing: the context is all.
    Nothing,
    /// A packet, or other bytes between two pointers of the context, with the number of first bytes that the program does not see.
    Packet { packet: Packet, hidden: usize },
    /// A message, of which the program sees a part.
    Message(Message),
    /// Plain memory, which `r1` points to directly.
    Memory(Box<[u8]>),
}

/// What a program is run on.
///
/// Field values are in host order, as programs read them.
#[derive(Debug)]
pub struct Context {
    prog_type: ProgType,
    def: Option<Arc<ContextDef>>,
    /// The host's cells, `def.host_bytes()` long.
    cells: Box<[u64]>,
    kind: Data,
    /// How much of the program's view there is, in bytes.
    extent: u32,
    behind: Behind,
    /// Whether programs may write to the bytes behind the context.
    writes: bool,
    /// What pointers of the context show.
    shown: Vec<Shown>,
    /// What belongs to it though no field shows it.
    gifts: given::Gifts,
    sockets: socket::Sockets,
    /// The value of a socket option, of which programs see a page at most.
    original: Box<[u8]>,
    /// What helpers know of a socket buffer.
    pub(crate) skb: Skb,
}

impl Context {
    /// The program type that the context is for.
    pub fn prog_type(&self) -> ProgType {
        self.prog_type
    }

    /// The layout; none for plain memory.
    pub fn def(&self) -> Option<&ContextDef> {
        self.def.as_deref()
    }

    /// Whether the context has this layout, or both are plain memory.
    pub(crate) fn has_layout(&self, layout: Option<&Layout>) -> bool {
        match (&self.def, layout) {
            (None, None) => true,
            (Some(def), Some(layout)) => {
                let same = Arc::ptr_eq(def, &layout.def) || *def == layout.def;
                same && self.writes == layout.writes
            }
            _ => false,
        }
    }

    /// The packet, of one in pieces the first, with the header that the program may not see; none
    /// for plain memory.
    pub fn packet_data(&self) -> Option<&[u8]> {
        match &self.behind {
            Behind::Packet { packet, hidden } => Some(packet.data_after(*hidden)),
            Behind::Message(message) => Some(message.bytes()),
            Behind::Memory(_) | Behind::Nothing => None,
        }
    }

    /// How many first bytes of the packet the program does not see.
    pub(crate) fn hidden_bytes(&self) -> usize {
        match &self.behind {
            Behind::Packet { hidden, .. } => *hidden,
            Behind::Message(_) | Behind::Memory(_) | Behind::Nothing => 0,
        }
    }

    /// The packet as the program sees it.
    pub fn visible_packet(&self) -> Option<&Packet> {
        match &self.behind {
            Behind::Packet { packet, .. } => Some(packet),
            Behind::Message(_) | Behind::Memory(_) | Behind::Nothing => None,
        }
    }

    /// The data as the kernel's test-run gives it back (`bpf_test_finish`, Linux 6.18): of XDP the
    /// metadata before the packet and all pieces, of flow dissectors the keys, and zeros for a header
    /// that the program does not see. Plain memory as it is, and so the argument of a system call's
    /// program and the buffer of a writable tracepoint.
    pub fn data_out(&self) -> Vec<u8> {
        match &self.behind {
            _ if self.prog_type == ProgType::FlowDissector => {
                self.flow_keys().map(|keys| keys.bytes().to_vec()).unwrap_or_default()
            }
            Behind::Packet { packet, .. } if self.prog_type == ProgType::Xdp => packet.data_out(),
            Behind::Packet { packet, hidden } => [&vec![0; *hidden], packet.data()].concat(),
            Behind::Message(message) => message.bytes().to_vec(),
            Behind::Memory(memory) => memory.to_vec(),
            Behind::Nothing => self.written(),
        }
    }

    /// The plain memory; none for a packet.
    pub fn memory(&self) -> Option<&[u8]> {
        match &self.behind {
            Behind::Memory(memory) => Some(memory),
            Behind::Packet { .. } | Behind::Message(_) | Behind::Nothing => None,
        }
    }

    /// Puts other bytes of the same length into the plain memory, which stays where it is.
    pub(crate) fn set_memory(&mut self, bytes: &[u8]) {
        if let Behind::Memory(memory) = &mut self.behind {
            memory.copy_from_slice(bytes);
        }
    }

    /// Changes the packet and then the fields that depend on it.
    pub fn change_packet<R>(&mut self, change: impl FnOnce(&mut Packet) -> R) -> Option<R> {
        let Behind::Packet { packet, .. } = &mut self.behind else { return None };
        let result = change(packet);
        self.sync();
        Some(result)
    }

    /// Changes the message and then the fields that depend on it; none if there is no message.
    pub(crate) fn change_message<R>(
        &mut self,
        change: impl FnOnce(&mut Message) -> R,
    ) -> Option<R> {
        let Behind::Message(message) = &mut self.behind else { return None };
        let result = change(message);
        self.sync();
        Some(result)
    }

    /// Writes the addresses and the length of the packet into their fields.
    fn sync(&mut self) {
        let (meta, start, end, all) = match &mut self.behind {
            Behind::Packet { packet, .. } => {
                let (meta, start, end) = packet.addresses();
                (meta, start, end, end - start)
            }
            Behind::Message(message) => {
                let (start, end) = message.addresses();
                (start, start, end, message.bytes().len() as u64)
            }
            Behind::Memory(_) | Behind::Nothing => return,
        };
        // Where no packet is, programs find null.
        let absent = self.prog_type == ProgType::SockOps && start == end;
        let (start, end) = if absent { (0, 0) } else { (start, end) };
        let Some(def) = self.def.clone() else { return };
        for field in def.fields.iter() {
            let (bytes, value) = match field.kind {
                FieldKind::PacketStart => (8, start),
                FieldKind::PacketEnd => (8, end),
                FieldKind::PacketMeta => (8, meta),
                FieldKind::Scalar if is_length(self.prog_type, &field.name) => (4, all),
                FieldKind::Scalar | FieldKind::Pointer(_) | FieldKind::PointerOrNull(_) => {
                    continue;
                }
            };
            self.set_cell(fields::first(&def, field), bytes, value);
        }
    }

    /// Keeps what a pointer shows as long as the context; the pointer.
    pub(crate) fn show(&mut self, shown: Shown) -> u64 {
        let address = shown.address();
        self.shown.push(shown);
        address
    }

    /// What pointers of the context show.
    pub(crate) fn shown(&self) -> &[Shown] {
        &self.shown
    }

    /// What the pointer of this kind shows, if the context has one.
    pub(crate) fn shown_as(&self, pointee: Pointee) -> Option<&Shown> {
        self.shown.iter().rev().find(|shown| shown.pointee() == pointee)
    }

    /// The address that `r1` gets, and what `r2` gets.
    pub(crate) fn registers(&mut self) -> (u64, u64) {
        match &mut self.behind {
            Behind::Packet { .. } | Behind::Message(_) | Behind::Nothing => {
                (self.cells.as_mut_ptr() as u64, 0)
            }
            Behind::Memory(memory) if memory.is_empty() => (0, 0),
            Behind::Memory(memory) => (memory.as_mut_ptr() as u64, memory.len() as u64),
        }
    }

    /// The memory that the program may access directly: its address and length.
    pub(crate) fn window(&mut self) -> (u64, u64) {
        match &mut self.behind {
            Behind::Packet { packet, .. } => {
                let (meta, _, end) = packet.addresses();
                (meta, end - meta)
            }
            Behind::Message(message) => {
                let (start, end) = message.addresses();
                (start, end - start)
            }
            Behind::Memory(memory) => (memory.as_mut_ptr() as u64, memory.len() as u64),
            Behind::Nothing => (0, 0),
        }
    }

    /// Whether programs may write to the packet directly (`may_access_direct_pkt_data`, Linux 6.18).
    pub(crate) fn window_writable(&self) -> bool {
        self.writes
    }
}
