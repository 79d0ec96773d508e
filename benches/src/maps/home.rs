//! Where a map can live.

use super::program::{Ours, Theirs, Work, fill, kernel_map};
use super::{Action, BATCH, ENTRIES, Keys, Kind};
use dashmap::DashMap;
use ebpfvm::map::{Cpu, UpdateFlags};
use ebpfvm::{Host, SystemHost, Vm};
use ebpfvm_kernel::Kernel;
use ebpfvm_spec::MapType;
use std::collections::HashMap;
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, RwLock};

/// A batch of operations; the argument begins the sequence of keys. It is called on many threads.
pub type Prepared = Box<dyn Fn(u64) + Send + Sync>;

/// A place for maps.
pub struct Home {
    /// What the table calls it.
    pub name: &'static str,
    /// Makes a map with its keys and what does a batch of operations on it, or says why not. Kernel
    /// is none where it cannot be used.
    pub prepare: fn(&Kind, Action, Option<&Kernel>) -> Result<Prepared, String>,
}

/// All of them; the first is what others are compared with.
pub const HOMES: &[Home] = &[
    Home { name: "program", prepare: from_program },
    Home { name: "host", prepare: from_host },
    Home { name: "krn program", prepare: kernel_program },
    Home { name: "krn syscall", prepare: kernel_syscall },
    Home { name: "native", prepare: native },
    Home { name: "dashmap", prepare: dashmap },
    Home { name: "RwLock", prepare: rwlock },
    Home { name: "Mutex", prepare: mutex },
];

/// A machine with so many CPUs as this one has, as maps see it.
pub(super) fn machine() -> (Arc<SystemHost>, Vm) {
    let cpus = std::thread::available_parallelism().map_or(1, |n| n.get() as u32);
    let host = Arc::new(SystemHost::new(cpus));
    (host.clone(), Vm::linux().host(host).cpus(cpus).build())
}

fn from_program(kind: &Kind, action: Action, _: Option<&Kernel>) -> Result<Prepared, String> {
    let (_, vm) = machine();
    let map = vm.create_map(&kind.def()).map_err(|error| error.to_string())?;
    fill(kind, &map);
    let program = Ours::new(&vm, kind, Work::On(action), &map);
    let done = program.batch();
    if done != BATCH {
        return Err(format!("{done} of {BATCH} keys were found"));
    }
    Ok(Box::new(move |_| {
        black_box(program.batch());
    }))
}

fn from_host(kind: &Kind, action: Action, _: Option<&Kernel>) -> Result<Prepared, String> {
    let (host, vm) = machine();
    let map = vm.create_map(&kind.def()).map_err(|error| error.to_string())?;
    fill(kind, &map);
    let (bits, key_bytes) = (kind.bits(action), kind.key_bytes as usize);
    Ok(Box::new(move |seed| {
        let mut keys = Keys::new(seed, bits);
        let cpu: Cpu = host.cpu();
        for _ in 0..BATCH {
            let key = keys.draw().to_ne_bytes();
            match action {
                Action::Lookup => {
                    black_box(map.lookup(&key[..key_bytes], cpu));
                }
                Action::Update => {
                    let done = map.update(&key[..key_bytes], &[1; 8], UpdateFlags::ANY, cpu);
                    debug_assert!(done.is_ok());
                }
            }
        }
    }))
}

fn kernel_program(
    kind: &Kind,
    action: Action,
    kernel: Option<&Kernel>,
) -> Result<Prepared, String> {
    let kernel = kernel.ok_or("no kernel")?;
    let map = kernel_map(kernel, kind)?;
    let program = Theirs::new(kernel, kind, Work::On(action), &map)?;
    Ok(Box::new(move |_| {
        black_box(program.run(1));
    }))
}

fn kernel_syscall(
    kind: &Kind,
    action: Action,
    kernel: Option<&Kernel>,
) -> Result<Prepared, String> {
    let kernel = kernel.ok_or("no kernel")?;
    let map = kernel_map(kernel, kind)?;
    let (bits, key_bytes) = (kind.bits(action), kind.key_bytes as usize);
    Ok(Box::new(move |seed| {
        let mut keys = Keys::new(seed, bits);
        let mut value = vec![1; map.value_bytes()];
        for _ in 0..BATCH {
            let key = &keys.draw().to_ne_bytes()[..key_bytes];
            let done = match action {
                Action::Lookup => map.lookup_into(key, &mut value, 0),
                Action::Update => map.update(key, &value, 0),
            };
            done.expect("the kernel does it");
        }
    }))
}

/// An array behind a function call.
fn native(kind: &Kind, action: Action, _: Option<&Kernel>) -> Result<Prepared, String> {
    #[inline(never)]
    fn element(values: &[AtomicU64], index: u32) -> Option<&AtomicU64> {
        values.get(index as usize)
    }
    if kind.map_type != MapType::Array {
        return Err("an array only".into());
    }
    let values: Box<[AtomicU64]> = (0..ENTRIES).map(|_| AtomicU64::new(1)).collect();
    let bits = kind.bits(action);
    Ok(Box::new(move |seed| {
        let mut keys = Keys::new(seed, bits);
        for _ in 0..BATCH {
            if let Some(value) = black_box(element)(&values, keys.draw() as u32) {
                match action {
                    Action::Lookup => drop(black_box(value.load(Relaxed))),
                    Action::Update => value.store(1, Relaxed),
                }
            }
        }
    }))
}

fn dashmap(kind: &Kind, action: Action, _: Option<&Kernel>) -> Result<Prepared, String> {
    rust_map(
        kind,
        action,
        DashMap::<_, _>::from_iter,
        |map, key| map.get(&key).map(|value| *value),
        |map, key| map.insert(key, 1),
    )
}

fn rwlock(kind: &Kind, action: Action, _: Option<&Kernel>) -> Result<Prepared, String> {
    rust_map(
        kind,
        action,
        |entries| RwLock::new(HashMap::<_, _>::from_iter(entries)),
        |map, key| map.read().unwrap().get(&key).copied(),
        |map, key| map.write().unwrap().insert(key, 1),
    )
}

fn mutex(kind: &Kind, action: Action, _: Option<&Kernel>) -> Result<Prepared, String> {
    rust_map(
        kind,
        action,
        |entries| Mutex::new(HashMap::<_, _>::from_iter(entries)),
        |map, key| map.lock().unwrap().get(&key).copied(),
        |map, key| map.lock().unwrap().insert(key, 1),
    )
}

/// A map of Rust. It can stand for a hash table only: it forgets nothing and has no CPUs.
fn rust_map<M: Send + Sync + 'static>(
    kind: &Kind,
    action: Action,
    make: impl FnOnce(Vec<(u64, u64)>) -> M,
    get: impl Fn(&M, u64) -> Option<u64> + Send + Sync + 'static,
    insert: impl Fn(&M, u64) -> Option<u64> + Send + Sync + 'static,
) -> Result<Prepared, String> {
    if kind.map_type != MapType::Hash {
        return Err("a hash map only".into());
    }
    let map = make(kind.present().map(|key| (key, 1)).collect());
    let bits = kind.bits(action);
    Ok(Box::new(move |seed| {
        let mut keys = Keys::new(seed, bits);
        for _ in 0..BATCH {
            let key = keys.draw();
            match action {
                Action::Lookup => drop(black_box(get(&map, key))),
                Action::Update => drop(insert(&map, key)),
            }
        }
    }))
}
