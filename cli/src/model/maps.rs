//! The contents of maps.

use super::socket::SocketId;
use crate::render::hex;
use ebpfvm::Map;
use ebpfvm::map::ProgArray;
use ebpfvm::socket::Socket;
use ebpfvm_asm::ByteOrder;
use ebpfvm_loader::btf::value::to_json;
use ebpfvm_spec::btf::{Btf, TypeId};
use ebpfvm_spec::map::MapOrigin;
use ebpfvm_spec::{MapDef, MapType};
use serde::Serialize;
use serde_json::Value;
use std::sync::Arc;

/// An entry.
#[derive(Serialize)]
pub(crate) struct MapEntry {
    /// The key in hex; empty in maps without keys.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) key: String,
    /// The value in hex; of a program array, the program's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) value: Option<String>,
    /// The values of a per-CPU map.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) values: Option<Vec<CpuValue<String>>>,
    /// Key and value through their types.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) formatted: Option<Formatted>,
    /// In a map of sockets, the socket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) socket: Option<SocketId>,
    /// In a map of maps, what is in the inner map.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) entries: Option<Vec<MapEntry>>,
}

/// A map that was kept, with its contents.
#[derive(Serialize)]
pub(crate) struct MapReport {
    pub(crate) name: String,
    #[serde(rename = "type")]
    pub(crate) map_type: &'static str,
    pub(crate) key_bytes: u32,
    pub(crate) value_bytes: u32,
    pub(crate) max_entries: u32,
    /// Names of creation flags.
    pub(crate) flags: Option<String>,
    /// How many values there are for a key.
    pub(crate) cpus: u32,
    pub(crate) entries: Vec<MapEntry>,
    /// The values of a map without keys in hex, first out first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) values: Vec<String>,
}

impl MapReport {
    pub(crate) fn new(def: &MapDef, cpus: u32, entries: Vec<MapEntry>, map: &Map) -> MapReport {
        MapReport {
            name: def.name.clone(),
            map_type: def.map_type.name(),
            key_bytes: def.key_bytes,
            value_bytes: def.value_bytes,
            max_entries: def.max_entries,
            flags: (def.flags.0 != 0).then(|| def.flags.to_string()),
            cpus,
            entries,
            values: map.values().iter().map(|value| hex::string(value)).collect(),
        }
    }
}

/// The value of one CPU.
#[derive(Serialize)]
pub(crate) struct CpuValue<T> {
    pub(crate) cpu: usize,
    pub(crate) value: T,
}

/// An entry through its types.
#[derive(Serialize)]
pub(crate) struct Formatted {
    #[serde(skip_serializing_if = "Value::is_null")]
    pub(crate) key: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) value: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) values: Option<Vec<CpuValue<Value>>>,
}

/// The entries of a map, sorted by key, of queues and stacks first out first. Arrays show only entries
/// that are not all zero. None if maps of the kind have no entries to show.
pub(crate) fn entries(btf: Option<&Btf>, map: &Map) -> Option<Vec<MapEntry>> {
    let def = map.def();
    if matches!(def.map_type, MapType::Queue | MapType::Stack) {
        return Some(map.values().iter().map(|value| entry(btf, map, &[], value)).collect());
    }
    let unreadable = [MapType::PerfEventArray, MapType::CgroupArray];
    if def.key_bytes == 0 || unreadable.contains(&def.map_type) {
        return None;
    }
    if holds_sockets(def.map_type) {
        return Some(
            sockets(map).map(|(key, socket)| of_socket(btf, map, &key, &socket)).collect(),
        );
    }
    let is_array = matches!(def.map_type, MapType::Array | MapType::PercpuArray);
    let mut entries: Vec<(Vec<u8>, Vec<u8>)> = map
        .entries()
        .filter(|(_, value)| !is_array || def.max_entries == 1 || value.iter().any(|b| *b != 0))
        .collect();
    // The keys of arrays are numbers in host order, and come in their order.
    if !is_array && !matches!(def.map_type, MapType::ProgArray | MapType::ArrayOfMaps) {
        entries.sort();
    }
    Some(entries.iter().map(|(key, value)| entry(btf, map, key, value)).collect())
}

/// Whether a map holds something that its definition does not, as far as its first entries tell.
pub(crate) fn is_filled(map: &Map) -> bool {
    /// Enough to see whether a program uses the map; large arrays take long to look through.
    const LOOKED_AT: usize = 1 << 16;
    let def = map.def();
    let mut values = map.entries().take(LOOKED_AT).map(|(_, value)| value);
    match (&def.origin, def.map_type) {
        (MapOrigin::Section { data, .. }, _) => values.any(|value| value != data[..]),
        (_, MapType::Array | MapType::PercpuArray | MapType::StructOps) => {
            values.any(|value| value.iter().any(|byte| *byte != 0))
        }
        (_, MapType::ProgArray | MapType::ArrayOfMaps | MapType::HashOfMaps) => false,
        (_, MapType::Queue | MapType::Stack) => !map.values().is_empty(),
        (_, kind) if holds_sockets(kind) => sockets(map).next().is_some(),
        _ => values.next().is_some(),
    }
}

