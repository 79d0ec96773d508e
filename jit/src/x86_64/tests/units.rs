//! Random programs give the same as machine code and as what their operations mean.

use super::feature_sets;
use crate::features::Features;
use crate::ir::Unit;
use crate::ir::eval::{self, Input, Stop, checked_unit_of, unit_of};
use crate::native::{Mode, Native};
use crate::opt::same::{inputs, random_units};
use crate::opt::{self, Passes};

/// Compares the code of a unit, with and without fuel, on processors with and without features.
fn compare(unit: &Unit, inputs: &[Input], passes: Passes, given: &opt::Given<'_>) {
    for (features, is_metered) in feature_sets().into_iter().flat_map(|f| [(f, false), (f, true)]) {
        if is_metered && given.has_spare && passes != Passes::NONE {
            continue;
        }
        let mut changed = unit.clone();
        opt::run(&mut changed, given, passes);
        let is_blinded = is_metered == (features == Features::NONE);
        let mode = Mode { features, is_metered, is_blinded };
        let mut native = Native::new(&changed, mode);
        for input in inputs {
            let expected = eval::run(unit, input);
            let is_possible = match expected.result {
                Err(Stop::Wild(_)) => false,
                Err(Stop::CallDepth(_)) => unit.is_checked,
                Err(Stop::OutOfFuel) => is_metered,
                _ => true,
            };
            if !is_possible {
                continue;
            }
            let mut got = native.run(input);
            if !is_metered {
                got.fuel = expected.fuel;
            }
            assert!(
                got == expected,
                "{unit}\n{changed}\n{mode:?} {input:?}\nexpected {expected:?}\ngot {got:?}"
            );
        }
    }
}

#[test]
fn random_programs() {
    random_units(&|unit, given| compare(unit, &inputs(), Passes::NONE, given));
}

#[test]
fn random_programs_after_all_passes() {
    random_units(&|unit, given| compare(unit, &inputs(), Passes::ALL, given));
}

/// Compares a program with checks; and without them, unless it depends on what is not defined then.
fn both(text: &str) {
    let given = opt::Given { facts: None, has_spare: true };
    let window: Vec<u8> = (0..64).map(|byte: u8| byte.wrapping_mul(5) ^ 0x91).collect();
    let inputs = [10_000, 50, 3].map(|fuel| Input { window: window.clone(), fuel, salt: 1 });
    compare(&checked_unit_of(text), &inputs, Passes::NONE, &given);
    let unchecked = unit_of(text);
    let depends = |input: &Input| {
        let other = Input { salt: input.salt + 1, ..input.clone() };
        eval::run(&unchecked, input) != eval::run(&unchecked, &other)
    };
    if !inputs.iter().any(depends) {
        compare(&unchecked, &inputs, Passes::NONE, &given);
    }
}

/// What an operation leaves in the flags is taken only for comparisons that it answers.
#[test]
fn comparisons_of_results_with_zero() {
    let given = opt::Given { facts: None, has_spare: true };
    let values = [0, 1, 2, u64::MAX, 1 << 31, 1 << 32, 1 << 63, 0xffff_ffff, i64::MAX as u64];
    let input = |a: u64, b: u64| Input {
        window: [a.to_ne_bytes(), b.to_ne_bytes()].concat(),
        fuel: 100,
        salt: 1,
    };
    let inputs: Vec<Input> = values.iter().flat_map(|a| values.map(|b| input(*a, b))).collect();
    for op in ["+", "-", "&", "|", "^", "*", "<<", ">>", "s>>"] {
        for operand in ["3", "1", "31", "-1", "0x7fffffff"] {
            for (result, compared) in [("w", "w"), ("w", "r"), ("r", "w"), ("r", "r")] {
                let operand = if operand == "3" { format!("{result}3") } else { operand.into() };
                let conds = ["==", "!=", "<", ">=", "<=", ">", "s<", "s>=", "s<=", "s>", "&"];
                for cond in conds {
                    let text = format!(
                        "r0 = *(u64 *)(r1 + 0)\nr3 = *(u64 *)(r1 + 8)\n{result}0 {op}= {operand}\n\
                         if {compared}0 {cond} 0 goto out\nr0 ^= 0x1234\nout: exit"
                    );
                    compare(&unit_of(&text), &inputs, Passes::NONE, &given);
                }
            }
        }
    }
}

