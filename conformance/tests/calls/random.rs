//! Sequences of calls whose results become arguments.

use super::single::right;
use super::values::{HOSTS, Host, KINDS, Kind, MAPS, text};
use super::{Bench, Tally};
use ebpfvm_spec::linux::HELPERS;
use ebpfvm_spec::{Arg, HelperProto, MapType, Ret};

/// Programs that are tried if nobody asks for more.
const PROGRAMS: u64 = 3000;
/// Helpers whose order matters: they acquire, release, lock, move packets, look up, call tails.
const STATEFUL: &[&str] = &[
    "map_lookup_elem",
    "map_lookup_elem",
    "map_update_elem",
    "map_delete_elem",
    "map_push_elem",
    "map_peek_elem",
    "map_lookup_percpu_elem",
    "tail_call",
    "spin_lock",
    "spin_lock",
    "spin_unlock",
    "timer_init",
    "timer_start",
    "timer_cancel",
    "ringbuf_reserve",
    "ringbuf_submit",
    "ringbuf_discard",
    "ringbuf_output",
    "ringbuf_reserve_dynptr",
    "ringbuf_submit_dynptr",
    "ringbuf_discard_dynptr",
    "dynptr_from_mem",
    "dynptr_read",
    "dynptr_write",
    "dynptr_data",
    "sk_lookup_tcp",
    "skc_lookup_tcp",
    "sk_release",
    "sk_release",
    "sk_fullsock",
    "tcp_sock",
    "get_listener_sock",
    "sk_assign",
    "tcp_check_syncookie",
    "skb_load_bytes",
    "skb_store_bytes",
    "skb_pull_data",
    "xdp_adjust_head",
    "csum_diff",
    "snprintf",
    "strncmp",
    "strtol",
    "probe_read_str",
    "get_stack",
    "get_smp_processor_id",
    "perf_event_output",
];
/// Where results are kept: two registers and places on the stack.
const SPILLS: [i32; 3] = [-280, -288, -296];

/// A stream of numbers that is the same on every run (splitmix64).
struct Draw(u64);

impl Draw {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, count: usize) -> usize {
        (self.next() % count as u64) as usize
    }

    fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}