/// Whether values of the kind are sockets.
fn holds_sockets(map_type: MapType) -> bool {
    matches!(map_type, MapType::Sockmap | MapType::Sockhash | MapType::ReuseportSockarray)
}

/// Keys and sockets of a map of sockets.
fn sockets(map: &Map) -> impl Iterator<Item = (Vec<u8>, Arc<Socket>)> + '_ {
    let next = |key: &Vec<u8>| map.next_key(Some(key)).ok();
    let keys = std::iter::successors(map.next_key(None).ok(), next);
    keys.filter_map(|key| map.socket(&key).map(|socket| (key, socket)))
}

fn of_socket(btf: Option<&Btf>, map: &Map, key: &[u8], socket: &Socket) -> MapEntry {
    let value = socket.cookie().to_ne_bytes();
    let shown = Some(SocketId::of(socket, None));
    // The cookie is what user space reads, where values have room for it.
    let bytes = value.len().min(map.def().value_bytes as usize);
    let MapEntry { key, formatted, .. } = entry(btf, map, key, &value[..bytes]);
    let formatted = formatted.map(|formatted| Formatted { value: None, ..formatted });
    let value = Some(hex::string(&value));
    MapEntry { key, value, values: None, formatted, socket: shown, entries: None }
}

fn entry(btf: Option<&Btf>, map: &Map, key: &[u8], value: &[u8]) -> MapEntry {
    let def = map.def();
    if let Some(array) = map.as_kind::<ProgArray>() {
        let index = key.try_into().map_or(0, u32::from_ne_bytes);
        let name = array.get(index).map(|program| program.program().name.clone());
        let shown = Some(name.unwrap_or_default());
        let formatted =
            Formatted { key: index.into(), value: shown.clone().map(Value::String), values: None };
        return MapEntry {
            key: hex::string(key),
            value: shown,
            values: None,
            formatted: Some(formatted),
            socket: None,
            entries: None,
        };
    }
    if def.map_type == MapType::StackTrace {
        let addresses = value.chunks_exact(8).filter_map(|bytes| bytes.try_into().ok());
        let addresses = addresses.map(u64::from_ne_bytes).take_while(|address| *address != 0);
        let value_typed = addresses.map(|address| Value::String(format!("{address:#x}"))).collect();
        let index = key.try_into().map_or(0, u32::from_ne_bytes);
        let (key, value) = (hex::string(key), Some(hex::string(value)));
        let formatted =
            Some(Formatted { key: index.into(), value: Some(value_typed), values: None });
        return MapEntry { key, value, values: None, formatted, socket: None, entries: None };
    }
    let through =
        |id: Option<TypeId>, bytes: &[u8]| to_json(btf?, id?, bytes, ByteOrder::HOST).ok();
    let key_typed = through(def.key_type, key).or_else(|| {
        // The key of an array is a number whatever the object says.
        let index = <[u8; 4]>::try_from(key).ok()?;
        let array =
            matches!(def.map_type, MapType::Array | MapType::PercpuArray | MapType::ArrayOfMaps);
        array.then(|| u32::from_ne_bytes(index).into())
    });
    if matches!(def.map_type, MapType::ArrayOfMaps | MapType::HashOfMaps) {
        let inner = map.inner(key).and_then(|inner| entries(btf, &inner));
        let formatted = key_typed.map(|key| Formatted { key, value: None, values: None });
        let (key, entries) = (hex::string(key), Some(inner.unwrap_or_default()));
        return MapEntry { key, value: None, values: None, formatted, socket: None, entries };
    }
    // There is no key to show in maps without.
    let key_typed = key_typed.or((def.key_bytes == 0).then_some(Value::Null));
    let size = def.value_bytes as usize;
    let lanes: Vec<&[u8]> = match def.map_type.is_percpu() {
        true => value.chunks(size.next_multiple_of(8)).map(|lane| &lane[..size]).collect(),
        false => vec![value],
    };
    let values_typed: Option<Vec<Value>> =
        lanes.iter().map(|lane| through(def.value_type, lane)).collect();
    let formatted =
        key_typed.zip(values_typed).map(|(key, mut values)| match def.map_type.is_percpu() {
            true => Formatted { key, value: None, values: Some(numbered(values)) },
            false => Formatted { key, value: values.pop(), values: None },
        });
    let mut values: Vec<String> = lanes.iter().map(|lane| hex::string(lane)).collect();
    let (value, values) = match def.map_type.is_percpu() {
        true => (None, Some(numbered(values))),
        false => (values.pop(), None),
    };
    MapEntry { key: hex::string(key), value, values, formatted, socket: None, entries: None }
}

fn numbered<T>(values: Vec<T>) -> Vec<CpuValue<T>> {
    values.into_iter().enumerate().map(|(cpu, value)| CpuValue { cpu, value }).collect()
}
