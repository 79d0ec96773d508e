//! The kernel's verdicts on the same programs.

use super::{as_expectation, difference, files, holds};
use ebpfvm_conformance::cases::{Case, with_expectations};
use ebpfvm_conformance::judge::{Judged, LiveJudge};
use ebpfvm_kernel::prog::log_level;
use ebpfvm_kernel::{Kernel, linux_6_18_or_skip, report_skip};

/// Whether everybody may load programs; where not, cases without `CAP_BPF` cannot be tried.
fn is_open_to_everybody() -> bool {
    let path = "/proc/sys/kernel/unprivileged_bpf_disabled";
    std::fs::read_to_string(path).is_ok_and(|text| text.trim() == "0")
}

/// What the kernel says of a case; none if it cannot be asked.
fn judged(kernel: &Kernel, case: &Case) -> Option<Result<Judged, String>> {
    let keep = case.capabilities();
    if !keep.bpf && !is_open_to_everybody() {
        return None;
    }
    // The reason is in the log at any level; a log of paths takes ten times as long.
    let level = log_level::STATS;
    let (maps, types) = (case.program.maps.clone(), case.program.btf.as_deref());
    let load = || {
        let mut live = LiveJudge::new(kernel, maps, types)?;
        // Maps are made by root: the case is about the program.
        live.prepare(&case.program)?;
        let judged = kernel.with_capabilities(keep, || live.judge(&case.program, level));
        judged.map_err(|errno| errno.to_string())?
    };
    Some(load())
}

#[test]
fn the_kernel_says_the_same() {
    const NAME: &str = "the_kernel_says_the_same";
    let Some(kernel) = linux_6_18_or_skip(NAME) else { return };
    let bless = std::env::var_os("EBPFVM_BLESS").is_some();
    let (mut wrong, mut total, mut skipped) = (Vec::new(), 0, 0);
    for file in files() {
        let mut blessed = Vec::new();
        for case in &file.cases {
            let judged = match judged(&kernel, case) {
                None => {
                    skipped += 1;
                    blessed.push(None);
                    continue;
                }
                Some(Ok(judged)) => judged,
                Some(Err(why)) => {
                    let message = format!("not loaded: {why}");
                    Judged { message, ..Judged::default() }
                }
            };
            total += 1;
            if !holds(&judged, case.expected.as_ref()) {
                wrong.push(difference(&file.place(case), &judged, case.expected.as_ref()));
            }
            blessed.push(Some(as_expectation(&judged)));
        }
        if bless {
            let text = with_expectations(&file.text, &blessed);
            std::fs::write(&file.path, text).expect("the file can be written");
        }
    }
    if skipped > 0 {
        report_skip(NAME, format!("{skipped} cases are for a user without CAP_BPF"));
    }
    let count = wrong.len();
    assert!(bless || wrong.is_empty(), "{count} of {total} differ:\n{}", wrong.join("\n"));
}
