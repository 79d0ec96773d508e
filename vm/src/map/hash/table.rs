//! A hash table of fixed elements whose readers take no lock.
//!
//! Elements lie side by side in one memory and are recycled, never freed. A bucket is a chain of
//! element indices; the end of a chain names its bucket, so that a reader whose element was recycled
//! into another bucket under its feet notices and starts again (the kernel's `hlist_nulls`). New
//! elements go to the head of a chain, therefore a reader that comes back into its bucket by such a
//! way still meets all elements that were there throughout. A key whose value is replaced moves to the
//! head in front of a reader who has passed it (there the kernel's finds neither), so a reader who
//! found nothing looks again, and makes sure that nothing came to the head meanwhile.
//!
//! Each element has a version that is odd while its key and value are written. A reader that finds
//! its key and the version unchanged has read one element's key, not parts of two.
//!
//! Writers hold the lock of their bucket (one lock for several buckets).

use crate::map::hash_function::HashFunction;
use crate::map::memory::{Memory, OutOfMemory, words_for};
use crate::map::sync::{AtomicU32, AtomicU64, Mutex, MutexGuard, fence, spin_loop};
use crate::map::{BucketError, Entry, Take, Visit};
use ebpfvm_spec::Errno;
use smallvec::SmallVec;
use std::ops::ControlFlow;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::{Arc, PoisonError};

/// Link word of an element: index of the next element or end marker (low half), hash (high half).
const LINK: usize = 0;
/// State word: version (low half), next free element as in [`FreeList`] (high half).
const STATE: usize = 1;
/// First word of the key.
const KEY: usize = 2;

/// What every element has; keys and values go on behind it.
type Element = [AtomicU64; KEY + 1];

/// Set in a link that ends a chain; the other bits are the number of the bucket.
const END: u32 = 1 << 31;

/// Index of an element.
pub(in crate::map) type Index = u32;

/// What sizes a table has.
#[derive(Clone, Copy)]
pub(in crate::map) struct Layout {
    pub(in crate::map) max_entries: u32,
    pub(in crate::map) key_bytes: usize,
    /// Words of the value that lies in an element; 0 if values lie elsewhere.
    pub(in crate::map) value_words: usize,
    /// A power of two.
    locks: usize,
}

impl Layout {
    pub(in crate::map) fn new(
        max_entries: u32,
        key_bytes: u32,
        value_words: usize,
        cpus: u32,
    ) -> Layout {
        // Four locks for each thread that may write at once make waiting rare.
        let locks = cpus.saturating_mul(4).clamp(16, 1024).next_power_of_two() as usize;
        Layout { max_entries, key_bytes: key_bytes as usize, value_words, locks }
    }

    /// Elements: those that count and one for each writer that replaces a value.
    pub(in crate::map) fn elements(self) -> usize {
        self.max_entries as usize + self.locks
    }

    /// The word of an element at which its value starts.
    pub(in crate::map) fn value_word(self) -> usize {
        KEY + words_for(self.key_bytes)
    }

    /// Words from element to element.
    pub(in crate::map) fn stride(self) -> usize {
        self.value_word() + self.value_words
    }

    /// Two for each entry, where the kernel has one: a chain of more than one element costs a reader
    /// more than the other half of the heads, for the processor cannot foresee how long it is.
    fn buckets(self) -> usize {
        (self.max_entries as usize).next_power_of_two() * 2
    }

    /// Bytes that the table allocates; `None` if no number holds them.
    pub(in crate::map) fn bytes(self) -> Option<u64> {
        let words = self.elements().checked_mul(self.stride())?;
        let words = words.checked_add(self.buckets().div_ceil(2))?;
        (words as u64).checked_mul(8)
    }
}

/// The table.
pub(in crate::map) struct Table {
    layout: Layout,
    /// [`Layout::stride`], known to readers without arithmetic.
    stride: usize,
    /// The bits of a hash that say the bucket.
    bucket_mask: u32,
    elements: Arc<Memory>,
    /// Half a word for each bucket: the first element's index plus 1, or 0.
    heads: Memory,
    locks: Box<[Mutex<()>]>,
    hash_function: HashFunction,
    /// Entries that count.
    used: AtomicU32,
    free: FreeList,
}

