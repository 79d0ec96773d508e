//! Jumps (`check_cond_jmp_op`).

use super::alu::report_violation;
use super::packet::{self, PacketCheck};
use super::pointer::MAX_OFFSET;
use super::{linked, null};
use crate::cfg::Structure;
use crate::domain::{self, Branch, Refined};
use crate::explore::Linked;
use crate::reject::{ArithmeticReason, Reason};
use crate::state::{Kind, State, Value};
use crate::step::{Flow, Step};
use crate::subject::Subject;
use ebpfvm_asm::{JmpOp, Operand, Pc, Reg, Width, semantics};

/// An unconditional jump.
pub(crate) fn jump(step: &mut Step<'_, '_>, offset: i32) -> Result<Flow, Reason> {
    target(step, offset).map(Flow::Goto)
}

fn target(step: &Step<'_, '_>, offset: i32) -> Result<Pc, Reason> {
    step.pc.jump(offset).ok_or_else(|| Reason::internal("a jump leaves the program"))
}

/// A conditional jump with what its operands were before it.
#[derive(Clone, Copy, Debug)]
struct Comparison {
    width: Width,
    op: JmpOp,
    dst: Reg,
    src: Operand,
    left: Value,
    right: Value,
}

/// A conditional jump.
pub(crate) fn jump_if(
    step: &mut Step<'_, '_>,
    width: Width,
    op: JmpOp,
    dst: Reg,
    src: Operand,
    offset: i16,
) -> Result<Flow, Reason> {
    let left = step.read(dst)?;
    let right = match src {
        Operand::Imm(imm) => Value::constant(semantics::immediate(imm)),
        Operand::Reg(reg) => {
            let right = step.read(reg)?;
            let are_packets = packet::is_packet_or_end(&left) && packet::is_packet_or_end(&right);
            if !are_packets && step.is_secret(&right) {
                return Err(ArithmeticReason::Comparison { reg: reg.number() }.into());
            }
            right
        }
    };
    let on_stack = (is_stack(&left), is_stack(&right));
    if on_stack != (false, false) {
        step.state.record_compared_stack(on_stack);
    }
    let mut comparison = Comparison { width, op, dst, src, left, right };
    let (target, next) = (target(step, offset.into())?, target(step, 0)?);
    match comparison.branch_taken() {
        Branch::Always => go_one_way(step, &comparison, target, next),
        Branch::Never => go_one_way(step, &comparison, next, target),
        Branch::Unknown => {
            let linked = collect_linked(&step.subject.structure, step.state, &mut comparison);
            go_both_ways(step, &comparison, &linked, target)
        }
    }
}

const fn is_stack(value: &Value) -> bool {
    matches!(value.kind, Kind::Stack { .. })
}

/// The way is known, because of the operands. The other one is followed as far as speculation goes.
fn go_one_way(
    step: &mut Step<'_, '_>,
    comparison: &Comparison,
    way: Pc,
    other: Pc,
) -> Result<Flow, Reason> {
    let Comparison { dst, src, left, right, .. } = comparison;
    if left.is_number() {
        step.mark_precise(*dst)?;
    }
    if let Operand::Reg(src) = src
        && right.is_number()
    {
        step.mark_precise(*src)?;
    }
    if step.subject.is_speculation_followed() {
        let unknown = step.unknown();
        let speculative = step.fork(other, true)?;
        *speculative.reg_mut(*dst) = unknown;
        if let Operand::Reg(src) = src {
            *speculative.reg_mut(*src) = unknown;
        }
    }
    Ok(Flow::Goto(way))
}

/// The numbers that are linked to the operands. When there are too many, some are unlinked, the
/// operands perhaps among them.
fn collect_linked(structure: &Structure, state: &mut State, comparison: &mut Comparison) -> Linked {
    let mut linked = Linked::NONE;
    let has_links = |v: &Value| v.is_number() && v.id != 0;
    if let Operand::Reg(src) = comparison.src
        && has_links(&comparison.right)
    {
        linked::collect(structure, state, comparison.right.id, &mut linked);
        comparison.left = *state.reg(comparison.dst);
        comparison.right = *state.reg(src);
    }
    if has_links(&comparison.left) {
        linked::collect(structure, state, comparison.left.id, &mut linked);
        comparison.left = *state.reg(comparison.dst);
        if let Operand::Reg(src) = comparison.src {
            comparison.right = *state.reg(src);
        }
    }
    // Kept with the state that the fork copies: both ways have it.
    if linked.len() > 1 {
        state.record_linked(linked);
    }
    linked
}

/// Either way may be taken: the jump later, the next instruction now.
fn go_both_ways(
    step: &mut Step<'_, '_>,
    comparison: &Comparison,
    linked: &Linked,
    target: Pc,
) -> Result<Flow, Reason> {
    let subject = step.subject;
    let check = comparison.packet_check();
    let taken = Side { comparison, linked, check, refined: comparison.refine(true), taken: true };
    let other = Side { refined: comparison.refine(false), taken: false, ..taken };
    taken.learn(subject, step.fork(target, false)?);
    for (side, names) in
        [(&taken, ["true_reg1", "true_reg2"]), (&other, ["false_reg1", "false_reg2"])]
    {
        let violations = side.refined.iter().flat_map(|refined| refined.violations);
        for (name, violation) in names.into_iter().zip(violations) {
            if let Some(violation) = violation {
                report_violation(step, name, &violation)?;
            }
        }
    }
    other.learn(subject, step.state);
    if !comparison.is_null_check() && check.is_none() && step.is_secret(&comparison.left) {
        return Err(ArithmeticReason::Comparison { reg: comparison.dst.number() }.into());
    }
    Ok(Flow::Next)
}

