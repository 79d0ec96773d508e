//! What was found out about accepted code, for engines.
//!
//! Only what holds on every path is here, those that were not followed because a state was seen
//! before among them. Pruning compares pointers in full: class, map, and the range of the offset;
//! numbers only as far as they matter for a verdict. So there are no facts about numbers but the ones
//! that a jump was decided by.

use crate::state::Value;
use ebpfvm_asm::Pc;
use std::ops::RangeInclusive;

/// The class of memory that a load or store touches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// The context: the access is rewritten to the host's layout.
    Context,
    /// A stack of the program.
    Stack,
    /// A map value.
    MapValue,
    /// A map itself: fields of the kernel's struct.
    Map,
    /// A packet or its metadata.
    Packet,
    /// What a socket pointer shows.
    Socket,
    /// What a flow dissector fills in.
    FlowKeys,
    /// Other memory of known size: of a helper or of the host.
    Memory,
    /// A buffer whose size is known only to who attaches the program.
    Buffer,
    /// Differs between paths, all of them memory that is accessed as it is.
    Plain,
    /// Differs between paths.
    Several,
}

impl Target {
    /// Whether the access goes to memory as it is, at the address in the register.
    pub fn is_plain(self) -> bool {
        match self {
            Target::Stack
            | Target::MapValue
            | Target::Packet
            | Target::Socket
            | Target::FlowKeys
            | Target::Memory
            | Target::Plain => true,
            Target::Context | Target::Map | Target::Buffer | Target::Several => false,
        }
    }

    /// The class of what is of either class.
    fn join(self, other: Target) -> Target {
        match self == other {
            true => self,
            false if self.is_plain() && other.is_plain() => Target::Plain,
            false => Target::Several,
        }
    }
}

/// Where a load or store goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// The class of memory.
    pub target: Target,
    /// The first byte that is touched, from the beginning of the object that the pointer was made
    /// for: of the stack from the frame pointer, of the packet from its start.
    pub offset: RangeInclusive<i64>,
}

/// Which ways of a conditional jump are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Ways {
    /// On some path the condition holds.
    pub taken: bool,
    /// On some path it does not.
    pub not_taken: bool,
}

/// What is known of the map at a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
enum MapAt {
    #[default]
    None,
    One(u32),
    Several,
}

/// What was found out about one slot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct InsnFacts {
    access: Option<Access>,
    ways: Ways,
    map: MapAt,
}

/// What was found out, by instruction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Whether a path comes to a slot. Apart from the rest: engines ask this of every instruction.
    reached: Vec<bool>,
    insns: Vec<InsnFacts>,
    context_bytes: u32,
    /// Functions by their first instruction, with the bytes of stack that they use.
    stacks: Vec<(Pc, u32)>,
}

impl Facts {
    /// Nothing about a program of so many slots.
    pub(crate) fn new(slots: usize) -> Facts {
        let (reached, insns) = (vec![false; slots], vec![InsnFacts::default(); slots]);
        Facts { reached, insns, ..Facts::default() }
    }

    /// Writes down that so many first bytes of the context are given to a function as memory.
    pub(crate) fn give_context(&mut self, bytes: u32) {
        self.context_bytes = self.context_bytes.max(bytes);
    }

    /// How many first bytes of the context are given to functions as memory: they are accessed as
    /// they are, and there must be as many (`max_ctx_offset` of `struct bpf_prog_aux`).
    pub fn context_bytes_given(&self) -> u32 {
        self.context_bytes
    }

    /// Writes down how much stack functions use, in order of their first instructions.
    pub(crate) fn stacks(&mut self, stacks: Vec<(Pc, u32)>) {
        self.stacks = stacks;
    }

    /// How many bytes of its stack the function that starts at `start` uses: no access, of its own or of
    /// what it calls, reaches farther from the frame pointer. None if there is no such function.
    pub fn stack_bytes(&self, start: Pc) -> Option<u32> {
        let found = self.stacks.binary_search_by_key(&start, |(start, _)| *start);
        found.ok().map(|index| self.stacks[index].1)
    }

    /// Writes down that a path comes to the instruction at `pc`.
    pub(crate) fn reach(&mut self, pc: Pc) {
        self.reached[pc.index()] = true;
    }

    /// Whether any path comes to the instruction at `pc`; what no path comes to is dead code.
    pub fn is_reached(&self, pc: Pc) -> bool {
        self.reached.get(pc.index()).is_some_and(|reached| *reached)
    }

    /// Writes down that the access at `pc`, `offset` bytes from `pointer`, touches `target` on one
    /// path.
    pub(crate) fn access(&mut self, pc: Pc, target: Target, pointer: &Value, offset: i64) {
        let fixed = offset.saturating_add(pointer.offset.into());
        let min = pointer.scalar.full.smin.saturating_add(fixed);
        let max = pointer.scalar.full.smax.saturating_add(fixed);
        let fact = &mut self.insns[pc.index()].access;
        *fact = Some(match fact.take() {
            None => Access { target, offset: min..=max },
            Some(other) => Access {
                target: target.join(other.target),
                offset: min.min(*other.offset.start())..=max.max(*other.offset.end()),
            },
        });
    }

    /// Where the load or store at `pc` goes; none if it is dead or no access.
    pub fn place(&self, pc: Pc) -> Option<&Access> {
        self.insns.get(pc.index())?.access.as_ref()
    }

    /// What the load or store at `pc` touches; none if it is dead or no access.
    pub fn target(&self, pc: Pc) -> Option<Target> {
        self.place(pc).map(|access| access.target)
    }

