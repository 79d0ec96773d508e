//! Constant strings that helpers take, and the formats among them.

use super::ARGUMENTS;
use crate::check::{self, By, Range};
use crate::reject::{CallReason, Reason};
use crate::state::{Kind, Value};
use crate::step::Step;
use ebpfvm_asm::Reg;
use ebpfvm_spec::helper::{Arg, HelperProto};
use ebpfvm_spec::map::MapType;

/// Whether a pointer points to a zero-terminated string that nobody can change
/// (`check_reg_const_str`).
pub(super) fn check_string(step: &Step<'_, '_>, value: &Value, reg: Reg) -> Result<(), Reason> {
    let Kind::MapValue(map) = value.kind else {
        return Err(Reason::internal("a string is in no map"));
    };
    let info = step.subject.map(map.map);
    if !info.constant {
        return Err(CallReason::StringWritable { reg: reg.number() }.into());
    }
    if value.scalar.as_const().is_none() {
        return Err(CallReason::StringPlace { reg: reg.number() }.into());
    }
    if info.def.map_type != MapType::Array {
        return Err(CallReason::StringMap.into());
    }
    let rest = info.def.value_bytes.wrapping_sub(value.offset as u32);
    let range = Range { offset: value.offset, bytes: rest, zero_allowed: false };
    check::map_value(step.subject, value, reg, range, By::Helper)?;
    match string(step, value) {
        Some(_) => Ok(()),
        None => Err(CallReason::StringEnd.into()),
    }
}

/// The string that a pointer points to, without its zero.
fn string<'a>(step: &Step<'a, '_>, value: &Value) -> Option<&'a [u8]> {
    let map = value.map()?;
    let subject = step.subject;
    let contents = subject.map(map.map).contents()?;
    let moved = value.scalar.as_const()? as i64;
    let start = usize::try_from(moved.checked_add(i64::from(value.offset))?).ok()?;
    let rest = contents.get(start..)?;
    let end = rest.iter().position(|byte| *byte == 0)?;
    rest.get(..end)
}

/// Whether a constant format goes with the number of its arguments, if the helper takes some
/// (`check_bpf_snprintf_call`).
pub(super) fn check_format(step: &Step<'_, '_>, proto: &HelperProto) -> Result<(), Reason> {
    let at = proto.args.iter().position(|arg| *arg == Arg::ConstStr);
    let size =
        at.and_then(|at| proto.args.iter().skip(at).position(|a| matches!(a, Arg::Size { .. })));
    let (Some(at), Some(size)) = (at, size) else { return Ok(()) };
    // What is known of the size; Linux does not ask whether it is all.
    let bytes = step.reg(ARGUMENTS[at + size]).scalar.tnum.value();
    if !bytes.is_multiple_of(8) {
        return Err(CallReason::FormatArguments { bytes }.into());
    }
    let Some(format) = string(step, step.reg(ARGUMENTS[at])) else {
        return Err(Reason::internal("a format is no string"));
    };
    if is_format(format, bytes / 8) { Ok(()) } else { Err(CallReason::Format.into()) }
}

/// Whether a format is one that takes at most so many arguments (`bpf_bprintf_prepare`).
fn is_format(format: &[u8], arguments: u64) -> bool {
    let at = |i: usize| format.get(i).copied().unwrap_or(0);
    let mut i = 0;
    let mut count = 0;
    while i < format.len() {
        let c = at(i);
        if c.is_ascii() && !is_printable(c) && !is_space(c) {
            return false;
        }
        if c != b'%' {
            i += 1;
            continue;
        }
        if at(i + 1) == b'%' {
            i += 2;
            continue;
        }
        if count >= arguments {
            return false;
        }
        count += 1;
        match conversion(format.get(i + 1..).unwrap_or_default()) {
            Some(bytes) => i += 1 + bytes,
            None => return false,
        }
    }
    true
}

/// The length of the conversion that `rest`, what stands behind a percent sign, begins with.
fn conversion(rest: &[u8]) -> Option<usize> {
    let at = |i: usize| rest.get(i).copied().unwrap_or(0);
    let mut i = 0;
    while matches!(at(i), b'0' | b'+' | b'-' | b' ') {
        i += 1;
    }
    if matches!(at(i), b'1'..=b'9') {
        while at(i).is_ascii_digit() {
            i += 1;
        }
    }
    let ends = |c: u8| c == 0 || is_space(c) || c.is_ascii_punctuation();
    match at(i) {
        b'p' => match (at(i + 1), at(i + 2)) {
            (next, _) if ends(next) => Some(i + 1),
            (b'k' | b'u', b's') => ends(at(i + 3)).then_some(i + 3),
            (b'K' | b'x' | b's' | b'S' | b'B', _) => Some(i + 2),
            (b'i' | b'I', b'4' | b'6') => Some(i + 3),
            _ => None,
        },
        b's' => ends(at(i + 1)).then_some(i + 1),
        b'c' => Some(i + 1),
        _ => {
            for _ in 0..2 {
                i += usize::from(at(i) == b'l');
            }
            matches!(at(i), b'i' | b'd' | b'u' | b'x' | b'X').then_some(i + 1)
        }
    }
}

/// `isprint` of Linux, of ASCII.
fn is_printable(c: u8) -> bool {
    c.is_ascii_graphic() || c == b' '
}

/// `isspace` of Linux, of ASCII: the vertical tab too.
fn is_space(c: u8) -> bool {
    matches!(c, b' ' | b'\t'..=b'\r')
}

#[cfg(test)]
mod tests {
    use super::is_format;

    #[test]
    fn formats_are_those_of_the_kernel() {
        for (format, arguments) in [
            ("", 0),
            ("plain \t text\n", 0),
            ("100%%", 0),
            ("%d", 1),
            ("%08lld %-5u %llx", 3),
            ("%p %pK %px %ps %pB %pks %pus", 7),
            ("%pI4 %pi6.", 2),
            ("%s|%c", 2),
            ("%d", 2),
            ("\u{e4}", 0),
        ] {
            assert!(is_format(format.as_bytes(), arguments), "{format}");
        }
        for (format, arguments) in [
            ("%d", 0),
            ("%d %d", 1),
            ("%", 1),
            ("%h", 1),
            ("%sx", 1),
            ("%pI5", 1),
            ("%lc", 1),
            ("\u{1}", 0),
            ("%\u{e4}", 1),
        ] {
            assert!(!is_format(format.as_bytes(), arguments), "{format}");
        }
    }
}
