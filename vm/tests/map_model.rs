//! Maps against a model, one operation after another.

use ebpfvm::map::{Cpu, Map, MapLimits, MapRef, UpdateFlags};
use ebpfvm_spec::{Errno, MapDef, MapFlags, MapType};
use proptest::prelude::*;
use std::collections::BTreeMap;

const CPUS: u32 = 3;

/// What is done to a map and to its model.
#[derive(Clone, Debug)]
enum Op {
    Write { key: u32, value: u64, flags: u64 },
    Update { key: u32, value: u64, flags: u64, cpu: u32 },
    Lookup { key: u32, cpu: u32 },
    Read { key: u32 },
    Delete { key: u32 },
    Take { key: u32 },
    NextKey { key: u32 },
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let key = 0..12u32;
    let flags = prop_oneof![6 => Just(0), 2 => Just(1), 2 => Just(2), 1 => Just(3), 1 => Just(4)];
    let op =
        (key, any::<u64>(), flags, 0..CPUS, 0..12u8).prop_map(|(key, value, flags, cpu, which)| {
            match which {
                0..3 => Op::Write { key, value, flags },
                3..6 => Op::Update { key, value, flags, cpu },
                6 => Op::Lookup { key, cpu },
                7 => Op::Read { key },
                8..10 => Op::Delete { key },
                10 => Op::Take { key },
                _ => Op::NextKey { key },
            }
        });
    proptest::collection::vec(op, 1..200)
}

/// The model: what the kernel's documentation says, in the simplest form.
struct Model {
    entries: BTreeMap<u32, [u64; CPUS as usize]>,
    kind: MapType,
    max_entries: u32,
}

impl Model {
    fn new(kind: MapType, max_entries: u32) -> Model {
        let mut entries = BTreeMap::new();
        if matches!(kind, MapType::Array | MapType::PercpuArray) {
            entries.extend((0..max_entries).map(|key| (key, [0; CPUS as usize])));
        }
        Model { entries, kind, max_entries }
    }

    fn is_array(&self) -> bool {
        matches!(self.kind, MapType::Array | MapType::PercpuArray)
    }

    fn set(&mut self, key: u32, value: u64, flags: u64, cpu: Option<u32>) -> Result<(), Errno> {
        let there = self.entries.contains_key(&key);
        // The kernel's array looks at a program's index before it asks for the lock.
        if flags == 4 && cpu.is_some() && self.is_array() && !there {
            return Err(Errno::E2BIG);
        }
        if flags > 2 {
            return Err(Errno::EINVAL);
        }
        if self.is_array() && !there {
            return Err(Errno::E2BIG);
        }
        match (there, flags) {
            (true, 1) => return Err(Errno::EEXIST),
            (false, 2) => return Err(Errno::ENOENT),
            (false, _) if self.entries.len() as u32 == self.max_entries => {
                return Err(Errno::E2BIG);
            }
            _ => {}
        }
        let entry = self.entries.entry(key).or_default();
        match cpu.filter(|_| self.kind.is_percpu()) {
            Some(cpu) => entry[cpu as usize] = value,
            None => *entry = [value; CPUS as usize],
        }
        Ok(())
    }

    fn host_value(&self, key: u32) -> Option<Vec<u8>> {
        let values = self.entries.get(&key)?;
        let lanes = if self.kind.is_percpu() { CPUS as usize } else { 1 };
        Some(values[..lanes].iter().flat_map(|value| value.to_ne_bytes()).collect())
    }

    fn delete(&mut self, key: u32) -> Result<(), Errno> {
        if self.is_array() {
            return Err(Errno::EINVAL);
        }
        self.entries.remove(&key).map(drop).ok_or(Errno::ENOENT)
    }
}

fn create(kind: MapType, max_entries: u32) -> MapRef {
    let def = MapDef::new("m", kind, 4, 8, max_entries);
    Map::create(&def, CPUS, &MapLimits::default()).unwrap()
}

/// What a program reads through the pointer that a lookup gave.
fn load(map: &Map, key: u32, cpu: u32) -> Option<u64> {
    let value = map.lookup(&key.to_ne_bytes(), Cpu(cpu))?;
    // SAFETY: the value is 8 bytes of the map's memory, aligned, and nobody writes to it now.
    Some(unsafe { value.cast::<u64>().read() })
}

