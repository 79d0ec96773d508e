//! Headers of segment routing: the addresses that a packet visits (RFC 8754; `net/ipv6/seg6.c`).
//!
//! Packets that reach a program at a local segment have one; where it is and how long the program
//! has made it is kept beside the packet until the length in its bytes is right again.

/// The IPv6 header, the header of segments before its segments, and one segment.
pub(crate) const IPV6_BYTES: usize = 40;
pub(crate) const HEADER_BYTES: usize = 8;
pub(crate) const SEGMENT_BYTES: usize = 16;

/// `NEXTHDR_ROUTING` and `NEXTHDR_IPV6`
pub(crate) const ROUTING: u8 = 43;
pub(crate) const IPV6: u8 = 41;

/// Where a packet's header of segments is (`struct seg6_bpf_srh_state`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    /// Where it begins.
    pub(crate) at: usize,
    /// How many bytes it has after its first [`HEADER_BYTES`].
    pub(crate) bytes: usize,
    /// Whether nothing has changed since it was last found right.
    pub(crate) valid: bool,
}

impl SegmentHeader {
    /// The header in a packet, whatever it holds (`bpf_update_srh_state`).
    pub(crate) fn find(packet: &[u8]) -> Option<SegmentHeader> {
        let at = find_header(packet, ROUTING)?;
        let bytes = usize::from(*packet.get(at + 1)?) * 8;
        Some(SegmentHeader { at, bytes, valid: true })
    }

    /// The header that a packet arrives with, if it is right (`seg6_get_srh`).
    pub(crate) fn arrived(packet: &[u8]) -> Option<SegmentHeader> {
        let header = SegmentHeader::find(packet)?;
        is_valid(packet.get(header.at..header.end())?, true).then_some(header)
    }

    /// Where it ends.
    pub(crate) fn end(&self) -> usize {
        self.at + HEADER_BYTES + self.bytes
    }

    /// The bytes of its segments, by what the packet says.
    pub(crate) fn segments(&self, packet: &[u8]) -> Option<usize> {
        Some((usize::from(*packet.get(self.at + 4)?) + 1) * SEGMENT_BYTES)
    }

    /// Writes its length into a packet that has changed; whether it is right then
    /// (`seg6_bpf_has_valid_srh`).
    pub(crate) fn seal(&mut self, packet: &mut [u8]) -> bool {
        if !self.valid && self.bytes.is_multiple_of(8) {
            let Some(header) = packet.get_mut(self.at..) else { return false };
            let Some(length) = header.get_mut(1) else { return false };
            // The length is a byte; what it cannot say is lost.
            *length = (self.bytes / 8) as u8;
            let bytes = (usize::from(*length) + 1) * 8;
            self.valid = header.get(..bytes).is_some_and(|header| is_valid(header, true));
        }
        self.valid
    }
}

/// Whether bytes are a header of segments (`seg6_validate_srh`). In a reduced one the last segment
/// may be in the IPv6 header only.
pub(crate) fn is_valid(header: &[u8], reduced: bool) -> bool {
    /// `IPV6_SRCRT_TYPE_4`
    const SEGMENTS: u8 = 4;
    let [_, length, kind, left, first, ..] = *header else { return false };
    if kind != SEGMENTS
        || (usize::from(length) + 1) * 8 != header.len()
        || usize::from(left) > usize::from(first) + usize::from(reduced)
    {
        return false;
    }
    let segments = HEADER_BYTES + (usize::from(first) + 1) * SEGMENT_BYTES;
    let Some(mut rest) = header.get(segments..) else { return false };
    // What follows has a kind, a length and as many bytes.
    while let [_, bytes, tail @ ..] = rest {
        let Some(next) = tail.get(usize::from(*bytes)..) else { return false };
        rest = next;
    }
    rest.is_empty()
}

