//! The process that the machine runs in.

use super::{Host, Lines, Random, comm};
use crate::map::Cpu;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// The process itself: its clock, its id, a CPU number for each thread. Output is collected.
#[derive(Debug)]
pub struct SystemHost {
    start: Instant,
    random: Random,
    cpus: u32,
    lines: Lines,
}

impl SystemHost {
    /// A host whose maps have `cpus` per-CPU slots; threads get the numbers below that in turn.
    pub fn new(cpus: u32) -> SystemHost {
        let seed = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos() as u64);
        SystemHost {
            start: Instant::now(),
            random: Random::new(seed),
            cpus: cpus.max(1),
            lines: Lines::default(),
        }
    }

    /// Takes the lines printed so far.
    pub fn take_lines(&self) -> Vec<String> {
        self.lines.take()
    }
}

impl Host for SystemHost {
    fn monotonic_ns(&self) -> u64 {
        // The clock's zero is arbitrary; a day keeps differences to earlier times positive.
        const DAY_NS: u64 = 86_400_000_000_000;
        DAY_NS + self.start.elapsed().as_nanos() as u64
    }

    fn tai_ns(&self) -> u64 {
        // TAI has been 37 s ahead of UTC since 2017; no leap second is planned.
        const TAI_OFFSET_S: u64 = 37;
        let utc = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        utc.as_nanos() as u64 + TAI_OFFSET_S * 1_000_000_000
    }

    fn random_u32(&self) -> u32 {
        self.random.next_u32()
    }

    fn cpu(&self) -> Cpu {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        thread_local! {
            static THREAD: u32 = NEXT.fetch_add(1, Ordering::Relaxed);
        }
        Cpu(THREAD.with(|n| *n) % self.cpus)
    }

    fn pid_tgid(&self) -> u64 {
        let pid = u64::from(std::process::id());
        pid << 32 | pid
    }

    fn comm(&self) -> [u8; 16] {
        let name = std::env::current_exe().ok();
        let name = name.as_deref().and_then(|p| p.file_name()).and_then(|n| n.to_str());
        comm(name.unwrap_or("ebpfvm"))
    }

    fn print(&self, line: &str) {
        self.lines.push(line);
    }
}
