//! The contents of a map as bytes, to be kept and put back: `docs/pinned-maps.md` has the format.
//!
//! Only kinds whose values are data have snapshots. The values of others stand for things of this
//! process, such as programs and maps, or are for one reader, such as ring buffers.

use super::{Map, UpdateFlags};
use ebpfvm_asm::ByteOrder;
use ebpfvm_spec::{Errno, MapDef, MapFlags, MapType};

/// What a file begins with. The first byte is no text and no UTF-8.
const MAGIC: [u8; 8] = *b"\x89ebpfmap";
/// The version of the format.
const VERSION: u32 = 1;
/// Size of the header in bytes.
const HEADER_BYTES: usize = 64;
/// Size of the checksum at the end in bytes.
const CHECKSUM_BYTES: usize = 8;

/// The kinds that have snapshots.
const KINDS: &[MapType] = &[
    MapType::Hash,
    MapType::Array,
    MapType::PercpuHash,
    MapType::PercpuArray,
    MapType::LruHash,
    MapType::LruPercpuHash,
    MapType::LpmTrie,
    MapType::Queue,
    MapType::Stack,
];

/// Why bytes are no snapshot, or a map does not go with one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// The kind of the map has none.
    #[error("maps of kind {} have no contents that can be kept", .0.name())]
    Kind(MapType),
    /// The bytes begin with something else.
    #[error(
        "offset 0: these are no map contents: they begin with {found:02x?}, expected {MAGIC:02x?}"
    )]
    Magic {
        /// The first bytes.
        found: Vec<u8>,
    },
    /// The bytes are too few or too many.
    #[error("offset {offset}: {what} ends at {expected}, but there are {found} bytes")]
    Length {
        /// Where that begins.
        offset: u64,
        /// What does not fit.
        what: &'static str,
        /// Where it should end.
        expected: u64,
        /// The length of all.
        found: u64,
    },
    /// A field of the header with a value that it cannot have.
    #[error("offset {offset}: {what} is {found}, expected {expected}")]
    Field {
        /// Where the field is.
        offset: usize,
        /// Which field.
        what: &'static str,
        /// What it holds.
        found: u64,
        /// What it may hold.
        expected: String,
    },
    /// The bytes were changed.
    #[error(
        "offset {offset}: the checksum is {found:#018x}, but that of the contents is {expected:#018x}"
    )]
    Checksum {
        /// Where the checksum is.
        offset: usize,
        /// What is there.
        found: u64,
        /// What should be there.
        expected: u64,
    },
    /// The contents are those of another map.
    #[error("the contents are of a map with {what} {kept}, but map '{map}' has {own}")]
    Differs {
        /// Name of the map.
        map: String,
        /// Which property.
        what: &'static str,
        /// The property of the map that was kept.
        kept: String,
        /// The property of this one.
        own: String,
    },
    /// The map does not take an entry.
    #[error("map '{map}' does not take entry {index}: {errno}")]
    Refused {
        /// Name of the map.
        map: String,
        /// Which one, from 0.
        index: usize,
        /// What the system call would give.
        errno: Errno,
    },
}

/// The contents of a map, and what the map is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    map_type: MapType,
    key_bytes: u32,
    value_bytes: u32,
    max_entries: u32,
    flags: MapFlags,
    extra: u64,
    order: ByteOrder,
    /// How many values there are for each key; 1 if the kind is not per-CPU.
    cpus: u32,
    /// Keys and values after one another.
    entries: Vec<u8>,
}

impl Snapshot {
    /// Whether maps of a kind have snapshots.
    pub fn is_for(map_type: MapType) -> bool {
        KINDS.contains(&map_type)
    }

    /// Copies the contents of a map. Entries that programs change meanwhile may be there as before or
    /// after. Entries of arrays that are all zero are left out, unless it is the only one. Special
    /// fields of values, such as locks and timers, are no contents: there are zeros.
    ///
    /// # Errors
    /// [`SnapshotError::Kind`].
    pub fn of(map: &Map) -> Result<Snapshot, SnapshotError> {
        let def = map.def();
        if !Snapshot::is_for(def.map_type) {
            return Err(SnapshotError::Kind(def.map_type));
        }
        let mut entries = Vec::new();
        if def.key_bytes == 0 {
            map.values().iter().for_each(|value| entries.extend_from_slice(value));
        } else {
            let sparse = is_sparse(def);
            for (key, mut value) in map.entries() {
                leave_out_special(def, &mut value);
                if !sparse || value.iter().any(|byte| *byte != 0) {
                    entries.extend_from_slice(&key);
                    entries.extend_from_slice(&value);
                }
            }
        }
        Ok(Snapshot {
            map_type: def.map_type,
            key_bytes: def.key_bytes,
            value_bytes: def.value_bytes,
            max_entries: def.max_entries,
            flags: def.flags,
            extra: def.extra,
            order: ByteOrder::HOST,
            cpus: map.cpus(),
            entries,
        })
    }

