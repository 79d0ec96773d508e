//! From text to code: lines, labels and the choice of the dialect. What a statement says is the
//! dialect's business.

use super::cursor::{Cursor, Line, Name, Parsed, Statement, is_name};
use super::error::{TextError, TextErrorKind, nearest};
use super::lex::{Lexeme, Token, tokens};
use super::{Dialect, NoSymbols, Symbols, mnemonic, pseudo_c};
use crate::builder::{BuildError, Builder, Label};
use crate::code::{Code, Pc};
use crate::insn::Insn;
use std::collections::HashMap;

/// Assembles a program.
///
/// # Errors
/// The first thing that is wrong, with its place.
pub fn assemble(source: &str, dialect: Dialect) -> Result<Code, TextError> {
    assemble_with(source, dialect, &NoSymbols)
}

/// Assembles a program in which helpers may be called by the names that `symbols` knows.
///
/// # Errors
/// The first thing that is wrong, with its place.
pub fn assemble_with(
    source: &str,
    dialect: Dialect,
    symbols: &dyn Symbols,
) -> Result<Code, TextError> {
    let lines: Vec<(Line<'_>, Vec<Lexeme<'_>>)> = source
        .lines()
        .enumerate()
        .map(|(i, text)| (Line { text, number: i + 1 }, tokens(text)))
        .collect();
    let dialect = match dialect {
        Dialect::Auto => detect(&lines),
        dialect => dialect,
    };
    let mut assembler = Assembler { dialect, symbols, ..Assembler::new(symbols) };
    for (line, tokens) in &lines {
        for statement in tokens.split(|t| t.token == Token::Punct(";")) {
            assembler.statement(*line, statement)?;
        }
    }
    assembler.finish()
}

/// The labels at the start of a statement and the rest of it.
fn split_labels<'a, 't>(
    tokens: &'t [Lexeme<'a>],
) -> (impl Iterator<Item = Name<'a>> + 't, &'t [Lexeme<'a>]) {
    let is_label = |pair: &[Lexeme<'_>]| match pair {
        [Lexeme { token: Token::Word(word), .. }, Lexeme { token: Token::Punct(":"), .. }] => {
            is_name(word)
        }
        _ => false,
    };
    let count = tokens.chunks(2).take_while(|pair| is_label(pair)).count();
    let (labels, rest) = tokens.split_at(2 * count);
    let labels = labels.chunks(2).filter_map(|pair| match pair[0].token {
        Token::Word(text) => Some(Name { text, span: (pair[0].start, pair[0].end) }),
        _ => None,
    });
    (labels, rest)
}

/// The dialect of the first statement that is in only one of them.
fn detect(lines: &[(Line<'_>, Vec<Lexeme<'_>>)]) -> Dialect {
    let statements = lines
        .iter()
        .flat_map(|(line, tokens)| {
            tokens.split(|t| t.token == Token::Punct(";")).map(move |s| (line, s))
        })
        .map(|(line, statement)| Cursor::new(*line, split_labels(statement).1));
    for cursor in statements {
        if pseudo_c::looks_like(&cursor) == Some(true) {
            return Dialect::PseudoC;
        }
        if mnemonic::looks_like(&cursor) == Some(true) {
            return Dialect::Mnemonic;
        }
    }
    Dialect::PseudoC
}

/// A name that is used or marks a place.
struct Mark<'a> {
    label: Label,
    /// The line where the name marks a place, if it does yet.
    placed: Option<usize>,
    /// The first use.
    used: Option<(Line<'a>, Name<'a>, Insn)>,
}

