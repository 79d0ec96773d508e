//! Division and remainder by constants: multiplications and shifts in their place (Granlund and
//! Montgomery, "Division by Invariant Integers using Multiplication", 1994).
//!
//! With `m = floor(2^p / d) + 1` and `e = m * d - 2^p`, the quotient of an unsigned `n` below `2^N` is
//! `floor(n * m / 2^p)` if `e <= 2^(p - N)`: the error `n * e / (d * 2^p)` is then too small to lead
//! to the next number. For a signed `n` of `N` bits `e < 2^(p - N + 1)` is asked; the result rounds
//! down, so that 1 is added if `n` is negative.
//!
//! Temporary registers are the spare one and arguments' registers that do not matter after the
//! division. Where there are too few of them the division stays.

use super::Given;
use super::simplify::size_of;
use crate::ir::{Binary, Fill, Inst, Op, Operand, Reg, RegSet, Unit};
use ebpfvm_asm::{AluOp, Pc, Width};

/// Puts multiplications in the place of divisions by constants.
pub(super) fn run(unit: &mut Unit, given: &Given<'_>) {
    let has_any =
        |block: &crate::ir::Block| block.insts.iter().any(|inst| Division::of(&inst.op).is_some());
    unit.keeps_shape();
    unit.keeps_live();
    if !unit.blocks.iter().any(has_any) {
        return;
    }
    let live = unit.live();
    for number in 0..unit.blocks.len() {
        if !has_any(&unit.blocks[number]) {
            continue;
        }
        // What matters after each division, the last first.
        let mut live_after = Vec::new();
        let mut set = live.before_end(unit, number);
        for inst in unit.blocks[number].insts.iter().rev() {
            if Division::of(&inst.op).is_some() {
                live_after.push(set);
            }
            set = live.rules().before(unit, &inst.op, set);
        }
        let insts = std::mem::take(&mut unit.blocks[number].insts);
        let mut out = Vec::with_capacity(insts.len() + 8 * live_after.len());
        // The registers whose upper halves are zero.
        let mut narrow = RegSet::NONE;
        for inst in insts {
            if let Some(division) = Division::of(&inst.op) {
                let live = live_after.pop().unwrap_or(RegSet::CALL);
                let temps = division.temps(live, given.has_spare);
                let before = out.len();
                let mut writer = Writer { out: &mut out, pc: inst.pc };
                if !division.write(&mut writer, temps, narrow.has(division.lhs)) {
                    out.truncate(before);
                    out.push(inst);
                }
            } else {
                out.push(inst);
            }
            narrow = narrow.without(inst.op.writes());
            if let Some(reg) = inst.op.zero_extends() {
                narrow = narrow.with(reg);
            }
        }
        unit.blocks[number].insts = out;
    }
}

/// A division or remainder that can be written otherwise.
#[derive(Clone, Copy, Debug)]
struct Division {
    width: Width,
    is_signed: bool,
    is_remainder: bool,
    dst: Reg,
    lhs: Reg,
    /// The divisor, without its sign.
    by: u64,
    is_negative: bool,
}

/// How a quotient is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Plan {
    /// Shifted right by so much, and multiplied; of the product with the number, in as many bits again,
    /// the upper half is shifted by so much.
    Multiply { first: u8, by: u64, shift: u8 },
    /// The number has one bit more than the width: the upper half of the product is averaged with the
    /// dividend and shifted.
    Average { by: u64, shift: u8 },
}

/// `floor(2^power / by) + 1` if the error is at most `2^error`, and less if it must be.
fn multiplier(by: u64, power: u32, error: u32, is_less: bool) -> Option<u128> {
    let two: u128 = 1 << power;
    let number = two / u128::from(by) + 1;
    let off = number * u128::from(by) - two;
    let limit = 1 << error;
    (off < limit || off == limit && !is_less).then_some(number)
}

