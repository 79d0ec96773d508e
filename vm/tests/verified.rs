//! Programs that the verifier accepted: they run without checks and do the same.

use ebpfvm::asm::text::{Dialect, assemble};
use ebpfvm::spec::attach::{AttachType, AttachTypeSet};
use ebpfvm::spec::helper::{AttachRule, HelperProto};
use ebpfvm::spec::map::{MapDef, MapType};
use ebpfvm::spec::{Platform, ProgType, ProgTypeSet, Program};
use ebpfvm::verifier::Options;
use ebpfvm::{Context, DEFAULT_FUEL, Helper, Instance, LinkErrorKind, MapRef, Vm};
use std::sync::Arc;

fn program(text: &str, prog_type: ProgType) -> Program {
    let code = assemble(text, Dialect::PseudoC).expect("the test's text is a program");
    Program::from_code("test", prog_type, code)
}

fn verified(vm: &Vm, program: Program, options: &Options, maps: &[MapRef]) -> Arc<Instance> {
    let accepted = vm.verify(program, options).verdict.expect("the verifier accepts it");
    let instance = vm.link_verified(accepted, maps).expect("it can be linked");
    assert!(instance.is_verified());
    instance
}

/// Both ways of running give the same, on contexts made alike.
fn both(instance: &Instance, context: impl Fn() -> Context) -> u64 {
    let (mut first, mut second) = (context(), context());
    let fast = instance.run(&mut first, DEFAULT_FUEL).expect("it runs");
    let checked = instance.run_checked(&mut second, DEFAULT_FUEL).expect("it runs with checks");
    assert_eq!(fast, checked);
    assert_eq!(first.data_out(), second.data_out());
    assert_eq!(first.fields(), second.fields());
    fast.retval
}

#[test]
fn fields_of_contexts_are_where_the_program_looks() {
    // Every size, an array, a pointer, and stores.
    let text = "r6 = r1\nr0 = *(u32 *)(r6 + 0)\nr2 = *(u8 *)(r6 + 16)\nr0 += r2\n\
                *(u32 *)(r6 + 8) = 7\n*(u32 *)(r6 + 52) = r0\nr3 = *(u64 *)(r6 + 48)\nr3 >>= 32\n\
                r0 += r3\nr4 = *(u32 *)(r6 + 76)\nr5 = *(u32 *)(r6 + 80)\nr1 = r4\nr1 += 14\n\
                if r1 > r5 goto out\nr1 = *(u16 *)(r4 + 12)\nr0 += r1\n*(u8 *)(r4 + 0) = 9\n\
                out: exit";
    let vm = Vm::linux().build();
    let instance = verified(&vm, program(text, ProgType::SchedCls), &Options::default(), &[]);
    let packet = [0x11u8; 64];
    both(&instance, || Context::packet(ProgType::SchedCls, &packet).expect("a packet"));
}

#[test]
fn a_loop_over_memory_of_known_length_is_accepted_for_that_length_alone() {
    // The sum of all bytes.
    let text = "r0 = 0\nr4 = 0\nif r4 == r2 goto out\nagain: r3 = *(u8 *)(r1 + 0)\nr0 += r3\n\
                r1 += 1\nr4 += 1\nif r4 != r2 goto again\nout: exit";
    let vm = Vm::linux().build();
    let least = Options { memory_bytes: 16, ..Options::default() };
    assert!(vm.verify(program(text, ProgType::Raw), &least).verdict.is_err());
    let exact = Options { memory_is_exact: true, ..least };
    let instance = verified(&vm, program(text, ProgType::Raw), &exact, &[]);
    // Shorter and longer memory is read with checks.
    for bytes in [16, 15, 17] {
        assert_eq!(both(&instance, || Context::raw(vec![1u8; bytes])), bytes as u64);
    }
}

#[test]
fn plain_memory_may_be_used_as_far_as_it_was_promised() {
    let text = "r0 = *(u64 *)(r1 + 8)\n*(u32 *)(r1 + 4) = 5\nexit";
    let vm = Vm::linux().build();
    let refused = vm.verify(program(text, ProgType::Raw), &Options::default()).verdict;
    assert!(refused.is_err(), "nothing is known of the memory");
    let options = Options { memory_bytes: 16, ..Options::default() };
    let instance = verified(&vm, program(text, ProgType::Raw), &options, &[]);
    assert_eq!(both(&instance, || Context::raw([1u8; 16])), 0x0101_0101_0101_0101);
    // With less memory every access is checked.
    let mut short = Context::raw([1u8; 15]);
    assert!(instance.run(&mut short, DEFAULT_FUEL).is_err());
}

