//! A world of which everything is given: two runs in equal worlds are equal.
//!
//! Each part is a plain struct in a file of its own. What changes while programs run - the time, the
//! place in the sequence of random numbers - begins anew with a new world; when several threads run
//! programs in one world, who asks first is theirs.

mod clock;
mod memory;
mod routes;
mod sockets;
mod task;

pub use clock::Clock;
pub use memory::{Memory, Piece};
pub use routes::{Neighbour, Network, Rule};
pub use sockets::Sockets;
pub use task::{Cgroup, PidNamespace, Task};

use super::{Device, Host, Lines, PidTgid, Random, Route, RouteQuery, Space};
use crate::map::Cpu;
use crate::socket::Socket;
use crate::socket::query::SocketQuery;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A given world. As it is made nothing happens in it: the clock stands, task 1 runs on CPU 0 in the
/// root of all cgroups.
///
/// ```
/// use ebpfvm::Host;
/// use ebpfvm::host::World;
/// use ebpfvm::host::world::{Clock, Task};
///
/// let world = World::new()
///     .seed(7)
///     .clock(Clock::starting_at(1_000_000_000).step(10))
///     .task(Task::new(4711, "nginx").user(33, 33));
/// assert_eq!(world.monotonic_ns(), 1_000_000_000);
/// world.advance(500);
/// assert_eq!(world.monotonic_ns(), 1_000_000_510);
/// assert_eq!(world.uid_gid(), 33 << 32 | 33);
/// ```
#[derive(Debug)]
pub struct World {
    clock: Clock,
    /// What has been added to the clock.
    elapsed_ns: AtomicU64,
    seed: u64,
    random: Random,
    cpu: Cpu,
    numa_node: u32,
    task: Task,
    memory: Memory,
    kernel_stack: Vec<u64>,
    user_stack: Vec<u64>,
    sockets: Sockets,
    network: Network,
    cgroup_classid: u32,
    lines: Lines,
}

impl Default for World {
    fn default() -> World {
        World::new()
    }
}

impl World {
    /// A world where nothing happens.
    pub fn new() -> World {
        World {
            clock: Clock::default(),
            elapsed_ns: AtomicU64::new(0),
            seed: 0,
            random: Random::new(0),
            cpu: Cpu(0),
            numa_node: 0,
            task: Task::default(),
            memory: Memory::default(),
            kernel_stack: Vec::new(),
            user_stack: Vec::new(),
            sockets: Sockets::default(),
            network: Network::default(),
            cgroup_classid: 0,
            lines: Lines::default(),
        }
    }

    /// Sets where random numbers, and the hash functions of maps, come from.
    pub fn seed(mut self, seed: u64) -> World {
        self.seed = seed;
        self.random = Random::new(seed);
        self
    }

    /// Sets the clock.
    pub fn clock(mut self, clock: Clock) -> World {
        self.clock = clock;
        self
    }

    /// Sets the CPU that programs run on: below the number of CPUs of the machine, or runs take its
    /// last one.
    pub fn on_cpu(mut self, cpu: u32) -> World {
        self.cpu = Cpu(cpu);
        self
    }

    /// Sets the NUMA node of the CPU.
    pub fn on_numa_node(mut self, node: u32) -> World {
        self.numa_node = node;
        self
    }

    /// Sets the current task.
    pub fn task(mut self, task: Task) -> World {
        self.task = task;
        self
    }

    /// Sets the sockets that programs can find.
    pub fn sockets(mut self, sockets: Sockets) -> World {
        self.sockets = sockets;
        self
    }

    /// Adds memory that helpers can read: of the kernel or of the current process.
    pub fn memory(mut self, space: Space, address: u64, bytes: impl Into<Vec<u8>>) -> World {
        self.memory.pieces.push(Piece { space, address, bytes: bytes.into() });
        self
    }

    /// Sets the addresses on the stack of the kernel or of the current process, the innermost first.
    pub fn stack(mut self, space: Space, ips: impl Into<Vec<u64>>) -> World {
        match space {
            Space::Kernel => self.kernel_stack = ips.into(),
            Space::User => self.user_stack = ips.into(),
        }
        self
    }

    /// Sets the network.
    pub fn network(mut self, network: Network) -> World {
        self.network = network;
        self
    }

    /// Sets the class that the current task's packets have.
    pub fn cgroup_classid(mut self, class: u32) -> World {
        self.cgroup_classid = class;
        self
    }

    /// Lets time pass.
    pub fn advance(&self, ns: u64) {
        self.elapsed_ns.fetch_add(ns, Ordering::Relaxed);
    }

    /// Takes the lines printed so far.
    pub fn take_lines(&self) -> Vec<String> {
        self.lines.take()
    }

    /// The time since the world began; asking takes a step of the clock.
    fn elapsed(&self) -> u64 {
        self.elapsed_ns.fetch_add(self.clock.step_ns, Ordering::Relaxed)
    }
}

impl Host for World {
    fn monotonic_ns(&self) -> u64 {
        self.clock.monotonic_ns.wrapping_add(self.elapsed())
    }

    fn boot_ns(&self) -> u64 {
        self.clock.boot_ns.wrapping_add(self.elapsed())
    }

