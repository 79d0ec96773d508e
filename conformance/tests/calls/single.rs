//! Every argument of every helper is given values of every kind; the other arguments are right.

use super::values::{HOSTS, Host, KINDS, Kind, MAPS, text};
use super::{Bench, Tally};
use ebpfvm_spec::linux::HELPERS;
use ebpfvm_spec::{Arg, DynptrUse, HelperProto, MapType};

/// Hosts that each helper is called from.
const HOSTS_PER_HELPER: usize = 2;

/// The index of a map that the helper takes.
fn map_for(proto: &HelperProto) -> Option<usize> {
    let is_taken = |map: &&str| {
        let name = map.split(' ').nth(1).unwrap_or_default();
        let kind = MapType::ALL.iter().find(|kind| kind.name() == name);
        kind.is_some_and(|kind| proto.maps.always.contains(*kind))
    };
    MAPS.iter().position(is_taken)
}

/// The name of a kind that an argument takes.
pub(super) fn right(arg: Arg) -> &'static str {
    match arg {
        Arg::None => "uninitialised",
        Arg::Anything => "0",
        Arg::Size { .. } | Arg::AllocSize => "8",
        Arg::Ctx | Arg::CtxOrNull => "context",
        Arg::Map => "array",
        Arg::MapKey | Arg::MapValue(_) | Arg::Mem { .. } => "stack",
        Arg::ConstStr => "read-only value",
        Arg::SpinLock => "lock",
        Arg::Timer => "timer",
        Arg::SockCommon | Arg::Sock { released: false, nullable: false } => "sock_common",
        Arg::Sock { released: true, .. } => "socket",
        Arg::RingbufRecord => "record",
        Arg::Dynptr(DynptrUse::Read) => "dynptr",
        Arg::Dynptr(DynptrUse::ReleaseRingbuf) => "record dynptr",
        Arg::Dynptr(_) => "stack, unused",
        _ => "0",
    }
}

/// The code of a call with one argument of this kind.
fn call(host: &Host, proto: &HelperProto, at: usize, kind: &'static Kind) -> Option<Vec<String>> {
    let mut kinds = Vec::new();
    for (i, arg) in proto.args.iter().enumerate() {
        let kind = if i == at { kind } else { Kind::named(right(*arg)) };
        kinds.push(if host.has(kind) { kind } else { Kind::named("0") });
    }
    let mut code = host.prologue(&kinds);
    for (i, (kind, arg)) in kinds.iter().zip(proto.args).enumerate() {
        if arg == Arg::Map && i != at {
            code.push(format!("r{} = map[idx:{}]", i + 1, map_for(proto)?));
        } else {
            code.extend(kind.load(i + 1));
        }
    }
    code.push(format!("call {}", proto.id));
    Some(code)
}

#[test]
fn arguments_are_judged_as_the_kernel_judges_them() {
    const NAME: &str = "arguments_are_judged_as_the_kernel_judges_them";
    let Some(mut bench) = Bench::new(NAME) else { return };
    let mut tally = Tally::default();
    let end = ["r0 = 0".to_string(), "exit".to_string()];
    for proto in HELPERS {
        let hosts = HOSTS.iter().filter(|h| proto.allows(h.prog_type, h.attach));
        for host in hosts.take(HOSTS_PER_HELPER) {
            bench.new_maps();
            for (at, arg) in proto.args.iter().enumerate() {
                // The first that is not there stands for all.
                if *arg == Arg::None && at > 0 && proto.args[at - 1] == Arg::None {
                    break;
                }
                for kind in KINDS.iter().filter(|kind| host.has(kind)) {
                    let Some(code) = call(host, proto, at, kind) else { break };
                    let program = text(host, &[code, end.to_vec()].concat());
                    let what = format!(
                        "{} of {}: argument {} is {}",
                        proto.name,
                        host.prog_type.name(),
                        at + 1,
                        kind.name
                    );
                    let verdicts = bench.judge(&program);
                    tally.add(&what, &program, verdicts);
                }
            }
            if proto.args.contains(&Arg::Map) {
                each_map(&mut bench, &mut tally, host, proto);
            }
        }
    }
    tally.finish(NAME);
}

/// Gives the helper every map.
fn each_map(bench: &mut Bench, tally: &mut Tally, host: &Host, proto: &HelperProto) {
    let kinds: Vec<&Kind> = proto.args.iter().map(|arg| Kind::named(right(*arg))).collect();
    for (map, line) in MAPS.iter().enumerate() {
        let mut code = host.prologue(&kinds);
        for (i, (kind, arg)) in kinds.iter().zip(proto.args).enumerate() {
            if arg == Arg::Map {
                code.push(format!("r{} = map[idx:{map}]", i + 1));
            } else {
                code.extend(kind.load(i + 1));
            }
        }
        code.push(format!("call {}", proto.id));
        // The result is used, so that what is known of it counts.
        code.extend(
            ["if r0 == 0 goto +1", "r0 = *(u8 *)(r0 + 0)", "r0 = 0", "exit"].map(String::from),
        );
        let program = text(host, &code);
        let what = format!("{} of {} with map {line}", proto.name, host.prog_type.name());
        let verdicts = bench.judge(&program);
        tally.add(&what, &program, verdicts);
    }
}
