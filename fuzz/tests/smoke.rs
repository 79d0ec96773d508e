//! Every target holds for some seeds, and every generator makes what it is for.

use ebpfvm_asm::table::{Imm64Kind, Op, Row, TABLE};
use ebpfvm_fuzz::{Target, coverage, draw, seeds};
use ebpfvm_kernel::report_skip;
use std::collections::{BTreeMap, HashSet};

/// Runs a target on the first seeds; gives how often it saw what.
fn smoke(target: Target, runs: u64) -> BTreeMap<&'static str, u64> {
    let mut seen = BTreeMap::new();
    if let Some(why) = target.unavailable() {
        report_skip(target.name(), why);
        return seen;
    }
    for seed in 0..runs {
        let bytes = draw::bytes(seed);
        match target.check(&bytes) {
            Ok(what) => *seen.entry(what).or_default() += 1,
            Err(e) => panic!("{} seed {seed}: {e}\n{}", target.name(), target.explain(&bytes, &e)),
        }
    }
    seen
}

/// At least so many in a hundred.
#[track_caller]
fn share(seen: &BTreeMap<&str, u64>, what: &str, percent: u64) {
    let all: u64 = seen.values().sum();
    let part = seen.get(what).copied().unwrap_or_default();
    assert!(all == 0 || part * 100 >= all * percent, "{what}: {seen:?}");
}

#[test]
fn interpreter_on_programs() {
    let seen = smoke(Target::Programs, 10_000);
    share(&seen, "returned", 90);
    assert!(seen.contains_key("trapped"), "{seen:?}");
}

#[test]
fn interpreter_on_anything() {
    let seen = smoke(Target::Wild, 10_000);
    share(&seen, "returned", 20);
    share(&seen, "trapped", 20);
    share(&seen, "refused", 5);
}

#[test]
fn kernel() {
    share(&smoke(Target::Kernel, 60), "returned", 80);
}

#[test]
fn verdicts() {
    let seen = smoke(Target::Verdicts, 300);
    share(&seen, "accepted", 10);
    share(&seen, "refused", 30);
}

#[test]
fn runs() {
    let seen = smoke(Target::Runs, 300);
    share(&seen, "ran", 30);
}

#[test]
fn encoding() {
    share(&smoke(Target::Encoding, 10_000), "decoded", 50);
    smoke(Target::RawEncoding, 10_000);
}

#[test]
fn printing() {
    smoke(Target::Print, 1000);
}

#[test]
fn text() {
    assert!(seeds::texts().len() > 500, "the vectors are missing");
    share(&smoke(Target::Text, 3000), "assembled", 10);
    smoke(Target::RawText, 300);
}

#[test]
fn objects() {
    assert!(seeds::objects().len() > 20, "the objects are missing");
    share(&smoke(Target::Object, 1000), "parsed", 20);
    smoke(Target::RawObject, 1000);
}

#[test]
fn linking() {
    share(&smoke(Target::Link, 1000), "linked", 5);
}

#[test]
fn types() {
    assert!(seeds::types().len() > 20, "the types are missing");
    share(&smoke(Target::Btf, 500), "parsed", 20);
    smoke(Target::RawBtf, 1000);
}

/// The operations that a target's programs have.
fn operations(target: Target, runs: u64) -> HashSet<Op> {
    let cases = (0..runs).filter_map(|seed| target.case(&draw::bytes(seed)));
    cases.flat_map(|case| case.code.iter().map(|(_, insn)| insn.op()).collect::<Vec<_>>()).collect()
}

#[test]
fn programs_have_every_operation() {
    // Without helpers, maps and arenas, and without a word of what lies behind them.
    let sensible = |row: &Row| match row.op {
        Op::LoadImm(kind) => kind == Imm64Kind::Value,
        Op::CallHelper | Op::CallKfunc | Op::CallReg | Op::AddrSpaceCast => false,
        _ => true,
    };
    let (programs, wild) = (operations(Target::Programs, 3000), operations(Target::Wild, 3000));
    for row in TABLE {
        assert!(!sensible(row) || programs.contains(&row.op), "no program has {:?}", row.op);
        assert!(wild.contains(&row.op), "no wild program has {:?}", row.op);
    }
}

#[test]
fn compiled_code() {
    let seen = smoke(Target::Jit, 3000);
    share(&seen, "returned", 70);
    assert!(seen.contains_key("trapped"), "{seen:?}");
}

#[test]
fn every_pass_finds_something_to_do() {
    let cases = (0..2000).filter_map(|seed| Target::Jit.case(&draw::bytes(seed)));
    let cases = cases.map(|case| {
        let accepted = coverage::accepted(&case);
        (case, accepted)
    });
    let changes = coverage::passes(cases);
    eprintln!("programs that each pass changes, with checks and without: {changes:?}");
    for (pass, [checked, verified]) in changes {
        assert!(checked + verified >= 10, "{pass} changed {checked} and {verified} programs");
    }
}
