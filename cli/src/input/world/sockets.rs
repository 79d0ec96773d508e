//! The sockets of a world.

use super::Named;
use crate::failure::Failure;
use crate::input::socket;
use crate::input::value::Json;
use ebpfvm::host::world::Sockets;
use ebpfvm::socket::Socket;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The sockets that a list describes, the oldest first. One may name those before it.
pub(super) fn read(json: &Json, list: &[Value]) -> Result<Vec<Named>, Failure> {
    let mut all: Vec<Named> = Vec::new();
    for (i, value) in list.iter().enumerate() {
        let path = format!("sockets[{i}]");
        let mut value = value.clone();
        let Some(members) = value.as_object_mut() else {
            return Err(json.wrong(&path, format!("found {value}, expected an object")));
        };
        let handle = match members.remove("handle") {
            None => None,
            Some(number) => {
                let handle = number.as_u64().and_then(|n| u32::try_from(n).ok());
                let wrong = || format!("found {number}, expected a number of 32 bits");
                Some(handle.ok_or_else(|| json.wrong(&format!("{path}.handle"), wrong()))?)
            }
        };
        if handle.is_some() && all.iter().any(|(other, _)| *other == handle) {
            return Err(json.wrong(&format!("{path}.handle"), "another socket has this handle"));
        }
        let has_cookie = members.contains_key("cookie");
        let find = |handle| of_handle(&all, handle);
        let socket = socket::read(json, &path, &value, &find)?;
        let same = |(_, other): &Named| other.cookie() == socket.cookie();
        if has_cookie && all.iter().any(same) {
            return Err(json.wrong(&format!("{path}.cookie"), "another socket has this cookie"));
        }
        all.push((handle, socket));
    }
    Ok(all)
}

/// The socket with a handle.
fn of_handle(all: &[Named], handle: u32) -> Option<Arc<Socket>> {
    all.iter().find(|(known, _)| *known == Some(handle)).map(|(_, socket)| socket.clone())
}

/// The table that programs look sockets up in, with the cookies of network namespaces by number.
pub(super) fn table(all: &[Named], namespaces: &BTreeMap<u32, u64>) -> Sockets {
    let mut table = Sockets::default();
    for (handle, socket) in all {
        table.add(socket.clone());
        handle.map(|handle| table.name(handle, socket.clone()));
    }
    namespaces.iter().for_each(|(id, cookie)| table.name_netns(*id, *cookie));
    table
}
