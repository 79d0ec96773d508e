//! Measures all engines on all bench programs in one run and prints a table of ratios.
//!
//! Before a program is measured every engine runs it twice; an answer or a memory that differs from
//! the first engine's is reported and not measured. Arguments are criterion's: a filter such as
//! `fnv` or `/rbpf` restricts the run to matching `program/engine` pairs.

use criterion::Criterion;
use ebpfvm_benches::engine::{ENGINES, Prepared};
use ebpfvm_benches::table::{Cell, Row, lead, render};
use ebpfvm_benches::workload::{WORKLOADS, Workload};
use std::hint::black_box;
use std::time::{Duration, Instant};

/// Measurements of each pair of program and engine.
const SAMPLES: usize = 20;

/// What a program computed: its answer and the memory after two runs.
type Outcome = (u64, Vec<u8>);

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(150))
        .measurement_time(Duration::from_millis(600))
        .sample_size(SAMPLES)
        .without_plots()
        .configure_from_args();

    let mut notes = Vec::new();
    let mut rows = Vec::new();
    for workload in WORKLOADS {
        let cells = compare(&mut criterion, workload, &mut notes);
        if cells.iter().any(|cell| *cell != Cell::Unsupported) {
            rows.push(Row { name: workload.name, cells });
        }
    }
    criterion.final_summary();

    let names: Vec<&str> = ENGINES.iter().map(|engine| engine.name).collect();
    println!("\nMedian run times as multiples of the first column:\n");
    print!("{}", render(&names, &rows));
    let position = |name| names.iter().position(|engine| *engine == name);
    for (ours, peer) in [("checked", "rbpf"), ("checked", "sbpf")] {
        let (Some(one), Some(other)) = (position(ours), position(peer)) else { continue };
        if let Some((mean, least, program)) = lead(&rows, one, other) {
            println!(
                "{ours} is {mean:.2} times as fast as {peer}, at least {least:.2} ({program})"
            );
        }
    }
    for note in &notes {
        println!("{note}");
    }
    if rows.iter().any(|row| row.cells.contains(&Cell::Wrong)) {
        std::process::exit(1);
    }
}

fn compare(criterion: &mut Criterion, workload: &Workload, notes: &mut Vec<String>) -> Vec<Cell> {
    let mut expected: Option<Outcome> = None;
    let mut note = |engine: &str, what: String| {
        notes.push(format!("{}, {engine}: {what}", workload.name));
    };
    let mut group = criterion.benchmark_group(workload.name);
    let mut cells = Vec::new();
    for engine in ENGINES {
        let prepared = (engine.prepare)(workload)
            .and_then(|mut prepared| Ok((run_twice(prepared.as_mut())?, prepared)));
        let cell = match prepared {
            Err(reason) => {
                note(engine.name, reason);
                Cell::Unsupported
            }
            Ok((outcome, mut prepared)) => {
                let (answer, memory) = expected.get_or_insert_with(|| outcome.clone());
                if outcome.0 != *answer {
                    note(engine.name, format!("answers {:#x}, not {answer:#x}", outcome.0));
                    Cell::Wrong
                } else if outcome.1 != *memory {
                    note(engine.name, "leaves another memory".to_owned());
                    Cell::Wrong
                } else {
                    let mut samples = Vec::new();
                    group.bench_function(engine.name, |bencher| {
                        bencher.iter_custom(|runs| {
                            let elapsed = time(prepared.as_mut(), runs);
                            samples.push(elapsed.as_secs_f64() * 1e9 / runs as f64);
                            elapsed
                        });
                    });
                    median(&samples).map_or(Cell::Unsupported, Cell::Time)
                }
            }
        };
        cells.push(cell);
    }
    group.finish();
    cells
}

/// The second run begins with what the first left behind; a bench program answers the same.
fn run_twice(prepared: &mut dyn Prepared) -> Result<Outcome, String> {
    let first = prepared.run()?;
    let second = prepared.run()?;
    if first == second {
        Ok((second, prepared.memory().to_vec()))
    } else {
        Err(format!("answers {first:#x}, then {second:#x}"))
    }
}

fn time(prepared: &mut dyn Prepared, runs: u64) -> Duration {
    let start = Instant::now();
    for _ in 0..runs {
        black_box(prepared.run()).expect("the program ran before");
    }
    start.elapsed()
}

/// The median of the last `SAMPLES`; what came before them was warm-up.
fn median(samples: &[f64]) -> Option<f64> {
    let mut samples = samples[samples.len().saturating_sub(SAMPLES)..].to_vec();
    samples.sort_by(f64::total_cmp);
    samples.get(samples.len() / 2).copied()
}
