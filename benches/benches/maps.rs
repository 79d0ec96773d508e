//! Maps from programs and from the host beside the kernel's and those of Rust programs, in one run.
//!
//! The first table has what a lookup or an update costs, loop included; the second what the map alone
//! costs a program: the loop without it is subtracted. An argument restricts the run to kinds whose
//! name has it.

use ebpfvm_benches::maps::{Action, BATCH, Cost, HOMES, KINDS, Kind, measure};
use ebpfvm_kernel::kernel_or_skip;

fn main() {
    let filter: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let chosen = |kind: &&Kind| {
        filter.is_empty() || filter.iter().any(|part| kind.name.contains(part.as_str()))
    };
    let kernel = kernel_or_skip("the kernel's maps");
    println!(
        "Nanoseconds of a thread for an operation on one of 65,536 entries, and millions in a"
    );
    println!("second of all threads:\n");
    print!("{:24}", "");
    HOMES.iter().for_each(|home| print!(" {:>14}", home.name));
    println!();
    for kind in KINDS.iter().filter(chosen) {
        for action in [Action::Lookup, Action::Update] {
            let prepared: Vec<_> =
                HOMES.iter().map(|home| (home.prepare)(kind, action, kernel.as_ref())).collect();
            for threads in [1, 2] {
                print!("{:24}", format!("{} {action:?} x{threads}", kind.name));
                for batch in &prepared {
                    match batch {
                        Ok(batch) => {
                            let ns = measure(threads, batch.as_ref());
                            let rate = f64::from(threads) * 1e3 / ns;
                            print!(" {:>14}", format!("{ns:.1} ({rate:.1})"));
                        }
                        Err(_) => print!(" {:>14}", "-"),
                    }
                }
                println!();
            }
        }
    }
    println!(
        "\nWhat a lookup and reading the value cost a program, in nanoseconds, of {BATCH} in a loop:\n"
    );
    println!(
        "{:14} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9}",
        "", "ours", "kernel", "ratio", "map only", "kernel", "ratio"
    );
    for kind in KINDS.iter().filter(chosen) {
        let ours = Cost::ours(kind);
        print!("{:14} {:>9.1}", kind.name, ours.whole);
        match kernel.as_ref().map(|kernel| Cost::kernels(kernel, kind)) {
            Some(Ok(theirs)) => println!(
                " {:>9.1} {:>9.2} {:>9.1} {:>9.1} {:>9.2}",
                theirs.whole,
                ours.whole / theirs.whole,
                ours.map,
                theirs.map,
                ours.map / theirs.map
            ),
            Some(Err(why)) => println!(" {:>9} {:>9} {:>9.1}  {why}", "-", "-", ours.map),
            None => println!(" {:>9} {:>9} {:>9.1}", "-", "-", ours.map),
        }
    }
    if let Some(native) = Cost::native() {
        println!("\nAn element of a native array through a function call: {native:.1} ns");
    }
}
