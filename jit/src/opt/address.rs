//! Address arithmetic folded into accesses: `base + (index << scale) + offset`.
//!
//! Sound: addresses and sums of 64 bits wrap alike, and the registers of the address still have the
//! values that were added ([`Values`]). Where accesses are checked, the address that is checked is the
//! sum, however it is written. Accesses that may go to fields of the context are left alone: there the
//! base itself is compared.

use super::Given;
use super::kinds::{Kinds, Summary};
use super::local::{Value, Values};
use crate::ir::{Address, Binary, Check, Cond, End, Inst, Op, Operand, Place, Reg, Unit};
use crate::state::FRAME_BYTES;
use ebpfvm_asm::{AluOp, Width};

/// The pass.
pub(super) fn run(unit: &mut Unit, _given: &Given<'_>) {
    let live = unit.live();
    let rules = live.rules();
    let mut values = Values::new(unit);
    let (mut forms, mut folded) = (Vec::new(), Vec::new());
    for number in 0..unit.blocks.len() {
        let mut insts = std::mem::take(&mut unit.blocks[number].insts);
        let end = unit.blocks[number].end;
        if has_any(&insts, &end) {
            let uses = |op: &Op| rules.uses(unit, op);
            values.enter_counting(&insts, uses, rules.end(&end), live.after(number));
            // First which sums are only needed for addresses, then the change if there is one.
            let mut walk = Walk {
                values: &mut values,
                forms: &mut forms,
                folded: &mut folded,
                is_change: false,
            };
            if walk.block(&mut insts, &mut unit.blocks[number].end) {
                walk.is_change = true;
                walk.block(&mut insts, &mut unit.blocks[number].end);
            }
        }
        unit.blocks[number].insts = insts;
    }
    unit.keeps_shape();
    unit.keeps_live();
}

/// Whether there is a sum that something may be made of: an access, or another sum.
fn has_any(insts: &[Inst], end: &End) -> bool {
    let all = Summary::of(insts);
    let has_user = || {
        all.has(Kinds::ACCESS.or(Kinds::LEFT))
            || all.twice.has(Kinds::SUM)
            || matches!(end, End::Branch { cond: Cond { lhs: Place::Memory(_), .. }, .. })
    };
    all.has(Kinds::SUM) && has_user()
}

/// A value as a sum of values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Form {
    base: Value,
    index: Option<(Value, u8)>,
    offset: i32,
}

impl Form {
    fn of(base: Value) -> Form {
        Form { base, index: None, offset: 0 }
    }

    fn plus(self, by: i64) -> Option<Form> {
        let offset = i32::try_from(i64::from(self.offset).checked_add(by)?).ok()?;
        Some(Form { offset, ..self })
    }
}

struct Walk<'a> {
    values: &'a mut Values,
    /// By operation that makes a value.
    forms: &'a mut Vec<Option<Form>>,
    /// How many accesses could have the parts of a value as their address, by operation.
    folded: &'a mut Vec<u32>,
    is_change: bool,
}

