//! Ring buffers from the host to programs.

use ebpfvm::map::ringbuf::{FORCE_WAKEUP, NO_WAKEUP};
use ebpfvm::map::{Map, MapLimits, MapRef, UserRingbuf};
use ebpfvm_spec::{Errno, MapDef, MapType};
use std::ops::ControlFlow;
use std::time::Duration;

fn create() -> MapRef {
    let def = MapDef::new("samples", MapType::UserRingbuf, 0, 0, 4096);
    Map::create(&def, 1, &MapLimits::default()).unwrap()
}

fn drain(ring: &UserRingbuf, flags: u64) -> (Result<u64, Errno>, Vec<Vec<u8>>) {
    let mut samples = Vec::new();
    let seen = ring.drain(flags, |sample| {
        samples.push(ring.data(sample));
        ControlFlow::Continue(())
    });
    (seen, samples)
}

#[test]
fn programs_see_samples_in_order_and_wait_for_those_under_way() {
    let map = create();
    let ring = map.as_kind::<UserRingbuf>().unwrap();
    assert_eq!(drain(ring, 0), (Ok(0), vec![]));
    ring.push(b"one").unwrap();
    ring.reserve(5).unwrap().discard();
    ring.push(b"").unwrap();
    let mut open = ring.reserve(4).unwrap();
    ring.push(b"after").unwrap();
    assert_eq!(drain(ring, 0), (Ok(2), vec![b"one".to_vec(), vec![]]));
    assert_eq!(drain(ring, 0), (Ok(0), vec![]));
    open.data_mut().copy_from_slice(b"open");
    open.submit();
    assert_eq!(drain(ring, 0), (Ok(2), vec![b"open".to_vec(), b"after".to_vec()]));
    assert_eq!(ring.unread_bytes(), 0);
}

#[test]
fn a_program_may_stop_and_only_one_is_at_it() {
    let map = create();
    let ring = map.as_kind::<UserRingbuf>().unwrap();
    for sample in 0..5u8 {
        ring.push(&[sample]).unwrap();
    }
    let mut seen = 0;
    let stopped = ring.drain(0, |_| {
        seen += 1;
        assert_eq!(ring.drain(0, |_| ControlFlow::Continue(())), Err(Errno::EBUSY));
        if seen == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert_eq!(stopped, Ok(2), "the one at which it stopped counts");
    assert_eq!(ring.drain(8, |_| ControlFlow::Continue(())), Err(Errno::EINVAL));
    // The sample that is being looked at is not gone before its turn is over.
    let mut turn = ring.begin_drain(0).unwrap();
    let unread = ring.unread_bytes();
    assert_eq!(turn.next_sample().unwrap().map(|sample| ring.data(sample)), Some(vec![2]));
    assert_eq!(ring.unread_bytes(), unread);
    assert_eq!(turn.next_sample().unwrap().map(|sample| ring.data(sample)), Some(vec![3]));
    assert_eq!(ring.unread_bytes(), unread - 16);
    drop(turn);
    assert_eq!(drain(ring, 0), (Ok(1), vec![vec![4]]));
}

#[test]
fn all_of_the_buffer_can_be_used_around_its_end() {
    let map = create();
    let ring = map.as_kind::<UserRingbuf>().unwrap();
    for too_large in [4089, 5000, 1 << 30, u32::MAX] {
        assert_eq!(ring.reserve(too_large).err(), Some(Errno::E2BIG));
    }
    for round in 0..40u8 {
        // Records of 808 bytes: five fit, and every other round one lies around the end.
        let samples: Vec<_> = (0..5).map(|i| vec![round ^ i; 800 - usize::from(i)]).collect();
        for sample in &samples {
            ring.push(sample).unwrap();
        }
        assert_eq!(ring.push(&[0; 100]), Err(Errno::ENOSPC));
        assert_eq!(drain(ring, 0), (Ok(5), samples));
    }
    ring.push(&[1; 4088]).unwrap();
    assert_eq!(ring.push(&[]), Err(Errno::ENOSPC), "full to the last byte");
    assert_eq!(drain(ring, 0), (Ok(1), vec![vec![1; 4088]]));
}

#[test]
fn producers_wait_until_a_program_has_made_room() {
    let map = create();
    let ring = map.as_kind::<UserRingbuf>().unwrap();
    ring.push(&[0; 4088]).unwrap();
    let soon = Duration::from_millis(20);
    assert_eq!(ring.reserve_blocking(8, soon).err(), Some(Errno::ENOSPC));
    assert_eq!(ring.reserve_blocking(5000, soon).err(), Some(Errno::E2BIG));
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            let mut reservation = ring.reserve_blocking(2, Duration::from_secs(60)).unwrap();
            reservation.data_mut().copy_from_slice(b"ok");
            reservation.submit();
        });
        std::thread::sleep(soon);
        assert_eq!(drain(ring, 0).0, Ok(1));
        waiting.join().unwrap();
    });
    assert_eq!(drain(ring, NO_WAKEUP), (Ok(1), vec![b"ok".to_vec()]));
    let before = ring.wakeups();
    assert_eq!((drain(ring, 0).0, drain(ring, NO_WAKEUP).0), (Ok(0), Ok(0)));
    assert_eq!(ring.wakeups(), before, "nothing was taken out");
    assert_eq!(drain(ring, FORCE_WAKEUP).0, Ok(0));
    assert_eq!(ring.wakeups(), before + 1);
}

/// Producers on several threads and one consumer: nothing is lost, torn or out of order.
#[test]
fn threads_lose_nothing() {
    const EACH: u64 = 3000;
    let map = create();
    let ring = map.as_kind::<UserRingbuf>().unwrap();
    std::thread::scope(|scope| {
        for producer in 0..3u64 {
            scope.spawn(move || {
                for number in 0..EACH {
                    let forever = Duration::from_secs(600);
                    let bytes = 16 + number as u32 % 50 * 8;
                    let mut sample = ring.reserve_blocking(bytes, forever).unwrap();
                    let word = (producer << 32 | number).to_ne_bytes();
                    sample.data_mut().chunks_mut(8).for_each(|part| part.copy_from_slice(&word));
                    sample.submit();
                }
            });
        }
        let mut next = [0u64; 3];
        while next.iter().sum::<u64>() < 3 * EACH {
            let (_, samples) = drain(ring, 0);
            for sample in samples {
                let word = u64::from_ne_bytes(sample[..8].try_into().unwrap());
                assert!(sample.chunks(8).all(|part| part == word.to_ne_bytes()));
                let (producer, number) = ((word >> 32) as usize, word & u64::from(u32::MAX));
                assert_eq!(number, next[producer]);
                next[producer] += 1;
            }
        }
    });
}
