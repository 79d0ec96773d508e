//! Context layouts (`include/uapi/linux/bpf.h`) with who may read and write each field
//! (`*_is_valid_access` in `net/core/filter.c`, `kernel/bpf/cgroup.c` and
//! `kernel/trace/bpf_trace.c`, Linux 6.18).

mod cgroup;
mod shown;
mod skb;
mod sock;
mod trace;
mod xdp;

pub(super) use cgroup::{cgroup_dev, sockopt, sysctl};
pub(super) use shown::objects;
pub(super) use skb::{nf, sk_buff};
pub(super) use sock::{sk_lookup, sk_msg, sk_reuseport, sock, sock_addr, sock_ops};
pub(super) use trace::{
    lirc, perf_event, pt_regs, raw_tracepoint, raw_tracepoint_writable, syscall, tracepoint,
};
pub(super) use xdp::xdp_md;

use crate::context::{Access, ContextDef, Field, FieldKind, Sizes};
use crate::program::ProgTypeSet;
use std::borrow::Cow;

/// A layout of these fields, `bytes` long.
fn layout(name: &'static str, bytes: u32, fields: &'static [Field]) -> ContextDef {
    ContextDef { name: name.into(), bytes, fields: Cow::Borrowed(fields), translated: true }
}

/// A layout that is the kernel's own.
fn untranslated(name: &'static str, bytes: u32, fields: &'static [Field]) -> ContextDef {
    ContextDef { translated: false, ..layout(name, bytes, fields) }
}

/// A number, read and written as told; one element.
const fn number(offset: u32, bytes: u32, name: &'static str, read: Access, write: Access) -> Field {
    array(offset, bytes, bytes, name, read, write)
}

/// Numbers of `unit` bytes each.
const fn array(
    offset: u32,
    bytes: u32,
    unit: u32,
    name: &'static str,
    read: Access,
    write: Access,
) -> Field {
    Field { name: Cow::Borrowed(name), offset, bytes, unit, kind: FieldKind::Scalar, read, write }
}

/// An address: nobody writes it.
const fn address(
    offset: u32,
    bytes: u32,
    name: &'static str,
    kind: FieldKind,
    read: ProgTypeSet,
) -> Field {
    let sizes = if bytes == 8 { Sizes::DWORD } else { Sizes::WORD };
    let read = Access::by(read, sizes);
    Field { name: Cow::Borrowed(name), offset, bytes, unit: bytes, kind, read, write: Access::NONE }
}

#[cfg(test)]
mod tests {
    use crate::context::FieldKind;
    use crate::{Platform, ProgType};

    #[test]
    fn fields_are_in_order_without_overlap_and_have_names() {
        let platform = Platform::linux();
        let types = ProgType::ALL.iter().filter_map(|t| platform.prog_type(*t));
        let mut seen = 0;
        let objects = super::objects();
        let objects = objects.iter().map(|object| &object.layout);
        for def in types.filter_map(|t| t.context.as_ref()).chain(objects) {
            let mut end = 0;
            for field in def.fields.iter() {
                let what = format!("{}.{}", def.name, field.name);
                assert!(field.offset >= end, "{what} overlaps");
                assert!(field.bytes.is_multiple_of(field.unit), "{what} has a part of an element");
                assert_eq!(def.field(&field.name), Some(field), "{what} occurs twice");
                let is_address = field.kind != FieldKind::Scalar;
                assert!(!is_address || field.bytes == field.unit, "{what} is an array");
                end = field.offset + field.bytes;
                seen += 1;
            }
            assert!(end <= def.bytes, "{} is longer than it says", def.name);
        }
        assert!(seen > 300, "{seen}");
    }
}
