//! Entries that maps get before a run.
//!
//! JSON of two forms: an object from keys to values, `{"10.0.0.1": 1}`, or a list of entries as
//! `run --json` and bpftool write them, `[{"key": ..., "value": ...}]`. In a per-CPU map `value` is
//! that of CPU 0, and `"values": [{"cpu": 0, "value": ...}]` those of several. The value `null` removes
//! the entry. In a map of maps `"entries": ...` is what goes into the inner map, which is made if there
//! is none. Queues, stacks, Bloom filters and user ring buffers take lists of values, bare or as
//! `{"value": ...}`, first out first. The value of a map of sockets is `{"socket": ...}`, a handle or
//! a description; of a `cgroup_array` the number of a cgroup. The key of an `sk_storage` is
//! `{"socket": ...}`, or the cookie of a socket.

mod handles;

use super::field;
use super::socket::Find;
use super::value::{self, Json, Shape};
use crate::failure::Failure;
use ebpfvm::map::{CgroupArray, ProgArray, UpdateFlags, UserRingbuf};
use ebpfvm::{Loaded, Map};
use ebpfvm_loader::Object;
use ebpfvm_spec::{Errno, MapDef, MapType};
use serde_json::Value;

/// The index of the map that a name means: of a data section also the section's name.
pub(crate) fn find(object: &Object, name: &str) -> Result<usize, Failure> {
    let maps = object.maps();
    let by_name = maps.iter().position(|def| def.name == name);
    let by_section = || maps.iter().position(|def| section(def) == Some(name));
    by_name.or_else(by_section).ok_or_else(|| Failure::Unknown {
        what: "map",
        name: name.into(),
        place: object.file().into(),
        known: maps.iter().map(|def| def.name.clone()).collect(),
    })
}

/// The section whose variables the map holds.
pub(crate) fn section(def: &MapDef) -> Option<&str> {
    match &def.origin {
        ebpfvm_spec::map::MapOrigin::Section { section, .. } => Some(section),
        ebpfvm_spec::map::MapOrigin::Declared => None,
    }
}

/// Puts entries into a map.
pub(crate) fn fill(loaded: &Loaded, map: &Map, json: &Json, find: Find<'_>) -> Result<(), Failure> {
    fill_from(loaded, map, json, &json.value, "", find)
}

/// Puts the entries of a part of the JSON into a map.
fn fill_from(
    loaded: &Loaded,
    map: &Map,
    json: &Json,
    part: &Value,
    place: &str,
    find: Find<'_>,
) -> Result<(), Failure> {
    use MapType::{BloomFilter, Queue, Stack, UserRingbuf};
    if matches!(map.def().map_type, Queue | Stack | BloomFilter | UserRingbuf) {
        let entry = Entry { json, path: place, loaded, map, find };
        let values = part.as_array().ok_or_else(|| entry.wrong("expected a list of values"))?;
        return push(&entry, values);
    }
    match part {
        Value::Object(entries) => {
            for (key, value) in entries {
                let path = format!("{place}key \"{key}\"");
                let entry = Entry { json, path: &path, loaded, map, find };
                let given = if entry.holds_maps() { Inside(value) } else { One(value) };
                entry.put(&named_key(key, map), given)?;
            }
        }
        Value::Array(entries) => {
            for (i, item) in entries.iter().enumerate() {
                let path = format!("{place}[{i}]");
                let entry = Entry { json, path: &path, loaded, map, find };
                let member = |name| item.get(name);
                match (member("key"), member("value"), member("values"), member("entries")) {
                    (Some(key), Some(value), None, None) => entry.put(key, One(value))?,
                    (Some(key), None, Some(values), None) => entry.put(key, PerCpu(values))?,
                    (Some(key), None, None, Some(inside)) => entry.put(key, Inside(inside))?,
                    _ => return Err(entry.wrong("expected {\"key\": ..., \"value\": ...}")),
                }
            }
        }
        _ => {
            let expected = "expected an object {KEY: VALUE} or a list of {\"key\", \"value\"}";
            return Err(json.wrong(place, expected));
        }
    }
    Ok(())
}

