//! Compiles the bench programs for the host, as the measure of the other engines. Without a C
//! compiler the crate builds all the same, says so, and the comparison has no native column.

use std::path::PathBuf;
use std::process::Command;

fn main() {
    println!("cargo:rustc-check-cfg=cfg(native)");
    println!("cargo:rerun-if-changed=programs");
    println!("cargo:rerun-if-changed=native");
    println!("cargo:rerun-if-env-changed=CC");

    let mut build = cc::Build::new();
    if std::env::var_os("CC").is_none()
        && let Some(clang) = ["clang-19", "clang"].iter().find(|name| answers(name))
    {
        // The compiler that made the BPF objects, so that only the target differs.
        build.compiler(clang);
    }
    build
        .opt_level(2)
        .force_frame_pointer(false)
        .warnings(false)
        .cargo_warnings(false)
        // BPF has no vectors: leave them out here as well, or the ratio measures SIMD.
        .flag_if_supported("-fno-vectorize")
        .flag_if_supported("-fno-slp-vectorize")
        .flag_if_supported("-fno-tree-vectorize")
        .flag_if_supported("-Wno-unknown-pragmas");

    match compile(&build) {
        Ok(()) => println!("cargo:rustc-cfg=native"),
        Err(error) => {
            println!("cargo:warning=no native column: the C compiler failed: {error}");
        }
    }
}

/// Compiles each program to an object of its own, with its entry named `native_<file stem>`.
fn compile(build: &cc::Build) -> Result<(), cc::Error> {
    let mut library = build.clone();
    for source in sources() {
        let stem = source.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let mut one = build.clone();
        one.define("ENTRY_NAME", format!("native_{stem}").as_str()).file(&source);
        for object in one.try_compile_intermediates()? {
            library.object(object);
        }
    }
    library.file("native/host.c");
    library.try_compile("native_programs")
}

fn sources() -> Vec<PathBuf> {
    let entries = std::fs::read_dir("programs").expect("benches/programs exists");
    let mut sources: Vec<PathBuf> = entries
        .map(|entry| entry.expect("a readable folder").path())
        .filter(|path| path.extension() == Some("c".as_ref()))
        .collect();
    sources.sort();
    sources
}

fn answers(compiler: &str) -> bool {
    Command::new(compiler).arg("--version").output().is_ok_and(|out| out.status.success())
}
