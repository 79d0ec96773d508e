//! The context of a run: the cells that `r1` points to, and the packet or memory behind it.

mod cgroup;
#[cfg(test)]
mod document;
mod extent;
mod fields;
mod flow;
mod frame;
mod given;
mod hook;
mod message;
pub(crate) mod socket;

pub use cgroup::SockoptResult;
pub(crate) use extent::Room;

use crate::packet::{Packet, PacketError};
use crate::segments::SegmentHeader;
use crate::shown::Shown;
use crate::skb::Skb;
use crate::tunnel::Tunnel;
use ebpfvm_spec::context::Pointee;
use ebpfvm_spec::platform::PacketAccess;
use ebpfvm_spec::{AttachType, ContextDef, FieldKind, Platform, ProgType};
pub(crate) use message::Message;
use std::sync::{Arc, OnceLock};

/// Why a context cannot be made or changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ContextError {
    /// The bytes cannot be a packet.
    #[error(transparent)]
    Packet(#[from] PacketError),
    /// The program type cannot be run here.
    #[error("programs of type {0} cannot be run: {why}", why = why_not(.0))]
    NoContext(&'static str),
    /// The context has no such field.
    #[error("{context} has no field {field}; its fields are {known}")]
    NoField {
        /// Name of the context struct.
        context: String,
        /// The name that was asked for.
        field: String,
        /// All that there are.
        known: String,
    },
    /// The field holds an address that the machine sets.
    #[error("{context}.{field} is set by the machine")]
    FieldFixed {
        /// Name of the context struct.
        context: String,
        /// Name of the field.
        field: String,
    },
    /// The value does not fit the field.
    #[error("{context}.{field} takes {bytes} bytes; {value} does not fit")]
    FieldRange {
        /// Name of the context struct.
        context: String,
        /// Name of the field.
        field: String,
        /// Size of the field in bytes.
        bytes: u32,
        /// The value.
        value: u64,
    },
    /// The field is no pointer to a socket, or the socket is not of its kind.
    #[error("{context}.{field} takes {expected}")]
    NoSocket {
        /// Name of the context struct.
        context: String,
        /// Name of the field.
        field: String,
        /// What it takes.
        expected: &'static str,
    },
    /// Nothing of this name can be given with the context.
    #[error("{context} is given no {name}; it is given {known}")]
    NoBytes {
        /// Name of the context struct.
        context: String,
        /// The name that was asked for.
        name: String,
        /// All that there are.
        known: String,
    },
    /// Too few or too many bytes for what is given with the context.
    #[error(
        "{context} takes {min} to {max} bytes as {name}, a multiple of {unit}; {got} were given"
    )]
    BytesRange {
        /// Name of the context struct.
        context: String,
        /// The name.
        name: String,
        /// The fewest bytes.
        min: usize,
        /// The most bytes.
        max: usize,
        /// What their number is a multiple of.
        unit: usize,
        /// How many there are.
        got: usize,
    },
    /// The value contradicts what the field means.
    #[error("{context}.{field} cannot be {value}: {why}")]
    Contradiction {
        /// Name of the context struct.
        context: String,
        /// Name of the field.
        field: String,
        /// The value.
        value: u64,
        /// What it can be.
        why: &'static str,
    },
    /// The bytes have the wrong size.
    #[error("programs of type {prog_type} take {expected}; {got} bytes were given")]
    Size {
        /// Name of the program type.
        prog_type: &'static str,
        /// What the type takes.
        expected: String,
        /// How many bytes there are.
        got: usize,
    },
    /// The machine has no memory left.
    #[error("there is no memory left for the context")]
    OutOfMemory,
}

fn why_not(prog_type: &str) -> &'static str {
    const OF_KERNEL_TYPES: [ProgType; 4] =
        [ProgType::Tracing, ProgType::Lsm, ProgType::StructOps, ProgType::Ext];
    match OF_KERNEL_TYPES.iter().any(|t| t.name() == prog_type) {
        true => "their context is made of the types of a kernel, which is not here",
        false => "their context is not available here",
    }
}

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

