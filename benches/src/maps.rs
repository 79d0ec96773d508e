//! The same work on the same kind of map in several homes: ours from the host and from a program,
//! the kernel's through the system call and from a program, and maps of Rust programs behind locks.
//!
//! Keys are drawn at random, so that caches serve all homes alike. A home does its work in batches of
//! [`BATCH`] operations, each on another key.

mod cost;
mod home;
mod program;

pub use cost::Cost;
pub use home::{HOMES, Home, Prepared};
pub use program::{Ours, Theirs, Work};

use ebpfvm_spec::{MapDef, MapType};
use std::sync::Barrier;
use std::time::{Duration, Instant};

/// Operations that are done in one go.
pub const BATCH: u64 = 4096;
/// Entries that the maps have room for.
pub const ENTRIES: u32 = 1 << 16;
/// Bytes of a value.
pub const VALUE_BYTES: u32 = 8;

/// A kind of map as it is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    /// What the tables call it.
    pub name: &'static str,
    /// Its type.
    pub map_type: MapType,
    /// Bytes of a key.
    pub key_bytes: u32,
    /// Lookups draw from so many keys, in bits; all of them are there.
    pub lookup_bits: u32,
    /// Updates draw from so many keys, in bits: of an LRU map more than it has room for.
    pub update_bits: u32,
}

/// What is measured.
pub const KINDS: &[Kind] = &[
    Kind::new("array", MapType::Array, 4, 16, 16),
    Kind::new("hash", MapType::Hash, 8, 16, 16),
    Kind::new("percpu_hash", MapType::PercpuHash, 8, 16, 16),
    Kind::new("lru_hash", MapType::LruHash, 8, 15, 17),
];

impl Kind {
    const fn new(
        name: &'static str,
        map_type: MapType,
        key_bytes: u32,
        lookup_bits: u32,
        update_bits: u32,
    ) -> Kind {
        Kind { name, map_type, key_bytes, lookup_bits, update_bits }
    }

    /// What a map of this kind is created from.
    pub fn def(&self) -> MapDef {
        MapDef::new("measured", self.map_type, self.key_bytes, VALUE_BYTES, ENTRIES)
    }

    /// How many keys an operation draws from, in bits.
    pub fn bits(&self, action: Action) -> u32 {
        match action {
            Action::Lookup => self.lookup_bits,
            Action::Update => self.update_bits,
        }
    }

    /// The keys that are there before anything is measured.
    pub fn present(&self) -> impl Iterator<Item = u64> {
        0..1 << self.lookup_bits
    }
}

/// What is done with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The value is found and read.
    Lookup,
    /// The value is written.
    Update,
}

/// A sequence of keys (Knuth's linear congruential generator), the same in Rust and in programs.
#[derive(Clone, Copy, Debug)]
pub struct Keys {
    state: u64,
    bits: u32,
}

impl Keys {
    /// What the state is multiplied with.
    pub const FACTOR: u64 = 6_364_136_223_846_793_005;
    /// What is added then.
    pub const STEP: u64 = 1_442_695_041;

    /// Keys of so many bits.
    pub fn new(seed: u64, bits: u32) -> Keys {
        Keys { state: seed, bits }
    }

    /// The next key.
    #[inline]
    pub fn draw(&mut self) -> u64 {
        self.state = self.state.wrapping_mul(Keys::FACTOR).wrapping_add(Keys::STEP);
        self.state >> (64 - self.bits)
    }
}

/// How long a measurement looks for its fastest round.
const SEARCH: Duration = Duration::from_millis(400);

/// Nanoseconds that one thread takes for an operation while `threads` of them work. Others have the
/// processor as well, so rounds are short and the fastest counts.
pub fn measure(threads: u32, batch: &(dyn Fn(u64) + Sync)) -> f64 {
    // Threads must meet, which takes long where there are fewer processors than threads.
    let round = Duration::from_millis(if threads == 1 { 2 } else { 10 });
    let start = Barrier::new(threads as usize);
    let fastest = |thread: u32| {
        let mut seed = u64::from(thread) << 32;
        let mut fastest = f64::INFINITY;
        let begin = Instant::now();
        while begin.elapsed() < SEARCH {
            let (from, mut batches) = (Instant::now(), 0);
            while batches == 0 || from.elapsed() < round {
                seed += 1;
                batch(seed.wrapping_mul(Keys::FACTOR));
                batches += 1;
            }
            fastest = fastest.min(from.elapsed().as_secs_f64() * 1e9 / (batches * BATCH) as f64);
        }
        fastest
    };
    std::thread::scope(|scope| {
        let (start, fastest) = (&start, &fastest);
        let worker = move |thread| {
            start.wait();
            fastest(thread)
        };
        let workers: Vec<_> =
            (0..threads).map(|thread| scope.spawn(move || worker(thread))).collect();
        let times = workers.into_iter().map(|w| w.join().expect("the batch does not panic"));
        times.sum::<f64>() / f64::from(threads)
    })
}
