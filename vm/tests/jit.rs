//! Programs as machine code: what an embedder relies on beside results, which `fuzz` and
//! `conformance` compare with the interpreter.

use ebpfvm::asm::text::{Dialect, assemble};
use ebpfvm::map::Cpu;
use ebpfvm::spec::{
    Arg, Effect, HelperProto, MapDef, MapType, MapUse, ProgType, ProgTypeSet, Program, Ret,
};
use ebpfvm::verifier::Options;
use ebpfvm::{
    Context, DEFAULT_FUEL, Engine, Helper, Host, Instance, MapRef, NO_FUEL_LIMIT, TrapKind, Vm,
};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

const HELPER: u32 = 5_000;

fn program(text: &str) -> Program {
    let code = assemble(text, Dialect::PseudoC).expect("the test's text is a program");
    Program::from_code("test", ProgType::Raw, code)
}

fn proto(args: [Arg; 5]) -> HelperProto {
    HelperProto {
        id: HELPER,
        name: "test".into(),
        since: "",
        args,
        ret: Ret::Integer,
        effects: Effect::default(),
        allowed: ProgTypeSet::ALL,
        attach: &[],
        maps: MapUse::ANY,
    }
}

/// Whether this machine compiles; says so if it does not.
fn compiles(test: &str) -> bool {
    let vm = Vm::linux().engine(Engine::Jit).build();
    match vm.link(program("r0 = 0\nexit"), &[]) {
        Ok(_) => true,
        Err(why) => {
            eprintln!("skipped: {test}: {why}");
            false
        }
    }
}

fn verified(vm: &Vm, text: &str, memory_bytes: u32, maps: &[MapRef]) -> Arc<Instance> {
    let mut program = program(text);
    program.maps = maps.iter().map(|map| map.def().clone()).collect();
    let options = Options { memory_bytes, ..Options::default() };
    let accepted = vm.verify(program, &options).verdict.expect("the verifier accepts it");
    vm.link_verified(accepted, maps).expect("it can be linked")
}

#[test]
fn a_panic_of_a_helper_reaches_who_called_the_program() {
    if !compiles("a_panic_of_a_helper_reaches_who_called_the_program") {
        return;
    }
    let helper = Helper::new(proto([Arg::None; 5]), |_| panic!("what the helper says"));
    let vm = Vm::linux().engine(Engine::Jit).helper(helper).build();
    let text = "call 5000\nr0 = 0\nexit";
    for instance in [vm.link(program(text), &[]).unwrap(), verified(&vm, text, 0, &[])] {
        let run = || instance.run(&mut Context::raw([]), DEFAULT_FUEL);
        let panic = catch_unwind(AssertUnwindSafe(run)).expect_err("it panics");
        assert_eq!(panic.downcast_ref::<&str>(), Some(&"what the helper says"));
    }
}

#[test]
fn a_direct_helper_gets_its_arguments_and_answers() {
    extern "C" fn mix(a: u64, b: u64, c: u64, d: u64, e: u64) -> u64 {
        a + 10 * b + 100 * c + 1_000 * d + 10_000 * e
    }
    let helper = Helper::direct(proto([Arg::Anything; 5]), mix);
    let text = "r6 = 7\nr1 = 1\nr2 = 2\nr3 = 3\nr4 = 4\nr5 = 5\ncall 5000\nr0 += r6\nexit";
    for engine in [Engine::Interpreter, Engine::Auto] {
        let vm = Vm::linux().engine(engine).helper(helper.clone()).build();
        for instance in [vm.link(program(text), &[]).unwrap(), verified(&vm, text, 0, &[])] {
            let outcome = instance.run(&mut Context::raw([]), DEFAULT_FUEL).unwrap();
            assert_eq!(outcome.retval, 54_321 + 7, "{engine:?}");
        }
    }
}

#[test]
fn fuel_limits_verified_programs_too() {
    let text = "r0 = 0\nr1 = 100000\nagain: r0 += r1\nr1 += -1\nif r1 != 0 goto again\nexit";
    let expected = (1..=100_000).sum::<u64>();
    let mut used = Vec::new();
    for engine in [Engine::Interpreter, Engine::Auto] {
        let vm = Vm::linux().engine(engine).build();
        let instance = verified(&vm, text, 0, &[]);
        for fuel in [NO_FUEL_LIMIT, 1_000_000] {
            assert_eq!(instance.run(&mut Context::raw([]), fuel).unwrap().retval, expected);
        }
        let trap = instance.run(&mut Context::raw([]), 1_000).expect_err("it has too little");
        assert_eq!(trap.kind, TrapKind::OutOfFuel(1_000));
        used.push((trap.pc, instance.run(&mut Context::raw([]), 1_000_000).unwrap().fuel_used));
    }
    assert_eq!(used[0], used[1]);
}

#[test]
fn a_prepared_program_sees_what_the_run_before_left() {
    let text = "r0 = *(u64 *)(r1 + 0)\nr0 += 1\n*(u64 *)(r1 + 0) = r0\nexit";
    for engine in [Engine::Interpreter, Engine::Auto] {
        let vm = Vm::linux().engine(engine).build();
        for instance in [vm.link(program(text), &[]).unwrap(), verified(&vm, text, 8, &[])] {
            let mut context = Context::raw(0u64.to_ne_bytes());
            let mut prepared = instance.prepare(&mut context, DEFAULT_FUEL).unwrap();
            for round in 1..=10 {
                assert_eq!(prepared.run().unwrap(), round);
            }
            drop(prepared);
            assert_eq!(context.memory(), Some(&10u64.to_ne_bytes()[..]));
        }
    }
}