    /// Writes down that the call at `pc` takes this map of the program on one path; none if it is one
    /// that was found in another map.
    pub(crate) fn call(&mut self, pc: Pc, map: Option<u32>) {
        let fact = &mut self.insns[pc.index()].map;
        *fact = match (*fact, map) {
            (MapAt::None, Some(map)) => MapAt::One(map),
            (MapAt::One(other), Some(map)) if other == map => MapAt::One(map),
            _ => MapAt::Several,
        };
    }

    /// The index of the map that the call at `pc` takes, if it is the same on all paths.
    pub fn map(&self, pc: Pc) -> Option<u32> {
        match self.insns.get(pc.index())?.map {
            MapAt::One(map) => Some(map),
            MapAt::None | MapAt::Several => None,
        }
    }

    /// Writes down which way the jump at `pc` goes on one path.
    pub(crate) fn jump(&mut self, pc: Pc, taken: bool) {
        let ways = &mut self.insns[pc.index()].ways;
        ways.taken |= taken;
        ways.not_taken |= !taken;
    }

    /// Which ways of the conditional jump at `pc` are taken; neither if it is dead or no such jump.
    pub fn ways(&self, pc: Pc) -> Ways {
        self.insns.get(pc.index()).map(|insn| insn.ways).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Options, verify};
    use ebpfvm_asm::text::{Dialect, assemble};
    use ebpfvm_spec::map::{MapDef, MapType};
    use ebpfvm_spec::platform::Platform;
    use ebpfvm_spec::program::{ProgType, Program};

    fn facts(text: &str, maps: Vec<MapDef>) -> Facts {
        let code = assemble(text, Dialect::PseudoC).expect("the test's text is a program");
        let mut program = Program::from_code("test", ProgType::SocketFilter, code);
        program.maps = maps.into();
        let judgement = verify(program, &Platform::linux(), &Options::default());
        judgement.verdict.expect("an accepted program").facts().clone()
    }

    #[test]
    fn accesses_have_a_class_and_a_range() {
        let text = "r2 = *(u32 *)(r1 + 4)\nr2 &= 7\nr3 = r10\nr3 += r2\n\
                    *(u64 *)(r10 - 16) = 0\n*(u64 *)(r10 - 8) = 0\n*(u8 *)(r3 - 16) = 1\n\
                    r0 = 0\nexit";
        let facts = facts(text, Vec::new());
        assert_eq!(facts.target(Pc(0)), Some(Target::Context));
        assert_eq!(facts.place(Pc(0)).map(|a| a.offset.clone()), Some(4..=4));
        assert_eq!(facts.place(Pc(4)).map(|a| a.offset.clone()), Some(-16..=-16));
        let stored = facts.place(Pc(6)).expect("a store");
        assert_eq!((stored.target, stored.offset.clone()), (Target::Stack, -16..=-9));
        assert_eq!(facts.place(Pc(7)), None);
    }

    #[test]
    fn an_offset_counts_what_was_added_to_the_pointer_once() {
        let text = "r3 = r10\nr3 += -8\n*(u64 *)(r3 - 16) = 0\nr0 = 0\nexit";
        let stored = facts(text, Vec::new()).place(Pc(2)).expect("a store").offset.clone();
        assert_eq!(stored, -24..=-24);
    }

    #[test]
    fn a_decided_jump_has_one_way_and_what_is_behind_the_other_is_dead() {
        let text = "r2 = 5\nif r2 == 5 goto out\nr0 = 1\nexit\nout: r0 = 0\nexit";
        let facts = facts(text, Vec::new());
        assert_eq!(facts.ways(Pc(1)), Ways { taken: true, not_taken: false });
        assert!(!facts.is_reached(Pc(2)) && facts.is_reached(Pc(4)));
        let text = "r2 = *(u32 *)(r1 + 4)\nif r2 == 5 goto out\nr0 = 1\nexit\nout: r0 = 0\nexit";
        let facts = self::facts(text, Vec::new());
        assert_eq!(facts.ways(Pc(1)), Ways { taken: true, not_taken: true });
    }

    #[test]
    fn a_function_uses_as_much_stack_as_is_reached_from_it() {
        // The key of a call reaches lower than what the function itself does.
        let text = "r1 = map[idx:0]\n*(u32 *)(r10 - 4) = 0\nr2 = r10\nr2 += -4\ncall 1\n\
                    r1 = r10\nr1 += -64\ncall f\nr0 = 0\nexit\n\
                    f: *(u64 *)(r1 + 0) = 1\n*(u64 *)(r10 - 16) = 1\nr0 = 0\nexit";
        let facts = facts(text, vec![MapDef::new("counters", MapType::Hash, 4, 8, 16)]);
        assert_eq!(facts.stack_bytes(Pc(0)), Some(64));
        assert_eq!(facts.stack_bytes(Pc(11)), Some(16));
        assert_eq!(facts.stack_bytes(Pc(1)), None);
    }

    #[test]
    fn a_call_knows_its_map() {
        let text =
            "r1 = map[idx:0]\n*(u32 *)(r10 - 4) = 0\nr2 = r10\nr2 += -4\ncall 1\nr0 = 0\nexit";
        let map = MapDef::new("counters", MapType::Hash, 4, 8, 16);
        let facts = facts(text, vec![map]);
        assert_eq!(facts.map(Pc(5)), Some(0));
        assert_eq!(facts.map(Pc(4)), None);
    }
}
