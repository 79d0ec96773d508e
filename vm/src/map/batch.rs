//! Access to many entries with one call (`BPF_MAP_LOOKUP_BATCH` and its like).
//!
//! Hash tables hand out whole buckets, and a place in them is the number of a bucket; of others it
//! is the last key. Both are the kernel's ways (`__htab_map_lookup_and_delete_batch` and
//! `generic_map_lookup_batch`), and so are the answers.

use super::access::Side;
use super::{LookupFlags, Map, MapError, UpdateFlags};
use ebpfvm_spec::{Errno, MapType};

/// A key and its value, as the host reads it.
pub type Entry = (Vec<u8>, Vec<u8>);

/// Where a batch of lookups goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchCursor(Place);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    /// At a bucket.
    Bucket(u32),
    /// After a key.
    Key(Vec<u8>),
}

/// The entries of one batch of lookups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// The entries.
    pub entries: Vec<Entry>,
    /// Where to go on; none at the end, where the system call says `ENOENT`.
    pub next: Option<BatchCursor>,
}

/// Whether a batch of lookups removes what it returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Take {
    /// Entries stay.
    Copy,
    /// Entries are removed.
    Remove,
}

/// What a batch does with a bucket.
#[derive(Clone, Copy, Debug)]
pub struct Visit {
    /// How many entries there is room for.
    pub room: usize,
    /// Whether entries stay.
    pub take: Take,
    /// Whether each value's lock is held while it is copied.
    pub locked: bool,
}

/// Why a bucket brings no entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BucketError {
    /// There are no more buckets.
    Beyond,
    /// It has more entries than there is room for. Nothing was done.
    NoRoom,
    /// A value cannot be copied.
    Errno(Errno),
}

impl From<Errno> for BucketError {
    fn from(errno: Errno) -> BucketError {
        BucketError::Errno(errno)
    }
}

/// Which batches a kind has.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Batches {
    None,
    /// Lookups and updates, by keys.
    Entries,
    /// Deletions as well.
    Keys,
    /// All, lookups by buckets.
    Buckets,
}

const fn batches(map_type: MapType) -> Batches {
    use MapType::*;
    match map_type {
        Array | PercpuArray | ArrayOfMaps => Batches::Entries,
        LpmTrie => Batches::Keys,
        Hash | PercpuHash | LruHash | LruPercpuHash | HashOfMaps => Batches::Buckets,
        _ => Batches::None,
    }
}

/// The host side, for many entries.
impl Map {
    /// Up to `max` entries from a place on, or from the start. A hash table hands out the entries of
    /// whole buckets.
    ///
    /// # Errors
    /// `ENOTSUPP` of kinds that have no batches (of removal), `EINVAL` (flags), `EPERM` as for
    /// [`Map::read`] and [`Map::take`]; `ENOSPC` when a bucket has more than `max` entries.
    pub fn lookup_batch(
        &self,
        from: Option<&BatchCursor>,
        max: u32,
        take: Take,
        flags: LookupFlags,
    ) -> Result<Batch, MapError> {
        const WHAT: &str = "look up a batch";
        let side = if take == Take::Copy { Side::Read } else { Side::Both };
        self.host(WHAT, None, None, side, |_| {
            let kind = batches(self.def.map_type);
            let has = match take {
                Take::Copy => kind != Batches::None,
                Take::Remove => kind == Batches::Buckets,
            };
            if !has {
                return Err(Errno::ENOTSUPP);
            }
            if flags.0 & !LookupFlags::F_LOCK.0 != 0 {
                return Err(Errno::EINVAL);
            }
            let locked = self.locks(flags.0)?;
            if max == 0 {
                let next = from.cloned().or(Some(BatchCursor(Place::Bucket(0))));
                return Ok(Batch { entries: Vec::new(), next });
            }
            match kind {
                Batches::Buckets => self.buckets(from, Visit { room: max as usize, take, locked }),
                _ => self.keys_after(from, max as usize, locked),
            }
        })
    }

