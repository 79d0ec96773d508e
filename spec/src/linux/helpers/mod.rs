//! Helper prototypes (`struct bpf_func_proto` instances and the `*_func_proto` selections of
//! `kernel/bpf/helpers.c`, `net/core/filter.c`, `kernel/trace/bpf_trace.c` and others, Linux 6.18).
//!
//! A table for each family. `conformance/tests/helpers/allowed.rs` and
//! `conformance/tests/prototypes` ask the kernel whether the rows are right.

mod buffers;
mod map_kinds;
mod maps;
mod packet;
mod sets;
mod sockets;
mod system;
mod terms;
mod tracing;
mod xdp;

pub use map_kinds::ITERABLE;

use super::helper_names::HELPER_NAMES;
use crate::helper::{Arg, AttachRule, Effect, HelperProto, Ret};
use crate::program::ProgTypeSet;
use std::borrow::Cow;

/// A prototype as the tables write it.
#[derive(Clone, Copy)]
struct Row {
    id: u32,
    name: &'static str,
    args: [Arg; 5],
    ret: Ret,
    effects: Effect,
    allowed: ProgTypeSet,
    attach: &'static [AttachRule],
}

const fn row(
    id: u32,
    name: &'static str,
    args: &[Arg],
    ret: Ret,
    effects: Effect,
    allowed: ProgTypeSet,
) -> Row {
    let mut all = [Arg::None; 5];
    let mut i = 0;
    while i < args.len() {
        all[i] = args[i];
        i += 1;
    }
    Row { id, name, args: all, ret, effects, allowed, attach: &[] }
}

impl Row {
    /// For some types only with certain attach types.
    const fn only(self, attach: &'static [AttachRule]) -> Row {
        Row { attach, ..self }
    }

    const fn proto(self) -> HelperProto {
        HelperProto {
            id: self.id,
            name: Cow::Borrowed(self.name),
            since: HELPER_NAMES[self.id as usize - 1].1,
            args: self.args,
            ret: self.ret,
            effects: self.effects,
            allowed: self.allowed,
            attach: self.attach,
            maps: map_kinds::taken_by(self.id),
        }
    }
}

const FAMILIES: &[&[Row]] = &[
    maps::ROWS,
    system::ROWS,
    buffers::ROWS,
    tracing::ROWS,
    packet::ROWS,
    xdp::ROWS,
    sockets::ROWS,
];

const fn count() -> usize {
    let mut rows = 0;
    let mut family = 0;
    while family < FAMILIES.len() {
        rows += FAMILIES[family].len();
        family += 1;
    }
    rows
}

/// The rows of all families, sorted by number; each family is sorted.
const fn merge() -> [HelperProto; count()] {
    const ROW: HelperProto = row(1, "", &[], Ret::Void, Effect::NONE, ProgTypeSet::NONE).proto();
    let mut all = [ROW; count()];
    let mut taken = [0; FAMILIES.len()];
    let mut at = 0;
    while at < all.len() {
        let mut best: Option<usize> = None;
        let mut family = 0;
        while family < FAMILIES.len() {
            if taken[family] < FAMILIES[family].len() {
                let id = FAMILIES[family][taken[family]].id;
                match best {
                    Some(other) if FAMILIES[other][taken[other]].id <= id => {}
                    _ => best = Some(family),
                }
            }
            family += 1;
        }
        if let Some(family) = best {
            let proto = FAMILIES[family][taken[family]].proto();
            // What was there borrows its name: nothing is lost where it is not dropped, which
            // constants cannot do.
            std::mem::forget(std::mem::replace(&mut all[at], proto));
            taken[family] += 1;
        }
        at += 1;
    }
    all
}

static TABLE: [HelperProto; count()] = merge();

/// The prototypes, by number. A helper that takes other arguments in other program types has
/// several, one after another.
pub static HELPERS: &[HelperProto] = &TABLE;

/// The prototypes as values of a platform.
pub fn helpers() -> impl Iterator<Item = HelperProto> {
    HELPERS.iter().cloned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attach::AttachType;
    use crate::program::ProgType;

    #[test]
    fn prototypes_have_the_names_of_their_numbers() {
        assert!(HELPERS.is_sorted_by_key(|proto| proto.id));
        for proto in HELPERS {
            assert_eq!(proto.name, HELPER_NAMES[proto.id as usize - 1].0);
        }
    }

    #[test]
    fn every_helper_has_a_prototype_and_for_each_program_type_one() {
        for (i, (name, _)) in HELPER_NAMES.iter().enumerate() {
            let protos: Vec<_> = HELPERS.iter().filter(|p| p.id as usize == i + 1).collect();
            assert!(!protos.is_empty(), "{name}");
            for prog_type in ProgType::ALL {
                for attach in (0..64).map(AttachType) {
                    let count = protos.iter().filter(|p| p.allows(*prog_type, attach)).count();
                    assert!(count <= 1, "{name} has {count} for {}", prog_type.name());
                }
            }
        }
    }

    #[test]
    fn sizes_follow_memory() {
        for proto in HELPERS {
            for (i, arg) in proto.args.iter().enumerate() {
                let before = i.checked_sub(1).map(|i| proto.args[i]);
                let follows =
                    matches!(before, Some(Arg::Mem { size: crate::helper::MemSize::NextArg, .. }));
                assert_eq!(matches!(arg, Arg::Size { .. }), follows, "{} {}", proto.name, i + 1);
                assert!(before != Some(Arg::None) || *arg == Arg::None, "{}", proto.name);
            }
        }
    }
}
