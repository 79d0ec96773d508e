//! What a run brought, as text.

use super::diff::Diff;
use super::fields;
use super::style::{self, paint};
use crate::model::effects::Shown;
use crate::model::run::{NextHopTo, RedirectTo, RunReport, SystemCall};
use crate::model::socket::SocketChange;
use ebpfvm::Loaded;
use std::fmt::Write;

/// The report of a run.
pub(crate) fn text(report: &RunReport, loaded: Option<&Loaded>) -> String {
    // Writing to a String does not fail.
    let mut text = String::new();
    for line in &report.output {
        let _ = writeln!(text, "printed: {line}");
    }
    let _ = writeln!(text, "{}", verdict(report));
    if let Some(redirect) = &report.redirect {
        let _ = writeln!(text, "redirect: {}", redirected(redirect));
    }
    for clone in &report.clones {
        let (ifindex, bytes) = (clone.ifindex, clone.packet.len() / 2);
        let flags = flags(clone.flags);
        let _ = writeln!(text, "clone: {bytes} bytes to interface {ifindex}{flags}");
    }
    if let Some(call) = &report.system_call {
        let _ = writeln!(text, "system call: {}", called(call));
    }
    if let Some(socket) = &report.assigned_socket {
        let _ = writeln!(text, "assigned: {}", socket.text());
    }
    if let Some(socket) = &report.selected_socket {
        let _ = writeln!(text, "selected: {}", socket.text());
    }
    text.push_str(&data(&report.shown));
    for (name, old, new) in &report.shown.fields {
        let [old, new] = [old, new].map(|value| fields::text(report.prog_type, name, value));
        let _ = writeln!(text, "context: {name} {old} -> {new}");
    }
    report.sockets.iter().for_each(|change| text.push_str(&changed(change)));
    for timer in &report.timers {
        let (map, key, due) = (&timer.map, spaced(&timer.key), timer.due_ns);
        let _ = match &timer.trap {
            None => writeln!(text, "timer: {map}[{key}] fired at {due} ns"),
            Some(trap) => writeln!(text, "timer: {map}[{key}] at {due} ns: {trap}"),
        };
    }
    if report.shown.timer_is_due {
        let _ = writeln!(text, "{}", paint(style::FAINT, "a timer is started (--timers NS)"));
    }
    for (map, records) in &report.events {
        for record in records {
            let _ = writeln!(text, "event: {map}: {}", spaced(record));
        }
        if let Some(lost) = report.lost_events.get(map) {
            let _ = writeln!(text, "event: {map}: {lost} more found no room");
        }
    }
    if let Some(loaded) = loaded.filter(|_| report.shown.dump_maps) {
        for map in loaded.maps() {
            if let Some(entries) = report.maps.get(&map.def().name) {
                let btf = loaded.object().btf().map(|btf| &**btf);
                text.push_str(&super::maps::text(map.def(), btf, entries));
            }
        }
    } else if let Some(hint) = undumped(&report.shown) {
        let _ = writeln!(text, "{}", paint(style::FAINT, hint));
    }
    text
}

/// `filter returned XDP_DROP (1) in 412 ns`
fn verdict(report: &RunReport) -> String {
    let value = match report.verdict {
        Some(name) => format!("{} ({})", paint(style::HEADING, name), report.retval),
        None if report.shown.has_verdicts => {
            let kind = report.prog_type;
            format!("{}, which is no verdict of {kind} programs", report.retval)
        }
        None if report.prog_type == "socket_filter" => match report.retval {
            0 => "0 (the packet is dropped)".into(),
            n if n >= report.shown.after.len() as u64 => format!("{n} (all of the packet is kept)"),
            n => format!("{n} (so many bytes of the packet are kept)"),
        },
        None if report.retval > 9 => format!("{} ({:#x})", report.retval, report.retval),
        None => report.retval.to_string(),
    };
    let name = report.program.as_deref().unwrap_or("the program");
    let time = duration(report.duration_ns);
    let often = match report.repeat {
        1 => String::new(),
        n => format!(" on average of {n} runs"),
    };
    format!("{name} returned {value} in {time}{often}")
}

fn duration(ns: u64) -> String {
    match ns {
        0..10_000 => format!("{ns} ns"),
        10_000..10_000_000 => format!("{:.1} us", ns as f64 / 1e3),
        _ => format!("{:.1} ms", ns as f64 / 1e6),
    }
}

