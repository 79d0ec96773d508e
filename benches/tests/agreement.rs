//! All engines give the same answer and leave the same memory, on all bench programs.

use ebpfvm_benches::engine::ENGINES;
use ebpfvm_benches::workload::WORKLOADS;

/// Neither engine has atomic instructions.
const UNSUPPORTED: &[(&str, &str)] = &[("atomics", "rbpf"), ("atomics", "sbpf")];

#[test]
fn engines_agree_on_all_programs() {
    for workload in WORKLOADS {
        let mut expected: Option<(u64, Vec<u8>)> = None;
        for engine in ENGINES {
            let pair = (workload.name, engine.name);
            if engine.name == "native" && workload.native.is_none() {
                eprintln!("skipped: {pair:?}: no C compiler");
                continue;
            }
            let outcome = (engine.prepare)(workload).and_then(|mut prepared| {
                let answer = prepared.run()?;
                Ok((answer, prepared.memory().to_vec()))
            });
            match outcome {
                Ok(outcome) => {
                    assert_eq!(
                        expected.get_or_insert_with(|| outcome.clone()),
                        &outcome,
                        "{pair:?}"
                    );
                    assert!(!UNSUPPORTED.contains(&pair), "{pair:?} runs now");
                }
                Err(reason) => assert!(UNSUPPORTED.contains(&pair), "{pair:?}: {reason}"),
            }
        }
        assert!(expected.is_some(), "no engine ran {}", workload.name);
    }
}
