//! What the verifier accepts runs without a trap in the checked interpreter.

use super::{files, here};
use ebpfvm::{Context, DEFAULT_FUEL, MapRef, TrapKind, Vm};
use ebpfvm_conformance::cases::Case;
use ebpfvm_kernel::report_skip;

/// Packets that programs run on: too short for most headers, short, and long.
const PACKETS: [usize; 4] = [14, 34, 64, 1500];

/// Whether a run stopped at something that the machine does not have.
fn is_absent(kind: &TrapKind) -> bool {
    matches!(kind, TrapKind::NoHelperCode { .. } | TrapKind::Unsupported(_))
}

/// Runs a case on each packet; none if this machine has no such context, map or helper.
fn run(case: &Case) -> Option<Result<(), String>> {
    let prog_type = case.program.prog_type;
    if !Context::takes_packet(prog_type) {
        return None;
    }
    let vm = Vm::linux().build();
    let maps = case.program.maps.iter().map(|def| vm.create_map(def));
    let maps: Vec<MapRef> = maps.collect::<Result<_, _>>().ok()?;
    let instance = vm.link(case.program.clone(), &maps).ok()?;
    for bytes in PACKETS {
        let packet: Vec<u8> = (0..bytes).map(|i| (i * 7 + 3) as u8).collect();
        let mut context = Context::packet(prog_type, &packet).ok()?;
        match instance.run(&mut context, DEFAULT_FUEL) {
            Ok(_) => {}
            Err(trap) if is_absent(&trap.kind) => return None,
            Err(trap) => return Some(Err(format!("packet of {bytes} bytes: {trap}"))),
        }
    }
    Some(Ok(()))
}

#[test]
fn what_is_accepted_runs() {
    let (mut wrong, mut ran, mut skipped) = (Vec::new(), 0, 0);
    for file in files() {
        for case in file.cases.iter().filter(|case| here::judged(case).accepted) {
            match run(case) {
                None => skipped += 1,
                Some(Ok(())) => ran += 1,
                Some(Err(why)) => wrong.push(format!("{}: {why}", file.place(case))),
            }
        }
    }
    report_skip(
        "what_is_accepted_runs",
        format!("{skipped} cases need a context, map or helper that is not there; {ran} ran"),
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
