//! Which stack slots are read later (`liveness.c`).
//!
//! Accesses to stacks are known only once a path is followed: through which pointer, to which frame.
//! For each chain of calls, each instruction and each frame of the chain it is noted which slots the
//! instruction may read on some path and which it overwrites whole on every path so far. From that the
//! live slots follow as for registers, over the ways of the function. What a function does to the
//! frames below it is carried to the call.
//!
//! The invariant: once all paths from a state were followed, and [`StackLiveness::settle`] was called at
//! the end of each, a slot that is not live at the state is read on none of them before it is
//! overwritten.

use super::backtrack::SlotMask;
use crate::cfg;
use crate::log::Log;
use crate::state::{MAX_FRAMES, State, SubprogId};
use crate::subject::Subject;
use ebpfvm_asm::Pc;
use std::collections::HashMap;
use std::fmt;

/// What of a frame of a finished state counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LiveFrame {
    /// Registers, a bit each.
    pub(crate) regs: u16,
    /// Slots, a bit each.
    pub(crate) slots: u64,
}

impl Default for LiveFrame {
    /// Everything.
    fn default() -> LiveFrame {
        LiveFrame { regs: u16::MAX, slots: u64::MAX }
    }
}

/// What is known of one instruction and the stack of one frame, a bit a slot
/// (`struct per_frame_masks`).
#[derive(Clone, Copy, Debug, Default)]
struct Masks {
    /// May be read by the instruction.
    read: u64,
    /// Overwritten by the instruction.
    written: u64,
    /// Overwritten from the instruction on, on all ways.
    written_from: u64,
    /// Read from the instruction on, on some way, before it is overwritten.
    live: u64,
}

/// A function in a chain of calls (`struct func_instance`).
#[derive(Debug)]
struct Instance {
    /// The instance that calls it, and the call.
    outer: Option<(usize, Pc)>,
    subprog: SubprogId,
    start: Pc,
    /// Slots of the function.
    len: usize,
    depth: usize,
    /// By frame of the chain, one an instruction of the function; empty if the frame is not
    /// accessed.
    masks: [Vec<Masks>; MAX_FRAMES],
    /// By frame, a bit for each place of the postorder whose masks, or those after it, changed since
    /// its live slots were computed; as long as `masks`.
    stale: [Vec<u64>; MAX_FRAMES],
    /// Whether an instruction was followed at all.
    followed: Vec<bool>,
    /// Whether live slots must be computed again.
    changed: bool,
    /// Whether an instruction overwrites less than was thought.
    shrunk: bool,
}

impl Instance {
    fn new(
        outer: Option<(usize, Pc)>,
        subprog: SubprogId,
        start: Pc,
        len: usize,
        depth: usize,
    ) -> Instance {
        Instance {
            outer,
            subprog,
            start,
            len,
            depth,
            masks: Default::default(),
            stale: Default::default(),
            followed: Vec::new(),
            changed: false,
            shrunk: false,
        }
    }

    fn at(&self, frame: usize, pc: Pc) -> Option<&Masks> {
        self.masks[frame].get((pc.0 - self.start.0) as usize)
    }

    fn at_mut(&mut self, frame: usize, pc: Pc) -> &mut Masks {
        let masks = &mut self.masks[frame];
        if masks.is_empty() {
            masks.resize(self.len, Masks::default());
            self.stale[frame].resize(self.len.div_ceil(64), 0);
        }
        &mut masks[(pc.0 - self.start.0) as usize]
    }

    fn live(&self, frame: usize, pc: Pc) -> u64 {
        self.at(frame, pc).map_or(0, |masks| masks.live)
    }

    /// Notes a read (`mark_stack_read`).
    fn read(&mut self, frame: usize, pc: Pc, slots: u64, ways: &Ways) {
        let masks = self.at_mut(frame, pc);
        if slots & !masks.read == 0 {
            return;
        }
        masks.read |= slots;
        self.changed |= masks.read & !masks.live != 0;
        self.mark_stale(frame, ways.position[pc.index()]);
    }

    fn mark_stale(&mut self, frame: usize, place: u32) {
        if place != Ways::NONE {
            self.stale[frame][place as usize / 64] |= 1 << (place % 64);
        }
    }

    /// The first stale place of a frame from `place` on, which is stale no more.
    fn take_stale(&mut self, frame: usize, place: u32) -> Option<u32> {
        let stale = &mut self.stale[frame];
        let mut word = place as usize / 64;
        let mut bits = stale.get(word)? & (u64::MAX << (place % 64));
        while bits == 0 {
            word += 1;
            bits = *stale.get(word)?;
        }
        let bit = bits.trailing_zeros();
        stale[word] &= !(1 << bit);
        Some(word as u32 * 64 + bit)
    }

