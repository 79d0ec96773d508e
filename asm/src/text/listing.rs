//! Whole programs as text.

use super::cursor::is_name;
use super::{Style, Symbols, print};
use crate::code::{Code, Pc};
use crate::table::Op;
use std::collections::{BTreeMap, HashSet};
use std::fmt::Write;

/// Writes a program, one instruction a line.
///
/// [`Style::PseudoC`] and [`Style::Mnemonic`] give a text that [assembles](super::assemble()) to
/// the same program: jump targets and functions have labels, the latter by the names of
/// `symbols`. [`Style::Llvm`] gives the lines that llvm-objdump writes after the name of a
/// section, [`Style::Kernel`] those of the kernel's log without its states.
pub fn listing(code: &Code, style: Style, symbols: &dyn Symbols) -> String {
    let mut text = String::new();
    // Writing to a String does not fail.
    for ListedLine { pc, label, text: insn } in listed_lines(code, style, symbols) {
        if let Some(label) = label {
            let _ = writeln!(text, "{label}:");
        }
        let _ = match style {
            Style::PseudoC | Style::Mnemonic => writeln!(text, "\t{insn}"),
            Style::Kernel => writeln!(text, "{pc}: {insn}"),
            Style::Llvm => {
                if let Some((name, start)) = symbols.function(pc)
                    && start == pc
                {
                    let separator = if pc == Pc(0) { "" } else { "\n" };
                    let bytes = pc.index() * crate::slot::SLOT_BYTES;
                    let _ = writeln!(text, "{separator}{bytes:016x} <{name}>:");
                }
                writeln!(text, "{pc:>8}:\t{insn}")
            }
        };
    }
    text
}

/// A line of a listing in its parts, for those who put more beside them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedLine {
    /// Where the instruction stands.
    pub pc: Pc,
    /// The label that marks it, in the styles that have labels.
    pub label: Option<String>,
    /// The instruction.
    pub text: String,
}

/// The instructions of a program with their labels, as [`listing`] writes them.
pub fn listed_lines(code: &Code, style: Style, symbols: &dyn Symbols) -> Vec<ListedLine> {
    let mut labels = match style {
        Style::PseudoC | Style::Mnemonic => labels(code, symbols),
        Style::Llvm | Style::Kernel => BTreeMap::new(),
    };
    let labelled = Labelled { labels: &labels, rest: symbols };
    let texts: Vec<(Pc, String)> =
        code.iter().map(|(pc, insn)| (pc, print(insn, pc, style, &labelled))).collect();
    let line = |(pc, text)| ListedLine { pc, label: labels.remove(&pc), text };
    texts.into_iter().map(line).collect()
}

/// A label for every place that an instruction leads to and where an instruction starts.
fn labels(code: &Code, symbols: &dyn Symbols) -> BTreeMap<Pc, String> {
    let mut labels = BTreeMap::new();
    let mut taken = HashSet::new();
    let places = code.iter().filter_map(|(pc, insn)| {
        let offset = insn.jump_offset().or(insn.function_offset())?;
        pc.jump(offset).filter(|to| code.get(*to).is_some())
    });
    for pc in places.collect::<std::collections::BTreeSet<Pc>>() {
        let function = symbols.function(pc).filter(|(_, start)| *start == pc).map(|(name, _)| name);
        let numbered = format!("L{pc}");
        // Numbered labels are not for functions, the implicit label not for other places.
        let usable = |name: &String| {
            is_name(name)
                && !name.contains('#')
                && name != crate::table::row(Op::Exit).mnemonic
                && !name.strip_prefix('L').is_some_and(|n| n.bytes().all(|b| b.is_ascii_digit()))
                && symbols.helper_id(name).is_none()
                && !taken.contains(name)
        };
        let label = symbols.label(pc).or(function).filter(usable).unwrap_or(numbered);
        taken.insert(label.clone());
        labels.insert(pc, label);
    }
    labels
}

/// Names with the labels of one listing.
struct Labelled<'a> {
    labels: &'a BTreeMap<Pc, String>,
    rest: &'a dyn Symbols,
}

impl Symbols for Labelled<'_> {
    fn helper(&self, id: u32) -> Option<String> {
        self.rest.helper(id)
    }

    fn helper_id(&self, name: &str) -> Option<u32> {
        self.rest.helper_id(name)
    }

    fn kfunc(&self, btf_id: i32, btf_index: i16) -> Option<String> {
        self.rest.kfunc(btf_id, btf_index)
    }

    fn function(&self, pc: Pc) -> Option<(String, Pc)> {
        self.rest.function(pc)
    }

    fn label(&self, pc: Pc) -> Option<String> {
        self.labels.get(&pc).cloned()
    }
}