impl Walk<'_> {
    /// Whether something can be written in another way.
    fn block(&mut self, insts: &mut [Inst], end: &mut End) -> bool {
        let mut found = false;
        self.values.rewind();
        self.forms.clear();
        self.forms.resize(insts.len(), None);
        if !self.is_change {
            self.folded.clear();
            self.folded.resize(insts.len(), 0);
        }
        for at in 0..insts.len() {
            let mut op = insts[at].op;
            if let Some((address, check)) = access(&mut op) {
                if let Some(new) = self.fold(insts, *address) {
                    *address = new;
                    found = true;
                    if let Some(check) = check {
                        *check = checked(*check, new, &insts[at].op);
                    }
                }
            } else {
                let form = self.form(insts, &op);
                self.forms[at] = form;
                if let Some(new) = form.and_then(|form| self.sum(insts, &op, form)) {
                    op = new;
                    found = true;
                }
            }
            if self.is_change {
                insts[at].op = op;
            }
            self.values.step(at, &op);
        }
        if let End::Branch { cond: Cond { lhs: Place::Memory(at), .. }, .. } = end
            && let Some(new) = self.fold(insts, *at)
        {
            found = true;
            if self.is_change {
                *at = new;
            }
        }
        found
    }

    fn form_of(&self, value: Value) -> Form {
        let form = self.values.maker(value).and_then(|at| self.forms[at]);
        form.unwrap_or(Form::of(value))
    }

    /// A value as an index and its shift, and what is added.
    fn scaled(&self, insts: &[Inst], value: Value) -> Option<(Value, u8, i64)> {
        match self.values.made_by(insts, value)? {
            (
                Op::Binary {
                    op: Binary::Alu(AluOp::Lsh),
                    width: Width::W64,
                    rhs: Operand::Imm(shift @ 1..=3),
                    ..
                },
                [src, _],
            ) => {
                let form = self.form_of(src);
                let offset = i64::from(form.offset) << shift;
                match form.index {
                    None => Some((form.base, *shift as u8, offset)),
                    Some(_) => Some((src, *shift as u8, 0)),
                }
            }
            _ => None,
        }
    }

    /// What an operation makes, as a sum.
    fn form(&self, insts: &[Inst], op: &Op) -> Option<Form> {
        match *op {
            Op::Binary { op: Binary::Alu(op), width: Width::W64, lhs, rhs, .. } => {
                match (op, rhs) {
                    (AluOp::Add, Operand::Imm(imm)) => {
                        self.form_of(self.values.of(lhs)).plus(imm.into())
                    }
                    (AluOp::Sub, Operand::Imm(imm)) => {
                        self.form_of(self.values.of(lhs)).plus(-i64::from(imm))
                    }
                    (AluOp::Add, Operand::Reg(rhs)) => {
                        let (lhs, rhs) = (self.values.of(lhs), self.values.of(rhs));
                        self.sum_of(insts, lhs, rhs).or_else(|| self.sum_of(insts, rhs, lhs))
                    }
                    _ => None,
                }
            }
            Op::Lea { width: Width::W64, at, .. } => {
                let base = self.form_of(self.values.of(at.base)).plus(at.offset.into())?;
                match at.index {
                    None => Some(base),
                    Some(_) if base.index.is_some() => None,
                    Some((index, scale)) => {
                        Some(Form { index: Some((self.values.of(index), scale)), ..base })
                    }
                }
            }
            _ => None,
        }
    }

    fn sum_of(&self, insts: &[Inst], base: Value, other: Value) -> Option<Form> {
        let form = self.form_of(base);
        if form.index.is_some() {
            return None;
        }
        if let Some((index, scale, offset)) = self.scaled(insts, other) {
            return Form { index: Some((index, scale)), ..form }.plus(offset);
        }
        let other = self.form_of(other);
        match other.index {
            None => Form { index: Some((other.base, 0)), ..form }.plus(other.offset.into()),
            Some(_) => None,
        }
    }

    /// The registers that have the parts of a sum here.
    fn here(&self, form: Form, hint: Reg) -> Option<Address> {
        let index = form.index.map(|(_, scale)| (hint, scale));
        let address = Address { base: hint, index, offset: form.offset };
        self.values.address_of(form.base, form.index.map_or(0, |(index, _)| index), address)
    }

    /// An address with the parts of its base in it.
    fn fold(&mut self, insts: &[Inst], at: Address) -> Option<Address> {
        let value = self.values.of(at.base);
        let number = self.values.maker(value)?;
        let form = match self.forms[number] {
            Some(form) => form.plus(at.offset.into()),
            None => None,
        };
        let direct = |form: Form| match at.index {
            None => self.here(form, at.base),
            Some(_) if form.index.is_some() => None,
            Some(index) => Some(Address { index: Some(index), ..self.here(form, at.base)? }),
        };
        let step = || match self.values.made_by(insts, value)? {
            // Of the parts only the last sum's are left.
            (
                Op::Binary {
                    op: Binary::Alu(AluOp::Add),
                    width: Width::W64,
                    rhs: Operand::Imm(imm),
                    ..
                },
                [src, _],
            ) => direct(Form::of(src).plus(i64::from(*imm))?.plus(at.offset.into())?),
            (
                Op::Binary {
                    op: Binary::Alu(AluOp::Add),
                    width: Width::W64,
                    rhs: Operand::Reg(_),
                    ..
                },
                [base, index],
            ) => direct(Form { index: Some((index, 0)), ..Form::of(base) }.plus(at.offset.into())?),
            _ => None,
        };
        let new = form.and_then(direct).or_else(step)?;
        if new == at {
            return None;
        }
        // An offset costs nothing; an index is worth it if the sum is then not needed.
        if new.index.is_some() && at.index.is_none() {
            self.folded[number] += u32::from(!self.is_change);
            if self.is_change && self.folded[number] != self.values.readers(value) {
                return None;
            }
        }
        Some(new)
    }

    /// A sum of sums in one operation, if what it is made of is needed for nothing else.
    fn sum(&self, insts: &[Inst], op: &Op, form: Form) -> Option<Op> {
        let Op::Binary { op: Binary::Alu(AluOp::Add | AluOp::Sub), dst, lhs, rhs, .. } = *op else {
            return None;
        };
        let is_inner = |reg: Reg| {
            let value = self.values.of(reg);
            let is_part = matches!(
                self.values.made_by(insts, value),
                Some((
                    Op::Lea { width: Width::W64, .. }
                        | Op::Binary {
                            op: Binary::Alu(AluOp::Add | AluOp::Sub | AluOp::Lsh),
                            width: Width::W64,
                            ..
                        },
                    _
                ))
            );
            is_part && self.values.has_one_reader(value) && !self.is_kept(form, value)
        };
        let has_inner = is_inner(lhs) || matches!(rhs, Operand::Reg(rhs) if is_inner(rhs));
        if !has_inner {
            return None;
        }
        let at = self.here(form, lhs)?;
        Some(match at.index {
            Some(_) => Op::Lea { width: Width::W64, dst, at },
            None => Op::Binary {
                op: Binary::Alu(AluOp::Add),
                width: Width::W64,
                dst,
                lhs: at.base,
                rhs: Operand::Imm(at.offset),
            },
        })
    }

    /// Whether a value is itself a part of a sum.
    fn is_kept(&self, form: Form, value: Value) -> bool {
        form.base == value || form.index.is_some_and(|(index, _)| index == value)
    }
}

