//! The context of XDP programs.

use super::{address, layout, number};
use crate::attach::{AttachType, AttachTypeSet};
use crate::context::{Access, ContextDef, Field, FieldKind, Sizes};
use crate::program::{ProgType, ProgTypeSet};

const XDP: ProgTypeSet = ProgTypeSet::of(&[ProgType::Xdp]);
const WORD: Access = Access::by(XDP, Sizes::WORD);
/// Only a program of a device map knows where the packet goes.
const DEVMAP: Access = WORD.attached(AttachTypeSet::of(&[AttachType::XDP_DEVMAP]));
const NONE: Access = Access::NONE;

static XDP_MD: [Field; 6] = [
    address(0, 4, "data", FieldKind::PacketStart, XDP),
    address(4, 4, "data_end", FieldKind::PacketEnd, XDP),
    address(8, 4, "data_meta", FieldKind::PacketMeta, XDP),
    number(12, 4, "ingress_ifindex", WORD, NONE),
    number(16, 4, "rx_queue_index", WORD, NONE),
    number(20, 4, "egress_ifindex", DEVMAP, NONE),
];

/// `struct xdp_md`
pub(crate) fn xdp_md() -> ContextDef {
    layout("xdp_md", 24, &XDP_MD)
}
