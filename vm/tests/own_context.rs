//! Contexts and helpers of an embedder.

use ebpfvm::asm::text::{Dialect, assemble};
use ebpfvm::spec::context::{Access, ContextDef, Field, FieldKind, Sizes};
use ebpfvm::spec::helper::{Arg, Effect, HelperProto, MapUse, Ret};
use ebpfvm::spec::platform::{PacketAccess, ProgTypeDef};
use ebpfvm::spec::{Platform, ProgType, ProgTypeSet, Program};
use ebpfvm::verifier::Options;
use ebpfvm::{Context, ContextError, DEFAULT_FUEL, Helper, Instance, TrapKind, Vm};
use std::sync::Arc;

/// `struct order { u32 customer; u32 rebate; char *name, *name_end; }`: the rebate may be written.
fn order() -> ContextDef {
    let all = ProgTypeSet::of(&[ProgType::Raw]);
    let field = |name: &'static str, offset, bytes, kind, write| Field {
        name: name.into(),
        offset,
        bytes,
        unit: bytes,
        kind,
        read: Access::by(all, if bytes == 8 { Sizes::DWORD } else { Sizes::WORD_PARTS }),
        write,
    };
    ContextDef {
        name: "order".into(),
        bytes: 24,
        fields: vec![
            field("customer", 0, 4, FieldKind::Scalar, Access::NONE),
            field("rebate", 4, 4, FieldKind::Scalar, Access::by(all, Sizes::WORD)),
            field("name", 8, 8, FieldKind::PacketStart, Access::NONE),
            field("name_end", 16, 8, FieldKind::PacketEnd, Access::NONE),
        ]
        .into(),
        translated: true,
    }
}

fn machine(context: ContextDef) -> Vm {
    let mut platform = Platform::empty();
    let mut def = ProgTypeDef::new(ProgType::Raw, Some(context));
    def.packet = PacketAccess::Store;
    platform.add_prog_type(def);
    let proto = HelperProto {
        id: 1,
        name: "rebate_of".into(),
        since: "",
        args: [Arg::Anything, Arg::None, Arg::None, Arg::None, Arg::None],
        ret: Ret::Integer,
        effects: Effect::default(),
        allowed: ProgTypeSet::ALL,
        attach: &[],
        maps: MapUse::ANY,
    };
    let rebate_of = Helper::new(proto, |call| Ok(call.arg(1) % 10));
    Vm::with_platform(platform).helper(rebate_of).build()
}

/// Gives the customer's rebate, and the first letter of the name in upper case.
const TEXT: &str = "
    r6 = r1
    r1 = *(u32 *)(r6 + 0)
    call 1
    *(u32 *)(r6 + 4) = r0
    r2 = *(u64 *)(r6 + 8)
    r3 = *(u64 *)(r6 + 16)
    r0 = 0
    r4 = r2
    r4 += 1
    if r4 > r3 goto out
    r0 = *(u8 *)(r2 + 0)
    r0 &= 0xdf
    *(u8 *)(r2 + 0) = r0
out:
    exit";

fn program() -> Program {
    let code = assemble(TEXT, Dialect::PseudoC).expect("the test's text is a program");
    Program::from_code("rebate", ProgType::Raw, code)
}

fn verified(vm: &Vm) -> Arc<Instance> {
    let accepted = vm.verify(program(), &Options::default()).verdict.expect("accepted");
    let instance = vm.link_verified(accepted, &[]).expect("linked");
    assert!(instance.is_verified());
    instance
}

#[test]
fn an_embedders_context_is_judged_and_runs_without_checks() {
    let vm = machine(order());
    for instance in [verified(&vm), vm.link(program(), &[]).expect("linked")] {
        let mut ctx = vm.context(ProgType::Raw, b"smith").expect("a context");
        ctx.set_field("customer", 1234).expect("a field");
        let outcome = instance.run(&mut ctx, DEFAULT_FUEL).expect("a run");
        assert_eq!(outcome.retval, u64::from(b'S'));
        assert_eq!(ctx.field("rebate"), Ok(4));
        assert_eq!(ctx.data_out(), b"Smith");
        let mut ctx = vm.context(ProgType::Raw, b"").expect("a context");
        assert_eq!(instance.run(&mut ctx, DEFAULT_FUEL).expect("a run").retval, 0);
    }
}

#[test]
fn what_the_context_does_not_allow_is_rejected_and_stopped() {
    let vm = machine(order());
    let code = assemble("*(u32 *)(r1 + 0) = 1\nr0 = 0\nexit", Dialect::PseudoC).unwrap();
    let program = Program::from_code("writes", ProgType::Raw, code);
    assert!(vm.verify(program.clone(), &Options::default()).verdict.is_err());
    let instance = vm.link(program, &[]).expect("linked");
    let mut ctx = vm.context(ProgType::Raw, b"").expect("a context");
    let trap = instance.run(&mut ctx, DEFAULT_FUEL).expect_err("the customer is read-only");
    assert!(matches!(trap.kind, TrapKind::Context { offset: 0, .. }), "{trap}");
}

#[test]
fn a_context_of_another_layout_is_refused() {
    let (vm, mut other) = (machine(order()), order());
    other.fields.to_mut()[1].offset = 0;
    other.fields.to_mut()[0].offset = 4;
    other.fields.to_mut().swap(0, 1);
    let instance = verified(&vm);
    let mut contexts = [
        machine(other).context(ProgType::Raw, b"x").expect("a context"),
        Context::raw(*b"plain memory, not an order"),
    ];
    for ctx in &mut contexts {
        let trap = instance.run(ctx, DEFAULT_FUEL).expect_err("not the layout that was judged");
        assert!(matches!(trap.kind, TrapKind::Unsupported(_)), "{trap}");
    }
    // The same layout made anew is the same.
    let mut same = machine(order()).context(ProgType::Raw, b"x").expect("a context");
    instance.run(&mut same, DEFAULT_FUEL).expect("a run");
}

#[test]
fn types_that_the_machine_does_not_have_are_named() {
    let refused = machine(order()).context(ProgType::Xdp, &[0; 64]).expect_err("no XDP here");
    assert_eq!(refused, ContextError::NoContext("xdp"));
}
