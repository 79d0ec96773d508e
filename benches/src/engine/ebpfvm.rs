//! This project's interpreter, in checked mode and without checks.

use super::Prepared;
use crate::{code, workload::Workload};
use ebpfvm::asm::{ByteOrder, Code};
use ebpfvm::spec::{ProgType, Program};
use ebpfvm::{Context, Instance, Vm};
use std::sync::Arc;

/// More than any bench program takes.
const FUEL: u64 = 1 << 32;

/// One run, with the answer or the trap in words.
type Run = fn(&Instance, &mut Context) -> Result<u64, String>;

struct Interpreter {
    instance: Arc<Instance>,
    context: Context,
    run: Run,
}

/// Every access compared with the memory given, loops charged.
pub(super) fn prepare_checked(workload: &Workload) -> Result<Box<dyn Prepared>, String> {
    prepare(workload, |instance, context| {
        let outcome = instance.run(context, FUEL);
        outcome.map(|outcome| outcome.retval).map_err(|trap| trap.to_string())
    })
}

/// As verified programs run: loops charged, accesses trusted.
pub(super) fn prepare_unchecked(workload: &Workload) -> Result<Box<dyn Prepared>, String> {
    prepare_checked(workload)?.run()?;
    prepare(workload, |instance, context| {
        // SAFETY: the program has just run in checked mode on equal memory without a trap, and
        // what a bench program does depends on its memory alone.
        let outcome = unsafe { instance.run_unchecked(context, FUEL) };
        outcome.map(|outcome| outcome.retval).map_err(|trap| trap.to_string())
    })
}

fn prepare(workload: &Workload, run: Run) -> Result<Box<dyn Prepared>, String> {
    let bytes = code::link(workload.object_file)?;
    let code = Code::from_bytes(&bytes, ByteOrder::Little).map_err(|error| error.to_string())?;
    let program = Program::from_code(workload.name, ProgType::Raw, code);
    let instance = Vm::linux().build().link(program, &[]).map_err(|error| error.to_string())?;
    Ok(Box::new(Interpreter { instance, context: Context::raw((workload.memory)()), run }))
}

impl Prepared for Interpreter {
    fn run(&mut self) -> Result<u64, String> {
        (self.run)(&self.instance, &mut self.context)
    }

    fn memory(&self) -> &[u8] {
        self.context.memory().unwrap_or_default()
    }
}
