//! Reading the tokens of one statement: what both dialects share.

use super::error::{TextError, TextErrorKind, nearest};
use super::lex::{Lexeme, Token};
use crate::insn::{Insn, Operand, Reg, Size, Width};

/// Where a statement stands.
#[derive(Clone, Copy)]
pub(super) struct Line<'a> {
    /// The text of the line.
    pub(super) text: &'a str,
    /// Its number, from 1.
    pub(super) number: usize,
}

/// A name with its place.
#[derive(Clone, Copy)]
pub(super) struct Name<'a> {
    /// The name.
    pub(super) text: &'a str,
    /// Where it starts and ends in its line, in bytes.
    pub(super) span: (usize, usize),
}

/// Where a jump or a local call leads.
pub(super) enum Goal<'a> {
    /// To a label.
    Label(Name<'a>),
    /// Over this many slots.
    Offset(i32),
}

/// A parsed statement: with a label, the instruction's offset is still to be filled in.
pub(super) struct Statement<'a> {
    pub(super) insn: Insn,
    pub(super) label: Option<Name<'a>>,
}

impl<'a> From<Insn> for Statement<'a> {
    fn from(insn: Insn) -> Statement<'a> {
        Statement { insn, label: None }
    }
}

pub(super) type Parsed<T> = Result<T, TextError>;

/// A position among the tokens of a statement.
#[derive(Clone)]
pub(super) struct Cursor<'a, 't> {
    line: Line<'a>,
    tokens: &'t [Lexeme<'a>],
    at: usize,
}

impl<'a, 't> Cursor<'a, 't> {
    pub(super) fn new(line: Line<'a>, tokens: &'t [Lexeme<'a>]) -> Cursor<'a, 't> {
        Cursor { line, tokens, at: 0 }
    }

    pub(super) fn peek(&self) -> Option<Token<'a>> {
        self.peek_at(0)
    }

