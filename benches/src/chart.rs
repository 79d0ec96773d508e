//! The comparison as a picture: a line an engine, a dot a program, a bar up to the geometric mean, on
//! an axis of ratios. Plain SVG with colours for light and dark backgrounds.

use crate::table::{Row, mean, two_digits};
use std::fmt::Write;

/// Distances in pixels.
const WIDTH: f64 = 860.0;
const LABELS: f64 = 232.0;
const RIGHT: f64 = 60.0;
const TOP: f64 = 64.0;
const LINE: f64 = 26.0;
const BOTTOM: f64 = 46.0;

/// What the axis may show; as much of it as is needed.
const TICKS: [f64; 12] = [0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0];

const STYLE: &str = "\
text{font:13px system-ui,sans-serif;fill:#24292f}\
.title{font-weight:600;font-size:15px}\
.note{font-size:12px;fill:#57606a}\
.mean{font-weight:600}\
.grid{stroke:#d0d7de}\
.one{stroke:#57606a}\
.bar{fill:#a8c7fa}\
.ours .bar{fill:#7ccf9b}\
.dot{fill:#1f4e9c;fill-opacity:.55}\
.ours .dot{fill:#14713c}\
@media(prefers-color-scheme:dark){\
text{fill:#e6edf3}.note{fill:#9198a1}.grid{stroke:#3d444d}.one{stroke:#9198a1}\
.bar{fill:#2b4a7d}.ours .bar{fill:#1e5b38}.dot{fill:#a8c7fa}.ours .dot{fill:#7ee2a8}}";

/// Engines of one line: what it is called, and its column.
pub struct Line<'a> {
    /// Beside it.
    pub label: &'a str,
    /// Its column in the rows.
    pub engine: usize,
    /// Whether it stands out.
    pub ours: bool,
}

/// Draws the lines in their order. Those of engines that ran nothing are left out.
pub fn svg(title: &str, lines: &[Line<'_>], rows: &[Row]) -> String {
    let ratios = |engine: usize| {
        rows.iter().filter_map(move |row| row.ratio(engine).map(|ratio| (row.name, ratio)))
    };
    let lines: Vec<&Line<'_>> =
        lines.iter().filter(|line| mean(rows, line.engine).is_some()).collect();
    let all: Vec<f64> =
        lines.iter().flat_map(|line| ratios(line.engine)).map(|(_, ratio)| ratio).collect();
    let axis = Axis::over(&all);
    let height = TOP + LINE * lines.len() as f64 + BOTTOM;
    let floor = height - BOTTOM;

    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         width=\"{WIDTH}\" height=\"{height}\" role=\"img\">\n<title>{0}</title>\n\
         <style>{STYLE}</style>\n<text class=\"title\" x=\"12\" y=\"24\">{0}</text>\n\
         <text class=\"note\" x=\"12\" y=\"43\">A dot is one of {1} programs; a bar and the number \
         are the geometric mean of those an engine runs.</text>\n",
        escaped(title),
        rows.len(),
    );
    for tick in axis.ticks() {
        let (x, class) = (axis.x(tick), if tick == 1.0 { "one" } else { "grid" });
        let _ = writeln!(
            out,
            "<line class=\"{class}\" x1=\"{x:.1}\" y1=\"{TOP}\" x2=\"{x:.1}\" y2=\"{floor}\"/>\
             <text class=\"note\" text-anchor=\"middle\" x=\"{x:.1}\" y=\"{:.1}\">{tick}</text>",
            floor + 18.0,
        );
    }
    let _ = writeln!(
        out,
        "<text class=\"note\" text-anchor=\"middle\" x=\"{:.1}\" y=\"{:.1}\">run time, times native \
         (logarithmic; left is faster)</text>",
        (LABELS + WIDTH - RIGHT) / 2.0,
        floor + 36.0,
    );
    for (place, line) in lines.iter().enumerate() {
        let y = TOP + LINE * (place as f64 + 0.5);
        let Some((mean, _)) = mean(rows, line.engine) else { continue };
        let (left, end) = (axis.x(axis.low), axis.x(mean));
        let furthest = ratios(line.engine).map(|(_, ratio)| ratio).fold(mean, f64::max);
        let _ = writeln!(
            out,
            "<g{}><text x=\"12\" y=\"{:.1}\">{}</text>\
             <rect class=\"bar\" x=\"{left:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"16\" rx=\"2\"/>",
            if line.ours { " class=\"ours\"" } else { "" },
            y + 4.5,
            escaped(line.label),
            y - 8.0,
            (end - left).max(0.0),
        );
        for (name, ratio) in ratios(line.engine) {
            let _ = writeln!(
                out,
                "<circle class=\"dot\" cx=\"{:.1}\" cy=\"{y:.1}\" r=\"3\"><title>{} {}</title></circle>",
                axis.x(ratio),
                escaped(name),
                two_digits(ratio),
            );
        }
        let _ = writeln!(
            out,
            "<text class=\"mean\" x=\"{:.1}\" y=\"{:.1}\">{}</text></g>",
            axis.x(furthest) + 8.0,
            y + 4.5,
            two_digits(mean),
        );
    }
    out.push_str("</svg>\n");
    out
}