/// Where the first header with this number begins (`ipv6_find_hdr`).
pub(crate) fn find_header(packet: &[u8], wanted: u8) -> Option<usize> {
    const HOP_BY_HOP: u8 = 0;
    const FRAGMENT: u8 = 44;
    const AUTHENTICATION: u8 = 51;
    const DESTINATION: u8 = 60;
    let (mut next, mut at) = (*packet.get(6)?, IPV6_BYTES);
    while next != wanted {
        let length = usize::from(*packet.get(at + 1)?);
        let bytes = match next {
            HOP_BY_HOP | DESTINATION | ROUTING => (length + 1) * 8,
            AUTHENTICATION => (length + 2) * 4,
            // Only the first fragment has the headers that follow.
            FRAGMENT if matches!(packet.get(at + 2..at + 4)?, [0, low] if low & !7 == 0) => 8,
            _ => return None,
        };
        next = *packet.get(at)?;
        at += bytes;
    }
    Some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A packet with these headers after its own.
    fn packet(next: u8, rest: &[u8]) -> Vec<u8> {
        let mut packet = vec![0; IPV6_BYTES];
        packet[6] = next;
        packet.extend_from_slice(rest);
        packet
    }

    #[test]
    fn headers_are_found_behind_others() {
        let hop = [ROUTING, 0, 1, 4, 0, 0, 0, 0];
        let rest = |next: u8, header: [u8; 8]| packet(next, &[&header[..], &[59; 16]].concat());
        assert_eq!(find_header(&rest(0, hop), ROUTING), Some(48));
        assert_eq!(find_header(&rest(44, hop), ROUTING), None, "a later fragment");
        assert_eq!(find_header(&rest(44, [ROUTING, 0, 0, 7, 0, 0, 0, 0]), ROUTING), Some(48));
        assert_eq!(find_header(&rest(51, [ROUTING, 1, 0, 0, 0, 0, 0, 0]), ROUTING), Some(52));
        assert_eq!(find_header(&rest(17, hop), ROUTING), None);
        assert_eq!(find_header(&packet(0, &[ROUTING]), ROUTING), None);
        assert_eq!(find_header(&packet(IPV6, &[]), IPV6), Some(40));
    }

    #[test]
    fn headers_must_say_what_they_hold() {
        let header = |first: [u8; 5], rest| [&first[..], &vec![0; rest]].concat();
        assert!(is_valid(&header([0, 2, 4, 0, 0], 19), false));
        assert!(is_valid(&header([0, 3, 4, 1, 0], 27), true));
        assert!(!is_valid(&header([0, 2, 4, 1, 0], 19), false), "segments left");
        assert!(!is_valid(&header([0, 2, 3, 0, 0], 19), false), "kind");
        assert!(!is_valid(&header([0, 2, 4, 0, 0], 27), false), "length");
        assert!(!is_valid(&header([0, 2, 4, 0, 1], 19), false), "segments");
        assert!(!is_valid(&[0, 2, 4, 0], false), "too short");
        let mut with_padding = header([0, 3, 4, 0, 0], 27);
        with_padding[25] = 7;
        assert!(!is_valid(&with_padding, false), "what follows is too long");
    }

    #[test]
    fn a_changed_length_is_written_when_it_is_right() {
        let mut bytes = packet(ROUTING, &[17, 2, 4, 0, 0, 0, 0, 0]);
        bytes.resize(40 + 32, 0);
        assert_eq!(SegmentHeader::arrived(&bytes[..63]), None);
        let found = SegmentHeader::arrived(&bytes).expect("a header");
        assert_eq!(found, SegmentHeader { at: 40, bytes: 16, valid: true });
        let mut longer = SegmentHeader { bytes: 24, valid: false, ..found };
        assert!(longer.seal(&mut bytes) && longer.valid);
        assert_eq!(bytes[41], 3);
        let mut odd = SegmentHeader { bytes: 20, valid: false, ..found };
        assert!(!odd.seal(&mut bytes));
        let mut outside = SegmentHeader { at: 99, valid: false, ..found };
        assert!(!outside.seal(&mut bytes));
    }
}
