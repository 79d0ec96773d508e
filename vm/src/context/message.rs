//! Messages that programs of type `sk_msg` see: bytes in parts, of which a program sees a range in
//! one (`struct sk_msg`, `bpf_msg_*` of `net/core/filter.c`).
//!
//! The bytes lie in one buffer; the parts say how the kernel would have them.

use ebpfvm_spec::Errno;
use std::ops::Range;

/// The most parts of a message (`MAX_MSG_FRAGS`).
const MAX_PARTS: usize = 17;

/// A message.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    bytes: Vec<u8>,
    /// The length of each part; their sum is that of `bytes`.
    parts: Vec<usize>,
    /// What the program sees.
    seen: Range<usize>,
}

impl Message {
    /// A message in one part.
    pub(crate) fn new(bytes: &[u8]) -> Message {
        let parts = if bytes.is_empty() { Vec::new() } else { vec![bytes.len()] };
        Message { bytes: bytes.to_vec(), parts, seen: 0..bytes.len() }
    }

    /// All bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Divides the message into parts of these lengths; the rest is the last. Returns whether there
    /// are as many bytes and not more parts than a message has.
    pub(crate) fn divide(&mut self, lengths: &[usize]) -> bool {
        let total = lengths.iter().try_fold(0usize, |sum, n| sum.checked_add(*n));
        let Some(rest) = total.and_then(|total| self.bytes.len().checked_sub(total)) else {
            return false;
        };
        let parts: Vec<usize> = lengths.iter().chain([&rest]).copied().filter(|n| *n > 0).collect();
        let fits = parts.len() <= MAX_PARTS;
        if fits {
            self.parts = parts;
            self.see_first();
        }
        fits
    }

    /// Addresses of the first byte that the program sees and of the one after the last.
    pub(crate) fn addresses(&mut self) -> (u64, u64) {
        let base = self.bytes.as_mut_ptr() as u64;
        (base + self.seen.start as u64, base + self.seen.end as u64)
    }

    /// The program sees the first part (`sk_msg_compute_data_pointers`).
    fn see_first(&mut self) {
        self.seen = 0..self.parts.first().copied().unwrap_or(0);
    }

    /// The part that has the byte at `start`, and where it begins; if none has it, none and where
    /// the last begins.
    fn part_at(&self, start: usize) -> (Option<usize>, usize) {
        let mut offset = 0;
        for (i, bytes) in self.parts.iter().enumerate() {
            if start < offset + bytes {
                return (Some(i), offset);
            }
            offset += bytes;
        }
        (None, offset - self.parts.last().copied().unwrap_or(0))
    }

    /// Shows the bytes from `start` to `end`, in one part (`bpf_msg_pull_data`).
    pub(crate) fn pull(&mut self, start: u32, end: u32) -> Result<(), Errno> {
        let (start, end) = (start as usize, end as usize);
        let (Some(first), offset) = self.part_at(start) else { return Err(Errno::EINVAL) };
        if end <= start || end > self.bytes.len() {
            return Err(Errno::EINVAL);
        }
        let mut merged = 0;
        let mut parts = 0;
        while offset + merged < end {
            merged += self.parts[first + parts];
            parts += 1;
        }
        self.parts.splice(first..first + parts, [merged]);
        self.seen = start..end;
        Ok(())
    }

    /// Inserts zeros (`bpf_msg_push_data`, which leaves what was in the memory before).
    pub(crate) fn push(&mut self, start: u32, bytes: u32) -> Result<(), Errno> {
        let (start, bytes) = (start as usize, bytes as usize);
        if bytes == 0 {
            return Ok(());
        }
        let (part, offset) = self.part_at(start);
        if start > self.bytes.len() {
            return Err(Errno::EINVAL);
        }
        if self.bytes.len() + bytes > crate::packet::SKB_MAX_BYTES {
            return Err(Errno::ENOMEM);
        }
        let space = MAX_PARTS - self.parts.len();
        let inside = start - offset;
        let at = part.unwrap_or(self.parts.len());
        if space == 0 || (space == 1 && inside != 0 && part.is_some()) {
            let at = at.min(self.parts.len() - 1);
            self.parts[at] += bytes;
        } else if part.is_some() && inside != 0 {
            let rest = self.parts[at] - inside;
            self.parts.splice(at..=at, [inside, bytes, rest]);
        } else {
            self.parts.insert(at, bytes);
        }
        self.bytes.splice(start..start, std::iter::repeat_n(0, bytes));
        self.see_first();
        Ok(())
    }

