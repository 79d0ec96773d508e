//! The verifier's domain against the kernel's: random programs put registers into random ranges and
//! the states that the kernel's log shows must be spelled as ours are, letter for letter.

mod follow;
mod generate;
mod log;

use ebpfvm::host::Random;
use ebpfvm_asm::{AluOp, Insn, Operand, Reg, Width};
use ebpfvm_kernel::prog::log_level;
use ebpfvm_kernel::{Kernel, LoadRequest, linux_6_18_or_skip};
use ebpfvm_spec::ProgType;
use follow::{Case, Expected, build, build_linked, build_pointer};
use generate::{Generator, Step};
use log::Log;

/// How many programs, unless `EBPFVM_PROGRAMS` says another number.
const PROGRAMS: u64 = 4000;

/// The log of a program, accepted or not.
fn kernel_log(kernel: &Kernel, prog_type: ProgType, bytes: &[u8]) -> String {
    let mut request = LoadRequest::new(prog_type, bytes);
    request.log_level = log_level::FULL;
    match kernel.prog_load(&request) {
        Ok(prog) => prog.log().into(),
        Err(e) => e.log,
    }
}

/// What was compared, and what is not the same.
#[derive(Default)]
struct Comparison {
    states: u64,
    forks: u64,
    contradictions: usize,
    differences: Vec<String>,
}

impl Comparison {
    fn differ(&mut self, seed: u64, expected: &Expected, theirs: Option<&str>) {
        let Expected { place, reg, text, of } = expected;
        let theirs = theirs.unwrap_or("nothing");
        self.differences.push(format!(
            "program {seed}, {place:?}: {of}\n    {reg} ours   {text}\n    {reg} kernel {theirs}"
        ));
    }

    /// Compares a whole program.
    fn program(&mut self, seed: u64, case: &Case, text: &str) {
        let log = Log::parse(text);
        let register = |e: &Expected| log.register(e.place, e.reg.number());
        for expected in &case.expected {
            let theirs = register(expected);
            self.states += 1;
            if theirs != Some(&expected.text) {
                // What follows differs too.
                return self.differ(seed, expected, theirs);
            }
        }
        for expected in &case.forks {
            let Some(theirs) = register(expected) else { continue };
            self.forks += 1;
            if theirs != expected.text {
                self.differ(seed, expected, Some(theirs));
            }
        }
        let count = case.violations.len().min(log.complaints.len());
        self.contradictions += count;
        if log.complaints[..count] != case.violations {
            let (ours, theirs) = (&case.violations, &log.complaints);
            self.differences.push(format!("program {seed}: {ours:#?}\n  kernel {theirs:#?}"));
        }
        for place in case.dead.iter().filter(|place| log.reaches(**place)) {
            self.differences.push(format!("program {seed}: the kernel reaches {place:?}"));
        }
    }

    /// Compares what comes before the kernel refuses the program.
    fn start(&mut self, seed: u64, case: &Case, text: &str) {
        let log = Log::parse(text);
        for expected in &case.expected {
            let Some(theirs) = log.register(expected.place, expected.reg.number()) else { return };
            self.states += 1;
            if theirs != expected.text {
                return self.differ(seed, expected, Some(theirs));
            }
        }
    }

    fn assert_no_difference(&self) {
        let (count, first) = (self.differences.len(), self.differences.iter().take(12));
        let first = first.cloned().collect::<Vec<_>>().join("\n");
        assert!(count == 0, "{count} of {} states differ:\n{first}", self.states);
    }
}

fn programs() -> u64 {
    std::env::var("EBPFVM_PROGRAMS").map_or(PROGRAMS, |n| n.parse().expect("a number"))
}

#[test]
fn numbers_are_spelled_as_in_the_kernels_log() {
    let name = "numbers_are_spelled_as_in_the_kernels_log";
    let Some(kernel) = linux_6_18_or_skip(name) else { return };
    let mut comparison = Comparison::default();
    for seed in 0..programs() {
        let case = build(&Generator(Random::new(seed)).steps());
        let log = kernel_log(&kernel, ProgType::SocketFilter, &case.bytes);
        comparison.program(seed, &case, &log);
    }
    comparison.assert_no_difference();
    let Comparison { states, forks, contradictions, .. } = comparison;
    assert!(states > programs() * 5 && forks > 0, "{states} states, {forks} of forks");
    eprintln!("{states} states, {contradictions} contradictions, {forks} states of forks");
}

#[test]
fn pointer_offsets_are_spelled_as_in_the_kernels_log() {
    let name = "pointer_offsets_are_spelled_as_in_the_kernels_log";
    let Some(kernel) = linux_6_18_or_skip(name) else { return };
    let mut comparison = Comparison::default();
    for seed in 0..programs() / 4 {
        let (steps, moves) = Generator(Random::new(seed)).moves();
        let case = build_pointer(&steps, &moves);
        let log = kernel_log(&kernel, ProgType::Xdp, &case.bytes);
        comparison.start(seed, &case, &log);
    }
    comparison.assert_no_difference();
    assert!(comparison.states > programs() * 7 / 4, "only {} states", comparison.states);
    eprintln!("{} states of programs with pointers", comparison.states);
}

#[test]
fn linked_numbers_are_spelled_as_in_the_kernels_log() {
    let name = "linked_numbers_are_spelled_as_in_the_kernels_log";
    let Some(kernel) = linux_6_18_or_skip(name) else { return };
    let mut comparison = Comparison::default();
    for seed in 0..programs() / 4 {
        let mut generator = Generator(Random::new(seed));
        let mut steps = match generator.below(4) {
            0 => Vec::new(),
            _ => generator.moves().0,
        };
        let width = generator.one(&Width::ALL);
        if width == Width::W32 {
            let (op, dst, src) = (AluOp::Mov, Reg::R6, Operand::Reg(Reg::R6));
            steps.push(Step::Compute(Insn::Alu { width, op, dst, src }));
        }
        let delta = match generator.number() as i32 >> generator.below(24) {
            0 => 1,
            delta => delta,
        };
        let dst = generator.one(&[Reg::R6, Reg::R7]);
        let case = build_linked(&steps, width, delta, generator.comparison(dst));
        let log = kernel_log(&kernel, ProgType::SocketFilter, &case.bytes);
        comparison.program(seed, &case, &log);
    }
    comparison.assert_no_difference();
    assert!(comparison.states > programs() * 5 / 4, "only {} states", comparison.states);
    eprintln!("{} states of programs with linked registers", comparison.states);
}
