//! Compares verdicts with what Linux said: `verdicts OBJECTS_DIR TRUTH.jsonl`.

use clap::{Parser, ValueEnum};
use ebpfvm_conformance::corpus::compare::compare_all;
use ebpfvm_conformance::corpus::{Compared, Kind, Objects, Table, TargetKernel, Truth};
use ebpfvm_conformance::judge::ours::with_log;
use ebpfvm_conformance::judge::{LiveJudge, comparable, guarded, judge, live};
use ebpfvm_kernel::Kernel;
use ebpfvm_spec::{Platform, Program};
use similar::TextDiff;
use std::error::Error;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Compares our verdicts on the programs of objects with those of Linux, which a file tells.
///
/// Prints a table with a row for each tier. CO-RE relocations and configuration values are those of
/// the running kernel. The exit code is 1 if a program is accepted that Linux refuses, or the
/// verifier panics or does not end.
#[derive(Parser)]
#[command(name = "verdicts")]
struct Arguments {
    /// The directory of the objects, `NAME.bpf.o` for a source `NAME.c`
    objects: PathBuf,
    /// What Linux says: a line of JSON for each program
    truth: PathBuf,
    /// Only programs of these tiers, such as AB
    #[arg(long)]
    tier: Option<String>,
    /// Only programs of this source, such as `verifier_and.c`
    #[arg(long)]
    file: Option<String>,
    /// Only programs of this name
    #[arg(long)]
    program: Option<String>,
    /// List programs, with both verdicts, those with the same messages together
    #[arg(long, value_enum)]
    list: Vec<List>,
    /// Print our log of each program at this level (1 the path that failed, 2 all, 4 statistics)
    #[arg(long)]
    log: Option<u32>,
    /// Load the programs into the running kernel and show where the logs at level 2 differ
    #[arg(long)]
    diff: bool,
    /// Threads
    #[arg(long, default_value_t = 1)]
    jobs: usize,
    /// Seconds for one program
    #[arg(long, default_value_t = 60)]
    limit: u64,
    /// Print JSON: a line for each program, and the table as the last one
    #[arg(long)]
    json: bool,
}

/// Which programs to list.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum List {
    /// Accepted here, refused by Linux
    FalseAccept,
    /// Refused here, accepted by Linux
    FalseReject,
    /// Refused for a need that is not judged yet
    Unsupported,
    /// Not brought to the verifier
    Error,
    /// The verifier panicked or did not end
    Crash,
    /// Refused by both with different messages
    Message,
    /// The same verdict after counts of instructions that differ by more than 10 %
    Processed,
    /// The same verdict after counts of instructions that differ at all
    Unequal,
}

impl List {
    fn has(self, compared: &Compared) -> bool {
        let same = compared.kind() == Kind::Same;
        match self {
            List::FalseAccept => compared.kind() == Kind::FalseAccept,
            List::FalseReject => compared.kind() == Kind::FalseReject,
            List::Unsupported => compared.kind() == Kind::Unsupported,
            List::Error => compared.kind() == Kind::Error,
            List::Crash => compared.kind() == Kind::Crash,
            List::Message => same && !compared.truth.accepted && !compared.same_message(),
            List::Processed => same && !compared.near_processed(),
            List::Unequal => same && !compared.same_processed(),
        }
    }

    /// What brings programs together that differ for the same reason.
    fn order(self, compared: &Compared) -> (String, String) {
        let (ours, linux) = (compared.ours(), compared.linux().to_string());
        match self {
            List::FalseAccept | List::Message => (linux, ours),
            _ => (ours, linux),
        }
    }

    fn line(self, compared: &Compared) -> String {
        let name = format!("{} {}", compared.truth.file, compared.truth.program);
        match self {
            List::Processed | List::Unequal => {
                let ours = compared.judged().and_then(|judged| judged.processed).unwrap_or(0);
                let linux = compared.truth.processed;
                let ratio = ours as f64 / linux.max(1) as f64;
                format!("{ratio:8.2}  {ours} here, {linux} Linux  {name}")
            }
            _ => format!("{} | {} | {name}", compared.ours(), compared.linux()),
        }
    }
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("verdicts: {error}");
            ExitCode::from(2)
        }
    }
}

