//! Verdicts as text.

use super::style::{self, paint};
use crate::model::verify::{Details, Judged, Place, Verdict};
use std::fmt::Write;

/// A verdict, and if it is a rejection, why, where, on which way, and what would help.
pub(crate) fn text(judged: &Judged) -> String {
    let mut text = String::new();
    if let Some(log) = &judged.log {
        text.push_str(log);
    }
    let _ = writeln!(text, "{}", headline(judged));
    match judged.verdict {
        Verdict::Accepted => return text,
        Verdict::Rejected => {
            let title = format!("error[{}]:", judged.code.unwrap_or_default());
            let _ = writeln!(text, "{} {}", paint(style::ERROR, title), judged.message);
        }
        Verdict::Unsupported | Verdict::Error => {
            let _ = writeln!(text, "  {}", judged.message);
        }
    }
    text.push_str(&explanation(judged));
    text
}

/// `xdp_firewall: accepted (xdp, 78 instructions; 93 processed, 7 states) in 85 us`
pub(crate) fn headline(judged: &Judged) -> String {
    let name = judged.program.as_deref().unwrap_or(&judged.object);
    let colour = match judged.verdict {
        Verdict::Accepted => style::NEW,
        Verdict::Unsupported => style::HINT,
        Verdict::Rejected | Verdict::Error => style::ERROR,
    };
    let verdict = paint(colour, judged.verdict.name());
    let name = paint(style::HEADING, name);
    match (judged.prog_type, judged.insns, judged.processed, judged.states, judged.time_us) {
        (Some(kind), Some(insns), Some(processed), Some(states), Some(us)) => format!(
            "{name}: {verdict} ({kind}, {}; {processed} processed, {}) in {us} us",
            count(insns, "instruction"),
            count(states as usize, "state"),
        ),
        _ => format!("{name}: {verdict}"),
    }
}

/// The place at fault and how the verifier came there.
pub(crate) fn explanation(judged: &Judged) -> String {
    let mut text = String::new();
    let shown = &judged.shown;
    let mut margin = String::from(" ");
    if let Some(place) = &judged.source {
        let number = place.line.to_string();
        margin = " ".repeat(number.len());
        let _ = writeln!(text, "{margin}--> {}:{}", place.file, place.line);
        if !shown.line.is_empty() {
            let line = paint(style::HEADING, &shown.line);
            let _ = writeln!(text, "{margin} |\n{number} | {line}\n{margin} |");
        }
    }
    if let (Some(pc), Some(insn)) = (judged.pc, &shown.insn) {
        let _ = writeln!(text, "{margin} = instruction {pc}: {insn}");
    }
    for line in &shown.before {
        let _ = writeln!(text, "{margin} = {line}");
    }
    let Some(details) = &shown.details else { return text };
    let registers = involved(details, shown.insn.as_deref().unwrap_or_default());
    if !registers.is_empty() {
        let _ = writeln!(text, "{margin} = with {}", registers.join(", "));
    }
    text.push_str(&way(details, &margin));
    if let Some(hint) = details.hint {
        let _ = writeln!(text, "{} {hint}", paint(style::HINT, "hint:"));
    }
    text
}

/// The branches taken last.
fn way(details: &Details, margin: &str) -> String {
    let mut text = String::new();
    if details.way.is_empty() {
        return text;
    }
    let _ = writeln!(text, "{margin} = on the way");
    let width = details.way.iter().map(|step| step.insn.len()).max().unwrap_or_default();
    let mut last: Option<&Place> = None;
    for step in &details.way {
        if let Some(place) = step.source.as_ref().filter(|place| last != Some(place)) {
            let (file, source) = (base(&place.file), &step.text);
            let line = format!("{file}:{}: {source}", place.line);
            let _ = writeln!(text, "{margin}   {}", paint(style::FAINT, line));
        }
        last = step.source.as_ref();
        let _ = writeln!(text, "{margin}   {:>5}: {:width$}  {}", step.pc, step.insn, step.turn);
    }
    text
}

/// `R1=pkt(r=34)` of those registers that the instruction names: all that may be arguments for a
/// call, the result for an exit.
fn involved<'a>(details: &'a Details, insn: &str) -> Vec<&'a str> {
    let named: Vec<String> = match insn.split(' ').next() {
        Some("call") => (1..=5).map(|n| format!("R{n}=")).collect(),
        Some("exit") => vec!["R0=".into()],
        _ => (0..=10u8).filter(|n| names(insn, *n)).map(|n| format!("R{n}=")).collect(),
    };
    let values = values(&details.registers);
    values.into_iter().filter(|value| named.iter().any(|reg| value.starts_with(reg))).collect()
}

/// Whether an instruction names a register.
fn names(insn: &str, number: u8) -> bool {
    let words = insn.split(|c: char| !c.is_ascii_alphanumeric());
    words.into_iter().any(|word| {
        word.strip_prefix(['r', 'w']).is_some_and(|digits| digits == number.to_string())
    })
}

