//! Opens object files and links all their programs: prints what cannot be had, and why.
//!
//! `cargo run --example open -- [--btf FILE] OBJECT...`

use ebpfvm_loader::{LinkOptions, Object, parse_btf};

fn main() {
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    let mut target = None;
    if args.first().is_some_and(|a| a == "--btf") && args.len() > 1 {
        let bytes = std::fs::read(&args[1]).expect("the BTF file can be read");
        target = Some(parse_btf(&bytes, None).expect("the file holds BTF"));
        args.drain(..2);
    }
    let options = LinkOptions { target_btf: target.as_ref(), ..LinkOptions::default() };
    let (mut opened, mut linked, mut failed) = (0, 0, 0);
    for file in &args {
        let bytes = std::fs::read(file).expect("the object can be read");
        let object = match Object::parse(&bytes, file) {
            Ok(object) => object,
            Err(err) => {
                println!("{err}");
                continue;
            }
        };
        opened += 1;
        for program in object.programs() {
            match object.link_for(&program.name, &options) {
                Ok(_) => linked += 1,
                Err(err) => {
                    failed += 1;
                    println!("{}: {err}", program.name);
                }
            }
        }
    }
    println!("{opened} of {} objects open, {linked} programs linked, {failed} not", args.len());
}
