//! Calls of helpers are judged as the kernel judges them.
//!
//! - [`single`]: every argument of every helper is given values of every kind
//! - [`random`]: sequences of calls whose results become arguments, with right and wrong ones, in
//!   functions and callbacks too; [`generate`] makes them
//!
//! `EBPFVM_CALLS=N` tries N random programs.

mod generate;
mod random;
mod single;
mod values;

use ebpfvm_conformance::cases::{Case, parse};
use ebpfvm_conformance::judge::{Judged, LiveJudge, judge};
use ebpfvm_kernel::prog::log_level;
use ebpfvm_kernel::{Capabilities, Kernel, linux_6_18_or_skip};
use ebpfvm_spec::Platform;
use ebpfvm_verifier::{Options, Privileges};

/// Differences that are shown at most.
const SHOWN: usize = 40;

/// What takes the address of a function: calls of helpers that call back are loops here, as in later
/// releases, so that precision reaches all of their rounds. Linux 6.18 may follow fewer.
const CALLBACK: &str = "= subprog[";

/// Both judges with the maps of the programs.
struct Bench {
    kernel: Kernel,
    live: Option<LiveJudge>,
    platform: Platform,
    options: Options,
}

impl Bench {
    /// The bench, or a visible skip.
    fn new(test: &str) -> Option<Bench> {
        let kernel = linux_6_18_or_skip(test)?;
        let options = Options { cpus: Some(kernel.possible_cpus()), ..Options::default() };
        Some(Bench { kernel, live: None, platform: Platform::linux(), options })
    }

    /// Makes new maps: those that can have programs remember the type of the first one that used
    /// them.
    fn new_maps(&mut self) {
        self.live = None;
    }

    /// Both verdicts: ours and the kernel's.
    fn judge(&mut self, text: &str) -> (Judged, Judged) {
        self.judge_as(text, Privileges::ALL)
    }

    /// Both verdicts on a program of somebody with these rights; the maps are root's.
    fn judge_as(&mut self, text: &str, privileges: Privileges) -> (Judged, Judged) {
        let mut cases = parse(text).unwrap_or_else(|e| panic!("{e}\n{text}"));
        let Case { program, .. } = cases.remove(0);
        // All programs have the same maps and types.
        let live = match &mut self.live {
            Some(live) => live,
            None => {
                let made =
                    LiveJudge::new(&self.kernel, program.maps.clone(), program.btf.as_deref());
                self.live.insert(made.unwrap_or_else(|e| panic!("{e}")))
            }
        };
        live.prepare(&program).unwrap_or_else(|e| panic!("{e}"));
        let Privileges { bpf, perfmon, net_admin } = privileges;
        let keep = Capabilities { bpf, perfmon, net_admin };
        let asked = || live.judge(&program, log_level::STATS).unwrap_or_else(|e| panic!("{e}"));
        let theirs = self.kernel.with_capabilities(keep, asked).unwrap_or_else(|e| panic!("{e}"));
        let options = Options { privileges, ..self.options };
        (judge(program, &self.platform, &options), theirs)
    }
}

/// Differences between the verdicts, and how many there were to compare.
#[derive(Default)]
struct Tally {
    compared: usize,
    accepted: usize,
    unsupported: usize,
    wrong: Vec<String>,
}

impl Tally {
    fn add(&mut self, what: &str, text: &str, (ours, theirs): (Judged, Judged)) {
        // What is refused here for want of kernel types must not be compared.
        if ours.unsupported {
            self.unsupported += 1;
            return;
        }
        self.compared += 1;
        self.accepted += usize::from(theirs.accepted);
        let same = ours.accepted == theirs.accepted
            && (theirs.message.is_empty() || ours.message == theirs.message)
            && (ours.processed.unwrap_or(0) == theirs.processed.unwrap_or(0)
                || text.contains(CALLBACK));
        if !same {
            let code: Vec<&str> = text.lines().filter(|l| l.starts_with(' ')).collect();
            self.wrong.push(format!(
                "{what}\n  here: {} ({:?})\n  Linux: {} ({:?})\n{}",
                ours.verdict(),
                ours.processed,
                theirs.verdict(),
                theirs.processed,
                code.join("\n"),
            ));
        }
    }

    fn finish(self, test: &str) {
        let Tally { compared, accepted, unsupported, wrong } = self;
        println!(
            "{test}: {compared} compared, {accepted} of them accepted, {unsupported} need kernel types"
        );
        assert!(compared > 0);
        let first = wrong.iter().take(SHOWN).cloned().collect::<Vec<_>>();
        assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), first.join("\n\n"));
    }
}
