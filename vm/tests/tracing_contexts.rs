//! Contexts of programs that trace and of those that a system call runs: registers, records,
//! arguments, a buffer that may be written.

use ebpfvm::asm::text::{Dialect, assemble};
use ebpfvm::host::Space;
use ebpfvm::spec::linux::Arch;
use ebpfvm::spec::{ProgType, Program, load_flags};
use ebpfvm::verifier::Options;
use ebpfvm::{Context, ContextError, DEFAULT_FUEL, Instance, TrapKind, Vm, World};
use std::sync::Arc;

fn verified(vm: &Vm, prog_type: ProgType, text: &str) -> Arc<Instance> {
    let code = assemble(text, Dialect::PseudoC).expect("the test's text is a program");
    let mut program = Program::from_code("test", prog_type, code);
    if prog_type == ProgType::Syscall {
        program.flags = load_flags::SLEEPABLE;
    }
    let options = Options::default();
    let accepted = vm.verify(program, &options).verdict.expect("the verifier accepts it");
    let instance = vm.link_verified(accepted, &[]).expect("it can be linked");
    assert!(instance.is_verified());
    instance
}

/// Runs with and without checks on contexts made alike; the value returned, and what was written.
fn both(instance: &Instance, context: impl Fn() -> Context) -> (u64, Vec<u8>) {
    let (mut first, mut second) = (context(), context());
    let fast = instance.run(&mut first, DEFAULT_FUEL).expect("it runs");
    assert_eq!(instance.run_checked(&mut second, DEFAULT_FUEL), Ok(fast.clone()));
    assert_eq!(first.data_out(), second.data_out());
    (fast.retval, first.data_out())
}

