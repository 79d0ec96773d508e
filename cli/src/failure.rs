//! What can go wrong, as data: what, where, what was expected, what to do.

use crate::model::verify::{Judged, Verdict};
use ebpfvm::Trap;
use ebpfvm_asm::text::TextError;
use std::io;

/// Why a command did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The command line is none; the text is clap's.
    #[error("{0}")]
    Arguments(String),
    /// Two options or inputs do not go together.
    #[error("{0}")]
    Usage(String),
    /// Something named on the command line is not there.
    #[error("{what} '{name}' is not in {place}{}", known_list(.known))]
    Unknown {
        /// What kind of thing: program, section, map, field.
        what: &'static str,
        name: String,
        /// Where it was looked for.
        place: String,
        /// What is there.
        known: Vec<String>,
    },
    /// An object with several programs, and none chosen.
    #[error("{file} has {} programs; choose one with --program:\n{}", .programs.len(), lines(.programs))]
    ManyPrograms {
        file: String,
        /// Names with section and type.
        programs: Vec<(String, String)>,
    },
    /// An object without programs.
    #[error("{file}: there is no program in this object")]
    NoPrograms { file: String },
    /// A file cannot be read.
    #[error("{file}: {source}")]
    Read { file: String, source: io::Error },
    /// A file cannot be written.
    #[error("{file}: {source}")]
    Write { file: String, source: io::Error },
    /// A file is larger than anything of its kind.
    #[error("{file}: the file has {bytes} bytes; at most {limit} are read")]
    TooLarge { file: String, bytes: u64, limit: u64 },
    /// Text that should be bytes in hex.
    #[error("{file}:{line}:{column}: {problem}")]
    Hex {
        file: String,
        line: usize,
        column: usize,
        problem: String,
        /// Whether it was taken as hex only because it is text.
        guessed: bool,
    },
    /// Input of another kind than expected.
    #[error("{file}: {problem}")]
    Input { file: String, problem: String, hint: Option<String> },
    /// JSON that is none.
    #[error("{origin}:{line}:{column}: {problem}")]
    Json { origin: String, line: usize, column: usize, problem: String },
    /// JSON that does not say what it should.
    #[error("{origin}: {}{problem}", at(.path))]
    JsonShape {
        origin: String,
        /// Where in the JSON; empty for all of it.
        path: String,
        problem: String,
    },
    /// Assembly that is none.
    #[error("{file}:{error}")]
    Assembly { file: String, error: TextError },
    /// An object, or what it needs.
    #[error("{message}")]
    Object { file: String, section: Option<String>, offset: Option<u64>, message: String },
    /// The program cannot be bound.
    #[error("{message}")]
    Link { file: String, message: String, pc: Option<u32>, source_line: Option<String> },
    /// The run stopped.
    #[error("{}: {}", .trap.program, .trap.kind)]
    Trap {
        /// The file of the program.
        file: String,
        trap: Box<Trap>,
        /// The instruction, as text.
        insn: Option<String>,
        /// What the program printed before.
        output: Vec<String>,
        /// What may help.
        hint: Option<String>,
    },
    /// The verifier does not accept the program.
    #[error("{}: {}: {}", .judged.program.as_deref().unwrap_or("the program"), .judged.verdict.name(), .judged.message)]
    NotAccepted { judged: Box<Judged>, instead: Instead },
    /// The reader of our output has gone.
    #[error("standard output is closed")]
    ClosedPipe,
}

/// What can be done with a program that is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Instead {
    /// Run it with checks.
    Run,
    /// Show its form with checks.
    Show,
}

/// Exit code for a program or vectors that failed.
const FAILED: u8 = 1;
/// Exit code for wrong use.
const USAGE: u8 = 2;
/// Exit code for input that cannot be used.
const INPUT: u8 = 3;
/// Exit code for a program that the verifier does not judge yet.
const UNSUPPORTED: u8 = 4;

impl Failure {
    /// A failure to write to standard output.
    pub(crate) fn stdout(source: io::Error) -> Failure {
        match source.kind() {
            io::ErrorKind::BrokenPipe => Failure::ClosedPipe,
            _ => Failure::Write { file: "standard output".into(), source },
        }
    }

