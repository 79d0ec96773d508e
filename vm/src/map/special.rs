//! Fields of values that are not data: locks, timers, kernel pointers, lists.
//!
//! Copies leave them alone (`copy_map_value` of the kernel), readers of copies find them as they are
//! in a fresh value (`check_and_init_map_value`), and values that go or are overwritten lose what
//! their fields stand for (`bpf_obj_free_fields`). Invariant: the fields are in the order of their
//! offsets, lie apart and inside the value, and begin at multiples of 4 bytes, those with content at
//! multiples of 8.

use super::memory::{Memory, WORD, words_for};
use ebpfvm_spec::btf::{SpecialField, SpecialKind};
use std::ops::Range;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::{AcqRel, Acquire};
use std::sync::{Arc, OnceLock};

/// A special field whose content goes: its entry is removed or overwritten, or the map ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FreedField {
    /// What it is.
    pub kind: SpecialKind,
    /// Address of the field.
    pub address: usize,
    /// Its first 8 bytes, which are no longer there. Lists and trees are there until the call ends.
    pub content: u64,
}

/// Takes notice of special fields whose content goes: cancels the timer, frees the object.
///
/// It is called with locks of the map held. It neither uses the map nor waits for those who do.
pub type OnFree = dyn Fn(FreedField) + Send + Sync;

/// The special fields of a map's values.
pub(super) struct Special {
    fields: Arc<[SpecialField]>,
    /// What lies between them, in bytes.
    data: Box<[Range<usize>]>,
    on_free: OnceLock<Box<OnFree>>,
}

/// Whether a field has content that ends with the value.
const fn has_content(kind: SpecialKind) -> bool {
    use SpecialKind::*;
    !matches!(kind, SpinLock | ResSpinLock | Refcount | ListNode | RbNode)
}

impl Special {
    /// Values that are nothing but data.
    pub(super) fn none() -> Arc<Special> {
        static NONE: OnceLock<Arc<Special>> = OnceLock::new();
        let none = || Special { fields: Arc::default(), data: [].into(), on_free: OnceLock::new() };
        NONE.get_or_init(|| Arc::new(none())).clone()
    }

    /// Values with these fields.
    ///
    /// # Errors
    /// The field that breaks the invariant.
    pub(super) fn new(
        fields: &Arc<[SpecialField]>,
        value_bytes: usize,
    ) -> Result<Arc<Special>, SpecialField> {
        if fields.is_empty() {
            return Ok(Special::none());
        }
        let mut data = Vec::new();
        let mut end = 0;
        for field in fields.iter() {
            let (start, bytes) = (field.offset as usize, field.bytes as usize);
            let align = if has_content(field.kind) { WORD } else { 4 };
            let fits = start >= end
                && start.is_multiple_of(align)
                && bytes == field.kind.bytes() as usize
                && start.checked_add(bytes).is_some_and(|end| end <= value_bytes);
            if !fits {
                return Err(*field);
            }
            data.push(end..start);
            end = start + bytes;
        }
        data.push(end..value_bytes);
        data.retain(|part| !part.is_empty());
        let (fields, data) = (fields.clone(), data.into());
        Ok(Arc::new(Special { fields, data, on_free: OnceLock::new() }))
    }

    /// Sets who takes notice of content that goes; false if that is set already, or if there is no
    /// content.
    pub(super) fn on_free(&self, notice: Box<OnFree>) -> bool {
        self.fields.iter().any(|field| has_content(field.kind)) && self.on_free.set(notice).is_ok()
    }

    /// Whether values are nothing but data.
    #[inline]
    pub(super) fn is_none(&self) -> bool {
        self.fields.is_empty()
    }

    /// Offset of the spin lock in bytes.
    pub(super) fn lock(&self) -> Option<usize> {
        let lock = self.fields.iter().find(|field| field.kind == SpecialKind::SpinLock)?;
        Some(lock.offset as usize)
    }

