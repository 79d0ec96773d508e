//! The command as its users run it: a process with arguments, streams and an exit code.

mod asm;
mod conform;
mod contexts;
mod disasm;
mod documents;
mod errors;
mod examples;
mod guide;
mod inspect;
mod link;
mod maps;
mod native;
mod pins;
mod run;
mod sockets;
mod verify;
mod world;

use serde_json::Value;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What a process left behind.
#[derive(Debug)]
struct Ended {
    code: i32,
    out: String,
    err: String,
}

impl Ended {
    /// Standard output as JSON.
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    /// Standard output of a process that did its work.
    fn well(self) -> String {
        assert_eq!((self.code, self.err.as_str()), (0, ""), "{}", self.out);
        stable(&self.out)
    }

    /// Standard error of a process that ended with this code.
    fn failed(self, code: i32) -> String {
        assert_eq!(self.code, code, "{self:?}");
        assert_eq!(self.out, "", "{self:?}");
        stable(&self.err)
    }
}

/// The root of the workspace, where the command is run.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().expect("the repository")
}

/// The words of a command as a shell splits them: at spaces outside single quotes.
fn words(command: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for c in command.chars() {
        match c {
            '\'' => quoted = !quoted,
            ' ' if !quoted => words.push(String::new()),
            c => words.last_mut().expect("a word").push(c),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// Runs the command with these arguments, separated by spaces.
fn ebpfvm(args: &str) -> Ended {
    ebpfvm_on(&args.split_whitespace().collect::<Vec<_>>(), b"")
}

/// Runs the command with these arguments and this standard input.
fn ebpfvm_on(args: &[&str], input: &[u8]) -> Ended {
    let mut child = Command::new(env!("CARGO_BIN_EXE_ebpfvm"))
        .args(args)
        .current_dir(root())
        .env_remove("CLICOLOR_FORCE")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command starts");
    // One that does not read its input closes the pipe.
    let _ = child.stdin.take().expect("stdin is piped").write_all(input);
    let output = child.wait_with_output().expect("the command ends");
    Ended {
        code: output.status.code().expect("the command is not killed"),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Text without what differs from run to run: times, host addresses, scratch folders.
fn stable(text: &str) -> String {
    let mut lines = String::new();
    for line in text.lines() {
        let line = line.replace(env!("CARGO_TARGET_TMPDIR"), "DIR");
        let line = match line.split_once(" at 0x") {
            Some((before, after)) if after.find(|c: char| !c.is_ascii_hexdigit()) > Some(8) => {
                let rest = after.trim_start_matches(|c: char| c.is_ascii_hexdigit());
                format!("{before} at ADDRESS{rest}")
            }
            _ => line,
        };
        let has_time =
            [" returned ", " states) in ", " state) in "].iter().any(|w| line.contains(w));
        match line.rsplit_once(" in ").filter(|_| has_time) {
            Some((before, after)) => {
                let rest = after.split_once('s').map_or("", |(_, rest)| rest);
                lines.push_str(&format!("{before} in TIME{rest}\n"));
            }
            None => lines.push_str(&format!("{line}\n")),
        }
    }
    lines
}

/// A file in a directory of the test's own.
fn scratch(name: &str, content: impl AsRef<[u8]>) -> String {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("command");
    let path = dir.join(name);
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("a scratch directory");
    std::fs::write(&path, content).expect("a scratch file");
    path.to_str().expect("UTF-8").to_string()
}

#[test]
fn help_names_commands_and_exit_codes() {
    let help = ebpfvm("--help").well();
    for word in
        ["run", "verify", "disasm", "asm", "inspect", "link", "conform", "Exit codes:", "--json"]
    {
        assert!(help.contains(word), "{word}: {help}");
    }
    for command in ["run", "verify", "disasm", "asm", "inspect", "link", "conform", "map dump"] {
        let help = ebpfvm(&format!("{command} --help")).well();
        assert!(help.contains("Usage: ebpfvm"), "{help}");
    }
    assert!(ebpfvm("--version").well().starts_with("ebpfvm "));
}

/// `ebpfvm ... | head -0`: no panic, no message.
#[test]
fn a_closed_pipe_is_silent() {
    for args in [
        "disasm examples/xdp_lb/xdp_lb.bpf.o",
        "conform --vectors conformance/vectors --engine checked --json",
        "inspect examples/xdp_lb/xdp_lb.bpf.o --types",
        "--help",
    ] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_ebpfvm"))
            .args(args.split_whitespace())
            .current_dir(root())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the command starts");
        drop(child.stdout.take());
        let output = child.wait_with_output().expect("the command ends");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{args}");
        assert_eq!(output.status.code(), Some(0), "{args}");
    }
}

/// A full disk is told, on the stream that is left.
#[cfg(target_os = "linux")]
#[test]
fn output_that_cannot_be_written_is_told() {
    for json in [&[][..], &["--json"]] {
        let full = std::fs::File::create("/dev/full").expect("/dev/full");
        let output = Command::new(env!("CARGO_BIN_EXE_ebpfvm"))
            .args(["inspect", "examples/raw/raw.bpf.o"])
            .args(json)
            .current_dir(root())
            .stdout(full)
            .output()
            .expect("the command ends");
        assert_eq!(output.status.code(), Some(3));
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(error.contains("standard output: No space left on device"), "{error}");
    }
}

#[test]
fn colours_are_for_terminals_or_on_request() {
    let args = "disasm examples/xdp_lb/xdp_lb.bpf.o -p xdp_lb_nat";
    assert!(!ebpfvm(args).out.contains('\u{1b}'));
    assert!(ebpfvm(&format!("{args} --color always")).out.contains('\u{1b}'));
    assert!(!ebpfvm(&format!("{args} --color never")).out.contains('\u{1b}'));
}
