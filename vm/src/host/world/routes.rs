//! The network of a given world: devices, routes, rules, neighbours.

use crate::host::{Device, Route, RouteKind, RouteQuery};
use std::net::IpAddr;

/// A rule that says which table a packet looks in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The table.
    pub table: u32,
    /// The mark that packets must have in the bits of `mask`.
    pub mark: u32,
    /// The bits of the mark that count; 0 for every packet.
    pub mask: u32,
    /// The network that they come from; none for everywhere.
    pub from: Option<(IpAddr, u8)>,
    /// The device that they arrive at; none for every one.
    pub arrives: Option<u32>,
}

impl Rule {
    /// Every packet looks in this table.
    pub const fn table(table: u32) -> Rule {
        Rule { table, mark: 0, mask: 0, from: None, arrives: None }
    }

    fn matches(&self, query: &RouteQuery) -> bool {
        (query.mark ^ self.mark) & self.mask == 0
            && self.from.is_none_or(|(network, bits)| is_in(query.from, network, bits))
            && self.arrives.is_none_or(|ifindex| ifindex == query.arrives)
    }
}

/// A neighbour on a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// The device.
    pub ifindex: u32,
    /// Its address.
    pub address: IpAddr,
    /// Its link-layer address.
    pub mac: [u8; 6],
}

/// A network. As it is made there is only the loopback device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// The devices.
    pub devices: Vec<Device>,
    /// The routes of all tables.
    pub routes: Vec<Route>,
    /// Which tables are asked, in order.
    pub rules: Vec<Rule>,
    /// The neighbours whose link-layer addresses are known.
    pub neighbours: Vec<Neighbour>,
}

impl Default for Network {
    fn default() -> Network {
        let tables = [Route::LOCAL, Route::MAIN, Route::DEFAULT];
        Network {
            devices: vec![Device::loopback()],
            routes: Vec::new(),
            rules: tables.map(Rule::table).to_vec(),
            neighbours: Vec::new(),
        }
    }
}

impl Network {
    /// The device with this number.
    pub fn device(&self, ifindex: u32) -> Option<&Device> {
        self.devices.iter().find(|device| device.ifindex == ifindex)
    }

    /// The link-layer address of a neighbour.
    pub fn neighbour(&self, ifindex: u32, address: IpAddr) -> Option<[u8; 6]> {
        let is_it = |n: &&Neighbour| n.ifindex == ifindex && n.address == address;
        self.neighbours.iter().find(is_it).map(|neighbour| neighbour.mac)
    }

    /// The route that a packet takes (`fib_lookup`, `fib6_lookup`).
    pub fn route(&self, query: &RouteQuery) -> Option<&Route> {
        if let Some(table) = query.table {
            return self.in_table(table, query);
        }
        let rules = self.rules.iter().filter(|rule| rule.matches(query));
        let mut found = rules.filter_map(|rule| self.in_table(rule.table, query));
        found.find(|route| route.kind != RouteKind::Throw)
    }

    /// The longest prefix wins, then the smallest metric, then who was there first. IPv4 passes over
    /// routes by another device than the one that is asked for; IPv6 prefers its own among equals.
    fn in_table(&self, table: u32, query: &RouteQuery) -> Option<&Route> {
        let leads =
            |route: &&Route| route.table == table && is_in(query.to, route.network, route.prefix);
        let leaves = |route: &Route| query.leaves.is_none_or(|ifindex| ifindex == route.ifindex);
        let may = |route: &&Route| {
            query.to.is_ipv6() || route.kind != RouteKind::Unicast || leaves(route)
        };
        let all = self.routes.iter().filter(leads).filter(may);
        all.min_by_key(|route| (128 - route.prefix.min(128), route.metric, !leaves(route)))
    }
}

/// Whether an address is in a network. A prefix longer than the address is of no network.
fn is_in(address: IpAddr, network: IpAddr, prefix: u8) -> bool {
    let prefix = u32::from(prefix);
    match (address, network) {
        (IpAddr::V4(address), IpAddr::V4(network)) if prefix <= 32 => {
            let differs = address.to_bits() ^ network.to_bits();
            differs.checked_shr(32 - prefix).unwrap_or(0) == 0
        }
        (IpAddr::V6(address), IpAddr::V6(network)) if prefix <= 128 => {
            let differs = address.to_bits() ^ network.to_bits();
            differs.checked_shr(128 - prefix).unwrap_or(0) == 0
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(to: &str) -> RouteQuery {
        let to: IpAddr = to.parse().unwrap();
        let from = "10.0.0.9".parse().unwrap();
        RouteQuery { table: None, to, from, arrives: 1, leaves: None, mark: 0 }
    }

    fn network(routes: &[(&str, u8, u32)]) -> Network {
        let route = |(i, (network, prefix, metric)): (usize, &(&str, u8, u32))| Route {
            metric: *metric,
            ..Route::new(network.parse().unwrap(), *prefix, i as u32 + 1)
        };
        Network { routes: routes.iter().enumerate().map(route).collect(), ..Network::default() }
    }

    fn taken(network: &Network, query: &RouteQuery) -> Option<u32> {
        network.route(query).map(|route| route.ifindex)
    }

    #[test]
    fn the_longest_prefix_wins_and_then_the_smallest_metric() {
        let network = network(&[
            ("0.0.0.0", 0, 5),
            ("10.0.0.0", 8, 9),
            ("10.0.0.0", 8, 3),
            ("10.1.2.3", 32, 9),
            ("::", 0, 0),
            ("2001:db8::", 32, 0),
            ("2001:db8::1", 128, 0),
            ("10.0.0.0", 33, 0),
        ]);
        for (to, expected) in [
            ("10.1.2.3", 4),
            ("10.1.2.4", 3),
            ("11.0.0.0", 1),
            ("2001:db8::1", 7),
            ("2001:db8::2", 6),
            ("2002::", 5),
        ] {
            assert_eq!(taken(&network, &query(to)), Some(expected), "{to}");
        }
        let by = |ifindex| RouteQuery { leaves: Some(ifindex), ..query("10.1.2.3") };
        assert_eq!((taken(&network, &by(2)), taken(&network, &by(7))), (Some(2), None));
    }

    #[test]
    fn rules_choose_tables_and_thrown_packets_look_on() {
        let mut network = network(&[("0.0.0.0", 0, 0), ("10.0.0.0", 8, 0), ("10.0.0.0", 8, 0)]);
        network.routes[1].table = 100;
        network.routes[2].table = 7;
        network.routes[2].kind = RouteKind::Throw;
        network.rules.insert(0, Rule { mark: 1, mask: 3, ..Rule::table(100) });
        network.rules.insert(0, Rule { mark: 2, mask: 3, ..Rule::table(7) });
        let marked = |mark| RouteQuery { mark, ..query("10.0.0.1") };
        let marks = [0, 1, 5, 2].map(|mark| taken(&network, &marked(mark)));
        assert_eq!(marks, [Some(1), Some(2), Some(2), Some(1)]);
        let direct = |table| RouteQuery { table: Some(table), ..query("10.0.0.1") };
        assert_eq!(taken(&network, &direct(100)), Some(2));
        assert_eq!(taken(&network, &direct(101)), None);
    }
}
