//! Random abstract values of 8 and of 4 bits, all of whose numbers are tried.

use super::bits::{self, Bits};
use super::sample::{Random, members};
use crate::domain::{
    Branch, Int, Scalar, Word, alu, branch_taken, fork_sign, linked, neg, pointer_add, pointer_sub,
    refine, refine_same,
};
use ebpfvm_asm::{AluOp, JmpOp, Width};

/// Asserts that a result has no contradiction and all of `numbers`.
fn assert_contains<const N: u32>(
    result: &Scalar<Bits<N>>,
    numbers: impl IntoIterator<Item = Bits<N>>,
    what: impl Fn() -> String,
) where
    Bits<N>: Word,
{
    assert_eq!(result.contradiction(), None, "{}", what());
    for x in numbers {
        assert!(result.contains(x), "{} without {x:?}: {result:?}", what());
    }
}

fn arithmetic<const N: u32>(pairs: u64)
where
    Bits<N>: Word,
{
    let mut random = Random::new(N.into());
    for op in AluOp::ALL {
        for width in Width::ALL {
            for _ in 0..pairs {
                let (a, xs) = random.scalar();
                let (mut b, mut ys) = random.scalar();
                if matches!(op, AluOp::Lsh | AluOp::Rsh | AluOp::Arsh) && random.below(8) > 0 {
                    let count = Bits(random.below(N.into()) as u8);
                    (b, ys) = (Scalar::constant(count), vec![count]);
                }
                let result = alu(width, op, a, b);
                let numbers =
                    xs.iter().flat_map(|x| ys.iter().map(move |y| bits::alu(width, op, *x, *y)));
                assert_contains(&result, numbers, || format!("{width:?} {op:?} {a:?} {b:?}"));
            }
        }
    }
    for _ in 0..pairs {
        let (a, xs) = random.scalar::<N>();
        let (b, ys) = random.scalar::<N>();
        for delta in Bits::all() {
            let numbers = xs.iter().map(|x| x.wrapping_add(delta));
            assert_contains(&linked(Width::W64, a, delta), numbers, || {
                format!("{a:?} linked by {delta:?}")
            });
        }
        let pointers = [(AluOp::Add, pointer_add(a, b)), (AluOp::Sub, pointer_sub(a, b))];
        for (op, mut result) in pointers {
            result.sync();
            let numbers =
                xs.iter().flat_map(|x| ys.iter().map(move |y| bits::alu(Width::W64, op, *x, *y)));
            assert_contains(&result, numbers, || format!("pointer {op:?} {a:?} {b:?}"));
        }
    }
    for width in Width::ALL {
        for _ in 0..pairs {
            let (a, xs) = random.scalar::<N>();
            let numbers = xs.iter().map(|x| bits::alu(width, AluOp::Sub, Bits::ZERO, *x));
            assert_contains(&neg(width, a), numbers, || format!("{width:?} neg {a:?}"));
        }
    }
}

#[test]
fn arithmetic_contains_all_results() {
    arithmetic::<8>(200);
    arithmetic::<4>(3000);
}

fn extensions<const N: u32>(values: u64)
where
    Bits<N>: Word,
{
    let mut random = Random::new(1);
    for _ in 0..values {
        let (a, xs) = random.scalar::<N>();
        for bits in 1..N {
            let keep = |x: &Bits<N>| Bits(x.0 & (0xff >> (8 - bits)));
            let zero = a.zero_extend(bits);
            assert_contains(&zero, xs.iter().map(keep), || format!("zero {bits} {a:?}"));
            let sign = |x: &Bits<N>| {
                let value = ((x.0 << (8 - bits)) as i8) >> (8 - bits);
                Bits::<N>::truncate(value as u64)
            };
            if bits <= N / 2 {
                let full = a.sign_extend(bits);
                assert_contains(&full, xs.iter().map(sign), || format!("sign {bits} {a:?}"));
            }
            if bits < N / 2 {
                let half = a.sign_extend_half(bits);
                let numbers = xs.iter().map(|x| Bits(sign(x).0 & Bits::<N>::MAX.0 >> (N / 2)));
                assert_contains(&half, numbers, || format!("sign half {bits} {a:?}"));
            }
        }
        let low = xs.iter().map(|x| Bits(x.0 & (0xff >> (8 - N / 2))));
        assert_contains(&a.zero_extend_half(), low, || format!("half {a:?}"));
    }
}

#[test]
fn extensions_contain_all_results() {
    extensions::<8>(5000);
    extensions::<4>(5000);
}

