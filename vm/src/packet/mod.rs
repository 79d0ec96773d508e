//! A packet in its buffer: room before, metadata, data, room after.

mod frags;

pub use frags::XDP_FRAGS_MAX_BYTES;

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
    /// The metadata before an XDP packet cannot be so long.
    #[error(
        "an XDP packet takes a multiple of 4 bytes of metadata, at most {META_ROOM_BYTES}; got {0}"
    )]
    Metadata(usize),
    /// There are not as many bytes as should lie in the first piece.
    #[error("{wanted} bytes cannot be metadata and first piece of {bytes}")]
    FirstPiece {
        /// How many should be.
        wanted: usize,
        /// How many there are.
        bytes: usize,
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
    /// What follows the data in other pieces.
    frags: Vec<Vec<u8>>,
    /// Whether it is cut into pieces if it does not fit in one.
    is_xdp: bool,
}

/// Room before the data that is the kernel's own (`struct xdp_frame`).
const FRAME_HEADER_BYTES: usize = 40;

/// Room that metadata may take.
const META_ROOM_BYTES: usize = XDP_HEADROOM_BYTES - FRAME_HEADER_BYTES;

impl Packet {
    /// An XDP packet with the headroom and tailroom of the kernel's test-run. What is above
    /// [`XDP_MAX_BYTES`] lies in further pieces.
    ///
    /// # Errors
    /// [`PacketError`] for data below 14 or above [`XDP_FRAGS_MAX_BYTES`] bytes.
    pub fn xdp(data: &[u8]) -> Result<Packet, PacketError> {
        Packet::xdp_shaped(data, 0, None)
    }

    /// An XDP packet whose first `meta` bytes are metadata and whose first piece has `first` bytes,
    /// or as many as fit. This is what the kernel's test-run takes as `data` and `data_end` of its
    /// context.
    ///
    /// # Errors
    /// [`PacketError`] as for [`Packet::xdp`], for metadata that is no multiple of 4 or longer than
    /// the room before a packet, and for a first piece longer than the packet.
    pub fn xdp_shaped(
        bytes: &[u8],
        meta: usize,
        first: Option<usize>,
    ) -> Result<Packet, PacketError> {
        if !meta.is_multiple_of(4) || meta > META_ROOM_BYTES {
            return Err(PacketError::Metadata(meta));
        }
        let wanted = first.map_or(bytes.len(), |first| first.saturating_add(meta));
        if meta > bytes.len() || wanted > bytes.len() {
            return Err(PacketError::FirstPiece { wanted: wanted.max(meta), bytes: bytes.len() });
        }
        if bytes.len() - meta < MIN_BYTES {
            return Err(PacketError::TooShort(bytes.len() - meta));
        }
        let first = (wanted - meta).min(XDP_MAX_BYTES);
        let (linear, rest) = bytes.split_at(meta + first);
        let frags = frags::split(rest, first)?;
        let start = XDP_HEADROOM_BYTES;
        let (meta, limit) = (start - meta, start + XDP_MAX_BYTES);
        let mut buffer = vec![0; limit].into_boxed_slice();
        buffer[meta..start + first].copy_from_slice(linear);
        Ok(Packet { buffer, meta, start, end: start + first, limit, frags, is_xdp: true })
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
        let (meta, start, frags) = (headroom, headroom, Vec::new());
        Ok(Packet { buffer, meta, start, end, limit, frags, is_xdp: false })
    }

    /// Puts other data into the same buffer, as it was when new.
    ///
    /// # Errors
    /// [`PacketError`] if the data is shorter than `min` or longer than this buffer takes.
    pub fn refill(&mut self, data: &[u8], min: usize, headroom: usize) -> Result<(), PacketError> {
        let max = self.limit - headroom.min(self.limit);
        if data.len() < min {
            return Err(PacketError::TooShort(data.len()));
        }
        let (first, rest) = data.split_at(data.len().min(max));
        if !self.is_xdp && !rest.is_empty() {
            return Err(PacketError::TooLong { bytes: data.len(), max });
        }
        self.frags = frags::split(rest, first.len())?;
        self.buffer[headroom..headroom + first.len()].copy_from_slice(first);
        (self.meta, self.start, self.end) = (headroom, headroom, headroom + first.len());
        Ok(())
    }

    /// The data; of a packet in pieces the first, which is what programs see.
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

    /// Metadata and all pieces, as the kernel's test-run gives them back.
    pub fn data_out(&self) -> Vec<u8> {
        let mut out = self.data_with_meta().to_vec();
        self.frags.iter().for_each(|frag| out.extend_from_slice(frag));
        out
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
        if !self.frags.is_empty() {
            return self.adjust_last(delta);
        }
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