/// What the bytes are that a context is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Data {
    /// An Ethernet frame of XDP.
    Xdp,
    /// An Ethernet frame in a socket buffer.
    Skb,
    /// A packet that begins with its IP header, of which programs see nothing directly.
    Network,
    /// Bytes of a stream in a socket buffer.
    Stream,
    /// A message on its way out.
    Message,
    /// What lies between two pointers of the context: a header, the value of an option.
    Window,
    /// The context itself, which has one size: registers.
    Context,
    /// The context itself, which is as long as they are: a record, arguments.
    Record,
    /// What the context points to: the buffer of a tracepoint.
    Buffer,
    /// There are none: the fields are all.
    None,
}

impl Data {
    /// The same in words.
    pub const fn describe(self) -> &'static str {
        match self {
            Data::Xdp => "an Ethernet frame, metadata before it if the context says so",
            Data::Skb => "an Ethernet frame",
            Data::Network => "a packet from its IP header on",
            Data::Stream => "bytes of a stream",
            Data::Message => "a message on its way out",
            Data::Window => "what lies between the pointers to the data and its end",
            Data::Context => "the context itself; what is not given is zero",
            Data::Record => "the context itself, which is as long as they are",
            Data::Buffer => "the buffer that the context points to",
            Data::None => "none",
        }
    }
}

/// What the contexts of each type are made of.
const DATA: &[(ProgType, Data)] = &[
    (ProgType::SocketFilter, Data::Skb),
    (ProgType::SchedCls, Data::Skb),
    (ProgType::SchedAct, Data::Skb),
    (ProgType::CgroupSkb, Data::Skb),
    (ProgType::LwtIn, Data::Skb),
    (ProgType::LwtOut, Data::Skb),
    (ProgType::LwtXmit, Data::Skb),
    (ProgType::LwtSeg6local, Data::Skb),
    (ProgType::SkSkb, Data::Stream),
    (ProgType::FlowDissector, Data::Skb),
    (ProgType::Xdp, Data::Xdp),
    (ProgType::Netfilter, Data::Network),
    (ProgType::SkMsg, Data::Message),
    (ProgType::SkReuseport, Data::Window),
    (ProgType::SockOps, Data::Window),
    (ProgType::CgroupSockopt, Data::Window),
    (ProgType::Kprobe, Data::Context),
    (ProgType::Tracepoint, Data::Record),
    (ProgType::RawTracepoint, Data::Record),
    (ProgType::RawTracepointWritable, Data::Buffer),
    (ProgType::PerfEvent, Data::Context),
    (ProgType::LircMode2, Data::Context),
    (ProgType::Syscall, Data::Record),
    (ProgType::CgroupDevice, Data::None),
    (ProgType::CgroupSock, Data::None),
    (ProgType::CgroupSockAddr, Data::None),
    (ProgType::CgroupSysctl, Data::None),
    (ProgType::SkLookup, Data::None),
];

/// What the contexts of a type of Linux's programs are made of; none if they cannot be run here.
pub fn data_of(prog_type: ProgType) -> Option<Data> {
    DATA.iter().find(|(t, _)| *t == prog_type).map(|(_, data)| *data)
}

/// Whether a field is the length of the bytes behind a context.
fn is_length(prog_type: ProgType, field: &str) -> bool {
    match field {
        "len" => true,
        "skb_len" => prog_type == ProgType::SockOps,
        "size" => prog_type == ProgType::SkMsg,
        _ => false,
    }
}

/// What programs of a type are given.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    prog_type: ProgType,
    pub(crate) def: Arc<ContextDef>,
    /// Whether they may write to the bytes behind their context.
    writes: bool,
}

impl Layout {
    /// What a platform gives to programs of a type; none if it gives plain memory.
    pub(crate) fn of(platform: &Platform, prog_type: ProgType) -> Option<Layout> {
        let def = platform.prog_type(prog_type)?;
        let writes = def.packet == PacketAccess::Store;
        let layout = Layout { prog_type, def: Arc::new(def.context.clone()?), writes };
        // What is Linux's is the same for all platforms.
        Some(linux_type(prog_type).filter(|linux| **linux == layout).cloned().unwrap_or(layout))
    }

    /// Whether it is what Linux gives.
    pub(crate) fn is_linux(&self) -> bool {
        linux_type(self.prog_type).is_some_and(|linux| Arc::ptr_eq(&linux.def, &self.def))
    }
}

