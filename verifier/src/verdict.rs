//! The verdict as a type: only [`verify`] makes a [`VerifiedProgram`].

use crate::cfg::Structure;
use crate::explore::{Past, follow_subprogs};
use crate::facts::Facts;
use crate::load;
use crate::options::Options;
use crate::reject::{ProgramReason, Reason, Rejection};
use crate::subject::{Subject, map_table};
use ebpfvm_spec::platform::Platform;
use ebpfvm_spec::program::Program;
use std::time::{Duration, Instant};

/// A program that was judged safe, and what engines may rely on.
///
/// There is no other way to make one than [`verify`].
#[derive(Clone, Debug)]
pub struct VerifiedProgram {
    program: Program,
    facts: Facts,
}

impl VerifiedProgram {
    /// The program.
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// What was found out about it.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// The program without its verdict.
    pub fn into_program(self) -> Program {
        self.program
    }
}

/// What judging took (the statistics of the kernel's log).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Instructions followed, over all paths.
    pub processed: u32,
    /// The most states kept at one instruction.
    pub max_states_per_insn: u32,
    /// States kept in all.
    pub total_states: u32,
    /// The most states kept at once.
    pub peak_states: u32,
    /// Bytes of stack that the functions used, the entry first.
    pub stack_bytes: Vec<u32>,
    /// How long it took.
    pub time: Duration,
}

/// What is told beside the verdict.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The log, as far as [`Options::log`] asks for it.
    pub log: String,
    /// What judging took.
    pub stats: Stats,
}

/// A verdict with its report.
#[derive(Clone, Debug)]
pub struct Judgement {
    /// The verdict.
    pub verdict: Result<VerifiedProgram, Rejection>,
    /// What is told beside it.
    pub report: Report,
}

/// Judges a program as Linux 6.18 would when it is loaded (`bpf_check`).
pub fn verify(program: Program, platform: &Platform, options: &Options) -> Judgement {
    let start = Instant::now();
    let (verdict, mut report) = judge(&program, platform, options);
    report.stats.time = start.elapsed();
    Judgement { verdict: verdict.map(|facts| VerifiedProgram { program, facts }), report }
}

fn judge(
    program: &Program,
    platform: &Platform,
    options: &Options,
) -> (Result<Facts, Rejection>, Report) {
    let refuse = |reason: Reason| {
        let text = if options.log.0 == 0 { String::new() } else { format!("{reason}\n") };
        let report = Report { log: text, stats: Stats::default() };
        (Err(Rejection { reason, pc: None, registers: String::new() }), report)
    };
    let Some(def) = platform.prog_type(program.prog_type) else {
        let name = program.prog_type.name().to_owned();
        return refuse(if program.prog_type.since().is_empty() {
            ProgramReason::Type { name }.into()
        } else {
            Reason::unsupported(format!("program type {name}"))
        });
    };
    let maps = map_table(&program.maps, program.btf.as_deref());
    let loadable =
        load::check(program, def, options).and_then(|()| load::check_maps(program, &maps));
    if let Err(reason) = loadable {
        return refuse(reason);
    }
    let attach_type = def.attach_type(program.attach_type).unwrap_or(program.attach_type);
    let structure = match Structure::of(program, platform, options, attach_type) {
        Ok(structure) => structure,
        Err(reason) => return refuse(reason),
    };
    let subject = Subject { program, platform, options, def, attach_type, maps, structure };
    let mut past = Past::new(&subject);
    let verdict = follow_subprogs(&subject, &mut past).and_then(|()| {
        let checked = subject.structure.check_stack_depth(program, &past.subprogs);
        checked.map_err(|reason| {
            past.log.write(format_args!("{reason}\n"));
            Rejection { reason, pc: None, registers: String::new() }
        })
    });
    let stats = Stats {
        processed: past.counts.processed,
        max_states_per_insn: past.counts.max_states_per_insn,
        total_states: past.counts.total_states,
        peak_states: past.counts.peak_states,
        stack_bytes: past.subprogs.iter().map(|s| s.stack_bytes).collect(),
        time: Duration::ZERO,
    };
    let report = Report { log: past.log.into_text(), stats };
    (verdict.map(|()| past.facts), report)
}