fn follow(kind: MapType, max_entries: u32, ops: Vec<Op>) -> Result<(), TestCaseError> {
    let map = create(kind, max_entries);
    let mut model = Model::new(kind, max_entries);
    let errno = |result: Result<(), ebpfvm::map::MapError>| result.map_err(|e| e.errno());
    for op in ops {
        match op {
            Op::Write { key, value, flags } => {
                let host = value.to_ne_bytes().repeat(map.host_value_bytes() / 8);
                let got = errno(map.write(&key.to_ne_bytes(), &host, UpdateFlags(flags)));
                prop_assert_eq!(got, model.set(key, value, flags, None));
            }
            Op::Update { key, value, flags, cpu } => {
                let (k, v) = (key.to_ne_bytes(), value.to_ne_bytes());
                let got = map.update(&k, &v, UpdateFlags(flags), Cpu(cpu));
                prop_assert_eq!(got, model.set(key, value, flags, Some(cpu)));
            }
            Op::Lookup { key, cpu } => {
                let lane = if kind.is_percpu() { cpu as usize } else { 0 };
                let expected = model.entries.get(&key).map(|values| values[lane]);
                prop_assert_eq!(load(&map, key, cpu), expected);
            }
            Op::Read { key } => {
                let got = map.read(&key.to_ne_bytes()).map_err(|e| e.errno());
                prop_assert_eq!(got, model.host_value(key).ok_or(Errno::ENOENT));
            }
            Op::Delete { key } => {
                prop_assert_eq!(map.delete(&key.to_ne_bytes()), model.delete(key));
            }
            Op::Take { key } => {
                let got = map.take(&key.to_ne_bytes()).map_err(|e| e.errno());
                let expected = if model.is_array() {
                    Err(Errno::ENOTSUPP)
                } else {
                    model.host_value(key).ok_or(Errno::ENOENT)
                };
                prop_assert_eq!(got, expected);
                let _ = model.delete(key);
            }
            Op::NextKey { key } => {
                let walked = walk(&map);
                let position = walked.iter().position(|k| *k == key);
                let expected = walked.get(position.map_or(0, |p| p + 1)).copied();
                let got = map.next_key(Some(&key.to_ne_bytes())).ok().map(to_u32);
                prop_assert_eq!(got, expected);
            }
        }
    }
    let mut walked = walk(&map);
    walked.sort_unstable();
    prop_assert_eq!(walked, model.entries.keys().copied().collect::<Vec<_>>());
    let entries: BTreeMap<u32, Vec<u8>> = map.entries().map(|(k, v)| (to_u32(k), v)).collect();
    let expected: BTreeMap<u32, Vec<u8>> =
        model.entries.keys().map(|key| (*key, model.host_value(*key).unwrap())).collect();
    prop_assert_eq!(entries, expected);
    Ok(())
}

fn to_u32(key: Vec<u8>) -> u32 {
    u32::from_ne_bytes(key.try_into().unwrap())
}

/// All keys by asking for the next.
fn walk(map: &Map) -> Vec<u32> {
    let next = |key: &Vec<u8>| map.next_key(Some(key)).ok();
    std::iter::successors(map.next_key(None).ok(), next).map(to_u32).collect()
}

proptest! {
    #[test]
    fn maps_do_what_the_model_does(ops in ops(), max_entries in 1..11u32) {
        for kind in [MapType::Array, MapType::PercpuArray, MapType::Hash, MapType::PercpuHash] {
            follow(kind, max_entries, ops.clone())?;
        }
    }

    #[test]
    fn keys_and_values_of_any_size_come_back(
        key in proptest::collection::vec(any::<u8>(), 1..40),
        value in proptest::collection::vec(any::<u8>(), 1..40),
    ) {
        let def = MapDef::new("m", MapType::Hash, key.len() as u32, value.len() as u32, 4);
        let map = Map::create(&def, 1, &MapLimits::default()).unwrap();
        map.write(&key, &value, UpdateFlags::ANY).unwrap();
        prop_assert_eq!(map.read(&key).unwrap(), value);
        let mut other = key.clone();
        *other.last_mut().unwrap() ^= 0x80;
        prop_assert_eq!(map.read(&other).unwrap_err().errno(), Errno::ENOENT);
    }
}

#[test]
fn a_full_table_replaces_but_takes_no_more() {
    for kind in [MapType::Hash, MapType::PercpuHash] {
        let map = create(kind, 2);
        let set =
            |key: u32, flags| map.update(&key.to_ne_bytes(), &[7; 8], UpdateFlags(flags), Cpu(0));
        assert_eq!([set(1, 0), set(2, 1), set(3, 0)], [Ok(()), Ok(()), Err(Errno::E2BIG)]);
        assert_eq!([set(1, 0), set(2, 2), set(3, 2)], [Ok(()), Ok(()), Err(Errno::ENOENT)]);
        map.delete(&1u32.to_ne_bytes()).unwrap();
        assert_eq!([set(3, 0), set(1, 0)], [Ok(()), Err(Errno::E2BIG)]);
    }
}

