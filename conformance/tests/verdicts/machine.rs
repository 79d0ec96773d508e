//! What the verifier accepts runs without a trap, with checks and without.

use super::{files, here};
use ebpfvm::{Context, DEFAULT_FUEL, MapRef, TrapKind, Vm};
use ebpfvm_conformance::cases::Case;
use ebpfvm_kernel::report_skip;
use ebpfvm_spec::Platform;
use ebpfvm_verifier::{Options, Target, verify};

/// Packets that programs run on: too short for most headers, short, and long.
const PACKETS: [usize; 4] = [14, 34, 64, 1500];

/// Whether a run stopped at something that the machine does not have.
fn is_absent(kind: &TrapKind) -> bool {
    matches!(kind, TrapKind::NoHelperCode { .. } | TrapKind::Unsupported(_))
}

/// Whether an access is to what only the kernel has behind a pointer.
fn is_kernels(target: Option<Target>) -> bool {
    matches!(target, Some(Target::Map | Target::Socket | Target::FlowKeys))
}

/// Runs a case on each packet, with and without checks; none if this machine has no such context, map or helper.
fn run(case: &Case) -> Option<Result<(), String>> {
    let prog_type = case.program.prog_type;
    if !Context::takes_packet(prog_type) {
        return None;
    }
    let options = Options { privileges: case.privileges, ..Options::default() };
    let judgement = verify(case.program.clone(), &Platform::linux(), &options);
    let verified = judgement.verdict.ok()?;
    let facts = verified.facts();
    if case.program.code.iter().any(|(pc, _)| is_kernels(facts.target(pc))) {
        return None;
    }
    let vm = Vm::linux().build();
    let maps = case.program.maps.iter().map(|def| vm.create_map(def));
    let maps: Vec<MapRef> = maps.collect::<Result<_, _>>().ok()?;
    let instance = vm.link_verified(verified, &maps).ok()?;
    for bytes in PACKETS {
        let packet: Vec<u8> = (0..bytes).map(|i| (i * 7 + 3) as u8).collect();
        let mut context = Context::packet(prog_type, &packet).ok()?;
        match instance.run_checked(&mut context, DEFAULT_FUEL) {
            Ok(_) => {}
            Err(trap) if is_absent(&trap.kind) => return None,
            Err(trap) => return Some(Err(format!("packet of {bytes} bytes: {trap}"))),
        }
        // Once more, without checks where the machine leaves them out for verified programs.
        let mut context = Context::packet(prog_type, &packet).ok()?;
        if let Err(trap) = instance.run(&mut context, DEFAULT_FUEL) {
            return Some(Err(format!("packet of {bytes} bytes, without checks: {trap}")));
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
