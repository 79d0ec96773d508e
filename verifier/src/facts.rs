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
}

impl Facts {
    /// Nothing about a program of so many slots.
    pub fn new(slots: usize) -> Facts {
        Facts { targets: vec![None; slots] }
    }

    /// Writes down that the access at `pc` touches `target` on one path.
    pub fn access(&mut self, pc: Pc, target: Target) {
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