    /// The spin lock of a value.
    pub(super) fn lock_of<'a>(&self, memory: &'a Memory, word: usize) -> Option<&'a AtomicU32> {
        Some(memory.spin_lock(word * 2 + self.lock()? / 4))
    }

    /// Copies a value in (`copy_map_value`).
    #[inline]
    pub(super) fn write(&self, memory: &Memory, word: usize, value: &[u8]) {
        if self.is_none() {
            return memory.write(word, value);
        }
        for part in &self.data {
            memory.write_at(word, part.start, &value[part.clone()]);
        }
    }

    /// Makes a value's data zero.
    pub(super) fn clear(&self, memory: &Memory, word: usize, value_bytes: usize) {
        if self.is_none() {
            return memory.clear(word, words_for(value_bytes));
        }
        self.write(memory, word, &vec![0; value_bytes]);
    }

    /// Gives the fields of a copy the content of fresh ones (`check_and_init_map_value`); a list has
    /// none, where the kernel shows addresses of its own.
    pub(super) fn mask(&self, copy: &mut [u8]) {
        for field in self.fields.iter() {
            let bytes = &mut copy[field.offset as usize..][..field.bytes as usize];
            bytes.fill(0);
            if field.kind == SpecialKind::Refcount {
                bytes.copy_from_slice(&1u32.to_ne_bytes());
            }
        }
    }

    /// Ends what the fields of a value stand for (`bpf_obj_free_fields`).
    pub(super) fn free(&self, memory: &Memory, word: usize) {
        for field in self.fields.iter().filter(|field| has_content(field.kind)) {
            let first = word + field.offset as usize / WORD;
            let cell = &memory.words()[first];
            let is_root = matches!(field.kind, SpecialKind::ListHead | SpecialKind::RbRoot);
            let content = match is_root {
                true => cell.load(Acquire),
                false => cell.swap(0, AcqRel),
            };
            if content != 0
                && let Some(notice) = self.on_free.get()
            {
                let address = memory.pointer(first).addr().get();
                notice(FreedField { kind: field.kind, address, content });
            }
            if is_root {
                memory.clear(first, words_for(field.bytes as usize));
            }
        }
    }

    /// Whether somebody takes notice of content that goes.
    pub(super) fn is_noticed(&self) -> bool {
        self.on_free.get().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    fn field(kind: SpecialKind, offset: u32) -> SpecialField {
        SpecialField { kind, offset, bytes: kind.bytes(), target: None, node_offset: 0 }
    }

    #[test]
    fn copies_leave_fields_alone() {
        use SpecialKind::*;
        let fields = [field(SpinLock, 4), field(Timer, 16), field(Refcount, 36)];
        let special = Special::new(&fields.into(), 43).unwrap();
        let memory = Memory::zeroed(7).unwrap();
        let word = 1;
        memory.write(1, &[0xee; 48]);
        let value: Vec<u8> = (1..=43).collect();
        special.write(&memory, word, &value);
        let mut seen = [0; 43];
        memory.read(1, &mut seen);
        for (i, byte) in seen.iter().enumerate() {
            let at = fields.iter().any(|f| (f.offset..f.offset + f.bytes).contains(&(i as u32)));
            assert_eq!(*byte, if at { 0xee } else { value[i] }, "byte {i}");
        }
        special.mask(&mut seen);
        assert_eq!(
            (&seen[4..8], &seen[16..32], &seen[36..40]),
            (&[0; 4][..], &[0; 16][..], &[1, 0, 0, 0][..])
        );
        let lock = special.lock_of(&memory, word).unwrap();
        assert_eq!(lock.load(std::sync::atomic::Ordering::Relaxed), 0xeeee_eeee);
        // The words around the value are as they were.
        assert_eq!(memory.words()[0].load(std::sync::atomic::Ordering::Relaxed), 0);
    }

    #[test]
    fn content_that_goes_is_noticed_once() {
        use SpecialKind::*;
        let special = Special::new(&[field(KptrRef, 8), field(Timer, 16)].into(), 40).unwrap();
        let memory = Memory::zeroed(5).unwrap();
        let seen: Arc<Mutex<Vec<FreedField>>> = Arc::default();
        let notes = seen.clone();
        assert!(special.on_free(Box::new(move |freed| notes.lock().unwrap().push(freed))));
        assert!(!special.on_free(Box::new(|_| ())));
        memory.write(0, &[7; 40]);
        special.free(&memory, 0);
        special.free(&memory, 0);
        let (address, content) = (memory.address(), 0x0707_0707_0707_0707);
        let expected = [
            FreedField { kind: KptrRef, address: address + 8, content },
            FreedField { kind: Timer, address: address + 16, content },
        ];
        assert_eq!(seen.lock().unwrap()[..], expected);
        let mut value = [0; 40];
        memory.read(0, &mut value);
        assert_eq!((&value[..8], &value[8..24]), (&[7; 8][..], &[0; 16][..]));
    }

    #[test]
    fn fields_lie_apart_and_inside() {
        use SpecialKind::*;
        for (fields, bytes) in [
            (vec![field(SpinLock, 6)], 16),
            (vec![field(SpinLock, 4)], 7),
            (vec![field(Timer, 4)], 40),
            (vec![field(KptrRef, 8), field(SpinLock, 0)], 16),
            (vec![field(KptrRef, 0), field(SpinLock, 4)], 16),
            (vec![field(SpinLock, u32::MAX - 3)], 16),
        ] {
            let wrong = *fields.last().unwrap();
            assert_eq!(Special::new(&fields.into(), bytes).err(), Some(wrong));
        }
    }
}
