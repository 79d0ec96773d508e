//! The pieces of an XDP packet behind the first, as a driver gives what does not fit in one page
//! (`skb_shared_info` of an `xdp_buff`).
//!
//! Programs see the first piece only; helpers see all. Each of these pieces is at most
//! a page long and none is empty; the first may be.

use super::{MIN_BYTES, Packet, PacketError, XDP_FRAME_BYTES, XDP_MAX_BYTES};

/// The most pieces behind the first (`MAX_SKB_FRAGS`).
const MAX_FRAGS: usize = 17;

/// The largest XDP packet.
pub const XDP_FRAGS_MAX_BYTES: usize = XDP_MAX_BYTES + MAX_FRAGS * XDP_FRAME_BYTES;

/// Cuts what does not lie in the first piece.
///
/// # Errors
/// [`PacketError::TooLong`] if it is too much.
pub(super) fn split(rest: &[u8], first: usize) -> Result<Vec<Vec<u8>>, PacketError> {
    let max = MAX_FRAGS * XDP_FRAME_BYTES;
    if rest.len() > max {
        return Err(PacketError::TooLong { bytes: first + rest.len(), max: first + max });
    }
    Ok(rest.chunks(XDP_FRAME_BYTES).map(<[u8]>::to_vec).collect())
}

impl Packet {
    /// The bytes of all pieces together (`xdp_get_buff_len`).
    pub fn total_bytes(&self) -> usize {
        self.data().len() + self.frags.iter().map(Vec::len).sum::<usize>()
    }

    /// The pieces in order, the first one being [`Packet::data`].
    pub fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        std::iter::once(self.data()).chain(self.frags.iter().map(Vec::as_slice))
    }

    /// Copies from anywhere in the packet. Returns whether there are as many bytes.
    pub fn read(&self, offset: usize, out: &mut [u8]) -> bool {
        if offset.saturating_add(out.len()) > self.total_bytes() {
            return false;
        }
        let (mut skip, mut done) = (offset, 0);
        for piece in self.pieces() {
            let part = piece.get(skip..).unwrap_or_default();
            let part = &part[..part.len().min(out.len() - done)];
            out[done..done + part.len()].copy_from_slice(part);
            done += part.len();
            skip = skip.saturating_sub(piece.len());
        }
        true
    }

    /// Copies to anywhere in the packet. Returns whether there are as many bytes.
    pub fn write(&mut self, offset: usize, from: &[u8]) -> bool {
        if offset.saturating_add(from.len()) > self.total_bytes() {
            return false;
        }
        let first = &mut self.buffer[self.start..self.end];
        let (mut skip, mut rest) = (offset, from);
        for piece in std::iter::once(first).chain(self.frags.iter_mut().map(Vec::as_mut_slice)) {
            let bytes = piece.len();
            let part = piece.get_mut(skip..).unwrap_or_default();
            let taken = part.len().min(rest.len());
            part[..taken].copy_from_slice(&rest[..taken]);
            rest = &rest[taken..];
            skip = skip.saturating_sub(bytes);
        }
        true
    }

    /// Moves the end of a packet in pieces: it grows within its last page, with zeros, and shrinks
    /// through as many pieces as needed (`bpf_xdp_frags_increase_tail`,
    /// `bpf_xdp_frags_shrink_tail`).
    pub(super) fn adjust_last(&mut self, delta: i32) -> bool {
        let mut less = match usize::try_from(delta) {
            Ok(more) => return self.grow_last(more),
            Err(_) => delta.unsigned_abs() as usize,
        };
        if less + MIN_BYTES > self.total_bytes() {
            return false;
        }
        while let Some(last) = self.frags.last_mut().filter(|_| less > 0) {
            if less < last.len() {
                last.truncate(last.len() - less);
                return true;
            }
            less -= last.len();
            self.frags.pop();
        }
        self.end = self.end.saturating_sub(less).max(self.start);
        true
    }

    fn grow_last(&mut self, more: usize) -> bool {
        let Some(last) = self.frags.last_mut() else { return false };
        let bytes = last.len() + more;
        if bytes > XDP_FRAME_BYTES {
            return false;
        }
        last.resize(bytes, 0);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(bytes: usize) -> Vec<u8> {
        (0..bytes).map(|i| (i * 7 + i / 256) as u8).collect()
    }

    #[test]
    fn what_does_not_fit_in_one_page_lies_in_more_pieces() {
        let data = numbered(10_000);
        let packet = Packet::xdp(&data).unwrap();
        let pieces: Vec<usize> = packet.pieces().map(<[u8]>::len).collect();
        assert_eq!(pieces, [3520, 4096, 2384]);
        assert_eq!((packet.total_bytes(), packet.data_out()), (10_000, data));
        assert!(Packet::xdp(&vec![0; XDP_FRAGS_MAX_BYTES]).is_ok());
        let error = Packet::xdp(&vec![0; XDP_FRAGS_MAX_BYTES + 1]).unwrap_err();
        assert_eq!(error, PacketError::TooLong { bytes: 73153, max: 73152 });
    }

    #[test]
    fn bytes_are_copied_across_pieces() {
        let mut model = numbered(9_000);
        let mut packet = Packet::xdp(&model).unwrap();
        for (offset, bytes) in [(0, 9000), (3519, 2), (3520, 1), (3000, 5000), (8999, 1), (9000, 0)]
        {
            let new: Vec<u8> = (0..bytes).map(|i| (i * 13 + offset) as u8).collect();
            assert!(packet.write(offset, &new));
            model[offset..offset + bytes].copy_from_slice(&new);
            let mut out = vec![0; bytes];
            assert!(packet.read(offset, &mut out));
            assert_eq!((out, packet.data_out()), (new, model.clone()));
        }
        assert!(!packet.read(8999, &mut [0; 2]) && !packet.write(9001, &[]));
    }

    #[test]
    fn the_end_moves_within_the_last_page_and_back_through_all() {
        let mut packet = Packet::xdp(&numbered(8_000)).unwrap();
        let pieces = |packet: &Packet| packet.pieces().map(<[u8]>::len).collect::<Vec<_>>();
        assert!(packet.adjust_tail(3712) && !packet.adjust_tail(1));
        assert_eq!(pieces(&packet), [3520, 4096, 4096]);
        assert!(packet.adjust_tail(-4096) && packet.adjust_tail(-1));
        assert_eq!(pieces(&packet), [3520, 4095]);
        assert!(!packet.adjust_tail(-7602) && packet.adjust_tail(-7601));
        assert_eq!(pieces(&packet), [14]);
        assert!(packet.adjust_tail(3506) && !packet.adjust_tail(1));
    }
}
