//! Longest-prefix matching (`kernel/bpf/lpm_trie.c`).
//!
//! A key is the number of bits that count, in the byte order of the host, and data whose first bits
//! count. The kernel keeps a trie; here the prefixes lie in a hash table, and a lookup asks for
//! every length that occurs, longest first. So lookups take no lock, and the order of keys is
//! computed when somebody asks for it: that of the kernel's trie, children before their parent.

use super::hash::table::{Index, Layout, Table};
use super::kind::Shape;
use super::memory::{OutOfMemory, words_for};
use super::values::Values;
use super::{Cpu, MapOps, Slab, UpdateFlags};
use ebpfvm_spec::Errno;
use std::cmp::Ordering;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// Bytes of a key that hold the number of bits.
const LENGTH_BYTES: usize = 4;
/// The most bytes of a key, as the rules of the kind say.
const KEY_BYTES: usize = 260;

/// An `lpm_trie`.
pub(super) struct LpmTrie {
    table: Table,
    /// The keys as they were given: bits that do not count are kept.
    given: Values,
    values: Values,
    /// How many prefixes of each length there are.
    lengths: Box<[AtomicU32]>,
    slabs: [Slab; 1],
}

/// A prefix with all bits that do not count cleared: a key of the table.
struct Prefix {
    key: [u8; KEY_BYTES],
    bytes: usize,
}

impl Prefix {
    /// The first `length` bits of a key.
    fn new(key: &[u8], length: usize) -> Prefix {
        let mut prefix = Prefix { key: [0; KEY_BYTES], bytes: key.len() };
        prefix.key[..LENGTH_BYTES].copy_from_slice(&(length as u32).to_ne_bytes());
        let end = LENGTH_BYTES + length.div_ceil(8);
        prefix.key[LENGTH_BYTES..end].copy_from_slice(&key[LENGTH_BYTES..end]);
        if !length.is_multiple_of(8) {
            prefix.key[end - 1] &= !(0xff >> (length % 8));
        }
        prefix
    }

    fn bytes(&self) -> &[u8] {
        &self.key[..self.bytes]
    }
}

/// The number of bits of a key.
fn length_of(key: &[u8]) -> usize {
    let (length, _) = key.split_first_chunk().expect("keys have at least 5 bytes");
    u32::from_ne_bytes(*length) as usize
}

/// The order of the kernel's trie: children before their parent, 0 before 1.
fn trie_order(a: &[u8], b: &[u8]) -> Ordering {
    let (a_length, b_length) = (length_of(a), length_of(b));
    let common = a_length.min(b_length);
    let (a_start, b_start) = (Prefix::new(a, common), Prefix::new(b, common));
    a_start.bytes().cmp(b_start.bytes()).then(b_length.cmp(&a_length))
}

impl LpmTrie {
    pub(super) fn needed(shape: &Shape<'_>) -> Option<u64> {
        layout(shape).bytes()
    }

    pub(super) fn build(shape: &Shape<'_>) -> Result<Box<dyn MapOps>, OutOfMemory> {
        let layout = layout(shape);
        let table = Table::new(layout, shape.seed)?;
        let (key_bytes, value_bytes) =
            (shape.def.key_bytes as usize, shape.def.value_bytes as usize);
        let part = |first, bytes| {
            let memory = table.memory().clone();
            Values::within(memory, first, layout.stride(), layout.elements(), bytes)
        };
        let given = part(layout.value_word(), key_bytes);
        let values = part(layout.value_word() + words_for(key_bytes), value_bytes);
        let slabs = [shape.program_slab(values.slab())];
        let bits = (key_bytes - LENGTH_BYTES) * 8;
        let lengths = (0..=bits).map(|_| AtomicU32::new(0)).collect();
        Ok(Box::new(LpmTrie { table, given, values, lengths, slabs }))
    }

    /// The element of the longest prefix of a key, among those not longer than the key's own.
    fn find(&self, key: &[u8]) -> Option<Index> {
        let longest = self.lengths.get(..=length_of(key))?;
        let lengths = longest.iter().enumerate().rev();
        let mut there = lengths.filter(|(_, prefixes)| prefixes.load(Relaxed) != 0);
        there.find_map(|(length, _)| self.table.find(Prefix::new(key, length).bytes()))
    }

    /// The prefix that a key is, to change.
    fn prefix(&self, key: &[u8]) -> Result<(Prefix, &AtomicU32), Errno> {
        let length = length_of(key);
        let prefixes = self.lengths.get(length).ok_or(Errno::EINVAL)?;
        Ok((Prefix::new(key, length), prefixes))
    }