    pub(crate) fn exit_code(&self) -> u8 {
        self.class().1
    }

    /// A word for programs, and the exit code.
    pub(crate) fn class(&self) -> (&'static str, u8) {
        match self {
            Failure::Arguments(_) | Failure::Usage(_) => ("usage", USAGE),
            Failure::Unknown { .. } => ("unknown_name", USAGE),
            Failure::ManyPrograms { .. } => ("ambiguous_program", USAGE),
            Failure::NoPrograms { .. } => ("no_program", INPUT),
            Failure::Read { .. } => ("read", INPUT),
            Failure::Write { .. } => ("write", INPUT),
            Failure::TooLarge { .. } => ("too_large", INPUT),
            Failure::Hex { .. } => ("hex", INPUT),
            Failure::Input { .. } => ("input", INPUT),
            Failure::Json { .. } => ("json", INPUT),
            Failure::JsonShape { .. } => ("json_shape", INPUT),
            Failure::Assembly { .. } => ("assembly", INPUT),
            Failure::Object { .. } => ("object", INPUT),
            Failure::Link { .. } => ("link", INPUT),
            Failure::Trap { .. } => ("trap", FAILED),
            Failure::NotAccepted { judged, .. } => match judged.verdict {
                Verdict::Unsupported => ("unsupported", UNSUPPORTED),
                _ => ("rejected", FAILED),
            },
            // As a program that the closed pipe's signal ends would not be noticed either.
            Failure::ClosedPipe => ("closed_pipe", 0),
        }
    }

    /// What to do about it.
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            Failure::Unknown { name, known, .. } => {
                nearest(name, known).map(|known| format!("did you mean '{known}'?"))
            }
            Failure::NotAccepted { judged, instead } => Some(match (instead, judged.verdict) {
                (Instead::Show, _) => {
                    "--checked shows the form that runs without a verdict, with every access checked".into()
                }
                (Instead::Run, Verdict::Unsupported) => {
                    "--unverified runs it all the same, with every access checked".into()
                }
                _ => "to run it all the same, with every access checked, say --unverified".into(),
            }),
            Failure::Input { hint, .. } | Failure::Trap { hint, .. } => hint.clone(),
            Failure::Hex { guessed: true, .. } => {
                Some("for a file of raw bytes, say --encoding raw".into())
            }
            Failure::Read { source, .. } if source.kind() == io::ErrorKind::IsADirectory => {
                Some("name a file".into())
            }
            _ => None,
        }
    }
}

/// The known name that a mistyped one resembles most.
pub(crate) fn nearest<'a>(name: &str, known: &'a [String]) -> Option<&'a str> {
    /// Below this, suggestions are guesses (Jaro-Winkler).
    const ALIKE: f64 = 0.75;
    // The time of a comparison grows with both lengths; names from files may be long.
    const LONGEST: usize = 200;
    if name.len() > LONGEST {
        return None;
    }
    known
        .iter()
        .filter(|k| k.len() <= LONGEST)
        .map(|k| (strsim::jaro_winkler(&name.to_lowercase(), &k.to_lowercase()), k))
        .filter(|(alike, _)| *alike >= ALIKE)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, k)| k.as_str())
}

fn known_list(known: &[String]) -> String {
    /// Enough to find one's own.
    const SHOWN: usize = 20;
    match known {
        [] => ", which has none".into(),
        [only] => format!("; there is {only}"),
        known => {
            let shown = known.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>();
            let more = known.len().saturating_sub(SHOWN);
            let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
            format!("; there are {}{rest}", shown.join(", "))
        }
    }
}

fn lines(programs: &[(String, String)]) -> String {
    let width = programs.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
    let each = programs.iter().map(|(name, about)| format!("  {name:width$}  ({about})"));
    each.collect::<Vec<_>>().join("\n")
}

fn at(path: &str) -> String {
    if path.is_empty() { String::new() } else { format!("{path}: ") }
}
