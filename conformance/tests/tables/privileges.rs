//! What programs, maps and helpers need of capabilities. The test starts itself again with some of
//! them (`setpriv`). A kernel that is closed to unprivileged users, as most are, judges nobody
//! without `CAP_BPF`; then what that capability opens is not compared.

use crate::bench::{Host, Types, last, map_of, refusal};
use ebpfvm_kernel::{Kernel, linux_6_18_or_skip, report_skip};
use ebpfvm_spec::linux::{Capabilities, HELPERS, needed_for_map, needed_for_program, prog_types};
use ebpfvm_spec::load_flags;
use ebpfvm_spec::{AttachType, Effect, MapType, ProgType};
use std::process::Command;

/// Tells the child what it is left with.
const LEFT: &str = "EBPFVM_TEST_CAPABILITIES";

const TEST: &str = "privileges::capabilities_open_what_the_kernel_opens";

const ROWS: &[(&str, Capabilities)] = &[
    ("bpf", Capabilities::BPF),
    ("bpf,+net_admin", Capabilities(Capabilities::BPF.0 | Capabilities::NET_ADMIN.0)),
    ("bpf,+perfmon", Capabilities(Capabilities::BPF.0 | Capabilities::PERFMON.0)),
];

#[test]
fn capabilities_open_what_the_kernel_opens() {
    if let Ok(left) = std::env::var(LEFT) {
        let (_, capabilities) = ROWS.iter().find(|(name, _)| *name == left).unwrap();
        return compare(*capabilities);
    }
    if linux_6_18_or_skip(TEST).is_none() {
        return;
    }
    report_skip(TEST, "rules of CAP_BPF: without it most kernels judge nobody");
    for (name, _) in ROWS {
        let child = Command::new("setpriv")
            .arg(format!("--bounding-set=-all,+{name}"))
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", TEST, "--nocapture"])
            .env(LEFT, name)
            .output();
        match child {
            Ok(output) => {
                let said = String::from_utf8_lossy(&output.stdout);
                let errors = String::from_utf8_lossy(&output.stderr);
                if errors.starts_with("setpriv:") {
                    report_skip(TEST, errors.trim());
                    continue;
                }
                assert!(said.contains("1 passed"), "{name}:\n{said}\n{errors}");
                for line in said.lines().filter(|line| line.contains("compared")) {
                    println!("{line}");
                }
            }
            Err(e) => report_skip(TEST, format!("setpriv: {e}")),
        }
    }
}

fn compare(left: Capabilities) {
    // The usual probe loads a program for which not every child has the capability.
    let kernel = Kernel::assume().unwrap();
    let mut wrong = Vec::new();
    let mut compared = 0;
    for def in prog_types().iter().filter(|def| def.prog_type != ProgType::Raw) {
        let attach = (0..=62).map(AttachType).find(|a| def.attach_types.contains(*a)).unwrap();
        let host = Host::at(def.prog_type, attach);
        let text = if def.prog_type == ProgType::LircMode2 { continue } else { "r0 = 1\nexit\n" };
        let allowed = left.has(needed_for_program(def.prog_type));
        compared += 1;
        if refusal(&kernel, host, text).is_none() != allowed {
            wrong.push(format!("{}: {allowed}", def.prog_type.name()));
        }
    }
    let ids = Types::new();
    let types = ids.load(&kernel);
    for kind in MapType::ALL.iter().filter(|kind| **kind != MapType::StructOps) {
        let allowed = left.has(needed_for_map(*kind));
        compared += 1;
        let created = map_of(&kernel, *kind, &types, &ids);
        if created.is_ok() != allowed {
            wrong.push(format!("{}: {allowed}, {:?}", kind.name(), created.err()));
        }
    }
    compared += helpers(&kernel, left, &mut wrong);
    println!("{left:?}: {compared} compared");
    assert!(wrong.is_empty(), "{left:?}:\n{}", wrong.join("\n"));
}

/// A call without arguments is refused for the arguments, or before that for the helper.
fn helpers(kernel: &Kernel, left: Capabilities, wrong: &mut Vec<String>) -> usize {
    let hosts = [
        Host::new(ProgType::SocketFilter),
        Host::new(ProgType::CgroupSkb),
        Host::new(ProgType::Syscall),
        Host::new(ProgType::SchedCls),
        Host::new(ProgType::Tracepoint),
        Host::new(ProgType::PerfEvent),
    ];
    let mut compared = 0;
    for host in hosts.into_iter().filter(|h| left.has(needed_for_program(h.prog_type))) {
        for proto in HELPERS.iter().filter(|p| p.allows(host.prog_type, host.attach)) {
            if proto.effects.has(Effect::MAY_SLEEP) && host.flags & load_flags::SLEEPABLE == 0 {
                continue;
            }
            let text = format!("r1 = 0\ncall {}\nr0 = 0\nexit\n", proto.id);
            let log = refusal(kernel, host, &text).unwrap_or_default();
            let refused = last(&log).starts_with("program of this type cannot use helper");
            let needs = proto.effects.has(Effect::NEEDS_PERFMON);
            let expected =
                needs && !left.has(Capabilities::PERFMON) || proto.effects.has(Effect::NEEDS_ADMIN);
            compared += 1;
            if refused != expected {
                let (name, line) = (&proto.name, last(&log));
                wrong.push(format!("{name} in {}: {expected}, {line}", host.prog_type.name()));
            }
        }
    }
    compared
}
