//! What the kernel knows of a packet besides its bytes and the fields that programs see: the parts
//! of `struct sk_buff` that only helpers use.

use crate::segments::SegmentHeader;
use crate::tunnel::Tunnel;

/// What is known of the transport checksum (`ip_summed`, `csum_level`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) enum Checksum {
    /// Nothing (`CHECKSUM_NONE`), as in a test-run.
    #[default]
    None,
    /// That it is right, in this many headers more than one (`CHECKSUM_UNNECESSARY`).
    Unnecessary(u8),
}

impl Checksum {
    /// The most that `csum_level` counts (`SKB_MAX_CSUM_LEVEL`).
    const MAX_LEVEL: u8 = 3;

    /// One header more that is known to be right.
    pub(crate) fn increment(&mut self) {
        *self = match *self {
            Checksum::None => Checksum::Unnecessary(0),
            Checksum::Unnecessary(level) => {
                Checksum::Unnecessary((level + 1).min(Checksum::MAX_LEVEL))
            }
        };
    }

    /// One header less.
    pub(crate) fn decrement(&mut self) {
        *self = match *self {
            Checksum::None | Checksum::Unnecessary(0) => Checksum::None,
            Checksum::Unnecessary(level) => Checksum::Unnecessary(level - 1),
        };
    }
}

/// The hidden state of a socket buffer. Positions count from the first byte that programs see.
#[derive(Clone, Debug, Default)]
pub(crate) struct Skb {
    /// Where the network header begins.
    pub(crate) network: usize,
    /// Where the transport header begins, if something has found it.
    pub(crate) transport: Option<usize>,
    /// The transport checksum.
    pub(crate) checksum: Checksum,
    /// Whether the field `hash` is valid.
    pub(crate) hash_known: bool,
    /// Whether a tunnel header was put before the packet.
    pub(crate) encapsulated: bool,
    /// The tunnel that it came through or goes through.
    pub(crate) tunnel: Option<Tunnel>,
    /// The header of segments that it has, where a program at a local segment sees it.
    pub(crate) segments: Option<SegmentHeader>,
}

impl Skb {
    /// A buffer as received: only the network header is known.
    pub(crate) fn new(network: usize) -> Skb {
        Skb { network, ..Skb::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::Checksum;

    #[test]
    fn checksum_levels_stay_in_their_range() {
        let mut checksum = Checksum::None;
        checksum.decrement();
        assert_eq!(checksum, Checksum::None);
        (0..9).for_each(|_| checksum.increment());
        assert_eq!(checksum, Checksum::Unnecessary(3));
        (0..3).for_each(|_| checksum.decrement());
        assert_eq!(checksum, Checksum::Unnecessary(0));
        checksum.decrement();
        assert_eq!(checksum, Checksum::None);
    }
}