    /// Removes bytes (`bpf_msg_pop_data`).
    pub(crate) fn pop(&mut self, start: u32, bytes: u32) -> Result<(), Errno> {
        let (start, bytes) = (start as usize, bytes as usize);
        if bytes == 0 {
            return Ok(());
        }
        let (Some(first), offset) = self.part_at(start) else { return Err(Errno::EINVAL) };
        if start + bytes > self.bytes.len() {
            return Err(Errno::EINVAL);
        }
        let before = start - offset;
        let (mut at, mut left) = (first, bytes);
        if before != 0 {
            let part = self.parts[first];
            match part.checked_sub(before + bytes).filter(|after| *after > 0) {
                Some(after) if self.parts.len() < MAX_PARTS => {
                    self.parts.splice(first..=first, [before, after]);
                    left = 0;
                }
                Some(after) => {
                    self.parts[first] = before + after;
                    left = 0;
                }
                None => {
                    left -= part - before;
                    self.parts[first] = before;
                }
            }
            at += 1;
        }
        while left > 0 {
            if left < self.parts[at] {
                self.parts[at] -= left;
                left = 0;
            } else {
                left -= self.parts.remove(at);
            }
        }
        self.bytes.drain(start..start + bytes);
        self.see_first();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(parts: &[usize]) -> Message {
        let bytes: Vec<u8> = (0..parts.iter().sum::<usize>()).map(|n| n as u8).collect();
        let mut message = Message::new(&bytes);
        assert!(message.divide(&parts[..parts.len() - 1]));
        message
    }

    fn is_sound(message: &Message) {
        assert_eq!(message.parts.iter().sum::<usize>(), message.bytes.len());
        assert!(message.parts.len() <= MAX_PARTS && !message.parts.contains(&0));
        assert!(message.seen.end <= message.bytes.len());
    }

    #[test]
    fn what_is_pulled_is_seen_in_one_part() {
        let mut m = message(&[10, 10, 10]);
        assert_eq!(m.seen, 0..10);
        assert_eq!(m.pull(3, 8), Ok(()));
        assert_eq!((m.seen.clone(), m.parts.len()), (3..8, 3));
        assert_eq!(m.pull(8, 25), Ok(()));
        assert_eq!((m.seen.clone(), &m.parts[..]), (8..25, &[30][..]));
        for (start, end) in [(5, 5), (6, 5), (30, 31), (0, 31), (u32::MAX, 1)] {
            assert_eq!(m.pull(start, end), Err(Errno::EINVAL), "{start} {end}");
        }
    }

    #[test]
    fn pushed_bytes_are_a_part_and_the_first_part_is_seen() {
        let mut m = message(&[10, 10]);
        assert_eq!(m.push(0, 4), Ok(()));
        assert_eq!((m.seen.clone(), &m.parts[..]), (0..4, &[4, 10, 10][..]));
        assert_eq!(m.push(7, 2), Ok(()));
        assert_eq!(m.parts, [4, 3, 2, 7, 10]);
        assert_eq!(m.push(26, 1), Ok(()));
        assert_eq!(m.parts, [4, 3, 2, 7, 10, 1]);
        assert_eq!((m.push(28, 1), m.push(0, 0)), (Err(Errno::EINVAL), Ok(())));
        assert_eq!(&m.bytes[..10], [0, 0, 0, 0, 0, 1, 2, 0, 0, 3]);
        // Without room for parts the bytes join the one that they are put into.
        let mut full = message(&[2; MAX_PARTS]);
        assert_eq!((full.push(1, 5), full.parts[0], full.parts.len()), (Ok(()), 7, MAX_PARTS));
        is_sound(&full);
    }

    #[test]
    fn popped_bytes_are_gone_from_every_part() {
        let mut m = message(&[10, 10, 10]);
        assert_eq!((m.pop(2, 3), &m.parts[..]), (Ok(()), &[2, 5, 10, 10][..]));
        assert_eq!((m.pop(1, 10), &m.parts[..]), (Ok(()), &[1, 6, 10][..]));
        assert_eq!((m.pop(1, 6), &m.parts[..]), (Ok(()), &[1, 10][..]));
        assert_eq!((m.pop(0, 12), m.pop(11, 1)), (Err(Errno::EINVAL), Err(Errno::EINVAL)));
        assert_eq!((m.pop(0, 11), m.seen.clone(), m.bytes.len()), (Ok(()), 0..0, 0));
        assert_eq!(m.pop(0, 1), Err(Errno::EINVAL));
    }

    #[test]
    fn any_sequence_keeps_the_parts_and_the_bytes_together() {
        let random = crate::host::Random::new(7);
        let mut m = message(&[40, 1, 9]);
        let mut model = m.bytes.clone();
        for _ in 0..20_000 {
            let start = random.next_u32() % (model.len() as u32 + 3);
            let bytes = random.next_u32() % 12;
            let (from, to) = (start as usize, (start + bytes) as usize);
            match random.next_u32() % 3 {
                0 if model.len() < 300 && bytes > 0 => {
                    if m.push(start, bytes).is_ok() {
                        model.splice(from..from, vec![0; bytes as usize]);
                    }
                }
                1 if bytes > 0 => {
                    assert_eq!(m.pop(start, bytes).is_ok(), to <= model.len());
                    if to <= model.len() {
                        model.drain(from..to);
                    }
                }
                _ => {
                    assert_eq!(m.pull(start, start + bytes).is_ok(), bytes > 0 && to <= model.len())
                }
            }
            is_sound(&m);
            assert_eq!(m.bytes, model);
        }
    }
}
