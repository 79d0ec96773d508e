//! Writes what fuzzing starts from: `fuzz_seeds DIR` fills `DIR/TARGET` for the targets that take
//! bytes as they are. cargo-fuzz looks for it in `fuzz/targets/corpus`.

use ebpfvm_asm::ByteOrder;
use ebpfvm_asm::text::{Dialect, assemble};
use ebpfvm_fuzz::{Target, seeds};
use std::io;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [dir] = args.as_slice() else {
        eprintln!("use: fuzz_seeds DIR");
        return ExitCode::from(2);
    };
    match write_all(Path::new(dir)) {
        Ok(count) => {
            println!("{count} files in {dir}");
            ExitCode::SUCCESS
        }
        Err(e) => {
            eprintln!("{dir}: {e}");
            ExitCode::from(1)
        }
    }
}

fn write_all(dir: &Path) -> io::Result<usize> {
    let texts: Vec<&[u8]> = seeds::texts().iter().map(|text| text.as_bytes()).collect();
    let codes: Vec<Vec<u8>> = seeds::texts()
        .iter()
        .filter_map(|text| assemble(text, Dialect::Auto).ok()?.to_bytes(ByteOrder::Little).ok())
        .collect();
    let objects = seeds::objects();
    let types = seeds::types();
    Ok(write(&dir.join(Target::RawText.name()), texts)?
        + write(&dir.join(Target::RawEncoding.name()), codes.iter().map(Vec::as_slice))?
        + write(&dir.join(Target::RawObject.name()), objects.iter().map(Vec::as_slice))?
        + write(&dir.join(Target::RawBtf.name()), types.iter().map(Vec::as_slice))?)
}

fn write<'a>(dir: &Path, files: impl IntoIterator<Item = &'a [u8]>) -> io::Result<usize> {
    std::fs::create_dir_all(dir)?;
    let mut count = 0;
    for bytes in files {
        std::fs::write(dir.join(format!("seed-{count:04}")), bytes)?;
        count += 1;
    }
    Ok(count)
}
