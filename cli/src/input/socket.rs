//! Sockets as JSON describes them: `{"local": "10.0.0.1:80", "remote": "10.0.0.9:4000"}`.

use super::field::{self, Refused, below};
use super::value::Json;
use crate::failure::Failure;
use crate::model::socket::{FAMILIES, KINDS, PROTOCOLS, STATES};
use ebpfvm::socket::{IPPROTO_TCP, Socket, state};
use ebpfvm_spec::context::Pointee;
use serde_json::{Map, Value};
use std::net::SocketAddr;
use std::sync::Arc;

/// Names that fields of sockets go by, with numbers.
const NAMED: [(&str, &[(&str, u64)]); 4] =
    [("protocol", PROTOCOLS), ("family", FAMILIES), ("type", KINDS), ("state", STATES)];

/// Members that are no fields of a socket.
const PARTS: [&str; 8] = ["cookie", "local", "remote", "tcp", "xdp", "cgroups", "listener", "syn"];

/// How handles are looked up.
pub(crate) type Find<'a> = &'a dyn Fn(u32) -> Option<Arc<Socket>>;

/// The socket that a value names by its handle or describes.
pub(crate) fn read(
    json: &Json,
    path: &str,
    value: &Value,
    find: Find<'_>,
) -> Result<Arc<Socket>, Failure> {
    match value {
        Value::Object(members) => describe(json, path, members, find),
        Value::Number(number) => {
            let handle = number.as_u64().and_then(|n| u32::try_from(n).ok());
            handle.and_then(find).ok_or_else(|| {
                json.wrong(path, format!("no socket of the --host file has the handle {number}"))
            })
        }
        _ => Err(json.wrong(
            path,
            format!(
                "found {value}, expected a socket: {{\"local\": \"10.0.0.1:80\", ...}} or the handle \
                 of one of the --host file"
            ),
        )),
    }
}

/// The socket that an object describes. What it does not say follows from its addresses: TCP, that
/// listens or is connected.
fn describe(
    json: &Json,
    path: &str,
    members: &Map<String, Value>,
    find: Find<'_>,
) -> Result<Arc<Socket>, Failure> {
    let at = |name: &str| below(path, name);
    let cookie = match members.get("cookie") {
        None => None,
        Some(value) => Some(value.as_u64().filter(|n| *n != 0).ok_or_else(|| {
            json.wrong(&at("cookie"), format!("found {value}, expected a number from 1"))
        })?),
    };
    let socket = Arc::new(cookie.map_or_else(Socket::new, Socket::with_cookie));
    let [local, remote] = ["local", "remote"].map(|name| match members.get(name) {
        None => Ok(None),
        Some(value) => address(value).map(Some).map_err(|problem| json.wrong(&at(name), problem)),
    });
    let (local, remote) = (local?, remote?);
    let put = |name: &str, number: u64| {
        socket.set_field(name, number).map_err(|error| json.wrong(path, error.to_string()))
    };
    for (name, names) in NAMED {
        if let Some(value) = members.get(name) {
            let number = value.as_str().and_then(|text| number_of(names, text));
            match (number, value.as_u64()) {
                (Some(number), _) | (None, Some(number)) => put(name, number)?,
                (None, None) => {
                    let known: Vec<_> = names.iter().map(|(name, _)| *name).collect();
                    let known = known.join(", ");
                    let problem = format!("found {value}, expected a number or one of {known}");
                    return Err(json.wrong(&at(name), problem));
                }
            }
        }
    }
    if let Some(first) = local.or(remote) {
        follow(&socket, members, first, remote.is_some());
        let versions = [local, remote].map(|address| address.map(|a| a.is_ipv4()));
        if let [Some(here), Some(there)] = versions
            && here != there
        {
            return Err(json.wrong(&at("remote"), "it is of another IP version than the local one"));
        }
        local.into_iter().for_each(|address| socket.set_local(address));
        remote.into_iter().for_each(|address| socket.set_remote(address));
    }
    for (name, value) in members {
        let is_named = NAMED.iter().any(|(named, _)| named == name);
        match name.as_str() {
            "tcp" => fields(json, &at("tcp"), value, &socket, Pointee::TcpSock)?,
            "xdp" => fields(json, &at("xdp"), value, &socket, Pointee::XdpSock)?,
            "cgroups" => socket.set_cgroups(&numbers(json, &at("cgroups"), value)?),
            "listener" => socket.set_listener(read(json, &at("listener"), value, find)?),
            "syn" => syn(json, &at("syn"), value, &socket)?,
            "cookie" | "local" | "remote" => {}
            _ if is_named => {}
            name => {
                let base = name.split('[').next().unwrap_or(name);
                if !Socket::names().iter().any(|known| known == base) {
                    return Err(json.wrong(&at(name), unknown(name)));
                }
                let mut to =
                    |name: &str, number| socket.set_field(name, number).map_err(Refused::from);
                field::set(json, &at(name), name, value, &mut to)?;
            }
        }
    }
    Ok(socket)
}