    /// A definition of maps that the contents go into, without types.
    pub fn def(&self, name: &str) -> MapDef {
        let mut def =
            MapDef::new(name, self.map_type, self.key_bytes, self.value_bytes, self.max_entries);
        (def.flags, def.extra) = (self.flags, self.extra);
        def
    }

    /// How many values there are for each key: one, or one for each CPU.
    pub fn cpus(&self) -> u32 {
        self.cpus
    }

    /// The byte order of the machine that the keys and values are from.
    pub fn order(&self) -> ByteOrder {
        self.order
    }

    /// Keys and values: in the order of the map, of queues and stacks first out first. Keys of maps
    /// without keys are empty; the values of all CPUs follow one another, each rounded up to 8 bytes.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = (&[u8], &[u8])> {
        let each = self.entries.chunks_exact(self.entry_bytes() as usize);
        each.map(|entry| entry.split_at(self.key_bytes as usize))
    }

    /// The size of a key with its values in bytes.
    fn entry_bytes(&self) -> u64 {
        let value = u64::from(self.value_bytes);
        let values = match self.map_type.is_percpu() {
            true => value.next_multiple_of(8) * u64::from(self.cpus),
            false => value,
        };
        u64::from(self.key_bytes) + values
    }

    /// The most bytes that the contents of a map can take.
    pub fn max_bytes(map: &Map) -> u64 {
        let def = map.def();
        let entry = u64::from(def.key_bytes) + map.host_value_bytes() as u64;
        let fixed = (HEADER_BYTES + CHECKSUM_BYTES) as u64;
        entry.saturating_mul(most_entries(def.max_entries, def.flags)).saturating_add(fixed)
    }

    /// The bytes of the format.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER_BYTES + self.entries.len() + CHECKSUM_BYTES);
        bytes.extend_from_slice(&MAGIC);
        let order = match self.order {
            ByteOrder::Little => 1,
            ByteOrder::Big => 2,
        };
        let number = self.map_type as u32;
        let sizes = [self.key_bytes, self.value_bytes, self.max_entries, self.flags.0, self.cpus];
        for word in [VERSION, order, number].into_iter().chain(sizes) {
            bytes.extend_from_slice(&word.to_le_bytes());
        }
        bytes.extend_from_slice(&self.extra.to_le_bytes());
        bytes.extend_from_slice(&(self.entries().len() as u64).to_le_bytes());
        bytes.extend_from_slice(&[0; 8]);
        bytes.extend_from_slice(&self.entries);
        let sum = checksum(&bytes);
        bytes.extend_from_slice(&sum.to_le_bytes());
        bytes
    }

    /// Reads the bytes of the format. Nothing is allocated before the sizes are known to be those of
    /// the bytes.
    ///
    /// # Errors
    /// What is wrong, where, and what was expected.
    pub fn from_bytes(bytes: &[u8]) -> Result<Snapshot, SnapshotError> {
        let (snapshot, count) = Snapshot::header(bytes)?;
        // Neither factor can be longer than 64 bits, whatever the header says.
        let body = u128::from(count) * u128::from(snapshot.entry_bytes());
        let end = body + (HEADER_BYTES + CHECKSUM_BYTES) as u128;
        if end != bytes.len() as u128 {
            let end = u64::try_from(end).unwrap_or(u64::MAX);
            return Err(SnapshotError::Length {
                offset: HEADER_BYTES as u64,
                what: "the list of entries with its checksum",
                expected: end,
                found: bytes.len() as u64,
            });
        }
        let (content, sum) = bytes.split_at(bytes.len() - CHECKSUM_BYTES);
        let found = sum.try_into().map_or(0, u64::from_le_bytes);
        let expected = checksum(content);
        if found != expected {
            return Err(SnapshotError::Checksum { offset: content.len(), found, expected });
        }
        Ok(Snapshot { entries: content[HEADER_BYTES..].to_vec(), ..snapshot })
    }

    /// Reads the header alone: all but the entries, and their number.
    pub(crate) fn header(bytes: &[u8]) -> Result<(Snapshot, u64), SnapshotError> {
        if !bytes.starts_with(&MAGIC) {
            let found = bytes[..bytes.len().min(MAGIC.len())].to_vec();
            return Err(SnapshotError::Magic { found });
        }
        let (end, found) = (HEADER_BYTES as u64, bytes.len() as u64);
        let header = bytes.first_chunk::<HEADER_BYTES>();
        let short = SnapshotError::Length { offset: 0, what: "the header", expected: end, found };
        let header = Header(header.ok_or(short)?);
        header.expect(8, "the version", |version| version == VERSION, "1")?;
        let is_order = |order| matches!(order, 1 | 2);
        let order = match header.expect(12, "the byte order", is_order, "1 (little) or 2 (big)")? {
            1 => ByteOrder::Little,
            _ => ByteOrder::Big,
        };
        let kind = |number| MapType::from_number(number).filter(|kind| Snapshot::is_for(*kind));
        let number = header.word(16);
        let map_type = kind(number).ok_or_else(|| {
            let numbers: Vec<String> = KINDS.iter().map(|k| (*k as u32).to_string()).collect();
            header.wrong(16, "the kind", number.into(), format!("one of {}", numbers.join(", ")))
        })?;
        let is_keyless = matches!(map_type, MapType::Queue | MapType::Stack);
        let key_expected = if is_keyless { "0" } else { "at least 1" };
        let snapshot = Snapshot {
            map_type,
            key_bytes: header.expect(
                20,
                "the size of a key",
                |n| (n == 0) == is_keyless,
                key_expected,
            )?,
            value_bytes: header.expect(24, "the size of a value", |n| n > 0, "at least 1")?,
            max_entries: header.expect(28, "the capacity", |n| n > 0, "at least 1")?,
            flags: MapFlags(header.word(32)),
            cpus: match map_type.is_percpu() {
                true => header.expect(36, "the number of CPUs", |n| n > 0, "at least 1")?,
                false => header.expect(36, "the number of CPUs", |n| n == 1, "1")?,
            },
            extra: header.long(40),
            order,
            entries: Vec::new(),
        };
        let count = header.long(48);
        let most = most_entries(snapshot.max_entries, snapshot.flags);
        if count > most {
            let expected = format!("at most the capacity, {most}");
            return Err(header.wrong(48, "the number of entries", count, expected));
        }
        if header.long(56) != 0 {
            return Err(header.wrong(56, "the rest of the header", header.long(56), "0".into()));
        }
        Ok((snapshot, count))
    }

    /// Whether the contents go into a map: it has the same kind, sizes, capacity, flags and number of
    /// CPUs.
    ///
    /// # Errors
    /// [`SnapshotError::Differs`]: the first property that is different.
    pub fn check(&self, map: &Map) -> Result<(), SnapshotError> {
        let (own, kept) = (map.def(), self.def(""));
        let text = |order| match order {
            ByteOrder::Little => "little",
            ByteOrder::Big => "big",
        };
        let properties = [
            ("kind", kept.map_type.name().into(), own.map_type.name().into()),
            ("keys of", bytes(kept.key_bytes), bytes(own.key_bytes)),
            ("values of", bytes(kept.value_bytes), bytes(own.value_bytes)),
            ("a capacity of", kept.max_entries.to_string(), own.max_entries.to_string()),
            ("flags", kept.flags.to_string(), own.flags.to_string()),
            ("map_extra", kept.extra.to_string(), own.extra.to_string()),
            ("values for so many CPUs:", self.cpus.to_string(), map.cpus().to_string()),
            ("byte order", text(self.order).into(), text(ByteOrder::HOST).into()),
        ];
        match properties.into_iter().find(|(_, kept, own)| kept != own) {
            Some((what, kept, own)) => {
                Err(SnapshotError::Differs { map: map.def().name.clone(), what, kept, own })
            }
            None => Ok(()),
        }
    }

    /// Gives a map these contents in place of its own, also where the host may not write. Programs
    /// that run meanwhile see some entries sooner than others.
    ///
    /// # Errors
    /// [`SnapshotError::Differs`]; [`SnapshotError::Refused`] for a key that the kind does not take,
    /// with the entries before it in the map.
    pub fn restore(&self, map: &Map) -> Result<(), SnapshotError> {
        self.check(map)?;
        map.clear();
        let put = |index, key: &[u8], value: &[u8]| {
            let written = match key.len() {
                0 => map.ops.push(value, UpdateFlags::ANY),
                _ => map.ops.write(key, value, UpdateFlags::ANY),
            };
            let refused =
                |errno| SnapshotError::Refused { map: map.def().name.clone(), index, errno };
            written.map_err(refused)
        };
        match self.map_type {
            // What comes out first goes in last.
            MapType::Stack => {
                let each: Vec<_> = self.entries().enumerate().collect();
                each.into_iter().rev().try_for_each(|(index, (key, value))| put(index, key, value))
            }
            _ => self.entries().enumerate().try_for_each(|(i, (key, value))| put(i, key, value)),
        }
    }
}