#[test]
fn a_new_per_cpu_value_is_zero_on_other_cpus() {
    let map = create(MapType::PercpuHash, 1);
    let key = 5u32.to_ne_bytes();
    map.write(&key, &[9; 24], UpdateFlags::ANY).unwrap();
    map.delete(&key).unwrap();
    map.update(&key, &[1; 8], UpdateFlags::ANY, Cpu(1)).unwrap();
    assert_eq!(map.read(&key).unwrap(), [[0; 8], [1; 8], [0; 8]].concat());
    assert_eq!(map.lookup(&key, Cpu(CPUS)), None);
}

#[test]
fn wrong_sizes_are_told() {
    let map = create(MapType::PercpuHash, 1);
    let error = map.write(&[0; 3], &[0; 24], UpdateFlags::ANY).unwrap_err();
    assert_eq!(error.to_string(), "map 'm': write: the key has 3 bytes, expected 4");
    let error = map.write(&[0; 4], &[0; 8], UpdateFlags::ANY).unwrap_err();
    assert_eq!(error.to_string(), "map 'm': write: the value has 8 bytes, expected 24");
    assert_eq!(error.errno(), Errno::EINVAL);
    assert_eq!(map.lookup(&[0; 8], Cpu(0)), None);
    assert_eq!(map.update(&[0; 4], &[0; 24], UpdateFlags::ANY, Cpu(0)), Err(Errno::EINVAL));
    assert_eq!(map.delete(&[]), Err(Errno::EINVAL));
}

#[test]
fn rights_are_those_of_the_flags() {
    let with = |flags| {
        let def = MapDef { flags: MapFlags(flags), ..MapDef::new("m", MapType::Hash, 4, 8, 2) };
        Map::create(&def, 1, &MapLimits::default()).unwrap()
    };
    let host = |map: &Map| {
        let errno = |e: ebpfvm::map::MapError| e.errno();
        let key = [1; 4];
        [
            map.write(&key, &[0; 8], UpdateFlags::ANY).map_err(errno).err(),
            map.read(&key).map_err(errno).err(),
            map.next_key(None).map_err(errno).err(),
            map.take(&key).map_err(errno).err(),
            map.remove(&key).map_err(errno).err(),
        ]
    };
    let (perm, none) = (Some(Errno::EPERM), Some(Errno::ENOENT));
    assert_eq!(host(&with(0)), [None, None, None, None, none]);
    assert_eq!(host(&with(MapFlags::RDONLY)), [perm, none, none, perm, perm]);
    assert_eq!(host(&with(MapFlags::WRONLY)), [None, perm, perm, perm, None]);
    let frozen = with(0);
    frozen.freeze().unwrap();
    assert_eq!(host(&frozen), [perm, none, none, perm, perm]);
    assert_eq!(frozen.freeze().unwrap_err().errno(), Errno::EPERM);
    assert_eq!(frozen.update(&[1; 4], &[0; 8], UpdateFlags::ANY, Cpu(0)), Ok(()));

    let read_only = with(MapFlags::RDONLY_PROG);
    assert_eq!(read_only.update(&[1; 4], &[0; 8], UpdateFlags::ANY, Cpu(0)), Err(Errno::EPERM));
    assert_eq!(read_only.delete(&[1; 4]), Err(Errno::EPERM));
    assert!(!read_only.slabs()[0].writable && !with(MapFlags::WRONLY_PROG).slabs()[0].readable);
}

#[test]
fn every_value_lies_in_a_slab() {
    for kind in [MapType::Array, MapType::PercpuArray, MapType::Hash, MapType::PercpuHash] {
        let map = create(kind, 5);
        for key in 0..5u32 {
            map.update(&key.to_ne_bytes(), &[1; 8], UpdateFlags::ANY, Cpu(0)).unwrap();
        }
        let slab = map.slabs()[0];
        for (key, cpu) in (0..5u32).flat_map(|key| (0..CPUS).map(move |cpu| (key, cpu))) {
            let address = map.lookup(&key.to_ne_bytes(), Cpu(cpu)).unwrap().addr().get();
            assert_eq!(slab.value_at(address, 8), Some((address, 8)), "{kind:?}");
            assert_eq!(slab.value_at(address + 7, 1), Some((address, 8)), "{kind:?}");
            assert_eq!(slab.value_at(address + 1, 8), None, "{kind:?}");
        }
        assert_eq!(slab.value_at(slab.base.wrapping_sub(1), 1), None);
        assert_eq!(slab.value_at(slab.base + slab.stride * slab.count, 1), None);
    }
}
