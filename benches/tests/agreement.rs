//! All engines give the same answers and leave the same memory, on all bench programs.

use ebpfvm_benches::engine::{ENGINES, NATIVE, Outcome, run_twice};
use ebpfvm_benches::workload::WORKLOADS;
use ebpfvm_kernel::{Kernel, report_skip};

const RBPF: &[&str] = &["rbpf", "rbpf jit", "cranelift"];
const SBPF: &[&str] = &["sbpf", "sbpf jit", "sbpf raw"];
const WITH_MAPS: &[&str] = &["array_map", "hash_map", "histogram", "nat", "load_balancer"];

/// Programs that engines do not run, and a part of the reason that they give.
const UNSUPPORTED: &[(&[&str], &[&str], &str)] = &[
    (&["atomics"], RBPF, "not supported"),
    (&["atomics"], SBPF, "unknown eBPF opcode"),
    (&["helper_calls"], SBPF, "unsupported BPF instruction"),
    (&["calls"], &["cranelift"], "unknown helper function"),
    (WITH_MAPS, &["cranelift"], "the memory of maps"),
    (WITH_MAPS, SBPF, "has no maps"),
];

/// Pairs that run and answer wrongly: bugs of other engines.
const WRONG: &[(&str, &str)] = &[("log2", "cranelift")];

#[test]
fn engines_agree_on_all_programs() {
    let has_native = WORKLOADS.iter().all(|workload| workload.native.is_some());
    let mut surprises = Vec::new();
    for workload in WORKLOADS {
        let mut expected: Option<Outcome> = None;
        for engine in ENGINES {
            if engine.name == NATIVE && !has_native {
                report_skip("native programs", "no C compiler");
                continue;
            }
            if engine.name == "kernel" && Kernel::probe().is_err() {
                report_skip("bench programs in the kernel", "no kernel");
                continue;
            }
            let outcome = (engine.prepare)(workload).and_then(|mut ready| run_twice(&mut *ready));
            let unsupported = UNSUPPORTED.iter().find(|(programs, engines, _)| {
                programs.contains(&workload.name) && engines.contains(&engine.name)
            });
            let wrong = WRONG.contains(&(workload.name, engine.name));
            let problem = match (outcome, unsupported) {
                (Err(reason), Some((_, _, known))) if reason.contains(known) => None,
                (Err(reason), _) => Some(reason),
                (Ok(_), Some(_)) => Some("runs now".to_owned()),
                (Ok(outcome), None) => {
                    let expected = expected.get_or_insert_with(|| outcome.clone());
                    match (expected.difference(&outcome), wrong) {
                        (None, false) | (Some(_), true) => None,
                        (Some(difference), false) => Some(difference),
                        (None, true) => Some("answers right now".to_owned()),
                    }
                }
            };
            surprises
                .extend(problem.map(|what| format!("{}, {}: {what}", workload.name, engine.name)));
        }
        assert!(expected.is_some(), "no engine ran {}", workload.name);
    }
    assert!(surprises.is_empty(), "{}", surprises.join("\n"));
}
