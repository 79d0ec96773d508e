//! Soundness of exploring: random programs of numbers, stacks, branches, loops and calls are judged
//! and run.
//!
//! - What is accepted by what matters ([`Precision::Marked`]) is accepted when everything is
//!   compared.
//! - A run of an accepted program never leaves its stack.
//! - When everything is compared, each state of a run lies in a state that was followed.
//! - By what matters, a run comes only to instructions that were followed.

mod generate;
mod machine;

use super::{Past, follow_subprogs};
use crate::log::Log;
use crate::options::{LogLevel, Options, Precision};
use crate::reject::{FlowReason, LimitReason, Reason};
use crate::state::State;
use crate::subject::Subject;
use ebpfvm_asm::Code;
use ebpfvm_asm::text::{Dialect, assemble};
use ebpfvm_spec::platform::Platform;
use ebpfvm_spec::program::{ProgType, Program};
use generate::Random;
use machine::{Machine, Step};

/// Instructions that judging a program may follow: exploding ones are no test.
const MAX_PROCESSED: u32 = 20_000;
/// Instructions of a run.
const MAX_STEPS: usize = 5_000;

fn options(precision: Precision) -> Options {
    let mut options = Options { precision, ..Options::default() };
    options.limits.processed = MAX_PROCESSED;
    options
}

/// The states that were followed, by instruction, or why the program is rejected.
fn follow(code: &Code, precision: Precision) -> Result<Vec<Vec<State>>, Reason> {
    let platform = Platform::linux();
    let program = Program::from_code("test", ProgType::SocketFilter, code.clone());
    let options = options(precision);
    let mut log = Log::new(LogLevel::NONE, 0);
    let subject = Subject::new(&program, &platform, &options, &mut log)?;
    let mut past = Past::new(&subject, log);
    past.witness = Some(Vec::new());
    follow_subprogs(&subject, &mut past).map_err(|rejection| rejection.reason)?;
    let mut by_pc = vec![Vec::new(); code.len()];
    for state in past.witness.unwrap_or_default() {
        by_pc[state.pc.index()].push(state);
    }
    Ok(by_pc)
}

/// Whether the reason is about how long judging takes, which differs between ways of judging.
fn is_limit(reason: &Reason) -> bool {
    matches!(
        reason,
        Reason::Limit(LimitReason::TooComplex { .. } | LimitReason::TooManyBranches { .. })
    )
}

/// Runs the program and compares each step with the states that were followed.
fn run(
    code: &Code,
    followed: &[Vec<State>],
    precision: Precision,
    seed: u64,
) -> Result<(), String> {
    let mut machine = Machine::new(Random::new(seed));
    for _ in 0..MAX_STEPS {
        let states = &followed[machine.pc.index()];
        let compared = if precision == Precision::Full { states.as_slice() } else { &[] };
        let why: Vec<String> = compared.iter().map_while(|state| machine.differs(state)).collect();
        if states.is_empty() || !why.is_empty() && why.len() == states.len() {
            return Err(format!("{machine:?}\nlies in no state that was followed: {why:#?}"));
        }
        match machine.step(code)? {
            Step::Next => {}
            Step::End => break,
        }
    }
    Ok(())
}

fn check(code: &Code, seed: u64) -> Result<bool, String> {
    let marked = follow(code, Precision::Marked);
    let full = follow(code, Precision::Full);
    match (&marked, &full) {
        (Ok(_), Err(reason)) if !is_limit(reason) => {
            return Err(format!("only accepted by what matters; else: {reason}"));
        }
        _ => {}
    }
    for round in 0..6 {
        let seed = seed.wrapping_mul(64).wrapping_add(round);
        for (followed, precision) in [(&marked, Precision::Marked), (&full, Precision::Full)] {
            if let Ok(followed) = followed {
                run(code, followed, precision, seed).map_err(|e| format!("{precision:?}: {e}"))?;
            }
        }
    }
    Ok(marked.is_ok())
}

fn text(code: &Code) -> String {
    code.iter().map(|(pc, insn)| format!("{pc}: {insn}\n")).collect()
}

#[test]
fn runs_of_accepted_programs_lie_in_what_was_followed() {
    // More on demand; these take a few seconds and find what was broken on purpose.
    let programs = std::env::var("EBPFVM_SOUNDNESS_PROGRAMS").ok().and_then(|n| n.parse().ok());
    let programs: u64 = programs.unwrap_or(4_000);
    let mut accepted = 0;
    for seed in 0..programs {
        let code = generate::program(&mut Random::new(seed));
        match check(&code, seed) {
            Ok(true) => accepted += 1,
            Ok(false) => {}
            Err(what) => panic!("program {seed}: {what}\n{}", text(&code)),
        }
    }
    assert!(accepted > programs / 20, "only {accepted} of {programs} programs are accepted");
}

#[track_caller]
fn rejected(source: &str) -> Reason {
    let code = assemble(source, Dialect::PseudoC).expect("the test's text is a program");
    follow(&code, Precision::Marked).expect_err("it is unsafe")
}

#[track_caller]
fn accepted(source: &str) -> usize {
    let code = assemble(source, Dialect::PseudoC).expect("the test's text is a program");
    let followed = follow(&code, Precision::Marked).expect("it is safe");
    followed.iter().map(Vec::len).sum()
}

#[test]
fn a_number_that_became_an_offset_matters_where_it_was_made() {
    // Both ways meet with different numbers in r7; only one of them is a good offset.
    let source = |offset: i32| {
        format!(
            "call 7\nr6 = r0\ncall 7\nr7 = -8\nif r0 > 5 goto +1\nr7 = {offset}\nr0 = 0\nr0 = 1\n\
             r0 = 2\nif r6 > 7 goto +0\nr0 = 3\nr0 = 4\nif r6 > 9 goto +0\nr1 = r10\nr1 += r7\n\
             r2 = 0\n*(u8 *)(r1 + 0) = r2\nr0 = 0\nexit"
        )
    };
    accepted(&source(-16));
    rejected(&source(-520));
}

#[test]
fn a_number_matters_through_spills_and_calls() {
    let source = |offset: i32| {
        format!(
            "call 7\nr7 = -8\nif r0 > 5 goto +1\nr7 = {offset}\n*(u64 *)(r10 - 16) = r7\nr0 = 0\n\
             call 7\nif r0 > 7 goto +0\nr0 = 3\nr0 = 4\ncall 7\nif r0 > 9 goto +0\n\
             r3 = *(u64 *)(r10 - 16)\nr1 = r10\nr1 += r3\nr2 = 0\n*(u8 *)(r1 + 0) = r2\nr0 = 0\nexit"
        )
    };
    accepted(&source(-24));
    rejected(&source(-600));
}

#[test]
fn the_same_state_again_is_an_infinite_loop() {
    let reason = rejected(
        "r0 = 0\nr1 = 1\nagain: r2 = r1\nr2 = 7\nr2 = 8\nr2 = 9\nr2 = 9\nr2 = 9\nif r1 == 1 goto again\nexit",
    );
    assert!(matches!(reason, Reason::Flow(FlowReason::InfiniteLoop { .. })), "{reason}");
}
