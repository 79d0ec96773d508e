//! The Linux kernel does as the reference machine does, if it accepts the program.

use super::{Failure, Seen, expect};
use crate::generate::Case;
use crate::reference::{self, Outcome, Value};
use ebpfvm_conformance::Engine;
use ebpfvm_conformance::kernel::KernelEngine;

/// Instructions that the reference machine executes at most; no program that Linux accepts here
/// takes as many.
const MAX_STEPS: u64 = 1 << 24;

/// Compares the kernel with the reference machine. A program that the kernel accepts has to end
/// without a trap.
///
/// # Errors
/// The first difference.
pub fn check(kernel: &KernelEngine, case: &Case) -> Result<Seen, Failure> {
    use ebpfvm_conformance::Outcome as Got;
    let Ok(slots) = case.code.encode() else {
        return Err(Failure::new("kernel", "the program cannot be encoded"));
    };
    let got = match kernel.run(&slots, Some(&case.memory)) {
        Got::Refused(why) if std::env::var_os("EBPFVM_FUZZ_REFUSALS").is_some() => {
            eprintln!("refused: {why}");
            return Ok("refused");
        }
        Got::Refused(_) => return Ok("refused"),
        Got::Unsupported(_) => return Ok("unsupported"),
        Got::Trapped(why) => return Err(Failure::new("kernel", why)),
        Got::Value(value) => value,
    };
    let expected = reference::run(&case.code, &case.memory, MAX_STEPS).outcome;
    match expected {
        Outcome::Returned(Value::Number(number)) => {
            expect("kernel", got == number, || format!("{got:#x}; expected {number:#x}"))?;
            Ok("returned")
        }
        Outcome::Returned(_) => Ok("returned an address"),
        Outcome::Undetermined(_) => Ok("undetermined"),
        Outcome::Refused => Ok("needs helpers or maps"),
        other => Err(Failure::new("kernel", format!("accepted and {got:#x}; expected {other:?}"))),
    }
}
