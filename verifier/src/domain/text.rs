//! Scalars as the kernel's log spells them (`print_scalar_ranges`, `print_reg_state` of Linux 6.18).

use super::scalar::{Contradiction, Scalar, Violation};
use std::fmt;

/// A scalar register in the log: `5`, `scalar()`, `Pscalar(id=1,umax=7,var_off=(0x0; 0x7))`.
#[derive(Clone, Copy, Debug)]
pub struct ScalarText {
    /// The value.
    pub scalar: Scalar,
    /// The number that registers with equal values share; 0 for none.
    pub id: u32,
    /// The difference to the registers with that number, if any.
    pub delta: Option<i32>,
    /// Whether the value must be known exactly.
    pub precise: bool,
}

impl Scalar {
    /// The value as the log spells it, without marks.
    pub fn text(self) -> ScalarText {
        ScalarText { scalar: self, id: 0, delta: None, precise: false }
    }

    /// Writes bounds and known bits as `name=value` separated by commas, each after `separator`,
    /// which becomes a comma: the end of the parentheses of scalars and of pointers with variable
    /// offset. Bounds that tell nothing are left out, equal ones are named together.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn write_ranges(
        &self,
        out: &mut impl fmt::Write,
        separator: &mut &'static str,
    ) -> fmt::Result {
        let (full, half) = (self.full, self.half);
        // Small numbers of 32 bits are sign-extended, to be equal to those of 64 bits. Others are
        // written in hexadecimal, where the extension would mislead.
        let narrow = |x: i32| {
            if i16::try_from(x).is_ok() { i64::from(x) as u64 } else { u64::from(x as u32) }
        };
        let bound = |name, signed, value, told| Bound { name, signed, value, told };
        let bounds = [
            bound("smin", true, full.smin as u64, full.smin != i64::MIN),
            bound("smax", true, full.smax as u64, full.smax != i64::MAX),
            bound("umin", false, full.umin, full.umin != 0),
            bound("umax", false, full.umax, full.umax != u64::MAX),
            bound("smin32", true, narrow(half.smin), half.smin != i32::MIN),
            bound("smax32", true, narrow(half.smax), half.smax != i32::MAX),
            bound("umin32", false, half.umin.into(), half.umin != 0),
            bound("umax32", false, half.umax.into(), half.umax != u32::MAX),
        ];
        let mut named = [false; 8];
        for (i, first) in bounds.iter().enumerate() {
            if !first.told || named[i] {
                continue;
            }
            write!(out, "{separator}{}=", first.name)?;
            *separator = ",";
            // Every second one: minima only with minima.
            for j in (i + 2..8).step_by(2) {
                let other = &bounds[j];
                if other.told
                    && !named[j]
                    && other.value == first.value
                    && other.is_negative() == first.is_negative()
                {
                    named[j] = true;
                    write!(out, "{}=", other.name)?;
                }
            }
            if first.signed {
                write_signed(out, first.value as i64)?;
            } else {
                write_unsigned(out, first.value)?;
            }
        }
        if !self.tnum.is_top() {
            write!(out, "{separator}var_off=")?;
            *separator = ",";
            write!(out, "{}", self.tnum)?;
        }
        Ok(())
    }
}

/// A bound to be written.
struct Bound {
    name: &'static str,
    signed: bool,
    value: u64,
    told: bool,
}

impl Bound {
    fn is_negative(&self) -> bool {
        self.signed && (self.value as i64) < 0
    }
}

pub(super) fn write_unsigned(out: &mut impl fmt::Write, value: u64) -> fmt::Result {
    if value <= u16::MAX.into() { write!(out, "{value}") } else { write!(out, "{value:#x}") }
}

fn write_signed(out: &mut impl fmt::Write, value: i64) -> fmt::Result {
    if i16::try_from(value).is_ok() { write!(out, "{value}") } else { write!(out, "{value:#x}") }
}

impl fmt::Display for ScalarText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.precise {
            f.write_str("P")?;
        }
        if let Some(value) = self.scalar.as_const() {
            return write_signed(f, value as i64);
        }
        f.write_str("scalar(")?;
        let mut separator = "";
        if self.id != 0 {
            write!(f, "id={}", self.id)?;
            separator = ",";
        }
        if let Some(delta) = self.delta {
            write!(f, "{delta:+}")?;
        }
        self.scalar.write_ranges(f, &mut separator)?;
        f.write_str(")")
    }
}

impl fmt::Display for Contradiction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Contradiction::Range => "range bounds violation",
            Contradiction::Const => "const tnum out of sync with range bounds",
            Contradiction::ConstHalf => "const subreg tnum out of sync with range bounds",
        })
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Scalar { tnum, full, half } = self.value;
        write!(
            f,
            "{} u64=[{:#x}, {:#x}] s64=[{:#x}, {:#x}] u32=[{:#x}, {:#x}] s32=[{:#x}, {:#x}] \
             var_off=({:#x}, {:#x})",
            self.contradiction,
            full.umin,
            full.umax,
            full.smin,
            full.smax,
            half.umin,
            half.umax,
            half.smin,
            half.smax,
            tnum.value(),
            tnum.mask()
        )
    }
}
