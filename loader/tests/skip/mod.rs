//! What tests say of what they could not do on this machine.

use std::io::Write as _;

/// Says that a test, or a part of one, did not run; past the capture of the test harness.
pub(crate) fn skipped(what: &str, why: &str) {
    let _ = writeln!(std::io::stderr(), "skipped: {what} ({why})");
}
