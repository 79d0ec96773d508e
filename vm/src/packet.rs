//! A packet in its buffer: room before, metadata, data, room after.

use ebpfvm_spec::Errno;

/// Room before the data of an XDP packet (`XDP_PACKET_HEADROOM`).
pub const XDP_HEADROOM_BYTES: usize = 256;

/// Room that an XDP driver keeps after the data for the kernel's own use
/// (`SKB_DATA_ALIGN(sizeof(struct skb_shared_info))` on 64-bit Linux 6.18).
const XDP_TAILROOM_BYTES: usize = 320;

/// The buffer of an XDP packet: a page.
const XDP_FRAME_BYTES: usize = 4096;

/// The largest XDP packet in one piece.
pub const XDP_MAX_BYTES: usize = XDP_FRAME_BYTES - XDP_HEADROOM_BYTES - XDP_TAILROOM_BYTES;

/// The smallest packet: an Ethernet header (`ETH_HLEN`).
pub const MIN_BYTES: usize = 14;

/// The largest packet of a socket buffer.
pub const SKB_MAX_BYTES: usize = 65535;

/// Room before the data of a socket buffer, for headers that programs push.
const SKB_HEADROOM_BYTES: usize = 256;

/// Why bytes cannot be a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PacketError {
    /// Shorter than an Ethernet header.
    #[error("the packet has {0} bytes; an Ethernet header needs at least {MIN_BYTES}")]
    TooShort(usize),
    /// Longer than the buffer.
    #[error("the packet has {bytes} bytes; at most {max} fit")]
    TooLong {
        /// Size in bytes.
        bytes: usize,
        /// The most that fit.
        max: usize,
    },
}

/// A packet.
///
/// The buffer moves only when a helper that changes the packet needs more room than there is; the
/// addresses that a program has are invalid then in any case.
#[derive(Clone, Debug)]
pub struct Packet {
    buffer: Box<[u8]>,
    meta: usize,
    start: usize,
    end: usize,
    /// The first position after the data that it may not grow into.
    limit: usize,
}

impl Packet {
    /// An XDP packet with the headroom and tailroom of the kernel's test-run.
    ///
    /// # Errors
    /// [`PacketError`] for data below 14 or above [`XDP_MAX_BYTES`] bytes.
    pub fn xdp(data: &[u8]) -> Result<Packet, PacketError> {
        Packet::new(data, MIN_BYTES, XDP_HEADROOM_BYTES, XDP_MAX_BYTES)
    }

    /// The packet of a socket buffer.
    ///
    /// # Errors
    /// [`PacketError`] for data below 14 or above [`SKB_MAX_BYTES`] bytes.
    pub fn skb(data: &[u8]) -> Result<Packet, PacketError> {
        Packet::new(data, MIN_BYTES, SKB_HEADROOM_BYTES, SKB_MAX_BYTES)
    }

    /// Bytes that are no frame: a message, the value of an option.
    ///
    /// # Errors
    /// [`PacketError`] for more than [`SKB_MAX_BYTES`] bytes.
    pub fn window(data: &[u8]) -> Result<Packet, PacketError> {
        Packet::new(data, 0, SKB_HEADROOM_BYTES, SKB_MAX_BYTES)
    }

    fn new(data: &[u8], min: usize, headroom: usize, max: usize) -> Result<Packet, PacketError> {
        match data.len() {
            n if n < min => return Err(PacketError::TooShort(n)),
            n if n > max => return Err(PacketError::TooLong { bytes: n, max }),
            _ => {}
        }
        // Room up to a page for the usual small packet, so that it need not move to grow.
        let limit = headroom + max.min(data.len().max(XDP_MAX_BYTES));
        let mut buffer = vec![0; limit].into_boxed_slice();
        let end = headroom + data.len();
        buffer[headroom..end].copy_from_slice(data);
        Ok(Packet { buffer, meta: headroom, start: headroom, end, limit })
    }

    /// Puts other data into the same buffer, as it was when new.
    ///
    /// # Errors
    /// [`PacketError`] if the data is too short or longer than this buffer takes.
    pub fn refill(&mut self, data: &[u8], headroom: usize) -> Result<(), PacketError> {
        let max = self.limit - headroom.min(self.limit);
        match data.len() {
            n if n < MIN_BYTES => return Err(PacketError::TooShort(n)),
            n if n > max => return Err(PacketError::TooLong { bytes: n, max }),
            n => {
                self.buffer[headroom..headroom + n].copy_from_slice(data);
                (self.meta, self.start, self.end) = (headroom, headroom, headroom + n);
            }
        }
        Ok(())
    }

