//! Tests that need the kernel: it, or a skip that everybody sees.

use crate::Kernel;
use std::fmt::Display;
use std::io::Write;

/// The release whose verdicts, messages and limits this project follows.
const FOLLOWED: (u32, u32) = (6, 18);

/// Says on standard error that a test is skipped, and why. Not through `eprintln!`, whose output the
/// test harness keeps to itself when a test passes.
pub fn report_skip(test: &str, why: impl Display) {
    // Nothing can be done about a closed standard error, and the test has not failed.
    let _ = writeln!(std::io::stderr(), "SKIPPED {test}: {why}");
}

/// The running kernel, whatever its release; none, after a report, where it cannot be used.
pub fn kernel_or_skip(test: &str) -> Option<Kernel> {
    Kernel::probe().map_err(|why| report_skip(test, why)).ok()
}

/// The running kernel if it is Linux 6.18, the one that is followed: others may judge, log and limit
/// differently without anything being wrong here. None, after a report, else.
pub fn linux_6_18_or_skip(test: &str) -> Option<Kernel> {
    let kernel = kernel_or_skip(test)?;
    if kernel.version() != FOLLOWED {
        let (major, minor) = FOLLOWED;
        let why = format!("it compares with Linux {major}.{minor}, not {}", kernel.release());
        report_skip(test, why);
        return None;
    }
    Some(kernel)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_kernel_exactly_where_one_can_be_probed() {
        let release = Kernel::probe().ok().map(|kernel| kernel.version());
        let version = |kernel: Option<Kernel>| kernel.map(|kernel| kernel.version());
        assert_eq!(version(kernel_or_skip("any kernel, asked for by a test")), release);
        let followed = release.filter(|release| *release == FOLLOWED);
        assert_eq!(version(linux_6_18_or_skip("Linux 6.18, asked for by a test")), followed);
    }
}