    /// Notes what one visit of an instruction overwrote (`commit_stack_write_marks`).
    fn commit(&mut self, pc: Pc, written: &[u64; MAX_FRAMES], ways: &Ways) {
        if self.followed.is_empty() {
            self.followed.resize(self.len, false);
        }
        let index = (pc.0 - self.start.0) as usize;
        let before = std::mem::replace(&mut self.followed[index], true);
        for (frame, slots) in written.iter().enumerate().take(self.depth + 1) {
            // Frames that are not accessed stay empty.
            if *slots == 0 && (!before || self.masks[frame].is_empty()) {
                continue;
            }
            let masks = self.at_mut(frame, pc);
            let old = masks.written;
            let new = if before { slots & old } else { *slots };
            if old != new {
                masks.written = new;
                self.changed = true;
                self.shrunk |= old & !new != 0;
                self.mark_stale(frame, ways.position[pc.index()]);
            }
        }
    }
}

/// The ways of the program's functions, in the order in which live slots are computed.
#[derive(Debug, Default)]
struct Ways {
    /// Of each function, its reachable instructions, those that follow before those before them.
    postorder: Vec<Vec<Pc>>,
    /// Of each slot of the program, at most two; [`Ways::NONE`] for none.
    next: Vec<[u32; 2]>,
    /// Of each slot, its place in the postorder of its function; [`Ways::NONE`] if it is not
    /// reachable.
    position: Vec<u32>,
    /// Of each slot, where the places of those before it begin in `before`.
    before_start: Vec<u32>,
    /// Of all slots, the places in the postorder of the instructions that lead to them.
    before: Vec<u32>,
    /// Of each function, where it starts and how many slots it has.
    places: Vec<(Pc, usize)>,
}

impl Ways {
    const NONE: u32 = u32::MAX;

    fn new(subject: &Subject<'_>) -> Ways {
        let code = &subject.program.code;
        let mut next = vec![[Ways::NONE; 2]; code.len()];
        for (pc, insn) in code.iter() {
            let places = cfg::successors(pc, insn);
            let places = places.iter().filter_map(|place| cfg::slot(code, place));
            for (way, place) in next[pc.index()].iter_mut().zip(places) {
                *way = place.0;
            }
        }
        let subprogs = subject.structure.subprogs.iter();
        let places = subprogs.map(|s| (s.start, (s.end.0 - s.start.0) as usize)).collect();
        let mut ways = Ways { next, places, ..Ways::default() };
        let mut seen = vec![false; code.len()];
        for subprog in &subject.structure.subprogs {
            let order = ways.order(subprog.start, &mut seen);
            ways.postorder.push(order);
        }
        ways.number(code.len());
        ways
    }

    /// Fills in places in the postorder, and those of the instructions before each.
    fn number(&mut self, slots: usize) {
        self.position = vec![Ways::NONE; slots];
        for order in &self.postorder {
            for (place, pc) in order.iter().enumerate() {
                self.position[pc.index()] = place as u32;
            }
        }
        let edges = || {
            let reachable = self.postorder.iter().flatten();
            reachable.flat_map(|pc| self.from(*pc).map(|next| (*pc, next)))
        };
        // Counted, then summed up, then filled in from the back.
        let mut start = vec![0; slots + 1];
        for (_, next) in edges() {
            start[next.index()] += 1;
        }
        let mut sum = 0;
        for count in &mut start {
            sum += *count;
            *count = sum;
        }
        let mut before = vec![0; sum as usize];
        for (pc, next) in edges() {
            start[next.index()] -= 1;
            before[start[next.index()] as usize] = self.position[pc.index()];
        }
        (self.before_start, self.before) = (start, before);
    }

    /// The places in the postorder of the instructions that lead to `pc`.
    fn before(&self, pc: Pc) -> &[u32] {
        let range = self.before_start[pc.index()]..self.before_start[pc.index() + 1];
        &self.before[range.start as usize..range.end as usize]
    }

    fn from(&self, pc: Pc) -> impl Iterator<Item = Pc> + use<> {
        self.next[pc.index()].into_iter().filter(|next| *next != Ways::NONE).map(Pc)
    }

    /// `compute_postorder`
    fn order(&self, start: Pc, seen: &mut [bool]) -> Vec<Pc> {
        let mut order = Vec::new();
        let mut expanded = vec![false; seen.len()];
        let mut stack = vec![start];
        while let Some(pc) = stack.last().copied() {
            seen[pc.index()] = true;
            if std::mem::replace(&mut expanded[pc.index()], true) {
                order.push(pc);
                stack.pop();
                continue;
            }
            for next in self.from(pc) {
                if !std::mem::replace(&mut seen[next.index()], true) {
                    stack.push(next);
                }
            }
        }
        order
    }
}

