//! This project's interpreter, in checked mode and without checks.

use super::Prepared;
use crate::{code, workload::Workload};
use ebpfvm::asm::{ByteOrder, Code};
use ebpfvm::spec::{ProgType, Program};
use ebpfvm::{Context, Instance, Outcome, Trap, Vm};
use std::sync::Arc;

/// More than any bench program takes.
const FUEL: u64 = 1 << 32;

struct Interpreter {
    instance: Arc<Instance>,
    context: Context,
    run: fn(&Instance, &mut Context) -> Result<Outcome, Trap>,
}

/// Every access compared with the memory given, loops charged.
pub(super) fn prepare_checked(workload: &Workload) -> Result<Box<dyn Prepared>, String> {
    prepare(workload, |instance, context| instance.run(context, FUEL))
}

/// As verified programs run: loops charged, accesses trusted.
pub(super) fn prepare_unchecked(workload: &Workload) -> Result<Box<dyn Prepared>, String> {
    prepare_checked(workload)?.run()?;
    prepare(workload, |instance, context| {
        // SAFETY: the program has just run in checked mode on equal memory without a trap, and
        // what a bench program does depends on its memory alone.
        unsafe { instance.run_unchecked(context, FUEL) }
    })
}

fn prepare(
    workload: &Workload,
    run: fn(&Instance, &mut Context) -> Result<Outcome, Trap>,
) -> Result<Box<dyn Prepared>, String> {
    let bytes = code::link(workload.object_file)?;
    let code = Code::from_bytes(&bytes, ByteOrder::Little).map_err(|error| error.to_string())?;
    let program = Program::from_code(workload.name, ProgType::Raw, code);
    let instance = Vm::linux().build().link(program, &[]).map_err(|error| error.to_string())?;
    Ok(Box::new(Interpreter { instance, context: Context::raw((workload.memory)()), run }))
}

impl Prepared for Interpreter {
    fn run(&mut self) -> Result<u64, String> {
        match (self.run)(&self.instance, &mut self.context) {
            Ok(outcome) => Ok(outcome.retval),
            Err(trap) => Err(trap.to_string()),
        }
    }

    fn memory(&self) -> &[u8] {
        self.context.memory().unwrap_or_default()
    }
}
