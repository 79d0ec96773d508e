//! How data has changed: rows of 16 bytes, what was in red, what is in green.
//!
//! Offsets count from where the data started before, so that bytes added in front have negative
//! ones and nothing that stayed in its place counts as changed.

use super::style::{self, paint};
use std::fmt::Write;

const ROW_BYTES: i64 = 16;

/// Two versions of some data.
pub(crate) struct Diff<'a> {
    before: &'a [u8],
    after: &'a [u8],
    /// By how much the start has moved towards the end.
    moved: i64,
}

impl<'a> Diff<'a> {
    pub(crate) fn new(before: &'a [u8], after: &'a [u8], moved: i64) -> Diff<'a> {
        Diff { before, after, moved }
    }

    fn old(&self, place: i64) -> Option<u8> {
        self.before.get(usize::try_from(place).ok()?).copied()
    }

    fn new_at(&self, place: i64) -> Option<u8> {
        self.after.get(usize::try_from(place - self.moved).ok()?).copied()
    }

    fn end(&self) -> i64 {
        (self.before.len() as i64).max(self.moved + self.after.len() as i64)
    }

    /// How many bytes are not as they were, of those that are in both.
    pub(crate) fn changed(&self) -> usize {
        let both = |place: &i64| matches!((self.old(*place), self.new_at(*place)), (Some(a), Some(b)) if a != b);
        (0..self.end()).filter(both).count()
    }

    /// The rows with changes: each as it was, and below what is new in it.
    pub(crate) fn rows(&self) -> String {
        let mut text = String::new();
        let first = self.moved.min(0).div_euclid(ROW_BYTES) * ROW_BYTES;
        for row in (first..self.end()).step_by(ROW_BYTES as usize) {
            let places = || row..row + ROW_BYTES;
            if places().all(|place| self.old(place) == self.new_at(place)) {
                continue;
            }
            let offset = match row {
                0.. => format!("{row:>6x}"),
                _ => format!("{:>6}", format!("-{:x}", -row)),
            };
            let was = places().any(|place| self.old(place).is_some());
            if was {
                let cells = places().map(|p| cell(self.old(p), self.new_at(p), style::OLD, false));
                line(&mut text, &offset, '-', style::OLD, cells);
            }
            if places().any(|place| self.new_at(place).is_some()) {
                let cells = places().map(|p| cell(self.new_at(p), self.old(p), style::NEW, true));
                let offset = if was { " ".repeat(6) } else { offset };
                line(&mut text, &offset, '+', style::NEW, cells);
            }
        }
        text
    }
}

/// A byte of one version; one that is the same in the other is faint, or with `terse` two dots.
fn cell(byte: Option<u8>, other: Option<u8>, style: anstyle::Style, terse: bool) -> String {
    match byte {
        None => "  ".into(),
        Some(_) if byte == other && terse => paint(style::FAINT, ".."),
        Some(byte) if other == Some(byte) => paint(style::FAINT, format!("{byte:02x}")),
        Some(byte) => paint(style, format!("{byte:02x}")),
    }
}

fn line(
    text: &mut String,
    offset: &str,
    sign: char,
    style: anstyle::Style,
    cells: impl Iterator<Item = String>,
) {
    let mut row = String::new();
    for (i, cell) in cells.enumerate() {
        row.push_str(if i == 8 { "  " } else { " " });
        row.push_str(&cell);
    }
    // Writing to a String does not fail.
    let _ = writeln!(text, "  {offset}  {}{}", paint(style, sign), row.trim_end());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(before: &[u8], after: &[u8], moved: i64) -> String {
        anstream::adapter::strip_str(&Diff::new(before, after, moved).rows()).to_string()
    }

    #[test]
    fn nothing_changed() {
        assert_eq!(plain(&[1; 40], &[1; 40], 0), "");
        assert_eq!(Diff::new(&[1; 4], &[1; 4], 0).changed(), 0);
    }

    #[test]
    fn changed_bytes() {
        let mut after = [1; 20];
        after[17] = 0xff;
        let expected = "      10  - 01 01 01 01\n          + .. ff .. ..\n";
        assert_eq!(plain(&[1; 20], &after, 0), expected);
        assert_eq!(Diff::new(&[1; 20], &after, 0).changed(), 1);
    }

    #[test]
    fn the_start_moves() {
        let before = [1, 2, 3, 4];
        // Two bytes in front.
        let grown = plain(&before, &[9, 9, 1, 2, 3, 4], -2);
        let gap = " ".repeat(2 + 3 * 14);
        assert_eq!(grown, format!("     -10  +{} 09 09\n", &gap[1..]));
        // Two bytes less.
        let shrunk = plain(&before, &[3, 4], 2);
        assert_eq!(shrunk, "       0  - 01 02 03 04\n          +       .. ..\n");
        assert_eq!(Diff::new(&before, &[3, 4], 2).changed(), 0);
    }

    #[test]
    fn the_end_moves() {
        assert_eq!(plain(&[1, 2], &[1, 2, 0], 0), "       0  - 01 02\n          + .. .. 00\n");
        assert_eq!(plain(&[1; 17], &[1; 16], 0), "      10  - 01\n");
    }
}
