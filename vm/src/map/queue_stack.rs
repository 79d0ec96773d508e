//! Queues and stacks: values without keys (`kernel/bpf/queue_stack_maps.c`).

use super::kind::Shape;
use super::memory::{Memory, OutOfMemory, WORD, words_for};
use super::{MapOps, UpdateFlags};
use ebpfvm_spec::{Errno, MapDef, MapType};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Which value comes out first.
#[derive(Clone, Copy, PartialEq, Eq)]
enum First {
    Oldest,
    Newest,
}

/// `queue` and `stack`.
pub(super) struct QueueStack {
    memory: Memory,
    value_bytes: usize,
    entries: usize,
    first: First,
    window: Mutex<Window>,
}

/// The places in use, in a circle of `entries` places.
struct Window {
    oldest: usize,
    count: usize,
}

impl QueueStack {
    pub(super) fn needed(shape: &Shape<'_>) -> Option<u64> {
        Some((words(shape)? * WORD) as u64)
    }

    pub(super) fn build(shape: &Shape<'_>) -> Result<Box<dyn MapOps>, OutOfMemory> {
        let MapDef { map_type, max_entries, value_bytes, .. } = *shape.def;
        Ok(Box::new(QueueStack {
            memory: Memory::zeroed(words(shape).ok_or(OutOfMemory)?)?,
            value_bytes: value_bytes as usize,
            entries: max_entries as usize,
            first: if map_type == MapType::Stack { First::Newest } else { First::Oldest },
            window: Mutex::new(Window { oldest: 0, count: 0 }),
        }))
    }

    fn lock(&self) -> MutexGuard<'_, Window> {
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn word(&self, place: usize) -> usize {
        place % self.entries * words_for(self.value_bytes)
    }

    /// Copies the first value out, or zeros if there is none, as the kernel does.
    fn copy_first(&self, window: &Window, value: &mut [u8]) -> Result<(), Errno> {
        if window.count == 0 {
            value.fill(0);
            return Err(Errno::ENOENT);
        }
        let offset = if self.first == First::Newest { window.count - 1 } else { 0 };
        self.memory.read(self.word(window.oldest + offset), value);
        Ok(())
    }
}

fn words(shape: &Shape<'_>) -> Option<usize> {
    words_for(shape.def.value_bytes as usize).checked_mul(shape.def.max_entries as usize)
}

impl MapOps for QueueStack {
    fn push(&self, value: &[u8], flags: UpdateFlags) -> Result<(), Errno> {
        if flags != UpdateFlags::ANY && flags != UpdateFlags::EXIST {
            return Err(Errno::EINVAL);
        }
        let mut window = self.lock();
        if window.count == self.entries {
            // Here `BPF_EXIST` means to let the oldest go.
            if flags != UpdateFlags::EXIST {
                return Err(Errno::E2BIG);
            }
            window.oldest = (window.oldest + 1) % self.entries;
            window.count -= 1;
        }
        self.memory.write(self.word(window.oldest + window.count), value);
        window.count += 1;
        Ok(())
    }

    fn pop(&self, value: &mut [u8]) -> Result<(), Errno> {
        let mut window = self.lock();
        self.copy_first(&window, value)?;
        window.count -= 1;
        if self.first == First::Oldest {
            window.oldest = (window.oldest + 1) % self.entries;
        }
        Ok(())
    }

    fn peek(&self, value: &mut [u8]) -> Result<(), Errno> {
        self.copy_first(&self.lock(), value)
    }

    fn delete(&self, _key: &[u8]) -> Result<(), Errno> {
        Err(Errno::EINVAL)
    }

    fn next_key(&self, _key: Option<&[u8]>) -> Result<Vec<u8>, Errno> {
        Err(Errno::EINVAL)
    }

    fn read(&self, _key: &[u8]) -> Result<Vec<u8>, Errno> {
        let mut value = vec![0; self.value_bytes];
        self.peek(&mut value).map(|()| value)
    }

    fn write(&self, _key: &[u8], value: &[u8], flags: UpdateFlags) -> Result<(), Errno> {
        self.push(value, flags)
    }

    fn take(&self, _key: &[u8]) -> Result<Vec<u8>, Errno> {
        let mut value = vec![0; self.value_bytes];
        self.pop(&mut value).map(|()| value)
    }

    /// The values, first out first.
    fn values(&self) -> Vec<Vec<u8>> {
        let window = self.lock();
        let place = |n| match self.first {
            First::Oldest => window.oldest + n,
            First::Newest => window.oldest + window.count - 1 - n,
        };
        let value = |n| {
            let mut value = vec![0; self.value_bytes];
            self.memory.read(self.word(place(n)), &mut value);
            value
        };
        (0..window.count).map(value).collect()
    }
}
