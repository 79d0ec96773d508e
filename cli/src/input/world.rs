//! The world around a program: the process itself, or one in which everything is given, so that runs
//! can be repeated.

mod memory;
mod network;
mod sockets;

use super::value::Json;
use crate::failure::Failure;
use ebpfvm::host::PidTgid;
use ebpfvm::host::world::{Clock, PidNamespace, Task, World};
use ebpfvm::socket::Socket;
use ebpfvm::{Host, SystemHost};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

/// When programs run in a given world of which no time is given: programs may take 0 for no time.
const ONE_SECOND_NS: u64 = 1_000_000_000;

/// As many CPUs as Linux knows at most on common machines.
const MAX_CPUS: u32 = 4096;

/// What is given of the world. With any of it all is fixed: time stands still, chance starts from 0.
#[derive(clap::Args)]
pub(crate) struct WorldInput {
    /// Start random numbers, and the order of keys in maps, from this number
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// The time since boot, in nanoseconds, at which the program runs
    #[arg(long, value_name = "NS")]
    clock: Option<u64>,
    /// The CPU that the program runs on
    #[arg(long, value_name = "N")]
    cpu: Option<u32>,
    /// How many CPUs there are: each has its values in per-CPU maps
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_CPUS)))]
    cpus: Option<u32>,
    /// More of the world, in a file or as it stands: {"task": {...}, "sockets": [...], "network": {...}, "memory": [...]}
    #[arg(long, value_name = "FILE")]
    host: Option<String>,
}

/// The world of a run.
pub(crate) enum Around {
    /// The process.
    System { host: Arc<SystemHost>, cpus: u32 },
    /// What was given.
    Given { host: Arc<World>, cpus: u32, sockets: Vec<Named> },
}

/// A socket of the world, with its handle.
pub(crate) type Named = (Option<u32>, Arc<Socket>);

impl Around {
    /// What helpers ask.
    pub(crate) fn host(&self) -> Arc<dyn Host> {
        match self {
            Around::System { host, .. } => host.clone(),
            Around::Given { host, .. } => host.clone(),
        }
    }

    /// The number of CPUs.
    pub(crate) fn cpus(&self) -> u32 {
        match self {
            Around::System { cpus, .. } | Around::Given { cpus, .. } => *cpus,
        }
    }

    /// The sockets that were given, with their handles.
    pub(crate) fn sockets(&self) -> &[Named] {
        match self {
            Around::System { .. } => &[],
            Around::Given { sockets, .. } => sockets,
        }
    }

    /// The handle of a socket.
    pub(crate) fn handle(&self, socket: &Arc<Socket>) -> Option<u32> {
        let mut all = self.sockets().iter();
        all.find(|(_, known)| Arc::ptr_eq(known, socket)).and_then(|(handle, _)| *handle)
    }

    /// Takes the lines printed so far.
    pub(crate) fn take_lines(&self) -> Vec<String> {
        match self {
            Around::System { host, .. } => host.take_lines(),
            Around::Given { host, .. } => host.take_lines(),
        }
    }
}

/// A file that describes a world.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Description {
    seed: u64,
    cpu: u32,
    numa_node: u32,
    clock: ClockDescription,
    task: TaskDescription,
    sockets: Vec<Value>,
    /// Cookies of network namespaces, by their numbers.
    netns: BTreeMap<u32, u64>,
    memory: Vec<memory::PieceDescription>,
    stacks: memory::StacksDescription,
    network: network::NetworkDescription,
}

/// What is not given of the clock follows from the time since boot.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ClockDescription {
    monotonic_ns: Option<u64>,
    boot_ns: Option<u64>,
    tai_ns: Option<u64>,
    step_ns: Option<u64>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct TaskDescription {
    pid: Option<u32>,
    tgid: Option<u32>,
    uid: Option<u32>,
    gid: Option<u32>,
    comm: Option<String>,
    cgroups: Option<Vec<String>>,
    netns_cookie: Option<u64>,
    classid: Option<u32>,
    pid_namespace: Option<PidNamespaceDescription>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
struct PidNamespaceDescription {
    dev: u64,
    ino: u64,
    pid: u32,
    tgid: u32,
}

impl WorldInput {
    /// The world as the options describe it.
    pub(crate) fn read(&self) -> Result<Around, Failure> {
        let given = self.seed.or(self.clock).or(self.cpu.map(u64::from)).is_some();
        if !given && self.host.is_none() {
            let cpus = self.cpus.unwrap_or(1);
            return Ok(Around::System { host: Arc::new(SystemHost::new(cpus)), cpus });
        }
        let json = match &self.host {
            Some(argument) => Json::argument("--host", argument)?,
            None => Json { origin: String::new(), value: Value::Object(Default::default()) },
        };
        let description: Description = json.read()?;
        let cpu = self.cpu.unwrap_or(description.cpu);
        if cpu >= MAX_CPUS {
            let problem = format!("the program runs on CPU {cpu}; there are at most {MAX_CPUS}");
            return Err(Failure::Usage(problem));
        }
        let cpus = self.cpus.unwrap_or(cpu.saturating_add(1));
        if cpu >= cpus {
            let problem =
                format!("the program runs on CPU {cpu}, but there are only {cpus}, from 0");
            return Err(Failure::Usage(problem));
        }
        let sockets = sockets::read(&json, &description.sockets)?;
        let world = World::new()
            .sockets(sockets::table(&sockets, &description.netns))
            .network(description.network.made(&json)?)
            .cgroup_classid(description.task.classid.unwrap_or(0))
            .seed(self.seed.unwrap_or(description.seed))
            .clock(description.clock.made(self.clock))
            .task(description.task.made())
            .on_numa_node(description.numa_node)
            .on_cpu(cpu);
        let world = description.stacks.given(world);
        let world = memory::add(world, &json, &description.memory)?;
        Ok(Around::Given { host: Arc::new(world), cpus, sockets })
    }
}

impl ClockDescription {
    fn made(self, start: Option<u64>) -> Clock {
        let mut clock = match start.or(self.monotonic_ns) {
            Some(ns) => Clock::starting_at(ns),
            None => Clock::starting_at(ONE_SECOND_NS),
        };
        clock.boot_ns = self.boot_ns.unwrap_or(clock.boot_ns);
        clock.tai_ns = self.tai_ns.unwrap_or(clock.tai_ns);
        clock.step_ns = self.step_ns.unwrap_or(clock.step_ns);
        clock
    }
}

impl TaskDescription {
    fn made(self) -> Task {
        let mut task = Task::default();
        let first = self.tgid.or(self.pid);
        task.id.tgid = first.unwrap_or(task.id.tgid);
        task.id.pid = self.pid.or(first).unwrap_or(task.id.pid);
        task.uid = self.uid.unwrap_or(task.uid);
        task.gid = self.gid.unwrap_or(task.gid);
        task.comm = self.comm.unwrap_or(task.comm);
        task.netns_cookie = self.netns_cookie.unwrap_or(task.netns_cookie);
        task.pid_namespace =
            self.pid_namespace.map(|PidNamespaceDescription { dev, ino, pid, tgid }| {
                PidNamespace { dev, ino, id: PidTgid { pid, tgid } }
            });
        match self.cgroups {
            Some(paths) => task.cgroups(paths.iter().map(String::as_str)),
            None => task,
        }
    }
}
