//! Both verdicts on each program, and how they stand to each other.

use super::ours;
use ebpfvm_conformance::judge::Judged;

/// Counts of instructions that differ by no more are near.
pub(crate) const WITHIN_PERCENT: u64 = 10;

/// One program.
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) ours: Judged,
    /// Linux's verdict, or why it could not be asked.
    pub(crate) linux: Result<Judged, String>,
}

pub(crate) struct Table {
    pub(crate) rows: Vec<Row>,
}

impl Row {
    /// Linux's verdict, if it is one of its verifier: a refusal before verification has no message.
    fn verdict(&self) -> Option<&Judged> {
        self.linux.as_ref().ok().filter(|linux| linux.accepted || !linux.message.is_empty())
    }

    fn is_comparable(&self) -> bool {
        !self.ours.unsupported && self.verdict().is_some()
    }

    /// Whether both have a verdict, and not the same: refusals are the same if they say the same.
    pub(crate) fn differs(&self) -> bool {
        let verdict = self.verdict().map(Judged::verdict);
        // Never accepted what Linux refuses, for whatever reason it does.
        let false_accept = self.ours.accepted && self.linux.as_ref().is_ok_and(|l| !l.accepted);
        false_accept || self.is_comparable() && verdict != Some(self.ours.verdict())
    }

    fn same(&self) -> Option<&Judged> {
        self.verdict().filter(|_| self.is_comparable() && !self.differs())
    }

    fn is_near(&self) -> bool {
        let counts = self.same().and_then(|linux| Some((self.ours.processed?, linux.processed?)));
        counts.is_some_and(|(ours, linux)| ours.abs_diff(linux) * 100 <= linux * WITHIN_PERCENT)
    }

    pub(crate) fn line(&self) -> String {
        let linux = match &self.linux {
            Ok(linux) if self.verdict().is_some() => ours::line(linux),
            Ok(_) => "refused before verification".to_string(),
            Err(why) => format!("not asked: {why}"),
        };
        let (ours, mark) = (ours::line(&self.ours), self.mark());
        if ours == linux {
            return format!("{mark:<10}{} | {ours}", self.name);
        }
        format!("{mark:<10}{} | {ours} | Linux: {linux}", self.name)
    }

    fn mark(&self) -> &'static str {
        match self.same() {
            _ if self.differs() => "DIFFERENT",
            None => "-",
            Some(linux) if self.ours.processed == linux.processed => "equal",
            Some(_) if self.is_near() => "near",
            Some(_) => "far",
        }
    }
}

impl Table {
    /// Programs whose counts are near, and programs with the same verdict.
    pub(crate) fn near(&self) -> (usize, usize) {
        let same = self.rows.iter().filter(|row| row.same().is_some());
        (self.rows.iter().filter(|row| row.is_near()).count(), same.count())
    }

    /// What the kernel gave no verdict on, with reasons.
    pub(crate) fn not_loaded(&self) -> Vec<String> {
        let unasked = self.rows.iter().filter(|row| row.verdict().is_none());
        unasked.map(Row::line).collect()
    }

    pub(crate) fn print(&self) {
        self.rows.iter().for_each(|row| eprintln!("{}", row.line()));
        let count = |what: &dyn Fn(&Row) -> bool| self.rows.iter().filter(|row| what(row)).count();
        let (near, same) = self.near();
        eprintln!(
            "{} programs: {same} judged alike ({near} with counts within {WITHIN_PERCENT} %, {} equal), {} differ, {} unsupported here, {} without a verdict of the kernel",
            self.rows.len(),
            count(&|row| row.same().is_some_and(|linux| linux.processed == row.ours.processed)),
            count(&Row::differs),
            count(&|row| row.ours.unsupported),
            self.not_loaded().len(),
        );
    }
}