/// Puts values into a map without keys. What comes out of a stack first goes in last.
fn push(into: &Entry<'_>, values: &[Value]) -> Result<(), Failure> {
    if let Some(ring) = into.map.as_kind::<UserRingbuf>() {
        return send(into, ring, values);
    }
    let (def, btf) = (into.map.def(), into.loaded.object().btf().map(|btf| &**btf));
    let shape = Shape { bytes: def.value_bytes as usize, btf, type_id: def.value_type };
    let mut all = Vec::new();
    for (i, item) in values.iter().enumerate() {
        let path = format!("{}[{i}]", into.path);
        let bytes = value::bytes(item.get("value").unwrap_or(item), shape)
            .map_err(|p| into.json.wrong(&path, format!("the value: {p}")))?;
        all.push((path, bytes));
    }
    if def.map_type == MapType::Stack {
        all.reverse();
    }
    for (path, bytes) in all {
        let pushed = into.map.write(&[], &bytes, UpdateFlags::ANY);
        pushed.map_err(|error| {
            let most = match error.errno() {
                Errno::E2BIG => format!(": the map takes {} values", def.max_entries),
                _ => String::new(),
            };
            into.json.wrong(&path, format!("{error}{most}"))
        })?;
    }
    Ok(())
}

/// Puts records into a ring buffer that a program drains.
fn send(into: &Entry<'_>, ring: &UserRingbuf, records: &[Value]) -> Result<(), Failure> {
    for (i, item) in records.iter().enumerate() {
        let record = item.get("value").unwrap_or(item);
        let bytes = field::bytes(record).unwrap_or_else(|| {
            Err(format!("found {record}, expected a text or {{\"hex\": \"...\"}}"))
        });
        let pushed = bytes.and_then(|bytes| ring.push(&bytes).map_err(|errno| errno.to_string()));
        pushed.map_err(|problem| into.json.wrong(&format!("{}[{i}]", into.path), problem))?;
    }
    Ok(())
}

/// A key that is the name of a member: JSON in a string where the key is not of one piece.
fn named_key(key: &str, map: &Map) -> Value {
    let text = || Value::String(key.into());
    let compound = key.trim_start().starts_with(['{', '[']);
    // Without a type a number has to be one; with one, strings of digits are taken.
    let bare = map.def().key_type.is_none() && key.len() != 2 * map.def().key_bytes as usize;
    if compound || bare { serde_json::from_str(key).unwrap_or_else(|_| text()) } else { text() }
}