impl Table {
    pub(in crate::map) fn new(layout: Layout, seed: u64) -> Result<Table, OutOfMemory> {
        let words = layout.elements().checked_mul(layout.stride()).ok_or(OutOfMemory)?;
        Ok(Table {
            layout,
            stride: layout.stride(),
            bucket_mask: (layout.buckets() - 1) as u32,
            elements: Arc::new(Memory::zeroed(words)?),
            heads: Memory::zeroed(layout.buckets().div_ceil(2))?,
            locks: (0..layout.locks).map(|_| Mutex::new(())).collect(),
            hash_function: HashFunction::new(seed),
            used: AtomicU32::new(0),
            free: FreeList::default(),
        })
    }

    /// The memory of the elements.
    pub(in crate::map) fn memory(&self) -> &Arc<Memory> {
        &self.elements
    }

    /// The hash of a key.
    #[inline]
    pub(in crate::map) fn hash(&self, key: &[u8]) -> u32 {
        self.hash_function.hash(key) as u32
    }

    /// The element of a key, without a lock.
    #[inline]
    pub(in crate::map) fn find(&self, key: &[u8]) -> Option<Index> {
        let hash = self.hash(key);
        let has_key = |index: Index, _: &Element| self.has_key(index, key);
        self.find_soon(hash, has_key).unwrap_or_else(|| self.find_surely(hash, has_key))
    }

    /// As [`find`](Table::find), for a key of at most 8 bytes, given as a word with zeros behind it.
    #[inline(always)]
    pub(in crate::map) fn find_word(&self, key: u64) -> Option<Index> {
        let hash = self.hash_function.hash_word(key) as u32;
        let has_key = move |_: Index, element: &Element| element[KEY].load(Relaxed) == key;
        self.find_soon(hash, has_key).unwrap_or_else(|| self.find_surely(hash, has_key))
    }

    /// The element of a key, or that its bucket is empty; none if one walk is not enough to know.
    #[inline(always)]
    fn find_soon(
        &self,
        hash: u32,
        has_key: impl Fn(Index, &Element) -> bool,
    ) -> Option<Option<Index>> {
        let first = self.head(self.bucket(hash));
        match self.follow(first, hash, &has_key) {
            Ok(found) => Some(Some(found)),
            Err(_) if first & END != 0 => Some(None),
            Err(_) => None,
        }
    }

    /// Finds a key, or makes sure that it was not there at some time since the call.
    ///
    /// That is so after a walk to the bucket's own end during which its first element was not allocated
    /// and no other came before it: a key that is replaced comes to the head and stays before the
    /// elements that were there. The version is read before the head is seen to be that element, lest
    /// it was already on its way to be inserted again.
    #[inline(never)]
    fn find_surely(&self, hash: u32, has_key: impl Fn(Index, &Element) -> bool) -> Option<Index> {
        let bucket = self.bucket(hash);
        loop {
            let first = self.head(bucket);
            if first & END != 0 {
                return None;
            }
            let version = self.version(first);
            if self.head(bucket) == first {
                match self.follow(first, hash, &has_key) {
                    Ok(found) => return Some(found),
                    Err(end) => {
                        fence(Acquire);
                        let same = self.head(bucket) == first && self.version(first) == version;
                        if same && end == END | bucket {
                            return None;
                        }
                    }
                }
            }
            spin_loop();
        }
    }