    pub(super) fn peek_at(&self, ahead: usize) -> Option<Token<'a>> {
        self.tokens.get(self.at + ahead).map(|lexeme| lexeme.token)
    }

    pub(super) fn skip(&mut self, count: usize) {
        self.at += count;
    }

    /// The place of the next token, or of the end.
    pub(super) fn span(&self) -> (usize, usize) {
        match (self.tokens.get(self.at), self.tokens.last()) {
            (Some(lexeme), _) => (lexeme.start, lexeme.end),
            (None, Some(last)) => (last.end, last.end),
            (None, None) => (0, 0),
        }
    }

    pub(super) fn fail<T>(&self, span: (usize, usize), kind: TextErrorKind) -> Parsed<T> {
        let Line { text, number } = self.line;
        Err(TextError::at(text, number, span.0, span.1, kind))
    }

    /// An error at the whole statement.
    pub(super) fn no_such_form<T>(&self, reason: impl Into<String>) -> Parsed<T> {
        let start = self.tokens.first().map_or(0, |t| t.start);
        let end = self.tokens.last().map_or(0, |t| t.end);
        self.fail((start, end), TextErrorKind::NoSuchForm { reason: reason.into() })
    }

    /// An error at the next token: something else was expected.
    pub(super) fn expected<T>(&self, expected: impl Into<String>) -> Parsed<T> {
        self.expected_one_of(expected, [""; 0])
    }

    /// As [`Cursor::expected`], with the words that a misspelled one may have meant.
    pub(super) fn expected_one_of<T, S: AsRef<str>>(
        &self,
        expected: impl Into<String>,
        words: impl IntoIterator<Item = S>,
    ) -> Parsed<T> {
        let (start, mut end) = self.span();
        // `%` belongs to the register after it.
        if let (true, Some(Lexeme { start: next, end: word, .. })) =
            (self.is("%"), self.tokens.get(self.at + 1))
            && *next == end
        {
            end = *word;
        }
        let found = self.peek().map(|_| self.line.text[start..end].to_owned());
        let suggestion = match self.peek() {
            Some(Token::Word(word)) => nearest(word, words),
            _ => None,
        };
        let kind = TextErrorKind::Expected { expected: expected.into(), found, suggestion };
        self.fail((start, end), kind)
    }

    pub(super) fn is(&self, punct: &str) -> bool {
        matches!(self.peek(), Some(Token::Punct(p)) if p == punct)
    }

    pub(super) fn eat(&mut self, punct: &str) -> bool {
        let hit = self.is(punct);
        self.at += usize::from(hit);
        hit
    }

    pub(super) fn expect(&mut self, punct: &str) -> Parsed<()> {
        if self.eat(punct) { Ok(()) } else { self.expected(format!("`{punct}`")) }
    }

    pub(super) fn word(&self) -> Option<&'a str> {
        match self.peek() {
            Some(Token::Word(word)) => Some(word),
            _ => None,
        }
    }

    pub(super) fn eat_word(&mut self, word: &str) -> bool {
        let hit = self.word() == Some(word);
        self.at += usize::from(hit);
        hit
    }

    pub(super) fn expect_word(&mut self, word: &str) -> Parsed<()> {
        if self.eat_word(word) { Ok(()) } else { self.expected_one_of(format!("`{word}`"), [word]) }
    }

    /// Nothing may follow.
    pub(super) fn finish(&self) -> Parsed<()> {
        if self.peek().is_none() { Ok(()) } else { self.expected("the end of the instruction") }
    }

    /// A register with its view, if one is next; a `%` before it is allowed.
    pub(super) fn try_register(&mut self) -> Parsed<Option<(Reg, Width)>> {
        let percent = usize::from(self.is("%"));
        let Some(Token::Word(word)) = self.peek_at(percent) else { return Ok(None) };
        let (width, digits) = match word.split_at_checked(1) {
            Some(("r", digits)) => (Width::W64, digits),
            Some(("w", digits)) => (Width::W32, digits),
            _ => return Ok(None),
        };
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Ok(None);
        }
        match digits.parse().ok().and_then(Reg::new) {
            // `r01` would be a second name for a register.
            Some(reg) if digits.len() == 1 || digits == "10" => {
                self.skip(percent + 1);
                Ok(Some((reg, width)))
            }
            _ => self.expected("a register, r0 to r10"),
        }
    }

    /// A register in any view.
    pub(super) fn any_register(&mut self) -> Parsed<(Reg, Width)> {
        match self.try_register()? {
            Some(found) => Ok(found),
            None => self.expected("a register, r0 to r10"),
        }
    }

    /// A register in this view.
    pub(super) fn register(&mut self, width: Width) -> Parsed<Reg> {
        let before = self.clone();
        match self.try_register()? {
            Some((reg, found)) if found == width => Ok(reg),
            _ => before.expected(match width {
                Width::W64 => "a 64-bit register, r0 to r10",
                Width::W32 => "a 32-bit register, w0 to w10",
            }),
        }
    }

    /// Whether a number, perhaps signed, is next.
    pub(super) fn at_number(&self) -> bool {
        let mut ahead = 0;
        while matches!(self.peek_at(ahead), Some(Token::Punct("+" | "-"))) {
            ahead += 1;
        }
        matches!(self.peek_at(ahead), Some(Token::Word(w)) if w.as_bytes()[0].is_ascii_digit())
    }

    /// A number in a range, with any signs before it; `what` says what it is for.
    pub(super) fn number(&mut self, what: &'static str, min: i128, max: i128) -> Parsed<i128> {
        let start = self.span().0;
        if !self.at_number() {
            return self.expected(what);
        }
        let mut negative = false;
        while let Some(Token::Punct(sign @ ("+" | "-"))) = self.peek() {
            negative ^= sign == "-";
            self.at += 1;
        }
        let Some(word) = self.word() else { return self.expected(what) };
        let end = self.span().1;
        let magnitude = match word.strip_prefix("0x").or_else(|| word.strip_prefix("0X")) {
            Some(hex) => i128::from_str_radix(hex, 16),
            None => word.parse(),
        };
        let value = match magnitude {
            Ok(value) if negative => -value,
            Ok(value) => value,
            Err(e) if *e.kind() == std::num::IntErrorKind::PosOverflow => i128::MAX,
            Err(_) => return self.expected("a number, decimal or hexadecimal after 0x"),
        };
        if value < min || value > max {
            let number = self.line.text[start..end].to_owned();
            return self.fail((start, end), TextErrorKind::OutOfRange { number, what, min, max });
        }
        self.at += 1;
        Ok(value)
    }

    /// A 32-bit immediate; numbers from 2^31 on are taken modulo 2^32.
    pub(super) fn imm32(&mut self) -> Parsed<i32> {
        let value = self.number("a 32-bit immediate", i32::MIN.into(), u32::MAX.into())?;
        Ok(value as i32)
    }

    /// A 64-bit immediate; numbers from 2^63 on are taken modulo 2^64.
    pub(super) fn imm64(&mut self) -> Parsed<u64> {
        let value = self.number("a 64-bit immediate", i64::MIN.into(), u64::MAX.into())?;
        Ok(value as u64)
    }

    /// An unsigned 32-bit number.
    pub(super) fn unsigned(&mut self, what: &'static str) -> Parsed<u32> {
        Ok(self.number(what, 0, u32::MAX.into())? as u32)
    }

    /// A signed 32-bit number.
    pub(super) fn signed(&mut self, what: &'static str) -> Parsed<i32> {
        Ok(self.number(what, i32::MIN.into(), i32::MAX.into())? as i32)
    }

    /// The signed 16-bit offset of an address: nothing, `+ N` or `- N`.
    pub(super) fn address_offset(&mut self) -> Parsed<i16> {
        if !self.is("+") && !self.is("-") {
            return Ok(0);
        }
        Ok(self.number("a 16-bit offset", i16::MIN.into(), i16::MAX.into())? as i16)
    }

    /// A register in this view, or a 32-bit immediate.
    pub(super) fn operand(&mut self, width: Width) -> Parsed<Operand> {
        if self.at_number() {
            return Ok(Operand::Imm(self.imm32()?));
        }
        if self.clone().try_register()?.is_some() {
            return Ok(Operand::Reg(self.register(width)?));
        }
        match width {
            Width::W64 => self.expected("a register, r0 to r10, or a number"),
            Width::W32 => self.expected("a register, w0 to w10, or a number"),
        }
    }

    /// A jump target: `+N`, `-N`, `pc+N` or the name of a label.
    pub(super) fn goal(&mut self) -> Parsed<Goal<'a>> {
        let after_pc = usize::from(self.word() == Some("pc"));
        if matches!(self.peek_at(after_pc), Some(Token::Punct("+" | "-"))) {
            self.skip(after_pc);
            return Ok(Goal::Offset(self.signed("a jump offset")?));
        }
        match self.name() {
            Some(name) => Ok(Goal::Label(name)),
            None => self.expected("a jump target: +N, -N or a label"),
        }
    }

    /// A name, if one is next.
    pub(super) fn name(&mut self) -> Option<Name<'a>> {
        let text = self.word().filter(|w| is_name(w))?;
        let name = Name { text, span: self.span() };
        self.at += 1;
        Some(name)
    }

    /// Finishes an instruction that leads to a goal.
    pub(super) fn lead(&self, insn: Insn, goal: Goal<'a>) -> Parsed<Statement<'a>> {
        match goal {
            Goal::Label(name) => Ok(Statement { insn, label: Some(name) }),
            Goal::Offset(offset) => match insn.retarget(offset) {
                Some(insn) => Ok(insn.into()),
                None => self.no_such_form(format!("offset {offset} does not fit 16 bits")),
            },
        }
    }
}

/// Whether a word may name a label: it does not begin with a digit and is no register.
pub(super) fn is_name(word: &str) -> bool {
    let register = word.len() > 1
        && matches!(word.as_bytes()[0], b'r' | b'w')
        && word[1..].bytes().all(|b| b.is_ascii_digit());
    !word.is_empty()
        && word.bytes().all(super::lex::is_word_byte)
        && !word.as_bytes()[0].is_ascii_digit()
        && word != "pc"
        && !register
}

/// The letter of a size in mnemonics.
pub(super) const fn size_letter(size: Size) -> &'static str {
    match size {
        Size::B => "b",
        Size::H => "h",
        Size::W => "w",
        Size::Dw => "dw",
    }
}