    fn buckets(&self, from: Option<&BatchCursor>, visit: Visit) -> Result<Batch, Errno> {
        let mut number = match from {
            None => 0,
            Some(BatchCursor(Place::Bucket(number))) => *number,
            Some(BatchCursor(Place::Key(_))) => return Err(Errno::EINVAL),
        };
        let mut entries = Vec::new();
        loop {
            let room = visit.room - entries.len();
            match self.ops.bucket(number, Visit { room, ..visit }) {
                Ok(more) => entries.extend(more),
                Err(BucketError::Beyond) => return Ok(Batch { entries, next: None }),
                Err(BucketError::NoRoom) if entries.is_empty() => return Err(Errno::ENOSPC),
                Err(BucketError::NoRoom) => {
                    return Ok(Batch { entries, next: Some(BatchCursor(Place::Bucket(number))) });
                }
                // What was removed is not lost: the caller gets it, and the error the next time.
                Err(BucketError::Errno(_)) if !entries.is_empty() => {
                    return Ok(Batch { entries, next: Some(BatchCursor(Place::Bucket(number))) });
                }
                Err(BucketError::Errno(errno)) => return Err(errno),
            }
            number += 1;
        }
    }

    fn keys_after(
        &self,
        from: Option<&BatchCursor>,
        max: usize,
        locked: bool,
    ) -> Result<Batch, Errno> {
        let mut last = match from {
            Some(BatchCursor(Place::Key(key))) => Some(key.clone()),
            // A batch of none goes on at the start.
            None | Some(BatchCursor(Place::Bucket(0))) => None,
            Some(BatchCursor(Place::Bucket(_))) => return Err(Errno::EINVAL),
        };
        let mut entries = Vec::new();
        while entries.len() < max {
            let key = match self.ops.next_key(last.as_deref()) {
                Ok(key) => key,
                Err(Errno::ENOENT) => return Ok(Batch { entries, next: None }),
                Err(errno) => return Err(errno),
            };
            let value = if locked { self.ops.read_locked(&key) } else { self.ops.read(&key) };
            match value {
                Ok(value) => entries.push((key.clone(), value)),
                Err(Errno::ENOENT) => {}
                Err(errno) => return Err(errno),
            }
            last = Some(key);
        }
        Ok(Batch { entries, next: last.map(|key| BatchCursor(Place::Key(key))) })
    }

    /// Creates or replaces many entries, one after another.
    ///
    /// # Errors
    /// [`MapError::Batch`] tells how many were set before the one that was refused, with the errors
    /// of [`Map::write`]; `ENOTSUPP` of kinds that have no batches, `EINVAL` (flags other than
    /// `BPF_F_LOCK`).
    pub fn update_batch(&self, entries: &[Entry], flags: UpdateFlags) -> Result<(), MapError> {
        const WHAT: &str = "update a batch";
        for (key, value) in entries {
            self.sized(WHAT, Some(key), Some(value))?;
        }
        self.host(WHAT, None, None, Side::Write, |_| {
            let has = batches(self.def.map_type) != Batches::None;
            if has { self.batch_flags(flags) } else { Err(Errno::ENOTSUPP) }
        })?;
        self.each(WHAT, entries, |(key, value)| self.ops.write(key, value, flags))
    }

    /// Removes many keys, one after another.
    ///
    /// # Errors
    /// As [`Map::update_batch`], with the errors of [`Map::remove`].
    pub fn delete_batch(&self, keys: &[Vec<u8>], flags: UpdateFlags) -> Result<(), MapError> {
        const WHAT: &str = "delete a batch";
        for key in keys {
            self.sized(WHAT, Some(key), None)?;
        }
        self.host(WHAT, None, None, Side::Write, |_| {
            let has = matches!(batches(self.def.map_type), Batches::Keys | Batches::Buckets);
            if has { self.batch_flags(flags) } else { Err(Errno::ENOTSUPP) }
        })?;
        self.each(WHAT, keys, |key| self.ops.delete(key))
    }

    /// Batches know one flag.
    fn batch_flags(&self, flags: UpdateFlags) -> Result<(), Errno> {
        if flags.0 & !UpdateFlags::F_LOCK.0 != 0 {
            return Err(Errno::EINVAL);
        }
        self.locks(flags.0).map(drop)
    }

    fn each<T>(
        &self,
        operation: &'static str,
        all: &[T],
        act: impl Fn(&T) -> Result<(), Errno>,
    ) -> Result<(), MapError> {
        for (done, one) in all.iter().enumerate() {
            act(one).map_err(|errno| {
                let map = self.def.name.clone();
                MapError::Batch { map, operation, errno, done }
            })?;
        }
        Ok(())
    }
}
