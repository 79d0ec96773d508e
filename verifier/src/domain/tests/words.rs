//! The real word: values that contain a known number, against the meaning of instructions.

use crate::domain::{
    Bounds, Branch, Int, Scalar, Tnum, alu, branch_taken, endian, load, load_sx, movsx, neg, refine,
};
use ebpfvm_asm::{AluOp, ByteOrder, EndianOp, JmpOp, Size, Width, semantics};
use proptest::prelude::*;

/// Numbers near edges half of the time.
fn number() -> impl Strategy<Value = u64> {
    let edge = (0u32..64, -3i64..4).prop_map(|(bit, off)| (1u64 << bit).wrapping_add(off as u64));
    prop_oneof![
        any::<u64>(),
        edge.clone(),
        edge.prop_map(|x| !x),
        (-20i64..20).prop_map(|x| x as u64)
    ]
}

/// Bounds around `x`, at most as far away as the distances, or none.
fn around<U: Int>(x: U, distances: [Option<u64>; 4]) -> Bounds<U> {
    let mut bounds = Bounds::TOP;
    let [below, above, sbelow, sabove] = distances.map(|d| d.map(U::truncate));
    let lower = |d: Option<U>| d.map(|d| x.overflowing_sub(d)).filter(|(_, wraps)| !wraps);
    let upper = |d: Option<U>| d.map(|d| x.overflowing_add(d)).filter(|(_, wraps)| !wraps);
    bounds.umin = lower(below).map_or(U::ZERO, |(v, _)| v);
    bounds.umax = upper(above).map_or(U::MAX, |(v, _)| v);
    let signed = x.signed();
    let smin = sbelow.map(|d| x.wrapping_sub(d).signed()).filter(|v| *v <= signed);
    let smax = sabove.map(|d| x.wrapping_add(d).signed()).filter(|v| *v >= signed);
    bounds.smin = smin.unwrap_or(U::SIGNED_MIN);
    bounds.smax = smax.unwrap_or(U::SIGNED_MAX);
    bounds
}

/// A value and one of its numbers.
pub(crate) fn scalar() -> impl Strategy<Value = (Scalar, u64)> {
    let distance = || {
        let near = number().prop_flat_map(|x| (0u32..64).prop_map(move |shift| x >> shift));
        proptest::option::of(near)
    };
    let distances = move || [distance(), distance(), distance(), distance()];
    let mask = prop_oneof![Just(u64::MAX), any::<u64>(), number(), Just(0)];
    (number(), mask, distances(), distances()).prop_map(|(x, mask, full, half)| {
        let mut scalar = Scalar {
            tnum: Tnum::new(x, mask),
            full: around(x, full),
            half: around(x as u32, half),
        };
        scalar.sync();
        (scalar, x)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn values_keep_their_number((a, x) in scalar()) {
        prop_assert!(a.contains(x), "{x:#x} not in {a:?}");
        prop_assert_eq!(a.contradiction(), None);
    }

    #[test]
    fn arithmetic_contains_the_result((a, x) in scalar(), (b, y) in scalar(), count in 0u64..64) {
        for op in AluOp::ALL {
            for width in Width::ALL {
                let result = alu(width, op, a, b);
                let value = semantics::alu(width, op, x, y);
                prop_assert!(result.contains(value), "{width:?} {op:?}: {value:#x} {}", result.text());
                // Shifts are followed by constants only.
                let result = alu(width, op, a, Scalar::constant(count));
                let value = semantics::alu(width, op, x, count);
                prop_assert!(result.contains(value), "{width:?} {op:?}: {value:#x} {}", result.text());
            }
        }
        for width in Width::ALL {
            prop_assert!(neg(width, a).contains(semantics::neg(width, x)));
        }
    }

    #[test]
    fn conversions_contain_the_result((a, x) in scalar(), y in number()) {
        for size in Size::ALL {
            for op in EndianOp::ALL.into_iter().filter(|_| size != Size::B) {
                for host in [ByteOrder::Little, ByteOrder::Big] {
                    let value = semantics::endian(host, op, size, x);
                    let result = endian(host, op, size, a);
                    prop_assert!(result.contains(value), "{op:?} {size:?}: {}", result.text());
                }
            }
            for width in Width::ALL.into_iter().filter(|width| size.bits() < width.bits()) {
                let result = movsx(width, size, a);
                let value = semantics::movsx(width, size, x);
                prop_assert!(result.contains(value), "{width:?} {size:?}: {}", result.text());
            }
            prop_assert!(load(size).contains(semantics::zero_extend(size, y)));
            prop_assert!(load_sx(size).contains(semantics::sign_extend(size, y)));
        }
    }

    #[test]
    fn comparisons_keep_the_pair((a, x) in scalar(), (b, y) in scalar(), same in any::<bool>()) {
        // Equal numbers would be too rare.
        let (b, y) = if same { (Scalar { tnum: Tnum::new(x, b.tnum.mask()), ..Scalar::TOP }, x) } else { (b, y) };
        for op in JmpOp::ALL {
            for width in Width::ALL {
                let taken = semantics::jump(width, op, x, y);
                let impossible = if taken { Branch::Never } else { Branch::Always };
                prop_assert!(branch_taken(width, op, &a, &b) != impossible, "{width:?} {op:?}");
                let refined = refine(width, op, taken, a, b);
                prop_assert!(refined.dst.contains(x), "{width:?} {op:?} {}", refined.dst.text());
                prop_assert!(refined.src.contains(y), "{width:?} {op:?} {}", refined.src.text());
                prop_assert!(!refined.is_empty());
            }
        }
    }
}
