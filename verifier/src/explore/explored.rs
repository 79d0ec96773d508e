//! The states that were met, by instruction.

use super::liveness::LiveFrame;
use super::loops::VisitId;
use crate::state::State;
use ebpfvm_asm::Pc;

/// A state that was kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct StateId(u32);

/// A state that was kept, and what became of it (`struct bpf_verifier_state_list`).
#[derive(Debug)]
pub(crate) struct Node {
    /// The state.
    pub(crate) state: State,
    /// Paths from it that are not finished.
    pub(crate) branches: u32,
    /// How often a path ended here.
    pub(crate) hits: u32,
    /// How often one did not.
    pub(crate) misses: u32,
    /// What of it still counts, by frame, once all paths from it were followed; everything before
    /// (`cleaned`).
    pub(crate) live: Option<Box<[LiveFrame]>>,
    /// Whether it is compared with no more.
    pub(crate) retired: bool,
    /// The run through a loop that it belongs to.
    pub(crate) visit: Option<VisitId>,
}

/// All states that were kept.
#[derive(Debug, Default)]
pub(crate) struct Explored {
    nodes: Vec<Option<Box<Node>>>,
    free: Vec<StateId>,
    /// By instruction and call site, the newest last.
    buckets: Vec<Vec<StateId>>,
}

impl Explored {
    /// Room for a program of so many slots.
    pub(crate) fn new(slots: usize) -> Explored {
        Explored { nodes: Vec::new(), free: Vec::new(), buckets: vec![Vec::new(); slots] }
    }

    /// Forgets all states: another function is judged.
    pub(crate) fn clear(&mut self) {
        self.nodes.clear();
        self.free.clear();
        self.buckets.iter_mut().for_each(Vec::clear);
    }

    /// The bucket of states at `pc` when the frame that runs was called at `callsite`
    /// (`explored_state`). Different places can share one.
    pub(crate) fn bucket(&self, pc: Pc, callsite: Option<Pc>) -> usize {
        // Linux takes -1 for the entry, in 32 bits.
        let callsite = callsite.map_or(u32::MAX, |pc| pc.0);
        (pc.0 ^ callsite) as usize % self.buckets.len()
    }

    /// The states of a bucket, oldest first.
    pub(crate) fn in_bucket(&self, bucket: usize) -> &[StateId] {
        &self.buckets[bucket]
    }

    /// Keeps a state that is not finished.
    pub(crate) fn add(&mut self, bucket: usize, state: State) -> StateId {
        let node = Box::new(Node {
            state,
            branches: 1,
            hits: 0,
            misses: 0,
            live: None,
            retired: false,
            visit: None,
        });
        let id = match self.free.pop() {
            Some(id) => {
                self.nodes[id.0 as usize] = Some(node);
                id
            }
            None => {
                self.nodes.push(Some(node));
                StateId(self.nodes.len() as u32 - 1)
            }
        };
        self.buckets[bucket].push(id);
        id
    }

    /// A kept state.
    pub(crate) fn node(&self, id: StateId) -> &Node {
        self.nodes[id.0 as usize].as_ref().expect("an id is used while its node is kept")
    }

    /// A kept state, to be changed.
    pub(crate) fn node_mut(&mut self, id: StateId) -> &mut Node {
        self.nodes[id.0 as usize].as_mut().expect("an id is used while its node is kept")
    }

    /// Takes the state at a place of a bucket out of it; it is kept as long as it is needed.
    pub(crate) fn retire(&mut self, bucket: usize, index: usize) {
        let id = self.buckets[bucket].remove(index);
        self.node_mut(id).retired = true;
    }

    /// Forgets a retired state that nothing refers to.
    pub(crate) fn free(&mut self, id: StateId) {
        self.nodes[id.0 as usize] = None;
        self.free.push(id);
    }
}