    /// Follows links from one on to the element of a key.
    ///
    /// # Errors
    /// The link at which the chain ends, or 0 if an element was written meanwhile.
    #[inline(always)]
    fn follow(
        &self,
        mut link: u32,
        hash: u32,
        has_key: impl Fn(Index, &Element) -> bool,
    ) -> Result<Index, u32> {
        while link & END == 0 {
            let element = self.element(link);
            let word = element[LINK].load(Acquire);
            if (word >> 32) as u32 == hash {
                let version = element[STATE].load(Acquire) as u32;
                if has_key(link, element) {
                    return if is_unchanged(element, version) { Ok(link) } else { Err(0) };
                }
            }
            link = word as u32;
        }
        Err(link)
    }

    /// Finds a key and gives what `read` makes of its element while it is the key's.
    pub(in crate::map) fn read<T>(&self, key: &[u8], read: impl Fn(Index) -> T) -> Option<T> {
        loop {
            let index = self.find(key)?;
            let version = self.version(index);
            let same = self.has_key(index, key);
            let out = read(index);
            if same && is_unchanged(self.element(index), version) {
                return Some(out);
            }
            spin_loop();
        }
    }

    /// Takes the lock of a key's bucket.
    pub(in crate::map) fn lock(&self, hash: u32) -> Bucket<'_> {
        self.lock_bucket(self.bucket(hash), hash)
    }

    /// Takes the lock of a bucket; none if there are not so many.
    pub(in crate::map) fn bucket_number(&self, bucket: u32) -> Option<Bucket<'_>> {
        ((bucket as usize) < self.layout.buckets()).then(|| self.lock_bucket(bucket, 0))
    }

    fn lock_bucket(&self, bucket: u32, hash: u32) -> Bucket<'_> {
        let lock = &self.locks[bucket as usize & (self.locks.len() - 1)];
        // The lock guards no data of its own; who panicked under it left the chain whole.
        let guard = lock.lock().unwrap_or_else(PoisonError::into_inner);
        Bucket { table: self, bucket, hash, _guard: guard }
    }

    /// The keys, bucket by bucket.
    pub(in crate::map) fn keys(&self) -> impl Iterator<Item = Vec<u8>> + '_ {
        (0..self.layout.buckets() as u32).flat_map(move |bucket| {
            // An empty bucket needs no lock.
            if self.head(bucket) & END != 0 {
                return Vec::new();
            }
            let locked = self.lock_bucket(bucket, 0);
            locked.chain().map(|index| self.key(index)).collect::<Vec<_>>()
        })
    }

    /// Shows keys and their elements to `each`, bucket by bucket, until it breaks off. No lock is
    /// held meanwhile, and what a bucket gets when it was entered is not shown.
    pub(in crate::map) fn walk(
        &self,
        each: &mut dyn FnMut(&[u8], Index) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        for bucket in 0..self.layout.buckets() as u32 {
            if self.head(bucket) & END != 0 {
                continue;
            }
            let locked = self.lock_bucket(bucket, 0);
            let entries: SmallVec<[_; 2]> = locked.chain().map(|i| (self.key(i), i)).collect();
            drop(locked);
            for (i, (key, index)) in entries.iter().enumerate() {
                // The ones before may have removed it, or put another element in its place.
                let now = if i == 0 { Some(*index) } else { self.find(key) };
                if let Some(index) = now {
                    each(key, index)?;
                }
            }
        }
        ControlFlow::Continue(())
    }

    /// The key after a key in the order of [`keys`](Table::keys); the first for one that is not
    /// there.
    pub(in crate::map) fn key_after(&self, key: Option<&[u8]>) -> Option<Vec<u8>> {
        let mut first_bucket = 0;
        if let Some(key) = key {
            let locked = self.lock(self.hash(key));
            let mut rest = locked.chain().skip_while(|index| !self.has_key(*index, key));
            if rest.next().is_some() {
                if let Some(next) = rest.next() {
                    return Some(self.key(next));
                }
                first_bucket = locked.bucket + 1;
            }
        }
        (first_bucket..self.layout.buckets() as u32)
            .filter(|bucket| self.head(*bucket) & END == 0)
            .find_map(|bucket| self.lock_bucket(bucket, 0).chain().next().map(|i| self.key(i)))
    }

    /// Removes the entry in an element, whatever its key, after `end` has seen it. Returns whether
    /// there was one.
    pub(in crate::map) fn remove_index(&self, index: Index, end: impl Fn(Index)) -> bool {
        // If the element goes to another bucket before the lock is taken, it is not found in this one.
        let bucket = self.lock((self.word(index, LINK).load(Acquire) >> 32) as u32);
        let found = bucket.chain().any(|other| other == index);
        if found {
            end(index);
            bucket.remove(index);
        }
        found
    }

    /// Counts one more entry, unless the table is full.
    pub(in crate::map) fn count_one(&self) -> bool {
        let more = |used| (used < self.layout.max_entries).then_some(used + 1);
        self.used.fetch_update(AcqRel, Relaxed, more).is_ok()
    }

    /// Takes an element that is in no chain and lets `fill` write its value.
    ///
    /// There is one for each counted entry, and one more for each holder of a bucket's lock. The
    /// link stays as it was: readers that are on the element go on in the chain that it was in.
    pub(in crate::map) fn allocate(&self, key: &[u8], fill: impl FnOnce(Index)) -> Index {
        let index = self.free.pop(self);
        let version = self.version(index);
        self.word(index, STATE).store(u64::from(version.wrapping_add(1)), Relaxed);
        // Who sees a word of the new key sees the odd version as well.
        fence(Release);
        self.elements.write(index as usize * self.stride + KEY, key);
        fill(index);
        self.word(index, STATE).store(u64::from(version.wrapping_add(2)), Release);
        index
    }

    fn bucket(&self, hash: u32) -> u32 {
        hash & self.bucket_mask
    }

    /// The first link of a bucket.
    #[inline]
    fn head(&self, bucket: u32) -> u32 {
        match self.heads.halves()[bucket as usize].load(Acquire) {
            0 => END | bucket,
            index => index - 1,
        }
    }

    fn set_head(&self, bucket: u32, link: u32) {
        let head = if link & END != 0 { 0 } else { link + 1 };
        self.heads.halves()[bucket as usize].store(head, Release);
    }

    /// The words of an element up to the first of its key.
    #[inline(always)]
    fn element(&self, index: Index) -> &Element {
        let words = &self.elements.words()[index as usize * self.stride..];
        words.first_chunk().expect("an element has a key")
    }

    #[inline]
    fn word(&self, index: Index, word: usize) -> &AtomicU64 {
        &self.element(index)[word]
    }

    #[inline]
    fn version(&self, index: Index) -> u32 {
        self.word(index, STATE).load(Acquire) as u32
    }

    #[inline]
    fn has_key(&self, index: Index, key: &[u8]) -> bool {
        self.elements.equals(index as usize * self.stride + KEY, key)
    }

    /// The key of an element.
    pub(in crate::map) fn key(&self, index: Index) -> Vec<u8> {
        let mut key = vec![0; self.layout.key_bytes];
        self.elements.read(index as usize * self.stride + KEY, &mut key);
        key
    }
}

