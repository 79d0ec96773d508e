//! A program bound to its maps and helpers, ready to run.

mod error;
mod link;
mod runs;

pub use error::{LinkError, LinkErrorKind};
pub(crate) use link::{BoundCall, func_of_token};
pub use runs::Outcome;

use crate::context::{Layout, Room};
use crate::helper::Helper;
use crate::host::Host;
use crate::interp::lower::{Lowered, LoweredForms};
use crate::map::{MapRef, Slab};
use crate::native::Forms;
use crate::rewrite::Rewritten;
use crate::run::Trust;
use crate::trap::{Trap, TrapKind};
use crate::vm::Vm;
use ebpfvm_asm::{Code, Pc};
use ebpfvm_spec::{ProgType, Program};
use ebpfvm_verifier::VerifiedProgram;
use std::borrow::Cow;
use std::sync::{Arc, Weak};

/// A program bound to its maps and helpers. It may run on many threads at once.
pub struct Instance {
    id: u32,
    text: Text,
    vm: Vm,
    /// What the machine gives to programs of this type; none if that is plain memory.
    layout: Option<Layout>,
    /// Itself, as it is shared.
    this: Weak<Instance>,
    maps: Vec<MapRef>,
    helpers: Vec<Helper>,
    slabs: Vec<Slab>,
    /// The calls of helpers, in order.
    calls: Box<[BoundCall]>,
    /// The program as the interpreter takes it.
    lowered: LoweredForms,
    /// The program as machine code, if the machine compiles.
    pub(crate) native: Forms,
}

/// A program, with its verdict if that lets it run without checks.
enum Text {
    Unjudged(Program),
    Accepted { program: VerifiedProgram, rewritten: Rewritten },
}

impl Text {
    fn program(&self) -> &Program {
        match self {
            Text::Unjudged(program) => program,
            Text::Accepted { program, .. } => program.program(),
        }
    }
}

impl Instance {
    /// A number that no other instance of this process has.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// The program.
    pub fn program(&self) -> &Program {
        self.text.program()
    }

    /// The program's type.
    pub fn prog_type(&self) -> ProgType {
        self.program().prog_type
    }

    /// The maps, in the order in which the program names them.
    pub fn maps(&self) -> &[MapRef] {
        &self.maps
    }

    /// What the verifier accepted, with the code that runs without checks.
    pub(crate) fn judged(&self) -> Option<(&VerifiedProgram, &Code)> {
        match &self.text {
            Text::Unjudged(_) => None,
            Text::Accepted { program, rewritten } => {
                Some((program, rewritten.code.as_ref().unwrap_or(&program.program().code)))
            }
        }
    }

    /// The verdict is about at least so much of what a run is given.
    #[inline]
    pub(crate) fn needs(&self) -> Room {
        match &self.text {
            Text::Unjudged(_) => Room::default(),
            Text::Accepted { rewritten, .. } => rewritten.needs,
        }
    }

    /// The call of a helper at an instruction.
    pub(crate) fn call_at(&self, pc: Pc) -> Option<BoundCall> {
        let found = self.calls.binary_search_by_key(&pc, |call| call.pc);
        found.ok().map(|index| self.calls[index])
    }

    /// Whether the program runs without checks because the verifier accepted it.
    pub fn is_verified(&self) -> bool {
        self.judged().is_some()
    }

    /// Shares the instance: from then on it can be held.
    pub(crate) fn share(self) -> Arc<Instance> {
        Arc::new_cyclic(|this| Instance { this: this.clone(), ..self })
    }

    /// The instance, to hold; none if it is about to go.
    pub(crate) fn to_hold(&self) -> Option<Arc<Instance>> {
        self.this.upgrade()
    }

    /// Whether the program may go on with the context of another.
    pub(crate) fn takes_context_of(&self, other: &Instance) -> bool {
        self.prog_type() == other.prog_type()
            && match (&self.layout, &other.layout) {
                (Some(a), Some(b)) => Arc::ptr_eq(&a.def, &b.def) || a == b,
                (a, b) => a.is_none() && b.is_none(),
            }
    }

    /// The machine as the program holds it.
    pub(crate) fn vm(&self) -> &Vm {
        &self.vm
    }

    pub(crate) fn host(&self) -> &dyn Host {
        self.vm.host()
    }

    pub(crate) fn cpus(&self) -> u32 {
        self.vm.cpus()
    }

    pub(crate) fn helpers(&self) -> &[Helper] {
        &self.helpers
    }

    /// The helper with a number that is known only when the program runs, as for a call that names
    /// it.
    pub(crate) fn helper_by_number(&self, number: u64) -> Option<Cow<'_, Helper>> {
        let id = u32::try_from(number).ok()?;
        self.vm.helper_for(id, self.program().prog_type, self.program().attach_type).ok()
    }

    pub(crate) fn slabs(&self) -> &[Slab] {
        &self.slabs
    }

    /// All slabs with the names of their maps.
    pub(crate) fn named_slabs(&self) -> impl Iterator<Item = (&str, Slab)> {
        self.maps
            .iter()
            .flat_map(|map| map.slabs().iter().map(|slab| (map.def().name.as_str(), *slab)))
    }

    /// What the memory of the context is called.
    pub(crate) fn window_name(&self) -> &'static str {
        if self.program().prog_type == ProgType::Raw { "memory" } else { "packet" }
    }

    /// The form of the program that a run takes: with checks if it was not verified, or with more
    /// of what it is given than there is.
    #[inline]
    pub(crate) fn form(&self, trust: Trust, room: &Room) -> &Lowered {
        match trust {
            Trust::Verified if room.holds(&self.needs()) => self.lowered.usual(self),
            Trust::Verified | Trust::Nothing => self.lowered.checked(self),
            Trust::Everything => self.lowered.unchecked(self),
        }
    }

    /// Makes the form for the interpreter that runs usually take.
    pub(crate) fn lower(self) -> Instance {
        self.lowered.usual(&self);
        self
    }

    /// The trap at an instruction.
    pub(crate) fn trap(&self, pc: Pc, kind: TrapKind) -> Box<Trap> {
        let line = self.program().line(pc);
        let line = line.map(|l| format!("{}:{}: {}", l.file, l.line, l.text.trim()));
        Box::new(Trap { program: self.program().name.clone(), pc, kind, line })
    }
}

impl std::fmt::Debug for Instance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Instance").field("program", &self.program().name).finish_non_exhaustive()
    }
}