/// The value of an entry.
enum Given<'a> {
    One(&'a Value),
    PerCpu(&'a Value),
    /// What goes into an inner map.
    Inside(&'a Value),
}
use Given::{Inside, One, PerCpu};

/// An entry on its way into a map.
struct Entry<'a> {
    json: &'a Json,
    path: &'a str,
    loaded: &'a Loaded,
    map: &'a Map,
    find: Find<'a>,
}

impl Entry<'_> {
    fn wrong(&self, problem: impl Into<String>) -> Failure {
        self.json.wrong(self.path, problem)
    }

    fn holds_maps(&self) -> bool {
        matches!(self.map.def().map_type, MapType::ArrayOfMaps | MapType::HashOfMaps)
    }

    fn put(&self, key: &Value, given: Given<'_>) -> Result<(), Failure> {
        let def = self.map.def();
        if def.key_bytes == 0 || def.map_type == MapType::PerfEventArray {
            let kind = def.map_type.name();
            return Err(self.wrong(format!("a map of kind {kind} takes no entries")));
        }
        let btf = self.loaded.object().btf().map(|btf| &**btf);
        let shape = Shape { bytes: def.key_bytes as usize, btf, type_id: def.key_type };
        if let (MapType::SkStorage, Some(socket)) = (def.map_type, key.get("socket")) {
            return self.put_of_socket(socket, given);
        }
        let key = value::bytes(key, shape).map_err(|p| self.wrong(format!("the key: {p}")))?;
        if let One(Value::Null) = given {
            return self.map.remove(&key).map_err(|error| self.wrong(error.to_string()));
        }
        if let (true, Inside(value)) = (self.holds_maps(), &given) {
            return match value {
                Value::Null => self.map.remove(&key).map_err(|e| self.wrong(e.to_string())),
                entries => self.put_inside(&key, entries),
            };
        }
        if self.holds_maps() {
            return Err(self.wrong("expected {\"key\": ..., \"entries\": ...}"));
        }
        if let Some(array) = self.map.as_kind::<ProgArray>() {
            return self.put_program(array, &key, given);
        }
        if let Some(array) = self.map.as_kind::<CgroupArray>() {
            return self.put_cgroup(array, &key, given);
        }
        if handles::holds_sockets(def.map_type) {
            return self.put_socket(&key, given);
        }
        let shape = Shape { bytes: def.value_bytes as usize, btf, type_id: def.value_type };
        let read = |json: &Value| {
            value::bytes(json, shape).map_err(|p| self.wrong(format!("the value: {p}")))
        };
        let value = match given {
            One(json) if def.map_type.is_percpu() => self.lanes(&[(0, read(json)?)])?,
            One(json) => read(json)?,
            PerCpu(_) if !def.map_type.is_percpu() => {
                let kind = def.map_type.name();
                return Err(self.wrong(format!("a map of kind {kind} has one value for all CPUs")));
            }
            Inside(_) => {
                let kind = def.map_type.name();
                return Err(self.wrong(format!("a map of kind {kind} has values, not entries")));
            }
            PerCpu(list) => {
                let mut values = Vec::new();
                for item in list.as_array().into_iter().flatten() {
                    let (Some(cpu), Some(value)) = (item["cpu"].as_u64(), item.get("value")) else {
                        return Err(self.wrong("expected {\"cpu\": N, \"value\": ...} in values"));
                    };
                    values.push((cpu, read(value)?));
                }
                self.lanes(&values)?
            }
        };
        let written = self.map.write(&key, &value, UpdateFlags::ANY);
        written.map_err(|error| match error.errno() {
            Errno::E2BIG => {
                self.wrong(format!("{error}: the map takes {} entries", def.max_entries))
            }
            _ => self.wrong(error.to_string()),
        })
    }

    /// The values of all CPUs after one another; those that are not given are zero.
    fn lanes(&self, values: &[(u64, Vec<u8>)]) -> Result<Vec<u8>, Failure> {
        let cpus = self.loaded.vm().cpus();
        let mut all = vec![0; self.map.host_value_bytes()];
        let lane = all.len() / cpus as usize;
        for (cpu, value) in values {
            if *cpu >= u64::from(cpus) {
                return Err(self.wrong(format!("CPU {cpu}: the machine has {cpus}, from 0")));
            }
            all[*cpu as usize * lane..][..value.len()].copy_from_slice(value);
        }
        Ok(all)
    }

    /// Puts entries into the inner map of a key, a new one if there is none.
    fn put_inside(&self, key: &[u8], entries: &Value) -> Result<(), Failure> {
        let map = match self.map.inner(key) {
            Some(map) => map,
            None => {
                let pattern = self.map.def().inner.as_deref();
                let none = || self.wrong("the object does not tell what the inner maps are");
                let def = pattern.ok_or_else(none)?;
                let new =
                    self.loaded.vm().create_map(def).map_err(|e| self.wrong(e.to_string()))?;
                self.map
                    .set_inner(key, new.clone(), UpdateFlags::ANY)
                    .map_err(|error| self.wrong(error.to_string()))?;
                new
            }
        };
        let place = format!("{} > ", self.path);
        fill_from(self.loaded, &map, self.json, entries, &place, self.find)
    }
}