/// How dividends of a width, without a sign, are divided by a number that is no power of two.
fn plan_unsigned(by: u64, width: Width) -> Plan {
    let bits = width.bits();
    let find = |by: u64, first: u32| {
        (0..bits).find_map(|shift| {
            let number = multiplier(by, bits + shift, shift + first, false)?;
            let by = u64::try_from(number).ok().filter(|n| *n >> (bits - 1) >> 1 == 0)?;
            Some(Plan::Multiply { first: first as u8, by, shift: shift as u8 })
        })
    };
    let zeros = by.trailing_zeros();
    let plan = find(by, 0).or_else(|| if zeros == 0 { None } else { find(by >> zeros, zeros) });
    plan.unwrap_or_else(|| {
        // With as many bits as the divisor has, the error is always small enough.
        let shift = 64 - by.leading_zeros();
        let number = ((1_u128 << (bits + shift)) / u128::from(by)) + 1;
        Plan::Average { by: (number - (1 << bits)) as u64, shift: shift as u8 - 1 }
    })
}

/// The multiplier and shift of signed dividends of a width, for a divisor that is no power of two.
fn plan_signed(by: u64, width: Width) -> Option<(u64, u8)> {
    let bits = width.bits();
    (0..bits - 1).find_map(|shift| {
        let number = multiplier(by, bits + shift, shift + 1, true)?;
        Some((u64::try_from(number).ok()?, shift as u8))
    })
}

struct Writer<'a> {
    out: &'a mut Vec<Inst>,
    pc: Pc,
}

impl Writer<'_> {
    fn push(&mut self, op: Op) {
        self.out.push(Inst { op, pc: self.pc });
    }

    fn binary(&mut self, op: Binary, width: Width, dst: Reg, lhs: Reg, rhs: Operand) {
        self.push(Op::Binary { op, width, dst, lhs, rhs });
    }

    fn alu(&mut self, op: AluOp, width: Width, dst: Reg, lhs: Reg, rhs: Reg) {
        self.binary(Binary::Alu(op), width, dst, lhs, Operand::Reg(rhs));
    }

    fn imm(&mut self, op: AluOp, width: Width, dst: Reg, lhs: Reg, imm: i32) {
        self.binary(Binary::Alu(op), width, dst, lhs, Operand::Imm(imm));
    }

    /// A shift; by nothing, a copy if one is needed.
    fn shift(&mut self, op: AluOp, width: Width, dst: Reg, lhs: Reg, count: u8) {
        match count {
            0 if dst == lhs => {}
            0 => self.push(Op::Move { width, dst, src: lhs }),
            _ => self.imm(op, width, dst, lhs, count.into()),
        }
    }

    /// `dst = src * by`, 64 bits wide.
    fn times(&mut self, dst: Reg, src: Reg, by: u64) {
        match i32::try_from(by) {
            Ok(by) => self.imm(AluOp::Mul, Width::W64, dst, src, by),
            Err(_) => {
                self.push(Op::Const { dst, value: by });
                self.alu(AluOp::Mul, Width::W64, dst, dst, src);
            }
        }
    }
}

/// The registers of a division. All but `t` and `n` differ.
#[derive(Clone, Copy)]
struct Regs {
    /// The dividend.
    n: Reg,
    /// Where the quotient is made.
    q: Reg,
    /// A temporary, which may be the dividend's.
    t: Option<Reg>,
    /// Where the quotient goes.
    to: Reg,
}

impl Division {
    fn of(op: &Op) -> Option<Division> {
        let Op::Binary { op: Binary::Alu(op), width, dst, lhs, rhs: Operand::Imm(imm) } = *op
        else {
            return None;
        };
        let (is_signed, is_remainder) = match op {
            AluOp::Div => (false, false),
            AluOp::Mod => (false, true),
            AluOp::Sdiv => (true, false),
            AluOp::Smod => (true, true),
            _ => return None,
        };
        let is_negative = is_signed && imm < 0;
        let by = match (is_signed, width) {
            (true, _) => imm.unsigned_abs().into(),
            // As a 64-bit number it is negative, so larger than nearly all.
            (false, Width::W64) => u64::try_from(imm).ok()?,
            (false, Width::W32) => u64::from(imm as u32),
        };
        // Beyond half the range the quotient is 0 or 1.
        let is_sensible = by >= 2 && (by.is_power_of_two() || by < 1 << 31);
        is_sensible.then_some(Division {
            width,
            is_signed,
            is_remainder,
            dst,
            lhs,
            by,
            is_negative,
        })
    }