fn run(arguments: &Arguments) -> Result<ExitCode, Box<dyn Error>> {
    let mut truths = Truth::read(&arguments.truth)?;
    truths.retain(|truth| arguments.selects(truth));
    if truths.is_empty() {
        return Err("no program is selected".into());
    }
    let objects = Objects::new(&arguments.objects, TargetKernel::running());
    if arguments.log.is_some() || arguments.diff {
        for truth in &truths {
            println!("== {} {}", truth.file, truth.program);
            let program = objects.program(truth)?;
            if let Some(level) = arguments.log {
                println!("{}", our_log(program.clone(), level, arguments.limit)?);
            }
            if arguments.diff {
                match difference(program, arguments.limit) {
                    Ok(text) => print!("{text}"),
                    // The kernel's loader may refuse what ours leaves out.
                    Err(error) => println!("no comparison: {error}"),
                }
            }
        }
        return Ok(ExitCode::SUCCESS);
    }
    let (done, total) = (AtomicUsize::new(0), truths.len());
    let terminal = std::io::stderr().is_terminal();
    let progress = |_: usize| {
        let done = done.fetch_add(1, Ordering::Relaxed) + 1;
        if terminal && (done % 16 == 0 || done == total) {
            let end = if done == total { "\n" } else { "" };
            // Progress that cannot be shown stops nothing.
            let _ = write!(std::io::stderr(), "\r{done}/{total} programs{end}");
        }
    };
    let limit = Duration::from_secs(arguments.limit);
    let compared = compare_all(&truths, &objects, limit, arguments.jobs, progress);
    let table = Table::new(&compared);
    if arguments.json {
        compared.iter().for_each(|compared| println!("{}", compared.json()));
        println!("{}", serde_json::json!({ "table": table.json() }));
    } else {
        for list in &arguments.list {
            list_programs(*list, &compared);
        }
        print!("{table}");
        if cfg!(debug_assertions) {
            println!("(times are those of a build without optimisation)");
        }
    }
    let wrong = |c: &Compared| matches!(c.kind(), Kind::FalseAccept | Kind::Crash);
    Ok(ExitCode::from(u8::from(compared.iter().any(wrong))))
}

impl Arguments {
    fn selects(&self, truth: &Truth) -> bool {
        self.tier.as_ref().is_none_or(|tiers| tiers.contains(&truth.tier))
            && self.file.as_ref().is_none_or(|file| *file == truth.file)
            && self.program.as_ref().is_none_or(|program| *program == truth.program)
    }
}

fn list_programs(list: List, compared: &[Compared]) {
    let mut chosen: Vec<&Compared> = compared.iter().filter(|c| list.has(c)).collect();
    match list {
        List::Processed | List::Unequal => chosen.sort_by_key(|c| {
            let ours = c.judged().and_then(|judged| judged.processed).unwrap_or(0);
            ours * 1000 / c.truth.processed.max(1)
        }),
        _ => chosen.sort_by_cached_key(|c| list.order(c)),
    }
    let value = list.to_possible_value();
    println!("{} {}:", chosen.len(), value.as_ref().map_or("", |v| v.get_name()));
    chosen.iter().for_each(|c| println!("  {}", list.line(c)));
    println!();
}

/// Our log; what stops the verifier is its last line.
fn our_log(program: Program, level: u32, limit: u64) -> Result<String, Box<dyn Error>> {
    let work = move || judge(program, &Platform::linux(), &with_log(level));
    let judged = guarded(Duration::from_secs(limit), work)?;
    let unsupported = if judged.unsupported { " (unsupported)" } else { "" };
    Ok(format!("{}=> {}{unsupported}", judged.log, judged.verdict()))
}

/// Where our log differs from the kernel's.
fn difference(program: Program, limit: u64) -> Result<String, Box<dyn Error>> {
    let kernel = Kernel::probe()?;
    let mut linux = LiveJudge::new(&kernel, program.maps.clone(), program.btf.as_deref())?;
    let linux = linux.judge(&program, live::FULL_LOG)?;
    let linux = format!("{}=> {}\n", linux.log, linux.verdict());
    let ours = our_log(program, live::FULL_LOG, limit)? + "\n";
    let (linux, ours) = (comparable(&linux), comparable(&ours));
    if ours == linux {
        return Ok(format!("the logs are equal: {} lines\n", ours.lines().count()));
    }
    let diff = TextDiff::configure().timeout(Duration::from_secs(10)).diff_lines(&linux, &ours);
    Ok(diff.unified_diff().context_radius(4).header("linux", "ebpfvm").to_string())
}
