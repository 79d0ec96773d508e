//! Verification beside the running kernel's own, on the same programs in one run: the examples, the
//! test objects, long generated programs, and the objects or directories named on the command line
//! or in `VERIFIER_OBJECTS` (separated by `:`). Ends with a table of ratios.

use ebpfvm_benches::verification::{Input, generated, linux, ours, peak_memory, programs};
use ebpfvm_kernel::{Kernel, kernel_or_skip};
use ebpfvm_spec::Platform;
use std::path::PathBuf;

/// Judgements of a program, of which the fastest counts.
const ROUNDS: u32 = 7;
/// Programs that take the kernel this long are too short to measure in its microseconds.
const SHORTEST_US: u128 = 20;

fn main() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    let named: Vec<PathBuf> = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with('-'))
        .chain(
            std::env::var("VERIFIER_OBJECTS").iter().flat_map(|v| v.split(':').map(str::to_owned)),
        )
        .map(PathBuf::from)
        .collect();
    let mut inputs = if named.is_empty() {
        let own =
            ["examples", "conformance/objects", "conformance/projects", "loader/tests/objects"];
        let mut inputs = programs(&own.map(|part| root.join(part)));
        inputs.extend(generated());
        inputs
    } else {
        programs(&named)
    };
    let kernel = kernel_or_skip("comparison with the kernel");
    inputs.sort_by_key(|input| input.program.code.len());
    let platform = Platform::linux();
    let mut ratios = Vec::new();
    let (mut our_total, mut their_total) = (0.0, 0.0);
    println!(
        "{:44} {:>9} {:>9} {:>11} {:>11} {:>7}",
        "program", "insns", "processed", "ours, us", "kernel, us", "ratio"
    );
    for input in &inputs {
        let Some(row) = Row::measure(input, &platform, kernel.as_ref()) else { continue };
        row.print(input);
        if let Some(theirs) = row.kernel_us {
            ratios.push(theirs / row.our_us);
            our_total += row.our_us;
            their_total += theirs;
        }
    }
    if !ratios.is_empty() {
        let mean = ratios.iter().map(|ratio| ratio.ln()).sum::<f64>() / ratios.len() as f64;
        let slower = ratios.iter().filter(|ratio| **ratio < 2.0).count();
        println!(
            "\n{} programs: {:.2} times as fast as the kernel (geometric mean), {:.2} times in sum; \
             {slower} programs less than twice as fast",
            ratios.len(),
            mean.exp(),
            their_total / our_total,
        );
    }
    if let Some(bytes) = peak_memory() {
        println!("peak memory of this process: {} MiB", bytes >> 20);
    }
}

struct Row {
    our_us: f64,
    processed: u64,
    kernel_us: Option<f64>,
}

impl Row {
    /// Measures a program that both accept; none for another, or one too short to measure.
    fn measure(input: &Input, platform: &Platform, kernel: Option<&Kernel>) -> Option<Row> {
        let ours = ours(input, platform, ROUNDS);
        let theirs = match kernel.map(|kernel| linux(kernel, input, ROUNDS)) {
            Some(Ok(theirs)) => Some(theirs),
            Some(Err(error)) => {
                println!("left out: {}: {error}", input.name);
                return None;
            }
            None => None,
        };
        let accepted = ours.accepted && theirs.as_ref().is_none_or(|t| t.accepted);
        let long = theirs.as_ref().is_none_or(|t| t.time.as_micros() >= SHORTEST_US);
        (accepted && long).then(|| Row {
            our_us: ours.time.as_secs_f64() * 1e6,
            processed: ours.processed,
            kernel_us: theirs.map(|t| t.time.as_secs_f64() * 1e6),
        })
    }

    fn print(&self, input: &Input) {
        print!(
            "{:44} {:>9} {:>9} {:>11.1}",
            input.name,
            input.program.code.len(),
            self.processed,
            self.our_us
        );
        match self.kernel_us {
            Some(us) => println!(" {us:>11.1} {:>7.2}", us / self.our_us),
            None => println!(),
        }
    }
}
