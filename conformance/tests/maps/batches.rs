//! Many entries with one call.

use crate::cases::{Case, Numbers, Order, value};
use crate::judge::{ours, theirs};
use crate::operations::contents;
use ebpfvm::map::{Entry, LookupFlags, Map, MapError, Take, UpdateFlags};
use ebpfvm_kernel::map::Take as KernelTake;
use ebpfvm_kernel::{Map as KernelMap, MapError as KernelError};
use ebpfvm_spec::Errno;

/// Flags of a batch: mostly those that it may have.
fn flags(numbers: &mut Numbers) -> u64 {
    [0, 0, 0, 0, 0, 4, 4, 1, 2, 8, 16, 1 << 40][numbers.below(12)]
}

/// The outcome of a batch, and how far it came where it began.
fn same_change(
    got: Result<(), MapError>,
    expected: Result<(), KernelError>,
    asked: usize,
    what: &str,
) {
    match (&got, &expected) {
        (Ok(()), Ok(())) => {}
        (
            Err(MapError::Batch { errno, done, .. }),
            Err(KernelError::Batch { errno: their_errno, done: their_done }),
        ) => assert_eq!((errno, done), (their_errno, their_done), "{what}"),
        // A batch that does not begin leaves the count as it was.
        (Err(ours), Err(KernelError::Batch { errno, done })) => {
            assert_eq!((ours.errno(), asked), (*errno, *done), "{what}");
        }
        _ => panic!("{what}: {got:?}, kernel {expected:?}"),
    }
}

pub(crate) fn update(case: &Case, our: &Map, their: &KernelMap, numbers: &mut Numbers, what: &str) {
    let flags = flags(numbers);
    let entries: Vec<Entry> = (0..numbers.below(6))
        .map(|_| {
            let key = case.keys[numbers.below(case.keys.len())].clone();
            (key, value(&case.def, our.host_value_bytes(), numbers))
        })
        .collect();
    let got = our.update_batch(&entries, UpdateFlags(flags));
    let expected = their.update_batch(&entries, flags);
    same_change(got, expected, entries.len(), &format!("{what}: update {} {flags}", entries.len()));
}

pub(crate) fn delete(case: &Case, our: &Map, their: &KernelMap, numbers: &mut Numbers, what: &str) {
    let flags = flags(numbers);
    let keys: Vec<Vec<u8>> =
        (0..numbers.below(4)).map(|_| case.keys[numbers.below(case.keys.len())].clone()).collect();
    let got = our.delete_batch(&keys, UpdateFlags(flags));
    let expected = their.delete_batch(&keys, flags);
    same_change(got, expected, keys.len(), &format!("{what}: delete {keys:x?} {flags}"));
}

/// Batches until the end: in maps with an order of keys one is as the other, in hash tables all
/// together are the same. There a batch has room for everything, for which entries share a bucket is
/// the hash function's choice.
pub(crate) fn lookup(case: &Case, our: &Map, their: &KernelMap, numbers: &mut Numbers, what: &str) {
    let flags = flags(numbers);
    let max = match case.order {
        Order::Defined => numbers.below(5) as u32,
        Order::Free => [0, case.def.max_entries, case.def.max_entries + 3][numbers.below(3)],
    };
    // Removing everything seldom, lest the map is always empty.
    let removes = numbers.below(8) == 0;
    let (take, their_take) = match removes {
        true => (Take::Remove, KernelTake::Remove),
        false => (Take::Copy, KernelTake::Copy),
    };
    let what = format!("{what}: batches of {max}, flags {flags}, {take:?}");
    let (mut cursor, mut their_cursor) = (None, None);
    loop {
        let got = ours(our.lookup_batch(cursor.as_ref(), max, take, LookupFlags(flags)));
        let expected = theirs(their.lookup_batch(their_cursor.as_ref(), max, their_take, flags));
        let (got, expected) = match (got, expected) {
            (Ok(got), Ok(expected)) => (got, expected),
            (got, expected) => {
                let errno = |e: Result<(), Errno>| e.err();
                let (got, expected) = (errno(got.map(drop)), errno(expected.map(drop)));
                assert_eq!(got, expected, "{what}");
                return;
            }
        };
        assert_eq!(contents(case, got.entries), contents(case, expected.entries), "{what}");
        assert_eq!(got.next.is_some(), expected.next.is_some(), "{what}");
        if max == 0 || got.next.is_none() {
            return;
        }
        (cursor, their_cursor) = (got.next, expected.next);
    }
}
