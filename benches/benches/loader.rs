//! Opening objects and reading the kernel's types, beside aya-obj, in one run; ends with a table of
//! ratios. A filter restricts the run, as criterion takes it.

use aya_obj::btf::Btf;
use criterion::Criterion;
use ebpfvm_benches::large_object::large_object;
use ebpfvm_benches::table::{Cell, Row, render};
use ebpfvm_loader::{Object, parse_btf};
use std::hint::black_box;
use std::time::{Duration, Instant};

/// Structs of the large object: about 5 MB.
const STRUCTS: u32 = 20_000;

type Open<'a> = &'a dyn Fn(&[u8]) -> bool;

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(2))
        .sample_size(15)
        .without_plots()
        .configure_from_args();
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
            let cells = openers.iter().map(|(who, open)| {
                measure(&mut criterion, &format!("{name}/{who}"), || open(bytes))
            });
            Row { name, cells: cells.collect() }
        })
        .collect();
    criterion.final_summary();
    println!("\nMedian times as multiples of the first column:\n");
    print!("{}", render(&["ebpfvm", "aya-obj"], &rows));
}

/// Measures what succeeds once.
fn measure(criterion: &mut Criterion, name: &str, open: impl Fn() -> bool) -> Cell {
    if !open() {
        println!("{name}: refused");
        return Cell::Unsupported;
    }
    let mut samples = Vec::new();
    criterion.bench_function(name, |bencher| {
        bencher.iter_custom(|runs| {
            let start = Instant::now();
            for _ in 0..runs {
                black_box(open());
            }
            let elapsed = start.elapsed();
            samples.push(elapsed.as_secs_f64() * 1e9 / runs as f64);
            elapsed
        });
    });
    samples.sort_by(f64::total_cmp);
    samples.get(samples.len() / 2).map_or(Cell::Unsupported, |ns| Cell::Time(*ns))
}
