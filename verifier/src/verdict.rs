//! The verdict as a type: only [`verify`] makes a [`VerifiedProgram`].

use crate::cfg::Structure;
use crate::explore::{Past, follow_subprogs};
use crate::facts::Facts;
use crate::log::Log;
use crate::options::Options;
use crate::reject::Rejection;
use crate::report::frame;
use crate::subject::Subject;
use ebpfvm_asm::Pc;
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
    assumptions: Assumptions,
}

/// What was taken for granted, for engines to keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Assumptions {
    /// The program is given at least so many bytes of memory, if its type has no context.
    pub memory_bytes: u32,
    /// It is given exactly as many.
    pub memory_is_exact: bool,
    /// Numbers of CPUs are below this.
    pub cpus: u32,
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

    /// What was taken for granted.
    pub fn assumptions(&self) -> Assumptions {
        self.assumptions
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
    /// Bytes of stack that the functions used, the entry first; of an accepted program only those that
    /// some path enters.
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
    let mut log = Log::new(options.log, options.limits.log_bytes);
    let (verdict, mut stats, mut log) = match Subject::new(&program, platform, options, &mut log) {
        Ok(subject) => judge(&subject, log),
        Err(reason) => {
            log.write(format_args!("{reason}\n"));
            let functions = Structure::function_starts(&program, options).map_or(1, |s| s.len());
            let stats = Stats { stack_bytes: vec![0; functions], ..Stats::default() };
            (Err(reason.into()), stats, log)
        }
    };
    stats.time = start.elapsed();
    frame::statistics(&mut log, &stats, &options.limits);
    let assumptions = Assumptions {
        memory_bytes: options.memory_bytes,
        memory_is_exact: options.memory_is_exact,
        cpus: options.cpu_limit(),
    };
    let verdict = verdict.map(|facts| VerifiedProgram { program, facts, assumptions });
    Judgement { verdict, report: Report { log: log.into_text(), stats } }
}

fn judge(subject: &Subject<'_>, log: Log) -> (Result<Facts, Rejection>, Stats, Log) {
    let mut past = Past::new(subject, log);
    frame::live_registers(subject, &mut past.log);
    let verdict = follow_subprogs(subject, &mut past).and_then(|()| {
        let checked = subject.structure.check_stack_depth(subject.program, &past.subprogs);
        checked.map_err(|reason| {
            past.log.write(format_args!("{reason}\n"));
            Box::new(Rejection::from(reason))
        })
    });
    // Functions that no path enters are taken out of an accepted program before it is told of.
    let removes = verdict.is_ok() && subject.options.privileges.bpf;
    let subprogs = subject.structure.subprogs.iter().zip(&past.subprogs);
    let stays = |start: Pc| !removes || past.facts.is_reached(start);
    let stats = Stats {
        processed: past.counts.processed,
        max_states_per_insn: past.counts.max_states_per_insn,
        total_states: past.counts.total_states,
        peak_states: past.counts.peak_states,
        stack_bytes: subprogs.filter(|(s, _)| stays(s.start)).map(|(_, m)| m.stack_bytes).collect(),
        time: Duration::ZERO,
    };
    (verdict.map(|()| past.facts).map_err(|rejection| *rejection), stats, past.log)
}
