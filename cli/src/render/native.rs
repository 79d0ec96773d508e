//! Machine code as text.

use super::style::{self, paint};
use crate::model::disasm::Source;
use crate::model::native::{Compiled, Form, Listing, PassReport, PassRun};
use ebpfvm::jit::opt::PASSES;
use similar::{ChangeTag, TextDiff};
use std::fmt::Write;

/// Instructions that are longer push the machine code of their line to the right.
const INSN_WIDTH: usize = 36;

fn form(form: &Form) -> String {
    let Form { name, section, prog_type, slots, .. } = form;
    let head = format!("{name}: section {section}, type {prog_type}, {slots} slots");
    let judged = if form.checked { "every access checked" } else { "accepted by the verifier" };
    let fuel = if form.metered { "fuel counted" } else { "fuel not counted" };
    let head = paint(style::HEADING, head);
    let blinded = if form.blinded { ", constants hidden" } else { "" };
    format!("{head}\n{judged}, {fuel}, passes: {}{blinded}\n", form.passes)
}

/// A program: its instructions on the left, their machine code on the right.
pub(crate) fn listing(listing: &Listing) -> String {
    let mut text = form(&listing.form);
    let bytes = listing.code_bytes;
    let each = bytes as f64 / listing.form.slots.max(1) as f64;
    let _ = writeln!(text, "{bytes} bytes of machine code, {each:.1} for a slot\n");
    let mut lines = Lines { listing, text, source: None, shown: 0 };
    for run in listing.code.chunk_by(|a, b| a.pc == b.pc) {
        let index = listing.insns.partition_point(|insn| insn.line.pc < run[0].pc);
        lines.pass_by(index);
        let mut left = match listing.insns.get(index) {
            Some(insn) => lines.begin(insn),
            // Where control would run over the end.
            None => String::new(),
        };
        for machine in run {
            lines.line(&left, &format!("{:>5x}  {}", machine.offset, machine.text));
            left.clear();
        }
        lines.shown = lines.shown.max(index + 1);
    }
    lines.pass_by(listing.insns.len());
    lines.text
}

struct Lines<'a> {
    listing: &'a Listing,
    text: String,
    /// The source line that was told last.
    source: Option<&'a Source>,
    /// How many instructions were told, or have code that lies elsewhere.
    shown: usize,
}

impl<'a> Lines<'a> {
    /// Tells the instructions before this one that have no machine code of their own.
    fn pass_by(&mut self, before: usize) {
        for index in self.shown..before {
            let insn = &self.listing.insns[index];
            if insn.code_bytes == 0 {
                let left = self.begin(insn);
                self.line(&left, "    -");
            }
        }
        self.shown = self.shown.max(before);
    }

    /// Tells what is above an instruction; its own text.
    fn begin(&mut self, insn: &'a Compiled) -> String {
        let line = &insn.line;
        if let Some(function) = line.function.as_ref().filter(|_| line.pc > 0) {
            let head = paint(style::HEADING, format!("function {function}"));
            let _ = writeln!(self.text, "\n{head}");
        }
        let index = self.listing.insns.partition_point(|other| other.line.pc <= line.pc);
        let source = self.listing.insns[..index].iter().rev().find_map(|i| i.line.source.as_ref());
        if let Some(source) = source.filter(|source| self.source != Some(source)) {
            let said = format!("; {}:{}: {}", source.file, source.line, source.text);
            let _ = writeln!(self.text, "{}", paint(style::FAINT, said));
            self.source = Some(source);
        }
        if let Some(label) = &line.label {
            let _ = writeln!(self.text, "{label}:");
        }
        let names = line.names.as_ref().map_or(String::new(), |names| format!("  // {names}"));
        format!("{:>5}  {}{names}", line.pc, line.text)
    }

    fn line(&mut self, left: &str, right: &str) {
        let width = INSN_WIDTH + 7;
        let _ = writeln!(self.text, "{left:width$} {right}");
    }
}

/// What a pass made of a program: the blocks that it changed.
pub(crate) fn pass(report: &PassReport) -> String {
    let mut text = form(&report.form);
    for run in &report.runs {
        let PassRun { pass, about, place, blocks, changed, .. } = run;
        let of = PASSES.len();
        let changed = match changed.len() {
            0 => "changes nothing".into(),
            number => format!("changes {number} of {blocks} blocks"),
        };
        let head = paint(style::HEADING, format!("pass {pass} ({place} of {of})"));
        let _ = writeln!(text, "\n{head}: {about}; {changed}");
        for change in &run.changed {
            let _ = writeln!(text, "b{}: ; {}", change.block, change.pc);
            let before: Vec<&str> = change.before.iter().map(String::as_str).collect();
            let after: Vec<&str> = change.after.iter().map(String::as_str).collect();
            for line in TextDiff::from_slices(&before, &after).iter_all_changes() {
                let _ = match line.tag() {
                    ChangeTag::Equal => writeln!(text, "  {}", line.value()),
                    ChangeTag::Delete => {
                        writeln!(text, "{}", paint(style::OLD, format!("- {}", line.value())))
                    }
                    ChangeTag::Insert => {
                        writeln!(text, "{}", paint(style::NEW, format!("+ {}", line.value())))
                    }
                };
            }
        }
    }
    text
}