/// What instructions read and write of the stacks.
#[derive(Debug, Default)]
pub(crate) struct StackLiveness {
    ways: Ways,
    instances: Vec<Instance>,
    /// By calling instance and call, or none, and function.
    by_call: HashMap<(Option<(usize, Pc)>, SubprogId), usize>,
    /// The instance of the frame that runs, as long as it does.
    current: Option<usize>,
    /// What the instruction that is followed has overwritten, by frame.
    written: [u64; MAX_FRAMES],
}

impl StackLiveness {
    /// Nothing known of any instruction.
    pub(crate) fn new(subject: &Subject<'_>) -> StackLiveness {
        StackLiveness { ways: Ways::new(subject), ..StackLiveness::default() }
    }

    /// The instruction at `pc` of the frame that runs may read these slots of a frame's stack, a
    /// bit each (`bpf_mark_stack_read`).
    pub(crate) fn read(&mut self, state: &State, pc: Pc, frame: usize, slots: u64) {
        let current = self.ensure(state);
        let instance = &mut self.instances[current];
        instance.read(frame, pc, slots, &self.ways);
    }

    /// The instruction that is followed overwrites these slots of a frame's stack whole
    /// (`bpf_mark_stack_write`).
    pub(crate) fn write(&mut self, _state: &State, _pc: Pc, frame: usize, slots: u64) {
        self.written[frame] |= slots;
    }

    /// An instruction is about to be followed (`bpf_reset_stack_write_marks`).
    #[inline]
    pub(crate) fn begin(&mut self, state: &State) {
        self.ensure(state);
        self.written = [0; MAX_FRAMES];
    }

    /// The instruction at `pc` was followed (`bpf_commit_stack_write_marks`). Calls and returns
    /// overwrite nothing themselves.
    #[inline]
    pub(crate) fn commit(&mut self, state: &State, pc: Pc) {
        let Some(current) = self.current else { return };
        if self.instances[current].depth != state.current() {
            self.current = None;
            return;
        }
        self.instances[current].commit(pc, &self.written, &self.ways);
    }

    /// A path ended, or its function is about to return: brings up to date which slots are live
    /// (`bpf_update_live_stack`).
    pub(crate) fn settle(&mut self, subject: &Subject<'_>, state: &State, log: &mut Log) {
        let mut instance = Some(self.instance(state));
        self.current = None;
        while let Some(index) = instance {
            if self.instances[index].changed {
                self.update(subject, index, log);
                self.instances[index].changed = false;
                self.instances[index].shrunk = false;
            }
            instance = self.instances[index].outer.map(|(outer, _)| outer);
        }
    }

    /// What of a finished state counts, by frame (`bpf_live_stack_query_init`,
    /// `bpf_stack_slot_alive`, and the live registers).
    pub(crate) fn live(&mut self, subject: &Subject<'_>, state: &State) -> Box<[LiveFrame]> {
        let top = self.instance(state);
        // From the frame that runs down to the entry.
        let mut chain = vec![(top, state.pc)];
        let mut at = top;
        while let Some((outer, call)) = self.instances[at].outer {
            // Callbacks return to their call, functions behind it.
            let calls_back = subject.structure.at(call).calls_callback;
            chain.push((outer, if calls_back { call } else { Pc(call.0 + 1) }));
            at = outer;
        }
        (0..state.frames.len())
            .map(|frame| {
                // A slot is read by the frame itself or by those above it.
                let readers = &chain[..chain.len() - frame];
                LiveFrame {
                    regs: subject.structure.at(state.frame_pc(frame)).live_regs.0,
                    slots: readers.iter().fold(0, |live, (index, pc)| {
                        live | self.instances[*index].live(frame, *pc)
                    }),
                }
            })
            .collect()
    }

    #[inline]
    fn ensure(&mut self, state: &State) -> usize {
        match self.current {
            // Between two paths there is none, and a call or return changes the depth.
            Some(current) if self.instances[current].depth == state.current() => current,
            _ => {
                let current = self.instance(state);
                self.current = Some(current);
                current
            }
        }
    }

    /// The instance of the frame that runs (`lookup_instance`).
    fn instance(&mut self, state: &State) -> usize {
        let mut found: Option<usize> = None;
        for (depth, frame) in state.frames.iter().enumerate() {
            let subprog = frame.subprog;
            // Only the function that is judged has no caller.
            let caller = found.zip(frame.callsite);
            let (start, len) = self.ways.places[subprog.0 as usize];
            let instances = &mut self.instances;
            found = Some(*self.by_call.entry((caller, subprog)).or_insert_with(|| {
                instances.push(Instance::new(caller, subprog, start, len, depth));
                instances.len() - 1
            }));
        }
        found.unwrap_or_default()
    }