/// Whether nobody wrote to the element since `version` was read.
#[inline(always)]
fn is_unchanged(element: &Element, version: u32) -> bool {
    fence(Acquire);
    version & 1 == 0 && element[STATE].load(Relaxed) as u32 == version
}

/// A bucket whose lock is held.
pub(in crate::map) struct Bucket<'a> {
    table: &'a Table,
    bucket: u32,
    hash: u32,
    _guard: MutexGuard<'a, ()>,
}

impl Bucket<'_> {
    /// The elements in order.
    fn chain(&self) -> impl Iterator<Item = Index> + '_ {
        let element = |link: u32| (link & END == 0).then_some(link);
        std::iter::successors(element(self.table.head(self.bucket)), move |index| {
            element(self.table.word(*index, LINK).load(Relaxed) as u32)
        })
    }

    /// The element of a key.
    pub(in crate::map) fn find(&self, key: &[u8]) -> Option<Index> {
        self.chain().find(|index| self.table.has_key(*index, key))
    }

    /// The entries for a batch; `value` copies a value. When all are copied they may be removed, each
    /// after `end` has seen its element.
    ///
    /// # Errors
    /// [`BucketError::NoRoom`], and those of `value`; all entries are still there then.
    pub(in crate::map) fn visit(
        &self,
        visit: Visit,
        value: impl Fn(Index) -> Result<Vec<u8>, Errno>,
        end: impl Fn(Index),
    ) -> Result<Vec<Entry>, BucketError> {
        let chain: Vec<Index> = self.chain().collect();
        if chain.len() > visit.room {
            return Err(BucketError::NoRoom);
        }
        let entry = |index: &Index| Ok((self.table.key(*index), value(*index)?));
        let entries = chain.iter().map(entry).collect::<Result<Vec<Entry>, Errno>>()?;
        if visit.take == Take::Remove {
            for index in chain {
                end(index);
                self.remove(index);
            }
        }
        Ok(entries)
    }

    /// Puts an allocated element at the head of the chain.
    pub(in crate::map) fn insert(&self, index: Index) {
        let link = u64::from(self.hash) << 32 | u64::from(self.table.head(self.bucket));
        self.table.word(index, LINK).store(link, Release);
        self.table.set_head(self.bucket, index);
    }

    /// Takes an element out of the chain and frees it. Its link stays for readers that are on it.
    fn unlink(&self, index: Index) {
        let next = self.table.word(index, LINK).load(Relaxed) as u32;
        let before = self.chain().take_while(|other| *other != index).last();
        match before {
            Some(before) => self.set_next(before, next),
            None => self.table.set_head(self.bucket, next),
        }
        self.table.free.push(self.table, index);
    }

    /// Puts `new` in the place of `old`, which holds the same key.
    ///
    /// Readers find the one or the other at any time.
    pub(in crate::map) fn replace(&self, old: Index, new: Index) {
        self.insert(new);
        self.unlink(old);
    }

    /// Removes a counted element.
    pub(in crate::map) fn remove(&self, index: Index) {
        self.unlink(index);
        // Only now: whoever counts an entry finds an element for it.
        self.table.used.fetch_sub(1, AcqRel);
    }

    fn set_next(&self, index: Index, next: u32) {
        let word = self.table.word(index, LINK);
        word.store(word.load(Relaxed) >> 32 << 32 | u64::from(next), Release);
    }
}

