//! What helpers know of a socket and no pointer shows.

use super::Socket;
use crate::fields::FieldError;
use crate::host::FIRST_NETNS_COOKIE;

macro_rules! facts {
    ($($variant:ident = $name:literal, $bytes:literal, $start:expr, $text:literal;)*) => {
        /// A number that helpers know of a socket and no pointer shows.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Fact {
            $(
                #[doc = $text]
                $variant,
            )*
        }

        impl Fact {
            /// All.
            pub const ALL: &'static [Fact] = &[$(Fact::$variant),*];

            /// Its name, size in bytes, and value where nobody has set it.
            const fn row(self) -> (&'static str, u32, u64) {
                match self {
                    $(Fact::$variant => ($name, $bytes, $start),)*
                }
            }
        }
    };
}

facts! {
    Netns = "netns_cookie", 8, FIRST_NETNS_COOKIE, "The cookie of its network namespace; 3 is the first one's.";
    Uid = "uid", 4, 0, "The user that it belongs to.";
    Group = "reuseport_group", 8, 0, "The group of sockets that share its address (`SO_REUSEPORT`); 0 for none.";
    BindsAny = "bind_inany", 1, 0, "Whether its group takes packets to every address.";
    OnlyIpv6 = "ipv6_only", 1, 0, "Whether it takes no IPv4 packets (`IPV6_V6ONLY`).";
    TxHash = "sk_txhash", 4, 0, "The hash of packets that it sends.";
    CallbackFlags = "bpf_sock_ops_cb_flags", 4, 0, "Which events call programs of type `sock_ops`.";
    Overflows = "syn_overflow", 1, 0, "Whether the queue of a listener is full and overflows, so that it sends SYN cookies.";
}

impl Fact {
    /// The name.
    pub const fn name(self) -> &'static str {
        self.row().0
    }

    /// The fact with this name.
    pub fn of(name: &str) -> Option<Fact> {
        Fact::ALL.iter().copied().find(|fact| fact.name() == name)
    }
}

/// The numbers, in the order of [`Fact::ALL`].
#[derive(Clone, Debug)]
pub(super) struct Facts([u64; Fact::ALL.len()]);

impl Default for Facts {
    fn default() -> Facts {
        let mut values = [0; Fact::ALL.len()];
        Fact::ALL.iter().for_each(|fact| values[*fact as usize] = fact.row().2);
        Facts(values)
    }
}

impl Facts {
    pub(super) fn get(&self, fact: Fact) -> u64 {
        self.0[fact as usize]
    }

    pub(super) fn set(&mut self, fact: Fact, value: u64) -> Result<(), FieldError> {
        let (name, bytes, _) = fact.row();
        if bytes < 8 && value >> (8 * bytes) != 0 {
            let (layout, field) = ("socket".into(), name.into());
            return Err(FieldError::Range { layout, field, bytes, value });
        }
        self.0[fact as usize] = value;
        Ok(())
    }
}

/// The packet that opened a connection, as `TCP_SAVE_SYN` keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SavedSyn {
    packet: Vec<u8>,
    /// Where the network and the TCP header begin and the latter ends.
    network: usize,
    transport: usize,
    end: usize,
}

impl SavedSyn {
    /// The headers of an Ethernet frame with a TCP segment in IPv4 or IPv6; none if it is no such
    /// frame.
    pub(crate) fn parse(frame: &[u8]) -> Option<SavedSyn> {
        const ETHERNET_BYTES: usize = 14;
        const IPV6_BYTES: usize = 40;
        let network = ETHERNET_BYTES;
        let (bytes, protocol) = match frame.get(network)? >> 4 {
            4 => (usize::from(frame[network] & 15) * 4, *frame.get(network + 9)?),
            6 => (IPV6_BYTES, *frame.get(network + 6)?),
            _ => return None,
        };
        let transport = network + bytes;
        let end = transport + usize::from(frame.get(transport + 12)? >> 4) * 4;
        let is_tcp = u64::from(protocol) == super::IPPROTO_TCP;
        let whole = is_tcp && end >= transport + 20 && end <= frame.len();
        whole.then(|| SavedSyn { packet: frame[..end].to_vec(), network, transport, end })
    }

    /// From the link-layer, the network or the TCP header on.
    pub(crate) fn from(&self, layer: Layer) -> &[u8] {
        let start = match layer {
            Layer::Link => 0,
            Layer::Network => self.network,
            Layer::Transport => self.transport,
        };
        &self.packet[start..self.end]
    }
}

/// A layer of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layer {
    Link,
    Network,
    Transport,
}

impl Socket {
    /// Keeps the Ethernet frame that opened the connection. Returns whether it is a TCP segment in
    /// IPv4 or IPv6.
    pub fn set_syn(&self, frame: &[u8]) -> bool {
        let syn = SavedSyn::parse(frame);
        let kept = syn.is_some();
        self.state().syn = syn;
        kept
    }

    /// The headers of the packet that opened the connection, from a layer on.
    pub(crate) fn syn(&self, layer: Layer) -> Option<Vec<u8>> {
        self.state().syn.as_ref().map(|syn| syn.from(layer).to_vec())
    }
}
