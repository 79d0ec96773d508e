//! What was found out about accepted code, for engines.

use ebpfvm_asm::Pc;

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
    /// Other memory: of a helper or of the host.
    Memory,
    /// Differs between paths.
    Several,
}

/// What was found out, by instruction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    targets: Vec<Option<Target>>,
    reached: Vec<bool>,
}

impl Facts {
    /// Nothing about a program of so many slots.
    pub(crate) fn new(slots: usize) -> Facts {
        Facts { targets: vec![None; slots], reached: vec![false; slots] }
    }

    /// Writes down that a path comes to the instruction at `pc`.
    pub(crate) fn reach(&mut self, pc: Pc) {
        self.reached[pc.index()] = true;
    }

    /// Whether any path comes to the instruction at `pc`; what no path comes to is dead code.
    pub fn is_reached(&self, pc: Pc) -> bool {
        self.reached.get(pc.index()).copied().unwrap_or_default()
    }

    /// Writes down that the access at `pc` touches `target` on one path.
    pub(crate) fn access(&mut self, pc: Pc, target: Target) {
        let fact = &mut self.targets[pc.index()];
        *fact = match *fact {
            None => Some(target),
            Some(other) if other == target => Some(target),
            Some(_) => Some(Target::Several),
        };
    }

    /// What the load or store at `pc` touches; none if it is dead or no access.
    pub fn target(&self, pc: Pc) -> Option<Target> {
        self.targets.get(pc.index()).copied().flatten()
    }
}