fn redirected(to: &RedirectTo) -> String {
    let goal = match (to.ifindex, &to.map, to.index, to.cookie) {
        (Some(ifindex), ..) => {
            let hop = to.next_hop.as_ref().map(through);
            format!("to interface {ifindex}{}", hop.unwrap_or_default())
        }
        (None, Some(map), Some(index), _) => format!("to {map}[{index}]"),
        (None, Some(map), None, Some(cookie)) => {
            format!("to the socket with cookie {cookie} of {map}")
        }
        _ => "nowhere".into(),
    };
    format!("{goal}{}", flags(to.flags))
}

fn through(hop: &NextHopTo) -> String {
    match hop.address {
        Some(address) => format!(" through {address}"),
        None => format!(" through a next hop of address family {}", hop.family),
    }
}

fn flags(flags: u64) -> String {
    if flags == 0 { String::new() } else { format!(", flags {flags:#x}") }
}

/// What becomes of a system call.
fn called(call: &SystemCall) -> String {
    let value = call.option_value.as_deref().map(|value| match value {
        "" => "without bytes".to_string(),
        value => spaced(value),
    });
    match (call.returns, call.error, value) {
        (Some(0), _, Some(value)) => format!("gives the value {value}"),
        (Some(0), ..) => "ends with success".into(),
        (Some(number), Some(error), _) => format!("fails with {error} ({number})"),
        (Some(number), None, _) => format!("ends with {number}"),
        (None, _, Some(value)) => format!("goes on with the value {value}"),
        (None, _, None) => "goes on".into(),
    }
}

/// What became of a socket.
fn changed(change: &SocketChange) -> String {
    let mut text = format!("socket: {}\n", change.id.text());
    for field in &change.fields {
        let _ = writeln!(text, "  {} {} -> {}", field.name, field.before, field.after);
    }
    for option in &change.options {
        let (level, name, value) = (option.level, option.name, spaced(&option.value));
        let _ = writeln!(text, "  option {name} of level {level} set to {value}");
    }
    text
}

/// How the packet has changed.
fn data(shown: &Shown) -> String {
    let Shown { data_name, before, after, head_moved, meta, .. } = shown;
    if before.is_empty() && after.is_empty() {
        return String::new();
    }
    let diff = Diff::new(before, after, *head_moved);
    let mut parts = Vec::new();
    if before.len() == after.len() {
        parts.push(format!("{} bytes", after.len()));
    } else {
        parts.push(format!("{} -> {} bytes", before.len(), after.len()));
    }
    match *head_moved {
        0 => {}
        n @ ..0 => parts.push(format!("{} in front of the old start", -n)),
        n => parts.push(format!("the first {n} cut off")),
    }
    match *head_moved + after.len() as i64 - before.len() as i64 {
        0 => {}
        n @ ..0 => parts.push(format!("the last {} cut off", -n)),
        n => parts.push(format!("{n} after the old end")),
    }
    if !meta.is_empty() {
        parts.push(format!("metadata {}", spaced(&super::hex::string(meta))));
    }
    match diff.changed() {
        0 if before.len() == after.len() && *head_moved == 0 => parts.push("unchanged".into()),
        0 => {}
        n => parts.push(format!("{n} changed")),
    }
    format!("{data_name}: {}\n{}", parts.join(", "), diff.rows())
}

/// Hex digits with a space after every byte.
fn spaced(hex: &str) -> String {
    let pairs = hex.as_bytes().chunks(2).map(|pair| String::from_utf8_lossy(pair).into_owned());
    pairs.collect::<Vec<_>>().join(" ")
}

/// A reminder that maps hold something.
fn undumped(shown: &Shown) -> Option<String> {
    let names = shown.filled_maps.join(", ");
    (!names.is_empty()).then(|| format!("maps with entries: {names} (--dump-maps)"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_say_where_to_and_through_what() {
        let hop = |family, address: Option<&str>| {
            let address = address.map(|text| text.parse().expect("an address"));
            Some(NextHopTo { family, address })
        };
        let to = |next_hop, flags| {
            let ifindex = Some(3);
            redirected(&RedirectTo {
                ifindex,
                next_hop,
                map: None,
                index: None,
                cookie: None,
                flags,
            })
        };
        assert_eq!(to(None, 0), "to interface 3");
        let through = to(hop(2, Some("192.0.2.1")), 0);
        assert_eq!(through, "to interface 3 through 192.0.2.1");
        let through = to(hop(10, Some("2001:db8::1")), 1);
        assert_eq!(through, "to interface 3 through 2001:db8::1, flags 0x1");
        let unknown = to(hop(7, None), 0);
        assert_eq!(unknown, "to interface 3 through a next hop of address family 7");
    }
}
