//! Eight threads on one map, half of them programs that the verifier accepted and half the host: no
//! update is lost, no word of a value is torn, nothing leaks.
//!
//! A second for each kind, or as long as `EBPFVM_STRESS_SECONDS` says.

use ebpfvm::asm::text::{Dialect, assemble};
use ebpfvm::host::{Host, Random};
use ebpfvm::map::{Cpu, Ringbuf, UpdateFlags};
use ebpfvm::spec::map::{MapDef, MapFlags, MapType};
use ebpfvm::spec::{Errno, ProgType, Program};
use ebpfvm::verifier::Options;
use ebpfvm::{Context, DEFAULT_FUEL, Instance, MapRef, Vm};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

/// Programs on as many threads, and the host on as many.
const SIDE: u32 = 4;
/// Words of a value.
const WORDS: usize = 4;
/// Bytes of the memory that a program is given: what to do, the key, the value, flags.
const MEMORY: usize = 56;

fn duration() -> Duration {
    let seconds = std::env::var("EBPFVM_STRESS_SECONDS").ok();
    Duration::from_secs(seconds.map_or(1, |s| s.parse().expect("a number of seconds")))
}

thread_local! {
    static CPU: Cell<u32> = const { Cell::new(0) };
}

/// A host that gives each thread the CPU that it was told.
struct ByThread;

impl Host for ByThread {
    fn cpu(&self) -> Cpu {
        Cpu(CPU.get())
    }
}

fn machine() -> Vm {
    Vm::linux().host(Arc::new(ByThread)).cpus(2 * SIDE).build()
}

fn link(vm: &Vm, text: &str, map: &MapRef) -> Arc<Instance> {
    let code = assemble(text, Dialect::PseudoC).expect("the test's text is a program");
    let mut program = Program::from_code("stress", ProgType::Raw, code);
    program.maps = [map.def().clone()].into();
    let options = Options { memory_bytes: MEMORY as u32, ..Options::default() };
    let accepted = vm.verify(program, &options).verdict.expect("it is accepted");
    let instance = vm.link_verified(accepted, std::slice::from_ref(map)).expect("it can be linked");
    assert!(instance.is_verified());
    instance
}

fn run(program: &Instance, memory: [u64; MEMORY / 8]) -> i64 {
    let bytes: Vec<u8> = memory.iter().flat_map(|word| word.to_ne_bytes()).collect();
    let mut context = Context::raw(bytes);
    program.run(&mut context, DEFAULT_FUEL).expect("it runs").retval as i64
}

/// Runs `work` on all threads until the time is over; it is told which thread it is and whether it is a
/// program, and called again and again with a state of its own.
fn on_all<S: Default + Send>(work: impl Fn(u32, bool, &mut S, u64) + Sync) -> Vec<S> {
    let end = Instant::now() + duration();
    thread::scope(|scope| {
        let spawn = |number: u32| {
            let work = &work;
            scope.spawn(move || {
                CPU.set(number);
                let (mut state, random) = (S::default(), Random::new(number.into()));
                while Instant::now() < end {
                    for _ in 0..256 {
                        let chance = u64::from(random.next_u32()) << 32;
                        work(
                            number,
                            number < SIDE,
                            &mut state,
                            chance | u64::from(random.next_u32()),
                        );
                    }
                }
                state
            })
        };
        let threads: Vec<_> = (0..2 * SIDE).map(spawn).collect();
        threads.into_iter().map(|t| t.join().expect("no assertion failed")).collect()
    })
}

/// A value each word of which says where it belongs.
fn value(content: u64) -> [u64; WORDS] {
    std::array::from_fn(|i| (i as u64 + 1) << 56 | content >> 8)
}