/// Sets what follows from the addresses and is not given.
fn follow(socket: &Socket, members: &Map<String, Value>, first: SocketAddr, connected: bool) {
    let missing = |name: &str| !members.contains_key(name);
    let put = |name: &str, number: u64| {
        if missing(name) {
            // The names are fields, the numbers small.
            let _ = socket.set_field(name, number);
        }
    };
    put("protocol", IPPROTO_TCP);
    let protocol = socket.field("protocol").unwrap_or(0);
    let number = |names, name| number_of(names, name).unwrap_or(0);
    put("family", number(FAMILIES, if first.is_ipv4() { "inet" } else { "inet6" }));
    put(
        "type",
        match protocol {
            IPPROTO_TCP => number(KINDS, "stream"),
            ebpfvm::socket::IPPROTO_UDP => number(KINDS, "dgram"),
            _ => number(KINDS, "raw"),
        },
    );
    put(
        "state",
        match (connected, protocol) {
            (true, _) => state::ESTABLISHED,
            (false, IPPROTO_TCP) => state::LISTEN,
            (false, _) => state::CLOSE,
        },
    );
}

/// The number of a name.
fn number_of(names: &[(&str, u64)], name: &str) -> Option<u64> {
    names.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, number)| *number)
}

fn unknown(name: &str) -> String {
    let mut known: Vec<String> = PARTS.iter().map(|part| part.to_string()).collect();
    known.extend(Socket::names());
    format!("a socket has no {name}; it has {}", known.join(", "))
}

/// `10.0.0.1:80` or `[::1]:80`.
fn address(value: &Value) -> Result<SocketAddr, String> {
    let parsed = value.as_str().and_then(|text| text.parse().ok());
    parsed.ok_or_else(|| {
        format!("found {value}, expected an address with a port: \"10.0.0.1:80\", \"[::1]:80\"")
    })
}

/// Sets fields of one struct that programs see of the socket.
fn fields(
    json: &Json,
    path: &str,
    value: &Value,
    socket: &Socket,
    pointee: Pointee,
) -> Result<(), Failure> {
    let Some(members) = value.as_object() else {
        return Err(json.wrong(path, format!("found {value}, expected an object of fields")));
    };
    let mut to = |name: &str, number| socket.set(pointee, name, number).map_err(Refused::from);
    for (name, value) in members {
        field::set(json, &below(path, name), name, value, &mut to)?;
    }
    Ok(())
}

/// A list of numbers.
fn numbers(json: &Json, path: &str, value: &Value) -> Result<Vec<u64>, Failure> {
    let all: Option<Vec<u64>> =
        value.as_array().and_then(|list| list.iter().map(Value::as_u64).collect());
    all.ok_or_else(|| json.wrong(path, format!("found {value}, expected a list of numbers")))
}

