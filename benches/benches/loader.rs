//! Opening objects and reading the kernel's types, beside aya-obj, in one run; ends with a table of
//! ratios. `--quick` measures less.

use aya_obj::btf::Btf;
use ebpfvm_benches::large_object::large_object;
use ebpfvm_benches::measure::{Effort, Subject, alternate, repeat};
use ebpfvm_benches::table::{Cell, Row, cells, render};
use ebpfvm_loader::{Object, parse_btf};

/// Structs of the large object: about 5 MB.
const STRUCTS: u32 = 20_000;

type Open<'a> = &'a dyn Fn(&[u8]) -> bool;

fn main() {
    let quick = std::env::args().any(|argument| argument == "--quick");
    let effort = if quick { Effort::QUICK } else { Effort::FULL };
    let object: [(&str, Open<'_>); 2] = [
        ("ebpfvm", &|bytes| Object::parse(bytes, "bench.o").is_ok()),
        ("aya-obj", &|bytes| aya_obj::Object::parse(bytes).is_ok()),
    ];
    let types: [(&str, Open<'_>); 2] = [
        ("ebpfvm", &|bytes| parse_btf(bytes, None).is_ok()),
        ("aya-obj", &|bytes| Btf::parse(bytes, Default::default()).is_ok()),
    ];
    let example = |name: &str| {
        let path = format!("{}/../examples/{name}/{name}.bpf.o", env!("CARGO_MANIFEST_DIR"));
        std::fs::read(&path).unwrap_or_else(|err| panic!("{path}: {err}"))
    };
    let mut inputs = vec![
        ("xdp_firewall.bpf.o", example("xdp_firewall"), object),
        ("xdp_lb.bpf.o", example("xdp_lb"), object),
        ("large object", large_object(STRUCTS), object),
    ];
    match std::fs::read("/sys/kernel/btf/vmlinux") {
        Ok(bytes) => inputs.push(("the kernel's types", bytes, types)),
        Err(err) => println!("skipped: the kernel's types: {err}"),
    }
    let rows: Vec<Row> = inputs
        .iter()
        .map(|(name, bytes, openers)| {
            println!("{name}: {} bytes", bytes.len());
            Row { name, cells: measure(name, openers, bytes, effort) }
        })
        .collect();
    println!("\nMedian times as multiples of the first column:\n");
    print!("{}", render(&["ebpfvm", "aya-obj"], &rows));
}

/// Measures what succeeds once.
fn measure(name: &str, openers: &[(&str, Open<'_>)], bytes: &[u8], effort: Effort) -> Vec<Cell> {
    let opens: Vec<bool> = openers.iter().map(|(_, open)| open(bytes)).collect();
    for ((who, _), _) in openers.iter().zip(&opens).filter(|(_, opens)| !**opens) {
        println!("{name}/{who}: refused");
    }
    let running = openers.iter().zip(&opens).filter(|(_, opens)| **opens);
    let mut timers: Vec<_> =
        running.map(|((_, open), _)| |runs| repeat(runs, || open(bytes))).collect();
    let mut subjects: Vec<Subject<'_>> = timers.iter_mut().map(|t| t as Subject<'_>).collect();
    let samples = alternate(&mut subjects, effort);
    cells(opens.iter().map(|opens| opens.then_some(()).ok_or(Cell::Unsupported)), samples)
}
