//! Lookups in maps that the verifier knows: carried out by operations of their own.
//!
//! Only the form of a verified program has them. What the program sets up for the call belongs to
//! the operation: the argument registers are not readable after a call, so they need not be written.

use super::op::{Op, OpCode};
use crate::map::{Direct, Elements};

/// What a lookup needs to know, by call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lookup {
    /// Of arrays.
    pub(crate) elements: Elements,
    /// Of hash tables: the address of the map's [`Hash`](crate::map::Hash), which lives as long as the
    /// instance holds the map.
    pub(crate) hash: usize,
    /// Size of a key.
    pub(crate) key_bytes: u32,
    /// Where the key is, from the operation's `src`.
    pub(crate) key_offset: i32,
}

/// The plain form, the one that jumps if nothing was found, the one that jumps if something was.
const FORMS: [[OpCode; 3]; 4] = [
    [OpCode::LookupArray, OpCode::LookupArrayJeq, OpCode::LookupArrayJne],
    [OpCode::LookupPercpuArray, OpCode::LookupPercpuArrayJeq, OpCode::LookupPercpuArrayJne],
    [OpCode::LookupHash, OpCode::LookupHashJeq, OpCode::LookupHashJne],
    [OpCode::LookupPercpuHash, OpCode::LookupPercpuHashJeq, OpCode::LookupPercpuHashJne],
];

/// Whether a lookup has a target.
pub(crate) fn jumps(code: OpCode) -> bool {
    FORMS.iter().any(|[_, jeq, jne]| code == *jeq || code == *jne)
}

/// The lookups of a program, while it is lowered.
#[derive(Default)]
pub(crate) struct Lookups(Vec<Lookup>);

impl Lookups {
    /// The operation for a call with the key's address in `r2`. Until [`finish`](Lookups::finish),
    /// the low half of `imm` is a number and the high half the key's offset.
    pub(crate) fn add(&mut self, direct: Direct<'_>, key_bytes: u32) -> Op {
        let (form, elements, hash) = match direct {
            Direct::Array { elements, percpu } => (usize::from(percpu), elements, 0),
            Direct::Hash { hash, percpu } => {
                let address = std::ptr::from_ref(hash).expose_provenance();
                (2 + usize::from(percpu), Elements::default(), address)
            }
        };
        self.0.push(Lookup { elements, hash, key_bytes, key_offset: 0 });
        Op { imm: self.0.len() as i64 - 1, src: 2, ..Op::blank(FORMS[form][0]) }
    }

    /// Gives the operations the addresses of what they need, which must live as long as they do.
    pub(crate) fn finish(mut self, ops: &mut [Op]) -> Box<[Lookup]> {
        let is_lookup = |op: &&mut Op| FORMS.as_flattened().contains(&op.code);
        for op in ops.iter_mut().filter(is_lookup) {
            self.0[op.imm as u32 as usize].key_offset = (op.imm >> 32) as i32;
        }
        let lookups: Box<[Lookup]> = self.0.into();
        for op in ops.iter_mut().filter(is_lookup) {
            let lookup = &lookups[op.imm as u32 as usize];
            op.imm = std::ptr::from_ref(lookup).expose_provenance() as i64;
        }
        lookups
    }
}

/// What sets up an argument before a lookup belongs to it.
pub(super) fn setup(first: Op, second: Op) -> Option<Op> {
    if !FORMS.as_flattened().contains(&second.code) {
        return None;
    }
    match (first.code, first.dst) {
        // The map is known. Where its register has the key's address, the key is not there yet.
        (OpCode::LoadImm | OpCode::Mov64X, 1) if second.src != 1 => Some(second),
        (OpCode::Mov64X, dst) if dst == second.src && dst == 2 => {
            Some(Op { src: first.src, ..second })
        }
        (OpCode::Add64K, dst) if dst == second.src && dst == 2 => {
            let offset = i32::try_from((second.imm >> 32).checked_add(first.imm)?).ok()?;
            let imm = i64::from(offset) << 32 | i64::from(second.imm as u32);
            Some(Op { src: first.lhs, imm, ..second })
        }
        _ => None,
    }
}

/// A lookup and the test of what it gives are one operation, if they go forward.
pub(super) fn null_check(first: Op, second: Op) -> Option<Op> {
    let [_, jeq, jne] = FORMS.iter().find(|[plain, ..]| *plain == first.code)?;
    let code = match second.code {
        OpCode::Jeq64K => *jeq,
        OpCode::Jne64K => *jne,
        _ => return None,
    };
    let tests_result = second.dst == 0 && second.compare() == 0 && second.cost() == 0;
    tests_result.then_some(Op { code, off: second.off, ..first })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lookup() -> Op {
        Op { imm: 7, src: 2, ..Op::blank(OpCode::LookupHash) }
    }

    #[test]
    fn the_arguments_belong_to_the_lookup() {
        let map = Op { dst: 1, imm: 99, ..Op::blank(OpCode::LoadImm) };
        let key = Op { dst: 2, lhs: 10, imm: -8, ..Op::blank(OpCode::Add64K) };
        let with_map = setup(map, lookup()).expect("the map is known");
        let both = setup(key, with_map).expect("the key is in the frame");
        assert_eq!((both.src, both.imm as u32, both.imm >> 32), (10, 7, -8));
        // What else is written stays.
        assert!(setup(Op { dst: 3, ..map }, lookup()).is_none());
        assert!(setup(key, both).is_none());
    }

    #[test]
    fn a_key_whose_address_was_in_the_maps_register_is_found() {
        // r1 = r6; r2 = r1; r1 = map
        let copy = |dst, src| Op { dst, lhs: dst, src, ..Op::blank(OpCode::Mov64X) };
        let moved = setup(copy(2, 1), lookup()).expect("a copy");
        assert_eq!(moved.src, 1);
        assert!(setup(copy(1, 6), moved).is_none(), "r1 is the key's address here");
    }

    #[test]
    fn only_a_test_for_null_that_goes_forward_is_joined() {
        let test = Op { off: 5, imm: Op::jump_imm(0, 0), ..Op::blank(OpCode::Jeq64K) };
        let joined = null_check(lookup(), test).expect("a null check");
        assert_eq!((joined.code, joined.off, joined.imm), (OpCode::LookupHashJeq, 5, 7));
        assert!(jumps(joined.code) && !jumps(lookup().code));
        assert!(null_check(lookup(), Op { imm: Op::jump_imm(1, 0), ..test }).is_none());
        assert!(null_check(lookup(), Op { imm: Op::jump_imm(0, 3), ..test }).is_none());
        assert!(null_check(lookup(), Op { dst: 1, ..test }).is_none());
        assert!(null_check(joined, test).is_none());
    }
}
