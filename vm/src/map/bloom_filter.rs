//! Bloom filters: sets that may take a stranger for a member (`kernel/bpf/bloom_filter.c`).

use super::hash_function::HashFunction;
use super::kind::Shape;
use super::memory::{Memory, OutOfMemory};
use super::{MapOps, UpdateFlags};
use ebpfvm_spec::{Errno, MapDef};
use std::sync::atomic::Ordering::Relaxed;

/// A `bloom_filter`.
///
/// Its size and the number of hashes are the kernel's, so it errs as often; which strangers it errs
/// about depends on the seed.
pub(super) struct BloomFilter {
    bits: Memory,
    hashes: Box<[HashFunction]>,
    /// The number of bits is a power of two; this is one less.
    mask: u64,
}

/// `map_extra` of a filter that asks for no number of hashes.
const DEFAULT_HASHES: u32 = 5;

impl BloomFilter {
    pub(super) fn needed(shape: &Shape<'_>) -> Option<u64> {
        Some(bits(shape.def) / 8)
    }

    pub(super) fn build(shape: &Shape<'_>) -> Result<Box<dyn MapOps>, OutOfMemory> {
        let bits = bits(shape.def);
        let seeds = (0..hashes(shape.def)).map(|n| shape.seed.wrapping_add(u64::from(n)));
        Ok(Box::new(BloomFilter {
            bits: Memory::zeroed((bits / 64) as usize)?,
            hashes: seeds.map(HashFunction::new).collect(),
            mask: bits - 1,
        }))
    }

    /// The bits of a value: word and mask.
    fn bits_of(&self, value: &[u8]) -> impl Iterator<Item = (usize, u64)> {
        self.hashes.iter().map(move |hash| {
            let bit = hash.hash(value) & self.mask;
            ((bit / 64) as usize, 1 << (bit % 64))
        })
    }
}

fn hashes(def: &MapDef) -> u32 {
    match def.extra as u32 & 0xf {
        0 => DEFAULT_HASHES,
        hashes => hashes,
    }
}

/// The number of bits: entries times hashes over ln 2, as a power of two, at most 2^32.
fn bits(def: &MapDef) -> u64 {
    let bits = u64::from(def.max_entries) * u64::from(hashes(def));
    let bits = if bits > u64::from(u32::MAX) { u64::MAX } else { bits / 5 * 7 };
    if bits > 1 << 31 { 1 << 32 } else { bits.max(64).next_power_of_two() }
}

impl MapOps for BloomFilter {
    fn push(&self, value: &[u8], flags: UpdateFlags) -> Result<(), Errno> {
        if flags != UpdateFlags::ANY {
            return Err(Errno::EINVAL);
        }
        for (word, bit) in self.bits_of(value) {
            self.bits.words()[word].fetch_or(bit, Relaxed);
        }
        Ok(())
    }

    /// Whether the value may be in the set.
    fn peek(&self, value: &mut [u8]) -> Result<(), Errno> {
        let has = |(word, bit): (usize, u64)| self.bits.words()[word].load(Relaxed) & bit != 0;
        if self.bits_of(value).all(has) { Ok(()) } else { Err(Errno::ENOENT) }
    }

    fn delete(&self, _key: &[u8]) -> Result<(), Errno> {
        Err(Errno::EOPNOTSUPP)
    }

    fn next_key(&self, _key: Option<&[u8]>) -> Result<Vec<u8>, Errno> {
        Err(Errno::EOPNOTSUPP)
    }

    fn write(&self, _key: &[u8], value: &[u8], flags: UpdateFlags) -> Result<(), Errno> {
        self.push(value, flags)
    }
}