/// The address of an access that may be written in another way, and its check.
fn access(op: &mut Op) -> Option<(&mut Address, Option<&mut Check>)> {
    if matches!(op, Op::Lea { .. }) {
        return None;
    }
    op.access_mut().filter(|(_, check)| !matches!(check, Some(Check::Context { .. })))
}

/// The check of an access with an address that is written anew: none if it is inside the frame, and
/// the frame first if it is perhaps.
fn checked(check: Check, at: Address, op: &Op) -> Check {
    let bytes = match *op {
        Op::Load { size, .. }
        | Op::Store { size, .. }
        | Op::Atomic { size, .. }
        | Op::LoadAcquire { size, .. }
        | Op::StoreRelease { size, .. } => size.bytes() as i32,
        _ => return check,
    };
    let is_inside = (-(FRAME_BYTES as i32)..=-bytes).contains(&at.offset);
    match (at.base == Reg::FP, check) {
        (_, Check::None) => Check::None,
        (true, _) if at.index.is_none() && is_inside => Check::None,
        (true, _) => Check::Frame,
        (false, check) => check,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::eval::checked_unit_of;
    use crate::opt::local::tests::{after, needed};
    use crate::opt::same::keeps_meaning;

    #[test]
    fn sums_are_folded_into_accesses() {
        let text = "r3 = r10\nr3 += -384\nr3 += r2\nr0 = *(u8 *)(r3 + 4)\nexit";
        assert_eq!(after(run, text), "r0 = *(u8 *)(r10 + r2 - 380)\nexit");
        let text = "r4 = r2\nr4 += 1\nr4 <<= 3\nr5 = r1\nr5 += r4\nr0 = *(u64 *)(r5 - 8)\nexit";
        assert_eq!(after(run, text), "r0 = *(u64 *)(r1 + 8*r2)\nexit");
        let text = "r3 = r1\nr3 += 16\n*(u32 *)(r3 + 0) = 1\n*(u32 *)(r3 + 4) = 2\nr0 = r3\nexit";
        assert_eq!(
            after(run, text),
            "r3 = r1\nr3 = r3 + 16\n*(u32 *)(r1 + 16) = 1\n*(u32 *)(r1 + 20) = 2\nr0 = r3\nexit"
        );
    }

    #[test]
    fn sums_that_are_needed_stay() {
        let text = "r3 = r1\nr3 += r2\nr4 = *(u8 *)(r3 + 0)\nr0 = r3\nr0 += r4\nexit";
        assert!(after(run, text).contains("*(u8 *)(r3)"));
        let text = "r3 = r1\nr3 += r2\nr1 = 0\nr0 = *(u8 *)(r3 + 0)\nexit";
        assert!(after(run, text).contains("*(u8 *)(r3)"), "r1 has another value");
        let text = "r3 = r1\nr3 += r2\nr3 += 24\nr0 = r3\nexit";
        assert_eq!(after(run, text), "r3 = &(r1 + r2 + 24)\nr0 = r3\nexit");
    }

    #[test]
    fn what_is_inside_the_frame_needs_no_check() {
        let mut unit = checked_unit_of("r3 = r10\nr3 += -16\nr0 = *(u64 *)(r3 + 8)\nexit");
        run(&mut unit, &Given { facts: None, has_spare: false });
        assert_eq!(needed(&unit), "r0 = *(u64 *)(r10 - 8)\nexit");
        let mut unit = checked_unit_of("r3 = r10\nr3 += -16\nr0 = *(u64 *)(r3 + 9)\nexit");
        run(&mut unit, &Given { facts: None, has_spare: false });
        assert_eq!(needed(&unit), "r0 = *(u64 *)(r10 - 7) ; frame\nexit");
    }

    #[test]
    fn programs_do_the_same() {
        keeps_meaning(&run);
    }
}