struct Assembler<'a, 's> {
    dialect: Dialect,
    symbols: &'s dyn Symbols,
    builder: Builder,
    marks: HashMap<&'a str, Mark<'a>>,
    /// In the order of their first mention, so that errors come in order.
    names: Vec<&'a str>,
    /// Where the first `exit` stands.
    first_exit: Option<Pc>,
    /// Where each instruction is written, by slot.
    written: HashMap<Pc, (Line<'a>, (usize, usize))>,
}

impl<'a, 's> Assembler<'a, 's> {
    fn new(symbols: &'s dyn Symbols) -> Assembler<'a, 's> {
        Assembler {
            dialect: Dialect::PseudoC,
            symbols,
            builder: Builder::new(),
            marks: HashMap::new(),
            names: Vec::new(),
            first_exit: None,
            written: HashMap::new(),
        }
    }

    fn mark(&mut self, name: &'a str) -> &mut Mark<'a> {
        let (builder, names) = (&mut self.builder, &mut self.names);
        self.marks.entry(name).or_insert_with(|| {
            names.push(name);
            Mark { label: builder.new_label(), placed: None, used: None }
        })
    }

    fn statement(&mut self, line: Line<'a>, tokens: &[Lexeme<'a>]) -> Parsed<()> {
        let (labels, rest) = split_labels(tokens);
        for name in labels {
            self.place(line, name)?;
        }
        let (Some(first), Some(last)) = (rest.first(), rest.last()) else { return Ok(()) };
        let span = (first.start, last.end);
        let mut cursor = Cursor::new(line, rest);
        let Statement { insn, label } = match self.dialect {
            Dialect::Mnemonic => mnemonic::parse(&mut cursor, self.symbols)?,
            Dialect::PseudoC | Dialect::Auto => pseudo_c::parse(&mut cursor, self.symbols)?,
        };
        cursor.finish()?;
        let pc = self.builder.pc();
        if insn == Insn::Exit {
            self.first_exit.get_or_insert(pc);
        }
        self.written.insert(pc, (line, span));
        match label {
            None => self.builder.insn(insn),
            Some(name) => {
                let mark = self.mark(name.text);
                mark.used.get_or_insert((line, name, insn));
                let label = mark.label;
                self.builder.insn_to(insn, label)
            }
        };
        Ok(())
    }

    fn place(&mut self, line: Line<'a>, name: Name<'a>) -> Parsed<()> {
        let mark = self.mark(name.text);
        if let Some(first) = mark.placed {
            let kind = TextErrorKind::DuplicateLabel { name: name.text.to_owned(), first };
            return Cursor::new(line, &[]).fail(name.span, kind);
        }
        mark.placed = Some(line.number);
        let label = mark.label;
        self.builder.label(label);
        Ok(())
    }

    fn finish(mut self) -> Parsed<Code> {
        for name in &self.names {
            let mark = &self.marks[name];
            let (None, Some((line, used, insn))) = (mark.placed, mark.used) else { continue };
            if let (Dialect::Mnemonic, "exit", Some(pc)) = (self.dialect, *name, self.first_exit) {
                self.builder.place_at(mark.label, pc);
                continue;
            }
            let placed = self.names.iter().filter(|n| self.marks[*n].placed.is_some());
            let suggestion = nearest(used.text, placed);
            let name = used.text.to_owned();
            let kind = match insn {
                Insn::Call { .. } => TextErrorKind::UnknownFunction { name, suggestion },
                _ => TextErrorKind::UnknownLabel { name, suggestion },
            };
            return Cursor::new(line, &[]).fail(used.span, kind);
        }
        self.builder.build().map_err(|error| {
            let reason = match error {
                BuildError::TooFar { offset, .. } => format!(
                    "the label is {offset} slots away, which does not fit 16 bits; `gotol` (ja32) reaches it"
                ),
                BuildError::Encode { error, .. } => error.to_string(),
                other => other.to_string(),
            };
            let kind = TextErrorKind::NoSuchForm { reason };
            let (text, number, span) = match self.written.get(&error.pc()) {
                Some((line, span)) => (line.text, line.number, *span),
                None => ("", 1, (0, 0)),
            };
            TextError::at(text, number, span.0, span.1, kind)
        })
    }
}
