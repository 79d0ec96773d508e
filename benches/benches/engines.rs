//! Measures all engines on all bench programs in one run and prints a table of ratios.
//!
//! Before a program is measured every engine runs it twice; an answer or a memory that differs from
//! the first engine's is reported and not measured. Arguments such as `fnv` or `/rbpf` restrict the
//! run to matching `program/engine` pairs, beside the first engine; `--quick` measures less. A whole
//! run that is not quick draws `docs/engines.svg`.

use ebpfvm_benches::chart::{Line, svg};
use ebpfvm_benches::engine::{ENGINES, Engine, Outcome, Prepared, run_twice};
use ebpfvm_benches::measure::{Effort, Subject, alternate, median};
use ebpfvm_benches::table::{Cell, Row, cells, render};
use ebpfvm_benches::target::TARGETS;
use ebpfvm_benches::workload::{EMPTY, WORKLOADS, Workload};

/// Where the picture goes.
const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/engines.svg");

fn main() {
    let (flags, filter): (Vec<String>, Vec<String>) =
        std::env::args().skip(1).partition(|argument| argument.starts_with('-'));
    let quick = flags.iter().any(|flag| flag == "--quick");
    let effort = if quick { Effort::QUICK } else { Effort::FULL };
    let chosen = |workload: &Workload, engine: &Engine| {
        let pair = format!("{}/{}", workload.name, engine.name);
        filter.is_empty() || filter.iter().any(|part| pair.contains(part.as_str()))
    };

    let engines: Vec<&Engine> = ENGINES
        .iter()
        .enumerate()
        .filter(|(index, engine)| *index == 0 || WORKLOADS.iter().any(|w| chosen(w, engine)))
        .map(|(_, engine)| engine)
        .collect();
    let mut notes = Vec::new();
    let mut rows = Vec::new();
    for workload in WORKLOADS {
        if engines.iter().any(|engine| chosen(workload, engine)) {
            eprintln!("{}", workload.name);
            rows.push(compare(workload, &engines, effort, &mut notes));
        }
    }

    let names: Vec<&str> = engines.iter().map(|engine| engine.name).collect();
    println!("Median run times as multiples of the first column:\n");
    println!("{}", render(&names, &rows));
    let calls: Vec<Option<f64>> = engines.iter().map(|engine| call(engine, effort)).collect();
    for line in TARGETS.iter().filter_map(|target| target.judge(&names, &rows, &calls)) {
        println!("{line}");
    }
    println!();
    for note in &notes {
        println!("{note}");
    }
    if filter.is_empty() && !quick {
        draw(&engines, &rows);
    }
    if rows.iter().any(|row| row.cells.contains(&Cell::Wrong)) {
        println!("\nWhat is called wrong ran and gave another answer or left another memory.");
    }
}

/// Nanoseconds of a call of an empty program; none if the engine does not run it.
fn call(engine: &Engine, effort: Effort) -> Option<f64> {
    let mut prepared = (engine.prepare)(EMPTY).ok()?;
    prepared.run().ok()?;
    let mut timer = |runs| prepared.time(runs);
    alternate(&mut [&mut timer], effort).pop().and_then(median)
}

fn draw(engines: &[&Engine], rows: &[Row]) {
    let lines = engines.iter().enumerate().skip(1);
    let lines: Vec<Line<'_>> = lines
        .map(|(index, engine)| Line { label: engine.what, engine: index, ours: engine.ours })
        .collect();
    let title = "eBPF engines beside native code";
    match std::fs::write(CHART, svg(title, &lines, rows)) {
        Ok(()) => println!("\nThe chart is in docs/engines.svg."),
        Err(error) => println!("\nThe chart could not be written: {CHART}: {error}"),
    }
}

fn compare(
    workload: &Workload,
    engines: &[&Engine],
    effort: Effort,
    notes: &mut Vec<String>,
) -> Row {
    let mut expected: Option<Outcome> = None;
    // What runs right, or what its cell says instead.
    let mut ready: Vec<Result<Box<dyn Prepared>, Cell>> = Vec::new();
    for engine in engines {
        let prepared = (engine.prepare)(workload)
            .and_then(|mut prepared| Ok((run_twice(prepared.as_mut())?, prepared)));
        let (cell, note) = match prepared {
            Err(reason) => (Cell::Unsupported, reason),
            Ok((outcome, prepared)) => {
                let expected = expected.get_or_insert_with(|| outcome.clone());
                match expected.difference(&outcome) {
                    Some(difference) => (Cell::Wrong, difference),
                    None => {
                        ready.push(Ok(prepared));
                        continue;
                    }
                }
            }
        };
        notes.push(format!("{}, {}: {note}", workload.name, engine.name));
        ready.push(Err(cell));
    }
    let running = ready.iter_mut().flatten();
    let mut timers: Vec<_> = running.map(|prepared| |runs| prepared.time(runs)).collect();
    let mut subjects: Vec<Subject<'_>> = timers.iter_mut().map(|t| t as Subject<'_>).collect();
    let samples = alternate(&mut subjects, effort);
    let ran = ready.into_iter().map(|ready| ready.map(drop));
    Row { name: workload.name, cells: cells(ran, samples) }
}
