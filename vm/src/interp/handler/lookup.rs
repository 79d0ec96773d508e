//! Lookups in known maps. Only forms without checks have them.

use super::{Exit, Machine, stop};
use crate::interp::lookup::Lookup;
use crate::interp::op::Op;
use crate::map::{Cpu, Hash};
use crate::run::Run;
use crate::trap::TrapKind;
use std::ptr::NonNull;

/// The plain handler of a lookup, the one that jumps if nothing was found, and the one that jumps if
/// something was.
macro_rules! lookup {
    ($plain:ident $jeq:ident $jne:ident, $find:ident) => {
        lookup!($plain, $find, |_found| false);
        lookup!($jeq, $find, |found| found == 0);
        lookup!($jne, $find, |found| found != 0);
    };
    ($name:ident, $find:ident, |$found:ident| $jumps:expr) => {
        handler!($name, |op, m| {
            if CHECKED {
                return stop(m.run, m.ip, TrapKind::FellOff);
            }
            let $found = $find(op, &mut m);
            *m.reg(0) = $found;
            if $jumps {
                let target = m.ip.offset(op.off as isize + 1);
                return m.go_on(target);
            }
        });
    };
}

lookup!(LookupArray LookupArrayJeq LookupArrayJne, in_array);
lookup!(LookupPercpuArray LookupPercpuArrayJeq LookupPercpuArrayJne, in_percpu_array);
lookup!(LookupHash LookupHashJeq LookupHashJne, in_hash);
lookup!(LookupPercpuHash LookupPercpuHashJeq LookupPercpuHashJne, in_percpu_hash);

/// What the lookup needs, and the address of its key.
#[inline(always)]
unsafe fn operands(op: &Op, m: &mut Machine) -> (&'static Lookup, u64) {
    // SAFETY: lowering has put the address there; the form of the program has both.
    let lookup = unsafe { &*(op.imm as *const Lookup) };
    // SAFETY: the contract of `Handler`.
    (lookup, unsafe { *m.reg(op.src) }.wrapping_add(lookup.key_offset as i64 as u64))
}

unsafe fn cpu(m: &Machine) -> Cpu {
    // SAFETY: the instance is alive, see `exec`.
    unsafe { (*(*m.run).instance).host().cpu() }
}

#[inline(always)]
unsafe fn in_array(op: &Op, m: &mut Machine) -> u64 {
    // SAFETY: the verifier has seen that the key's memory is readable.
    unsafe {
        let (lookup, key) = operands(op, m);
        lookup.elements.find((key as *const u32).read_unaligned())
    }
}

#[inline(always)]
unsafe fn in_percpu_array(op: &Op, m: &mut Machine) -> u64 {
    // SAFETY: as in `in_array`.
    unsafe {
        let (lookup, key) = operands(op, m);
        lookup.elements.find_on((key as *const u32).read_unaligned(), cpu(m))
    }
}

#[inline(always)]
unsafe fn in_hash(op: &Op, m: &mut Machine) -> u64 {
    // SAFETY: the contract of `Handler`; the table is the map's, see `Lookup`.
    unsafe {
        let (lookup, key) = operands(op, m);
        let hash = &*(lookup.hash as *const Hash);
        let found = match key_word(lookup, key) {
            Some(word) => hash.find_word(word, || Cpu(0)),
            None => find_long(hash, lookup, key, Cpu(0)),
        };
        found.map_or(0, |value| value.as_ptr() as u64)
    }
}

#[inline(always)]
unsafe fn in_percpu_hash(op: &Op, m: &mut Machine) -> u64 {
    // SAFETY: as in `in_hash`.
    unsafe {
        let (lookup, key) = operands(op, m);
        let hash = &*(lookup.hash as *const Hash);
        let found = match key_word(lookup, key) {
            Some(word) => hash.find_word(word, || cpu(m)),
            None => find_long(hash, lookup, key, cpu(m)),
        };
        found.map_or(0, |value| value.as_ptr() as u64)
    }
}

/// The key, if it is one of the usual sizes.
#[inline(always)]
unsafe fn key_word(lookup: &Lookup, key: u64) -> Option<u64> {
    // SAFETY: the verifier has seen that the key's memory is readable.
    unsafe {
        match lookup.key_bytes {
            8 => Some((key as *const u64).read_unaligned()),
            4 => Some((key as *const u32).read_unaligned().into()),
            _ => None,
        }
    }
}

/// Copies the key first: it may lie where others write.
#[inline(never)]
unsafe fn find_long(hash: &Hash, lookup: &Lookup, key: u64, cpu: Cpu) -> Option<NonNull<u8>> {
    let mut copy = [0; Hash::MAX_DIRECT_KEY_BYTES];
    let copy = &mut copy[..lookup.key_bytes as usize];
    // SAFETY: as in `key_word`.
    unsafe { crate::memory::copy_from(key, copy) };
    hash.find_key(copy, cpu)
}
