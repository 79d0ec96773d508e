//! Machine code leaves nothing behind. Alone in its process, for it looks at the memory of all of it.

use ebpfvm::asm::text::{Dialect, assemble};
use ebpfvm::spec::{MapDef, MapType, ProgType, Program};
use ebpfvm::verifier::Options;
use ebpfvm::{Context, DEFAULT_FUEL, Engine, NO_FUEL_LIMIT, Vm};

/// Pages of address space and of memory that the process has, from `/proc`.
fn pages() -> Option<[u64; 2]> {
    let text = std::fs::read_to_string("/proc/self/statm").ok()?;
    let mut words = text.split(' ').map(|word| word.parse().ok());
    Some([words.next()??, words.next()??])
}

/// `EBPFVM_JIT_CYCLES` is how often.
#[test]
fn programs_that_are_compiled_run_and_dropped_leave_nothing() {
    let name = "programs_that_are_compiled_run_and_dropped_leave_nothing";
    let cycles = std::env::var("EBPFVM_JIT_CYCLES").map_or(3_000, |n| n.parse().expect("a number"));
    let vm = Vm::linux().engine(Engine::Jit).build();
    let code = assemble("r0 = 0\nexit", Dialect::PseudoC).expect("a program");
    let compiles = vm.link(Program::from_code("test", ProgType::Raw, code), &[]);
    let Some(_) = pages().filter(|_| compiles.is_ok()) else {
        eprintln!("skipped: {name}: it needs /proc and a host that is compiled for");
        return;
    };
    let map = vm.create_map(&MapDef::new("hash", MapType::Hash, 8, 8, 4)).unwrap();
    let text = "*(u64 *)(r10 - 8) = 2\nr2 = r10\nr2 += -8\nr1 = map[idx:0]\ncall 1\nr0 = 3\nexit";
    let cycle = || {
        let code = assemble(text, Dialect::PseudoC).expect("a program");
        let mut program = Program::from_code("test", ProgType::Raw, code);
        program.maps = [map.def().clone()].into();
        let accepted = vm.verify(program, &Options::default()).verdict.expect("accepted");
        let instance =
            vm.link_verified(accepted, std::slice::from_ref(&map)).expect("it can be linked");
        assert_eq!(instance.run(&mut Context::raw([]), NO_FUEL_LIMIT).unwrap().retval, 3);
        assert_eq!(instance.run(&mut Context::raw([]), DEFAULT_FUEL).unwrap().retval, 3);
        assert_eq!(instance.run_checked(&mut Context::raw([]), DEFAULT_FUEL).unwrap().retval, 3);
    };
    (0..500).for_each(|_| cycle());
    let before = pages().unwrap();
    (0..cycles).for_each(|_| cycle());
    let after = pages().unwrap();
    // A page a program would be thousands.
    for (before, after) in before.iter().zip(after) {
        assert!(after < before + 600, "{before} pages, then {after}");
    }
}
