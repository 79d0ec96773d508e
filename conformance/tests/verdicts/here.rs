//! The verifier's verdicts.

use super::{difference, files, holds};
use ebpfvm_conformance::cases::Case;
use ebpfvm_conformance::judge::{Judged, guarded, judge};
use ebpfvm_spec::Platform;
use ebpfvm_verifier::Options;
use std::time::Duration;

/// What the verifier says of a case; a panic or hang is in the message.
pub(crate) fn judged(case: &Case) -> Judged {
    let options = Options { privileges: case.privileges, ..Options::default() };
    let program = case.program.clone();
    let work = move || judge(program, &Platform::linux(), &options);
    guarded(Duration::from_secs(60), work).unwrap_or_else(|mishap| {
        let message = mishap.to_string();
        Judged { message, ..Judged::default() }
    })
}

#[test]
fn verdicts_are_as_expected() {
    let (mut wrong, mut total) = (Vec::new(), 0);
    for file in files() {
        for case in &file.cases {
            total += 1;
            let expected = case.expected_here();
            let judged = judged(case);
            if !holds(&judged, expected) {
                wrong.push(difference(&file.place(case), &judged, expected));
            }
        }
    }
    let count = wrong.len();
    assert!(wrong.is_empty(), "{count} of {total} differ:\n{}", wrong.join("\n"));
}