fn bytes(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

/// Checks that no word of a value as the host reads it is torn; where values are replaced as a whole,
/// that all are of one value.
fn check(seen: &[u8], whole: bool) {
    let words: Vec<u64> =
        seen.as_chunks::<8>().0.iter().map(|word| u64::from_ne_bytes(*word)).collect();
    for lane in words.chunks(WORDS) {
        for (i, word) in lane.iter().enumerate() {
            assert!(*word == 0 || word >> 56 == i as u64 + 1, "a torn word: {word:#x} at {i}");
            assert!(!whole || word << 8 == lane[0] << 8, "parts of two values: {lane:x?}");
        }
    }
}

/// Looks a key up and checks each word (1 found, 0 not, 99 torn), updates or deletes it.
const TOUCH: &str = "r6 = r1\nr7 = *(u64 *)(r6 + 0)\nr1 = *(u64 *)(r6 + 8)\n*(u64 *)(r10 - 8) = r1\n\
    r2 = r10\nr2 += -8\nr1 = map[idx:0]\nif r7 == 1 goto update\nif r7 == 2 goto delete\ncall 1\n\
    if r0 == 0 goto out\n\
    r1 = *(u64 *)(r0 + 0)\nr1 >>= 56\nif r1 > 1 goto torn\n\
    r1 = *(u64 *)(r0 + 8)\nr1 >>= 56\nif r1 == 0 goto next\nif r1 != 2 goto torn\n\
    next: r1 = *(u64 *)(r0 + 24)\nr1 >>= 56\nif r1 == 0 goto good\nif r1 != 4 goto torn\n\
    good: r0 = 1\nout: exit\ntorn: r0 = 99\nexit\n\
    update: r3 = r6\nr3 += 16\nr4 = *(u64 *)(r6 + 48)\ncall 2\nexit\n\
    delete: call 3\nexit";

/// What both sides do with a key, by its name.
struct Sides<'a> {
    map: &'a MapRef,
    program: &'a Instance,
}

impl Sides<'_> {
    fn memory(op: u64, key: u64, value: [u64; WORDS], flags: u64) -> [u64; MEMORY / 8] {
        let [a, b, c, d] = value;
        [op, key, a, b, c, d, flags]
    }

    fn errno(result: i64) -> Result<(), Errno> {
        if result == 0 { Ok(()) } else { Err(Errno(-result as i32)) }
    }

    fn update(&self, program: bool, key: u64, new: [u64; WORDS], flags: u64) -> Result<(), Errno> {
        if program {
            return Self::errno(run(self.program, Self::memory(1, key, new, flags)));
        }
        let all = bytes(&new).repeat(self.map.host_value_bytes() / (8 * WORDS));
        self.map.write(&key.to_ne_bytes(), &all, UpdateFlags(flags)).map_err(|e| e.errno())
    }

    fn delete(&self, program: bool, key: u64) -> Result<(), Errno> {
        match program {
            true => Self::errno(run(self.program, Self::memory(2, key, [0; WORDS], 0))),
            false => self.map.remove(&key.to_ne_bytes()).map_err(|e| e.errno()),
        }
    }

    /// Whether the key is there; its value is checked.
    fn look(&self, program: bool, key: u64, whole: bool) -> bool {
        if program {
            let found = run(self.program, Self::memory(0, key, [0; WORDS], 0));
            assert!(found == 0 || found == 1, "a program saw a torn word");
            return found == 1;
        }
        let seen = self.map.read(&key.to_ne_bytes());
        seen.as_ref().is_ok_and(|seen| {
            check(seen, whole);
            true
        })
    }
}

fn def(kind: MapType, max_entries: u32) -> MapDef {
    let key_bytes = if matches!(kind, MapType::Array | MapType::PercpuArray) { 4 } else { 8 };
    let flags = if kind == MapType::LpmTrie { MapFlags::NO_PREALLOC } else { 0 };
    let def = MapDef::new("stress", kind, key_bytes, 8 * WORDS as u32, max_entries);
    MapDef { flags: MapFlags(flags), ..def }
}

