//! Guards: where they are made, where not, and that programs do the same.

use super::super::Given;
use super::run;
use crate::ir::eval::{Input, Stop, checked_unit_of, run as evaluate};
use crate::ir::{Check, Unit};
use crate::opt::address;
use crate::opt::same::keeps_meaning;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

const GIVEN: Given<'static> = Given { facts: None, has_spare: false };

fn guarded(text: &str) -> (Unit, Unit) {
    let mut before = checked_unit_of(text);
    address::run(&mut before, &GIVEN);
    let mut after = before.clone();
    run(&mut after, &GIVEN);
    (before, after)
}

/// The guards of a program, after the pass.
fn guards(text: &str) -> Vec<String> {
    let (_, after) = guarded(text);
    let all = after.blocks.iter().flat_map(|block| &block.guards);
    all.map(|guard| format!("{} bytes at {}", guard.bytes, guard.at)).collect()
}

/// Runs before and after, on windows of several lengths, and wants a guard.
fn same(text: &str) {
    let (_, after) = guarded(text);
    assert!(after.blocks.iter().any(|block| !block.guards.is_empty()), "{after}");
    same_anyhow(text);
}

fn same_anyhow(text: &str) {
    let (before, after) = guarded(text);
    for bytes in 0..70 {
        let window = (0..bytes).map(|at: u8| at.wrapping_mul(37)).collect();
        let input = Input { window, fuel: 1000, salt: 3 };
        let (expected, got) = (evaluate(&before, &input), evaluate(&after, &input));
        assert_eq!(expected, got, "{bytes} bytes, before:\n{before}\nafter:\n{after}");
        assert!(!matches!(got.result, Err(Stop::Wild(_))));
    }
}

#[test]
fn accesses_of_a_block_have_one_guard() {
    let text = "r0 = *(u8 *)(r1 + 12)\nr3 = *(u8 *)(r1 + 13)\nr0 += r3\nr3 = *(u32 *)(r1 + 26)\n\
        r0 += r3\nexit";
    assert_eq!(guards(text), ["18 bytes at r1 + 12"]);
    same(text);
    assert!(guards("r0 = *(u8 *)(r1 + 12)\nexit").is_empty(), "one access");
    let text = "r0 = *(u8 *)(r1 + 12)\ncall 5\nr0 = *(u8 *)(r1 + 13)\nexit";
    assert!(guards(text).is_empty(), "regions may change");
    let text = "r0 = *(u8 *)(r1 + 12)\nr1 += 4\nr3 = *(u8 *)(r1 + 13)\nr0 += r3\nr4 = r1\nr4 -= 7\nr1 = r0\n\
        r3 = *(u8 *)(r4 + 0)\nr0 += r3\nexit";
    assert_eq!(guards(text), ["21 bytes at r1 - 3"], "moved by numbers");
    same(&format!("r1 += 7\n{text}"));
    let text = "r0 = *(u8 *)(r1 + 12)\nr1 += r2\nr0 = *(u8 *)(r1 + 13)\nexit";
    assert!(guards(text).is_empty(), "another base");
    assert!(guards("r0 = *(u8 *)(r1 + 0)\nr0 = *(u8 *)(r1 + 5000)\nexit").is_empty(), "too far");
}

#[test]
fn blocks_that_follow_have_the_guard_of_the_first() {
    let text = "r0 = *(u8 *)(r1 + 12)\nif r0 == 0 goto out\nr3 = *(u8 *)(r1 + 23)\nr0 += r3\n\
        if r0 & 1 goto more\n*(u16 *)(r1 + 14) = r0\ngoto out\n\
        more: r3 = *(u32 *)(r1 + 26)\nr0 += r3\nr1 += 1\nr3 = *(u8 *)(r1 + 30)\nr0 += r3\n\
        r3 = *(u8 *)(r1 + 31)\nr0 += r3\nout: exit";
    assert_eq!(guards(text), ["21 bytes at r1 + 12"]);
    same(text);
    // After a call, regions may be others; what others reach too is not guarded.
    let calls =
        text.replace("*(u16 *)(r1 + 14) = r0", "r6 = r1\ncall 5\nr1 = r6\n*(u16 *)(r1 + 14) = r0");
    assert_eq!(guards(&calls), ["21 bytes at r1 + 12"]);
    same(&calls);
    let joined = text.replace("out: exit", "out: r0 += 1\nr3 = *(u8 *)(r1 + 13)\nr0 += r3\nexit");
    assert_eq!(guards(&joined), ["21 bytes at r1 + 12"]);
    same(&joined);
    let round = text
        .replace("goto out\n", "r1 += 3\ngoto 0f\n")
        .replace("r0 = *(u8 *)(r1 + 12)", "r0 = 0\n0: r0 = *(u8 *)(r1 + 12)");
    let round = round
        .replace("0f", "begin")
        .replace("0:", "begin:")
        .replace("if r0 == 0 r1 += 3\ngoto begin\n", "if r0 == 0 goto out\n");
    same(&round);
}