    /// Two registers that may be overwritten.
    fn temps(&self, live_after: RegSet, has_spare: bool) -> [Option<Reg>; 2] {
        let used = live_after.with(self.dst).with(self.lhs);
        let mut free = RegSet::CALL.without(used.with(Reg::SPARE)).iter();
        let spare = (has_spare && !used.has(Reg::SPARE)).then_some(Reg::SPARE);
        [spare.or_else(|| free.next()), free.next()]
    }

    /// Appends what does the same; false if there are too few registers.
    fn write(&self, w: &mut Writer<'_>, temps: [Option<Reg>; 2], is_narrow: bool) -> bool {
        self.try_write(w, temps, is_narrow).is_some()
    }

    fn try_write(
        &self,
        w: &mut Writer<'_>,
        temps: [Option<Reg>; 2],
        is_narrow: bool,
    ) -> Option<()> {
        let Division { width, dst, lhs, by, .. } = *self;
        let in_place = dst == lhs;
        let shift = by.trailing_zeros() as u8;
        if by.is_power_of_two() && !self.is_signed {
            match self.is_remainder {
                false => w.shift(AluOp::Rsh, width, dst, lhs, shift),
                true => w.imm(AluOp::And, width, dst, lhs, (by - 1) as i32),
            }
            return Some(());
        }
        let regs = match (in_place, self.is_remainder) {
            (true, false) => Regs { n: dst, q: temps[0]?, t: Some(dst), to: dst },
            (true, true) => Regs { n: dst, q: temps[0]?, t: temps[1], to: temps[0]? },
            (false, _) => Regs { n: lhs, q: dst, t: temps[0], to: dst },
        };
        if by.is_power_of_two() {
            return self.signed_power(w, regs, shift);
        }
        match (self.is_signed, width) {
            (false, Width::W32) => self.unsigned_32(w, regs, is_narrow)?,
            (false, Width::W64) => unsigned_64(w, regs, by)?,
            (true, Width::W32) => self.signed_32(w, regs)?,
            (true, Width::W64) => self.signed_64(w, regs)?,
        }
        if self.is_remainder {
            w.imm(AluOp::Mul, width, regs.to, regs.to, by as i32);
            w.alu(AluOp::Sub, width, dst, lhs, regs.to);
        } else if self.is_negative {
            w.push(Op::Neg { width, dst, src: dst });
        }
        Some(())
    }

    /// By a power of two, rounding towards zero: negative dividends get the divisor less 1 before.
    fn signed_power(&self, w: &mut Writer<'_>, regs: Regs, shift: u8) -> Option<()> {
        let Division { width, dst, lhs, .. } = *self;
        let (n, q, bits) = (regs.n, regs.q, width.bits() as u8);
        match shift {
            1 => w.shift(AluOp::Rsh, width, q, n, bits - 1),
            _ => {
                w.shift(AluOp::Arsh, width, q, n, bits - 1);
                w.shift(AluOp::Rsh, width, q, q, bits - shift);
            }
        }
        w.alu(AluOp::Add, width, q, q, n);
        if self.is_remainder {
            w.imm(AluOp::And, width, q, q, i32::MIN >> (31 - shift));
            w.alu(AluOp::Sub, width, dst, lhs, q);
            return Some(());
        }
        w.shift(AluOp::Arsh, width, dst, q, shift);
        if self.is_negative {
            w.push(Op::Neg { width, dst, src: dst });
        }
        Some(())
    }

    /// 32 bits without a sign: the product has room in 64 bits.
    fn unsigned_32(&self, w: &mut Writer<'_>, regs: Regs, is_narrow: bool) -> Option<()> {
        let n = match is_narrow {
            true => regs.n,
            false => {
                let n = if self.dst == self.lhs { self.dst } else { regs.t? };
                w.push(Op::Move { width: Width::W32, dst: n, src: self.lhs });
                n
            }
        };
        match plan_unsigned(self.by, Width::W32) {
            Plan::Multiply { first: 0, by, shift } => {
                w.times(regs.q, n, by);
                w.shift(AluOp::Rsh, Width::W64, regs.to, regs.q, 32 + shift);
            }
            // With 64 bits of the number's reciprocal the quotient is the upper half.
            _ => {
                w.push(Op::Const { dst: regs.q, value: u64::MAX / self.by + 1 });
                w.binary(Binary::MulHigh, Width::W64, regs.to, regs.q, Operand::Reg(n));
            }
        }
        Some(())
    }

