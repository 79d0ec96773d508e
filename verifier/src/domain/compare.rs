//! What comparisons tell: which way a jump goes, and what is known afterwards.

use super::bounds::Bounds;
use super::int::{Int, Word};
use super::scalar::{Scalar, Violation};
use super::tnum::Tnum;
use ebpfvm_asm::{JmpOp, Width};

/// Which way a conditional jump goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Branch {
    /// The jump is always taken.
    Always,
    /// The jump is never taken.
    Never,
    /// Either.
    Unknown,
}

/// What is known about two operands after a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refined<W: Word = u64> {
    /// The first operand.
    pub dst: Scalar<W>,
    /// The second operand.
    pub src: Scalar<W>,
    /// How they contradict themselves. Then no two numbers of the operands compare so, and the values
    /// are the [settled](Scalar::settle) ones with which Linux goes on nevertheless.
    pub violations: [Option<Violation<W>>; 2],
}

impl<W: Word> Refined<W> {
    /// Whether no two numbers of the operands are known to compare so.
    pub fn is_empty(&self) -> bool {
        self.violations.iter().any(Option::is_some)
    }
}

/// What the two widths of comparisons look at: bits and bounds.
type View<U> = (Tnum<U>, Bounds<U>);

fn full<W: Word>(scalar: &Scalar<W>) -> View<W> {
    (scalar.tnum, scalar.full)
}

fn half<W: Word>(scalar: &Scalar<W>) -> View<W::Half> {
    (scalar.tnum.low(), scalar.half)
}

/// Which way `if dst op src` goes (`is_scalar_branch_taken`).
pub fn branch_taken<W: Word>(width: Width, op: JmpOp, dst: &Scalar<W>, src: &Scalar<W>) -> Branch {
    let known = match width {
        Width::W32 => holds(op, half(dst), half(src)),
        Width::W64 => holds(op, full(dst), full(src)).or_else(|| {
            // Words whose halves differ are different.
            let different = dst.half.is_disjoint(&src.half);
            match op {
                JmpOp::Eq if different => Some(false),
                JmpOp::Ne if different => Some(true),
                _ => None,
            }
        }),
    };
    match known {
        Some(true) => Branch::Always,
        Some(false) => Branch::Never,
        None => Branch::Unknown,
    }
}

fn holds<U: Int>(op: JmpOp, (t1, b1): View<U>, (t2, b2): View<U>) -> Option<bool> {
    let decide = |always: bool, never: bool| match (always, never) {
        (true, _) => Some(true),
        (_, true) => Some(false),
        _ => None,
    };
    match op {
        JmpOp::Eq => match t1.as_const().zip(t2.as_const()) {
            Some((a, b)) => Some(a == b),
            None => decide(false, !t1.overlaps(t2) || b1.is_disjoint(&b2)),
        },
        JmpOp::Ne => holds(JmpOp::Eq, (t1, b1), (t2, b2)).map(|equal| !equal),
        JmpOp::Set => {
            let (bits, mask) = match (t1.as_const(), t2.as_const()) {
                (_, Some(mask)) => (t1, mask),
                (Some(mask), None) => (t2, mask),
                (None, None) => return None,
            };
            decide(bits.value() & mask != U::ZERO, bits.umax() & mask == U::ZERO)
        }
        JmpOp::Gt => decide(b1.umin > b2.umax, b1.umax <= b2.umin),
        JmpOp::Ge => decide(b1.umin >= b2.umax, b1.umax < b2.umin),
        JmpOp::Lt => decide(b1.umax < b2.umin, b1.umin >= b2.umax),
        JmpOp::Le => decide(b1.umax <= b2.umin, b1.umin > b2.umax),
        JmpOp::Sgt => decide(b1.smin > b2.smax, b1.smax <= b2.smin),
        JmpOp::Sge => decide(b1.smin >= b2.smax, b1.smax < b2.smin),
        JmpOp::Slt => decide(b1.smax < b2.smin, b1.smin >= b2.smax),
        JmpOp::Sle => decide(b1.smax <= b2.smin, b1.smin > b2.smax),
    }
}

/// What holds on one side of a jump. Greater-than is less-than with the operands exchanged.
#[derive(Clone, Copy)]
enum Condition {
    Eq,
    Ne,
    AnySet,
    NoneSet,
    Lt,
    Le,
    Slt,
    Sle,
}

/// The condition that holds when `op` does or, if not `taken`, does not; and whether its operands
/// are exchanged.
fn condition(op: JmpOp, taken: bool) -> (Condition, bool) {
    use Condition::*;
    match (op, taken) {
        (JmpOp::Eq, true) | (JmpOp::Ne, false) => (Eq, false),
        (JmpOp::Ne, true) | (JmpOp::Eq, false) => (Ne, false),
        (JmpOp::Set, true) => (AnySet, false),
        (JmpOp::Set, false) => (NoneSet, false),
        (JmpOp::Lt, true) | (JmpOp::Ge, false) => (Lt, false),
        (JmpOp::Le, true) | (JmpOp::Gt, false) => (Le, false),
        (JmpOp::Gt, true) | (JmpOp::Le, false) => (Lt, true),
        (JmpOp::Ge, true) | (JmpOp::Lt, false) => (Le, true),
        (JmpOp::Slt, true) | (JmpOp::Sge, false) => (Slt, false),
        (JmpOp::Sle, true) | (JmpOp::Sgt, false) => (Sle, false),
        (JmpOp::Sgt, true) | (JmpOp::Sle, false) => (Slt, true),
        (JmpOp::Sge, true) | (JmpOp::Slt, false) => (Sle, true),
    }
}

