//! The project's machine as an engine: interpreted or compiled, with checks and without.

use crate::engine::{Engine, Outcome, Verdicts};
use ebpfvm::{
    Context, DEFAULT_FUEL, Engine as How, Helper, Instance, NO_FUEL_LIMIT, Outcome as VmOutcome,
    Trap, Vm,
};
use ebpfvm_asm::{Code, Slot};
use ebpfvm_spec::{Platform, ProgType, Program};
use ebpfvm_verifier::Options;

/// The machine on plain memory.
pub struct MachineEngine {
    name: &'static str,
    vm: Vm,
    run: fn(&Instance, &mut Context, u64) -> Result<VmOutcome, Box<Trap>>,
    fuel: u64,
    /// Whether programs are judged first, and run without checks.
    is_judged: bool,
}

impl MachineEngine {
    /// The interpreter in checked mode with Linux's helpers: programs need no verdict, since every
    /// access is checked as they run.
    pub fn checked() -> MachineEngine {
        MachineEngine {
            name: "checked",
            vm: vector_machine(How::Interpreter),
            run: Instance::run,
            fuel: DEFAULT_FUEL,
            is_judged: false,
        }
    }

    /// The interpreter without checks. Vectors come without a verdict that would permit it, so
    /// each runs in checked mode first; one that calls helpers runs in no other.
    pub fn unchecked() -> MachineEngine {
        MachineEngine { name: "interp", run: Instance::run_both, ..MachineEngine::checked() }
    }

    /// Machine code with checks.
    pub fn jit_checked() -> MachineEngine {
        MachineEngine {
            name: "jit-checked",
            vm: vector_machine(How::Jit),
            ..MachineEngine::checked()
        }
    }

    /// Machine code without checks, of programs that the verifier accepts.
    pub fn jit() -> MachineEngine {
        MachineEngine {
            name: "jit",
            fuel: NO_FUEL_LIMIT,
            is_judged: true,
            ..MachineEngine::jit_checked()
        }
    }

    /// The interpreter in checked mode with the helpers of a machine.
    pub fn on(vm: Vm) -> MachineEngine {
        MachineEngine { vm, ..MachineEngine::checked() }
    }
}

/// Linux's helpers in a world where time stands still, so that a vector always gives the same.
fn vector_machine(engine: How) -> Vm {
    const KTIME_GET_NS: u32 = 5;
    let builder = Vm::linux().engine(engine);
    match Platform::linux().helper(KTIME_GET_NS) {
        Some(proto) => builder.helper(Helper::new(proto.clone(), |_| Ok(1))).build(),
        None => builder.build(),
    }
}

impl Engine for MachineEngine {
    fn name(&self) -> &str {
        self.name
    }

    fn run(&self, program: &[Slot], memory: Option<&[u8]>) -> Outcome {
        let code = match Code::decode(program) {
            Ok(code) => code,
            Err(e) => return Outcome::Refused(e.to_string()),
        };
        let program = Program::from_code("vector", ProgType::Raw, code);
        let memory = memory.unwrap_or_default();
        let instance = match self.is_judged {
            false => self.vm.link(program, &[]),
            true => {
                let options = Options { memory_bytes: memory.len() as u32, ..Options::default() };
                match self.vm.verify(program, &options).verdict {
                    Ok(verified) => self.vm.link_verified(verified, &[]),
                    Err(rejection) => return Outcome::Refused(rejection.to_string()),
                }
            }
        };
        let instance = match instance {
            Ok(instance) => instance,
            Err(e) => return Outcome::Refused(e.to_string()),
        };
        let mut context = Context::raw(memory);
        match (self.run)(&instance, &mut context, self.fuel) {
            Ok(outcome) => Outcome::Value(outcome.retval),
            Err(trap) => Outcome::Trapped(trap.to_string()),
        }
    }

    fn verdicts(&self) -> Verdicts {
        if self.is_judged { Verdicts::Foreign } else { Verdicts::Own }
    }
}
