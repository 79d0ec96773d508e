//! The stack that chains of calls need (`check_max_stack_depth`).

use super::{Structure, ways};
use crate::explore::SubprogMemory;
use crate::reject::{Reason, StructureReason};
use crate::state::{MAX_FRAMES, MAX_STACK_BYTES};
use ebpfvm_asm::Pc;
use ebpfvm_spec::program::{ProgType, Program};

/// What a function's stack is rounded up to, as Linux's JIT for x86-64 does.
const STACK_ALIGNMENT: u32 = 16;
/// Below which a stack is not worth one of its own (`BPF_PRIV_STACK_MIN_SIZE`).
const MIN_PRIVATE_BYTES: u32 = 64;
/// The most that callers of a function with tail calls may use: 33 such chains fit the kernel's
/// stack.
const MAX_BYTES_BEFORE_TAIL_CALLS: u32 = 256;
/// Program types whose functions get stacks of their own (`bpf_enable_priv_stack`).
const PRIVATE_STACKS: [ProgType; 4] =
    [ProgType::Kprobe, ProgType::Tracepoint, ProgType::PerfEvent, ProgType::RawTracepoint];

/// Whether a function's stack is its own or part of the caller's.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Undecided,
    Shared,
    Private,
}

/// Checks that no chain of calls needs more stack than there is.
///
/// # Errors
/// The chain that does.
pub(crate) fn check(
    program: &Program,
    structure: &Structure,
    memory: &[SubprogMemory],
) -> Result<(), Reason> {
    let has_tail_call = structure.subprogs.iter().any(|s| s.has_tail_call);
    let may_be_private = !has_tail_call && PRIVATE_STACKS.contains(&program.prog_type);
    let mut places = vec![Place::Undecided; structure.subprogs.len()];
    for (index, subprog) in memory.iter().enumerate().rev() {
        if index == 0 || subprog.is_later_callback {
            let walk = Walk { program, structure, memory, private: index == 0 && may_be_private };
            walk.from(index, &mut places)?;
        }
    }
    Ok(())
}

struct Walk<'a> {
    program: &'a Program,
    structure: &'a Structure,
    memory: &'a [SubprogMemory],
    private: bool,
}

/// A function on the chain: where to look on, and what its stack adds.
struct Link {
    index: usize,
    next: u32,
    shared_bytes: u32,
}

impl Walk<'_> {
    /// Follows all chains of calls from a function.
    fn from(&self, root: usize, places: &mut [Place]) -> Result<(), Reason> {
        let mut chain: Vec<Link> = Vec::new();
        let mut depth = 0;
        let mut entered = Some(root);
        loop {
            if let Some(index) = entered.take() {
                let link = self.enter(index, depth, chain.len(), places)?;
                depth += link.shared_bytes;
                chain.push(link);
            }
            let frames = chain.len();
            let Some(link) = chain.last_mut() else { return Ok(()) };
            match self.next_callee(link) {
                Some(callee) => {
                    if !self.private {
                        places[callee] = Place::Shared;
                    }
                    if frames >= MAX_FRAMES {
                        return Err(StructureReason::TooManyFrames { frames }.into());
                    }
                    entered = Some(callee);
                }
                None => {
                    depth -= link.shared_bytes;
                    chain.pop();
                }
            }
        }
    }

    fn enter(
        &self,
        index: usize,
        depth: u32,
        frames: usize,
        places: &mut [Place],
    ) -> Result<Link, Reason> {
        let subprog = &self.structure.subprogs[index];
        if index != 0 && subprog.has_tail_call && depth >= MAX_BYTES_BEFORE_TAIL_CALLS {
            return Err(StructureReason::TailCallTooDeep { depth }.into());
        }
        let bytes = self.memory[index].stack_bytes.next_multiple_of(STACK_ALIGNMENT);
        if self.private && places[index] == Place::Undecided && bytes >= MIN_PRIVATE_BYTES {
            places[index] = Place::Private;
        }
        let shared_bytes = if places[index] == Place::Private {
            if bytes > MAX_STACK_BYTES {
                return Err(StructureReason::StackTooLarge { index, bytes }.into());
            }
            0
        } else {
            bytes
        };
        if depth + shared_bytes > MAX_STACK_BYTES {
            let depth = depth + shared_bytes;
            return Err(StructureReason::StacksTooLarge { calls: frames + 1, depth }.into());
        }
        Ok(Link { index, next: subprog.start.0, shared_bytes })
    }

    /// The next function that the last one of the chain calls, or whose address it takes.
    fn next_callee(&self, link: &mut Link) -> Option<usize> {
        let end = self.structure.subprogs[link.index].end.0;
        while link.next < end {
            let pc = Pc(link.next);
            link.next += 1;
            let Some(insn) = self.program.code.get(pc) else { continue };
            let Some(offset) = insn.function_offset() else { continue };
            let start = ways::slot(&self.program.code, ways::target(pc, offset));
            let Some(callee) = start.and_then(|pc| self.structure.subprog_at(pc)) else { continue };
            let callee = callee.0 as usize;
            // A function that is called back later has a stack of its own.
            if self.memory[callee].is_later_callback && !ways::is_local_call(insn) {
                continue;
            }
            return Some(callee);
        }
        None
    }
}
