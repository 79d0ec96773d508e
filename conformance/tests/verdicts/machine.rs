//! What the verifier accepts runs without a trap, with checks and without.

use super::{files, here};
use ebpfvm::{Context, DEFAULT_FUEL, Engine, MapRef, TrapKind, Vm};
use ebpfvm_conformance::cases::Case;
use ebpfvm_kernel::report_skip;
use ebpfvm_spec::{Platform, ProgType};
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

/// As much as the argument of a system call's program can have.
const ARGUMENT_BYTES: usize = 65535;

/// What programs of a type are run on; nothing for types whose contexts are made of more.
fn data(prog_type: ProgType) -> Vec<Vec<u8>> {
    let sizes = match prog_type {
        ProgType::Syscall => &[ARGUMENT_BYTES][..],
        _ if Context::takes_packet(prog_type) => &PACKETS,
        _ => &[],
    };
    sizes.iter().map(|bytes| (0..*bytes).map(|i| (i * 7 + 3) as u8).collect()).collect()
}

/// Runs a case on all data, with and without checks; none if this machine has no such context, map or helper.
fn run(case: &Case) -> Option<Result<(), String>> {
    let prog_type = case.program.prog_type;
    let data = data(prog_type);
    if data.is_empty() {
        return None;
    }
    let options = Options { privileges: case.privileges, ..Options::default() };
    let judgement = verify(case.program.clone(), &Platform::linux(), &options);
    let verified = judgement.verdict.ok()?;
    let facts = verified.facts();
    if case.program.code.iter().any(|(pc, _)| is_kernels(facts.target(pc))) {
        return None;
    }
    let vm = Vm::linux().engine(Engine::Interpreter).build();
    let maps = case.program.maps.iter().map(|def| vm.create_map(def));
    let maps: Vec<MapRef> = maps.collect::<Result<_, _>>().ok()?;
    let instance = vm.link_verified(verified, &maps).ok()?;
    for data in data {
        let bytes = data.len();
        let mut context = Context::linux(prog_type, &data).ok()?;
        match instance.run_checked(&mut context, DEFAULT_FUEL) {
            Ok(_) => {}
            Err(trap) if is_absent(&trap.kind) => return None,
            Err(trap) => return Some(Err(format!("{bytes} bytes: {trap}"))),
        }
        // Once more, without checks where the machine leaves them out for verified programs.
        let first = std::mem::replace(&mut context, Context::linux(prog_type, &data).ok()?);
        if let Err(trap) = instance.run(&mut context, DEFAULT_FUEL) {
            return Some(Err(format!("{bytes} bytes, without checks: {trap}")));
        }
        if prog_type == ProgType::Syscall && first.data_out() != context.data_out() {
            return Some(Err("the argument differs without checks".into()));
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
