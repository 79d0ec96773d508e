//! What the machine asks of the world that it runs in: the process itself ([`SystemHost`]), or one in
//! which everything is given ([`World`]).

mod network;
mod system;
pub mod world;

pub use network::{Device, Route, RouteKind, RouteQuery};
pub use system::SystemHost;
pub use world::World;

use crate::map::Cpu;
use crate::map::stack_trace::FilePosition;
use crate::socket::Socket;
use crate::socket::query::SocketQuery;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// The distance of timer ticks in nanoseconds: 250 in a second, as in most distributions' kernels.
pub const TICK_NS: u64 = 4_000_000;

/// The number of the first network namespace of Linux 6.18, in which a test-run is.
pub const FIRST_NETNS_COOKIE: u64 = 3;

/// The world outside a program: time, chance, identity, output.
///
/// The defaults are those of a quiet, fixed world.
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

    /// Nanoseconds since 1970 (`CLOCK_REALTIME`), for timers. The default is what the international
    /// atomic time is less since 2017.
    fn realtime_ns(&self) -> u64 {
        self.tai_ns().saturating_sub(37_000_000_000)
    }

    /// Lets time pass until the monotonic clock shows this; does nothing if that is past. A clock
    /// that runs by itself does nothing either: nobody waits.
    fn wait_until(&self, monotonic_ns: u64) {
        let _ = monotonic_ns;
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

    /// The number of the ancestor of the current task's cgroup at a depth, 0 the root; none if the
    /// cgroup itself is less deep.
    fn ancestor_cgroup_id(&self, level: u32) -> Option<u64> {
        (level == 0).then(|| self.cgroup_id())
    }

    /// Whether the current task is in the cgroup with this number or below it.
    fn in_cgroup(&self, id: u64) -> bool {
        (0..).map_while(|level| self.ancestor_cgroup_id(level)).any(|ancestor| ancestor == id)
    }

    /// The number of the current task's network namespace (`SO_NETNS_COOKIE`).
    fn netns_cookie(&self) -> u64 {
        FIRST_NETNS_COOKIE
    }

    /// What the current task is called in the namespace of process numbers with this file number
    /// (`stat` of `/proc/self/ns/pid`); none if it is in another.
    fn ns_pid_tgid(&self, dev: u64, ino: u64) -> Option<PidTgid> {
        let _ = (dev, ino);
        None
    }

    /// Copies memory that is not the program's; whether all of it is there. A part that is copied
    /// nevertheless is not seen.
    fn read_memory(&self, space: Space, address: u64, out: &mut [u8]) -> bool {
        let _ = (space, address, out);
        false
    }

    /// The addresses on the stack of the kernel or of the current process where the program runs,
    /// the innermost first.
    fn stack(&self, space: Space) -> Vec<u64> {
        let _ = space;
        Vec::new()
    }

    /// The file of the current process that an address on its stack is in, and where in it.
    fn file_position(&self, address: u64) -> Option<FilePosition> {
        let _ = address;
        None
    }

    /// What hash functions of maps are drawn from; none if from chance, so that nobody can prepare
    /// keys that collide.
    fn map_seed(&self) -> Option<u64> {
        None
    }

    /// The realm of the route that packets have been given (`tclassid`).
    fn route_realm(&self) -> u32 {
        0
    }

    /// The largest packet after the link-layer header, in bytes, that an Ethernet device sends; none
    /// if there is no such device.
    fn mtu(&self, ifindex: u32) -> Option<u32> {
        self.device(ifindex).map(|device| device.mtu)
    }

    /// The network device with this number. The default knows the loopback device.
    fn device(&self, ifindex: u32) -> Option<Device> {
        (ifindex == 1).then(Device::loopback)
    }

    /// The route that a packet takes; none if it has none.
    fn route(&self, query: &RouteQuery) -> Option<Route> {
        let _ = query;
        None
    }

    /// The link-layer address of a neighbour at a device; none if it is not known.
    fn neighbour(&self, ifindex: u32, address: IpAddr) -> Option<[u8; 6]> {
        let _ = (ifindex, address);
        None
    }

    /// The class that the current task's packets have (`net_cls.classid`).
    fn cgroup_classid(&self) -> u32 {
        0
    }

    /// The number of the device with this name. The default knows the loopback device.
    fn device_index(&self, name: &str) -> Option<u32> {
        (name == "lo").then_some(1)
    }

    /// Whether sockets can be bound to an address. The default knows those of the loopback device.
    fn is_local_address(&self, ip: IpAddr) -> bool {
        ip.is_unspecified() || ip.to_canonical().is_loopback()
    }

    /// The socket that user space knows by a number, as a file descriptor.
    fn socket(&self, handle: u32) -> Option<Arc<Socket>> {
        let _ = handle;
        None
    }

    /// The socket that a packet is for ([`SocketQuery::find`] has the kernel's rules).
    fn find_socket(&self, query: &SocketQuery) -> Option<Arc<Socket>> {
        let _ = query;
        None
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

/// Whose memory an address is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Space {
    /// The kernel's.
    Kernel,
    /// The current process's.
    User,
}

/// Numbers of a thread and of its group, which is what user space calls a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct PidTgid {
    /// Of the thread.
    pub pid: u32,
    /// Of the group.
    pub tgid: u32,
}

/// Lines that programs have printed, in order.
#[derive(Debug, Default)]
pub struct Lines(Mutex<Vec<String>>);

impl Lines {
    /// Adds a line.
    pub fn push(&self, line: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(line.to_owned());
    }

    /// Takes the lines so far.
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A task's name as the kernel keeps it: cut to 15 bytes and filled with zeros.
pub fn comm(name: &str) -> [u8; 16] {
    let mut comm = [0; 16];
    let bytes = name.len().min(15);
    comm[..bytes].copy_from_slice(&name.as_bytes()[..bytes]);
    comm
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