#[test]
fn accesses_at_the_edges_of_regions() {
    for at in [-9, -8, -1, 0, 1, 55, 56, 57, 60, 62, 63, 64, 65, i16::MAX, i16::MIN] {
        for size in ["u8", "u16", "u32", "u64"] {
            both(&format!("r0 = *({size} *)(r1 + {at})\nexit"));
            both(&format!("r0 = 1\n*({size} *)(r1 + {at}) = 7\nexit"));
            both(&format!("r6 = r10\nr6 += {at}\nr0 = *({size} *)(r6 - 64)\nexit"));
            both(&format!("r6 = r10\nr6 += {at}\n*({size} *)(r6 - 64) = 1\nr0 = 2\nexit"));
        }
    }
    both("r1 = -1\nr0 = *(u64 *)(r1 + 0)\nexit");
    both("r1 = 0x100000 ll\nr1 -= 4\nr0 = *(u64 *)(r1 + 0)\nexit");
    // The same region twice: the second time it is the one found last.
    both("r1 = 0x200000 ll\nr0 = *(u8 *)(r1 + 0)\nr2 = *(u64 *)(r1 + 56)\nr0 += r2\nexit");
    both("r1 = 0x200000 ll\nr0 = *(u8 *)(r1 + 0)\n*(u8 *)(r1 + 0) = 1\nexit");
    both("r1 = 0x200000 ll\nr0 = *(u8 *)(r1 + 0)\nr2 = *(u64 *)(r1 + 57)\nr0 += r2\nexit");
}

#[test]
fn calls_of_functions() {
    both(
        "r6 = 1\nr7 = 2\nr1 = 5\ncall f\nr0 += r6\nr0 += r7\nexit\nf: r6 = 100\nr7 = r1\nr0 = r7\nexit",
    );
    both("f: call f\nexit");
    both(
        "r6 += 1\nr1 = r6\ncall g\nexit\ng: r0 = r1\nr1 -= 1\nif r1 s< -5 goto out\ncall g\nout: exit",
    );
    // A frame that is left cannot be reached, and one of a caller can.
    both(
        "call f\nr0 = *(u64 *)(r0 - 8)\nexit\nf: r0 = r10\n*(u64 *)(r10 - 8) = 3\nr1 = *(u64 *)(r0 - 8)\nexit",
    );
    both("*(u64 *)(r10 - 8) = 9\nr1 = r10\ncall f\nexit\nf: r0 = *(u64 *)(r1 - 8)\nexit");
    both("r1 = 3\ncall f\nr0 += r1\nexit\nf: r1 = 8\nr0 = r6\nexit");
    // Control runs from one function into another, and over the end.
    both(
        "r6 = 3\ncall f\nr0 += r6\nexit\nf: r6 = 9\nr0 = 2\nif r6 == 9 goto g\nexit\ng: r0 += 4\nexit\nr1 = 2\ncall g",
    );
    both("r0 = 0\nif r1 == 0 goto out\nr0 = 7\nout: r0 += 1");
}

#[test]
fn calls_of_the_machine() {
    both("r3 = r10\nr3 += -8\nr2 = 9\ncall 7\nr0 += r2\nr0 += r1\nexit");
    both("r6 = 4\nr2 = r6\nr3 = 1\ncall 12\nr0 += r6\nexit");
    both("r6 = 7\ncallx r6\nr0 += r6\nexit");
    both("r2 = 7\ncallx r2\nr0 += r2\nexit");
    both("r2 = 3\ncall 5\nr0 += r2\nexit");
    both("call f\nr0 += 1\nexit\nf: r2 = 1\nr7 = 8\ncall 12\nr0 += r7\nexit");
}

#[test]
fn packet_loads() {
    for text in
        ["r0 = *(u16 *)skb[4]\nr0 += 1\nexit", "r7 = 3\nr0 = *(u32 *)skb[r7 + 58]\nr0 += 1\nexit"]
    {
        both(text);
    }
    both("r0 = *(u8 *)skb[64]\nr0 += 1\nexit");
    both("r3 = -1\nr0 = *(u32 *)skb[r3 + 2]\nr0 += r3\nexit");
}

#[test]
fn rounds_and_fuel() {
    both("r0 = 7\nagain: may_goto out\nr0 += 1\ngoto again\nout: exit");
    both("again: may_goto out\nr6 += 1\nif r6 > 20 goto out\ngoto again\nout: r0 = r6\nexit");
    both("r0 = 0\nr1 = 20\nagain: r0 += r1\nr1 -= 1\nif r1 != 0 goto again\nexit");
    both("again: goto again");
}

/// Jumps whose short form reaches just so far or just not, and long ones, forwards and backwards.
#[test]
fn jumps_near_and_far() {
    for distance in [0, 20, 25, 28, 29, 30, 31, 32, 33, 35, 40, 45, 100, 10_000] {
        let filler = "r0 += r6\n".repeat(distance);
        let back = "r0 ^= 3\n".repeat(distance);
        let jumps = format!(
            "r0 = 1\nr6 = 2\nr7 = 0\nagain: r7 += 1\nif r1 == 0 goto out\n{filler}\
             if r7 == 2 goto out\n{back}goto again\n{filler}out: r0 += r7\nexit"
        );
        let window = vec![0; 64];
        let given = opt::Given { facts: None, has_spare: true };
        let inputs = [Input { window, fuel: 10_000_000, salt: 1 }];
        compare(&checked_unit_of(&jumps), &inputs, Passes::NONE, &given);
    }
}