/// What an argument gets.
enum Given {
    Made(&'static Kind),
    Map(usize),
    /// What a call before gave.
    Kept(usize),
}

/// A register or place of the stack that keeps a result.
fn kept(place: usize, register: usize) -> Vec<String> {
    let spill = |at: usize| SPILLS[at.min(SPILLS.len() - 1)];
    match place {
        0 | 1 => vec![format!("r{register} = r{}", 7 + place)],
        _ => vec![format!("r{register} = *(u64 *)(r10 - {})", -spill(place - 2))],
    }
}

fn keep(place: usize) -> String {
    match place {
        0 | 1 => format!("r{} = r0", 7 + place),
        _ => format!("*(u64 *)(r10 - {}) = r0", -SPILLS[(place - 2).min(SPILLS.len() - 1)]),
    }
}

/// A map that the helper takes, most of the time.
fn map_for(draw: &mut Draw, proto: &HelperProto) -> usize {
    let is_taken = |index: &usize| {
        let name = MAPS[*index].split(' ').nth(1).unwrap_or_default();
        let kind = MapType::ALL.iter().find(|kind| kind.name() == name);
        kind.is_some_and(|kind| proto.maps.always.contains(*kind))
    };
    let taken: Vec<usize> = (0..MAPS.len()).filter(is_taken).collect();
    if taken.is_empty() || draw.one_in(30) { draw.below(MAPS.len()) } else { *draw.pick(&taken) }
}

/// What goes well with an argument, most of the time.
fn argument(
    draw: &mut Draw,
    host: &Host,
    proto: &HelperProto,
    arg: Arg,
    results: &[(usize, Ret)],
) -> Given {
    if draw.one_in(25) {
        let kinds: Vec<&'static Kind> = KINDS.iter().filter(|kind| host.has(kind)).collect();
        return Given::Made(kinds[draw.below(kinds.len())]);
    }
    let fits = |ret: Ret| match arg {
        Arg::RingbufRecord => ret == Ret::RingbufRecordOrNull,
        Arg::SockCommon | Arg::Sock { .. } | Arg::SocketOrNull => {
            matches!(ret, Ret::SocketOrNull | Ret::SockCommonOrNull | Ret::TcpSockOrNull)
        }
        Arg::MapKey | Arg::MapValue(_) | Arg::Mem { .. } => {
            matches!(ret, Ret::MapValueOrNull | Ret::RingbufRecordOrNull | Ret::DynptrMemOrNull)
        }
        Arg::Map | Arg::SpinLock | Arg::Timer => ret == Ret::MapValueOrNull,
        Arg::Anything | Arg::Size { .. } => {
            matches!(ret, Ret::Integer | Ret::Cpu | Ret::SizeOrErrno)
        }
        _ => false,
    };
    let fitting: Vec<usize> = results.iter().filter(|r| fits(r.1)).map(|r| r.0).collect();
    if !fitting.is_empty() && !draw.one_in(3) {
        return Given::Kept(*draw.pick(&fitting));
    }
    if arg == Arg::Map {
        return Given::Map(map_for(draw, proto));
    }
    let choices: &[&str] = match arg {
        Arg::MapKey | Arg::MapValue(_) | Arg::Mem { .. } => {
            &["stack", "stack", "value", "stack, moved", "value, moved", "packet", "dynptr data"]
        }
        Arg::Size { .. } => &["8", "1 to 8", "up to 7", "1", "64"],
        Arg::AllocSize => &["8", "64", "0"],
        Arg::SpinLock => &["lock", "lock", "lock", "beside a lock"],
        _ => &[],
    };
    let name = if choices.is_empty() { right(arg) } else { draw.pick(choices) };
    let kind = Kind::named(name);
    Given::Made(if host.has(kind) { kind } else { Kind::named("0") })
}

/// A program.
fn program(draw: &mut Draw) -> String {
    // The first types have most helpers.
    let hosts = if draw.one_in(4) { HOSTS } else { &HOSTS[..4] };
    let host = draw.pick(hosts);
    let called = |name: &&str| {
        HELPERS.iter().find(|p| p.name == **name && p.allows(host.prog_type, host.attach))
    };
    let protos: Vec<&HelperProto> = STATEFUL.iter().filter_map(|name| called(&name)).collect();
    let mut used: Vec<&'static Kind> = Vec::new();
    let mut body = Vec::new();
    let mut results: Vec<(usize, Ret)> = Vec::new();
    for _ in 0..2 + draw.below(6) {
        let proto = *draw.pick(&protos);
        for (i, arg) in proto.args.iter().enumerate().filter(|(_, arg)| **arg != Arg::None) {
            match argument(draw, host, proto, *arg, &results) {
                Given::Made(kind) => {
                    used.push(kind);
                    body.extend(kind.load(i + 1));
                }
                Given::Map(map) => body.push(format!("r{} = map[idx:{map}]", i + 1)),
                Given::Kept(place) => body.extend(kept(place, i + 1)),
            }
        }
        body.push(format!("call {}", proto.id));
        if matches!(proto.ret, Ret::Void | Ret::TailCall) {
            continue;
        }
        let place = draw.below(2 + SPILLS.len());
        results.retain(|r| r.0 != place);
        results.push((place, proto.ret));
        body.push(keep(place));
        let is_pointer = !matches!(proto.ret, Ret::Integer | Ret::Cpu | Ret::SizeOrErrno);
        match draw.below(8) {
            0 => {}
            1 if is_pointer => body.push("if r0 != 0 goto end".into()),
            2..=5 if is_pointer => body.push("if r0 == 0 goto end".into()),
            6 if is_pointer => {
                body.extend(["if r0 == 0 goto end", "r0 = *(u32 *)(r0 + 0)"].map(String::from));
            }
            2..=3 => body.push(format!("if r0 s> {} goto end", draw.below(16))),
            _ => {}
        }
    }
    // Some of what is held is given back.
    for (place, ret) in &results {
        let id = match ret {
            Ret::RingbufRecordOrNull => "ringbuf_discard",
            Ret::SocketOrNull | Ret::SockCommonOrNull => "sk_release",
            _ => continue,
        };
        if !draw.one_in(3) {
            body.extend(kept(*place, 1));
            body.push(format!("if r1 == 0 goto +{}", if id == "sk_release" { 1 } else { 2 }));
            if id == "ringbuf_discard" {
                body.push("r2 = 0".into());
            }
            body.push(format!("call {id}"));
        }
    }
    let mut code = host.prologue(&used);
    code.extend(["r7 = 0", "r8 = 0"].map(String::from));
    code.extend(SPILLS.iter().map(|offset| format!("*(u64 *)(r10 - {}) = 0", -offset)));
    code.extend(body);
    let mut text = text(host, &code);
    text += "end:\n    r0 = 0\n    exit\n";
    text
}

#[test]
fn sequences_are_judged_as_the_kernel_judges_them() {
    const NAME: &str = "sequences_are_judged_as_the_kernel_judges_them";
    let Some(mut bench) = Bench::new(NAME) else { return };
    let count = std::env::var("EBPFVM_CALLS").ok().and_then(|n| n.parse().ok());
    let mut tally = Tally::default();
    for seed in 0..count.unwrap_or(PROGRAMS) {
        let text = program(&mut Draw(seed));
        bench.new_maps();
        let verdicts = bench.judge(&text);
        tally.add(&format!("random program {seed}"), &text, verdicts);
    }
    tally.finish(NAME);
}
