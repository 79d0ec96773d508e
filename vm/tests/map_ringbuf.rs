//! Ring buffers: records in order, exact room, wake-ups, threads.

use ebpfvm::map::ringbuf::{FORCE_WAKEUP, NO_WAKEUP};
use ebpfvm::map::{Cpu, Map, MapLimits, MapRef, Ringbuf, UpdateFlags};
use ebpfvm_spec::{Errno, MapDef, MapType};
use proptest::prelude::*;
use std::collections::VecDeque;
use std::ptr::NonNull;
use std::thread;
use std::time::Duration;

fn create(bytes: u32) -> MapRef {
    let def = MapDef::new("events", MapType::Ringbuf, 0, 0, bytes);
    Map::create(&def, 1, &MapLimits::default()).unwrap()
}

fn ring(map: &Map) -> &Ringbuf {
    map.as_kind().unwrap()
}

fn fill(record: NonNull<u8>, byte: u8, bytes: u64) {
    // SAFETY: a reserved record of this size, which nobody else touches.
    unsafe { record.as_ptr().write_bytes(byte, bytes as usize) }
}

fn address(record: NonNull<u8>) -> usize {
    record.addr().get()
}

#[derive(Clone, Debug)]
enum Op {
    Reserve(u64),
    /// Ends the n-th open reservation.
    Submit(usize),
    Discard(usize),
    Output(u64),
    Consume,
}

struct Record {
    end: u64,
    data: Option<Vec<u8>>,
    open: Option<NonNull<u8>>,
}

/// Room and order by the rules of `kernel/bpf/ringbuf.c`, without a buffer.
#[derive(Default)]
struct Model {
    producer: u64,
    consumer: u64,
    records: VecDeque<Record>,
}

impl Model {
    fn claim(&mut self, bytes: u64) -> bool {
        let end = self.producer + (bytes + 8).next_multiple_of(8);
        let fits = end - self.consumer < 4096;
        self.producer = if fits { end } else { self.producer };
        fits
    }

    fn open(&mut self, n: usize) -> Option<&mut Record> {
        let open = self.records.iter().filter(|r| r.open.is_some()).count();
        let nth = n.checked_rem(open)?;
        self.records.iter_mut().filter(|r| r.open.is_some()).nth(nth)
    }
}

proptest! {
    #[test]
    fn records_come_in_order_and_room_is_exact(ops in proptest::collection::vec(
        prop_oneof![
            4 => (0..1500u64).prop_map(Op::Reserve),
            1 => (3000..5000u64).prop_map(Op::Reserve),
            3 => (0..8usize).prop_map(Op::Submit),
            1 => (0..8usize).prop_map(Op::Discard),
            2 => (0..1500u64).prop_map(Op::Output),
            3 => Just(Op::Consume),
        ],
        1..120,
    )) {
        let map = create(4096);
        let ring = ring(&map);
        let mut model = Model::default();
        for (step, op) in ops.into_iter().enumerate() {
            let byte = step as u8;
            match op {
                Op::Reserve(bytes) => {
                    let record = ring.reserve(bytes);
                    prop_assert_eq!(record.is_some(), model.claim(bytes));
                    if let Some(record) = record {
                        fill(record, byte, bytes);
                        prop_assert_eq!(ring.record_at(address(record)), Some(bytes));
                        prop_assert_eq!(ring.record_at(address(record) + 8), None);
                        let data = Some(vec![byte; bytes as usize]);
                        let record = Record { end: model.producer, data, open: Some(record) };
                        model.records.push_back(record);
                    }
                }
                Op::Submit(n) | Op::Discard(n) => {
                    let Some(record) = model.open(n) else { continue };
                    let at = address(record.open.take().unwrap());
                    if matches!(op, Op::Submit(_)) {
                        prop_assert_eq!(ring.submit(at, 0), Ok(()));
                    } else {
                        prop_assert_eq!(ring.discard(at, 0), Ok(()));
                        record.data = None;
                    }
                    prop_assert_eq!(ring.submit(at, 0), Err(Errno::EINVAL));
                    prop_assert_eq!(ring.record_at(at), None);
                }
                Op::Output(bytes) => {
                    let data = vec![byte; bytes as usize];
                    let expected = model.claim(bytes).then_some(()).ok_or(Errno::EAGAIN);
                    prop_assert_eq!(ring.output(&data, 0), expected);
                    if expected.is_ok() {
                        let record = Record { end: model.producer, data: Some(data), open: None };
                        model.records.push_back(record);
                    }
                }
                Op::Consume => {
                    let mut expected = Vec::new();
                    while model.records.front().is_some_and(|r| r.open.is_none()) {
                        let record = model.records.pop_front().unwrap();
                        model.consumer = record.end;
                        expected.extend(record.data);
                    }
                    let mut got = Vec::new();
                    prop_assert_eq!(ring.consume(|r| got.push(r.to_vec())), expected.len());
                    prop_assert_eq!(got, expected);
                }
            }
            let numbers = [0, 1, 2, 3, 4].map(|what| ring.query(what));
            let (producer, consumer) = (model.producer, model.consumer);
            prop_assert_eq!(numbers, [producer - consumer, 4096, consumer, producer, 0]);
        }
    }
}

