//! What went wrong, as text and as JSON.

use super::style::{self, paint};
use crate::failure::Failure;
use crate::model::verify::Judged;
use ebpfvm_asm::text::TextError;
use serde_json::{Map, Value, json};

/// For people: the message, the place it is about, what to do.
pub(crate) fn text(failure: &Failure) -> String {
    let message = match failure {
        // clap's messages begin with `error:` themselves.
        Failure::Arguments(message) => return message.clone(),
        Failure::NotAccepted { judged, .. } => return not_accepted(judged, failure),
        Failure::Assembly { error, .. } => error.kind.to_string(),
        other => other.to_string(),
    };
    let mut text = String::new();
    if let Failure::Trap { output, .. } = failure {
        output.iter().for_each(|line| text.push_str(&format!("printed: {line}\n")));
    }
    text.push_str(&format!("{} {message}\n", paint(style::ERROR, "error:")));
    match failure {
        Failure::Assembly { file, error } => text.push_str(&excerpt(file, error)),
        Failure::Trap { trap, insn, .. } => {
            let insn = insn.as_ref().map_or(String::new(), |insn| format!(": {insn}"));
            text.push_str(&format!("  at instruction {}{insn}\n", trap.pc));
            if let Some(line) = &trap.line {
                text.push_str(&format!("  {line}\n"));
            }
        }
        Failure::Link { source_line: Some(line), .. } => text.push_str(&format!("  {line}\n")),
        _ => {}
    }
    if let Some(hint) = failure.hint() {
        text.push_str(&format!("{} {hint}\n", paint(style::HINT, "hint:")));
    }
    text
}

/// The verdict, and that there is a way to run the program.
fn not_accepted(judged: &Judged, failure: &Failure) -> String {
    let mut text = super::verify::text(judged);
    if let Some(hint) = failure.hint() {
        text.push_str(&format!("{} {hint}\n", paint(style::HINT, "note:")));
    }
    text
}

/// The line at fault with a mark below the place.
fn excerpt(file: &str, error: &TextError) -> String {
    let number = error.line.to_string();
    let margin = " ".repeat(number.len());
    // Tabs stay tabs, so that the mark stands below its place however wide they are shown.
    let indent: String = error
        .source_line
        .chars()
        .take(error.column - 1)
        .map(|c| if c == '\t' { '\t' } else { ' ' })
        .collect();
    let mark = paint(style::ERROR, "^".repeat(error.length.max(1)));
    format!(
        "{margin}--> {file}:{}:{}\n{margin} |\n{number} | {}\n{margin} | {indent}{mark}\n",
        error.line, error.column, error.source_line
    )
}

/// For programs: one object.
pub(crate) fn json(failure: &Failure) -> Value {
    let (kind, exit_code) = failure.class();
    let mut error = Map::new();
    let mut put = |key: &str, value: Value| {
        if !value.is_null() {
            error.insert(key.into(), value);
        }
    };
    put("kind", json!(kind));
    let message = failure.to_string();
    put("message", json!(message.trim_start_matches("error: ").trim_end()));
    put("exit_code", json!(exit_code));
    put("hint", json!(failure.hint()));
    match failure {
        Failure::Read { file, .. }
        | Failure::Write { file, .. }
        | Failure::TooLarge { file, .. }
        | Failure::Input { file, .. }
        | Failure::NoPrograms { file } => put("file", json!(file)),
        Failure::Unknown { name, known, .. } => {
            put("name", json!(name));
            put("known", json!(known));
        }
        Failure::ManyPrograms { file, programs } => {
            put("file", json!(file));
            put("known", programs.iter().map(|(name, _)| name.as_str()).collect());
        }
        Failure::Hex { file, line, column, .. }
        | Failure::Json { origin: file, line, column, .. } => {
            put("file", json!(file));
            put("line", json!(line));
            put("column", json!(column));
        }
        Failure::JsonShape { origin, path, .. } => {
            put("file", json!(origin));
            put("path", json!(path));
        }
        Failure::Assembly { file, error } => {
            put("file", json!(file));
            put("line", json!(error.line));
            put("column", json!(error.column));
        }
        Failure::Object { file, section, offset, .. } => {
            put("file", json!(file));
            put("section", json!(section));
            put("offset", json!(offset));
        }
        Failure::Link { file, pc, source_line, .. } => {
            put("file", json!(file));
            put("pc", json!(pc));
            put("source", json!(source_line));
        }
        Failure::Trap { file, trap, insn, output, .. } => {
            put("file", json!(file));
            put("program", json!(trap.program));
            put("pc", json!(trap.pc.0));
            put("insn", json!(insn));
            put("source", json!(trap.line));
            put("output", json!(output));
        }
        Failure::NotAccepted { judged, .. } => {
            put("file", json!(judged.object));
            put("program", json!(judged.program));
            put("message", json!(judged.message));
            put("code", json!(judged.code));
            put("pc", json!(judged.pc));
            put("source", json!(judged.source));
        }
        Failure::Arguments(_) | Failure::Usage(_) | Failure::ClosedPipe => {}
    }
    json!({ "error": error })
}