/// The parts of a line of registers: `R1=ctx()`, `fp-8=mmmm`.
fn values(registers: &str) -> Vec<&str> {
    let is_start = |rest: &str| {
        rest.starts_with("fp-")
            || rest.strip_prefix('R').is_some_and(|r| r.starts_with(|c: char| c.is_ascii_digit()))
    };
    let mut parts = Vec::new();
    let mut begin = 0;
    for (blank, _) in registers.match_indices(' ') {
        if is_start(&registers[blank + 1..]) {
            parts.push(&registers[begin..blank]);
            begin = blank + 1;
        }
    }
    parts.push(&registers[begin..]);
    parts
}

/// How many there are of each verdict.
pub(crate) fn summary(judged: &[Judged]) -> String {
    let all = [Verdict::Accepted, Verdict::Rejected, Verdict::Unsupported, Verdict::Error];
    let of = |verdict| judged.iter().filter(|judged| judged.verdict == verdict).count();
    let parts: Vec<String> = (all.iter().map(|v| (of(*v), v.name())))
        .filter(|(n, _)| *n > 0)
        .map(|(n, name)| format!("{n} {name}"))
        .collect();
    format!("{}\n", parts.join(", "))
}

/// A column of the statistics.
struct Column {
    /// As veristat's table calls it.
    title: &'static str,
    /// As its CSV does.
    name: &'static str,
    /// Whether it is text.
    is_text: bool,
    value: fn(&Judged) -> String,
}

const COLUMNS: [Column; 12] = [
    column("File", "file_name", true, |j| base(&j.object).to_owned()),
    column("Program", "prog_name", true, |j| j.program.clone().unwrap_or_default()),
    column("Verdict", "verdict", true, |j| match j.verdict {
        Verdict::Accepted => "success".into(),
        Verdict::Rejected => "failure".into(),
        other => other.name().to_owned(),
    }),
    column("Duration (us)", "duration", false, |j| j.time_us.unwrap_or(0).to_string()),
    column("Insns", "total_insns", false, |j| j.shown.stats.processed.to_string()),
    column("States", "total_states", false, |j| j.shown.stats.total_states.to_string()),
    column("Peak states", "peak_states", false, |j| j.shown.stats.peak_states.to_string()),
    column("Max states per insn", "max_states_per_insn", false, |j| {
        j.shown.stats.max_states_per_insn.to_string()
    }),
    column("Program size", "prog_size", false, |j| j.insns.unwrap_or(0).to_string()),
    column("Stack depth", "stack_depth", false, |j| {
        j.shown.stats.stack_bytes.iter().sum::<u32>().to_string()
    }),
    column("Program type", "prog_type", true, |j| j.prog_type.unwrap_or_default().to_owned()),
    column("Attach type", "attach_type", true, |j| {
        j.shown.attach_type.unwrap_or_default().to_owned()
    }),
];

const fn column(
    title: &'static str,
    name: &'static str,
    is_text: bool,
    value: fn(&Judged) -> String,
) -> Column {
    Column { title, name, is_text, value }
}

/// Whether veristat's CSV has a row for it: it knows two verdicts.
pub(crate) fn has_row(judged: &Judged) -> bool {
    matches!(judged.verdict, Verdict::Accepted | Verdict::Rejected)
}

/// The statistics as `veristat -o csv` writes them.
pub(crate) fn csv(judged: &[Judged]) -> String {
    let names: Vec<&str> = COLUMNS.iter().map(|column| column.name).collect();
    let mut text = format!("{}\n", names.join(","));
    for judged in judged.iter().filter(|judged| has_row(judged)) {
        let values: Vec<String> = COLUMNS.iter().map(|c| quoted((c.value)(judged))).collect();
        let _ = writeln!(text, "{}", values.join(","));
    }
    text
}

/// A field of a CSV (RFC 4180).
fn quoted(field: String) -> String {
    if field.contains([',', '"', '\n']) {
        format!("\"{}\"", field.replace('"', "\"\""))
    } else {
        field
    }
}

/// The statistics as `veristat` writes them.
pub(crate) fn table(judged: &[Judged]) -> String {
    let head: Vec<String> = COLUMNS.iter().map(|c| c.title.to_owned()).collect();
    let rows: Vec<Vec<String>> =
        judged.iter().map(|j| COLUMNS.iter().map(|c| (c.value)(j)).collect()).collect();
    let widths: Vec<usize> = (0..COLUMNS.len())
        .map(|i| rows.iter().chain([&head]).map(|row| row[i].len()).max().unwrap_or_default())
        .collect();
    let rule: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
    let mut text = String::new();
    for row in [&head, &rule].into_iter().chain(&rows) {
        let fields = row.iter().zip(&widths).zip(&COLUMNS).map(|((field, width), column)| {
            if column.is_text { format!("{field:width$}") } else { format!("{field:>width$}") }
        });
        let _ = writeln!(text, "{}", fields.collect::<Vec<_>>().join("  ").trim_end());
    }
    text
}

fn base(file: &str) -> &str {
    file.rsplit('/').next().unwrap_or_default()
}

fn count(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}