#[test]
fn an_index_below_a_bound_has_two_guards_before_the_loop() {
    let text = "r0 = 0\nr3 = 0\nif r2 == 0 goto out\n\
        again: r5 = r1\nr5 += r3\nr5 = *(u8 *)(r5 + 0)\nr0 ^= r5\nr3 += 1\nif r3 < r2 goto again\n\
        out: exit";
    assert_eq!(guards(text), ["1 bytes at r1", "1 bytes at r1 + r2 - 1"]);
    same(text);
    // Any step will do, and a bound that is too far.
    same(&text.replace("r3 += 1", "r3 += r3\nr3 += 7"));
    same(&text.replace("r3 < r2", "r3 < 40"));
    same(&text.replace("r3 = 0", "r3 = 60"));
    same(&text.replace("r0 = 0\n", "r0 = 0\nr2 += 3\n"));
    same(&text.replace("r0 = 0\n", "r0 = 0\nr2 += -3\n"));
}

#[test]
fn pointers_that_go_along_have_two_guards_before_the_loop() {
    let text = "r0 = 0\nif r2 < 2 goto out\nr2 >>= 1\nr3 = 0\n\
        again: r4 = *(u16 *)(r1 + 0)\nr0 += r4\nr1 += 2\nr3 += 1\nif r3 < r2 goto again\n\
        out: exit";
    assert_eq!(guards(text), ["2 bytes at r1", "2 bytes at r1 + 2*r4"]);
    same(text);
    same(&text.replace("r3 < r2", "r3 != r2"));
    same(&text.replace("r3 += 1", "r3 += 2"));
    same(&text.replace("r3 += 1", "r3 += 2").replace("r3 < r2", "r3 != r2"));
    same(&text.replace("r1 += 2", "r1 += -2").replace("r3 = 0", "r3 = 0\nr1 += 40"));
    same(&text.replace("r1 += 2", "r1 += 6"));
    // Down to a number.
    let text = "r0 = 0\nif r2 < 13 goto out\n\
        again: r3 = *(u32 *)(r1 + 8)\nr0 += r3\nr3 = *(u32 *)(r1 + 0)\nr0 ^= r3\nr1 += 12\n\
        r2 += -12\nif r2 > 12 goto again\nout: exit";
    assert_eq!(guards(text), ["12 bytes at r1", "12 bytes at r1 + r3"]);
    same(text);
    same(&text.replace("r2 > 12", "r2 s> 3"));
    same(&text.replace("r2 > 12", "r2 s> -30"));
}

#[test]
fn tables_with_a_small_index_have_one_guard_before_the_loop() {
    let text = "r0 = 0\nr3 = 9\nagain: r5 = r0\nr5 += r3\nr5 &= 31\nr4 = r1\nr4 += r5\nr5 = *(u8 *)(r4 + 1)\n\
        r0 += r5\nr3 -= 1\nif r3 != 0 goto again\nexit";
    assert_eq!(guards(text), ["32 bytes at r1 + 1"]);
    same(text);
    same(&text.replace("r5 &= 31", "r5 &= 7\nr5 <<= 2"));
    same(&text.replace("u8 *", "u64 *").replace("r5 = r0\n", "r5 = 8\n"));
    same(&text.replace("r0 += r5", "r0 += r5\nr1 += 1"));
    // What was written on the way there is what the next round reads.
    same(&text.replace("r5 = *(u8 *)(r4 + 1)", "*(u8 *)(r4 + 1) = r3\nr5 = *(u8 *)(r1 + 0)"));
    let unknown = text.replace("r5 &= 31", "r5 &= -32");
    assert!(guards(&unknown).is_empty());
    same_anyhow(&text.replace("r3 -= 1", "r1 += r5\nr3 -= 1"));
    same_anyhow(&text.replace("r4 = r1", "r4 = r1\nr1 += 3"));
}

#[test]
fn counters_that_go_around_are_left_alone() {
    let text = "r0 = 0\nagain: r3 = *(u8 *)(r1 + 0)\nr0 += r3\nr1 += 1\nr2 += -12\nif r2 > 3 goto again\nexit";
    assert!(guards(text).is_empty(), "below 12 it is far above 3");
    let text = "r0 = 0\nr4 = 3\nagain: r3 = *(u8 *)(r1 + 0)\nr0 += r3\nr1 += 3\nr4 += 3\nif r4 != r2 goto again\nexit";
    assert!(guards(text).is_empty(), "it may step over the bound");
}

