//! The result of `ebpfvm run`.

use super::maps::MapEntry;
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
    /// What the program printed.
    pub(crate) output: Vec<String>,
    /// What is for the text only.
    #[serde(skip)]
    pub(crate) shown: Shown,
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
}