fn words(values: &[u64]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

#[test]
fn probes_see_the_registers_of_the_machine_that_was_chosen() {
    // rdi on x86_64, x14 on arm64: the same place.
    let text = "r0 = *(u64 *)(r1 + 112)\nexit";
    let x86 = Vm::linux().build();
    let instance = verified(&x86, ProgType::Kprobe, text);
    let by_name = || {
        let mut context = x86.context(ProgType::Kprobe, &[]).unwrap();
        context.set_field("di", 77).unwrap();
        context
    };
    assert_eq!(both(&instance, by_name).0, 77);
    let registers: Vec<u64> = (0..21).collect();
    let bytes = words(&registers);
    assert_eq!(both(&instance, || x86.context(ProgType::Kprobe, &bytes).unwrap()).0, 14);

    let arm = Vm::linux().arch(Arch::Arm64).build();
    let instance = verified(&arm, ProgType::Kprobe, text);
    let by_name = || {
        let mut context = arm.context(ProgType::Kprobe, &[]).unwrap();
        context.set_field("regs[14]", 78).unwrap();
        context
    };
    assert_eq!(both(&instance, by_name).0, 78);
    assert!(by_name().set_field("di", 1).is_err());
    // The context of the other machine is refused.
    let mut other = x86.context(ProgType::Kprobe, &[]).unwrap();
    assert!(instance.run(&mut other, DEFAULT_FUEL).is_err());
    let too_long = x86.context(ProgType::Kprobe, &[0; 169]).unwrap_err();
    assert!(matches!(too_long, ContextError::Size { got: 169, .. }));
}

#[test]
fn perf_events_have_registers_and_a_sample() {
    for (arch, bytes) in [(Arch::X86_64, 168), (Arch::Arm64, 272)] {
        let vm = Vm::linux().arch(arch).build();
        let text = format!(
            "r0 = *(u64 *)(r1 + 8)\nr2 = *(u64 *)(r1 + {bytes})\nr0 += r2\n\
             r2 = *(u32 *)(r1 + {})\nr0 += r2\nexit",
            bytes + 8
        );
        let instance = verified(&vm, ProgType::PerfEvent, &text);
        let numbers: Vec<u64> = (1..=bytes / 8 + 2).collect();
        let given = words(&numbers);
        let expected = 2 + (bytes / 8 + 1) + (bytes / 8 + 2);
        assert_eq!(
            both(&instance, || vm.context(ProgType::PerfEvent, &given).unwrap()).0,
            expected
        );
        let by_name = || {
            let mut context = vm.context(ProgType::PerfEvent, &[]).unwrap();
            context.set_field("sample_period", 1000).unwrap();
            context.set_field("addr", 5).unwrap();
            context
        };
        assert_eq!(both(&instance, by_name).0, 1005);
    }
}

/// The names that system calls are given lie in the process: a register points to one, or a word of
/// a tracepoint's record.
#[test]
fn pointers_of_the_context_lead_into_the_process() {
    const NAME: u64 = 0x7ffe_0000_1000;
    let world = World::new().memory(Space::User, NAME, *b"/etc/hostname\0");
    let vm = Vm::linux().host(Arc::new(world)).build();
    let first_bytes = u64::from_le_bytes(*b"/etc/hos");
    // Argument 2 of a function in `si`; of sys_enter_openat's record behind header, number and file.
    for (prog_type, place) in [(ProgType::Kprobe, 13), (ProgType::Tracepoint, 3)] {
        let offset = 8 * place;
        let given = |name: u64| {
            let mut context = [0; 21];
            context[place] = name;
            words(&context)
        };
        // The name's first bytes, or the error of probe_read_user_str.
        let text = format!(
            "r3 = *(u64 *)(r1 + {offset})\nr2 = 16\nr1 = r10\nr1 += -16\ncall 114\n\
             if r0 s< 0 goto +1\nr0 = *(u64 *)(r10 - 16)\nexit"
        );
        let instance = verified(&vm, prog_type, &text);
        let run = |name: u64| both(&instance, || vm.context(prog_type, &given(name)).unwrap()).0;
        assert_eq!(run(NAME), first_bytes, "{}", prog_type.name());
        assert_eq!(run(8) as i64, -14, "{}", prog_type.name());
    }
}

/// Linux refuses to attach a program that reaches past the record or the arguments.
#[test]
fn a_record_must_be_as_long_as_the_program_reaches() {
    let vm = Vm::linux().build();
    for prog_type in [ProgType::Tracepoint, ProgType::RawTracepoint, ProgType::Syscall] {
        let instance = verified(&vm, prog_type, "r0 = *(u64 *)(r1 + 16)\nexit");
        let record = words(&[1, 2, 3]);
        assert_eq!(both(&instance, || Context::linux(prog_type, &record).unwrap()).0, 3);
        let mut short = Context::linux(prog_type, &record[..23]).unwrap();
        let trap = instance.run(&mut short, DEFAULT_FUEL).unwrap_err();
        assert_eq!(trap.kind, TrapKind::Short { what: "context", needed: 24, given: 23 });
        let trap = instance.run_checked(&mut short, DEFAULT_FUEL).unwrap_err();
        assert!(matches!(trap.kind, TrapKind::Access { .. }), "{trap}");
        // The same context with more in it.
        short.refill(&record).unwrap();
        assert_eq!(instance.run(&mut short, DEFAULT_FUEL).unwrap().retval, 3);
    }
}

#[test]
fn arguments_that_are_set_by_name_are_there() {
    let vm = Vm::linux().build();
    let instance = verified(&vm, ProgType::RawTracepoint, "r0 = *(u64 *)(r1 + 8)\nexit");
    let mut context = Context::linux(ProgType::RawTracepoint, &[]).unwrap();
    assert!(instance.run(&mut context, DEFAULT_FUEL).is_err());
    context.set_field("args[1]", 9).unwrap();
    assert_eq!(instance.run(&mut context, DEFAULT_FUEL).unwrap().retval, 9);
    assert!(Context::linux(ProgType::RawTracepoint, &[0; 97]).is_err());
}

#[test]
fn the_argument_of_a_system_call_comes_back_changed() {
    let vm = Vm::linux().build();
    let text = "r0 = *(u32 *)(r1 + 4)\n*(u32 *)(r1 + 0) = r0\n*(u8 *)(r1 + 9) = 3\nexit";
    let instance = verified(&vm, ProgType::Syscall, text);
    let context = || Context::linux(ProgType::Syscall, &[1, 1, 1, 1, 7, 0, 0, 0, 2, 2, 2]).unwrap();
    let (retval, out) = both(&instance, context);
    assert_eq!((retval, &out[..]), (7, &[7, 0, 0, 0, 7, 0, 0, 0, 2, 3, 2][..]));
    assert!(context().fields().is_empty(), "the argument is memory");
    assert!(Context::linux(ProgType::Syscall, &[0; 65535]).is_ok());
    assert!(Context::linux(ProgType::Syscall, &[0; 65536]).is_err());
    let unknown = context().set_field("date", 1).unwrap_err().to_string();
    assert!(unknown.contains("data[0] to [8190]"), "{unknown}");
}

#[test]
fn the_buffer_of_a_tracepoint_is_written_if_it_is_as_long_as_the_program_reaches() {
    let vm = Vm::linux().build();
    let text = "r2 = *(u64 *)(r1 + 0)\nr0 = *(u32 *)(r2 + 4)\nr2 += 12\n*(u32 *)(r2 - 4) = 5\n\
                r3 = *(u64 *)(r1 + 8)\nr0 += r3\nexit";
    let instance = verified(&vm, ProgType::RawTracepointWritable, text);
    let context = |bytes: usize| {
        let mut context = Context::linux(ProgType::RawTracepointWritable, &vec![1; bytes]).unwrap();
        context.set_field("args[0]", 0x10).unwrap();
        context
    };
    let (retval, out) = both(&instance, || context(12));
    assert_eq!((retval, &out[..]), (0x0101_0111, &[1, 1, 1, 1, 1, 1, 1, 1, 5, 0, 0, 0][..]));
    let trap = instance.run(&mut context(11), DEFAULT_FUEL).unwrap_err();
    assert_eq!(trap.kind, TrapKind::Short { what: "buffer", needed: 12, given: 11 });
    assert!(instance.run_checked(&mut context(11), DEFAULT_FUEL).is_err());
    let mut again = context(11);
    again.refill(&[2; 12]).unwrap();
    again.set_field("args[0]", 0).unwrap();
    assert_eq!(instance.run(&mut again, DEFAULT_FUEL).unwrap().retval, 0x0202_0202);
}

#[test]
fn types_of_kernel_types_say_why_they_do_not_run() {
    for prog_type in [ProgType::Tracing, ProgType::Lsm, ProgType::StructOps, ProgType::Ext] {
        let error = Context::linux(prog_type, &[]).unwrap_err().to_string();
        assert!(error.contains("types of a kernel"), "{error}");
    }
}
