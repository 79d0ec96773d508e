//! What the contexts of each program type are made of: bytes and fields.

use ebpfvm_spec::platform::PacketAccess;
use ebpfvm_spec::{ContextDef, Platform, ProgType};
use std::sync::{Arc, OnceLock};

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
pub(super) fn is_length(prog_type: ProgType, field: &str) -> bool {
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
    pub(super) prog_type: ProgType,
    pub(crate) def: Arc<ContextDef>,
    /// Whether they may write to the bytes behind their context.
    pub(super) writes: bool,
}

impl Layout {
    /// What a platform gives to programs of a type; none if it gives plain memory.
    pub(crate) fn of(platform: &Platform, prog_type: ProgType) -> Option<Layout> {
        let layout = Layout::new(platform, prog_type)?;
        // What is Linux's is the same for all platforms.
        Some(linux_type(prog_type).filter(|linux| **linux == layout).cloned().unwrap_or(layout))
    }

    fn new(platform: &Platform, prog_type: ProgType) -> Option<Layout> {
        let def = platform.prog_type(prog_type)?;
        let writes = def.packet == PacketAccess::Store;
        Some(Layout { prog_type, def: Arc::new(def.context.clone()?), writes })
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
pub(super) fn linux_type(prog_type: ProgType) -> Option<&'static Layout> {
    static TYPES: OnceLock<Vec<Layout>> = OnceLock::new();
    let types = TYPES.get_or_init(|| {
        let platform = Platform::linux();
        ProgType::ALL.iter().filter_map(|t| Layout::new(&platform, *t)).collect()
    });
    types.iter().find(|linux| linux.prog_type == prog_type)
}
