//! Known bits: all of four bits against all, and single ones of eight.

use super::bits::Bits;
use crate::domain::{Int, Tnum};

fn all<const N: u32>() -> Vec<Tnum<Bits<N>>> {
    let masks = Bits::<N>::all();
    masks
        .flat_map(|mask| {
            Bits::all().filter(move |v| *v & mask == Bits(0)).map(move |v| Tnum::new(v, mask))
        })
        .collect()
}

fn members<const N: u32>(t: Tnum<Bits<N>>) -> Vec<Bits<N>> {
    Bits::all().filter(|x| t.contains(*x)).collect()
}

/// The best abstraction of some numbers.
fn best<const N: u32>(of: impl IntoIterator<Item = Bits<N>>) -> Option<Tnum<Bits<N>>> {
    of.into_iter().map(Tnum::constant).reduce(Tnum::join)
}

#[test]
fn all_tnums_are_there() {
    assert_eq!(all::<4>().len(), 81);
    assert_eq!(all::<8>().len(), 6561);
}

#[test]
fn binary_operations_contain_all_results() {
    type Binary = (fn(Tnum<Bits<4>>, Tnum<Bits<4>>) -> Tnum<Bits<4>>, fn(u8, u8) -> u8, bool);
    // The operation, its meaning, and whether no other result would tell more.
    let operations: [Binary; 6] = [
        (Tnum::add, u8::wrapping_add, true),
        (Tnum::sub, u8::wrapping_sub, true),
        (Tnum::mul, u8::wrapping_mul, false),
        (Tnum::and, |x, y| x & y, true),
        (Tnum::or, |x, y| x | y, true),
        (Tnum::xor, |x, y| x ^ y, true),
    ];
    let all = all::<4>();
    for (i, (abstractly, concretely, exact)) in operations.iter().enumerate() {
        for a in &all {
            for b in &all {
                let (xs, ys) = (members(*a), members(*b));
                let results = xs
                    .iter()
                    .flat_map(|x| ys.iter().map(|y| Bits::truncate(concretely(x.0, y.0).into())));
                let best = best(results).expect("tnums have numbers");
                let got = abstractly(*a, *b);
                assert!(best.is_subset(got), "{i}: {a:?} {b:?} {got:?}, not {best:?}");
                assert!(!exact || best == got, "{i}: {a:?} {b:?} {got:?}, best {best:?}");
            }
        }
    }
}

#[test]
fn order_is_that_of_the_sets() {
    let all = all::<4>();
    for a in &all {
        for b in &all {
            let (xs, ys) = (members(*a), members(*b));
            let common: Vec<_> = xs.iter().copied().filter(|x| ys.contains(x)).collect();
            assert_eq!(a.is_subset(*b), common == xs, "{a:?} {b:?}");
            assert_eq!(a.overlaps(*b), !common.is_empty(), "{a:?} {b:?}");
            if !common.is_empty() {
                assert_eq!(members(a.meet(*b)), common, "{a:?} {b:?}");
            }
            assert_eq!(best(xs.into_iter().chain(ys)), Some(a.join(*b)));
        }
    }
}

#[test]
fn shifts_and_extensions_are_exact() {
    for t in all::<8>() {
        let xs = members(t);
        let of = |f: &dyn Fn(Bits<8>) -> Bits<8>| best(xs.iter().map(|x| f(*x))).unwrap();
        for count in 0..8 {
            assert_eq!(t.lsh(count), of(&|x| x << count));
            assert_eq!(t.rsh(count), of(&|x| x >> count));
            assert_eq!(t.arsh(count), of(&|x| x.arithmetic_shr(count)));
            assert_eq!(t.zero_extend(count + 1), of(&|x| Bits(x.0 & (0xff >> (7 - count)))));
        }
        for size in [0, 1, 2, 4, 8] {
            let aligned = xs.iter().all(|x| size == 0 || x.0 % size == 0);
            assert_eq!(t.is_aligned(Bits(size)), aligned, "{t:?} {size}");
        }
        assert_eq!(t.low(), best(xs.iter().map(|x| Bits::<4>(x.0 & 15))).unwrap());
        assert_eq!((t.umin(), t.umax()), (xs[0], xs[xs.len() - 1]));
        assert_eq!(t.smin(), xs.iter().map(|x| x.signed()).min().unwrap());
        assert_eq!(t.smax(), xs.iter().map(|x| x.signed()).max().unwrap());
    }
}

#[test]
fn the_next_number_is_the_next() {
    for t in all::<8>() {
        let xs = members(t);
        for x in Bits::<8>::all() {
            let next = xs.iter().find(|y| **y > x).copied().unwrap_or(t.umax());
            assert_eq!(t.next_after(x), next, "{t:?} after {x:?}");
        }
    }
}

#[test]
fn ranges_are_the_best() {
    for min in 0..=255u8 {
        for max in min..=255 {
            let range = Tnum::range(Bits::<8>(min), Bits(max));
            // Leading bits in common: nothing narrower contains both ends and what is between.
            assert_eq!(Some(range), best((min..=max).map(Bits)));
        }
    }
}
