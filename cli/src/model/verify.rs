//! The result of `ebpfvm verify`: a verdict.

use super::disasm::Names;
use ebpfvm_asm::Pc;
use ebpfvm_asm::text::{Style, print};
use ebpfvm_loader::ProgramInfo;
use ebpfvm_spec::Program;
use ebpfvm_verifier::{Judgement, Rejection, Stats, Turn, WayStep};
use serde::Serialize;

/// The verdict on one program, or why there is none.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Judged {
    /// The file.
    pub(crate) object: String,
    pub(crate) section: Option<String>,
    /// Name of the function; none for bare instructions, and if the file could not be opened.
    pub(crate) program: Option<String>,
    pub(crate) prog_type: Option<&'static str>,
    pub(crate) verdict: Verdict,
    /// The kernel's words for the reason, without what its log tells before them; empty if it is
    /// accepted.
    pub(crate) message: String,
    /// The stable code of the reason.
    pub(crate) code: Option<&'static str>,
    /// The instruction at fault.
    pub(crate) pc: Option<u32>,
    /// The source line at fault.
    pub(crate) source: Option<Place>,
    /// Size in slots of 8 bytes, the functions that it calls included.
    pub(crate) insns: Option<usize>,
    /// Instructions that the verifier followed, over all paths.
    pub(crate) processed: Option<u32>,
    /// States that it kept.
    pub(crate) states: Option<u32>,
    pub(crate) time_us: Option<u64>,
    /// Why and how it came to that, if asked for.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub(crate) details: Option<Details>,
    /// The log, if asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) log: Option<String>,
    /// What is for the text only.
    #[serde(skip)]
    pub(crate) shown: Shown,
}

/// The verdicts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Verdict {
    Accepted,
    Rejected,
    /// It needs what this verifier does not judge yet.
    Unsupported,
    /// There is no program to judge.
    #[default]
    Error,
}

impl Verdict {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Verdict::Accepted => "accepted",
            Verdict::Rejected => "rejected",
            Verdict::Unsupported => "unsupported",
            Verdict::Error => "error",
        }
    }
}

/// A place in the source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Place {
    pub(crate) file: String,
    pub(crate) line: u32,
}

/// What there is to tell about a rejection beside its place.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Details {
    /// Registers and stack before the instruction at fault, as the log writes them.
    pub(crate) registers: String,
    /// What would make it pass.
    pub(crate) hint: Option<&'static str>,
    /// The last branches on the way there, the oldest first.
    pub(crate) way: Vec<Step>,
}

/// A branch on the way.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Step {
    pub(crate) pc: u32,
    pub(crate) insn: String,
    /// `taken`, `not taken`, `entered`, `left`
    pub(crate) turn: &'static str,
    pub(crate) source: Option<Place>,
    /// The text of the source line.
    #[serde(skip)]
    pub(crate) text: String,
}

/// What the text shows beside the JSON.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shown {
    pub(crate) stats: Stats,
    /// Lines of the message before the last one.
    pub(crate) before: Vec<String>,
    /// The instruction at fault.
    pub(crate) insn: Option<String>,
    /// The text of the source line at fault.
    pub(crate) line: String,
    pub(crate) attach_type: Option<&'static str>,
    /// Why, how, where: also if the JSON does not tell it.
    pub(crate) details: Option<Details>,
}

/// What is told of a verdict.
#[derive(Clone, Copy, Default)]
pub(crate) struct Wanted {
    /// Registers, hint and way in the JSON too.
    pub(crate) details: bool,
    pub(crate) log: bool,
}

impl Judged {
    /// The verdict on a program.
    pub(crate) fn new(
        object: &str,
        program: &Program,
        judgement: &Judgement,
        wanted: Wanted,
    ) -> Judged {
        let is_of_file = !program.section.is_empty();
        let mut judged = Judged {
            object: object.into(),
            section: is_of_file.then(|| program.section.clone()),
            program: is_of_file.then(|| program.name.clone()),
            prog_type: Some(program.prog_type.name()),
            verdict: Verdict::Accepted,
            insns: Some(program.code.len()),
            processed: Some(judgement.report.stats.processed),
            states: Some(judgement.report.stats.total_states),
            time_us: Some(judgement.report.stats.time.as_micros() as u64),
            log: wanted.log.then(|| judgement.report.log.clone()),
            shown: Shown {
                stats: judgement.report.stats.clone(),
                attach_type: attach_type(program),
                ..Shown::default()
            },
            ..Judged::default()
        };
        if let Err(rejection) = &judgement.verdict {
            judged.refuse(program, rejection, wanted);
        }
        judged
    }

    /// A file or a program that there is no verdict on.
    pub(crate) fn error(object: &str, info: Option<&ProgramInfo>, message: String) -> Judged {
        Judged {
            object: object.into(),
            section: info.map(|info| info.section.clone()),
            program: info.map(|info| info.name.clone()),
            prog_type: info.and_then(|info| info.prog_type).map(|kind| kind.name()),
            message,
            ..Judged::default()
        }
    }

    fn refuse(&mut self, program: &Program, rejection: &Rejection, wanted: Wanted) {
        let text = rejection.reason.to_string();
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        self.verdict = match rejection.is_unsupported() {
            true => Verdict::Unsupported,
            false => Verdict::Rejected,
        };
        self.message = lines.pop().unwrap_or_default();
        self.code = Some(rejection.code());
        self.pc = rejection.pc.map(|pc| pc.0);
        self.source = rejection.pc.and_then(|pc| place(program, pc));
        let details = Details {
            registers: rejection.registers.trim_start().into(),
            hint: rejection.hint(),
            way: rejection.way.iter().map(|step| Step::new(program, step)).collect(),
        };
        self.details = wanted.details.then(|| details.clone());
        self.shown.before = lines;
        self.shown.insn = rejection.pc.map(|pc| insn(program, pc));
        self.shown.line = rejection.pc.map_or(String::new(), |pc| line(program, pc));
        self.shown.details = Some(details);
    }
}

impl Step {
    fn new(program: &Program, step: &WayStep) -> Step {
        Step {
            pc: step.pc.0,
            insn: insn(program, step.pc),
            turn: match step.turn {
                Turn::Taken => "taken",
                Turn::NotTaken => "not taken",
                Turn::Entered => "entered",
                Turn::Left => "left",
            },
            source: place(program, step.pc),
            text: line(program, step.pc),
        }
    }
}

/// The expected attach type, if the program was loaded with one.
fn attach_type(program: &Program) -> Option<&'static str> {
    Some(program.attach_type).filter(|t| t.0 != 0).and_then(|t| t.name())
}

fn insn(program: &Program, pc: Pc) -> String {
    let insn = program.code.get(pc);
    insn.map_or(String::new(), |insn| print(insn, pc, Style::PseudoC, &Names(Some(program))))
}

fn place(program: &Program, pc: Pc) -> Option<Place> {
    let info = program.line(pc)?;
    Some(Place { file: info.file.to_string(), line: info.line })
}

fn line(program: &Program, pc: Pc) -> String {
    program.line(pc).map_or(String::new(), |info| info.text.trim().to_owned())
}