/// Each thread has keys of its own, all of them share chains, elements and room: each sees its keys as
/// it left them, and in the end the map has what the threads say.
fn own_keys(kind: MapType) {
    const KEYS: u64 = 24;
    let capacity = 2 * SIDE * KEYS as u32;
    let (vm, def) = (machine(), def(kind, capacity));
    let map = vm.create_map(&def).expect("a map");
    let program = link(&vm, TOUCH, &map);
    let sides = Sides { map: &map, program: &program };
    // Of a trie, all bits of the address count.
    let key_of = |thread: u32, n: u64| match kind {
        MapType::LpmTrie => u64::from(thread) << 56 | n << 32 | 32,
        _ => n * 1000 + u64::from(thread),
    };
    let whole = matches!(kind, MapType::Hash | MapType::LruHash);
    let states = on_all(|thread, program, mine: &mut BTreeMap<u64, ()>, chance| {
        let key = key_of(thread, chance % KEYS);
        let there = mine.contains_key(&key);
        match chance >> 32 & 7 {
            0..3 => {
                let flags = chance >> 40 & 3;
                let expected = match (flags, there) {
                    (1, true) => Err(Errno::EEXIST),
                    (2, false) => Err(Errno::ENOENT),
                    (3, _) => Err(Errno::EINVAL),
                    _ => Ok(()),
                };
                assert_eq!(sides.update(program, key, value(chance), flags), expected, "{kind:?}");
                if expected.is_ok() {
                    mine.insert(key, ());
                }
            }
            3 | 4 => {
                let expected = if there { Ok(()) } else { Err(Errno::ENOENT) };
                assert_eq!(sides.delete(program, key), expected, "{kind:?}");
                mine.remove(&key);
            }
            5 | 6 => assert_eq!(sides.look(program, key, whole), there, "{kind:?}: key {key:#x}"),
            // Somebody else's.
            _ => drop(sides.look(program, key_of((thread + 1) % (2 * SIDE), chance % KEYS), whole)),
        }
    });
    let expected: Vec<u64> = states.iter().flat_map(|mine| mine.keys().copied()).collect();
    let sorted = |mut keys: Vec<u64>| {
        keys.sort_unstable();
        keys
    };
    let number = |key: Vec<u8>| u64::from_ne_bytes(key.try_into().expect("8 bytes"));
    let keys = map.entries().map(|(key, _)| number(key)).collect();
    assert_eq!(sorted(keys), sorted(expected.clone()), "{kind:?}");
    for key in expected {
        assert_eq!(sides.delete(false, key), Ok(()));
    }
    // Nothing has leaked: there is room for as many as in the beginning, and for no more.
    for n in 0..u64::from(capacity) {
        assert_eq!(sides.update(n % 2 == 0, key_of(0, n), value(n), 1), Ok(()), "{kind:?}");
    }
    assert_eq!(map.entries().count(), capacity as usize, "{kind:?}");
    if kind != MapType::LruHash && kind != MapType::LruPercpuHash {
        let full = if kind == MapType::LpmTrie { Errno::ENOSPC } else { Errno::E2BIG };
        assert_eq!(sides.update(true, key_of(1, 500), value(1), 0), Err(full), "{kind:?}");
    }
}

#[test]
fn hash_keys_are_as_they_were_left() {
    own_keys(MapType::Hash);
}

#[test]
fn percpu_hash_keys_are_as_they_were_left() {
    own_keys(MapType::PercpuHash);
}

#[test]
fn lru_keys_are_as_they_were_left_while_there_is_room() {
    own_keys(MapType::LruHash);
}

#[test]
fn lru_percpu_keys_are_as_they_were_left_while_there_is_room() {
    own_keys(MapType::LruPercpuHash);
}

#[test]
fn trie_keys_are_as_they_were_left() {
    own_keys(MapType::LpmTrie);
}

/// All threads replace and remove the same few keys: each is there or not, and never in parts.
#[test]
fn shared_keys_are_never_in_parts() {
    let vm = machine();
    let map = vm.create_map(&def(MapType::Hash, 8)).expect("a map");
    let program = link(&vm, TOUCH, &map);
    let sides = Sides { map: &map, program: &program };
    // Key 0 is replaced all the time and never removed.
    sides.update(false, 0, value(1), 0).expect("there is room");
    on_all(|_, program, _: &mut (), chance| {
        let key = chance % 8;
        match chance >> 32 & 3 {
            0 => sides.update(program, key, value(chance), 0).expect("there is room"),
            1 if key != 0 => drop(sides.delete(program, key)),
            _ => assert!(sides.look(program, key, true) || key != 0, "a key that stays was missed"),
        }
    });
    for key in 0..8 {
        let _ = sides.delete(false, key);
    }
    (0..8).for_each(|key| sides.update(false, key + 50, value(1), 1).expect("nothing has leaked"));
}

/// More keys than room: nobody is refused, and the table keeps its size.
#[test]
fn a_full_lru_table_lets_entries_go() {
    const CAPACITY: u32 = 64;
    for kind in [MapType::LruHash, MapType::LruPercpuHash] {
        let vm = machine();
        let map = vm.create_map(&def(kind, CAPACITY)).expect("a map");
        let program = link(&vm, TOUCH, &map);
        let sides = Sides { map: &map, program: &program };
        on_all(|_, program, _: &mut (), chance| {
            let key = chance % 256;
            match chance >> 32 & 7 {
                0..4 => sides.update(program, key, value(chance), 0).expect("another one goes"),
                4 => drop(sides.delete(program, key)),
                _ => drop(sides.look(program, key, kind == MapType::LruHash)),
            }
        });
        assert!(map.entries().count() <= CAPACITY as usize);
        for key in 0..256 {
            let _ = sides.delete(true, key);
        }
        (0..CAPACITY.into()).for_each(|n| sides.update(n % 2 == 0, 1000 + n, value(n), 1).unwrap());
        assert_eq!(map.entries().count(), CAPACITY as usize, "nothing has leaked");
    }
}

