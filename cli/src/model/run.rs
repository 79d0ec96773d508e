//! The result of `ebpfvm run`.

use super::effects::Shown;
use super::maps::MapEntry;
use super::socket::{SocketChange, SocketId};
use crate::render::hex;
use ebpfvm::context::SockoptResult;
use ebpfvm::map::{PerfEventArray, Ringbuf};
use ebpfvm::timer::Fired;
use ebpfvm::{Context, NextHop, PacketClone, Redirect};
use ebpfvm_spec::{AttachType, Errno, ProgType};
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::IpAddr;

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
    /// Copies of the packet that the program has sent.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) clones: Vec<CloneTo>,
    /// What the system call does that the program has judged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) system_call: Option<SystemCall>,
    /// The socket that the program has given to the packet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) assigned_socket: Option<SocketId>,
    /// The socket that the program has chosen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) selected_socket: Option<SocketId>,
    /// Sockets that the program has changed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) sockets: Vec<SocketChange>,
    /// The numbers and byte strings of the context afterwards, as `--ctx` takes them.
    pub(crate) ctx: BTreeMap<String, Value>,
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
    pub(crate) next_hop: Option<NextHopTo>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) map: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) index: Option<u64>,
    /// That of the socket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cookie: Option<u64>,
    pub(crate) flags: u64,
}

/// The next hop that the program gave.
#[derive(Serialize)]
pub(crate) struct NextHopTo {
    /// `AF_INET`, `AF_INET6`, or what else the program wrote there.
    pub(crate) family: u32,
    /// None of other families.
    pub(crate) address: Option<IpAddr>,
}

impl From<&NextHop> for NextHopTo {
    fn from(next_hop: &NextHop) -> NextHopTo {
        NextHopTo { family: next_hop.family, address: next_hop.address() }
    }
}

/// A copy of the packet on its way.
#[derive(Serialize)]
pub(crate) struct CloneTo {
    pub(crate) ifindex: u32,
    pub(crate) flags: u64,
    /// In hex.
    pub(crate) packet: String,
}

impl From<&PacketClone> for CloneTo {
    fn from(clone: &PacketClone) -> CloneTo {
        let packet = hex::string(&clone.packet);
        CloneTo { ifindex: clone.ifindex, flags: clone.flags, packet }
    }
}

/// How a system call goes on or ends after a program at a cgroup has judged it.
#[derive(Serialize)]
pub(crate) struct SystemCall {
    /// What it ends with: 0 or a negated error number. None if it goes on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) returns: Option<i32>,
    /// The name of the error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<&'static str>,
    /// The value of the option in hex that it sets or gives back, where that is not the kernel's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) option_value: Option<String>,
}

impl SystemCall {
    /// What becomes of the call after a program with this attach type has returned; none if no
    /// system call asks such programs.
    pub(crate) fn after(context: &Context, attach: AttachType, retval: u64) -> Option<SystemCall> {
        use ProgType::{CgroupDevice, CgroupSock, CgroupSockAddr, CgroupSysctl};
        let ends = |number: i32| SystemCall {
            returns: Some(number),
            error: Errno(number.unsigned_abs() as _).name().filter(|_| number < 0),
            option_value: None,
        };
        let goes_on = |value: Option<Vec<u8>>| SystemCall {
            returns: None,
            error: None,
            option_value: value.map(|value| hex::string(&value)),
        };
        match context.sockopt_result(attach, retval) {
            Some(SockoptResult::Returns(number)) => return Some(ends(number)),
            Some(SockoptResult::Sets { optval, .. }) => return Some(goes_on(Some(optval))),
            Some(SockoptResult::Gives { optval }) => {
                return Some(SystemCall { returns: Some(0), ..goes_on(optval) });
            }
            None => {}
        }
        let asked = [CgroupDevice, CgroupSock, CgroupSockAddr, CgroupSysctl];
        if !asked.contains(&context.prog_type()) {
            return None;
        }
        match context.cgroup_result(retval) {
            0 => Some(goes_on(None)),
            number => Some(ends(number)),
        }
    }
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
        let nowhere = RedirectTo {
            ifindex: None,
            next_hop: None,
            map: None,
            index: None,
            cookie: None,
            flags: 0,
        };
        match redirect {
            Redirect::Interface { ifindex, flags, next_hop } => RedirectTo {
                ifindex: Some(*ifindex),
                next_hop: next_hop.as_ref().map(NextHopTo::from),
                flags: *flags,
                ..nowhere
            },
            Redirect::Map { map, index, flags } => {
                let map = Some(map.clone());
                RedirectTo { map, index: Some(*index), flags: *flags, ..nowhere }
            }
            Redirect::Socket { map, cookie, flags } => {
                let map = Some(map.clone());
                RedirectTo { map, cookie: Some(*cookie), flags: *flags, ..nowhere }
            }
        }
    }
}
