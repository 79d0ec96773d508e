//! The interpreter's loop without checks, on every vector that has a result.
//!
//! A test of its own and no engine: it needs a promise about the programs that only the committed
//! vectors can have.

use ebpfvm::{Context, DEFAULT_FUEL, Engine, Helper, Vm};
use ebpfvm_asm::Code;
use ebpfvm_conformance::runner::vector_files;
use ebpfvm_conformance::{Expected, Vector};
use ebpfvm_spec::{Platform, ProgType, Program};
use std::path::Path;

#[test]
fn results_are_the_same_without_checks() {
    let proto = Platform::linux().helper(5).expect("Linux has ktime_get_ns").clone();
    let builder = Vm::linux().helper(Helper::new(proto, |_| Ok(1)));
    let vm = builder.engine(Engine::Interpreter).build();
    let mut count = 0;
    for path in vector_files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors")).unwrap() {
        let vector = Vector::read(&path).unwrap();
        let (Ok(slots), Expected::Value(expected)) = (&vector.program, &vector.expected) else {
            continue;
        };
        let program = Program::from_code("vector", ProgType::Raw, Code::decode(slots).unwrap());
        let instance = vm.link(program, &[]).unwrap();
        let context = || Context::raw(vector.memory.as_deref().unwrap_or_default());
        let (mut first, mut second) = (context(), context());
        let checked = instance.run(&mut first, DEFAULT_FUEL).unwrap();
        assert_eq!(checked.retval, *expected, "{}", path.display());
        // SAFETY: the program has just run in checked mode without a trap on equal memory, its one
        // helper always gives the same, and no vector computes an address from another's value.
        let unchecked = unsafe { instance.run_unchecked(&mut second, DEFAULT_FUEL) }.unwrap();
        assert_eq!(unchecked, checked, "{}", path.display());
        assert_eq!(first.memory(), second.memory(), "{}", path.display());
        count += 1;
    }
    assert!(count > 500, "{count} vectors with a result");
}
