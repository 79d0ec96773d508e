//! Sockets as they are shown.

use ebpfvm::socket::Socket;
use serde::Serialize;

/// Names of protocols.
pub(crate) const PROTOCOLS: &[(&str, u64)] =
    &[("tcp", 6), ("udp", 17), ("icmp", 1), ("icmpv6", 58)];
/// Names of address families.
pub(crate) const FAMILIES: &[(&str, u64)] = &[("inet", 2), ("inet6", 10), ("unix", 1)];
/// Names of types of sockets.
pub(crate) const KINDS: &[(&str, u64)] = &[("stream", 1), ("dgram", 2), ("raw", 3)];
/// Names of states (`net/tcp_states.h`).
pub(crate) const STATES: &[(&str, u64)] = &[
    ("ESTABLISHED", 1),
    ("SYN_SENT", 2),
    ("SYN_RECV", 3),
    ("FIN_WAIT1", 4),
    ("FIN_WAIT2", 5),
    ("TIME_WAIT", 6),
    ("CLOSE", 7),
    ("CLOSE_WAIT", 8),
    ("LAST_ACK", 9),
    ("LISTEN", 10),
    ("CLOSING", 11),
    ("NEW_SYN_RECV", 12),
];

/// A socket: who it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct SocketId {
    /// Its number in the world that was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) handle: Option<u32>,
    pub(crate) cookie: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) protocol: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) state: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) local: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) remote: Option<String>,
}

fn name_of(names: &[(&'static str, u64)], number: Option<u64>) -> Option<&'static str> {
    names.iter().find(|(_, known)| Some(*known) == number).map(|(name, _)| *name)
}

impl SocketId {
    pub(crate) fn of(socket: &Socket, handle: Option<u32>) -> SocketId {
        SocketId {
            handle,
            cookie: socket.cookie(),
            protocol: name_of(PROTOCOLS, socket.field("protocol")),
            state: name_of(STATES, socket.field("state")),
            local: socket.local().map(|address| address.to_string()),
            remote: socket.remote().map(|address| address.to_string()),
        }
    }

    /// On one line: `tcp 10.0.0.1:80, LISTEN (handle 7, cookie 3)`.
    pub(crate) fn text(&self) -> String {
        let mut text = self.protocol.unwrap_or("socket").to_string();
        match (&self.local, &self.remote) {
            (Some(local), Some(remote)) => text += &format!(" {local} - {remote}"),
            (Some(local), None) => text += &format!(" {local}"),
            (None, _) => {}
        }
        if let Some(state) = self.state {
            text += &format!(", {state}");
        }
        let handle = self.handle.map(|handle| format!("handle {handle}, ")).unwrap_or_default();
        format!("{text} ({handle}cookie {})", self.cookie)
    }
}

/// What became of a socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct SocketChange {
    #[serde(flatten)]
    pub(crate) id: SocketId,
    /// Fields with other values: name, before, after.
    pub(crate) fields: Vec<FieldChange>,
    /// Options that were set, in order.
    pub(crate) options: Vec<OptionSet>,
}

/// A field that has changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct FieldChange {
    pub(crate) name: String,
    pub(crate) before: String,
    pub(crate) after: String,
}

/// An option that was set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct OptionSet {
    pub(crate) level: i32,
    pub(crate) name: i32,
    /// In hex.
    pub(crate) value: String,
}

/// A socket as it is before a run.
pub(crate) struct Snapshot {
    fields: Vec<(String, String)>,
    options: usize,
}

impl Snapshot {
    pub(crate) fn of(socket: &Socket) -> Snapshot {
        Snapshot { fields: facts(socket), options: socket.option_changes().len() }
    }

    /// What has changed since; none if nothing has.
    pub(crate) fn compared(self, socket: &Socket, handle: Option<u32>) -> Option<SocketChange> {
        let pairs = self.fields.into_iter().zip(facts(socket));
        let fields: Vec<FieldChange> = pairs
            .filter(|((_, before), (_, after))| before != after)
            .map(|((name, before), (_, after))| FieldChange { name, before, after })
            .collect();
        let options = socket.option_changes().into_iter().skip(self.options);
        let options: Vec<OptionSet> = options
            .map(|set| OptionSet {
                level: set.level,
                name: set.name,
                value: crate::render::hex::string(&set.value),
            })
            .collect();
        let changed = !fields.is_empty() || !options.is_empty();
        changed.then(|| SocketChange { id: SocketId::of(socket, handle), fields, options })
    }
}

/// All that is known of a socket, in order; addresses as one.
fn facts(socket: &Socket) -> Vec<(String, String)> {
    let address = |address: Option<std::net::SocketAddr>| {
        address.map_or_else(|| "none".to_string(), |address| address.to_string())
    };
    let ends = [("local", socket.local()), ("remote", socket.remote())];
    let mut all: Vec<(String, String)> =
        ends.into_iter().map(|(name, end)| (name.to_string(), address(end))).collect();
    let is_end = |name: &str| name.starts_with("src_") || name.starts_with("dst_");
    for name in Socket::names().into_iter().filter(|name| !is_end(name)) {
        let value = socket.field(&name).unwrap_or(0).to_string();
        all.push((name, value));
    }
    all
}
