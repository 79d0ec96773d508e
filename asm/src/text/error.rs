//! What is wrong with a text and where.

use std::fmt;

/// Why a text is not a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextError {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// How many characters are at fault; 0 at the end of a line.
    pub length: usize,
    /// What is wrong.
    pub kind: Box<TextErrorKind>,
    /// The line as it stands in the source.
    pub source_line: String,
}

/// What is wrong with a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TextErrorKind {
    /// Something else was expected here.
    Expected {
        /// What was expected.
        expected: String,
        /// What stands there; none at the end of the line.
        found: Option<String>,
        /// A known word that resembles what was found.
        suggestion: Option<String>,
    },
    /// A number does not fit where it stands.
    OutOfRange {
        /// The number as written.
        number: String,
        /// What it is.
        what: &'static str,
        /// The smallest number that fits.
        min: i128,
        /// The greatest number that fits.
        max: i128,
    },
    /// No label has this name.
    UnknownLabel {
        /// The name.
        name: String,
        /// A label that resembles it.
        suggestion: Option<String>,
    },
    /// A call names neither a function of the program nor a known helper.
    UnknownFunction {
        /// The name.
        name: String,
        /// A label that resembles it.
        suggestion: Option<String>,
    },
    /// The label marks another place already.
    DuplicateLabel {
        /// The name.
        name: String,
        /// The line of the first.
        first: usize,
    },
    /// The instruction exists, but not in this form.
    NoSuchForm {
        /// What is wrong with it.
        reason: String,
    },
}

impl fmt::Display for TextErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hint = |f: &mut fmt::Formatter<'_>, suggestion: &Option<String>| match suggestion {
            Some(word) => write!(f, "; did you mean `{word}`?"),
            None => Ok(()),
        };
        match self {
            TextErrorKind::Expected { expected, found, suggestion } => {
                match found {
                    Some(found) => write!(f, "found `{found}`, expected {expected}")?,
                    None => write!(f, "the line ends here, expected {expected}")?,
                }
                hint(f, suggestion)
            }
            TextErrorKind::OutOfRange { number, what, min, max } => {
                write!(f, "{number} does not fit {what}, which takes {min} to {max}")
            }
            TextErrorKind::UnknownLabel { name, suggestion } => {
                write!(f, "there is no label `{name}`")?;
                hint(f, suggestion)
            }
            TextErrorKind::UnknownFunction { name, suggestion } => {
                write!(
                    f,
                    "there is no function `{name}` in the program and no helper of that name is known"
                )?;
                hint(f, suggestion)
            }
            TextErrorKind::DuplicateLabel { name, first } => {
                write!(f, "label `{name}` is already on line {first}")
            }
            TextErrorKind::NoSuchForm { reason } => f.write_str(reason),
        }
    }
}

impl fmt::Display for TextError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.line, self.column, self.kind)
    }
}

impl std::error::Error for TextError {}

impl TextError {
    /// Where something stands in a line, counted in bytes.
    pub(super) fn at(
        source: &str,
        line: usize,
        start: usize,
        end: usize,
        kind: TextErrorKind,
    ) -> TextError {
        let chars = |range: &str| range.chars().count();
        TextError {
            line,
            column: chars(&source[..start]) + 1,
            length: chars(&source[start..end]),
            kind: Box::new(kind),
            source_line: source.to_owned(),
        }
    }

    /// The message with the source line and a mark below the place.
    pub fn render(&self) -> String {
        let number = self.line.to_string();
        let margin = " ".repeat(number.len());
        // Tabs stay tabs, so that the mark stands below its place however wide they are shown.
        let indent: String = self
            .source_line
            .chars()
            .take(self.column - 1)
            .map(|c| if c == '\t' { '\t' } else { ' ' })
            .collect();
        let mark = "^".repeat(self.length.max(1));
        format!(
            "error: {}\n{margin}--> {}:{}\n{margin} |\n{number} | {}\n{margin} | {indent}{mark}\n",
            self.kind, self.line, self.column, self.source_line
        )
    }
}

/// The candidate that resembles `word` most, if one does.
pub(super) fn nearest<S: AsRef<str>>(
    word: &str,
    candidates: impl IntoIterator<Item = S>,
) -> Option<String> {
    // Longer words are no misspelled ones, and the distance costs their product.
    if word.len() < 2 || word.len() > 32 {
        return None;
    }
    let word = word.to_ascii_lowercase();
    let allowed = if word.len() < 5 { 1 } else { 2 };
    candidates
        .into_iter()
        .filter(|c| c.as_ref().len().abs_diff(word.len()) <= allowed)
        .map(|c| (distance(word.as_bytes(), c.as_ref().as_bytes()), c))
        .filter(|(d, _)| *d <= allowed)
        .min_by_key(|(d, _)| *d)
        .map(|(_, c)| c.as_ref().to_owned())
}

/// How many letters are wrong, missing, superfluous or swapped with their neighbour.
fn distance(a: &[u8], b: &[u8]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let cost = usize::from(a[i - 1] != b[j - 1]);
            let mut best = (last[j] + 1).min(row[j - 1] + 1).min(last[j - 1] + cost);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(before[j - 2] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}