    /// The data.
    pub fn data(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// The data, to be changed in place.
    pub fn data_mut(&mut self) -> &mut [u8] {
        &mut self.buffer[self.start..self.end]
    }

    /// The data and the `hidden` bytes before it.
    pub fn data_after(&self, hidden: usize) -> &[u8] {
        &self.buffer[self.start.saturating_sub(hidden)..self.end]
    }

    /// Metadata and data.
    pub fn data_with_meta(&self) -> &[u8] {
        &self.buffer[self.meta..self.end]
    }

    /// Addresses of metadata, data, and the end of the data.
    pub fn addresses(&mut self) -> (u64, u64, u64) {
        let base = self.buffer.as_mut_ptr() as u64;
        (base + self.meta as u64, base + self.start as u64, base + self.end as u64)
    }

    /// Bytes before the metadata.
    pub fn headroom(&self) -> usize {
        self.meta
    }

    /// Moves the start of the data by `delta` bytes, with the metadata before it
    /// (`bpf_xdp_adjust_head`). Returns whether there was room and an Ethernet header is left.
    pub fn adjust_head(&mut self, delta: i32) -> bool {
        let meta_bytes = self.start - self.meta;
        let Some(start) = self.start.checked_add_signed(delta as isize) else { return false };
        // The kernel keeps the frame's own header in the first bytes of the room.
        const FRAME_HEADER_BYTES: usize = 40;
        if start < FRAME_HEADER_BYTES + meta_bytes || start + MIN_BYTES > self.end {
            return false;
        }
        self.buffer.copy_within(self.meta..self.start, start - meta_bytes);
        self.start = start;
        self.meta = start - meta_bytes;
        true
    }

    /// Moves the end of the data by `delta` bytes; new bytes are zero (`bpf_xdp_adjust_tail`).
    /// Returns whether there was room and an Ethernet header is left.
    pub fn adjust_tail(&mut self, delta: i32) -> bool {
        let Some(end) = self.end.checked_add_signed(delta as isize) else { return false };
        if end > self.limit || end < self.start + MIN_BYTES {
            return false;
        }
        if end > self.end {
            self.buffer[self.end..end].fill(0);
        }
        self.end = end;
        true
    }

    /// Moves the start of the metadata by `delta` bytes (`bpf_xdp_adjust_meta`).
    ///
    /// # Errors
    /// `EINVAL` if it would not lie in the room before the data, `EACCES` if its size would not be
    /// a multiple of 4 or above 252 bytes.
    pub fn adjust_meta(&mut self, delta: i32) -> Result<(), Errno> {
        const FRAME_HEADER_BYTES: usize = 40;
        const META_MAX_BYTES: usize = 252;
        let meta = self.meta.checked_add_signed(delta as isize).ok_or(Errno::EINVAL)?;
        if meta < FRAME_HEADER_BYTES || meta > self.start {
            return Err(Errno::EINVAL);
        }
        let bytes = self.start - meta;
        if !bytes.is_multiple_of(4) || bytes > META_MAX_BYTES {
            return Err(Errno::EACCES);
        }
        self.meta = meta;
        Ok(())
    }

    /// Inserts zero bytes at `offset` of the data: what is before moves toward the front
    /// (`skb_cow`, `skb_push`). Addresses change if the room before is too small.
    pub(crate) fn insert(&mut self, offset: usize, bytes: usize) {
        let room = self.start;
        if bytes > room {
            // More than needed, so that a program that pushes again and again does not copy often.
            self.grow((bytes - room).max(SKB_HEADROOM_BYTES), 0);
        }
        let (start, offset) = (self.start - bytes, offset.min(self.end - self.start));
        self.buffer.copy_within(self.start..self.start + offset, start);
        self.buffer[start + offset..start + offset + bytes].fill(0);
        (self.meta, self.start) = (start, start);
    }

    /// Removes bytes at `offset` of the data: what is before moves toward the end. Returns whether
    /// there were as many.
    pub(crate) fn remove(&mut self, offset: usize, bytes: usize) -> bool {
        if offset.saturating_add(bytes) > self.end - self.start {
            return false;
        }
        self.buffer.copy_within(self.start..self.start + offset, self.start + bytes);
        self.start += bytes;
        self.meta = self.start;
        true
    }

    /// Makes the data `bytes` long by cutting or adding zeros at its end, whatever room there was.
    pub(crate) fn resize(&mut self, bytes: usize) {
        let end = self.start + bytes;
        if end > self.limit {
            self.grow(0, end - self.limit);
        }
        if end > self.end {
            self.buffer[self.end..end].fill(0);
        }
        self.end = end;
    }

    /// Takes a larger buffer with more room before and after.
    fn grow(&mut self, before: usize, after: usize) {
        let limit = self.limit + before + after;
        let mut buffer = vec![0; limit].into_boxed_slice();
        buffer[self.meta + before..self.end + before]
            .copy_from_slice(&self.buffer[self.meta..self.end]);
        self.buffer = buffer;
        self.meta += before;
        self.start += before;
        self.end += before;
        self.limit = limit;
    }

    /// Hides (`pull`) or shows the first bytes of the data, such as the Ethernet header that some
    /// hooks do not see. Returns whether there was as much.
    pub fn shift_start(&mut self, delta: i32) -> bool {
        let Some(start) = self.start.checked_add_signed(delta as isize) else { return false };
        if start > self.end {
            return false;
        }
        self.start = start;
        self.meta = start;
        true
    }
}
