//! The flow keys that a flow dissector fills (`bpf_flow_dissect` and
//! `bpf_prog_test_run_flow_dissector`, Linux 6.18).
//!
//! They are fields of the context by the names `flow_keys.nhoff` and so on.

use super::{Context, ContextError};
use crate::fields::Fields;
use crate::packet::MIN_BYTES;
use crate::socket::layout;
use ebpfvm_spec::ProgType;
use ebpfvm_spec::context::Pointee;

/// How names of flow keys begin.
const PREFIX: &str = "flow_keys.";

/// What a caller may set (`verify_user_bpf_flow_keys`).
const FLAGS: &str = "flags";

impl Context {
    /// The flow keys as the program has left them.
    pub(super) fn flow_keys(&self) -> Option<Fields> {
        let shown = self.shown_as(Pointee::FlowKeys)?;
        let mut keys = Fields::zeroed(layout(Pointee::FlowKeys));
        keys.fill(&shown.content());
        Some(keys)
    }

    fn show_flow_keys(&mut self, keys: &Fields) {
        self.shown_as(Pointee::FlowKeys).into_iter().for_each(|shown| shown.write(keys.bytes()));
    }

    /// The keys as they are when a program begins: only the flags are the caller's.
    pub(super) fn begin_flow(&mut self) {
        let Some(mut keys) = self.flow_keys() else { return };
        let flags = keys.get(FLAGS).unwrap_or(0);
        let data = self.visible_packet().map(|packet| packet.data()).unwrap_or_default();
        let protocol = match data.get(12..14) {
            Some(field) => u64::from(u16::from_ne_bytes([field[0], field[1]])),
            None => 0,
        };
        keys = Fields::zeroed(layout(Pointee::FlowKeys));
        let start = MIN_BYTES as u64;
        for (name, value) in
            [("nhoff", start), ("thoff", start), ("n_proto", protocol), (FLAGS, flags)]
        {
            // The names are those of the layout, the values are not above two bytes or were read
            // from there.
            let _ = keys.set(name, value);
        }
        self.show_flow_keys(&keys);
    }

    /// Keeps the positions within the packet.
    pub(super) fn end_flow(&mut self) {
        let Some(mut keys) = self.flow_keys() else { return };
        let bytes = self.visible_packet().map_or(0, |packet| packet.data().len()) as u64;
        let clamp = |value: u64, low: u64| value.min(bytes).max(low);
        let nhoff = clamp(keys.get("nhoff").unwrap_or(0), MIN_BYTES as u64);
        let thoff = clamp(keys.get("thoff").unwrap_or(0), nhoff);
        let _ = keys.set("nhoff", nhoff);
        let _ = keys.set("thoff", thoff);
        self.show_flow_keys(&keys);
    }

    /// Sets a flow key, if the name is one of theirs.
    pub(super) fn set_flow_key(
        &mut self,
        name: &str,
        value: u64,
    ) -> Option<Result<(), ContextError>> {
        let key = self.flow_key(name)?;
        let mut keys = self.flow_keys()?;
        let (context, field) = (self.context_name(), name.to_string());
        if keys.get(key).is_none() {
            return Some(Err(self.no_field(name)));
        }
        if key != FLAGS {
            return Some(Err(ContextError::FieldFixed { context, field }));
        }
        if keys.set(key, value).is_err() {
            return Some(Err(ContextError::FieldRange { context, field, bytes: 4, value }));
        }
        self.show_flow_keys(&keys);
        Some(Ok(()))
    }

    /// The value of a flow key, if the name is one of theirs.
    pub(super) fn get_flow_key(&self, name: &str) -> Option<u64> {
        self.flow_keys()?.get(self.flow_key(name)?)
    }

    fn flow_key<'n>(&self, name: &'n str) -> Option<&'n str> {
        (self.prog_type == ProgType::FlowDissector).then(|| name.strip_prefix(PREFIX))?
    }

    /// All flow keys by name.
    pub(super) fn all_flow_keys(&self) -> Vec<(String, u64)> {
        let keys = if self.prog_type == ProgType::FlowDissector { self.flow_keys() } else { None };
        let named = |(name, value): (String, u64)| (format!("{PREFIX}{name}"), value);
        keys.map(|keys| keys.all().into_iter().map(named).collect()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_begin_behind_the_ethernet_header_and_end_within_the_packet() {
        let mut frame = [0; 60];
        frame[12..14].copy_from_slice(&[0x86, 0xdd]);
        let mut ctx = Context::linux(ProgType::FlowDissector, &frame).unwrap();
        ctx.set_field("flow_keys.flags", 3).unwrap();
        ctx.begin_flow();
        let key = |ctx: &Context, name: &str| ctx.field(&format!("flow_keys.{name}")).unwrap();
        assert_eq!((key(&ctx, "nhoff"), key(&ctx, "thoff"), key(&ctx, "flags")), (14, 14, 3));
        assert_eq!(key(&ctx, "n_proto") as u16, 0x86ddu16.to_be());
        let mut keys = ctx.flow_keys().unwrap();
        keys.set("nhoff", 3).unwrap();
        keys.set("thoff", 61).unwrap();
        keys.set("ipv6[7]", 9).unwrap();
        ctx.show_flow_keys(&keys);
        ctx.end_flow();
        assert_eq!((key(&ctx, "nhoff"), key(&ctx, "thoff"), key(&ctx, "ipv6[7]")), (14, 60, 9));
        assert_eq!(ctx.data_out().len(), 56);
        assert!(ctx.fields().contains(&("flow_keys.ipv6[7]".into(), 9)));
        assert!(matches!(
            ctx.set_field("flow_keys.nhoff", 1),
            Err(ContextError::FieldFixed { .. })
        ));
        assert!(matches!(ctx.set_field("flow_keys.port", 1), Err(ContextError::NoField { .. })));
    }
}
