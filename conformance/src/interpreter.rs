//! The project's interpreter as an engine.

use crate::engine::{Engine, Outcome};
use ebpfvm::{Context, DEFAULT_FUEL, Helper, Instance, Outcome as VmOutcome, Trap, Vm};
use ebpfvm_asm::{Code, Slot};
use ebpfvm_spec::{Platform, ProgType, Program};

/// The interpreter on plain memory.
pub struct InterpreterEngine {
    name: &'static str,
    vm: Vm,
    run: fn(&Instance, &mut Context, u64) -> Result<VmOutcome, Box<Trap>>,
}

impl InterpreterEngine {
    /// The interpreter in checked mode with Linux's helpers: programs need no verdict, since every
    /// access is checked as they run.
    pub fn checked() -> InterpreterEngine {
        InterpreterEngine { name: "checked", vm: vector_machine(), run: Instance::run }
    }

    /// The interpreter without checks. Vectors come without a verdict that would permit it, so
    /// each runs in checked mode first; one that calls helpers runs in no other.
    pub fn unchecked() -> InterpreterEngine {
        InterpreterEngine {
            name: "interp",
            run: Instance::run_both,
            ..InterpreterEngine::checked()
        }
    }

    /// The interpreter in checked mode with the helpers of a machine.
    pub fn on(vm: Vm) -> InterpreterEngine {
        InterpreterEngine { vm, ..InterpreterEngine::checked() }
    }
}

/// Linux's helpers in a world where time stands still, so that a vector always gives the same.
fn vector_machine() -> Vm {
    const KTIME_GET_NS: u32 = 5;
    let builder = Vm::linux();
    match Platform::linux().helper(KTIME_GET_NS) {
        Some(proto) => builder.helper(Helper::new(proto.clone(), |_| Ok(1))).build(),
        None => builder.build(),
    }
}

impl Engine for InterpreterEngine {
    fn name(&self) -> &str {
        self.name
    }

    fn run(&self, program: &[Slot], memory: Option<&[u8]>) -> Outcome {
        let code = match Code::decode(program) {
            Ok(code) => code,
            Err(e) => return Outcome::Refused(e.to_string()),
        };
        let program = Program::from_code("vector", ProgType::Raw, code);
        let instance = match self.vm.link(program, &[]) {
            Ok(instance) => instance,
            Err(e) => return Outcome::Refused(e.to_string()),
        };
        let mut context = Context::raw(memory.unwrap_or_default());
        match (self.run)(&instance, &mut context, DEFAULT_FUEL) {
            Ok(outcome) => Outcome::Value(outcome.retval),
            Err(trap) => Outcome::Trapped(trap.to_string()),
        }
    }
}
