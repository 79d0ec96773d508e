//! Programs without sense.

use super::{Case, Rules, program};
use crate::draw::Draw;
use crate::reference::runs_alone;
use ebpfvm_asm::{Code, Imm64, Insn, Pc, Reg, Width};

/// Any instructions at all, or a sensible program in which some are replaced.
pub fn wild(mut draw: Draw<'_>) -> Case {
    if draw.below(2) == 0 {
        let bytes = draw.one(&[64, 0, 1, 7, 8, 300]);
        let memory = (0..bytes).map(|_| draw.any::<u8>().unwrap_or(0)).collect();
        let mut code = draw.any::<Code>().unwrap_or_else(|| [Insn::Exit].into_iter().collect());
        if !draw.once_in(8) {
            bind(&mut code);
        }
        return Case { code, memory };
    }
    let mut changes = Vec::new();
    for _ in 0..=draw.below(4) {
        if let (Some(at), Some(insn), Some(to)) = (draw.any(), draw.any(), draw.any()) {
            changes.push((at, insn, to));
        }
    }
    let mut case = program(draw, Rules::Rfc);
    for (at, insn, to) in changes {
        change(&mut case.code, at, insn, to);
    }
    case
}

/// Replaces an instruction by one that takes as many slots, which leads to some other if it leads
/// anywhere.
fn change(code: &mut Code, at: usize, insn: Insn, to: usize) {
    let places: Vec<(Pc, usize)> = code.iter().map(|(pc, insn)| (pc, insn.slots())).collect();
    let (pc, slots) = places[at % places.len()];
    let (to, _) = places[to % places.len()];
    let offset = i64::from(to.0) - i64::from(pc.0) - 1;
    let insn = i32::try_from(offset).ok().and_then(|to| insn.retarget(to)).unwrap_or(insn);
    if insn.slots() == slots {
        code.replace(pc, insn);
    }
}

/// Replaces what no machine takes by itself.
fn bind(code: &mut Code) {
    let alien: Vec<(Pc, usize)> = code
        .iter()
        .filter(|(_, insn)| !runs_alone(insn))
        .map(|(pc, insn)| (pc, insn.slots()))
        .collect();
    for (pc, slots) in alien {
        let reg = Reg::new((pc.0 % 10) as u8).unwrap_or(Reg::R0);
        code.replace(
            pc,
            match slots {
                1 => Insn::Neg { width: Width::W64, dst: reg },
                _ => Insn::LoadImm { dst: reg, value: Imm64::Value(pc.0.into()) },
            },
        );
    }
}
