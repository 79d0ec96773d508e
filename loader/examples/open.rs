//! Opens object files and links all their programs: a table of the objects, then what cannot be had,
//! and why.
//!
//! `cargo run -p ebpfvm-loader --example open -- [--btf FILE] OBJECT|DIRECTORY...`
//!
//! Without `--btf`, CO-RE relocations and kernel functions are looked up in the running kernel's types
//! if there are any.

use ebpfvm_loader::{LinkOptions, Object, parse_btf};
use std::path::PathBuf;

fn main() {
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    let mut types = None;
    if args.first().is_some_and(|a| a == "--btf") && args.len() > 1 {
        types = Some(std::fs::read(&args[1]).expect("the BTF file can be read"));
        args.drain(..2);
    }
    let types = types.or_else(|| std::fs::read("/sys/kernel/btf/vmlinux").ok());
    let target = types.map(|bytes| parse_btf(&bytes, None).expect("the file holds BTF"));
    let options = LinkOptions { target_btf: target.as_ref(), ..LinkOptions::default() };

    let mut files: Vec<PathBuf> = args.into_iter().flat_map(|a| objects(a.into())).collect();
    files.sort();
    let (mut refusals, mut sums) = (Vec::new(), [0; 4]);
    println!("{:<44} {:>8} {:>6} {:>6} {:>7}", "object", "programs", "maps", "linked", "refused");
    for file in &files {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let bytes = std::fs::read(file).expect("the object can be read");
        let object = match Object::parse(&bytes, &name) {
            Ok(object) => object,
            Err(err) => {
                println!("{name:<44} does not open");
                refusals.push(err.to_string());
                continue;
            }
        };
        let mut linked = 0;
        for program in object.programs() {
            match object.link_for(&program.name, &options) {
                Ok(_) => linked += 1,
                Err(err) => refusals.push(format!("program '{}': {err}", program.name)),
            }
        }
        let (programs, maps) = (object.programs().len(), object.maps().len());
        let refused = programs - linked;
        println!("{name:<44} {programs:>8} {maps:>6} {linked:>6} {refused:>7}");
        for (sum, n) in sums.iter_mut().zip([1, programs, linked, refused]) {
            *sum += n;
        }
    }
    let [opened, programs, linked, refused] = sums;
    println!(
        "\n{opened} of {} objects open; of {programs} programs {linked} link, {refused} do not",
        files.len()
    );
    refusals.iter().for_each(|refusal| println!("  {refusal}"));
}

/// A file, or the objects of a directory.
fn objects(path: PathBuf) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(&path) else { return vec![path] };
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    paths.filter(|p| p.extension().is_some_and(|e| e == "o")).collect()
}
