//! The verifier's log, line by line as the running kernel writes it, for the objects of this repository.

use ebpfvm_asm::{ByteOrder, CallTarget, Insn};
use ebpfvm_conformance::files::files_below;
use ebpfvm_conformance::judge::{LiveJudge, comparable, judge, ours::with_log};
use ebpfvm_kernel::{Kernel, linux_6_18_or_skip, report_skip};
use ebpfvm_loader::Object;
use ebpfvm_spec::helper::Arg;
use ebpfvm_spec::{Platform, Program};
use ebpfvm_verifier::Options;
use std::path::{Path, PathBuf};

/// Where objects are, from the root.
const FOLDERS: [&str; 5] = [
    "cli/tests/objects",
    "conformance/objects",
    "conformance/projects",
    "examples",
    "loader/tests/objects",
];
/// The path that failed; all paths and the statistics.
const LEVELS: [u32; 2] = [1, 2 | 4];

/// Programs whose logs differ: file, program, why.
const DIFFERENT: &[(&str, &str, &str)] = &[
    ("calls_weak.o", "use", "the kernel is not told that hidden functions are static"),
    ("sockets.bpf.o", "account", "null given to a helper matters here"),
    ("sockets.bpf.o", "join", "null given to a helper matters here"),
    ("syn_cookie.bpf.o", "syn_cookie", "null given to a helper matters here"),
    ("xdp_lb.bpf.o", "xdp_lb_encap", "null given to a helper matters here"),
];
/// Programs that are followed for longer than this are left out: their logs have gigabytes.
const MOST_PROCESSED: u64 = 100_000;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The programs of all objects that can be linked, with the names of their files.
fn programs() -> Vec<(String, Program)> {
    let below = |folder: &&str| files_below(&root().join(folder), ".o").expect("a folder");
    let files: Vec<PathBuf> = FOLDERS.iter().flat_map(below).collect();
    let mut programs = Vec::new();
    for file in files {
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let Ok(object) = Object::parse(&std::fs::read(&file).expect("a file"), &name) else {
            continue;
        };
        if object.byte_order() != ByteOrder::HOST {
            continue;
        }
        let linked = object
            .programs()
            .iter()
            .filter_map(|info| object.program(&info.name, &Platform::linux()).ok());
        programs.extend(linked.map(|program| (name.clone(), program)));
    }
    programs
}

/// The kernel, if its log is the one that is followed.
fn kernel() -> Option<Kernel> {
    let name = "logs_are_those_of_the_kernel";
    if !cfg!(target_arch = "x86_64") {
        report_skip(name, "the kernel writes its log for x86_64");
        return None;
    }
    linux_6_18_or_skip(name)
}

/// The first lines that differ.
fn difference(ours: &str, linux: &str) -> String {
    let (ours, linux): (Vec<&str>, Vec<&str>) = (ours.lines().collect(), linux.lines().collect());
    let at = ours.iter().zip(&linux).take_while(|(a, b)| a == b).count();
    let line = |lines: &[&str]| lines.get(at).copied().unwrap_or("(the end)").to_owned();
    format!("line {}:\n  here  {}\n  Linux {}", at + 1, line(&ours), line(&linux))
}

/// Whether a program gives a helper a function to call.
fn calls_back(program: &Program) -> bool {
    let platform = Platform::linux();
    program.code.iter().any(|(_, insn)| match insn {
        Insn::Call { target: CallTarget::Helper(id) } => platform
            .helper(*id)
            .is_some_and(|proto| proto.args.iter().any(|arg| matches!(arg, Arg::Callback(_)))),
        _ => false,
    })
}

#[test]
fn logs_are_those_of_the_kernel() {
    let Some(kernel) = kernel() else { return };
    let cpus = Some(kernel.possible_cpus());
    let with_log = |level| Options { cpus, ..with_log(level) };
    let (mut equal, mut not_given, mut not_judged, mut left_out) = (0, 0, 0, 0);
    let mut wrong = Vec::new();
    for (file, program) in programs() {
        let types = program.btf.as_deref();
        // The kernel takes fewer types than the loader: libbpf rewrites some.
        let Ok(mut linux) = LiveJudge::new(&kernel, program.maps.clone(), types) else {
            not_given += 1;
            continue;
        };
        // Rounds of callbacks are kept as loops here, so that what matters in one matters in all.
        let quiet = judge(program.clone(), &Platform::linux(), &with_log(0));
        if calls_back(&program) || quiet.processed > Some(MOST_PROCESSED) {
            left_out += 1;
            continue;
        }
        if quiet.unsupported {
            not_judged += 1;
            continue;
        }
        let known = |row: &&(&str, &str, &str)| row.0 == file && row.1 == program.name;
        let known = DIFFERENT.iter().find(known);
        let mut differ = Vec::new();
        for level in LEVELS {
            let ours = judge(program.clone(), &Platform::linux(), &with_log(level));
            match linux.judge(&program, level) {
                // Refused before the verifier is asked: a type that the kernel is built without.
                Ok(linux) if linux.log.is_empty() => not_given += 1,
                Err(_) => not_given += 1,
                Ok(linux) => {
                    let (ours, linux) = (comparable(&ours.log), comparable(&linux.log));
                    if ours == linux {
                        equal += 1;
                    } else {
                        let place = format!("{file} {} at level {level}", program.name);
                        differ.push(format!("{place}, {}", difference(&ours, &linux)));
                    }
                }
            }
        }
        match known {
            Some(row) if differ.is_empty() => wrong.push(format!("no longer different: {row:?}")),
            Some(_) => {}
            None => wrong.extend(differ),
        }
    }
    println!(
        "{equal} logs are equal; {not_given} the kernel was not asked for; {not_judged} programs \
         are not judged, {left_out} left out"
    );
    assert!(
        wrong.is_empty(),
        "{} of {} logs differ:\n{}",
        wrong.len(),
        wrong.len() + equal,
        wrong.join("\n")
    );
    assert!(equal >= 200, "only {equal} logs");
}
