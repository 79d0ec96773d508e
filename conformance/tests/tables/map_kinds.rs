//! Every helper that takes a map is given a map of every kind, by every type of program that loads
//! without something to attach to.

use crate::bench::{Host, Types, last, map_of, refusal};
use ebpfvm_kernel::linux_6_18_or_skip;
use ebpfvm_spec::linux::HELPERS;
use ebpfvm_spec::load_flags;
use ebpfvm_spec::{Arg, AttachType, Effect, HelperProto, MapRefusal, MapType, ProgType};

const HOSTS: &[Host] = &[
    Host::new(ProgType::SocketFilter),
    Host::new(ProgType::SchedCls),
    Host::new(ProgType::SchedAct),
    Host::new(ProgType::Xdp),
    Host::new(ProgType::CgroupSkb),
    Host::new(ProgType::SkSkb),
    Host::new(ProgType::SkMsg),
    Host::new(ProgType::LwtXmit),
    Host::new(ProgType::SockOps),
    Host::new(ProgType::FlowDissector),
    Host::at(ProgType::CgroupSockAddr, AttachType::CGROUP_INET4_CONNECT),
    Host::at(ProgType::CgroupSock, AttachType::CGROUP_INET_SOCK_CREATE),
    Host::at(ProgType::CgroupSockopt, AttachType::CGROUP_SETSOCKOPT),
    Host::at(ProgType::SkLookup, AttachType::SK_LOOKUP),
    Host::at(ProgType::SkReuseport, AttachType::SK_REUSEPORT_SELECT),
    Host::new(ProgType::PerfEvent),
    Host::new(ProgType::Kprobe),
    Host::new(ProgType::Tracepoint),
    Host::new(ProgType::Syscall),
];

/// The call with right arguments, and the map; none if one of the arguments cannot be made.
fn call(proto: &HelperProto, host: Host, map_fd: i32) -> Option<String> {
    let mut text = String::from("r6 = r1\n");
    for slot in 1..=16 {
        text += &format!("*(u64 *)(r10 - {}) = 0\n", slot * 8);
    }
    let sock = if matches!(
        host.prog_type,
        ProgType::SchedCls | ProgType::SchedAct | ProgType::CgroupSkb
    ) {
        text += "r7 = *(u64 *)(r6 + 168)\nif r7 != 0 goto +2\nr0 = 1\nexit\n";
        true
    } else {
        false
    };
    let needs_task = proto.args.iter().any(|a| matches!(a, Arg::BtfId { name: "task_struct", .. }));
    if needs_task {
        text += "call 158\nr8 = r0\n";
    }
    for (i, arg) in proto.args.iter().enumerate() {
        let r = i + 1;
        text += &match arg {
            Arg::None => break,
            Arg::Map => format!("r{r} = map[fd:{map_fd}]\n"),
            Arg::Ctx => format!("r{r} = r6\n"),
            Arg::MapKey | Arg::MapValue(_) | Arg::Mem { .. } => {
                format!("r{r} = r10\nr{r} += -128\n")
            }
            Arg::Anything | Arg::MapValueOrNull => format!("r{r} = 0\n"),
            Arg::AllocSize | Arg::Size { .. } => format!("r{r} = 8\n"),
            Arg::Sock { .. } if sock => format!("r{r} = r7\n"),
            Arg::BtfId { name: "task_struct", .. } => format!("r{r} = r8\n"),
            Arg::BtfId { nullable: true, .. } => format!("r{r} = 0\n"),
            Arg::Dynptr(_) => format!("r{r} = r10\nr{r} += -16\n"),
            _ => return None,
        };
    }
    Some(text + &format!("call {}\nr0 = 1\nexit\n", proto.id))
}

#[test]
fn helpers_take_the_kinds_of_maps_that_the_kernel_lets_them() {
    let test = "helpers_take_the_kinds_of_maps_that_the_kernel_lets_them";
    let Some(kernel) = linux_6_18_or_skip(test) else { return };
    let ids = Types::new();
    let types = ids.load(&kernel);
    let mut maps = Vec::new();
    for kind in MapType::ALL.iter().filter(|kind| **kind != MapType::StructOps) {
        match map_of(&kernel, *kind, &types, &ids) {
            Ok(map) => maps.push((*kind, map)),
            Err(e) => ebpfvm_kernel::report_skip(test, format!("{}: {e}", kind.name())),
        }
    }
    assert!(maps.len() > 28, "only {} kinds of maps", maps.len());
    let (mut wrong, mut asked) = (Vec::new(), 0);
    let mut seen = std::collections::BTreeSet::new();
    for proto in HELPERS.iter().filter(|p| p.args.contains(&Arg::Map)) {
        let hosts = HOSTS.iter().filter(|h| {
            let sleeps = proto.effects.has(Effect::MAY_SLEEP);
            proto.allows(h.prog_type, h.attach) && (!sleeps || h.flags & load_flags::SLEEPABLE != 0)
        });
        for host in hosts {
            for (kind, map) in &maps {
                let Some(text) = call(proto, *host, map.fd()) else { continue };
                let log = refusal(&kernel, *host, &text);
                let line = log.as_deref().map(last).unwrap_or("accepted");
                // The kernel looks at the map after it looked at all arguments, and a map that a
                // type of program may not have is refused before.
                let about_kind = line.starts_with("cannot pass map_type");
                let leak = line.contains("reference leak");
                if log.is_some() && !about_kind && !leak {
                    continue;
                }
                asked += 1;
                seen.insert(&proto.name);
                let context = log.as_ref().is_some_and(|l| l.contains("cannot update sockmap"));
                let found = match (about_kind, context) {
                    (false, _) => Ok(()),
                    (true, true) => Err(MapRefusal::Context),
                    (true, false) => Err(MapRefusal::Kind),
                };
                let expected = proto.takes_map(*kind, host.prog_type, host.attach);
                if expected != found {
                    let (name, host, kind) = (&proto.name, host.prog_type.name(), kind.name());
                    wrong.push(format!("{name} with {kind} in {host}: {expected:?}, {line}"));
                }
            }
        }
    }
    println!("{asked} pairs; {seen:?}");
    assert!(seen.len() > 25, "only {} helpers could be called", seen.len());
    assert!(wrong.is_empty(), "{} of {asked}:\n{}", wrong.len(), wrong.join("\n"));
}