    /// A prefix of the table as it was given.
    fn given(&self, prefix: &[u8]) -> Option<Vec<u8>> {
        self.table.read(prefix, |index| self.given.read_all(index as usize))
    }
}

fn layout(shape: &Shape<'_>) -> Layout {
    let words = words_for(shape.def.key_bytes as usize) + words_for(shape.def.value_bytes as usize);
    Layout::new(shape.def.max_entries, shape.def.key_bytes, words, shape.cpus)
}

impl MapOps for LpmTrie {
    fn lookup(&self, key: &[u8], cpu: Cpu) -> Option<NonNull<u8>> {
        self.values.pointer(self.find(key)? as usize, cpu)
    }

    fn update(&self, key: &[u8], value: &[u8], flags: UpdateFlags, _: Cpu) -> Result<(), Errno> {
        flags.check()?;
        let (prefix, prefixes) = self.prefix(key)?;
        let bucket = self.table.lock(self.table.hash(prefix.bytes()));
        let old = bucket.find(prefix.bytes());
        match old {
            Some(_) if flags == UpdateFlags::NOEXIST => return Err(Errno::EEXIST),
            None if flags == UpdateFlags::EXIST => return Err(Errno::ENOENT),
            None if !self.table.count_one() => return Err(Errno::ENOSPC),
            _ => {}
        }
        let new = self.table.allocate(prefix.bytes(), |index| {
            self.given.write_all(index as usize, key);
            self.values.write_all(index as usize, value);
        });
        match old {
            Some(old) => bucket.replace(old, new),
            None => {
                prefixes.fetch_add(1, Relaxed);
                bucket.insert(new);
            }
        }
        Ok(())
    }

    fn delete(&self, key: &[u8]) -> Result<(), Errno> {
        let (prefix, prefixes) = self.prefix(key)?;
        let bucket = self.table.lock(self.table.hash(prefix.bytes()));
        bucket.remove(bucket.find(prefix.bytes()).ok_or(Errno::ENOENT)?);
        prefixes.fetch_sub(1, Relaxed);
        Ok(())
    }

    fn next_key(&self, key: Option<&[u8]>) -> Result<Vec<u8>, Errno> {
        let exact = key.and_then(|key| self.prefix(key).ok()).map(|(prefix, _)| prefix);
        let exact = exact.filter(|prefix| self.table.find(prefix.bytes()).is_some());
        let after = |key: &Vec<u8>| match &exact {
            Some(exact) => trie_order(key, exact.bytes()).is_gt(),
            None => true,
        };
        let next = self.table.keys().filter(after).min_by(|a, b| trie_order(a, b));
        next.and_then(|prefix| self.given(&prefix)).ok_or(Errno::ENOENT)
    }

    fn keys(&self) -> Box<dyn Iterator<Item = Vec<u8>> + '_> {
        let mut prefixes: Vec<_> = self.table.keys().collect();
        prefixes.sort_unstable_by(|a, b| trie_order(a, b));
        Box::new(prefixes.into_iter().filter_map(|prefix| self.given(&prefix)))
    }

    fn read(&self, key: &[u8]) -> Result<Vec<u8>, Errno> {
        loop {
            let index = self.find(key).ok_or(Errno::ENOENT)?;
            let length = length_of(&self.given.read_all(index as usize));
            // The element may have been recycled meanwhile; then no prefix of the key is in it.
            let prefix = Prefix::new(key, length.min(length_of(key)));
            let value = self.table.read(prefix.bytes(), |i| (i, self.values.read_all(i as usize)));
            if let Some((same, value)) = value
                && same == index
            {
                return Ok(value);
            }
        }
    }

    fn write(&self, key: &[u8], value: &[u8], flags: UpdateFlags) -> Result<(), Errno> {
        self.update(key, value, flags, Cpu::default())
    }

    fn slabs(&self) -> &[Slab] {
        &self.slabs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_keeps_only_the_bits_that_count() {
        let key = [32, 0, 0, 0, 0xff, 0xff, 0xff, 0xff];
        for (length, data) in [
            (0, [0, 0, 0, 0]),
            (1, [0x80, 0, 0, 0]),
            (8, [0xff, 0, 0, 0]),
            (15, [0xff, 0xfe, 0, 0]),
            (32, [0xff; 4]),
        ] {
            let prefix = Prefix::new(&key, length);
            assert_eq!(prefix.bytes()[..4], (length as u32).to_ne_bytes());
            assert_eq!(prefix.bytes()[4..], data);
        }
    }
}
