//! The text that the verifier writes while it works.

use crate::options::LogLevel;
use crate::report::path::Cursor;
use std::fmt;

/// The log: nothing is formatted unless a level asks for it.
///
/// It is bounded: of a log that grows beyond its limit the beginning is dropped, as Linux's rotating
/// buffer does.
#[derive(Debug)]
pub(crate) struct Log {
    level: LogLevel,
    text: String,
    /// Bytes that were dropped at the beginning.
    dropped: usize,
    limit: usize,
    /// What the path log remembers of what it wrote last.
    pub(crate) cursor: Cursor,
}

impl Log {
    /// An empty log.
    pub(crate) fn new(level: LogLevel, limit: usize) -> Log {
        Log { level, text: String::new(), dropped: 0, limit, cursor: Cursor::default() }
    }

    /// Whether nothing is logged.
    #[inline]
    pub(crate) fn is_off(&self) -> bool {
        self.level == LogLevel::NONE
    }

    /// Whether paths are logged at all (level 1 or 2).
    #[inline]
    pub(crate) fn is_on(&self) -> bool {
        self.level.0 & (LogLevel::FAILURE.0 | LogLevel::FULL.0) != 0
    }

    /// Whether every path is logged (level 2).
    #[inline]
    pub(crate) fn is_full(&self) -> bool {
        self.level.has(LogLevel::FULL)
    }

    /// Whether statistics are logged (level 4).
    pub(crate) fn has_stats(&self) -> bool {
        self.level.has(LogLevel::STATS)
    }

    /// Writes at any level but 0.
    pub(crate) fn write(&mut self, text: fmt::Arguments<'_>) {
        if self.is_off() {
            return;
        }
        // Writing to a string cannot fail.
        let _ = fmt::Write::write_fmt(&mut self.text, text);
        if self.text.len() > 2 * self.limit {
            self.drop_front();
        }
    }

    fn drop_front(&mut self) {
        let mut cut = self.text.len() - self.limit;
        while !self.text.is_char_boundary(cut) {
            cut += 1;
        }
        self.text.drain(..cut);
        self.dropped += cut;
    }

    /// The position after the last byte, counted from the beginning of everything written.
    pub(crate) fn position(&self) -> usize {
        self.dropped + self.text.len()
    }

    /// Takes back everything after a position (`bpf_vlog_reset`).
    pub(crate) fn cut(&mut self, position: usize) {
        let at = position.saturating_sub(self.dropped);
        if at < self.text.len() {
            self.text.truncate(at);
        }
    }

    /// The text.
    pub(crate) fn into_text(mut self) -> String {
        if self.text.len() > self.limit {
            self.drop_front();
        }
        self.text
    }
}

impl fmt::Write for Log {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.write(format_args!("{text}"));
        Ok(())
    }
}
