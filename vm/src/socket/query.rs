//! Lookups of sockets by address.

use super::{IPPROTO_TCP, Socket, state};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// The network namespace that a lookup is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Netns {
    /// The one of the packet or socket that the program sees.
    Current,
    /// The one with this cookie, which a socket that the program sees is in.
    Cookie(u64),
    /// The one to which that one gives this number (`ip netns set`).
    Id(u32),
}

/// What socket a packet is for, as `bpf_sk_lookup_tcp` and its like ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketQuery {
    /// `IPPROTO_TCP` (6) or `IPPROTO_UDP` (17).
    pub protocol: u64,
    /// Source of the packet: the other end.
    pub remote: SocketAddr,
    /// Destination of the packet: the end of the socket; of the same family.
    pub local: SocketAddr,
    /// Where.
    pub netns: Netns,
    /// The device that the packet came in on; 0 for none.
    pub ifindex: u32,
}

/// How well sockets answer a query. The best has the highest; of equal ones the newest is taken.
type Score = u32;

impl SocketQuery {
    /// The socket of these that a packet is for, by the kernel's rules: a connection before a
    /// listener, a bound address before any, a bound device before none, the newest of equals.
    /// Groups that share an address (`SO_REUSEPORT`) are not told apart by their hash.
    ///
    /// The sockets are those of the namespace that is asked about, in the order of their making
    /// (`__inet_lookup`, `__udp4_lib_lookup` and those of IPv6).
    pub fn find<'a>(&self, sockets: impl Iterator<Item = &'a Arc<Socket>>) -> Option<Arc<Socket>> {
        let scored = sockets.filter_map(|socket| Some((self.score(socket)?, socket)));
        let best = scored.max_by_key(|(score, _)| *score);
        best.map(|(_, socket)| socket.clone())
    }

    fn score(&self, socket: &Socket) -> Option<Score> {
        if socket.known("protocol") != self.protocol {
            return None;
        }
        if socket.known("src_port") != u64::from(self.local.port()) {
            return None;
        }
        let device = socket.known("bound_dev_if");
        if device != 0 && device != u64::from(self.ifindex) {
            return None;
        }
        let ends = self.ends(socket)?;
        if self.protocol == IPPROTO_TCP { ends.tcp(socket, device) } else { ends.udp(device) }
    }

    /// How the addresses of a socket match; none if it is of another family.
    fn ends(&self, socket: &Socket) -> Option<Ends> {
        let (local, remote) = match (self.local.ip(), self.remote.ip()) {
            (IpAddr::V4(local), IpAddr::V4(remote)) => {
                if !socket.takes_ip4() {
                    return None;
                }
                let (own, other) = (socket.ip4(true), socket.ip4(false));
                (
                    Match::of(own == local, own.is_unspecified()),
                    Match::of(other == remote, other.is_unspecified()),
                )
            }
            (IpAddr::V6(local), IpAddr::V6(remote)) => {
                let (IpAddr::V6(own), IpAddr::V6(other)) =
                    (socket.local()?.ip(), socket.far_end()?.ip())
                else {
                    return None;
                };
                // Connections of IPv4 are kept apart, whatever family their sockets are of.
                let connected = self.protocol == IPPROTO_TCP && !other.is_unspecified();
                let of_ip4 = connected && other.to_ipv4_mapped().is_some();
                if of_ip4 || socket.known("family") != super::AF_INET6 {
                    return None;
                }
                (
                    Match::of(own == local, own.is_unspecified()),
                    Match::of(other == remote, other.is_unspecified()),
                )
            }
            _ => return None,
        };
        let far_port = socket.far_end()?.port();
        let port = Match::of(far_port == self.remote.port(), far_port == 0);
        // An address of IPv4 is rather that of a socket of IPv4.
        let own_family = self.local.is_ipv4() && socket.known("family") == super::AF_INET;
        Some(Ends { local, remote, port, own_family })
    }
}

/// How one part of an address matches.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Match {
    Exact,
    Any,
    Not,
}

impl Match {
    fn of(exact: bool, any: bool) -> Match {
        match (exact, any) {
            (_, true) => Match::Any,
            (true, false) => Match::Exact,
            (false, false) => Match::Not,
        }
    }
}

/// How a socket's two ends match.
struct Ends {
    local: Match,
    remote: Match,
    port: Match,
    own_family: bool,
}

impl Ends {
    const CONNECTION: Score = 1 << 16;
    const ADDRESS: Score = 1 << 8;

    /// `inet_match` for connections, `inet_lhash2_lookup` for listeners.
    fn tcp(&self, socket: &Socket, device: u64) -> Option<Score> {
        let bound = Score::from(device != 0);
        match socket.known("state") {
            state::LISTEN if self.local != Match::Not => {
                let address = if self.local == Match::Exact { Ends::ADDRESS } else { 0 };
                Some(1 + address + bound + Score::from(self.own_family))
            }
            state::LISTEN | state::CLOSE => None,
            _ => {
                let all = [self.local, self.remote, self.port].iter().all(|m| *m == Match::Exact);
                all.then_some(Ends::CONNECTION)
            }
        }
    }

    /// `udp4_lib_lookup2`: what is bound to the address comes first, then what is connected.
    fn udp(&self, device: u64) -> Option<Score> {
        let part = |part| match part {
            Match::Exact => Some(4),
            Match::Any => Some(0),
            Match::Not => None,
        };
        let address = match self.local {
            Match::Exact => Ends::ADDRESS,
            Match::Any => 0,
            Match::Not => return None,
        };
        let bound = if device != 0 { 4 } else { 0 };
        let family = if self.own_family { 2 } else { 1 };
        Some(address + part(self.remote)? + part(self.port)? + bound + family)
    }
}

impl Socket {
    /// The other end, whether or not there is one.
    fn far_end(&self) -> Option<SocketAddr> {
        match self.remote() {
            Some(remote) => Some(remote),
            None if self.known("family") == super::AF_INET => Some(SocketAddr::from(([0; 4], 0))),
            None => self.local().map(|_| SocketAddr::from(([0u16; 8], 0))),
        }
    }
}