#[test]
fn a_prepared_program_may_trap_and_run_again() {
    let text = "r0 = *(u64 *)(r1 + 0)\n*(u64 *)(r1 + 0) = 8\nr1 += r0\nr0 = *(u8 *)(r1 + 0)\nexit";
    let vm = Vm::linux().build();
    let instance = vm.link(program(text), &[]).unwrap();
    let mut context = Context::raw(0u64.to_ne_bytes());
    let mut prepared = instance.prepare(&mut context, DEFAULT_FUEL).unwrap();
    assert_eq!(prepared.run().unwrap(), 8);
    for _ in 0..3 {
        let trap = prepared.run().expect_err("it reads past the memory");
        assert!(matches!(trap.kind, TrapKind::Access { bytes: 1, .. }), "{trap}");
        assert_eq!(trap.pc.0, 3);
    }
}

#[test]
fn a_prepared_program_may_trap_in_a_function_and_run_again() {
    // Every other run reads past the memory, one call deep.
    let text = "r2 = *(u64 *)(r1 + 0)\nr2 ^= 1\n*(u64 *)(r1 + 0) = r2\ncall fails\nr0 += 1\nexit\n\
                fails: r0 = 40\nif r2 == 0 goto out\nr0 = *(u8 *)(r1 + 64)\nout: exit";
    let vm = Vm::linux().build();
    let instance = vm.link(program(text), &[]).unwrap();
    let mut context = Context::raw(0u64.to_ne_bytes());
    let mut prepared = instance.prepare(&mut context, 1_000).unwrap();
    for _ in 0..20 {
        let trap = prepared.run().expect_err("it reads past the memory");
        assert!(matches!(trap.kind, TrapKind::Access { bytes: 1, .. }), "{trap}");
        assert_eq!(prepared.run().unwrap(), 41);
    }
}

#[test]
fn many_threads_run_one_program() {
    let vm = Vm::linux().cpus(8).build();
    let map = vm.create_map(&MapDef::new("counters", MapType::Array, 4, 8, 4)).unwrap();
    let text = "*(u32 *)(r10 - 4) = 2\nr2 = r10\nr2 += -4\nr1 = map[idx:0]\ncall 1\n\
                if r0 == 0 goto out\nr1 = 1\nlock *(u64 *)(r0 + 0) += r1\nr0 = *(u64 *)(r0 + 0)\n\
                out: exit";
    let instance = verified(&vm, text, 0, std::slice::from_ref(&map));
    const ROUNDS: u64 = 2_000;
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut context = Context::raw([]);
                for _ in 0..ROUNDS {
                    instance.run(&mut context, NO_FUEL_LIMIT).unwrap();
                }
            });
        }
    });
    let value = map.read(&2u32.to_ne_bytes()).unwrap();
    assert_eq!(u64::from_ne_bytes(value[..].try_into().unwrap()), 8 * ROUNDS);
}

/// A world whose programs run on the CPU that is told.
struct OnCpu(AtomicU32);

impl Host for OnCpu {
    fn cpu(&self) -> Cpu {
        Cpu(self.0.load(Ordering::Relaxed))
    }
}

#[test]
fn each_prepared_run_uses_the_values_of_its_own_cpu() {
    let host = Arc::new(OnCpu(AtomicU32::new(0)));
    let vm = Vm::linux().cpus(4).host(host.clone()).build();
    let map = vm.create_map(&MapDef::new("counts", MapType::PercpuArray, 4, 8, 4)).unwrap();
    let text = "*(u32 *)(r10 - 4) = 2\nr2 = r10\nr2 += -4\nr1 = map[idx:0]\ncall 1\n\
                if r0 == 0 goto out\nr1 = *(u64 *)(r0 + 0)\nr1 += 1\n*(u64 *)(r0 + 0) = r1\n\
                r0 = r1\nout: exit";
    let instance = verified(&vm, text, 0, &[map]);
    let mut context = Context::raw([]);
    let mut prepared = instance.prepare(&mut context, NO_FUEL_LIMIT).unwrap();
    // A CPU that there is no slot for counts as the last.
    let counts = [0, 1, 0, 3, 9, 1].map(|cpu| {
        host.0.store(cpu, Ordering::Relaxed);
        prepared.run().unwrap()
    });
    assert_eq!(counts, [1, 1, 2, 1, 2, 2]);
}

#[test]
fn what_is_printed_unasked_is_nothing_of_the_host() {
    // The format has three numbers, and the program has left the registers undefined since the call.
    let format = u64::from_ne_bytes(*b"%d%d%d\0\0");
    let text = format!(
        "call 7\nr1 = {format} ll\n*(u64 *)(r10 - 8) = r1\nr1 = r10\nr1 += -8\nr2 = 8\ncall 6\nexit"
    );
    let vm = Vm::linux().build();
    let mut program = program(&text);
    program.prog_type = ProgType::SocketFilter;
    let accepted = vm.verify(program, &Options::default()).verdict.expect("accepted");
    let instance = vm.link_verified(accepted, &[]).expect("it can be linked");
    let mut packet = Context::packet(ProgType::SocketFilter, &[0; 64]).expect("a packet");
    assert_eq!(instance.run(&mut packet, DEFAULT_FUEL).expect("a run").retval, 3);
}
