//! Programs that are judged by the verifier and by the running kernel, and what judging took.

use ebpfvm_asm::text::{Dialect, assemble};
use ebpfvm_conformance::corpus::TargetKernel;
use ebpfvm_conformance::files::{OBJECT, files_below};
use ebpfvm_conformance::judge::LiveJudge;
use ebpfvm_kernel::Kernel;
use ebpfvm_kernel::prog::log_level;
use ebpfvm_loader::{LinkOptions, Object};
use ebpfvm_spec::{Platform, ProgType, Program};
use ebpfvm_verifier::{Options, verify};
use std::path::PathBuf;
use std::time::Duration;

/// A program to be judged.
pub struct Input {
    /// Object and program.
    pub name: String,
    /// The program.
    pub program: Program,
}

/// What one judge said, and how long it took at best.
#[derive(Clone, Debug, PartialEq)]
pub struct Judgement {
    /// Whether the program was accepted.
    pub accepted: bool,
    /// Instructions that were followed.
    pub processed: u64,
    /// Time for the verdict.
    pub time: Duration,
}

/// The programs of all objects in directories, or of the objects themselves. What cannot be opened
/// or linked is told and left out.
pub fn programs(paths: &[PathBuf]) -> Vec<Input> {
    let (platform, target) = (Platform::linux(), TargetKernel::running());
    let mut inputs = Vec::new();
    let below = |path: &PathBuf| {
        let told = |error| println!("left out: {}: {error}", path.display());
        files_below(path, OBJECT).map_err(told).unwrap_or_default()
    };
    for file in paths.iter().flat_map(below) {
        let name = file.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let object = std::fs::read(&file)
            .map_err(|error| error.to_string())
            .and_then(|bytes| Object::parse(&bytes, &name).map_err(|error| error.to_string()));
        let object = match object {
            Ok(object) => object,
            Err(error) => {
                println!("left out: {}: {error}", file.display());
                continue;
            }
        };
        for info in object.programs() {
            let options = LinkOptions { target_btf: target.btf.as_ref(), ..LinkOptions::default() };
            match object.linked_program_for(&info.name, &platform, &options) {
                Ok(linked) => inputs.push(Input {
                    name: format!("{}/{}", name.trim_end_matches(".bpf.o"), info.name),
                    program: linked.program,
                }),
                Err(error) => println!("left out: {error}"),
            }
        }
    }
    inputs
}

/// Programs that are made to be long: straight code, branches that double what is known, loops of
/// many rounds.
pub fn generated() -> Vec<Input> {
    let straight = |count: usize| {
        let mut text = String::from("r0 = 1\nr2 = 7\n");
        for i in 0..count {
            text += ["r0 += r2\n", "r0 ^= 21\n", "r2 += 3\n", "r0 <<= 1\n"][i % 4];
        }
        text + "exit\n"
    };
    let branches = |count: usize| {
        let mut text = String::from("r6 = *(u32 *)(r1 + 0)\nr0 = 0\n");
        for i in 0..count {
            text += &format!("if r6 > {} goto l{i}\nr0 += {i}\nl{i}:\n", i * 3);
        }
        text + "exit\n"
    };
    let rounds = |count: usize| {
        format!("r0 = 0\nr1 = 0\nl:\nr1 += 3\nr0 += 1\nif r0 < {count} goto l\nr0 = 0\nexit\n")
    };
    [
        ("straight, 50,000", straight(50_000)),
        ("branches, 2,000", branches(2_000)),
        ("loop of 200,000 rounds", rounds(200_000)),
    ]
    .into_iter()
    .map(|(name, text)| {
        let code = assemble(&text, Dialect::PseudoC).expect("the generated text is a program");
        let program = Program::from_code("generated", ProgType::SocketFilter, code);
        Input { name: name.into(), program }
    })
    .collect()
}

/// Judges a program here, `rounds` times.
pub fn ours(input: &Input, platform: &Platform, rounds: u32) -> Judgement {
    let judge = || {
        let judgement = verify(input.program.clone(), platform, &Options::default());
        let stats = &judgement.report.stats;
        Judgement {
            accepted: judgement.verdict.is_ok(),
            processed: stats.processed.into(),
            time: stats.time,
        }
    };
    best((0..rounds).map(|_| judge())).unwrap_or_else(judge)
}

/// Has the kernel judge a program, `rounds` times. It measures itself, in microseconds.
///
/// # Errors
/// The kernel cannot take the program's types or maps.
pub fn linux(kernel: &Kernel, input: &Input, rounds: u32) -> Result<Judgement, String> {
    let program = &input.program;
    let mut judge = LiveJudge::new(kernel, program.maps.clone(), program.btf.as_deref())?;
    let mut all = Vec::new();
    for _ in 0..rounds.max(1) {
        let judged = judge.judge(program, log_level::STATS)?;
        all.push(Judgement {
            accepted: judged.accepted,
            processed: judged.processed.unwrap_or_default(),
            time: judged.time,
        });
    }
    best(all.into_iter()).ok_or_else(|| "no judgement".into())
}

fn best(all: impl Iterator<Item = Judgement>) -> Option<Judgement> {
    all.min_by_key(|judgement| judgement.time)
}

/// The most memory that this process has held, in bytes (`VmHWM`).
pub fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib * 1024)
}