/// Keeps the frame that opened the connection.
fn syn(json: &Json, path: &str, value: &Value, socket: &Socket) -> Result<(), Failure> {
    let expected = "expected {\"hex\": \"...\"}, an Ethernet frame with a TCP segment";
    let frame = field::bytes(value).unwrap_or_else(|| Err(format!("found {value}, {expected}")));
    let frame = frame.map_err(|problem| json.wrong(path, problem))?;
    if socket.set_syn(&frame) { Ok(()) } else { Err(json.wrong(path, expected)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn json() -> Json {
        Json { origin: "--ctx".into(), value: Value::Null }
    }

    fn socket(value: Value) -> Result<Arc<Socket>, String> {
        let find = |handle| (handle == 7).then(|| Arc::new(Socket::with_cookie(70)));
        read(&json(), "sk", &value, &find).map_err(|failure| failure.to_string())
    }

    #[test]
    fn what_is_not_said_follows_from_the_addresses() {
        let of = |value: Value| {
            let socket = socket(value).unwrap();
            ["protocol", "family", "type", "state"].map(|name| socket.field(name).unwrap())
        };
        assert_eq!(of(json!({"local": "10.0.0.1:80"})), [6, 2, 1, 10]);
        assert_eq!(of(json!({"local": "[::1]:80", "remote": "[::2]:4000"})), [6, 10, 1, 1]);
        assert_eq!(of(json!({"local": "0.0.0.0:53", "protocol": "udp"})), [17, 2, 2, 7]);
        assert_eq!(of(json!({"local": "0.0.0.0:1", "state": "time_wait"})), [6, 2, 1, 6]);
        assert_eq!(of(json!({"family": 1})), [0, 1, 0, 0]);
    }

    #[test]
    fn everything_known_of_a_socket_is_given() {
        let made = socket(json!({
            "cookie": 9, "local": "10.0.0.1:80", "mark": 5, "uid": 1000,
            "tcp": {"snd_cwnd": 10}, "cgroups": [1, 2], "src_ip4": "10.0.0.2",
        }))
        .unwrap();
        assert_eq!((made.cookie(), made.cgroups()), (9, vec![1, 2]));
        let field = |name| made.field(name).unwrap();
        assert_eq!((field("mark"), field("uid"), field("snd_cwnd")), (5, 1000, 10));
        assert_eq!(made.local(), Some("10.0.0.2:80".parse().unwrap()));
        assert_eq!(socket(json!(7)).unwrap().cookie(), 70);
        let request = socket(json!({"listener": 7})).unwrap();
        assert_eq!(request.listener().unwrap().cookie(), 70);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        for (value, expected) in [
            (json!(8), "--ctx: sk: no socket of the --host file has the handle 8"),
            (json!(true), "--ctx: sk: found true, expected a socket"),
            (json!({"local": "10.0.0.1"}), "sk.local: found \"10.0.0.1\", expected an address"),
            (json!({"local": "1.1.1.1:1", "remote": "[::1]:1"}), "sk.remote: it is of another"),
            (json!({"state": "gone"}), "sk.state: found \"gone\", expected a number or one of"),
            (json!({"mrak": 1}), "sk.mrak: a socket has no mrak; it has cookie, local"),
            (json!({"mark": 1_u64 << 32}), "sk.mark: "),
            (json!({"tcp": {"cwnd": 1}}), "sk.tcp.cwnd: bpf_tcp_sock has no field cwnd"),
            (json!({"tcp": 1}), "sk.tcp: found 1, expected an object"),
            (json!({"cookie": 0}), "sk.cookie: found 0, expected a number from 1"),
            (json!({"cgroups": [true]}), "sk.cgroups: found [true], expected a list"),
            (json!({"syn": {"hex": "00"}}), "sk.syn: expected {\"hex\""),
            (json!({"listener": {"mrak": 1}}), "sk.listener.mrak: "),
        ] {
            let error = socket(value).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }
}