/// One side of a conditional jump.
#[derive(Clone, Copy)]
struct Side<'a> {
    comparison: &'a Comparison,
    linked: &'a Linked,
    check: Option<PacketCheck>,
    /// What is known of two numbers.
    refined: Option<Refined>,
    taken: bool,
}

impl Side<'_> {
    /// Lets the state learn what holds on this side.
    fn learn(&self, subject: &Subject<'_>, state: &mut State) {
        let Comparison { dst, src, left, right, .. } = self.comparison;
        if let Some(refined) = &self.refined {
            state.reg_mut(*dst).scalar = refined.dst;
            if let Operand::Reg(src) = src {
                state.reg_mut(*src).scalar = refined.src;
            }
        }
        if !self.linked.is_empty() {
            if let Operand::Reg(src) = src
                && right.is_number()
                && right.id != 0
            {
                linked::sync(state, *src, self.linked);
            }
            if left.is_number() && left.id != 0 {
                linked::sync(state, *dst, self.linked);
            }
        }
        self.learn_non_null(subject, state);
        if self.comparison.is_null_check() {
            null::resolve(subject, state, left, self.is_equal() == Some(true));
        } else if let Some(check) = &self.check {
            check.learn(state, self.taken);
        }
    }

    /// Whether the operands are equal on this side, if the comparison asks for it.
    fn is_equal(&self) -> Option<bool> {
        match self.comparison.op {
            JmpOp::Eq => Some(self.taken),
            JmpOp::Ne => Some(!self.taken),
            _ => None,
        }
    }

    /// A pointer that equals one that is not null is not null either.
    fn learn_non_null(&self, subject: &Subject<'_>, state: &mut State) {
        let Comparison { width, dst, src, left, right, .. } = self.comparison;
        let Operand::Reg(src) = src else { return };
        if *width == Width::W32
            || self.is_equal() != Some(true)
            || !left.is_pointer()
            || !right.is_pointer()
        {
            return;
        }
        if is_somewhere(left) && right.may_be_null() {
            null::set_non_null(subject, state.reg_mut(*src));
        }
        if is_somewhere(right) && left.may_be_null() {
            null::set_non_null(subject, state.reg_mut(*dst));
        }
    }
}

impl Comparison {
    /// Which way it goes (`is_branch_taken`).
    fn branch_taken(&self) -> Branch {
        let Comparison { width, op, left, right, .. } = self;
        if left.is_number() && right.is_number() {
            return domain::branch_taken(*width, *op, &left.scalar, &right.scalar);
        }
        // The low half of a pointer tells nothing.
        if *width == Width::W32 {
            return Branch::Unknown;
        }
        if packet::is_packet_or_end(left) && packet::is_packet_or_end(right) {
            return packet::branch_taken(*op, left, right);
        }
        let pointer = match (left.as_const(), right.as_const()) {
            (_, Some(0)) => left,
            (Some(0), None) => right,
            _ => return Branch::Unknown,
        };
        match op {
            _ if !is_certain(pointer) => Branch::Unknown,
            JmpOp::Eq => Branch::Never,
            JmpOp::Ne => Branch::Always,
            _ => Branch::Unknown,
        }
    }

    /// What two numbers learn.
    fn refine(&self, taken: bool) -> Option<Refined> {
        let Comparison { width, op, dst, src, left, right } = self;
        if !left.is_number() || !right.is_number() {
            return None;
        }
        Some(if *src == Operand::Reg(*dst) {
            domain::refine_same(*width, *op, taken, left.scalar)
        } else {
            domain::refine(*width, *op, taken, left.scalar, right.scalar)
        })
    }

    /// Whether a pointer that may be null is compared with null.
    fn is_null_check(&self) -> bool {
        self.width == Width::W64
            && matches!(self.op, JmpOp::Eq | JmpOp::Ne)
            && self.src == Operand::Imm(0)
            && self.left.may_be_null()
    }

    fn packet_check(&self) -> Option<PacketCheck> {
        match self.src {
            Operand::Reg(src) if self.width == Width::W64 => {
                PacketCheck::of(self.op, (self.dst, &self.left), (src, &self.right))
            }
            _ => None,
        }
    }
}

/// Whether a pointer cannot be null. Base and offset do not add up to 0: nothing that programs are
/// given lies near address 0 or in the upper half of all addresses, where an offset, which may be as
/// great as it likes but not as small, would lead to it.
fn is_somewhere(value: &Value) -> bool {
    !value.may_be_null() && value.scalar.full.smin > -MAX_OFFSET
}

/// Whether a pointer is known not to be null when it is compared with null (`reg_not_null`).
fn is_certain(value: &Value) -> bool {
    is_somewhere(value)
        && matches!(
            value.kind,
            Kind::Sock
                | Kind::TcpSock
                | Kind::XdpSock
                | Kind::SockCommon
                | Kind::Buf
                | Kind::MapValue(_)
                | Kind::MapKey(_)
                | Kind::MapPtr(_)
                | Kind::Mem { .. }
        )
}