    fn signed_32(&self, w: &mut Writer<'_>, regs: Regs) -> Option<()> {
        let (by, shift) = plan_signed(self.by, Width::W32)?;
        // The dividend with its sign in 64 bits: in its own register, or where it is not needed later.
        let n = if self.dst == self.lhs { self.dst } else { regs.t? };
        let t = if self.dst == self.lhs { regs.t? } else { n };
        let fill = Fill::Sign(Width::W64);
        w.push(Op::Extend { size: size_of(Width::W32), fill, dst: n, src: self.lhs });
        w.times(regs.q, n, by);
        w.shift(AluOp::Arsh, Width::W64, regs.q, regs.q, 32 + shift);
        w.shift(AluOp::Rsh, Width::W64, t, n, 63);
        w.alu(AluOp::Add, Width::W32, regs.to, regs.q, t);
        Some(())
    }

    fn signed_64(&self, w: &mut Writer<'_>, regs: Regs) -> Option<()> {
        let (by, shift) = plan_signed(self.by, Width::W64)?;
        let (n, q, t) = (regs.n, regs.q, regs.t?);
        w.push(Op::Const { dst: q, value: by });
        w.binary(Binary::SmulHigh, Width::W64, q, q, Operand::Reg(n));
        // As a signed number the multiplier is 2^64 less.
        if by > i64::MAX as u64 {
            w.alu(AluOp::Add, Width::W64, q, q, n);
        }
        w.shift(AluOp::Arsh, Width::W64, q, q, shift);
        w.shift(AluOp::Rsh, Width::W64, t, n, 63);
        w.alu(AluOp::Add, Width::W64, regs.to, q, t);
        Some(())
    }
}