    /// Computes the live slots of a function, and carries what it does to other frames to its call
    /// (`update_instance`).
    fn update(&mut self, subject: &Subject<'_>, index: usize, log: &mut Log) {
        let chain = log.is_full().then(|| self.chain(index));
        let instance = &mut self.instances[index];
        let order = &self.ways.postorder[instance.subprog.0 as usize];
        if instance.shrunk {
            // What is overwritten on all ways is built up again from nothing.
            for frame in 0..=instance.depth {
                for masks in &mut instance.masks[frame] {
                    masks.written_from = 0;
                }
                if !instance.masks[frame].is_empty() {
                    (0..order.len() as u32).for_each(|place| instance.mark_stale(frame, place));
                }
            }
        }
        // Rounds over the postorder until nothing changes, as in Linux, but only over what is stale:
        // the rest would come out as it is.
        let mut rounds = 0;
        let mut changed = true;
        while changed {
            changed = false;
            rounds += 1;
            for frame in 0..=instance.depth {
                let mut from = 0;
                while let Some(place) = instance.take_stale(frame, from) {
                    from = place + 1;
                    let pc = order[place as usize];
                    let text = chain.as_ref().map(|chain| (chain, &mut *log));
                    if update_insn(subject, &self.ways, instance, frame, pc, text) {
                        changed = true;
                        for before in self.ways.before(pc) {
                            instance.mark_stale(frame, *before);
                        }
                    }
                }
            }
        }
        if let Some(chain) = &chain {
            log.write(format_args!("{chain} live stack update done in {rounds} iterations\n"));
        }
        let Some((outer, call)) = instance.outer else { return };
        let entry: Vec<Option<Masks>> =
            (0..instance.depth).map(|frame| instance.at(frame, instance.start).copied()).collect();
        let mut written = [0; MAX_FRAMES];
        for (frame, masks) in entry.iter().enumerate() {
            if let Some(masks) = masks {
                written[frame] = masks.written_from;
                self.instances[outer].read(frame, call, masks.live, &self.ways);
            }
        }
        self.instances[outer].commit(call, &written, &self.ways);
    }

    fn chain(&self, index: usize) -> Chain {
        let mut places = vec![self.instances[index].start.0];
        let mut at = index;
        while let Some((outer, call)) = self.instances[at].outer {
            places.push(call.0);
            at = outer;
        }
        places.reverse();
        Chain(places)
    }
}

/// Brings the masks of one instruction up to date from those that follow it (`update_insn`). Tells
/// whether they changed.
fn update_insn(
    subject: &Subject<'_>,
    ways: &Ways,
    instance: &mut Instance,
    frame: usize,
    pc: Pc,
    log: Option<(&Chain, &mut Log)>,
) -> bool {
    let start = instance.start;
    let masks = &mut instance.masks[frame];
    let mut after = 0;
    let mut written_from = u64::MAX;
    let mut ends = true;
    for next in ways.from(pc) {
        ends = false;
        // Only code that is refused leaves its function.
        let Some(next) = next.0.checked_sub(start.0).and_then(|at| masks.get(at as usize)) else {
            continue;
        };
        after |= next.live;
        written_from &= next.written_from;
    }
    if ends {
        return false;
    }
    let insn = &mut masks[(pc.0 - start.0) as usize];
    let old = *insn;
    insn.live = after & !insn.written | insn.read;
    insn.written_from = written_from | insn.written;
    if let Some((chain, log)) = log {
        let shape = subject.structure.at(pc);
        if insn.read != 0 || insn.written != 0 || pc == start || shape.is_prune_point {
            let changes =
                [("live", old.live, insn.live), ("written", old.written_from, insn.written_from)];
            for (what, old, new) in changes {
                log_change(log, chain, frame, pc, what, old, new);
            }
        }
    }
    old.live != insn.live || old.written_from != insn.written_from
}

/// `log_mask_change`
fn log_change(log: &mut Log, chain: &Chain, frame: usize, pc: Pc, what: &str, old: u64, new: u64) {
    if old == new {
        return;
    }
    log.write(format_args!("{chain} frame {frame} insn {pc} "));
    if new & !old != 0 {
        log.write(format_args!("+{what} {} ", SlotMask(new & !old)));
    }
    if old & !new != 0 {
        log.write(format_args!("-{what} {}", SlotMask(old & !new)));
    }
    log.write(format_args!("\n"));
}

/// A chain of calls as the log writes it: the calls, then where the function starts.
struct Chain(Vec<u32>);

impl fmt::Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(")?;
        for (index, place) in self.0.iter().enumerate() {
            write!(f, "{}{place}", if index == 0 { "" } else { "," })?;
        }
        f.write_str(")")
    }
}
