//! The functions of a program, as far as calls need to know them.

use crate::ir::Function;
use ebpfvm_asm::{Code, Insn, Operand, Pc, Reg};
use ebpfvm_verifier::Facts;

/// Size of a stack frame in bytes (`MAX_BPF_STACK`).
const FRAME_BYTES: u32 = crate::state::FRAME_BYTES as u32;

/// A function: what calls of it cost and reach.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// Its first instruction.
    pub start: Pc,
    /// No path through it without a loop is longer: slots to the next function, or to the end of
    /// the program if a function goes on in another.
    pub slots: u32,
    /// Bytes of its stack frame that it can reach, a multiple of 8.
    pub stack_bytes: u32,
}

impl Extent {
    /// Bytes of its frame that it can reach, a multiple of 8, given what the verifier found out.
    pub fn used_stack(&self, facts: Option<&Facts>) -> u32 {
        let used = facts.and_then(|facts| facts.stack_bytes(self.start));
        used.map_or(self.stack_bytes, |bytes| bytes.next_multiple_of(8).min(FRAME_BYTES))
    }
}

impl From<&Function> for Extent {
    fn from(function: &Function) -> Extent {
        let Function { start, cost: slots, stack_bytes, .. } = *function;
        Extent { start, slots, stack_bytes }
    }
}

/// The functions of a program.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extents {
    /// In the order of their instructions; the first is the entry.
    pub functions: Vec<Extent>,
    /// A function goes on in another, by a jump or over its end (unverified programs). Each then has a
    /// whole frame, and calls pay for the rest of the program.
    pub crosses: bool,
}

impl Extents {
    /// The functions that are called or whose address is taken, and the entry.
    pub fn of(code: &Code) -> Extents {
        let named = |(pc, insn): (Pc, &Insn)| pc.jump(insn.function_offset()?);
        Extents::starting_at(code, code.iter().filter_map(named).collect(), None)
    }

    /// The functions that start at these instructions, and the entry. What the verifier knows of their
    /// stacks need not be found out again.
    pub(crate) fn starting_at(code: &Code, mut starts: Vec<Pc>, facts: Option<&Facts>) -> Extents {
        starts.retain(|pc| pc.index() < code.len());
        starts.push(Pc(0));
        starts.sort_unstable();
        starts.dedup();
        let ends = starts.iter().skip(1).copied().chain([Pc(code.len() as u32)]);
        let extent = |(start, end): (&Pc, Pc)| Extent {
            start: *start,
            slots: end.0 - start.0,
            stack_bytes: 0,
        };
        let functions: Vec<Extent> = starts.iter().zip(ends).map(extent).collect();
        let mut extents = Extents { functions, crosses: false };
        let is_one = extents.functions.len() == 1;
        if is_one && facts.is_some_and(|facts| facts.stack_bytes(Pc(0)).is_some()) {
            return extents;
        }
        let mut reaches_next = false;
        let mut current = 0;
        for (pc, insn) in code.iter() {
            if extents.functions.get(current + 1).is_some_and(|next| next.start <= pc) {
                current += 1;
                extents.crosses |= reaches_next;
            }
            let bytes = &mut extents.functions[current].stack_bytes;
            *bytes = (*bytes).max(stack_bytes(insn));
            if is_one {
                continue;
            }
            let target = insn.jump_offset().and_then(|offset| pc.jump(offset));
            extents.crosses |= target.is_some_and(|target| extents.containing(target) != current);
            reaches_next = !insn.ends_block();
        }
        if extents.crosses {
            for function in &mut extents.functions {
                function.slots = code.len() as u32 - function.start.0;
                function.stack_bytes = FRAME_BYTES;
            }
        }
        extents
    }

    /// The number of the function that has an instruction.
    pub fn containing(&self, pc: Pc) -> usize {
        self.functions.partition_point(|f| f.start <= pc) - 1
    }

    /// The number of the function that starts at an instruction.
    pub fn starting(&self, pc: Pc) -> Option<usize> {
        self.functions.binary_search_by_key(&pc, |f| f.start).ok()
    }
}

/// How many bytes of the frame an instruction can reach: what it accesses through `r10`, or the
/// whole frame if it takes the frame's address.
fn stack_bytes(insn: &Insn) -> u32 {
    let direct = |base: Reg, offset: i16| match base {
        Reg::R10 if (-(FRAME_BYTES as i16)..0).contains(&offset) => (-i32::from(offset)) as u32,
        Reg::R10 => FRAME_BYTES,
        _ => 0,
    };
    let taken = |src: Operand| if src == Operand::Reg(Reg::R10) { FRAME_BYTES } else { 0 };
    let bytes = match *insn {
        Insn::Load { base, offset, .. }
        | Insn::LoadSx { base, offset, .. }
        | Insn::LoadAcquire { base, offset, .. } => direct(base, offset),
        Insn::Store { base, offset, src, .. } => direct(base, offset).max(taken(src)),
        Insn::Atomic { base, offset, src, .. } | Insn::StoreRelease { base, offset, src, .. } => {
            direct(base, offset).max(taken(src.into()))
        }
        Insn::Alu { src, .. } => taken(src),
        Insn::Movsx { src, .. } | Insn::AddrSpaceCast { src, .. } => taken(src.into()),
        _ => 0,
    };
    // Cut to whole words, as zeroing likes it.
    bytes.next_multiple_of(8)
}
