//! Access to many entries with one call.

use super::{Entry, Map, MapError};
use crate::sys::{self, Command, MapBatchAttr, address, address_mut};
use ebpfvm_spec::Errno;

/// Where a batch of lookups goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchCursor(Vec<u8>);

/// The entries of one batch of lookups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// The entries.
    pub entries: Vec<Entry>,
    /// Where to go on; none at the end.
    pub next: Option<BatchCursor>,
}

/// Whether a batch of lookups removes what it returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Take {
    /// Entries stay.
    Copy,
    /// Entries are deleted.
    Remove,
}

impl Map {
    /// Up to `max` entries after `from`, or from the start (`BPF_MAP_LOOKUP_BATCH` and
    /// `BPF_MAP_LOOKUP_AND_DELETE_BATCH`).
    ///
    /// # Errors
    /// [`MapError`]; `ENOSPC` when `max` is less than a bucket of the hash table holds, `E2BIG` when
    /// keys or values of so many entries would take more than 1 GiB.
    pub fn lookup_batch(
        &self,
        from: Option<&BatchCursor>,
        max: u32,
        take: Take,
        element_flags: u64,
    ) -> Result<Batch, MapError> {
        const MAX_BATCH_BYTES: usize = 1 << 30;
        let room = |bytes: usize| bytes.checked_mul(max as usize).filter(|n| *n <= MAX_BATCH_BYTES);
        let (keys, values) =
            room(self.key_bytes).zip(room(self.value_bytes)).ok_or(Errno::E2BIG)?;
        let (mut keys, mut values) = (vec![0; keys], vec![0; values]);
        // Hash tables keep a bucket number here, others a key.
        let mut out_batch = vec![0; self.key_bytes.max(4)];
        if let Some(cursor) = from {
            self.check("cursor", out_batch.len(), cursor.0.len())?;
        }
        let mut attr = MapBatchAttr {
            in_batch: from.map_or(0, |cursor| address(&cursor.0)),
            out_batch: address_mut(&mut out_batch),
            keys: address_mut(&mut keys),
            values: address_mut(&mut values),
            count: max,
            map_fd: self.fd() as u32,
            element_flags,
            ..MapBatchAttr::default()
        };
        let command = match take {
            Take::Copy => Command::MapLookupBatch,
            Take::Remove => Command::MapLookupAndDeleteBatch,
        };
        // SAFETY: all buffers live through the call; keys and values have room for `max` entries of
        // this map, both cursors for a key or a bucket number (that of the caller as checked above).
        let result = unsafe { sys::bpf(command, &mut attr) };
        let next = match result {
            Ok(_) => Some(BatchCursor(out_batch)),
            Err(Errno::ENOENT) => None,
            Err(errno) => return Err(errno.into()),
        };
        let chunk = |bytes: &[u8], i: usize, size: usize| bytes[i * size..(i + 1) * size].to_vec();
        let entries = (0..attr.count.min(max) as usize)
            .map(|i| (chunk(&keys, i, self.key_bytes), chunk(&values, i, self.value_bytes)))
            .collect();
        Ok(Batch { entries, next })
    }

    /// Sets many entries (`BPF_MAP_UPDATE_BATCH`).
    ///
    /// # Errors
    /// [`MapError::Batch`] tells how many were set.
    pub fn update_batch(&self, entries: &[Entry], element_flags: u64) -> Result<(), MapError> {
        let (mut keys, mut values) = (Vec::new(), Vec::new());
        for (key, value) in entries {
            self.check("key", self.key_bytes, key.len())?;
            self.check("value", self.value_bytes, value.len())?;
            keys.extend(key);
            values.extend(value);
        }
        self.change_batch(Command::MapUpdateBatch, &keys, &values, entries.len(), element_flags)
    }

    /// Removes many entries (`BPF_MAP_DELETE_BATCH`).
    ///
    /// # Errors
    /// [`MapError::Batch`] tells how many were removed.
    pub fn delete_batch(&self, keys: &[Vec<u8>], element_flags: u64) -> Result<(), MapError> {
        for key in keys {
            self.check("key", self.key_bytes, key.len())?;
        }
        self.change_batch(Command::MapDeleteBatch, &keys.concat(), &[], keys.len(), element_flags)
    }

    /// A batch that the kernel only reads; the sizes of keys and values are checked by the callers.
    fn change_batch(
        &self,
        command: Command,
        keys: &[u8],
        values: &[u8],
        count: usize,
        element_flags: u64,
    ) -> Result<(), MapError> {
        let mut attr = MapBatchAttr {
            keys: address(keys),
            values: address(values),
            count: sys::length(count)?,
            map_fd: self.fd() as u32,
            element_flags,
            ..MapBatchAttr::default()
        };
        // SAFETY: keys and values live through the call, hold `count` elements each (values only
        // where the command has them) and are only read.
        match unsafe { sys::bpf(command, &mut attr) } {
            Ok(_) => Ok(()),
            Err(errno) => Err(MapError::Batch { errno, done: (attr.count as usize).min(count) }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{MapRequest, kernel_or_skip};
    use ebpfvm_spec::MapType;

    #[test]
    fn batches_bring_everything_once() {
        let Some(kernel) = kernel_or_skip("batches_bring_everything_once") else { return };
        let map = kernel.map_create(&MapRequest::new(MapType::Hash, 4, 4, 1000)).unwrap();
        let all: Vec<Entry> =
            (0..500u32).map(|i| (i.to_ne_bytes().into(), (i * 3).to_ne_bytes().into())).collect();
        map.update_batch(&all, 0).unwrap();
        let (mut seen, mut cursor) = (Vec::new(), None);
        loop {
            let batch = map.lookup_batch(cursor.as_ref(), 64, Take::Copy, 0).unwrap();
            seen.extend(batch.entries);
            cursor = batch.next;
            if cursor.is_none() {
                break;
            }
        }
        seen.sort();
        let mut expected = all.clone();
        expected.sort();
        assert_eq!(seen, expected);
        let keys: Vec<Vec<u8>> = all.into_iter().map(|(key, _)| key).collect();
        map.delete_batch(&keys[..100], 0).unwrap();
        let error = map.lookup_batch(None, u32::MAX, Take::Copy, 0).unwrap_err();
        assert_eq!(error.errno(), Some(Errno::E2BIG));
        let rest = map.lookup_batch(None, 1000, Take::Remove, 0).unwrap();
        assert_eq!((rest.entries.len(), rest.next), (400, None));
        assert_eq!(map.entries().unwrap(), []);
    }
}
