//! The verifier's statistics, as the last lines of its log tell them.

/// What the verifier needed for a program.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct VerifierStats {
    /// Instructions processed, counting each visit.
    pub processed_insns: u32,
    /// Most states kept for one instruction.
    pub max_states_per_insn: u32,
    /// States made in all.
    pub total_states: u32,
    /// Most states kept at once.
    pub peak_states: u32,
    /// Longest walk to mark registers as read.
    pub mark_read: u32,
    /// Time of verification; only at a log level with statistics.
    pub time_us: Option<u64>,
    /// Stack bytes of each function, the main one first; only at a log level with statistics.
    pub stack_depth_bytes: Vec<u32>,
}

impl VerifierStats {
    /// Reads the statistics from a log; none if it has no `processed` line.
    pub fn parse(log: &str) -> Option<VerifierStats> {
        let mut stats = VerifierStats::default();
        let mut found = false;
        for line in log.lines() {
            if let Some(rest) = line.strip_prefix("verification time ") {
                stats.time_us = rest.split(' ').next().and_then(|n| n.parse().ok());
            } else if let Some(rest) = line.strip_prefix("stack depth ") {
                // Newer kernels tell more after the sum of depths.
                let depths = rest.split(' ').next().unwrap_or_default();
                stats.stack_depth_bytes = depths.split('+').map_while(|n| n.parse().ok()).collect();
            } else if line.starts_with("processed ") {
                found = stats.read_processed(line).is_some();
            }
        }
        found.then_some(stats)
    }

    /// `processed 7 insns (limit 1000000) max_states_per_insn 0 total_states 0 …`
    fn read_processed(&mut self, line: &str) -> Option<()> {
        let words: Vec<&str> = line.split(' ').collect();
        let after = |name: &str| {
            let at = words.iter().position(|word| *word == name)?;
            words.get(at + 1)?.parse().ok()
        };
        self.processed_insns = after("processed")?;
        self.max_states_per_insn = after("max_states_per_insn")?;
        self.total_states = after("total_states")?;
        self.peak_states = after("peak_states")?;
        self.mark_read = after("mark_read")?;
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_numbers_are_read() {
        let log = "0: (95) exit\nverification time 12 usec\nstack depth 8+0+16\n\
                   processed 7 insns (limit 1000000) max_states_per_insn 1 total_states 2 \
                   peak_states 3 mark_read 4\n";
        let stats = VerifierStats::parse(log).unwrap();
        assert_eq!(
            stats,
            VerifierStats {
                processed_insns: 7,
                max_states_per_insn: 1,
                total_states: 2,
                peak_states: 3,
                mark_read: 4,
                time_us: Some(12),
                stack_depth_bytes: vec![8, 0, 16],
            }
        );
        assert_eq!(VerifierStats::parse("processed x\n"), None);
        assert_eq!(VerifierStats::parse(""), None);
    }
}
