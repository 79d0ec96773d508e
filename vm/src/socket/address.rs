//! Addresses of sockets, as one value and as the fields that programs see.

use super::{AF_INET, AF_INET6, IPPROTO_TCP, IPPROTO_UDP, Socket, facts::Fact, state};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The IPv4 address that an IPv6 socket shows when it is bound to an address of IPv6
/// (`LOOPBACK4_IPV6`).
const LOOPBACK4_IPV6: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 6);

/// Which end of a connection.
#[derive(Clone, Copy)]
enum End {
    Local,
    Remote,
}

impl End {
    /// Fields of `struct bpf_sock`: IPv4 address, IPv6 address, port.
    const fn names(self) -> [&'static str; 3] {
        match self {
            End::Local => ["src_ip4", "src_ip6", "src_port"],
            End::Remote => ["dst_ip4", "dst_ip6", "dst_port"],
        }
    }
}

/// The port as programs read `bpf_sock.dst_port`: in network order, and zeros behind it.
pub(crate) const fn port_field(port: u16) -> u64 {
    let [high, low] = port.to_be_bytes();
    u32::from_ne_bytes([high, low, 0, 0]) as u64
}

/// The port that a value of `bpf_sock.dst_port` says.
pub(crate) const fn port_of_field(value: u64) -> u16 {
    let [high, low, ..] = (value as u32).to_ne_bytes();
    u16::from_be_bytes([high, low])
}

impl Socket {
    /// A socket of TCP (6) or UDP (17) bound to an address; TCP's listens.
    pub fn bound(protocol: u64, local: SocketAddr) -> Socket {
        let socket = Socket::new();
        socket.set_inet(protocol, local);
        socket.bound_to(local.ip());
        let listens = protocol == IPPROTO_TCP;
        socket.put("state", if listens { state::LISTEN } else { state::CLOSE });
        socket
    }

    /// A socket of TCP (6) or UDP (17) that is connected.
    pub fn connected(protocol: u64, local: SocketAddr, remote: SocketAddr) -> Socket {
        let socket = Socket::new();
        socket.set_inet(protocol, local);
        socket.set_remote(remote);
        socket.put("state", state::ESTABLISHED);
        if protocol == IPPROTO_TCP {
            // Connections of IPv4 show the addresses in IPv6 too (`sk_rcv_saddr_set`).
            for (end, ip) in [(End::Local, local.ip()), (End::Remote, remote.ip())] {
                if let IpAddr::V4(v4) = ip {
                    socket.put_ip6(end, v4.to_ipv6_mapped());
                }
            }
        }
        socket
    }

    /// A connection of TCP that a listener has accepted. It differs from one that was asked for in
    /// what an IPv6 socket shows as IPv4 address of the other end.
    pub fn accepted(local: SocketAddr, remote: SocketAddr) -> Socket {
        let socket = Socket::connected(IPPROTO_TCP, local, remote);
        if remote.is_ipv6() && remote.ip().to_canonical().is_ipv6() {
            socket.put("dst_ip4", u32::from_ne_bytes(LOOPBACK4_IPV6.octets()).into());
        }
        socket
    }

    fn put_ip6(&self, end: End, ip: Ipv6Addr) {
        for (i, word) in ip.octets().as_chunks::<4>().0.iter().enumerate() {
            self.put(&format!("{}[{i}]", end.names()[1]), u32::from_ne_bytes(*word).into());
        }
    }

    /// A socket that is bound to an address of IPv6 takes nothing of IPv4 (`__inet6_bind`).
    pub(crate) fn bound_to(&self, ip: IpAddr) {
        if !ip.is_unspecified() && ip.to_canonical().is_ipv6() {
            self.put(Fact::OnlyIpv6.name(), 1);
        }
    }

    fn set_inet(&self, protocol: u64, local: SocketAddr) {
        const SOCK_STREAM: u64 = 1;
        const SOCK_DGRAM: u64 = 2;
        const SOCK_RAW: u64 = 3;
        let kind = match protocol {
            IPPROTO_TCP => SOCK_STREAM,
            IPPROTO_UDP => SOCK_DGRAM,
            _ => SOCK_RAW,
        };
        self.put("type", kind);
        // No queue has received anything for it (`NO_QUEUE_MAPPING`).
        self.put("rx_queue_mapping", u32::MAX.into());
        self.put("protocol", protocol & u64::from(u32::MAX));
        self.put("family", if local.is_ipv4() { AF_INET } else { AF_INET6 });
        self.set_local(local);
    }

    /// Sets address and port of this end.
    pub fn set_local(&self, address: SocketAddr) {
        self.set_end(End::Local, address);
    }

