//! Values that are no bytes: programs, sockets, cgroups.

use super::{Entry, Given, One};
use crate::failure::Failure;
use crate::input::socket;
use crate::input::value::{self, Shape};
use ebpfvm::map::{CgroupArray, LocalStorage, OwnerId, ProgArray, UpdateFlags};
use ebpfvm_spec::{Errno, MapType};
use serde_json::Value;
use std::num::NonZeroU64;

/// Whether the values of such maps are sockets.
pub(super) fn holds_sockets(map_type: MapType) -> bool {
    matches!(map_type, MapType::Sockmap | MapType::Sockhash | MapType::ReuseportSockarray)
}

impl Entry<'_> {
    pub(super) fn put_program(
        &self,
        array: &ProgArray,
        key: &[u8],
        given: Given<'_>,
    ) -> Result<(), Failure> {
        let One(Value::String(name)) = given else {
            return Err(self.wrong("the value: expected the name of a program"));
        };
        let index = key.try_into().map(u32::from_ne_bytes);
        let index = index.map_err(|_| self.wrong("the key: expected 4 bytes"))?;
        let program = self.loaded.program(name).map_err(|e| self.wrong(e.to_string()))?;
        let kind = program.prog_type().name();
        array.set(index, program).map_err(|errno| {
            let slots = array.slots();
            self.wrong(format!(
                "program '{name}' ({kind}) cannot go there: {errno}; the array has {slots} slots"
            ))
        })
    }

    pub(super) fn put_socket(&self, key: &[u8], given: Given<'_>) -> Result<(), Failure> {
        let One(value) = given else { return Err(self.wrong(EXPECTED_SOCKET)) };
        let Some(described) = value.get("socket") else {
            return Err(self.wrong(EXPECTED_SOCKET));
        };
        let path = format!("{}.socket", self.path);
        let socket = socket::read(self.json, &path, described, self.find)?;
        let set = self.map.set_socket(key, socket, UpdateFlags::ANY);
        set.map_err(|error| {
            let why = match (self.map.def().map_type, error.errno()) {
                (MapType::ReuseportSockarray, Errno::EINVAL) => {
                    ": it takes listeners and bound sockets with a reuseport_group other than 0"
                }
                (MapType::ReuseportSockarray, Errno::EBUSY) => ": the socket is in another",
                (MapType::Sockmap | MapType::Sockhash, Errno::EOPNOTSUPP) => {
                    ": it takes TCP sockets that listen or are connected, and bound UDP sockets"
                }
                _ => "",
            };
            self.wrong(format!("{error}{why}"))
        })
    }

    /// Puts a value into the storage of a socket, or removes it.
    pub(super) fn put_of_socket(&self, described: &Value, given: Given<'_>) -> Result<(), Failure> {
        let path = format!("{}.socket", self.path);
        let socket = socket::read(self.json, &path, described, self.find)?;
        let storage = self.map.as_kind::<LocalStorage>();
        let storage = storage.ok_or_else(|| self.wrong("the map holds no values of sockets"))?;
        let owner = OwnerId(socket.cookie());
        let done = match given {
            One(Value::Null) => storage.delete(owner),
            One(value) => {
                let (def, btf) = (self.map.def(), self.loaded.object().btf().map(|btf| &**btf));
                let shape = Shape { bytes: def.value_bytes as usize, btf, type_id: def.value_type };
                let bytes = value::bytes(value, shape)
                    .map_err(|p| self.wrong(format!("the value: {p}")))?;
                storage.set(owner, &bytes, UpdateFlags::ANY)
            }
            _ => return Err(self.wrong("a socket has one value for all CPUs")),
        };
        done.map_err(|errno| self.wrong(errno.to_string()))
    }

    pub(super) fn put_cgroup(
        &self,
        array: &CgroupArray,
        key: &[u8],
        given: Given<'_>,
    ) -> Result<(), Failure> {
        let One(value) = given else { return Err(self.wrong(EXPECTED_CGROUP)) };
        let cgroup = value.as_u64().and_then(NonZeroU64::new);
        let cgroup =
            cgroup.ok_or_else(|| self.wrong(format!("found {value}, {EXPECTED_CGROUP}")))?;
        let index = key.try_into().map(u32::from_ne_bytes);
        let index = index.map_err(|_| self.wrong("the key: expected 4 bytes"))?;
        let slots = array.slots();
        let set = array.set(index, cgroup);
        set.map_err(|errno| self.wrong(format!("{errno}: the array has {slots} slots")))
    }
}

const EXPECTED_SOCKET: &str = "the value: expected {\"socket\": ...}, a handle or a description";
const EXPECTED_CGROUP: &str = "expected the number of a cgroup, from 1";
