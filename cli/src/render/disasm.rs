//! Listings as text.

use super::style::{self, paint};
use crate::model::disasm::{Line, Listing, Source};
use ebpfvm_asm::text::Style;
use std::fmt::Write;

/// What is shown beside the instructions.
#[derive(Clone, Copy)]
pub(crate) struct Shown {
    pub(crate) style: Style,
    /// The bytes of each instruction.
    pub(crate) bytes: bool,
    /// Source lines.
    pub(crate) source: bool,
}

/// The listing of a program. In the styles with labels everything but the instructions is a comment,
/// so that the assembler reads it.
pub(crate) fn text(listing: &Listing, shown: Shown) -> String {
    let mut text = String::new();
    let (comment, labelled) = match shown.style {
        Style::PseudoC | Style::Mnemonic => ("//", true),
        // Llvm, Kernel: as tools of those say it.
        _ => (";", false),
    };
    if let (Some(name), Some(section)) = (&listing.name, &listing.section) {
        let kind = listing.prog_type.unwrap_or_default();
        let slots = listing.slots;
        let head = format!("{comment} {name}: section {section}, type {kind}, {slots} slots");
        let _ = writeln!(text, "{}", paint(style::HEADING, head));
    }
    let byte_width = if shown.bytes { 33 } else { 0 };
    let mut last = None;
    for line in &listing.insns {
        if let Some(function) = line.function.as_ref().filter(|_| line.pc > 0) {
            let head = format!("{comment} function {function}");
            let _ = writeln!(text, "\n{}", paint(style::HEADING, head));
        }
        if let Some(label) = &line.label {
            let _ = writeln!(text, "{label}:");
        }
        let indent = if labelled { "\t" } else { "" };
        // The columns of a line are not told apart here.
        let source = line.source.as_ref().filter(|source| shown.source && last != Some(*source));
        last = line.source.as_ref().or(last);
        if let Some(source) = source {
            let _ = writeln!(text, "{indent}{}", paint(style::FAINT, said(comment, source)));
        }
        let note = match &line.names {
            Some(names) => paint(style::FAINT, format!("  {comment} {names}")),
            None => String::new(),
        };
        let place = if labelled { String::new() } else { format!("{:>5}: ", line.pc) };
        let bytes = if shown.bytes { spaced(line, labelled) } else { String::new() };
        // Bytes come after the instruction where they have to be a comment.
        let _ = if labelled && shown.bytes {
            writeln!(text, "\t{:<40} {}{note}", line.text, paint(style::FAINT, bytes))
        } else {
            writeln!(text, "{indent}{place}{bytes:byte_width$}{}{note}", line.text)
        };
    }
    text
}

fn said(comment: &str, source: &Source) -> String {
    match comment {
        ";" => format!("; {} @ {}:{}", source.text, source.file, source.line),
        _ => format!("{comment} {}:{}: {}", source.file, source.line, source.text),
    }
}

/// The bytes of an instruction with spaces between, an instruction's second slot on the same line.
fn spaced(line: &Line, labelled: bool) -> String {
    let pairs: Vec<&str> =
        line.bytes.as_bytes().chunks(2).map(|p| std::str::from_utf8(p).unwrap_or("")).collect();
    let slots: Vec<String> = pairs.chunks(8).map(|slot| slot.join("")).collect();
    let text = slots.join(" ");
    if labelled { format!("// {text}") } else { text }
}