#[test]
fn without_memory_the_address_is_null() {
    let text = "r0 = 1\nif r1 == 0 goto out\nr0 = 2\nout: exit";
    let vm = Vm::linux().build();
    let instance = verified(&vm, program(text, ProgType::Raw), &Options::default(), &[]);
    assert_eq!(both(&instance, || Context::raw([])), 1);
    assert_eq!(both(&instance, || Context::raw([0u8; 4])), 2);
}

#[test]
fn the_maps_are_those_of_the_verdict() {
    let text = "r1 = map[idx:0]\n*(u32 *)(r10 - 4) = 0\nr2 = r10\nr2 += -4\ncall 1\n\
                if r0 == 0 goto out\n*(u64 *)(r0 + 8) = 3\nr0 = *(u64 *)(r0 + 8)\nout: exit";
    let vm = Vm::linux().build();
    let def = |value_bytes| MapDef::new("values", MapType::Array, 4, value_bytes, 1);
    let with_map = || Program { maps: [def(16)].into(), ..program(text, ProgType::SocketFilter) };
    let map = vm.create_map(&def(16)).expect("a map");
    let instance = verified(&vm, with_map(), &Options::default(), &[map]);
    assert_eq!(
        both(&instance, || Context::packet(ProgType::SocketFilter, &[0; 64]).expect("a packet")),
        3
    );

    let accepted = vm.verify(with_map(), &Options::default()).verdict.expect("accepted");
    let smaller = vm.create_map(&def(8)).expect("a map");
    let error = vm.link_verified(accepted, &[smaller]).expect_err("another map");
    assert_eq!(error.kind, LinkErrorKind::OtherMap { map: "values".into() });
}

#[test]
fn a_verdict_is_about_a_number_of_cpus() {
    let text = "r0 = 0\nexit";
    let options = Options { cpus: Some(2), ..Options::default() };
    let judge = |vm: &Vm| {
        let judgement = vm.verify(program(text, ProgType::SocketFilter), &options);
        vm.link_verified(judgement.verdict.expect("accepted"), &[])
    };
    assert!(judge(&Vm::linux().cpus(2).build()).is_ok());
    let error = judge(&Vm::linux().cpus(3).build()).expect_err("too many CPUs");
    assert_eq!(error.kind, LinkErrorKind::TooManyCpus { cpus: 3, assumed: 2 });
}

#[test]
fn dead_code_is_not_there() {
    // The second way would store through a number.
    let text = "r0 = 1\nif r0 == 1 goto out\n*(u64 *)(r0 + 0) = 0\nout: exit";
    let vm = Vm::linux().build();
    let instance = verified(&vm, program(text, ProgType::SocketFilter), &Options::default(), &[]);
    assert_eq!(
        both(&instance, || Context::packet(ProgType::SocketFilter, &[0; 64]).expect("a packet")),
        1
    );
}

#[test]
fn a_helper_that_the_verdict_is_not_about_keeps_the_checks() {
    // For one attach type the embedder's helper takes nothing; for the others the platform still has
    // Linux's, which was judged.
    const ONLY: &[AttachRule] = &[AttachRule {
        prog_types: ProgTypeSet::of(&[ProgType::SocketFilter]),
        attach: AttachTypeSet::of(&[AttachType(1)]),
    }];
    let text = "call 5\nexit";
    let proto = Platform::linux().helper(5).expect("ktime_get_ns").clone();
    let own = HelperProto { attach: ONLY, since: "", ..proto };
    let vm = Vm::linux().helper(Helper::new(own, |_| Ok(7))).build();
    let judgement = vm.verify(program(text, ProgType::SocketFilter), &Options::default());
    if let Ok(accepted) = judgement.verdict {
        let instance = vm.link_verified(accepted, &[]).expect("it can be linked");
        assert!(!instance.is_verified());
    }
    // Its own prototype is one that verdicts are about.
    let own =
        HelperProto { since: "", ..Platform::linux().helper(5).expect("ktime_get_ns").clone() };
    let vm = Vm::linux().helper(Helper::new(own, |_| Ok(7))).build();
    let instance = verified(&vm, program(text, ProgType::SocketFilter), &Options::default(), &[]);
    let context = || Context::packet(ProgType::SocketFilter, &[0; 64]).expect("a packet");
    assert_eq!(both(&instance, context), 7);
}