/// Programs count, atomically where the counter is shared; other keys come and go meanwhile.
#[test]
fn no_count_is_lost() {
    const COUNTERS: u64 = 5;
    for kind in [MapType::Array, MapType::Hash, MapType::PercpuArray, MapType::PercpuHash] {
        let vm = machine();
        let map = vm.create_map(&def(kind, 64)).expect("a map");
        let is_array = matches!(kind, MapType::Array | MapType::PercpuArray);
        let zeros = vec![0; map.host_value_bytes()];
        let key_of = |n: u64| n.to_ne_bytes()[..map.def().key_bytes as usize].to_vec();
        (0..COUNTERS).for_each(|n| map.write(&key_of(n), &zeros, UpdateFlags::ANY).unwrap());
        let size = if is_array { "u32" } else { "u64" };
        let add = match kind.is_percpu() {
            true => "r1 = *(u64 *)(r0 + 8)\nr1 += 1\n*(u64 *)(r0 + 8) = r1\n",
            false => "r1 = 1\nlock *(u64 *)(r0 + 8) += r1\n",
        };
        let text = format!(
            "r1 = *(u64 *)(r1 + 8)\n*({size} *)(r10 - 8) = r1\nr2 = r10\nr2 += -8\n\
             r1 = map[idx:0]\ncall 1\nif r0 == 0 goto out\n{add}r0 = 1\nout: exit"
        );
        let program = link(&vm, &text, &map);
        let counts = on_all(|thread, counts, added: &mut [u64; COUNTERS as usize], chance| {
            let n = chance % COUNTERS;
            if counts {
                assert_eq!(run(&program, [0, n, 0, 0, 0, 0, 0]), 1, "{kind:?}: a counter stays");
                added[n as usize] += 1;
            } else if is_array || chance >> 32 & 1 == 0 {
                assert!(map.read(&key_of(n)).is_ok(), "{kind:?}");
            } else {
                let other = key_of(100 + u64::from(thread) * 8 + chance % 8);
                match chance >> 40 & 1 {
                    0 => map.write(&other, &zeros, UpdateFlags::ANY).expect("there is room"),
                    _ => drop(map.remove(&other)),
                }
            }
        });
        for n in 0..COUNTERS {
            let added: u64 = counts.iter().map(|added| added[n as usize]).sum();
            let seen = map.read(&key_of(n)).expect("a counter stays");
            let lanes = seen.as_chunks::<{ 8 * WORDS }>().0.iter();
            let count =
                |lane: &[u8; 8 * WORDS]| u64::from_ne_bytes(*lane[8..].first_chunk().unwrap());
            assert_eq!(lanes.map(count).sum::<u64>(), added, "{kind:?}, counter {n}");
        }
    }
}

/// Values of arrays are written in place: words are old or new.
#[test]
fn words_of_array_values_are_never_torn() {
    for kind in [MapType::Array, MapType::PercpuArray] {
        let vm = machine();
        let map = vm.create_map(&def(kind, 2)).expect("a map");
        let program =
            link(&vm, &TOUCH.replace("*(u64 *)(r10 - 8) = r1", "*(u32 *)(r10 - 8) = r1"), &map);
        on_all(|_, from_program, _: &mut (), chance| {
            let (key, new) = (chance % 2, value(chance));
            match (from_program, chance >> 32 & 1) {
                (true, op) => {
                    let memory = Sides::memory(op, key, new, 0);
                    assert!((0..2).contains(&run(&program, memory)), "{kind:?}: a torn word");
                }
                (false, 0) => check(&map.read(&(key as u32).to_ne_bytes()).unwrap(), false),
                (false, _) => {
                    let all = bytes(&new).repeat(map.host_value_bytes() / (8 * WORDS));
                    map.write(&(key as u32).to_ne_bytes(), &all, UpdateFlags::ANY).unwrap();
                }
            }
        });
    }
}

