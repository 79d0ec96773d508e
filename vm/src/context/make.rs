//! Contexts are made, of bytes, as the kernel's test-run makes them, and made anew.

use super::layout::linux_type;
use super::{
    Behind, Context, ContextError, Data, Layout, Message, cgroup, data_of, extent, fields, frame,
    given, socket,
};
use crate::packet::{MIN_BYTES, Packet, XDP_HEADROOM_BYTES};
use crate::shown::Shown;
use crate::skb::Skb;
use ebpfvm_spec::{ContextDef, FieldKind, ProgType};
use std::sync::Arc;

/// The smallest IP header.
const IPV4_BYTES: usize = 20;

/// Checks the number of bytes that a context is made of.
fn expect_bytes(
    kind: Data,
    prog_type: ProgType,
    def: &ContextDef,
    data: &[u8],
) -> Result<(), ContextError> {
    /// A tracepoint's buffer is smaller than a page by far; nobody needs more.
    const MAX_BUFFER_BYTES: u32 = 1 << 20;
    let expected = match kind {
        Data::None if data.is_empty() => return Ok(()),
        Data::None => "no bytes, only fields".to_string(),
        _ => {
            let max = match kind {
                Data::Buffer => MAX_BUFFER_BYTES,
                _ => extent::max_bytes(prog_type, def),
            };
            if data.len() <= max as usize {
                return Ok(());
            }
            format!("at most {max} bytes")
        }
    };
    Err(ContextError::Size { prog_type: prog_type.name(), expected, got: data.len() })
}

/// The part of the bytes that programs of the type see.
fn shown(prog_type: ProgType, data: &[u8]) -> &[u8] {
    match prog_type {
        ProgType::CgroupSockopt => &data[..data.len().min(cgroup::OPTVAL_MAX_BYTES)],
        _ => data,
    }
}

impl Context {
    /// Plain memory: `r1` is its address, `r2` its length. Without memory both are 0.
    pub fn raw(memory: impl Into<Box<[u8]>>) -> Context {
        Context {
            prog_type: ProgType::Raw,
            def: None,
            cells: Box::default(),
            kind: Data::None,
            extent: 0,
            behind: Behind::Memory(memory.into()),
            writes: true,
            shown: Vec::new(),
            gifts: given::Gifts::default(),
            sockets: socket::Sockets::default(),
            original: Box::default(),
            skb: Skb::default(),
        }
    }

    /// Whether contexts of this program type can be made of a packet.
    pub fn takes_packet(prog_type: ProgType) -> bool {
        matches!(data_of(prog_type), Some(Data::Xdp | Data::Skb | Data::Stream | Data::Network))
    }

    /// The context of a packet program of Linux, as the kernel's test-run makes it.
    ///
    /// # Errors
    /// [`ContextError`] if the type takes no packet or the bytes cannot be one.
    pub fn packet(prog_type: ProgType, data: &[u8]) -> Result<Context, ContextError> {
        match Context::takes_packet(prog_type) {
            true => Context::linux(prog_type, data),
            false => Err(ContextError::NoContext(prog_type.name())),
        }
    }

    /// The context of an XDP program, of bytes that begin with `meta` bytes of metadata. The first
    /// piece of the packet, which is all that the program sees directly, has `first` bytes, or as
    /// many as fit in a page.
    ///
    /// # Errors
    /// [`ContextError`] if the bytes cannot be such a packet.
    pub fn xdp(bytes: &[u8], meta: usize, first: Option<usize>) -> Result<Context, ContextError> {
        let packet = Packet::xdp_shaped(bytes, meta, first)?;
        // Any packet, to be replaced.
        let mut context = Context::linux(ProgType::Xdp, &[0; MIN_BYTES])?;
        context.behind = Behind::Packet { packet, hidden: 0 };
        context.sync();
        Ok(context)
    }

    /// The context of a program of Linux. The bytes are the packet, the message, the value, the
    /// record, as the type has it; a type that has none takes an empty slice. Fields that are not
    /// set afterwards are as the kernel's test-run makes them, or zero.
    ///
    /// # Errors
    /// [`ContextError`] if the type cannot be run here or the bytes are not what it takes.
    pub fn linux(prog_type: ProgType, data: &[u8]) -> Result<Context, ContextError> {
        match (data_of(prog_type), linux_type(prog_type)) {
            (Some(kind), Some(linux)) => Context::new(kind, linux, data),
            _ => Err(ContextError::NoContext(prog_type.name())),
        }
    }

    /// The context of a program type whose layout is the embedder's ([`crate::Vm::context`]). The
    /// bytes are what its pointers `PacketStart` and `PacketEnd` show, if it has them; of a layout
    /// that is not translated, the context itself.
    ///
    /// # Errors
    /// [`ContextError`] if the bytes are not what the layout takes.
    pub(crate) fn own(layout: &Layout, data: &[u8]) -> Result<Context, ContextError> {
        let has_window = layout.def.fields.iter().any(|f| f.kind == FieldKind::PacketStart);
        // Of another machine's registers the bytes are as they are of Linux's own.
        let is_registers = data_of(layout.prog_type) == Some(Data::Context);
        let kind = match has_window {
            true => Data::Window,
            false if layout.def.translated && !is_registers => Data::None,
            false => Data::Context,
        };
        Context::new(kind, layout, data)
    }