/// What is known about both operands where `if dst op src` was or was not `taken`
/// (`reg_set_min_max`). Keeps every two numbers that compare so.
///
/// For a jump whose way [`branch_taken`] knows, Linux does not ask.
pub fn refine<W: Word>(
    width: Width,
    op: JmpOp,
    taken: bool,
    dst: Scalar<W>,
    src: Scalar<W>,
) -> Refined<W> {
    let (condition, exchanged) = condition(op, taken);
    let (mut a, mut b) = if exchanged { (src, dst) } else { (dst, src) };
    apply(width, condition, &mut a, &mut b);
    let (mut dst, mut src) = if exchanged { (b, a) } else { (a, b) };
    dst.sync();
    src.sync();
    let violations = [dst.settle(), src.settle()];
    Refined { dst, src, violations }
}

/// As [`refine`] for a register that is compared with itself: it learns what either side would.
pub fn refine_same<W: Word>(width: Width, op: JmpOp, taken: bool, reg: Scalar<W>) -> Refined<W> {
    let (mut a, mut b) = (reg, reg);
    apply(width, condition(op, taken).0, &mut a, &mut b);
    a.tnum = a.tnum.meet(b.tnum);
    a.full.meet(&b.full);
    a.half.meet(&b.half);
    // Linux synchronises and checks the one register for each of the two operands, which shows when
    // it contradicts itself.
    a.sync();
    a.sync();
    let violations = [a.settle(), a.settle()];
    Refined { dst: a, src: a, violations }
}

fn apply<W: Word>(width: Width, condition: Condition, a: &mut Scalar<W>, b: &mut Scalar<W>) {
    // Only one operand learns from a constant: the first, unless that one is the constant.
    if let Condition::Ne | Condition::AnySet | Condition::NoneSet = condition {
        let is_const = |scalar: &Scalar<W>| match width {
            Width::W32 => scalar.tnum.low().is_const(),
            Width::W64 => scalar.tnum.is_const(),
        };
        let (learner, constant) = if is_const(b) { (a, b) } else { (b, a) };
        if is_const(constant) {
            if let Condition::NoneSet = condition {
                // The bounds may contradict what the bits learn, on a branch never taken.
                learner.forget_bounds();
            }
            match width {
                Width::W32 => {
                    let mut view = half(learner);
                    learn(condition, &mut view, constant.tnum.low().value());
                    learner.tnum = learner.tnum.with_low(view.0);
                    learner.half = view.1;
                }
                Width::W64 => {
                    let mut view = full(learner);
                    learn(condition, &mut view, constant.tnum.value());
                    (learner.tnum, learner.full) = view;
                }
            }
        }
        return;
    }
    match width {
        Width::W32 => {
            let (mut x, mut y) = (half(a), half(b));
            relate(condition, &mut x, &mut y);
            a.tnum = a.tnum.with_low(x.0);
            b.tnum = b.tnum.with_low(y.0);
            (a.half, b.half) = (x.1, y.1);
        }
        Width::W64 => {
            let (mut x, mut y) = (full(a), full(b));
            relate(condition, &mut x, &mut y);
            (a.tnum, a.full) = x;
            (b.tnum, b.full) = y;
        }
    }
}

/// One operand is compared with a constant.
fn learn<U: Int>(condition: Condition, (tnum, bounds): &mut View<U>, value: U) {
    let one = U::truncate(1);
    match condition {
        // Only a constant at the edge of an interval makes it smaller.
        Condition::Ne => {
            if bounds.umin == value {
                bounds.umin = bounds.umin.wrapping_add(one);
            }
            if bounds.umax == value {
                bounds.umax = bounds.umax.wrapping_sub(one);
            }
            let signed = value.signed();
            if bounds.smin == signed {
                bounds.smin = value.wrapping_add(one).signed();
            }
            if bounds.smax == signed {
                bounds.smax = value.wrapping_sub(one).signed();
            }
        }
        // Of several bits, any may be the one that is set.
        Condition::AnySet => {
            if value != U::ZERO && value & value.wrapping_sub(one) == U::ZERO {
                *tnum = tnum.or(Tnum::constant(value));
            }
        }
        _ => *tnum = tnum.and(Tnum::constant(!value)),
    }
}

/// Two operands are compared with each other.
fn relate<U: Int>(condition: Condition, (t1, b1): &mut View<U>, (t2, b2): &mut View<U>) {
    let one = U::truncate(1);
    let above = |x: U| x.wrapping_add(one);
    let below = |x: U| x.wrapping_sub(one);
    match condition {
        Condition::Eq => {
            b1.meet(b2);
            *b2 = *b1;
            *t1 = t1.meet(*t2);
            *t2 = *t1;
        }
        Condition::Le => {
            b1.umax = b1.umax.min(b2.umax);
            b2.umin = b2.umin.max(b1.umin);
        }
        Condition::Lt => {
            b1.umax = b1.umax.min(below(b2.umax));
            b2.umin = b2.umin.max(above(b1.umin));
        }
        Condition::Sle => {
            b1.smax = b1.smax.min(b2.smax);
            b2.smin = b2.smin.max(b1.smin);
        }
        _ => {
            b1.smax = b1.smax.min(below(U::unsigned(b2.smax)).signed());
            b2.smin = b2.smin.max(above(U::unsigned(b1.smin)).signed());
        }
    }
}
