//! What a run changes: its context and data before and after, and sockets.

use super::data;
use super::socket::{Snapshot, SocketChange, SocketId};
use crate::input::world::{Around, Named};
use crate::render::hex;
use ebpfvm::Context;
use ebpfvm::socket::Socket;
use ebpfvm_spec::{FieldKind, ProgType};
use serde_json::{Value, json};
use std::sync::Arc;

/// What the text shows in another form than the JSON.
#[derive(Default)]
pub(crate) struct Shown {
    /// `packet`, `memory` and the like.
    pub(crate) data_name: &'static str,
    /// The data before and after, as the program sees it.
    pub(crate) before: Vec<u8>,
    pub(crate) after: Vec<u8>,
    /// By how much the start of the data has moved towards its end.
    pub(crate) head_moved: i64,
    /// The metadata before the packet.
    pub(crate) meta: Vec<u8>,
    /// Context fields that have changed: name, before, after.
    pub(crate) fields: Vec<(String, Value, Value)>,
    /// Whether the type has verdicts at all.
    pub(crate) has_verdicts: bool,
    pub(crate) dump_maps: bool,
    /// Whether a timer has been started and has not fired.
    pub(crate) timer_is_due: bool,
    /// Maps that the text does not show and that are not as they were created.
    pub(crate) filled_maps: Vec<String>,
}

/// What a run may change, as it was.
pub(crate) struct Before {
    data: Vec<u8>,
    /// Where the data started in its buffer.
    start: usize,
    fields: Vec<(String, Value)>,
    /// The socket that the context is about.
    about: Option<Arc<Socket>>,
    sockets: Vec<(Named, Snapshot)>,
}

/// What became of sockets.
pub(crate) struct Chosen {
    pub(crate) assigned: Option<SocketId>,
    pub(crate) selected: Option<SocketId>,
    pub(crate) changed: Vec<SocketChange>,
}

/// The data as the program sees it and where it starts in its buffer.
fn visible(context: &Context) -> (Vec<u8>, usize) {
    match context.visible_packet() {
        Some(packet) => {
            let meta = packet.data_with_meta().len() - packet.data().len();
            let data = match context.prog_type() {
                // All pieces, of which programs see the first.
                ProgType::Xdp => context.data_out().split_off(meta),
                _ => packet.data().to_vec(),
            };
            (data, packet.headroom() + meta)
        }
        None => (context.data_out(), 0),
    }
}

/// Numbers and byte strings of a context, as `--ctx` takes them.
pub(crate) fn fields(context: &Context) -> Vec<(String, Value)> {
    let numbers = context.fields().into_iter().map(|(name, number)| (name, number.into()));
    let bytes = context.byte_fields().into_iter();
    numbers.chain(bytes.map(|(name, bytes)| (name, text_or_hex(&bytes)))).collect()
}

/// A text if it is printable, else `{"hex": "..."}`.
fn text_or_hex(bytes: &[u8]) -> Value {
    let printable = |c: char| !c.is_control() || matches!(c, '\n' | '\t');
    match std::str::from_utf8(bytes) {
        Ok(text) if text.chars().all(printable) => text.into(),
        _ => json!({"hex": hex::string(bytes)}),
    }
}

/// The sockets that pointers of the context show.
fn shown_sockets(context: &Context) -> Vec<Arc<Socket>> {
    let is_pointer = |kind| matches!(kind, FieldKind::Pointer(_) | FieldKind::PointerOrNull(_));
    let fields = context.def().into_iter().flat_map(|def| def.fields.iter());
    let pointers = fields.filter(|field| is_pointer(field.kind));
    let mut names: Vec<String> = pointers.map(|field| field.name.to_string()).collect();
    if context.prog_type() == ProgType::CgroupSock {
        names.push("sk".into());
    }
    names.iter().filter_map(|name| context.socket(name)).collect()
}

impl Before {
    pub(crate) fn of(context: &Context, around: &Around) -> Before {
        let (data, start) = visible(context);
        let mut sockets: Vec<Named> = around.sockets().to_vec();
        for socket in shown_sockets(context) {
            if !sockets.iter().any(|(_, known)| Arc::ptr_eq(known, &socket)) {
                sockets.push((None, socket));
            }
        }
        let kept = |named: Named| {
            let snapshot = Snapshot::of(&named.1);
            (named, snapshot)
        };
        Before {
            data,
            start,
            fields: fields(context),
            about: context.socket("sk"),
            sockets: sockets.into_iter().map(kept).collect(),
        }
    }

    /// What the program did with sockets.
    pub(crate) fn sockets(&mut self, context: &Context, around: &Around) -> Chosen {
        let id = |socket: Arc<Socket>| SocketId::of(&socket, around.handle(&socket));
        let selected = context.selected_socket();
        let about = context.socket("sk").filter(|now| {
            let was = |was: &Arc<Socket>| Arc::ptr_eq(was, now);
            !self.about.as_ref().is_some_and(was) && selected.is_none()
        });
        let sockets = std::mem::take(&mut self.sockets).into_iter();
        let changed = sockets.filter_map(|((handle, socket), then)| then.compared(&socket, handle));
        Chosen { changed: changed.collect(), assigned: about.map(id), selected: selected.map(id) }
    }

    pub(crate) fn compared(self, context: &Context, has_verdicts: bool, dump_maps: bool) -> Shown {
        let (after, start) = visible(context);
        let meta = match context.visible_packet() {
            Some(packet) => {
                let all = packet.data_with_meta();
                all[..all.len() - packet.data().len()].to_vec()
            }
            None => Vec::new(),
        };
        Shown {
            data_name: data::name(context.prog_type()),
            head_moved: start as i64 - self.start as i64,
            before: self.data,
            after,
            meta,
            fields: changes(&self.fields, fields(context)),
            has_verdicts,
            dump_maps,
            timer_is_due: false,
            filled_maps: Vec::new(),
        }
    }
}

/// Fields with other values. A byte string may be there only afterwards: it was null.
fn changes(before: &[(String, Value)], after: Vec<(String, Value)>) -> Vec<(String, Value, Value)> {
    let old = |name: &str| {
        let found = before.iter().find(|(known, _)| known == name);
        found.map_or(Value::Null, |(_, value)| value.clone())
    };
    let all = after.into_iter().map(|(name, new)| (old(&name), new, name));
    all.filter(|(old, new, _)| old != new).map(|(old, new, name)| (name, old, new)).collect()
}