    fn new(kind: Data, layout: &Layout, data: &[u8]) -> Result<Context, ContextError> {
        let Layout { prog_type, def, writes } = layout.clone();
        let packet = |packet| Behind::Packet { packet, hidden: 0 };
        let behind = match kind {
            Data::Xdp => packet(Packet::xdp(data)?),
            Data::Skb => packet(Packet::skb(data)?),
            Data::Network if data.len() < IPV4_BYTES => {
                let expected = format!("a packet of at least {IPV4_BYTES} bytes, its IP header");
                let prog_type = prog_type.name();
                return Err(ContextError::Size { prog_type, expected, got: data.len() });
            }
            Data::Stream | Data::Window | Data::Network => {
                packet(Packet::window(shown(prog_type, data))?)
            }
            Data::Message => Behind::Message(Message::new(Packet::window(data)?.data())),
            _ => {
                expect_bytes(kind, prog_type, &def, data)?;
                Behind::Nothing
            }
        };
        let cells = vec![0; def.host_bytes().div_ceil(8) as usize].into_boxed_slice();
        let mut context = Context {
            prog_type,
            def: Some(def),
            cells,
            kind,
            extent: 0,
            behind,
            writes,
            shown: Vec::new(),
            gifts: given::Gifts::default(),
            sockets: socket::Sockets::default(),
            original: Box::default(),
            skb: Skb::default(),
        };
        context.init(data);
        context.point()?;
        match kind {
            Data::Skb => context.set_socket_of_test_run()?,
            Data::Buffer => context.set_buffer(data)?,
            _ => {}
        }
        Ok(context)
    }

    /// Makes the context as new, with other data; a packet, of the same or a smaller size.
    ///
    /// # Errors
    /// [`ContextError`] if the bytes are not what the context takes or do not fit the buffer.
    pub fn refill(&mut self, data: &[u8]) -> Result<(), ContextError> {
        match &mut self.behind {
            Behind::Packet { packet, hidden } => {
                let min = match self.kind {
                    Data::Xdp | Data::Skb => MIN_BYTES,
                    Data::Network => IPV4_BYTES,
                    _ => 0,
                };
                let part = shown(self.prog_type, data);
                packet.refill(part, min, XDP_HEADROOM_BYTES)?;
                *hidden = 0;
                self.clear();
                self.init(data);
            }
            Behind::Message(message) => {
                *message = Message::new(Packet::window(data)?.data());
                self.clear();
                self.init(data);
            }
            Behind::Memory(memory) => *memory = data.into(),
            Behind::Nothing => {
                let Some(def) = self.def.clone() else { return Ok(()) };
                expect_bytes(self.kind, self.prog_type, &def, data)?;
                self.clear();
                self.init(data);
                if self.kind == Data::Buffer {
                    self.set_buffer(data)?;
                }
            }
        }
        Ok(())
    }

    /// Sets the fields as the kernel's test-run does (`net/bpf/test_run.c`, Linux 6.18): the
    /// loopback device, number 1, has received the packet.
    fn init(&mut self, data: &[u8]) {
        const LOOPBACK_IFINDEX: u64 = 1;
        self.measure(self.kind, data.len());
        match self.kind {
            Data::Xdp => self.put("ingress_ifindex", LOOPBACK_IFINDEX),
            Data::Skb => {
                // Only classifiers and flow dissectors see the Ethernet header.
                let sees_mac = matches!(
                    self.prog_type,
                    ProgType::SchedCls | ProgType::SchedAct | ProgType::FlowDissector
                );
                if !sees_mac {
                    self.hide(MIN_BYTES);
                }
                self.skb = Skb::new(if sees_mac { MIN_BYTES } else { 0 });
                self.put("ifindex", LOOPBACK_IFINDEX);
                self.put("pkt_type", frame::packet_type(&data[..6]));
                self.put("protocol", u64::from(u16::from_ne_bytes(frame::protocol(data))));
                let hidden = if sees_mac { 0 } else { MIN_BYTES };
                self.put("wire_len", (data.len() - hidden) as u64);
            }
            Data::Context | Data::Record => self.fill(data),
            Data::Window if self.prog_type == ProgType::SockOps => {
                // Of the TCP header.
                let flags = data.get(13).copied().unwrap_or(0);
                self.put("skb_tcp_flags", flags.into());
            }
            Data::Window if self.prog_type == ProgType::CgroupSockopt => {
                self.original = data.into();
                self.put("optlen", data.len() as u64);
            }
            Data::Stream
            | Data::Message
            | Data::Window
            | Data::Network
            | Data::Buffer
            | Data::None => {}
        }
        self.sync();
    }

    /// Puts something behind the pointers that programs need not compare with null.
    fn point(&mut self) -> Result<(), ContextError> {
        let Some(def) = self.def.clone() else { return Ok(()) };
        for field in def.fields.iter() {
            let FieldKind::Pointer(pointee) = field.kind else { continue };
            let shown = match Shown::socket(pointee, Arc::default()) {
                Some(shown) => shown,
                None => Shown::zeroed(pointee),
            };
            let address = self.show(shown.map_err(|_| ContextError::OutOfMemory)?);
            self.set_cell(fields::first(&def, field), 8, address);
        }
        Ok(())
    }

    /// Makes all cells zero but those that point to something.
    fn clear(&mut self) {
        let Some(def) = self.def.clone() else { return };
        let is_pointer = |kind| matches!(kind, FieldKind::Pointer(_) | FieldKind::PointerOrNull(_));
        let pointers = def.fields.iter().filter(|field| is_pointer(field.kind));
        let kept: Vec<(u32, u64)> = pointers
            .map(|field| fields::first(&def, field))
            .map(|place| (place, self.get_cell(place, 8)))
            .collect();
        self.cells.fill(0);
        self.gifts.clear();
        self.forget_selected();
        kept.into_iter().for_each(|(place, address)| self.set_cell(place, 8, address));
    }

    fn hide(&mut self, bytes: usize) {
        if let Behind::Packet { packet, hidden } = &mut self.behind
            && packet.shift_start(bytes as i32)
        {
            *hidden = bytes;
        }
    }
}
