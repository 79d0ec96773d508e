//! The end product: one row a program, one column an engine, run times as multiples of the first
//! engine's, geometric means below.

use crate::measure::{geometric_mean, median};
use std::fmt::Write;

/// What an engine did with a program.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Cell {
    /// It ran.
    Time {
        /// Median time of one run in nanoseconds.
        ns: f64,
        /// Median of the rounds' ratios to the first engine; none where that did not run.
        ratio: Option<f64>,
    },
    /// The engine cannot run the program.
    Unsupported,
    /// The engine's answer or memory differs from the first engine's.
    Wrong,
}

/// One program's results, in the order of the engines.
pub struct Row {
    /// The program.
    pub name: &'static str,
    /// One cell an engine.
    pub cells: Vec<Cell>,
}

impl Row {
    /// The engine's time over the first engine's.
    pub fn ratio(&self, engine: usize) -> Option<f64> {
        match self.cells.get(engine) {
            Some(Cell::Time { ratio, .. }) => *ratio,
            _ => None,
        }
    }

    /// Nanoseconds of a run.
    pub fn ns(&self, engine: usize) -> Option<f64> {
        match self.cells.get(engine) {
            Some(Cell::Time { ns, .. }) => Some(*ns),
            _ => None,
        }
    }
}

/// The cells of a row: those of engines that ran from their samples, in the same order, a sample a
/// round; the others as they are given.
pub fn cells<R>(
    engines: impl Iterator<Item = Result<R, Cell>>,
    samples: impl IntoIterator<Item = Vec<f64>>,
) -> Vec<Cell> {
    let (mut samples, mut base) = (samples.into_iter(), None);
    let mut cells = Vec::new();
    for engine in engines {
        let samples = match engine {
            Ok(_) => samples.next().unwrap_or_default(),
            Err(cell) => {
                cells.push(cell);
                continue;
            }
        };
        if cells.is_empty() {
            base = Some(samples.clone());
        }
        let rounds =
            base.as_ref().map(|base| samples.iter().zip(base).map(|(one, base)| one / base));
        let ratio = rounds.and_then(median);
        cells.push(median(samples).map_or(Cell::Unsupported, |ns| Cell::Time { ns, ratio }));
    }
    cells
}

/// Renders the table. `engines` heads the columns; the first is 1.00 and shown as time.
///
/// A mean covers the programs that its engine and the first one ran right, and says how many
/// where that is not all. When the first engine ran none, all cells are times.
pub fn render(engines: &[&str], rows: &[Row]) -> String {
    let mut out = String::new();
    let name_width = rows.iter().map(|row| row.name.len()).max().unwrap_or(0).max(14);
    let mut line = |name: &str, cells: &mut dyn Iterator<Item = String>| {
        let _ = write!(out, "{name:name_width$}");
        for cell in cells {
            let _ = write!(out, " {cell:>10}");
        }
        out.push('\n');
    };

    line("program", &mut engines.iter().map(|name| (*name).to_owned()));
    for row in rows {
        line(row.name, &mut (0..row.cells.len()).map(|engine| cell(row, engine)));
    }
    line("geometric mean", &mut (0..engines.len()).map(|engine| mean_cell(rows, engine)));
    out
}

fn cell(row: &Row, engine: usize) -> String {
    match row.cells[engine] {
        Cell::Unsupported => "-".to_owned(),
        Cell::Wrong => "wrong".to_owned(),
        Cell::Time { ratio: Some(ratio), .. } if engine > 0 => two_digits(ratio),
        Cell::Time { ns, .. } => time(ns),
    }
}

/// The geometric mean of an engine's ratios, and of how many programs; none of none.
pub fn mean(rows: &[Row], engine: usize) -> Option<(f64, usize)> {
    let ratios: Vec<f64> = rows.iter().filter_map(|row| row.ratio(engine)).collect();
    geometric_mean(ratios.iter().copied()).map(|mean| (mean, ratios.len()))
}

fn mean_cell(rows: &[Row], engine: usize) -> String {
    match mean(rows, engine) {
        Some((mean, count)) if count == rows.len() => two_digits(mean),
        Some((mean, count)) => format!("{} ({count})", two_digits(mean)),
        None => "-".to_owned(),
    }
}

/// A ratio with the digits that mean something.
pub fn two_digits(ratio: f64) -> String {
    if ratio < 10.0 { format!("{ratio:.2}") } else { format!("{ratio:.1}") }
}

/// A time in a unit that suits it.
pub fn time(ns: f64) -> String {
    match ns {
        ..1e3 => format!("{ns:.1} ns"),
        ..1e6 => format!("{:.2} us", ns / 1e3),
        _ => format!("{:.2} ms", ns / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ran(ns: f64, native: f64) -> Cell {
        Cell::Time { ns, ratio: Some(ns / native) }
    }

    #[test]
    fn ratios_are_to_the_first_engine_and_means_leave_gaps_out() {
        let rows = [
            Row { name: "a", cells: vec![ran(10.0, 10.0), ran(20.0, 10.0), ran(40.0, 10.0)] },
            Row { name: "b", cells: vec![ran(2e3, 2e3), ran(16e3, 2e3), Cell::Wrong] },
            Row { name: "c", cells: vec![ran(1.0, 1.0), ran(4.0, 1.0), Cell::Unsupported] },
        ];
        let table = render(&["native", "x", "y"], &rows);
        let words: Vec<Vec<&str>> =
            table.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(words[1], ["a", "10.0", "ns", "2.00", "4.00"]);
        assert_eq!(words[2], ["b", "2.00", "us", "8.00", "wrong"]);
        assert_eq!(words[3], ["c", "1.0", "ns", "4.00", "-"]);
        assert_eq!(words[4], ["geometric", "mean", "1.00", "4.00", "4.00", "(1)"]);
    }

    #[test]
    fn ratios_are_of_rounds_and_gaps_stay_where_they_are() {
        // The machine was three times as slow in the last round.
        let samples = [vec![10.0, 10.0, 30.0], vec![20.0, 21.0, 60.0]];
        let engines = [Ok(()), Err(Cell::Wrong), Ok(())];
        let cells = cells(engines.into_iter(), samples);
        assert_eq!(cells[0], ran(10.0, 10.0));
        assert_eq!(cells[1..], [Cell::Wrong, Cell::Time { ns: 21.0, ratio: Some(2.0) }]);
    }

    #[test]
    fn without_the_first_engine_cells_are_times() {
        let alone = Cell::Time { ns: 20.0, ratio: None };
        let rows = [Row { name: "a", cells: vec![Cell::Unsupported, alone] }];
        let table = render(&["native", "x"], &rows);
        assert!(table.contains("20.0 ns"), "{table}");
        assert!(table.lines().last().is_some_and(|line| line.ends_with('-')), "{table}");
    }
}