#[test]
fn loops_of_several_blocks_have_guards() {
    // The inner loop of a sort.
    let text = "r3 = 0\nr0 = 0\nr5 = *(u8 *)(r1 + 0)\nr4 = r1\nr4 += 1\nr2 -= 1\nif r2 s< 1 goto out\n\
        again: r0 = *(u8 *)(r4 + 0)\nif r5 <= r0 goto next\n*(u8 *)(r4 + 0) = r5\n*(u8 *)(r4 - 1) = r0\n\
        r0 = r5\nnext: r3 += 1\nr4 += 1\nr5 = r0\nif r3 < r2 goto again\nout: exit";
    assert_eq!(guards(text).len(), 2);
    same(text);
    let (_, after) = guarded(text);
    let checks = |block: &crate::ir::Block| {
        block.insts.iter().filter(|inst| matches!(inst.op, crate::ir::Op::Store { check, .. } if check != Check::None)).count()
    };
    assert_eq!(after.blocks.iter().map(checks).sum::<usize>(), 2, "those of the slow loop");
}

/// Loops with all kinds of counters, bounds and addresses.
#[test]
fn loops_do_the_same() {
    let pick = |of: &'static [&'static str]| prop::sample::select(of);
    let numbers = pick(&["0", "1", "2", "3", "7", "8", "12", "30", "64", "-1", "-2", "-8", "-40"]);
    let steps = || pick(&["1", "2", "3", "4", "8", "12", "-1", "-2", "-4", "-12", "0"]);
    let ops = pick(&["<", "!=", ">", "s>", "s<", "<=", ">=", "=="]);
    let access = pick(&[
        "r0 = *(u8 *)(r1 + 4)",
        "r5 = *(u32 *)(r1 - 4)\nr0 += r5",
        "*(u16 *)(r1 + 2) = r0",
        "r5 = r1\nr5 += r3\nr0 = *(u8 *)(r5 + 1)",
        "r5 = r3\nr5 <<= 2\nr5 += r1\n*(u32 *)(r5 + 0) = r3",
        "r5 = r6\nr5 += r3\nr0 = *(u16 *)(r5 + 0)\n*(u8 *)(r6 + 1) = r0",
        "r5 = r10\nr5 += -64\nr5 += r3\n*(u8 *)(r5 + 0) = r0",
        "r5 = r0\nr5 &= 31\nr5 += r1\nr0 = *(u8 *)(r5 + 3)",
        "r5 = r3\nr5 &= 15\nr4 = r1\nr5 <<= 1\nr4 += r5\n*(u16 *)(r4 + 0) = r5",
        "r5 = *(u8 *)(r6 + 0)\nr5 >>= 3\nr5 += r6\nr0 = *(u16 *)(r5 + 0)",
        "r5 = r0\nr5 &= 56\nr4 = r10\nr4 += -64\nr4 += r5\n*(u64 *)(r4 + 0) = r3",
    ]);
    let leave = pick(&["", "if r0 == 77 goto out", "if r3 == 5 goto out", "if r0 & 1 goto next"]);
    let start = (numbers.clone(), numbers.clone(), pick(&["r2", "NUMBER"]), any::<bool>());
    let all = (start, steps(), steps(), ops, (access.clone(), access), leave, any::<bool>());
    let config = Config { failure_persistence: None, ..Config::default() };
    let run = TestRunner::new(config).run(&all, |(start, step, along, op, accesses, leave, late)| {
        let (first, number, bound, is_once) = start;
        let bound = bound.replace("NUMBER", number);
        let steps = format!("r3 += {step}\nr1 += {along}");
        let (early, late) = if late { (steps, String::new()) } else { (String::new(), steps) };
        // The increments, before or after the second access.
        let (one, two) = accesses;
        let enter = if is_once { String::new() } else { format!("if r3 >= {bound} goto out\n") };
        let text = format!(
            "r0 = 1\nr6 = r1\nr6 += 8\nr1 = r6\nr3 = {first}\n{enter}again: {one}\n{leave}\nnext: {early}\n\
             {two}\n{late}\nif r3 {op} {bound} goto again\nout: exit"
        );
        same_anyhow(&text);
        Ok(())
    });
    run.unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn programs_do_the_same() {
    keeps_meaning(&run);
    keeps_meaning(&|unit, given| {
        address::run(unit, given);
        run(unit, given);
    });
}
