//! The end product: one row a program, one column an engine, run times as multiples of the first
//! engine's, geometric means below.

use std::fmt::Write;

/// What an engine did with a program.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Cell {
    /// Median time of one run in nanoseconds.
    Time(f64),
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
            let _ = write!(out, " {cell:>13}");
        }
        out.push('\n');
    };

    line("program", &mut engines.iter().map(|name| (*name).to_owned()));
    for row in rows {
        line(row.name, &mut (0..row.cells.len()).map(|engine| cell(row, engine)));
    }
    line("geometric mean", &mut (0..engines.len()).map(|engine| mean(rows, engine)));
    out
}

fn cell(row: &Row, engine: usize) -> String {
    match row.cells[engine] {
        Cell::Unsupported => "-".to_owned(),
        Cell::Wrong => "wrong result".to_owned(),
        Cell::Time(ns) => match ratio(row, engine) {
            Some(ratio) if engine > 0 => two_digits(ratio),
            _ => time(ns),
        },
    }
}

/// The engine's time over the first engine's.
fn ratio(row: &Row, engine: usize) -> Option<f64> {
    match (row.cells[0], row.cells[engine]) {
        (Cell::Time(base), Cell::Time(ns)) => Some(ns / base),
        _ => None,
    }
}

fn mean(rows: &[Row], engine: usize) -> String {
    let ratios: Vec<f64> = rows.iter().filter_map(|row| ratio(row, engine)).collect();
    if ratios.is_empty() {
        return "-".to_owned();
    }
    let mean = (ratios.iter().map(|ratio| ratio.ln()).sum::<f64>() / ratios.len() as f64).exp();
    let mean = two_digits(mean);
    if ratios.len() == rows.len() { mean } else { format!("{mean} ({})", ratios.len()) }
}

/// How many times as fast as `other` the engine `one` is: geometric mean over the programs that both
/// ran, and the program where it is least. `None` when there is no such program.
pub fn lead(rows: &[Row], one: usize, other: usize) -> Option<(f64, f64, &'static str)> {
    let pairs = rows.iter().filter_map(|row| match (row.cells[one], row.cells[other]) {
        (Cell::Time(one), Cell::Time(other)) => Some((other / one, row.name)),
        _ => None,
    });
    let pairs: Vec<(f64, &str)> = pairs.collect();
    let least = pairs.iter().copied().min_by(|a, b| a.0.total_cmp(&b.0))?;
    let sum: f64 = pairs.iter().map(|(ratio, _)| ratio.ln()).sum();
    Some(((sum / pairs.len() as f64).exp(), least.0, least.1))
}

fn two_digits(ratio: f64) -> String {
    if ratio < 10.0 { format!("{ratio:.2}") } else { format!("{ratio:.1}") }
}

fn time(ns: f64) -> String {
    if ns < 1e3 { format!("{ns:.1} ns") } else { format!("{:.2} us", ns / 1e3) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_to_the_first_engine_and_means_leave_gaps_out() {
        let rows = [
            Row { name: "a", cells: vec![Cell::Time(10.0), Cell::Time(20.0), Cell::Time(40.0)] },
            Row { name: "b", cells: vec![Cell::Time(2e3), Cell::Time(16e3), Cell::Wrong] },
            Row { name: "c", cells: vec![Cell::Time(1.0), Cell::Time(4.0), Cell::Unsupported] },
        ];
        let table = render(&["native", "x", "y"], &rows);
        let words: Vec<Vec<&str>> =
            table.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(words[1], ["a", "10.0", "ns", "2.00", "4.00"]);
        assert_eq!(words[2], ["b", "2.00", "us", "8.00", "wrong", "result"]);
        assert_eq!(words[3], ["c", "1.0", "ns", "4.00", "-"]);
        assert_eq!(words[4], ["geometric", "mean", "1.00", "4.00", "4.00", "(1)"]);
        assert_eq!(lead(&rows, 0, 2), Some((4.0, 4.0, "a")));
        let (mean, least, program) = lead(&rows, 0, 1).expect("common programs");
        assert!((mean - 4.0).abs() < 1e-9, "{mean}");
        assert_eq!((least, program), (2.0, "a"));
    }

    #[test]
    fn without_the_first_engine_cells_are_times() {
        let rows = [Row { name: "a", cells: vec![Cell::Unsupported, Cell::Time(20.0)] }];
        let table = render(&["native", "x"], &rows);
        assert!(table.contains("20.0 ns"), "{table}");
        assert!(table.lines().last().is_some_and(|line| line.ends_with('-')), "{table}");
    }
}
