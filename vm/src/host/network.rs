//! What programs ask of the network around them: devices, routes, neighbours.

use std::net::IpAddr;

/// A network device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its number.
    pub ifindex: u32,
    /// Its link-layer address.
    pub mac: [u8; 6],
    /// The largest packet that it sends, in bytes after the link-layer header.
    pub mtu: u32,
    /// Whether it is up.
    pub up: bool,
    /// Whether IPv4 packets that arrive there may be forwarded.
    pub forwards_ipv4: bool,
    /// Whether IPv6 packets that arrive there may be forwarded.
    pub forwards_ipv6: bool,
    /// How many queues packets arrive in.
    pub rx_queues: u32,
    /// Its own addresses, the preferred first.
    pub addresses: Vec<IpAddr>,
}

impl Device {
    /// A device that is up and forwards nothing, with an Ethernet's 1,500 bytes and one queue.
    pub fn new(ifindex: u32) -> Device {
        Device {
            ifindex,
            mac: [0; 6],
            mtu: 1500,
            up: true,
            forwards_ipv4: false,
            forwards_ipv6: false,
            rx_queues: 1,
            addresses: Vec::new(),
        }
    }

    /// The loopback device.
    pub fn loopback() -> Device {
        Device { mtu: 65536, ..Device::new(1) }
    }
}

/// What becomes of packets that take a route (`RTN_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum RouteKind {
    /// They go to a gateway or a neighbour.
    #[default]
    Unicast,
    /// They are for this machine: its own addresses, broadcast, multicast.
    Local,
    /// They are dropped.
    Blackhole,
    /// They are dropped, and the sender is told that there is no way.
    Unreachable,
    /// They are dropped, and the sender is told that they are not allowed.
    Prohibit,
    /// They look in the next table.
    Throw,
}

/// A route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The network that it leads to.
    pub network: IpAddr,
    /// How many bits of the network count.
    pub prefix: u8,
    /// The table that it is in.
    pub table: u32,
    /// What becomes of packets.
    pub kind: RouteKind,
    /// The device that they leave by.
    pub ifindex: u32,
    /// The next hop, if it is not the destination itself.
    pub gateway: Option<IpAddr>,
    /// The smaller, the better among routes to one network.
    pub metric: u32,
    /// The source address of packets of this machine.
    pub source: Option<IpAddr>,
    /// The largest packet in bytes, if it is locked at other than the device's.
    pub mtu: Option<u32>,
    /// Whether packets are put into others on the way, which programs cannot do by a lookup.
    pub encapsulates: bool,
}

impl Route {
    /// A route of the main table, without a gateway, by this device.
    pub fn new(network: IpAddr, prefix: u8, ifindex: u32) -> Route {
        Route {
            network,
            prefix,
            table: Route::MAIN,
            kind: RouteKind::Unicast,
            ifindex,
            gateway: None,
            metric: 0,
            source: None,
            mtu: None,
            encapsulates: false,
        }
    }

    /// The number of the main table (`RT_TABLE_MAIN`).
    pub const MAIN: u32 = 254;
    /// The number of the table of local addresses (`RT_TABLE_LOCAL`).
    pub const LOCAL: u32 = 255;
    /// The number of the table that is asked last (`RT_TABLE_DEFAULT`).
    pub const DEFAULT: u32 = 253;
}

/// What a route is looked for by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteQuery {
    /// Only this table; none to go by the rules.
    pub table: Option<u32>,
    /// Where the packet goes.
    pub to: IpAddr,
    /// Where it comes from.
    pub from: IpAddr,
    /// The device that it arrives at; that of the machine itself if it leaves.
    pub arrives: u32,
    /// The device that it must leave by, if one is asked for.
    pub leaves: Option<u32>,
    /// The packet's mark.
    pub mark: u32,
}
