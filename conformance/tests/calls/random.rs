//! Sequences of calls whose results become arguments, a third of them by users without
//! `CAP_PERFMON`.

use super::generate::program;
use super::{Bench, Tally};
use ebpfvm_verifier::Privileges;

/// Programs that are tried if nobody asks for more.
const PROGRAMS: u64 = 3000;

#[test]
fn sequences_are_judged_as_the_kernel_judges_them() {
    const NAME: &str = "sequences_are_judged_as_the_kernel_judges_them";
    let Some(mut bench) = Bench::new(NAME) else { return };
    let count = std::env::var("EBPFVM_CALLS").ok().and_then(|n| n.parse().ok());
    let mut tally = Tally::default();
    for seed in 0..count.unwrap_or(PROGRAMS) {
        let text = program(seed);
        bench.new_maps();
        let perfmon = seed % 3 != 2;
        let verdicts = bench.judge_as(&text, Privileges { perfmon, ..Privileges::ALL });
        tally.add(&format!("random program {seed}"), &text, verdicts);
    }
    tally.finish(NAME);
}
