//! What the kernel does with a context around a run: before a program sees it, and when it is done.

use super::Context;
use crate::segments::SegmentHeader;
use crate::tunnel::Tunnel;
use ebpfvm_spec::{AttachType, ProgType};

impl Context {
    /// What the kernel does with the context before a program of this attach type runs.
    pub(crate) fn begin(&mut self, attach_type: AttachType) {
        match self.prog_type {
            ProgType::CgroupSockopt => self.begin_sockopt(attach_type),
            ProgType::FlowDissector => self.begin_flow(),
            ProgType::LwtSeg6local => {
                let packet = self.visible_packet();
                self.skb.segments = packet.and_then(|p| SegmentHeader::arrived(p.data()));
            }
            _ => self.begin_tunnel(),
        }
    }

    /// Whether nothing is done around a run.
    pub(crate) fn has_no_rounds(&self) -> bool {
        match self.prog_type {
            ProgType::Raw => true,
            ProgType::CgroupSockopt | ProgType::FlowDissector | ProgType::LwtSeg6local => false,
            _ => self.skb.tunnel.is_none() && self.bytes("tunnel_key").is_none(),
        }
    }

    /// What the kernel does with the context when a program has run.
    pub(crate) fn end(&mut self) {
        match self.prog_type {
            ProgType::FlowDissector => self.end_flow(),
            ProgType::LwtSeg6local => {
                self.seal_segments();
            }
            _ => self.end_tunnel(),
        }
    }

    /// Writes the length of the packet's header of segments into it; whether it has one that is
    /// right.
    pub(crate) fn seal_segments(&mut self) -> bool {
        let Some(mut header) = self.skb.segments else { return false };
        let is_right = self.change_packet(|packet| header.seal(packet.data_mut()));
        self.skb.segments = Some(header);
        is_right.unwrap_or(false)
    }

    /// Takes the tunnel that a packet has come through from what was given with it.
    fn begin_tunnel(&mut self) {
        if self.skb.tunnel.is_some() {
            return;
        }
        let Some(Ok(key)) = self.bytes("tunnel_key").map(TryInto::try_into) else { return };
        let mut tunnel = Tunnel::received(key, self.number("tunnel_is_ipv6") != 0);
        if let Some(options) = self.bytes("tunnel_options") {
            tunnel.options = options.to_vec();
            tunnel.flags |= if options.is_empty() { 0 } else { Tunnel::OPTIONS };
        }
        self.skb.tunnel = Some(tunnel);
    }

    /// Shows the tunnel that a program has set in place of the one that was given.
    fn end_tunnel(&mut self) {
        let Some(tunnel) = self.skb.tunnel.as_ref().filter(|tunnel| tunnel.is_own) else { return };
        let (key, is_ipv6, options) = (tunnel.sent(), tunnel.is_ipv6, tunnel.options.clone());
        self.put("tunnel_is_ipv6", is_ipv6.into());
        // The sizes are those that the table takes.
        let _ = self.set_bytes("tunnel_key", &key);
        let _ = self.set_bytes("tunnel_options", &options);
    }
}
