//! The world around a program: the process itself, or one in which everything is given, so that runs
//! can be repeated.

use super::value::Json;
use crate::failure::Failure;
use ebpfvm::host::world::{Clock, Task, World};
use ebpfvm::{Host, SystemHost};
use serde::Deserialize;
use std::path::PathBuf;
use std::sync::Arc;

/// When programs run in a given world of which no time is given: programs may take 0 for no time.
const ONE_SECOND_NS: u64 = 1_000_000_000;

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
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4096))]
    cpus: Option<u32>,
    /// A file with more of the world: {"clock": {...}, "seed": 7, "task": {...}}
    #[arg(long, value_name = "FILE")]
    host: Option<PathBuf>,
}

/// The world of a run.
pub(crate) enum Around {
    /// The process.
    System { host: Arc<SystemHost>, cpus: u32 },
    /// What was given.
    Given { host: Arc<World>, cpus: u32 },
}

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
}

impl WorldInput {
    /// The world as the options describe it.
    pub(crate) fn read(&self) -> Result<Around, Failure> {
        let given = self.seed.or(self.clock).or(self.cpu.map(u64::from)).is_some();
        if !given && self.host.is_none() {
            let cpus = self.cpus.unwrap_or(1);
            return Ok(Around::System { host: Arc::new(SystemHost::new(cpus)), cpus });
        }
        let description = match &self.host {
            Some(path) => Json::file(path)?.read()?,
            None => Description::default(),
        };
        let cpu = self.cpu.unwrap_or(description.cpu);
        let cpus = self.cpus.unwrap_or(cpu.saturating_add(1));
        if cpu >= cpus {
            let problem =
                format!("the program runs on CPU {cpu}, but there are only {cpus}, from 0");
            return Err(Failure::Usage(problem));
        }
        let world = World::new()
            .seed(self.seed.unwrap_or(description.seed))
            .clock(description.clock.made(self.clock))
            .task(description.task.made())
            .on_numa_node(description.numa_node)
            .on_cpu(cpu);
        Ok(Around::Given { host: Arc::new(world), cpus })
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
        match self.cgroups {
            Some(paths) => task.cgroups(paths.iter().map(String::as_str)),
            None => task,
        }
    }
}