/// Logarithmic, from one tick to another.
struct Axis {
    low: f64,
    high: f64,
}

impl Axis {
    /// As long as these values need, with 1 on it.
    fn over(values: &[f64]) -> Axis {
        let least = values.iter().copied().fold(1.0, f64::min);
        let most = values.iter().copied().fold(2.0, f64::max);
        let low = TICKS.into_iter().rev().find(|tick| *tick <= least);
        let high = TICKS.into_iter().find(|tick| *tick >= most);
        Axis { low: low.unwrap_or(TICKS[0]), high: high.unwrap_or(TICKS[TICKS.len() - 1]) }
    }

    fn ticks(&self) -> impl Iterator<Item = f64> {
        TICKS.into_iter().filter(|tick| (self.low..=self.high).contains(tick))
    }

    /// What lies beyond the ends is shown at them.
    fn x(&self, value: f64) -> f64 {
        let part = (value.clamp(self.low, self.high) / self.low).ln() / (self.high / self.low).ln();
        LABELS + part * (WIDTH - RIGHT - LABELS)
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::Cell;

    fn example() -> String {
        let ran = |ratio| Cell::Time { ns: ratio, ratio: Some(ratio) };
        let rows = [
            Row { name: "a<b", cells: vec![ran(1.0), ran(0.9), ran(30.0), Cell::Wrong] },
            Row { name: "c", cells: vec![ran(1.0), ran(1.6), Cell::Unsupported, Cell::Wrong] },
        ];
        let line = |label, engine, ours| Line { label, engine, ours };
        let lines = [
            line("native", 0, false),
            line("x & y", 1, true),
            line("z", 2, false),
            line("w", 3, false),
        ];
        svg("times", &lines, &rows)
    }

    #[test]
    fn every_result_is_a_dot_and_engines_without_results_are_left_out() {
        let svg = example();
        assert_eq!(svg.matches("<circle").count(), 5);
        assert_eq!(svg.matches("<rect class=\"bar\"").count(), 3);
        assert_eq!(svg.matches("class=\"ours\"").count(), 1);
        assert!(svg.contains(">1.20</text>"), "the mean of 0.9 and 1.6: {svg}");
        assert!(!svg.contains(">w</text>"));
    }

    #[test]
    fn elements_are_closed_and_text_is_escaped() {
        let svg = example();
        let mut open = Vec::new();
        for tag in svg.split('<').skip(1).map(|rest| rest.split('>').next().unwrap_or_default()) {
            let name = tag.split_whitespace().next().unwrap_or_default();
            match name.strip_prefix('/') {
                Some(closed) => assert_eq!(open.pop(), Some(closed), "{tag}"),
                None if tag.ends_with('/') => {}
                None => open.push(name),
            }
        }
        assert!(open.is_empty(), "{open:?}");
        assert!(svg.contains("x &amp; y") && svg.contains("a&lt;b"));
    }

    #[test]
    fn the_axis_grows_with_ratios_and_has_what_is_shown() {
        let axis = Axis::over(&[0.9, 1.6, 30.0]);
        assert_eq!((axis.low, axis.high), (0.5, 50.0));
        let places = [0.5, 0.9, 1.0, 1.6, 30.0, 50.0].map(|value| axis.x(value));
        assert!(places.is_sorted_by(|a, b| a < b), "{places:?}");
        assert_eq!((places[0], places[5]), (LABELS, WIDTH - RIGHT));
        assert_eq!(axis.x(1e9), places[5]);
        assert!((axis.x(5.0) - (LABELS + WIDTH - RIGHT) / 2.0).abs() < 1e-6);
    }
}
