//! What the machine asks of the process that it runs in.

use crate::map::Cpu;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// The distance of timer ticks in nanoseconds: 250 in a second, as in most distributions' kernels.
pub const TICK_NS: u64 = 4_000_000;

/// The world outside a program: time, chance, identity, output.
///
/// The defaults are those of a quiet, fixed world; [`SystemHost`] is the real one.
pub trait Host: Send + Sync {
    /// Nanoseconds since boot, not counting sleep (`CLOCK_MONOTONIC`).
    fn monotonic_ns(&self) -> u64 {
        0
    }

    /// Nanoseconds since boot, counting sleep (`CLOCK_BOOTTIME`).
    fn boot_ns(&self) -> u64 {
        self.monotonic_ns()
    }

    /// Nanoseconds of international atomic time (`CLOCK_TAI`).
    fn tai_ns(&self) -> u64 {
        self.monotonic_ns()
    }

    /// The monotonic time of the last timer tick (`CLOCK_MONOTONIC_COARSE`): a multiple of
    /// [`TICK_NS`].
    fn coarse_ns(&self) -> u64 {
        self.monotonic_ns() / TICK_NS * TICK_NS
    }

    /// The number of timer ticks since five minutes before boot, by the kernel's counting: it
    /// begins shortly before its 32-bit part wraps (`INITIAL_JIFFIES`).
    fn jiffies(&self) -> u64 {
        const INITIAL: u64 = (300 * 1_000_000_000 / TICK_NS as i64).wrapping_neg() as u32 as u64;
        INITIAL + self.monotonic_ns() / TICK_NS
    }

    /// The NUMA node of the CPU.
    fn numa_node(&self) -> u32 {
        0
    }

    /// A random number.
    fn random_u32(&self) -> u32 {
        0
    }

    /// The CPU of the calling thread; less than the number that maps were made for.
    fn cpu(&self) -> Cpu {
        Cpu(0)
    }

    /// Thread group in the upper half, thread in the lower.
    fn pid_tgid(&self) -> u64 {
        0
    }

    /// Group of the current task in the upper half, user in the lower.
    fn uid_gid(&self) -> u64 {
        0
    }

    /// The number of the current task's cgroup (version 2).
    fn cgroup_id(&self) -> u64 {
        1
    }

    /// The realm of the route that packets have been given (`tclassid`).
    fn route_realm(&self) -> u32 {
        0
    }

    /// The largest packet after the link-layer header, in bytes, that an Ethernet device sends; none
    /// if there is no such device. The default knows the loopback device, number 1.
    fn mtu(&self, ifindex: u32) -> Option<u32> {
        (ifindex == 1).then_some(65536)
    }

    /// Name of the current task, zero-terminated.
    fn comm(&self) -> [u8; 16] {
        [0; 16]
    }

    /// Takes a line that a program prints with `trace_printk`, without its newline.
    fn print(&self, line: &str) {
        let _ = line;
    }
}

/// A seedable sequence of random numbers (SplitMix64), safe to share between threads.
#[derive(Debug)]
pub struct Random(AtomicU64);

impl Random {
    /// The sequence of this seed.
    pub const fn new(seed: u64) -> Random {
        Random(AtomicU64::new(seed))
    }

    /// The next number.
    pub fn next_u32(&self) -> u32 {
        const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut z = self.0.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ z >> 31) >> 32) as u32
    }
}

/// The process itself: its clock, its id, a CPU number for each thread. Output is collected.
#[derive(Debug)]
pub struct SystemHost {
    start: Instant,
    random: Random,
    cpus: u32,
    lines: Mutex<Vec<String>>,
}

impl SystemHost {
    /// A host whose maps have `cpus` per-CPU slots; threads get the numbers below that in turn.
    pub fn new(cpus: u32) -> SystemHost {
        let seed = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos() as u64);
        SystemHost {
            start: Instant::now(),
            random: Random::new(seed),
            cpus: cpus.max(1),
            lines: Mutex::default(),
        }
    }

    /// Takes the lines printed so far.
    pub fn take_lines(&self) -> Vec<String> {
        std::mem::take(&mut self.lines.lock().unwrap_or_else(|e| e.into_inner()))
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
        let mut comm = [0; 16];
        let name = std::env::current_exe().ok();
        let name = name.as_deref().and_then(|p| p.file_name()).and_then(|n| n.to_str());
        let name = name.unwrap_or("ebpfvm").as_bytes();
        let n = name.len().min(15);
        comm[..n].copy_from_slice(&name[..n]);
        comm
    }

    fn print(&self, line: &str) {
        self.lines.lock().unwrap_or_else(|e| e.into_inner()).push(line.to_owned());
    }
}
