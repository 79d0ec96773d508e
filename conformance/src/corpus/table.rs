//! The counts of a comparison, a row a tier.

use super::compare::{Compared, Kind};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Rows of counts.
#[derive(Clone, Debug, Default)]
pub struct Table {
    rows: Vec<(String, Row)>,
}

#[derive(Clone, Debug, Default)]
struct Row {
    programs: usize,
    kinds: BTreeMap<Kind, usize>,
    /// Programs that Linux refuses.
    refused: usize,
    messages: usize,
    near: usize,
    equal: usize,
    /// Seconds of both on programs with the same verdict.
    linux_seconds: f64,
    our_seconds: f64,
    /// Sum of the logarithms of the ratios of times.
    logarithms: f64,
}

impl Row {
    fn add(&mut self, compared: &Compared) {
        self.programs += 1;
        *self.kinds.entry(compared.kind()).or_default() += 1;
        self.refused += usize::from(!compared.truth.accepted);
        self.messages += usize::from(!compared.truth.accepted && compared.same_message());
        self.near += usize::from(compared.near_processed());
        self.equal += usize::from(compared.same_processed());
        if let Some(judged) = compared.same() {
            // What is below the clock's unit took at least half of it.
            let linux = (compared.truth.time_us as f64).max(0.5) * 1e-6;
            let ours = judged.time.as_secs_f64().max(1e-9);
            self.linux_seconds += linux;
            self.our_seconds += ours;
            self.logarithms += (linux / ours).ln();
        }
    }

    fn kind(&self, kind: Kind) -> usize {
        self.kinds.get(&kind).copied().unwrap_or(0)
    }

    /// How many times Linux's time is ours, in all and as a geometric mean.
    fn time_ratios(&self) -> (f64, f64) {
        let same = self.kind(Kind::Same).max(1) as f64;
        (self.linux_seconds / self.our_seconds.max(1e-9), (self.logarithms / same).exp())
    }
}

impl Table {
    /// Counts by tier, then those of the first two tiers together, then all.
    pub fn new(compared: &[Compared]) -> Table {
        let tiers: BTreeSet<&str> = compared.iter().map(|c| c.truth.tier.as_str()).collect();
        let tiers: Vec<&str> = tiers.into_iter().collect();
        let mut groups: Vec<(String, Vec<&str>)> =
            tiers.iter().map(|tier| (tier.to_string(), vec![*tier])).collect();
        if tiers.len() > 2 {
            groups.push((tiers[..2].join("+"), tiers[..2].to_vec()));
        }
        if tiers.len() > 1 {
            groups.push(("all".into(), tiers));
        }
        let row = |(name, tiers): (String, Vec<&str>)| {
            let mut row = Row::default();
            let of_tier = |c: &&Compared| tiers.contains(&c.truth.tier.as_str());
            compared.iter().filter(of_tier).for_each(|c| row.add(c));
            (name, row)
        };
        Table { rows: groups.into_iter().map(row).collect() }
    }

    /// The counts as JSON.
    pub fn json(&self) -> Value {
        let rows = self.rows.iter().map(|(tier, row)| {
            let mut value = json!({ "tier": tier, "programs": row.programs });
            for kind in Kind::ALL {
                value[kind.name()] = row.kind(kind).into();
            }
            let (sum, mean) = row.time_ratios();
            value["refused"] = row.refused.into();
            value["same_message"] = row.messages.into();
            value["near_processed"] = row.near.into();
            value["same_processed"] = row.equal.into();
            value["time_ratio_sum"] = sum.into();
            value["time_ratio_mean"] = mean.into();
            value
        });
        rows.collect()
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "tier  programs   same  f.accept  f.reject  unsupp.  error  crash    \
             message      processed: within 10 %       equal      time ratio: sum   mean"
        )?;
        for (tier, row) in &self.rows {
            let share = |n: usize, of: usize| {
                format!("{n}/{of} {:5.1} %", 100.0 * n as f64 / of.max(1) as f64)
            };
            let same = row.kind(Kind::Same);
            let (sum, mean) = row.time_ratios();
            writeln!(
                f,
                "{tier:<5} {:>8} {same:>6} {:>9} {:>9} {:>8} {:>6} {:>6} {:>17} {:>20} {:>19} \
                 {sum:>16.2} {mean:>6.2}",
                row.programs,
                row.kind(Kind::FalseAccept),
                row.kind(Kind::FalseReject),
                row.kind(Kind::Unsupported),
                row.kind(Kind::Error),
                row.kind(Kind::Crash),
                share(row.messages, row.refused),
                share(row.near, same),
                share(row.equal, same),
            )?;
        }
        Ok(())
    }
}
