//! Every reason of the verifier has a case, or a line in `conformance/verdicts/without-case.list` that
//! says why not.

use super::{files, here, root};
use ebpfvm_kernel::report_skip;
use ebpfvm_verifier::Reason;
use std::collections::{BTreeMap, BTreeSet};

#[test]
fn every_reason_has_a_case() {
    let list = root().join("conformance/verdicts/without-case.list");
    let list = std::fs::read_to_string(list).expect("the list of reasons without a case");
    let lines = list.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let excused: BTreeMap<&str, &str> = lines
        .map(|line| line.split_once(": ").unwrap_or_else(|| panic!("'{line}' gives no reason")))
        .collect();
    let all: BTreeSet<&str> = Reason::codes().collect();
    let files = files();
    let cases = files.iter().flat_map(|file| &file.cases);
    let covered: BTreeSet<&str> = cases.filter_map(|case| here::judged(case).code).collect();
    let missing: Vec<&str> = all.iter().copied().filter(|code| !covered.contains(code)).collect();
    report_skip(
        "every_reason_has_a_case",
        format!("{} of {} reasons have no case: {}", missing.len(), all.len(), missing.join(" ")),
    );
    let unexcused: Vec<&str> =
        missing.iter().copied().filter(|code| !excused.contains_key(code)).collect();
    assert!(unexcused.is_empty(), "no case and no excuse: {}", unexcused.join(" "));
    let stale: Vec<&str> = excused.keys().copied().filter(|code| !missing.contains(code)).collect();
    assert!(
        stale.is_empty(),
        "excused, but there is a case or no such reason: {}",
        stale.join(" ")
    );
}