/// Elements in no chain: a stack, linked through their state words, and those never used.
#[derive(Default)]
struct FreeList {
    /// The top element's index plus 1, or 0 (low half); a count of changes (high half), by which a
    /// thread notices that the top that it saw was taken and came back.
    top: AtomicU64,
    /// Elements from here on were never used.
    fresh: AtomicU32,
}

impl FreeList {
    fn pop(&self, table: &Table) -> Index {
        loop {
            let top = self.top.load(Acquire);
            if let Some(index) = (top as u32).checked_sub(1) {
                let below = table.word(index, STATE).load(Relaxed) >> 32;
                if self.swap_top(top, below) {
                    return index;
                }
            } else {
                let elements = table.layout.elements() as u32;
                let more = |fresh| (fresh < elements).then_some(fresh + 1);
                if let Ok(index) = self.fresh.fetch_update(AcqRel, Relaxed, more) {
                    return index;
                }
                // All are used at least once, and one is free: another thread is about to push it.
                spin_loop();
            }
        }
    }

    fn push(&self, table: &Table, index: Index) {
        let version = u64::from(table.version(index));
        loop {
            let top = self.top.load(Acquire);
            table.word(index, STATE).store(u64::from(top as u32) << 32 | version, Relaxed);
            if self.swap_top(top, u64::from(index + 1)) {
                return;
            }
        }
    }

    fn swap_top(&self, seen: u64, element: u64) -> bool {
        let changes = (seen >> 32).wrapping_add(1);
        self.top.compare_exchange(seen, changes << 32 | element, AcqRel, Relaxed).is_ok()
    }
}
