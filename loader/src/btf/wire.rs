//! A place in bytes of known byte order. Reads past the end are errors; nothing is allocated.

use crate::error::BtfProblem;
use ebpfvm_asm::ByteOrder;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    order: ByteOrder,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8], order: ByteOrder) -> Reader<'a> {
        Reader { bytes, at: 0, order }
    }

    pub(crate) fn order(&self) -> ByteOrder {
        self.order
    }

    pub(crate) fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    pub(crate) fn take(&mut self, bytes: u64, what: &'static str) -> Result<&'a [u8], BtfProblem> {
        let left = self.left();
        if bytes > left as u64 {
            return Err(BtfProblem::Truncated { what, bytes, left });
        }
        let taken = &self.bytes[self.at..self.at + bytes as usize];
        self.at += bytes as usize;
        Ok(taken)
    }

    pub(crate) fn words<const N: usize>(
        &mut self,
        what: &'static str,
    ) -> Result<[u32; N], BtfProblem> {
        let (words, _) = self.take(4 * N as u64, what)?.as_chunks::<4>();
        let mut out = [0; N];
        for (out, word) in out.iter_mut().zip(words) {
            *out = match self.order {
                ByteOrder::Little => u32::from_le_bytes(*word),
                ByteOrder::Big => u32::from_be_bytes(*word),
            };
        }
        Ok(out)
    }

    pub(crate) fn word(&mut self, what: &'static str) -> Result<u32, BtfProblem> {
        let [word] = self.words(what)?;
        Ok(word)
    }

    /// A list of records of `N` words each.
    pub(crate) fn records<const N: usize>(
        &mut self,
        count: u32,
        what: &'static str,
    ) -> Result<impl Iterator<Item = [u32; N]> + use<'a, N>, BtfProblem> {
        let order = self.order;
        let bytes = self.take(4 * N as u64 * u64::from(count), what)?;
        let (words, _) = bytes.as_chunks::<4>();
        Ok(words.chunks_exact(N).map(move |record| {
            std::array::from_fn(|i| match order {
                ByteOrder::Little => u32::from_le_bytes(record[i]),
                ByteOrder::Big => u32::from_be_bytes(record[i]),
            })
        }))
    }
}