impl Map {
    /// How many values the host sees for a key: one, or one for each CPU.
    fn cpus(&self) -> u32 {
        let value = self.def.value_bytes as usize;
        match self.def.map_type.is_percpu() {
            true => (self.host_value_bytes / value.next_multiple_of(8).max(1)) as u32,
            false => 1,
        }
    }

    /// Removes all entries; makes those of arrays zero.
    fn clear(&self) {
        if self.def.key_bytes == 0 {
            let mut value = vec![0; self.def.value_bytes as usize];
            // Not longer than it can hold: programs may go on pushing.
            for _ in 0..self.def.max_entries {
                if self.ops.pop(&mut value).is_err() {
                    break;
                }
            }
            return;
        }
        let is_array = is_array(&self.def);
        let zero = vec![0; self.host_value_bytes];
        let keys: Vec<Vec<u8>> = if is_array {
            let filled = self.entries().filter(|(_, value)| *value != zero);
            filled.map(|(key, _)| key).collect()
        } else {
            self.ops.keys().collect()
        };
        for key in keys {
            // A program may have removed it.
            let _ = match is_array {
                true => self.ops.write(&key, &zero, UpdateFlags::ANY),
                false => self.ops.delete(&key),
            };
        }
    }
}

fn is_array(def: &MapDef) -> bool {
    matches!(def.map_type, MapType::Array | MapType::PercpuArray)
}