impl PartialEq for Layout {
    fn eq(&self, other: &Layout) -> bool {
        self.writes == other.writes && self.def == other.def
    }
}

/// What Linux gives, made once.
fn linux_type(prog_type: ProgType) -> Option<&'static Layout> {
    static TYPES: OnceLock<Vec<Layout>> = OnceLock::new();
    let types = TYPES.get_or_init(|| {
        let platform = Platform::linux();
        let of = |t: &ProgType| {
            let def = platform.prog_type(*t)?;
            let writes = def.packet == PacketAccess::Store;
            Some(Layout { prog_type: *t, def: Arc::new(def.context.clone()?), writes })
        };
        ProgType::ALL.iter().filter_map(of).collect()
    });
    types.iter().find(|linux| linux.prog_type == prog_type)
}

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

/// The smallest IP header.
const IPV4_BYTES: usize = 20;

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
        let mut context = Context::linux(ProgType::Xdp, &[0; crate::packet::MIN_BYTES])?;
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
                    Data::Xdp | Data::Skb => crate::packet::MIN_BYTES,
                    Data::Network => IPV4_BYTES,
                    _ => 0,
                };
                let part = shown(self.prog_type, data);
                packet.refill(part, min, crate::packet::XDP_HEADROOM_BYTES)?;
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
                    self.hide(crate::packet::MIN_BYTES);
                }
                self.skb = Skb::new(if sees_mac { crate::packet::MIN_BYTES } else { 0 });
                self.put("ifindex", LOOPBACK_IFINDEX);
                self.put("pkt_type", frame::packet_type(&data[..6]));
                self.put("protocol", u64::from(u16::from_ne_bytes(frame::protocol(data))));
                let hidden = if sees_mac { 0 } else { crate::packet::MIN_BYTES };
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

    /// What the kernel does with the context before a program of this attach type runs.
    pub(crate) fn begin(&mut self, attach_type: AttachType) {
        match self.prog_type {
            ProgType::CgroupSockopt => self.begin_sockopt(attach_type),
            ProgType::FlowDissector => self.begin_flow(),
            ProgType::LwtSeg6local => {
                let packet = self.visible_packet();
                self.skb.segments = packet.and_then(|p| SegmentHeader::arrived(p.data()));
            }
            _ => self.begin_tunnel(),
        }
    }

    /// What the kernel does with the context when a program has run.
    pub(crate) fn end(&mut self) {
        match self.prog_type {
            ProgType::FlowDissector => self.end_flow(),
            ProgType::LwtSeg6local => {
                self.seal_segments();
            }
            _ => self.end_tunnel(),
        }
    }

    /// Writes the length of the packet's header of segments into it; whether it has one that is
    /// right.
    pub(crate) fn seal_segments(&mut self) -> bool {
        let Some(mut header) = self.skb.segments else { return false };
        let is_right = self.change_packet(|packet| header.seal(packet.data_mut()));
        self.skb.segments = Some(header);
        is_right.unwrap_or(false)
    }

    /// Takes the tunnel that a packet has come through from what was given with it.
    fn begin_tunnel(&mut self) {
        if self.skb.tunnel.is_some() {
            return;
        }
        let Some(Ok(key)) = self.bytes("tunnel_key").map(TryInto::try_into) else { return };
        let mut tunnel = Tunnel::received(key, self.number("tunnel_is_ipv6") != 0);
        if let Some(options) = self.bytes("tunnel_options") {
            tunnel.options = options.to_vec();
            tunnel.flags |= if options.is_empty() { 0 } else { Tunnel::OPTIONS };
        }
        self.skb.tunnel = Some(tunnel);
    }

    /// Shows the tunnel that a program has set in place of the one that was given.
    fn end_tunnel(&mut self) {
        let Some(tunnel) = self.skb.tunnel.as_ref().filter(|tunnel| tunnel.is_own) else { return };
        let (key, is_ipv6, options) = (tunnel.sent(), tunnel.is_ipv6, tunnel.options.clone());
        self.put("tunnel_is_ipv6", is_ipv6.into());
        // The sizes are those that the table takes.
        let _ = self.set_bytes("tunnel_key", &key);
        let _ = self.set_bytes("tunnel_options", &options);
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
