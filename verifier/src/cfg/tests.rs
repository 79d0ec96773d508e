//! Shapes that are refused, and what is found in those that are not.

use super::*;
use crate::reject::StructureReason;
use ebpfvm_asm::text::{Dialect, assemble};
use ebpfvm_spec::program::ProgType;

fn shape(text: &str) -> Result<Structure, Reason> {
    let code = assemble(text, Dialect::PseudoC).expect("the test's text is a program");
    let program = Program::from_code("test", ProgType::SocketFilter, code);
    Structure::of(&program, &Platform::linux(), &Options::default(), AttachType(0))
}

fn live(structure: &Structure, pc: u32) -> Vec<usize> {
    (0..11).filter(|reg| structure.at(Pc(pc)).live_regs.has(*reg)).collect()
}

#[test]
fn code_has_an_end_and_no_dead_parts() {
    let refused = |text| shape(text).expect_err(text);
    assert_eq!(refused("r0 = 0"), StructureReason::FallsThrough.into());
    assert_eq!(refused(""), StructureReason::FallsThrough.into());
    assert_eq!(
        refused("r0 = 0\nexit\nr0 = 1\nexit"),
        StructureReason::Unreachable { pc: 2 }.into()
    );
    assert_eq!(
        refused("r0 = 0\nif r0 == 0 goto +7\nexit"),
        StructureReason::JumpOutOfRange { from: 1, to: 9 }.into()
    );
    assert_eq!(
        refused("r1 = 0\nif r1 == 0 goto +1\nr0 = 1 ll\nexit"),
        StructureReason::JumpIntoWide { pc: 2 }.into()
    );
}

#[test]
fn a_jump_stays_in_its_function() {
    let text = "call 2\nif r0 == 0 goto +2\nexit\nr0 = 1\nexit";
    let code = assemble(text, Dialect::PseudoC).expect("a program");
    let mut insns: Vec<_> = code.iter().map(|(_, insn)| *insn).collect();
    insns[0] = ebpfvm_asm::Insn::Call { target: ebpfvm_asm::CallTarget::Local { offset: 2 } };
    let program = Program::from_code("test", ProgType::SocketFilter, insns.into_iter().collect());
    let refused = Structure::of(&program, &Platform::linux(), &Options::default(), AttachType(0));
    assert_eq!(
        refused.expect_err("a jump into another function"),
        StructureReason::JumpOutOfRange { from: 1, to: 4 }.into()
    );
}

#[test]
fn loops_need_privileges_and_have_numbers() {
    let text = "r0 = 3\nagain: r0 += -1\nif r0 != 0 goto again\nexit";
    let structure = shape(text).expect("a loop");
    let numbers: Vec<u32> = structure.insns.iter().map(|s| s.scc).collect();
    assert_eq!(numbers, [0, 1, 1, 0]);
    let code = assemble(text, Dialect::PseudoC).expect("a program");
    let program = Program::from_code("test", ProgType::SocketFilter, code);
    let options = Options { privileges: crate::Privileges::NONE, ..Options::default() };
    let refused = Structure::of(&program, &Platform::linux(), &options, AttachType(0));
    assert_eq!(
        refused.expect_err("a loop of a plain user"),
        StructureReason::BackEdge { from: 2, to: 1 }.into()
    );
}

#[test]
fn registers_live_from_their_last_write_to_their_last_read() {
    let structure = shape("r6 = r1\nr1 = 1\nr2 = 2\ncall 7\nr0 += r6\nexit").expect("a program");
    assert_eq!(live(&structure, 0), [1]);
    // The helper takes no argument.
    assert_eq!(live(&structure, 3), [6]);
    assert_eq!(live(&structure, 4), [0, 6]);
    assert_eq!(live(&structure, 5), [0]);
}

#[test]
fn states_are_compared_where_ways_meet() {
    let structure = shape("if r1 == 0 goto +1\nr0 = 0\nr0 = 1\nexit").expect("a program");
    let points: Vec<_> =
        structure.insns.iter().map(|s| (s.is_prune_point, s.is_jump_point)).collect();
    assert_eq!(points, [(true, false), (false, false), (true, true), (false, false)]);
}

#[test]
fn what_is_saved_around_a_fast_call_is_known_unless_a_jump_leads_between() {
    let pairs = |to: &str| {
        let at = |label: &str| if label == to { format!("{to}: ") } else { String::new() };
        let text = format!(
            "r1 = 7\nif r1 == 8 goto {to}\n{}*(u64 *)(r10 - 8) = r1\n{}call 8\n\
             {}r1 = *(u64 *)(r10 - 8)\n{}r0 = 0\nexit",
            at("spill"),
            at("call"),
            at("fill"),
            at("after")
        );
        let structure = shape(&text).expect("a program");
        let marked = structure.insns.iter().enumerate().filter(|(_, shape)| shape.in_fast_call);
        marked.map(|(slot, _)| slot).collect::<Vec<_>>()
    };
    assert_eq!(pairs("spill"), [2, 4]);
    assert_eq!(pairs("after"), [2, 4]);
    assert_eq!(pairs("call"), [] as [usize; 0]);
    assert_eq!(pairs("fill"), [] as [usize; 0]);
}