/// Whether entries that are all zero are left out.
fn is_sparse(def: &MapDef) -> bool {
    is_array(def) && def.max_entries > 1
}

/// The most entries of a map of this capacity: an LRU map with a list for each CPU rounds it up to
/// a multiple of their number.
fn most_entries(max_entries: u32, flags: MapFlags) -> u64 {
    /// More than any machine has.
    const CPUS: u64 = 1 << 16;
    let rounded = if flags.has(MapFlags::NO_COMMON_LRU) { CPUS } else { 0 };
    u64::from(max_entries) + rounded
}

/// Makes the special fields of a value zero, on all CPUs.
fn leave_out_special(def: &MapDef, value: &mut [u8]) {
    if def.special.is_empty() {
        return;
    }
    for lane in value.chunks_mut((def.value_bytes as usize).next_multiple_of(8)) {
        for field in def.special.iter() {
            lane[field.offset as usize..][..field.bytes as usize].fill(0);
        }
    }
}

fn bytes(n: u32) -> String {
    format!("{n} bytes")
}

/// The header of the format.
struct Header<'a>(&'a [u8; HEADER_BYTES]);

impl Header<'_> {
    fn word(&self, offset: usize) -> u32 {
        self.0[offset..].first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes))
    }

    fn long(&self, offset: usize) -> u64 {
        self.0[offset..].first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
    }

    fn expect(
        &self,
        offset: usize,
        what: &'static str,
        fits: impl Fn(u32) -> bool,
        expected: &str,
    ) -> Result<u32, SnapshotError> {
        let found = self.word(offset);
        if fits(found) {
            Ok(found)
        } else {
            Err(self.wrong(offset, what, found.into(), expected.into()))
        }
    }

    fn wrong(
        &self,
        offset: usize,
        what: &'static str,
        found: u64,
        expected: String,
    ) -> SnapshotError {
        SnapshotError::Field { offset, what, found, expected }
    }
}

/// FNV-1a with 64 bits: tells damage, not forgery.
fn checksum(bytes: &[u8]) -> u64 {
    const BASIS: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    bytes.iter().fold(BASIS, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(PRIME))
}
