//! The interpreter as a plugin of the bpf_conformance runner; see [`ebpfvm_conformance::plugin`].
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<String> =
        std::env::args_os().skip(1).map(|arg| arg.to_string_lossy().into_owned()).collect();
    match ebpfvm_conformance::plugin::run(&args, std::io::stdin().lock()) {
        Ok(value) => {
            println!("{value:x}");
            ExitCode::SUCCESS
        }
        Err(e) => {
            eprintln!("{e}");
            ExitCode::from(e.exit_code())
        }
    }
}
