//! Functions of a program that helpers call.

use ebpfvm::asm::text::{Dialect, assemble};
use ebpfvm::spec::{ProgType, Program};
use ebpfvm::{Context, TrapKind, Vm};

fn program(text: &str) -> Program {
    let code = assemble(text, Dialect::PseudoC).expect("the test's text is a program");
    Program::from_code("test", ProgType::SocketFilter, code)
}

fn packet() -> Context {
    Context::packet(ProgType::SocketFilter, &[0; 64]).expect("a packet")
}

/// Adds the indices below 10 in a variable on the caller's stack, and stops after the one of 5.
const SUM: &str = "
    *(u64 *)(r10 - 8) = 0
    r6 = 7
    r1 = 10
    r2 = subprog[add]
    r3 = r10
    r3 += -8
    r4 = 0
    call 181
    r7 = *(u64 *)(r10 - 8)
    r7 <<= 8
    r0 |= r7
    r0 += r6
    exit
add:
    r6 = *(u64 *)(r2 + 0)
    r6 += r1
    *(u64 *)(r2 + 0) = r6
    r0 = 0
    if r1 != 5 goto out
    r0 = 1
out:
    exit";

#[test]
fn a_loop_calls_its_function_until_it_says_stop() {
    let vm = Vm::linux().build();
    let expected = (15 << 8 | 6) + 7;
    let instance = vm.link(program(SUM), &[]).expect("linked");
    assert_eq!(instance.run(&mut packet(), 10_000).expect("a run").retval, expected);
}

/// A program that calls its function so often.
fn rounds(count: u32, function: &str) -> String {
    format!(
        "r1 = {count}\nr2 = subprog[f]\nr3 = 0\nr4 = 0\ncall 181\nr0 = 0\nexit\nf:\n{function}\nr0 = 0\nexit"
    )
}

#[test]
fn what_a_helper_calls_pays_from_the_same_budget() {
    let vm = Vm::linux().build();
    for count in [100, 8_000_000] {
        let instance = vm.link(program(&rounds(count, "r1 = 1")), &[]).expect("linked");
        let outcome = instance.run(&mut packet(), 5_000);
        match count {
            100 => {
                let used = outcome.expect("a run").fuel_used;
                assert!((200..=2_000).contains(&used), "{used}");
            }
            _ => {
                let trap = outcome.expect_err("the budget is used up");
                assert_eq!(trap.kind, TrapKind::OutOfFuel(5_000));
            }
        }
    }
}

#[test]
fn a_trap_in_a_function_tells_where_it_happened() {
    let vm = Vm::linux().build();
    let instance =
        vm.link(program(&rounds(3, "r1 = 0\nr1 = *(u8 *)(r1 + 0)")), &[]).expect("linked");
    let trap = instance.run(&mut packet(), 5_000).expect_err("nothing is at 0");
    assert_eq!(trap.pc.0, 9, "{trap}");
    assert!(matches!(trap.kind, TrapKind::Access { address: 0, .. }), "{trap}");
}

#[test]
fn frames_are_counted_through_helpers() {
    let vm = Vm::linux().build();
    // The function calls the loop with itself.
    let text = "r1 = 1\nr2 = subprog[f]\nr3 = 0\nr4 = 0\ncall 181\nr0 = 0\nexit\n\
                f:\nr1 = 1\nr2 = subprog[f]\nr3 = 0\nr4 = 0\ncall 181\nr0 = 0\nexit";
    let instance = vm.link(program(text), &[]).expect("linked");
    let trap = instance.run(&mut packet(), 100_000).expect_err("too deep");
    assert_eq!(trap.kind, TrapKind::CallDepth);
}

#[test]
fn a_number_that_is_no_function_is_refused() {
    let vm = Vm::linux().build();
    let text = "r1 = 1\nr2 = 7\nr3 = 0\nr4 = 0\ncall 181\nr0 = 0\nexit";
    let instance = vm.link(program(text), &[]).expect("linked");
    let trap = instance.run(&mut packet(), 1_000).expect_err("7 is no function");
    assert!(matches!(trap.kind, TrapKind::HelperArg { arg: 2, .. }), "{trap}");
}
