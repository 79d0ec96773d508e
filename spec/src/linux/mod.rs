//! What Linux 6.18 gives to programs, as tables.

mod contexts;
mod helper_names;
mod helpers;
mod kfuncs;
mod release;

use crate::platform::ProgTypeDef;
use crate::program::ProgType;
use std::borrow::Cow;

pub use helper_names::{HELPER_NAMES, helper_id, helper_name};
pub use helpers::{HELPERS, helpers};
pub use kfuncs::{KFUNCS, kfunc_since};
pub use release::Release;

/// `enum xdp_action` of `include/uapi/linux/bpf.h`.
const XDP_VERDICTS: &[(u64, &str)] =
    &[(0, "XDP_ABORTED"), (1, "XDP_DROP"), (2, "XDP_PASS"), (3, "XDP_TX"), (4, "XDP_REDIRECT")];

/// `TC_ACT_*` of `include/uapi/linux/pkt_cls.h`.
const TC_VERDICTS: &[(u64, &str)] = &[
    (0xffff_ffff, "TC_ACT_UNSPEC"),
    (0, "TC_ACT_OK"),
    (1, "TC_ACT_RECLASSIFY"),
    (2, "TC_ACT_SHOT"),
    (3, "TC_ACT_PIPE"),
    (4, "TC_ACT_STOLEN"),
    (5, "TC_ACT_QUEUED"),
    (6, "TC_ACT_REPEAT"),
    (7, "TC_ACT_REDIRECT"),
    (8, "TC_ACT_TRAP"),
];

/// What the cgroup hooks make of the lowest bit.
const CGROUP_VERDICTS: &[(u64, &str)] = &[(0, "DROP"), (1, "PASS")];

/// The program types that can be run, with their contexts.
pub fn prog_types() -> Vec<ProgTypeDef> {
    let def = |prog_type, context, verdicts: &'static [(u64, &'static str)]| ProgTypeDef {
        prog_type,
        context,
        verdicts: Cow::Borrowed(verdicts),
    };
    vec![
        def(ProgType::SocketFilter, Some(contexts::sk_buff()), &[]),
        def(ProgType::SchedCls, Some(contexts::sk_buff()), TC_VERDICTS),
        def(ProgType::SchedAct, Some(contexts::sk_buff()), TC_VERDICTS),
        def(ProgType::CgroupSkb, Some(contexts::sk_buff()), CGROUP_VERDICTS),
        def(ProgType::Xdp, Some(contexts::xdp_md()), XDP_VERDICTS),
        def(ProgType::Raw, None, &[]),
    ]
}