    /// Sets address and port of the other end.
    pub fn set_remote(&self, address: SocketAddr) {
        self.set_end(End::Remote, address);
    }

    /// Address and port of this end; none of a socket that is not of IP.
    pub fn local(&self) -> Option<SocketAddr> {
        self.end(End::Local)
    }

    /// Address and port of the other end; none of a socket that is not of IP or not connected.
    pub fn remote(&self) -> Option<SocketAddr> {
        self.end(End::Remote).filter(|address| address.port() != 0)
    }

    fn set_end(&self, end: End, address: SocketAddr) {
        let [ip4, _, port] = end.names();
        let v6 = match address.ip() {
            // What a socket of IPv6 shows of a packet of IPv4.
            IpAddr::V4(v4) if self.known("family") == AF_INET6 && !v4.is_unspecified() => {
                Some(v4.to_ipv6_mapped())
            }
            IpAddr::V4(_) => None,
            IpAddr::V6(v6) => Some(v6),
        };
        let v4 = match address.ip() {
            IpAddr::V4(v4) => v4,
            IpAddr::V6(v6) => match (v6.to_ipv4_mapped(), end) {
                (Some(v4), _) => v4,
                (None, End::Local) if !v6.is_unspecified() => LOOPBACK4_IPV6,
                (None, _) => Ipv4Addr::UNSPECIFIED,
            },
        };
        self.put(ip4, u32::from_ne_bytes(v4.octets()).into());
        self.put_ip6(end, v6.unwrap_or(Ipv6Addr::UNSPECIFIED));
        let number = address.port();
        self.put(
            port,
            match end {
                End::Local => number.into(),
                End::Remote => port_field(number),
            },
        );
    }

    fn end(&self, end: End) -> Option<SocketAddr> {
        let [ip4, ip6, port] = end.names();
        let ip = match self.known("family") {
            AF_INET => IpAddr::V4((self.known(ip4) as u32).to_ne_bytes().into()),
            AF_INET6 => {
                let word = |i| (self.known(&format!("{ip6}[{i}]")) as u32).to_ne_bytes();
                let words: [[u8; 4]; 4] = std::array::from_fn(word);
                let mut octets = [0; 16];
                octets.copy_from_slice(words.as_flattened());
                IpAddr::V6(octets.into())
            }
            _ => return None,
        };
        let port = match end {
            End::Local => self.known(port) as u16,
            End::Remote => port_of_field(self.known(port)),
        };
        Some(SocketAddr::new(ip, port))
    }

    /// The IPv4 address that lookups compare (`sk_rcv_saddr`, `sk_daddr`).
    pub(crate) fn ip4(&self, local: bool) -> Ipv4Addr {
        let name = if local { "src_ip4" } else { "dst_ip4" };
        (self.known(name) as u32).to_ne_bytes().into()
    }

    /// Whether the socket takes packets of IPv4.
    pub(crate) fn takes_ip4(&self) -> bool {
        match self.known("family") {
            AF_INET => true,
            AF_INET6 => self.fact(Fact::OnlyIpv6) == 0,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_shown_as_the_kernel_keeps_them() {
        let local: SocketAddr = "10.0.0.1:80".parse().unwrap();
        let remote: SocketAddr = "192.168.0.2:4660".parse().unwrap();
        let socket = Socket::connected(IPPROTO_TCP, local, remote);
        assert_eq!((socket.local(), socket.remote()), (Some(local), Some(remote)));
        assert_eq!(socket.known("src_port"), 80);
        assert_eq!((socket.known("dst_port") as u32).to_ne_bytes(), [0x12, 0x34, 0, 0]);
        assert_eq!((socket.known("dst_ip4") as u32).to_ne_bytes(), [192, 168, 0, 2]);
        assert_eq!(socket.known("src_ip6[3]"), socket.known("src_ip4"));
        assert_eq!(Socket::bound(IPPROTO_TCP, local).known("src_ip6[3]"), 0);
    }

    #[test]
    fn sockets_of_ipv6_show_an_ipv4_address_too() {
        let at = |text: &str| Socket::bound(IPPROTO_UDP, text.parse().unwrap());
        let ip4 = |socket: &Socket| socket.ip4(true);
        assert_eq!(ip4(&at("[::]:53")), Ipv4Addr::UNSPECIFIED);
        assert_eq!(ip4(&at("[::1]:53")), LOOPBACK4_IPV6);
        assert_eq!(ip4(&at("[::ffff:10.0.0.1]:53")), Ipv4Addr::new(10, 0, 0, 1));
        assert_eq!(at("[2001:db8::1]:53").local(), Some("[2001:db8::1]:53".parse().unwrap()));
    }
}
