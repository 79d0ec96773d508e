//! The project's interpreter as an engine.

use crate::engine::{Engine, Outcome};
use ebpfvm::{Context, DEFAULT_FUEL, Helper, Vm};
use ebpfvm_asm::{Code, Slot};
use ebpfvm_spec::{Platform, ProgType, Program};

/// The interpreter on plain memory.
pub struct InterpreterEngine {
    name: &'static str,
    vm: Vm,
}

impl InterpreterEngine {
    /// The interpreter in checked mode with Linux's helpers: programs need no verdict, since every
    /// access is checked as they run.
    pub fn checked() -> InterpreterEngine {
        InterpreterEngine { name: "checked", vm: vector_machine() }
    }

    /// The interpreter as the machine runs a program by itself: without checks if there is a verdict
    /// that says so. Vectors come without a verdict, so they run checked.
    pub fn by_verdict() -> InterpreterEngine {
        InterpreterEngine { name: "interp", ..InterpreterEngine::checked() }
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
        match instance.run(&mut context, DEFAULT_FUEL) {
            Ok(outcome) => Outcome::Value(outcome.retval),
            Err(trap) => Outcome::Trapped(trap.to_string()),
        }
    }
}