fn unsigned_64(w: &mut Writer<'_>, regs: Regs, by: u64) -> Option<()> {
    let wide = Width::W64;
    let Regs { n, q, t, to } = regs;
    match plan_unsigned(by, wide) {
        Plan::Multiply { first, by, shift } => {
            let n = match first {
                0 => n,
                _ => {
                    w.shift(AluOp::Rsh, wide, t?, n, first);
                    t?
                }
            };
            w.push(Op::Const { dst: q, value: by });
            let half = if shift == 0 { to } else { q };
            w.binary(Binary::MulHigh, wide, half, q, Operand::Reg(n));
            w.shift(AluOp::Rsh, wide, to, half, shift);
        }
        Plan::Average { by, shift } => {
            w.push(Op::Const { dst: q, value: by });
            w.binary(Binary::MulHigh, wide, q, q, Operand::Reg(n));
            w.alu(AluOp::Sub, wide, t?, n, q);
            w.shift(AluOp::Rsh, wide, t?, t?, 1);
            w.alu(AluOp::Add, wide, q, q, t?);
            w.shift(AluOp::Rsh, wide, to, q, shift);
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::eval::{self, Input, unit_of};
    use crate::opt::same;

    #[test]
    fn programs_keep_what_they_do() {
        same::keeps_meaning(&run);
    }

    /// A function of two numbers in memory, without its memory: `w` is the width, `in_place` whether
    /// the dividend's register gets the result.
    fn unit(op: AluOp, width: Width, by: i32, in_place: bool) -> Unit {
        let mut unit = unit_of("r2 = *(u64 *)(r1 + 0)\nr0 = r2\nr0 /= 3\nexit");
        let (dst, lhs) = if in_place { (Reg::R0, Reg::R0) } else { (Reg::R0, Reg::R2) };
        unit.blocks[0].insts[2].op =
            Op::Binary { op: Binary::Alu(op), width, dst, lhs, rhs: Operand::Imm(by) };
        unit
    }

    fn check(op: AluOp, width: Width, by: i32, numbers: impl Iterator<Item = u64>) {
        let before = unit(op, width, by, true);
        let given = Given { facts: None, has_spare: true };
        let units = [true, false].map(|in_place| {
            let mut unit = unit(op, width, by, in_place);
            run(&mut unit, &given);
            // Nothing is left of the division, except by what is not worth it.
            let is_left = unit.blocks[0].insts.iter().any(
                |inst| matches!(inst.op, Op::Binary { op: Binary::Alu(found), .. } if found == op),
            );
            assert_eq!(is_left, Division::of(&before.blocks[0].insts[2].op).is_none(), "{unit}");
            unit
        });
        for number in numbers {
            let input = Input { window: number.to_le_bytes().to_vec(), fuel: 0, salt: number };
            let expected = ebpfvm_asm::semantics::alu(width, op, number, i64::from(by) as u64);
            for unit in &units {
                let got = eval::run(unit, &input).result;
                assert_eq!(got, Ok(expected), "{number:#x} {op:?} {by}\n{unit}");
            }
        }
    }

    const OPS: [AluOp; 4] = [AluOp::Div, AluOp::Mod, AluOp::Sdiv, AluOp::Smod];

    /// Numbers where quotients change, and where ranges end.
    fn numbers(by: i32) -> impl Iterator<Item = u64> {
        let by = u64::from(by.unsigned_abs());
        let ends = [0, 1 << 31, 1 << 32, 1 << 63, u64::MAX].into_iter();
        let near = move |end: u64| {
            let whole = end - end % by;
            [end, whole, whole.wrapping_add(by), whole.wrapping_sub(by)]
        };
        let mut random = by;
        let random = std::iter::repeat_with(move || {
            random = random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
            random >> (random % 61)
        });
        let about = |n: u64| [n.wrapping_sub(1), n, n.wrapping_add(1)];
        let both = |n: u64| [n, n.wrapping_neg(), u64::from(n as u32), (n as i32) as u64];
        ends.flat_map(near).flat_map(about).flat_map(both).chain(random.take(40))
    }

    #[test]
    fn quotients_and_remainders_stay_what_they_are() {
        let few = (1..300).chain([641, 1000, 1 << 16, 0xffff, 1_000_000_007, i32::MAX, i32::MIN]);
        let random = (0..200_i32).map(|n| n.wrapping_mul(0x0123_4567) | 1);
        for by in few.chain(random).flat_map(|by| [by, by.wrapping_neg()]) {
            for op in OPS {
                check(op, Width::W32, by, numbers(by));
                check(op, Width::W64, by, numbers(by));
            }
        }
    }

    #[test]
    fn small_divisors_are_right_for_all_small_dividends() {
        for by in 1..40 {
            let all = || 0..1 << 11;
            for op in OPS {
                check(op, Width::W32, by, all().map(|n| n << 21 | n));
                check(op, Width::W64, -by, all().map(|n| (n as i64 - 1024) as u64));
            }
        }
    }

    /// The multipliers alone, on all dividends of 16 bits scaled up to the ends of 32.
    #[test]
    fn multipliers_are_right_where_quotients_change() {
        for by in (3..2000_u64).chain([65_537, 1 << 30 | 1, (1 << 31) - 1]) {
            if by.is_power_of_two() {
                continue;
            }
            let quotients =
                (0..50).chain((1 << 32) / by - 50.min((1 << 32) / by)..=(u64::from(u32::MAX)) / by);
            for n in quotients.flat_map(|q| [q * by, (q * by).saturating_sub(1), q * by + by - 1]) {
                let Ok(n) = u32::try_from(n) else { continue };
                let n = u64::from(n);
                if let Plan::Multiply { first: 0, by: m, shift } = plan_unsigned(by, Width::W32) {
                    assert_eq!((n * m) >> (32 + shift), n / by);
                }
                let (m, shift) = plan_signed(by, Width::W32).expect("a multiplier");
                let signed = i64::from(n as i32);
                let q = (i128::from(signed) * i128::from(m)) >> (32 + shift);
                assert_eq!(q + i128::from(signed < 0), i128::from(signed / by as i64));
            }
        }
    }

    #[test]
    fn without_registers_a_division_stays() {
        let text = "r3 = 1\nr4 = 2\nr5 = 3\nr0 /= 7\nr0 += r1\nr0 += r2\nr0 += r3\nr0 += r4\n\
                    r0 += r5\nexit";
        let mut unit = unit_of(text);
        run(&mut unit, &Given { facts: None, has_spare: false });
        assert_eq!(unit, unit_of(text));
        run(&mut unit, &Given { facts: None, has_spare: true });
        assert_ne!(unit, unit_of(text));
    }
}