    fn tai_ns(&self) -> u64 {
        self.clock.tai_ns.wrapping_add(self.elapsed())
    }

    fn wait_until(&self, monotonic_ns: u64) {
        if let Some(elapsed) = monotonic_ns.checked_sub(self.clock.monotonic_ns) {
            self.elapsed_ns.fetch_max(elapsed, Ordering::Relaxed);
        }
    }

    fn numa_node(&self) -> u32 {
        self.numa_node
    }

    fn random_u32(&self) -> u32 {
        self.random.next_u32()
    }

    fn cpu(&self) -> Cpu {
        self.cpu
    }

    fn pid_tgid(&self) -> u64 {
        u64::from(self.task.id.tgid) << 32 | u64::from(self.task.id.pid)
    }

    fn uid_gid(&self) -> u64 {
        u64::from(self.task.gid) << 32 | u64::from(self.task.uid)
    }

    fn cgroup_id(&self) -> u64 {
        self.task.cgroups.last().map_or(Cgroup::ROOT_ID, |cgroup| cgroup.id)
    }

    fn ancestor_cgroup_id(&self, level: u32) -> Option<u64> {
        match self.task.cgroups.get(level as usize) {
            Some(cgroup) => Some(cgroup.id),
            None => (level == 0).then_some(Cgroup::ROOT_ID),
        }
    }

    fn netns_cookie(&self) -> u64 {
        self.task.netns_cookie
    }

    fn socket(&self, handle: u32) -> Option<Arc<Socket>> {
        self.sockets.handle(handle)
    }

    fn find_socket(&self, query: &SocketQuery) -> Option<Arc<Socket>> {
        self.sockets.find(query, self.task.netns_cookie)
    }

    fn ns_pid_tgid(&self, dev: u64, ino: u64) -> Option<PidTgid> {
        let namespace = self.task.pid_namespace?;
        (namespace.dev == dev && namespace.ino == ino).then_some(namespace.id)
    }

    fn read_memory(&self, space: Space, address: u64, out: &mut [u8]) -> bool {
        self.memory.read(space, address, out)
    }

    fn stack(&self, space: Space) -> Vec<u64> {
        match space {
            Space::Kernel => self.kernel_stack.clone(),
            Space::User => self.user_stack.clone(),
        }
    }

    fn device(&self, ifindex: u32) -> Option<Device> {
        self.network.device(ifindex).cloned()
    }

    fn route(&self, query: &RouteQuery) -> Option<Route> {
        self.network.route(query).cloned()
    }

    fn neighbour(&self, ifindex: u32, address: IpAddr) -> Option<[u8; 6]> {
        self.network.neighbour(ifindex, address)
    }

    fn cgroup_classid(&self) -> u32 {
        self.cgroup_classid
    }

    fn map_seed(&self) -> Option<u64> {
        Some(self.seed)
    }

    fn comm(&self) -> [u8; 16] {
        super::comm(&self.task.comm)
    }

    fn print(&self, line: &str) {
        self.lines.push(line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_worlds_give_equal_answers() {
        let ask = |seed| {
            let world = World::new().seed(seed).clock(Clock::starting_at(10).step(3));
            world.advance(1);
            let times = [world.monotonic_ns(), world.boot_ns(), world.tai_ns(), world.jiffies()];
            (times, [world.random_u32(), world.random_u32()], world.map_seed())
        };
        assert_eq!(ask(5), ask(5));
        assert_eq!(ask(5).0[..3], [11, 14, 17]);
        assert_ne!(ask(5).1, ask(6).1);
        let still = World::new();
        assert_eq!(still.monotonic_ns(), still.monotonic_ns());
    }

    #[test]
    fn the_task_is_the_one_that_was_given() {
        let task = Task::new(12, "a name of more than 15 bytes")
            .thread(13)
            .user(1, 2)
            .cgroups(["/", "/a", "/a/b"])
            .pid_namespace(PidNamespace { dev: 4, ino: 5, id: PidTgid { pid: 2, tgid: 1 } });
        let world = World::new().on_cpu(3).on_numa_node(1).task(task);
        assert_eq!((world.pid_tgid(), world.uid_gid()), (12 << 32 | 13, 2 << 32 | 1));
        assert_eq!(&world.comm(), b"a name of more \0");
        assert_eq!((world.cpu(), world.numa_node()), (Cpu(3), 1));
        let ancestors: Vec<_> = (0..4).map(|level| world.ancestor_cgroup_id(level)).collect();
        assert_eq!(ancestors, [Some(1), Some(2), Some(3), None]);
        assert_eq!(world.cgroup_id(), 3);
        assert!(world.in_cgroup(2) && !world.in_cgroup(4));
        assert_eq!(world.ns_pid_tgid(4, 5), Some(PidTgid { pid: 2, tgid: 1 }));
        assert_eq!(world.ns_pid_tgid(4, 6), None);
    }

    #[test]
    fn without_a_cgroup_a_task_is_in_the_root() {
        let world = World::new();
        assert_eq!((world.cgroup_id(), world.ancestor_cgroup_id(0)), (1, Some(1)));
        assert_eq!(world.ancestor_cgroup_id(1), None);
        assert!(world.in_cgroup(1) && !world.in_cgroup(0));
    }
}
