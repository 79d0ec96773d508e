//! The tunnel that a packet came through or is to go through (`struct ip_tunnel_info`).

/// What is known of a tunnel. Numbers are in host order, IPv4 addresses take the first four bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tunnel {
    pub(crate) is_ipv6: bool,
    pub(crate) id: u32,
    pub(crate) tos: u8,
    pub(crate) ttl: u8,
    /// `IP_TUNNEL_*_BIT`
    pub(crate) flags: u16,
    pub(crate) label: u32,
    /// In network order.
    pub(crate) from: [u8; 16],
    pub(crate) to: [u8; 16],
    pub(crate) options: Vec<u8>,
    /// Whether the program has set it, and may give it options.
    pub(crate) is_own: bool,
}

impl Tunnel {
    /// Bits of `flags`.
    pub(crate) const CSUM: u16 = 1 << 0;
    pub(crate) const KEY: u16 = 1 << 2;
    pub(crate) const SEQ: u16 = 1 << 3;
    pub(crate) const DONT_FRAGMENT: u16 = 1 << 8;
    pub(crate) const NOCACHE: u16 = 1 << 13;
    /// Those that say that there are options, of any protocol.
    pub(crate) const OPTIONS: u16 = 1 << 11 | 1 << 12 | 1 << 14 | 1 << 15;

    /// Reads a `struct bpf_tunnel_key` as a program sees the tunnel of a packet that has arrived:
    /// what is remote there is where it comes from.
    pub(crate) fn received(key: &[u8; KEY_BYTES], is_ipv6: bool) -> Tunnel {
        let mut tunnel = Tunnel { is_own: false, ..Tunnel::parse(key, is_ipv6) };
        std::mem::swap(&mut tunnel.from, &mut tunnel.to);
        tunnel.flags = u16::from_be_bytes([key[22], key[23]]);
        tunnel
    }

    /// Reads a `struct bpf_tunnel_key` with which a program sends a packet: what is remote there is
    /// where it goes.
    pub(crate) fn parse(key: &[u8; KEY_BYTES], is_ipv6: bool) -> Tunnel {
        let word = |at: usize| u32::from_ne_bytes([key[at], key[at + 1], key[at + 2], key[at + 3]]);
        let address = |at: usize| {
            let mut out = [0; 16];
            match is_ipv6 {
                true => out.copy_from_slice(&key[at..at + 16]),
                // The kernel keeps it in network order, programs see a number.
                false => out[..4].copy_from_slice(&word(at).to_be_bytes()),
            }
            out
        };
        Tunnel {
            is_ipv6,
            id: word(0),
            tos: key[20],
            ttl: key[21],
            flags: 0,
            label: word(24) & 0xf_ffff,
            from: address(28),
            to: address(4),
            options: Vec::new(),
            is_own: true,
        }
    }

    /// The tunnel that a program has set, as it did: what is remote is where the packet goes. The
    /// flags are there as well.
    pub(crate) fn sent(&self) -> [u8; KEY_BYTES] {
        let (from, to) = (self.to, self.from);
        Tunnel { from, to, ..self.clone() }.key(true)
    }

    /// The `struct bpf_tunnel_key` that programs see, with the flags if they ask for them.
    pub(crate) fn key(&self, with_flags: bool) -> [u8; KEY_BYTES] {
        let mut key = [0; KEY_BYTES];
        key[..4].copy_from_slice(&self.id.to_ne_bytes());
        (key[20], key[21]) = (self.tos, self.ttl);
        if with_flags {
            key[22..24].copy_from_slice(&self.flags.to_be_bytes());
        }
        for (at, address) in [(4, &self.from), (28, &self.to)] {
            match self.is_ipv6 {
                true => key[at..at + 16].copy_from_slice(address),
                false => {
                    let number =
                        u32::from_be_bytes([address[0], address[1], address[2], address[3]]);
                    key[at..at + 4].copy_from_slice(&number.to_ne_bytes());
                }
            }
        }
        if self.is_ipv6 {
            key[24..28].copy_from_slice(&self.label.to_ne_bytes());
        }
        key
    }
}

/// The size of `struct bpf_tunnel_key`.
pub(crate) const KEY_BYTES: usize = 44;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_received_is_seen_as_it_was_given() {
        let mut key: [u8; KEY_BYTES] = std::array::from_fn(|i| i as u8 + 1);
        key[26..28].fill(0);
        assert_eq!(Tunnel::received(&key, true).key(true), key);
        key[8..20].fill(0);
        key[24..28].fill(0);
        key[32..].fill(0);
        assert_eq!(Tunnel::received(&key, false).key(true), key);
        let sent = Tunnel::parse(&key, false);
        assert_eq!(sent.key(false)[4..8], key[28..32]);
    }
}
