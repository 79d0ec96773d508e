//! How engines find values of maps that they know beforehand, without [`MapOps`](super::MapOps).

use super::array::Array;
use super::hash::Hash;
use super::{Cpu, Map, Slab};
use ebpfvm_spec::MapType;

/// The way to the values of a map.
pub(crate) enum Direct<'a> {
    /// By arithmetic.
    Array {
        /// Where they are.
        elements: Elements,
        /// Whether each CPU has its own.
        percpu: bool,
    },
    /// By this table.
    Hash {
        /// The table.
        hash: &'a Hash,
        /// Whether each CPU has its own values.
        percpu: bool,
    },
}

/// Where the values of an array are.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Elements {
    base: u64,
    stride: u64,
    entries: u64,
    /// From a CPU's values to the next one's, in bytes.
    lane_bytes: u64,
    cpus: u32,
}

impl Elements {
    /// Those of a slab that has the values of `cpus` CPUs one after the other.
    pub(super) fn new(slab: &Slab, entries: u32, cpus: u32) -> Elements {
        let stride = slab.stride as u64;
        let lane_bytes = stride * (slab.count as u64 / u64::from(cpus.max(1)));
        Elements { base: slab.base as u64, stride, entries: entries.into(), lane_bytes, cpus }
    }

    /// The same for compiled code; none if it cannot be told in its terms, or `cpus` CPUs are more than
    /// have values.
    pub(crate) fn array(&self, percpu: bool, cpus: u32) -> Option<ebpfvm_jit::Array> {
        let has_all = !percpu || cpus <= self.cpus;
        has_all.then_some(ebpfvm_jit::Array {
            base: self.base,
            stride: self.stride.try_into().ok()?,
            entries: self.entries.try_into().ok()?,
            lane_bytes: if percpu { self.lane_bytes } else { 0 },
        })
    }

    /// The address of a value, or 0 if there is none.
    #[inline(always)]
    pub(crate) fn find(&self, index: u32) -> u64 {
        let index = u64::from(index);
        if index < self.entries { self.base + index * self.stride } else { 0 }
    }

    /// The address of a CPU's value, or 0 if there is none.
    #[inline(always)]
    pub(crate) fn find_on(&self, index: u32, cpu: Cpu) -> u64 {
        match self.find(index) {
            0 => 0,
            _ if cpu.0 >= self.cpus => 0,
            address => address + u64::from(cpu.0) * self.lane_bytes,
        }
    }
}

impl Map {
    /// The way to the values, for kinds and keys that have one; it is good as long as the map.
    pub(crate) fn direct(&self) -> Option<Direct<'_>> {
        let percpu = self.def.map_type.is_percpu();
        match self.def.map_type {
            MapType::Array | MapType::PercpuArray => {
                let elements = self.as_kind::<Array>()?.elements();
                Some(Direct::Array { elements, percpu })
            }
            MapType::Hash | MapType::PercpuHash | MapType::LruHash | MapType::LruPercpuHash => {
                let hash = self.as_kind::<Hash>()?;
                let fits = self.def.key_bytes as usize <= Hash::MAX_DIRECT_KEY_BYTES;
                fits.then_some(Direct::Hash { hash, percpu })
            }
            _ => None,
        }
    }
}
