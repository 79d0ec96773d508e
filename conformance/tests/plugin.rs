//! The plugin as a process, as the bpf_conformance runner starts it.

use ebpfvm_asm::ByteOrder;
use ebpfvm_conformance::runner::vector_files;
use ebpfvm_conformance::{Expected, Vector};
use ebpfvm_kernel::report_skip;
use object::write::{Object, StandardSection, Symbol, SymbolSection};
use object::{Architecture, BinaryFormat, Endianness, SymbolFlags, SymbolKind, SymbolScope};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// Two spaces after each byte, as the runner writes.
fn base16(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}  ")).collect()
}

fn plugin(args: &[&str], stdin: &[u8]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_bpf_conformance_plugin"))
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A plugin that refuses its arguments does not read.
    let _ = child.stdin.take().unwrap().write_all(stdin);
    child.wait_with_output().unwrap()
}

/// What the runner makes of an output: the value, or the message.
fn result(output: &Output) -> Result<u64, String> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() {
        Ok(u64::from_str_radix(text(&output.stdout).trim_end_matches('\n'), 16).unwrap())
    } else {
        assert!(output.stdout.is_empty());
        Err(text(&output.stderr))
    }
}

fn program_bytes(vector: &Vector) -> Vec<u8> {
    let slots = vector.program.as_ref().unwrap();
    slots.iter().flat_map(|slot| slot.to_bytes(ByteOrder::Little)).collect()
}

/// Runs the vectors of a directory; returns how many there were.
fn run_dir(dir: &Path) -> usize {
    let files = vector_files(dir).unwrap();
    for path in &files {
        let vector = Vector::read(path).unwrap();
        let memory = vector.memory.as_deref().map(base16);
        let args: Vec<&str> = memory.iter().map(String::as_str).collect();
        let line = format!("{}\n", base16(&program_bytes(&vector)));
        let got = result(&plugin(&args, line.as_bytes()));
        match &vector.expected {
            Expected::Value(value) => assert_eq!(got, Ok(*value), "{}", path.display()),
            Expected::Error(text) => {
                let error = got.expect_err(&vector.file_name());
                assert!(error.contains(text.as_str()), "{}: {error}", path.display());
            }
        }
    }
    files.len()
}

#[test]
fn our_vectors_pass() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors");
    assert!(run_dir(&dir) > 0);
}

#[test]
fn the_shared_vectors_pass() {
    let dir: PathBuf =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/vectors/bpf_conformance");
    if !dir.is_dir() {
        report_skip("the_shared_vectors_pass", "they are not beside the workspace");
        return;
    }
    assert_eq!(run_dir(&dir), 224);
}

const MOV_5_EXIT: &str = "b7  00  00  00  05  00  00  00  95  00  00  00  00  00  00  00  \n";

#[test]
fn the_value_is_all_of_stdout() {
    let output = plugin(&[], MOV_5_EXIT.as_bytes());
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(0), &b"5\n"[..]));
    let output = plugin(&["--program", MOV_5_EXIT], b"");
    assert_eq!(result(&output), Ok(5));
}

#[test]
fn an_elf_file_is_run_from_main() {
    let mut elf = Object::new(BinaryFormat::Elf, Architecture::Bpf, Endianness::Little);
    let text = elf.section_id(StandardSection::Text);
    let code: Vec<u8> =
        MOV_5_EXIT.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect();
    let value = elf.append_section_data(text, &code, 8);
    elf.add_symbol(Symbol {
        name: b"main".to_vec(),
        value,
        size: code.len() as u64,
        kind: SymbolKind::Text,
        scope: SymbolScope::Linkage,
        weak: false,
        section: SymbolSection::Section(text),
        flags: SymbolFlags::None,
    });
    let file = elf.write().unwrap();
    assert_eq!(result(&plugin(&["--elf"], base16(&file).as_bytes())), Ok(5));
    let memory = base16(&[1, 2, 3]);
    assert_eq!(result(&plugin(&[&memory, "--elf"], base16(&file).as_bytes())), Ok(5));
    let error = result(&plugin(&["--elf"], base16(&file[..40]).as_bytes())).unwrap_err();
    assert!(error.starts_with("the ELF file: "), "{error}");
    let empty = Object::new(BinaryFormat::Elf, Architecture::Bpf, Endianness::Little);
    let error = result(&plugin(&["--elf"], base16(&empty.write().unwrap()).as_bytes()));
    assert!(error.unwrap_err().contains("neither a function `main` nor"));
}

#[test]
fn bad_input_is_named() {
    let fails = |args: &[&str], stdin: &str, code: i32, text: &str| {
        let output = plugin(args, stdin.as_bytes());
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{error}");
        assert!(error.contains(text), "{error}");
    };
    fails(&["--jit"], "", 2, "there is no option `--jit`");
    fails(&["--program"], "", 2, "--program needs the bytes");
    fails(&["--elf", "00"], "", 2, "the memory must be the first argument");
    fails(&["0x00"], "", 1, "memory: `0x00` is not a byte");
    fails(&[], "b7 zz", 1, "program: `zz` is not a byte");
    fails(&[], "b7 00", 1, "2 bytes, which is not a multiple of 8");
    fails(&[], "", 1, "the program has no instructions");
    fails(&[], "ff 00 00 00 00 00 00 00", 1, "unknown opcode 0xff");
}