#[test]
fn sizes_have_limits() {
    let map = create(4096);
    let ring = ring(&map);
    assert!(ring.reserve(4096 - 8).is_none(), "one byte stays free");
    assert!(ring.reserve(u64::MAX).is_none());
    assert!(ring.reserve(u64::from(u32::MAX / 4) + 1).is_none());
    assert_eq!(ring.dropped(), 3);
    let record = ring.reserve(4096 - 16).unwrap();
    assert_eq!(address(record) % 8, 0);
    assert_eq!(ring.output(&[], 0), Err(Errno::EAGAIN));
    ring.discard(address(record), 0).unwrap();
    assert_eq!(ring.consume(|_| panic!("discarded")), 0);
    assert_eq!(ring.output(&[], 4), Err(Errno::EINVAL));
    assert_eq!(ring.output(&[], 0), Ok(()));
}

#[test]
fn foreign_addresses_are_refused() {
    let map = create(4096);
    let ring = ring(&map);
    let record = address(ring.reserve(64).unwrap());
    for wrong in
        [0, 8, usize::MAX, record - 8, record + 1, record + 8, record + 4096, record + 9000]
    {
        assert_eq!(ring.submit(wrong, 0), Err(Errno::EINVAL), "{wrong:#x}");
        assert_eq!(ring.record_at(wrong), None);
    }
    assert_eq!(ring.submit(record, 0), Ok(()));
}

#[test]
fn no_other_operation_exists() {
    let map = create(4096);
    let none = Some(Errno::ENOTSUPP);
    assert_eq!(map.lookup(&[], Cpu(0)), None);
    assert_eq!(map.read(&[]).err().map(|e| e.errno()), none);
    assert_eq!(map.write(&[], &[], UpdateFlags::ANY).err().map(|e| e.errno()), none);
    assert_eq!(map.remove(&[]).err().map(|e| e.errno()), none);
    assert_eq!(map.next_key(None).err().map(|e| e.errno()), none);
    assert_eq!(map.take(&[]).err().map(|e| e.errno()), none);
    assert_eq!(map.entries().count(), 0);
    for bytes in [0, 2048, 4097, 3 * 4096] {
        let def = MapDef::new("events", MapType::Ringbuf, 0, 0, bytes);
        let error = Map::create(&def, 1, &MapLimits::default()).unwrap_err();
        assert_eq!(error.errno(), Errno::EINVAL);
        assert!(error.to_string().contains("a power of two, at least 4096"), "{error}");
    }
}

#[test]
fn the_consumer_is_woken_as_the_flags_say() {
    let map = create(4096);
    let ring = ring(&map);
    ring.output(&[1], 0).unwrap();
    assert_eq!(ring.wakeups(), 1);
    ring.output(&[2], 0).unwrap();
    assert_eq!(ring.wakeups(), 1, "the consumer is not there yet");
    ring.output(&[3], FORCE_WAKEUP).unwrap();
    assert_eq!(ring.wakeups(), 2);
    assert!(ring.wait(Duration::MAX));
    assert_eq!(ring.consume(|_| ()), 3);
    ring.output(&[4], NO_WAKEUP).unwrap();
    assert_eq!(ring.wakeups(), 2);
    ring.consume(|_| ());
    assert!(!ring.wait(Duration::from_millis(5)));
    let reserved = ring.reserve(8).unwrap();
    assert!(!ring.wait(Duration::ZERO), "a reserved record is not there yet");
    thread::scope(|scope| {
        let waiter = scope.spawn(|| ring.wait(Duration::from_secs(30)));
        ring.submit(address(reserved), 0).unwrap();
        assert!(waiter.join().unwrap());
    });
}

/// Each producer's records come whole and in its order; none is lost but those counted.
#[test]
fn many_producers_and_one_consumer() {
    const RECORDS: u64 = 20_000;
    let map = create(4096);
    let ring = ring(&map);
    let mut seen = [Vec::new(), Vec::new(), Vec::new()];
    let take = |record: &[u8], seen: &mut [Vec<u64>; 3]| {
        let word = |at: usize| u64::from_ne_bytes(record[at..at + 8].try_into().unwrap());
        let (producer, number) = (word(0), word(8));
        assert!(record[16..].iter().all(|byte| *byte == number as u8), "{record:?}");
        seen[producer as usize].push(number);
    };
    let sent: u64 = thread::scope(|scope| {
        let producers: Vec<_> = (0..3u64)
            .map(|producer| {
                scope.spawn(move || {
                    let mut sent = 0;
                    for number in 0..RECORDS {
                        let bytes = 16 + number % 90;
                        let Some(record) = ring.reserve(bytes) else {
                            thread::yield_now();
                            continue;
                        };
                        fill(record, number as u8, bytes);
                        // SAFETY: 16 bytes of the reserved record, 8-byte aligned.
                        unsafe { record.cast::<[u64; 2]>().write([producer, number]) };
                        if number % 7 == 0 {
                            ring.discard(address(record), 0).unwrap();
                        } else {
                            ring.submit(address(record), 0).unwrap();
                            sent += 1;
                        }
                    }
                    sent
                })
            })
            .collect();
        while !producers.iter().all(|producer| producer.is_finished()) {
            ring.wait(Duration::from_millis(1));
            ring.consume(|record| take(record, &mut seen));
        }
        producers.into_iter().map(|producer| producer.join().unwrap()).sum()
    });
    ring.consume(|record| take(record, &mut seen));
    assert_eq!(seen.iter().map(|numbers| numbers.len() as u64).sum::<u64>(), sent);
    assert!(seen.iter().all(|numbers| numbers.is_sorted()));
    assert_eq!(ring.query(0), 0);
}
