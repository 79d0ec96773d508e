//! The contexts of programs at a cgroup that see neither packets nor sockets alone.

use super::{address, layout, number, untranslated};
use crate::attach::{AttachType, AttachTypeSet};
use crate::context::{Access, ContextDef, Field, FieldKind, Pointee, Sizes};
use crate::program::{ProgType, ProgTypeSet};

const NONE: Access = Access::NONE;

const DEVICE: ProgTypeSet = ProgTypeSet::of(&[ProgType::CgroupDevice]);

static CGROUP_DEV: [Field; 3] = [
    number(0, 4, "access_type", Access::by(DEVICE, Sizes::WORD_PARTS), NONE),
    number(4, 4, "major", Access::by(DEVICE, Sizes::WORD), NONE),
    number(8, 4, "minor", Access::by(DEVICE, Sizes::WORD), NONE),
];

/// `struct bpf_cgroup_dev_ctx`
pub(crate) fn cgroup_dev() -> ContextDef {
    untranslated("bpf_cgroup_dev_ctx", 12, &CGROUP_DEV)
}

const SYSCTL_TYPES: ProgTypeSet = ProgTypeSet::of(&[ProgType::CgroupSysctl]);
const SYSCTL_PARTS: Access = Access::by(SYSCTL_TYPES, Sizes::WORD_PARTS);

static SYSCTL: [Field; 2] = [
    number(0, 4, "write", SYSCTL_PARTS, NONE),
    number(4, 4, "file_pos", SYSCTL_PARTS, Access::by(SYSCTL_TYPES, Sizes::WORD)),
];

/// `struct bpf_sysctl`
pub(crate) fn sysctl() -> ContextDef {
    layout("bpf_sysctl", 8, &SYSCTL)
}

const SOCKOPT_TYPES: ProgTypeSet = ProgTypeSet::of(&[ProgType::CgroupSockopt]);
const WORD: Access = Access::by(SOCKOPT_TYPES, Sizes::WORD);
const GET: Access = WORD.attached(AttachTypeSet::of(&[AttachType::CGROUP_GETSOCKOPT]));
const SET: Access = WORD.attached(AttachTypeSet::of(&[AttachType::CGROUP_SETSOCKOPT]));

static SOCKOPT: [Field; 7] = [
    address(0, 8, "sk", FieldKind::Pointer(Pointee::Sock), SOCKOPT_TYPES),
    address(8, 8, "optval", FieldKind::PacketStart, SOCKOPT_TYPES),
    address(16, 8, "optval_end", FieldKind::PacketEnd, SOCKOPT_TYPES),
    number(24, 4, "level", WORD, SET),
    number(28, 4, "optname", WORD, SET),
    number(32, 4, "optlen", WORD, WORD),
    number(36, 4, "retval", GET, GET),
];

/// `struct bpf_sockopt`
pub(crate) fn sockopt() -> ContextDef {
    layout("bpf_sockopt", 40, &SOCKOPT)
}
