//! The result of `ebpfvm run`.

use super::maps::MapEntry;
use crate::render::hex;
use ebpfvm::map::{PerfEventArray, Ringbuf};
use ebpfvm::timer::Fired;
use ebpfvm::{Context, Redirect};
use serde::Serialize;
use std::collections::BTreeMap;

/// A run, or several one after the other.
#[derive(Serialize)]
pub(crate) struct RunReport {
    /// Name of the function; none for bare instructions.
    pub(crate) program: Option<String>,
    #[serde(rename = "type")]
    pub(crate) prog_type: &'static str,
    /// What the last run returned: 32 bits as in the kernel, 64 for raw programs.
    pub(crate) retval: u64,
    /// What that is called for programs of the type.
    pub(crate) verdict: Option<&'static str>,
    /// The packet or memory afterwards in hex, metadata before it included. As from the kernel's
    /// test-run, a link-layer header that the program does not see is zero.
    pub(crate) data_out: String,
    /// The mean time of a run.
    pub(crate) duration_ns: u64,
    pub(crate) repeat: u64,
    /// Fuel that loops and calls of the last run took.
    pub(crate) fuel_used: u64,
    pub(crate) redirect: Option<RedirectTo>,
    /// The numbers of the context afterwards.
    pub(crate) ctx: BTreeMap<String, u64>,
    /// Entries afterwards, by the name of the map.
    pub(crate) maps: BTreeMap<String, Vec<MapEntry>>,
    /// Records of ring buffers and perf arrays in hex, by the name of the map.
    pub(crate) events: BTreeMap<String, Vec<String>>,
    /// Records that found no room.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) lost_events: BTreeMap<String, u64>,
    /// The timers that fired after the run, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) timers: Vec<FiredTimer>,
    /// What the program printed.
    pub(crate) output: Vec<String>,
    /// What is for the text only.
    #[serde(skip)]
    pub(crate) shown: Shown,
}

/// A timer that fired.
#[derive(Serialize)]
pub(crate) struct FiredTimer {
    /// Name of the map, and the key of the element in hex.
    pub(crate) map: String,
    pub(crate) key: String,
    /// When it was due, on the monotonic clock.
    pub(crate) due_ns: u64,
    /// What stopped its function, if something did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) trap: Option<String>,
}

impl From<&Fired> for FiredTimer {
    fn from(fired: &Fired) -> FiredTimer {
        FiredTimer {
            map: fired.map.clone(),
            key: hex::string(&fired.key),
            due_ns: fired.due_ns,
            trap: fired.outcome.as_ref().err().map(ToString::to_string),
        }
    }
}

/// Where the packet was sent.
#[derive(Serialize)]
pub(crate) struct RedirectTo {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ifindex: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) map: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) index: Option<u64>,
    pub(crate) flags: u64,
}

/// What the text shows in another form than the JSON.
#[derive(Default)]
pub(crate) struct Shown {
    /// `packet` or `memory`.
    pub(crate) data_name: &'static str,
    /// The data before and after, as the program sees it.
    pub(crate) before: Vec<u8>,
    pub(crate) after: Vec<u8>,
    /// By how much the start of the data has moved towards its end.
    pub(crate) head_moved: i64,
    /// The metadata before the packet.
    pub(crate) meta: Vec<u8>,
    /// Context fields that have changed: name, before, after.
    pub(crate) fields: Vec<(String, u64, u64)>,
    /// Whether the type has verdicts at all.
    pub(crate) has_verdicts: bool,
    pub(crate) dump_maps: bool,
    /// Maps that the text does not show and that are not as they were created.
    pub(crate) filled_maps: Vec<String>,
}

/// Records that user space would have read, in hex, and how many were lost; none if the map has no
/// records.
pub(crate) fn records(map: &ebpfvm::Map) -> (Option<Vec<String>>, u64) {
    if let Some(ringbuf) = map.as_kind::<Ringbuf>() {
        let mut records = Vec::new();
        ringbuf.consume(|record| records.push(hex::string(record)));
        return (Some(records), ringbuf.dropped());
    }
    match map.as_kind::<PerfEventArray>() {
        Some(array) => {
            let samples = array.drain().iter().map(|s| hex::string(&s.data)).collect();
            (Some(samples), (0..array.slots()).map(|slot| array.lost(slot)).sum())
        }
        None => (None, 0),
    }
}

impl From<&Redirect> for RedirectTo {
    fn from(redirect: &Redirect) -> RedirectTo {
        match redirect {
            Redirect::Interface { ifindex, flags } => {
                RedirectTo { ifindex: Some(*ifindex), map: None, index: None, flags: *flags }
            }
            Redirect::Map { map, index, flags } => RedirectTo {
                ifindex: None,
                map: Some(map.clone()),
                index: Some(*index),
                flags: *flags,
            },
            // The socket is told by its cookie.
            Redirect::Socket { map, cookie, flags } => RedirectTo {
                ifindex: None,
                map: Some(map.clone()),
                index: Some(*cookie),
                flags: *flags,
            },
        }
    }
}

/// What a run may change, as it was.
pub(crate) struct Before {
    data: Vec<u8>,
    /// Where the data started in its buffer.
    start: usize,
    fields: Vec<(String, u64)>,
}

/// The data as the program sees it and where it starts in its buffer.
fn visible(context: &Context) -> (Vec<u8>, usize) {
    match (context.visible_packet(), context.memory()) {
        (Some(packet), _) => {
            let meta = packet.data_with_meta().len() - packet.data().len();
            (packet.data().to_vec(), packet.headroom() + meta)
        }
        (None, memory) => (memory.unwrap_or_default().to_vec(), 0),
    }
}

impl Before {
    pub(crate) fn of(context: &Context) -> Before {
        let (data, start) = visible(context);
        Before { data, start, fields: context.fields() }
    }

    pub(crate) fn compared(self, context: &Context, has_verdicts: bool, dump_maps: bool) -> Shown {
        let (after, start) = visible(context);
        let meta = match context.visible_packet() {
            Some(packet) => {
                packet.data_with_meta()[..packet.data_with_meta().len() - after.len()].to_vec()
            }
            None => Vec::new(),
        };
        let fields = self.fields.into_iter().zip(context.fields());
        Shown {
            data_name: if context.memory().is_some() { "memory" } else { "packet" },
            head_moved: start as i64 - self.start as i64,
            before: self.data,
            after,
            meta,
            fields: fields
                .filter(|((_, old), (_, new))| old != new)
                .map(|((name, old), (_, new))| (name, old, new))
                .collect(),
            has_verdicts,
            dump_maps,
            filled_maps: Vec::new(),
        }
    }
}