/// What is pushed is popped once, by whomever.
#[test]
fn queues_and_stacks_give_each_value_once() {
    for kind in [MapType::Queue, MapType::Stack] {
        let vm = machine();
        let def = MapDef::new("stress", kind, 0, 8 * WORDS as u32, 32);
        let map = vm.create_map(&def).expect("a map");
        let text = "r6 = r1\nr2 = r1\nr2 += 16\nr7 = *(u64 *)(r6 + 0)\nr1 = map[idx:0]\n\
                    if r7 == 1 goto pop\nr3 = 0\ncall 87\nexit\n\
                    pop: r2 = r10\nr2 += -32\ncall 88\nif r0 != 0 goto none\nr0 = *(u64 *)(r10 - 8)\nexit\n\
                    none: r0 = 0\nexit";
        let program = link(&vm, text, &map);
        // Numbers and sums of what went in and what came out; sums wrap.
        type Flow = [(u64, u64); 2];
        let count = |flow: &mut (u64, u64), content: u64| {
            *flow = (flow.0 + 1, flow.1.wrapping_add(content));
        };
        let last = |seen: &[u8]| {
            check(seen, true);
            u64::from_ne_bytes(*seen.last_chunk().expect("a value"))
        };
        let flows = on_all(|_, from_program, flow: &mut Flow, chance| {
            let new = value(chance | 1 << 20);
            let mut out = [0; 8 * WORDS];
            match (chance >> 32 & 1, from_program) {
                (0, true) => {
                    if run(&program, Sides::memory(0, 0, new, 0)) == 0 {
                        count(&mut flow[0], new[WORDS - 1]);
                    }
                }
                (0, false) => {
                    if map.push(&bytes(&new), UpdateFlags::ANY).is_ok() {
                        count(&mut flow[0], new[WORDS - 1]);
                    }
                }
                (_, true) => match run(&program, Sides::memory(1, 0, new, 0)) as u64 {
                    0 => {}
                    content => count(&mut flow[1], content),
                },
                (_, false) => {
                    if map.pop(&mut out).is_ok() {
                        count(&mut flow[1], last(&out));
                    }
                }
            }
        });
        let mut left = (0, 0);
        map.values().iter().for_each(|seen| count(&mut left, last(seen)));
        let total = |side: usize| {
            let add = |sum: (u64, u64), flow: &Flow| {
                (sum.0 + flow[side].0, sum.1.wrapping_add(flow[side].1))
            };
            flows.iter().fold((0, 0), add)
        };
        let (put, got) = (total(0), total(1));
        assert!(put.0 > 0);
        assert_eq!(put, (got.0 + left.0, got.1.wrapping_add(left.1)), "{kind:?}");
    }
}

/// Records come out once each, whole, and those of one producer in order; the buffer is empty then.
#[test]
fn ring_buffers_lose_no_record() {
    let vm = machine();
    let map = vm.create_map(&MapDef::new("events", MapType::Ringbuf, 0, 0, 4096)).expect("a map");
    let text = "r2 = r1\nr2 += 16\nr1 = map[idx:0]\nr3 = 32\nr4 = 0\ncall 130\nexit";
    let program = link(&vm, text, &map);
    let ring: &Ringbuf = map.as_kind().expect("a ring buffer");
    let (stop, consumed) = (AtomicBool::new(false), AtomicU64::new(0));
    let mut next = [0u64; 2 * SIDE as usize];
    let mut take = |next: &mut [u64]| {
        ring.consume(|record| {
            check(record, true);
            let content = u64::from_ne_bytes(*record.first_chunk().expect("a record")) << 8 >> 8;
            let (producer, number) = (content >> 48, content & 0xffff_ffff_ffff);
            assert_eq!(number, next[producer as usize], "producer {producer}");
            next[producer as usize] += 1;
        })
    };
    let sent = thread::scope(|scope| {
        let (stop, consumed, next) = (&stop, &consumed, &mut next);
        let take = &mut take;
        let consumer = scope.spawn(move || {
            while !stop.load(Relaxed) {
                ring.wait(Duration::from_millis(1));
                consumed.fetch_add(take(next) as u64, Relaxed);
            }
            consumed.fetch_add(take(next) as u64, Relaxed);
        });
        let sent = on_all(|thread, from_program, sent: &mut u64, chance| {
            let record = value((u64::from(thread) << 48 | *sent) << 8);
            let done = match from_program {
                true => run(&program, Sides::memory(0, 0, record, 0)) == 0,
                // What is given back is never seen.
                false if chance & 7 == 0 => {
                    let given = ring.reserve(chance >> 32 & 63);
                    given.iter().for_each(|at| ring.discard(at.addr().get(), 0).unwrap());
                    false
                }
                false => ring.output(&bytes(&record), 0).is_ok(),
            };
            *sent += u64::from(done);
        });
        stop.store(true, Relaxed);
        consumer.join().expect("no assertion failed");
        sent
    });
    assert_eq!(consumed.load(Relaxed), sent.iter().sum::<u64>());
    assert_eq!(next[..], sent[..]);
    assert_eq!(ring.query(0), 0, "nothing is left");
    assert!(ring.output(&[0; 4000], 0).is_ok(), "all of it is free");
}
