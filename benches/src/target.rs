//! What the engines are meant to reach, and whether they do.

use crate::table::{Row, mean, two_digits};

/// A goal.
pub enum Target {
    /// An engine's geometric mean over all programs, as a multiple of native.
    Mean {
        /// The engine.
        engine: &'static str,
        /// The mean that is not to be passed.
        at_most: f64,
    },
    /// An engine is so many times as fast as another on every program that both run.
    Everywhere {
        /// The engine.
        engine: &'static str,
        /// The other one.
        than: &'static str,
        /// How many times as fast, at least.
        times: f64,
        /// Whether the other's times are without what a call costs. Then a call of an empty program is
        /// subtracted from the engine's, too.
        without_calls: bool,
    },
}

/// Faster beyond noise: no more than this slower.
const NOISE: f64 = 0.95;

/// Less than a program takes: where a call cost as much as all of it.
const LEAST_NS: f64 = 0.1;

const fn everywhere(engine: &'static str, than: &'static str, times: f64) -> Target {
    Target::Everywhere { engine, than, times, without_calls: false }
}

/// All goals.
pub const TARGETS: &[Target] = &[
    Target::Mean { engine: "jit", at_most: 1.10 },
    Target::Mean { engine: "jit base", at_most: 1.30 },
    Target::Mean { engine: "chk jit", at_most: 1.40 },
    Target::Everywhere { engine: "jit", than: "kernel", times: NOISE, without_calls: true },
    everywhere("jit", "rbpf jit", NOISE),
    everywhere("chk interp", "rbpf", 2.0),
    everywhere("chk interp", "sbpf", 2.0),
];

impl Target {
    /// What was reached, in a line; none if an engine that it is about was not measured. `calls` are the
    /// nanoseconds that an engine needs for an empty program, in the order of the engines.
    pub fn judge(&self, engines: &[&str], rows: &[Row], calls: &[Option<f64>]) -> Option<String> {
        let find = |name: &str| engines.iter().position(|engine| *engine == name);
        let verdict = |met| if met { "met   " } else { "missed" };
        match self {
            Target::Mean { engine, at_most } => {
                let (mean, count) = mean(rows, find(engine)?)?;
                let all = if count == rows.len() { "all" } else { "those it runs of the" };
                Some(format!(
                    "{} {engine}: {} times native over {all} programs, to be {at_most:.2} at most",
                    verdict(mean <= *at_most && count == rows.len()),
                    two_digits(mean),
                ))
            }
            Target::Everywhere { engine, than, times, without_calls } => {
                let (one, other) = (find(engine)?, find(than)?);
                let call = calls.get(one).copied().flatten().filter(|_| *without_calls);
                let ns = |row: &Row| Some((row.ns(one)? - call.unwrap_or(0.0)).max(LEAST_NS));
                let leads =
                    rows.iter().filter_map(|row| Some((row.ns(other)? / ns(row)?, row.name)));
                let mut leads: Vec<(f64, &str)> = leads.collect();
                leads.sort_by(|a, b| a.0.total_cmp(&b.0));
                let least = leads.first()?;
                let short: Vec<String> = leads
                    .iter()
                    .take_while(|(lead, _)| lead < times)
                    .map(|(lead, name)| format!("{name} {}", two_digits(*lead)))
                    .collect();
                let detail = if short.is_empty() {
                    format!("at least {} times ({})", two_digits(least.0), least.1)
                } else {
                    format!("not on {} of {}: {}", short.len(), leads.len(), short.join(", "))
                };
                let calls = if call.is_some() { ", both without calls;" } else { ";" };
                Some(format!(
                    "{} {engine}: {times} times as fast as {than} or faster on every program{calls} {detail}",
                    verdict(short.is_empty()),
                ))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::ENGINES;
    use crate::table::Cell;

    fn rows() -> Vec<Row> {
        let ran = |ns: f64| Cell::Time { ns, ratio: Some(ns / 10.0) };
        vec![
            Row { name: "a", cells: vec![ran(10.0), ran(10.0), ran(20.0)] },
            Row { name: "b", cells: vec![ran(10.0), ran(12.1), ran(11.0)] },
        ]
    }

    #[test]
    fn a_mean_is_held_against_its_goal() {
        let judge = |at_most| {
            let target = Target::Mean { engine: "x", at_most };
            target.judge(&["native", "x", "y"], &rows(), &[]).expect("it was measured")
        };
        assert!(judge(1.11).starts_with("met"), "{}", judge(1.11));
        assert!(judge(1.09).starts_with("missed"), "{}", judge(1.09));
    }

    #[test]
    fn a_mean_over_some_programs_is_no_success() {
        let mut rows = rows();
        rows[0].cells[1] = Cell::Wrong;
        let target = Target::Mean { engine: "x", at_most: 9.0 };
        let line = target.judge(&["native", "x", "y"], &rows, &[]).expect("it was measured");
        assert!(line.starts_with("missed"), "{line}");
    }

    #[test]
    fn where_an_engine_is_not_faster_is_named() {
        let target = |times| everywhere("x", "y", times);
        let engines = ["native", "x", "y"];
        let judge = |times| target(times).judge(&engines, &rows(), &[]).expect("measured");
        assert!(judge(0.9).starts_with("met"), "{}", judge(0.9));
        let line = judge(0.95);
        assert!(line.starts_with("missed") && line.ends_with("not on 1 of 2: b 0.91"), "{line}");
        assert!(target(1.0).judge(&["native", "y"], &rows(), &[]).is_none());
    }

    #[test]
    fn a_call_is_subtracted_where_the_other_has_none() {
        let calls = [None, Some(2.1), None];
        let judge = |without_calls| {
            let target = Target::Everywhere { engine: "x", than: "y", times: 1.0, without_calls };
            target.judge(&["native", "x", "y"], &rows(), &calls).expect("it was measured")
        };
        assert!(
            judge(true).ends_with("both without calls; at least 1.10 times (b)"),
            "{}",
            judge(true)
        );
        assert!(judge(false).ends_with("not on 1 of 2: b 0.91"), "{}", judge(false));
    }

    #[test]
    fn goals_are_about_engines_that_exist() {
        for target in TARGETS {
            let (Target::Mean { engine, .. } | Target::Everywhere { engine, .. }) = target;
            assert!(ENGINES.iter().any(|known| known.name == *engine), "{engine}");
            if let Target::Everywhere { than, .. } = target {
                assert!(ENGINES.iter().any(|known| known.name == *than), "{than}");
            }
        }
    }
}