fn comparisons<const N: u32>(pairs: u64)
where
    Bits<N>: Word,
{
    let mut random = Random::new(2);
    for op in JmpOp::ALL {
        for width in Width::ALL {
            for _ in 0..pairs {
                let (a, xs) = random.scalar::<N>();
                let (b, ys) = random.scalar::<N>();
                let what = || format!("{width:?} {op:?} {a:?} {b:?}");
                let holds = |x: &Bits<N>, y: &Bits<N>| bits::jump(width, op, *x, *y);
                let known = branch_taken(width, op, &a, &b);
                for taken in [true, false] {
                    let refined = refine(width, op, taken, a, b);
                    let mut met = false;
                    for x in &xs {
                        for y in ys.iter().filter(|y| holds(x, y) == taken) {
                            met = true;
                            assert!(refined.dst.contains(*x), "{} loses {x:?}", what());
                            assert!(refined.src.contains(*y), "{} loses {y:?}", what());
                        }
                    }
                    let impossible = if taken { Branch::Never } else { Branch::Always };
                    assert!(!met || known != impossible, "{} is {known:?}", what());
                    assert!(!met || !refined.is_empty(), "{} is not empty", what());
                    let same = refine_same(width, op, taken, a);
                    for x in xs.iter().filter(|x| holds(x, x) == taken) {
                        assert!(same.dst.contains(*x), "{} loses {x:?}", what());
                        assert!(!same.is_empty(), "{} is not empty", what());
                    }
                }
            }
        }
    }
}

#[test]
fn comparisons_keep_all_pairs() {
    comparisons::<8>(200);
    comparisons::<4>(3000);
}

/// Between two constants everything is known, and of a constant and an interval what is outside.
#[test]
fn comparisons_of_constants_are_known() {
    for op in JmpOp::ALL {
        for width in Width::ALL {
            for x in Bits::<4>::all() {
                for y in Bits::all() {
                    let (a, b) = (Scalar::constant(x), Scalar::constant(y));
                    let expected = match bits::jump(width, op, x, y) {
                        true => Branch::Always,
                        false => Branch::Never,
                    };
                    assert_eq!(branch_taken(width, op, &a, &b), expected);
                }
            }
        }
    }
}

fn synchronisation<const N: u32>(values: u64)
where
    Bits<N>: Word,
{
    let mut random = Random::new(3);
    let (mut narrower, mut empty) = (0, 0);
    for _ in 0..values {
        let before = random.parts::<Bits<N>>();
        let mut after = before;
        after.sync();
        let numbers = members(&before);
        for x in &numbers {
            assert!(after.contains(*x), "{before:?} loses {x:?}: {after:?}");
        }
        // Bits and halves learn only, and contradictions are told only of nothing.
        if !numbers.is_empty() {
            assert!(after.tnum.is_subset(before.tnum), "{before:?} {after:?}");
            assert!(after.half.is_subset(&before.half), "{before:?} {after:?}");
            assert_eq!(after.contradiction(), None, "{before:?} {after:?}");
        }
        narrower += u64::from(after != before);
        empty += u64::from(after.contradiction().is_some());
    }
    assert!(narrower > values / 3 && empty > values / 50, "{narrower} {empty} of {values}");
}

#[test]
fn synchronisation_loses_no_number() {
    synchronisation::<8>(50_000);
    synchronisation::<4>(50_000);
}

#[test]
fn subsets_have_no_more_numbers() {
    let mut random = Random::new(4);
    let mut subsets = 0;
    for _ in 0..300_000 {
        let (a, xs) = random.scalar::<4>();
        let (b, _) = random.scalar::<4>();
        assert!(a.is_subset(&a) && a.is_subset(&Scalar::TOP));
        if a.is_subset(&b) {
            subsets += 1;
            assert!(xs.iter().all(|x| b.contains(*x)), "{a:?} {b:?}");
        }
    }
    assert!(subsets > 3000, "{subsets}");
}

#[test]
fn a_fork_covers_the_value() {
    let mut random = Random::new(5);
    let mut forks = 0;
    for _ in 0..100_000 {
        let (a, xs) = random.scalar::<4>();
        let (b, _) = random.scalar::<4>();
        for op in AluOp::ALL {
            let Some((ones, zero)) = fork_sign(op, a, b) else { continue };
            forks += 1;
            for x in &xs {
                assert!(ones.contains(*x) || zero.contains(*x), "{a:?} loses {x:?}");
            }
        }
    }
    assert!(forks > 100, "{forks}");
}
