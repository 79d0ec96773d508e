//! The maps of programs that are to be run, and their types.
//!
//! The first three are those of [`maps`](super::maps), as programs for verifiers alone have them.

use super::VALUE_BYTES;
use ebpfvm_spec::btf::{
    Btf, BtfBuilder, Compound, IntEncoding, Kind, Linkage, Member, Name, TypeId,
};
use ebpfvm_spec::{MapDef, MapFlags, MapType};
use std::sync::{Arc, OnceLock};

/// Index in [`World::maps`] of an array with one value.
pub const VALUES: usize = 0;
/// A hash table that is soon full.
pub const ENTRIES: usize = 1;
/// An array for each CPU.
pub const LANES: usize = 3;
/// A hash table for each CPU.
pub const LANE_ENTRIES: usize = 4;
/// A hash table that forgets.
pub const RECENT: usize = 5;
/// An array of numbers.
pub const TABLE: usize = 6;
/// A hash table with keys of 8 bytes.
pub const WIDE_KEYS: usize = 7;
/// A trie.
pub const PREFIXES: usize = 8;
/// An array of arrays.
pub const ARRAYS: usize = 9;
/// An array of hash tables.
pub const HASHES: usize = 10;
/// A ring buffer.
pub const RECORDS: usize = 11;
/// A queue.
pub const FIFO: usize = 12;
/// A stack.
pub const LIFO: usize = 13;
/// An array of values with locks.
pub const LOCKED: usize = 14;
/// Programs to go on with.
pub const PROGRAMS: usize = 15;

/// What all programs that are to be run have in common.
#[derive(Debug)]
pub struct World {
    /// The maps.
    pub maps: Arc<[MapDef]>,
    /// The types of values and functions.
    pub types: Arc<Btf>,
    /// The type of every function.
    pub function: TypeId,
}

/// The world of programs that are to be run.
pub fn world() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(make)
}

fn make() -> World {
    use MapType::*;
    let mut b = BtfBuilder::new();
    let mut int = |name: &str, bytes: u32| {
        let encoding = IntEncoding { signed: true, ..IntEncoding::default() };
        let name = b.intern(name);
        b.push(name, Kind::Int { bytes, encoding, bit_offset: 0, bits: 8 * bytes as u8 })
    };
    let (int, char) = (int("int", 4), int("char", 1));
    let params = b.span(Vec::new());
    let proto = b.push(Name::EMPTY, Kind::FuncProto { ret: int, params });
    let name = b.intern("function");
    let function = b.push(name, Kind::Func { proto, linkage: Linkage::Static });
    let mut structure = |name: &str, bytes: u32, members: &[(&str, TypeId, u32)]| {
        let mut list = Vec::new();
        for (name, type_id, offset) in members {
            let (name, bit_offset) = (b.intern(name), 8 * offset);
            list.push(Member { name, type_id: *type_id, bit_offset, bitfield_bits: 0 });
        }
        let (members, name) = (b.span(list), b.intern(name));
        b.push(name, Kind::Compound { compound: Compound::Struct, bytes, members })
    };
    let lock = structure("bpf_spin_lock", 4, &[("val", int, 0)]);
    let value = structure("locked_value", 32, &[("lock", lock, 0), ("byte", char, 4)]);
    let types = b.finish().unwrap_or_else(|_| BtfBuilder::new().so_far().clone());

    let inner = |def: MapDef, inner: MapDef| MapDef { inner: Some(Box::new(inner)), ..def };
    let mut locked = MapDef::new("locked", Array, 4, 32, 2);
    (locked.key_type, locked.value_type) = (Some(int), Some(value));
    locked.find_special(&types);
    let mut prefixes = MapDef::new("prefixes", LpmTrie, 8, 8, 16);
    prefixes.flags = MapFlags(MapFlags::NO_PREALLOC);
    let mut maps = super::maps().to_vec();
    maps.extend([
        MapDef::new("lanes", PercpuArray, 4, 16, 3),
        MapDef::new("lane_entries", PercpuHash, 4, 24, 4),
        MapDef::new("recent", LruHash, 4, 16, 64),
        MapDef::new("table", Array, 4, 8, 16),
        MapDef::new("wide_keys", Hash, 8, 8, 8),
        prefixes,
        inner(MapDef::new("arrays", ArrayOfMaps, 4, 4, 2), MapDef::new("array", Array, 4, 16, 2)),
        inner(MapDef::new("hashes", HashOfMaps, 4, 4, 2), MapDef::new("hash", Hash, 4, 8, 4)),
        MapDef::new("records", Ringbuf, 0, 0, 16384),
        MapDef::new("fifo", Queue, 0, 8, 4),
        MapDef::new("lifo", Stack, 0, 8, 4),
        locked,
        MapDef::new("programs", ProgArray, 4, 4, 2),
    ]);
    World { maps: maps.into(), types: Arc::new(types), function }
}

/// The size of a value of a map in bytes.
pub(super) fn value_bytes(map: usize) -> i16 {
    world().maps.get(map).map_or(VALUE_BYTES, |def| def.value_bytes as i16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_are_where_their_indexes_say() {
        let names: Vec<&str> = world().maps.iter().map(|def| &*def.name).collect();
        assert_eq!(
            (names[VALUES], names[ENTRIES], names[PROGRAMS]),
            ("values", "entries", "programs")
        );
        assert_eq!((names[LANES], names[ARRAYS], names[LOCKED]), ("lanes", "arrays", "locked"));
        assert_eq!(world().maps[LOCKED].special.len(), 1, "the lock is found");
    }
}
