//! What compilers cost: time for an instruction, for a firewall, and before the first result; and
//! what calling an empty program costs.
//!
//! `--quick` measures less.

use ebpfvm::Vm;
use ebpfvm_benches::compile::{COMPILERS, Source};
use ebpfvm_benches::engine::ENGINES;
use ebpfvm_benches::measure::{Effort, Subject, alternate, median, repeat};
use ebpfvm_benches::table::time;
use ebpfvm_benches::workload::{EMPTY, WORKLOADS};

fn main() {
    let quick = std::env::args().any(|argument| argument == "--quick");
    // Some compilers take seconds for the longest programs.
    let effort = Effort { rounds: if quick { 3 } else { 11 }, ..Effort::FULL };

    println!("Compile time, for an instruction in the first lines and of a program in the last:\n");
    print!("{:20}", "");
    COMPILERS.iter().for_each(|compiler| print!(" {:>10}", compiler.name));
    println!();
    let mut notes = Vec::new();
    let straight = [1_000, 10_000, 100_000].map(Source::straight);
    let branches = [1_000, 10_000].map(|count| Source::branches(count + 1));
    for source in straight.iter().chain(&branches) {
        line(source, source.instructions as f64, effort, &mut notes);
    }
    let firewall = WORKLOADS.iter().find(|workload| workload.name == "firewall");
    for workload in firewall.into_iter().chain([EMPTY]) {
        match Source::of(workload) {
            Ok(source) => line(&source, 1.0, effort, &mut notes),
            Err(error) => notes.push(format!("{}: {error}", workload.name)),
        }
    }

    println!("\nA call of an empty program:\n");
    calls(if quick { Effort::QUICK } else { Effort::FULL }, &mut notes);

    println!("\nOnce for a process, and for an empty program:\n");
    let vm = Vm::linux().build();
    let program = Source::of(EMPTY).expect("the program is in its file").program().clone();
    let mut machine = |runs| repeat(runs, || Vm::linux().build());
    let mut verify =
        |runs| repeat(runs, || vm.verify(program.clone(), &ebpfvm::verifier::Options::default()));
    let samples = alternate(&mut [&mut machine, &mut verify], effort);
    for (name, samples) in ["a machine with Linux's helpers", "its verdict"].iter().zip(samples) {
        println!("{name:32} {:>10}", median(samples).map_or_else(String::new, time));
    }
    println!();
    notes.iter().for_each(|note| println!("{note}"));
}

/// One line of the table, times divided by `parts`.
fn line(source: &Source, parts: f64, effort: Effort, notes: &mut Vec<String>) {
    let mut prepared: Vec<_> = COMPILERS.iter().map(|c| (c.prepare)(source)).collect();
    let mut subjects: Vec<Subject<'_>> =
        prepared.iter_mut().flatten().map(|compile| &mut **compile as Subject<'_>).collect();
    let mut samples = alternate(&mut subjects, effort).into_iter();
    print!("{:20}", format!("{} ({})", source.name, source.instructions));
    for (compiler, prepared) in COMPILERS.iter().zip(&prepared) {
        match prepared {
            Ok(_) => {
                let ns = median(samples.next().unwrap_or_default()).unwrap_or_default();
                print!(" {:>10}", time(ns / parts));
            }
            Err(why) => {
                notes.push(format!("{}, {}: {why}", source.name, compiler.name));
                print!(" {:>10}", "-");
            }
        }
    }
    println!();
}

fn calls(effort: Effort, notes: &mut Vec<String>) {
    let mut running = Vec::new();
    // The kernel's call is what is subtracted from all its figures.
    for engine in ENGINES.iter().filter(|engine| engine.name != "kernel") {
        match (engine.prepare)(EMPTY).and_then(|mut ready| ready.run().map(|_| ready)) {
            Ok(ready) => running.push((engine.name, ready)),
            Err(why) => notes.push(format!("empty, {}: {why}", engine.name)),
        }
    }
    let mut timers: Vec<_> = running.iter_mut().map(|(_, ready)| |runs| ready.time(runs)).collect();
    let mut subjects: Vec<Subject<'_>> = timers.iter_mut().map(|t| t as Subject<'_>).collect();
    let samples = alternate(&mut subjects, effort);
    for ((name, _), samples) in running.iter().zip(samples) {
        println!("{name:32} {:>10}", median(samples).map_or_else(String::new, time));
    }
}
