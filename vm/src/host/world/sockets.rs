//! The sockets of a world, found as the kernel finds them.

use crate::socket::query::{Netns, SocketQuery};
use crate::socket::{Socket, facts::Fact};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Sockets and the network namespaces that they are in.
#[derive(Clone, Debug, Default)]
pub struct Sockets {
    all: Vec<Arc<Socket>>,
    handles: BTreeMap<u32, Arc<Socket>>,
    namespaces: BTreeMap<u32, u64>,
}

impl Sockets {
    /// Adds a socket, which becomes the newest. Its address may change afterwards.
    pub fn add(&mut self, socket: Arc<Socket>) {
        self.all.push(socket);
    }

    /// Lets user space know a socket by a number, as a file descriptor; maps take it as a value.
    /// Returns the socket that had the number before.
    pub fn name(&mut self, handle: u32, socket: Arc<Socket>) -> Option<Arc<Socket>> {
        self.handles.insert(handle, socket)
    }

    /// Gives a number to the network namespace with this cookie.
    pub fn name_netns(&mut self, id: u32, cookie: u64) {
        self.namespaces.insert(id, cookie);
    }

    /// All sockets, in the order of their making.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Socket>> {
        self.all.iter()
    }

    /// The socket that user space knows by this number.
    pub fn handle(&self, handle: u32) -> Option<Arc<Socket>> {
        self.handles.get(&handle).cloned()
    }

    /// The socket that a packet is for; `current` is the cookie of the namespace that the program
    /// runs in. None if there is none, or no namespace with the number that the query names.
    pub fn find(&self, query: &SocketQuery, current: u64) -> Option<Arc<Socket>> {
        let netns = match query.netns {
            Netns::Current => current,
            Netns::Cookie(cookie) => cookie,
            Netns::Id(id) => *self.namespaces.get(&id)?,
        };
        query.find(self.all.iter().filter(|socket| socket.fact(Fact::Netns) == netns))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::FIRST_NETNS_COOKIE;
    use crate::socket::{IPPROTO_TCP, IPPROTO_UDP};

    fn table(sockets: &[&Arc<Socket>]) -> Sockets {
        let mut table = Sockets::default();
        sockets.iter().for_each(|socket| table.add((*socket).clone()));
        table
    }

    fn bound(protocol: u64, local: &str) -> Arc<Socket> {
        Arc::new(Socket::bound(protocol, local.parse().unwrap()))
    }

    fn connected(protocol: u64, local: &str, remote: &str) -> Arc<Socket> {
        Arc::new(Socket::connected(protocol, local.parse().unwrap(), remote.parse().unwrap()))
    }

    fn query(protocol: u64, remote: &str, local: &str) -> SocketQuery {
        let (remote, local) = (remote.parse().unwrap(), local.parse().unwrap());
        SocketQuery { protocol, remote, local, netns: Netns::Current, ifindex: 2 }
    }

    #[track_caller]
    fn finds(table: &Sockets, query: &SocketQuery, expected: Option<&Arc<Socket>>) {
        let found = table.find(query, FIRST_NETNS_COOKIE).map(|socket| socket.cookie());
        assert_eq!(found, expected.map(|socket| socket.cookie()));
    }

    #[test]
    fn connections_come_before_listeners_and_addresses_before_any() {
        let any = bound(IPPROTO_TCP, "0.0.0.0:80");
        let here = bound(IPPROTO_TCP, "10.0.0.1:80");
        let peer = connected(IPPROTO_TCP, "10.0.0.1:80", "10.0.0.9:4000");
        let all = table(&[&peer, &here, &any]);
        let ask = |remote, local| query(IPPROTO_TCP, remote, local);
        finds(&all, &ask("10.0.0.9:4000", "10.0.0.1:80"), Some(&peer));
        finds(&all, &ask("10.0.0.9:4001", "10.0.0.1:80"), Some(&here));
        finds(&all, &ask("10.0.0.9:4000", "10.0.0.2:80"), Some(&any));
        finds(&all, &ask("10.0.0.9:4000", "10.0.0.2:81"), None);
        finds(&all, &query(IPPROTO_UDP, "10.0.0.9:4000", "10.0.0.1:80"), None);
    }

    #[test]
    fn a_bound_device_counts_and_must_be_the_packets() {
        let any = bound(IPPROTO_TCP, "0.0.0.0:80");
        let device = bound(IPPROTO_TCP, "0.0.0.0:80");
        device.put("bound_dev_if", 2);
        let all = table(&[&device, &any]);
        let ask = query(IPPROTO_TCP, "10.0.0.9:1", "10.0.0.1:80");
        finds(&all, &ask, Some(&device));
        finds(&all, &SocketQuery { ifindex: 3, ..ask }, Some(&any));
    }

    #[test]
    fn sockets_of_ipv6_take_packets_of_ipv4_unless_they_say_no() {
        let v6 = bound(IPPROTO_UDP, "[::]:53");
        let all = table(&[&v6]);
        let ask = query(IPPROTO_UDP, "10.0.0.9:1", "10.0.0.1:53");
        finds(&all, &ask, Some(&v6));
        let v4 = bound(IPPROTO_UDP, "0.0.0.0:53");
        finds(&table(&[&v4, &v6]), &ask, Some(&v4));
        finds(&all, &query(IPPROTO_UDP, "[::1]:1", "[::1]:53"), Some(&v6));
        v6.put("ipv6_only", 1);
        finds(&all, &ask, None);
    }

    #[test]
    fn of_datagram_sockets_the_bound_address_comes_before_the_connection_to_any() {
        let here = bound(IPPROTO_UDP, "10.0.0.1:53");
        let peer = connected(IPPROTO_UDP, "10.0.0.1:53", "10.0.0.9:4000");
        let loose = connected(IPPROTO_UDP, "0.0.0.0:53", "10.0.0.8:4000");
        let all = table(&[&peer, &loose, &here]);
        let ask = |remote| query(IPPROTO_UDP, remote, "10.0.0.1:53");
        finds(&all, &ask("10.0.0.9:4000"), Some(&peer));
        finds(&all, &ask("10.0.0.8:4000"), Some(&here));
        finds(&table(&[&peer, &loose]), &ask("10.0.0.8:4000"), Some(&loose));
        finds(&table(&[&peer]), &ask("10.0.0.9:4001"), None);
    }

    #[test]
    fn of_equals_the_newest_is_found_in_the_namespace_that_is_asked_about() {
        let (old, new) = (bound(IPPROTO_TCP, "[::1]:80"), bound(IPPROTO_TCP, "[::1]:80"));
        let other = bound(IPPROTO_TCP, "[::1]:80");
        other.put("netns_cookie", 9);
        let mut all = table(&[&old, &new, &other]);
        let ask = query(IPPROTO_TCP, "[::1]:1", "[::1]:80");
        finds(&all, &ask, Some(&new));
        let there = SocketQuery { netns: Netns::Id(4), ..ask };
        finds(&all, &there, None);
        all.name_netns(4, 9);
        finds(&all, &there, Some(&other));
    }
}
