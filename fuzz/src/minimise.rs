//! A smaller program, with less memory, that fails in the same way.

use crate::generate::Case;
use ebpfvm_asm::{AluOp, Builder, Code, Insn, Label, Operand, Pc, Reg, Width};

/// Leaves out instructions, and makes others simpler, as long as `fails` holds.
///
/// `fails` must hold for the case itself.
pub fn minimise(case: &Case, fails: impl Fn(&Case) -> bool) -> Case {
    let mut best = case.clone();
    loop {
        let before = best.code.len();
        shorten(&mut best, &fails);
        simplify(&mut best, &fails);
        shrink_memory(&mut best, &fails);
        if best.code.len() == before {
            return best;
        }
    }
}

/// Leaves out runs of instructions, long ones first.
fn shorten(best: &mut Case, fails: &impl Fn(&Case) -> bool) {
    let mut run = best.code.len().div_ceil(2);
    while run > 0 {
        let mut start = 0;
        while start < best.code.iter().count() {
            let shorter = Case { code: without(&best.code, start, run), ..best.clone() };
            if fails(&shorter) {
                *best = shorter;
            } else {
                start += run;
            }
        }
        run /= 2;
    }
}

/// Gives the program less memory.
fn shrink_memory(best: &mut Case, fails: &impl Fn(&Case) -> bool) {
    while !best.memory.is_empty() {
        let mut less = best.clone();
        less.memory.truncate(best.memory.len() / 2);
        if !fails(&less) {
            break;
        }
        *best = less;
    }
}

/// Replaces instructions by moves of 0 or 1, which mean nothing.
fn simplify(best: &mut Case, fails: &impl Fn(&Case) -> bool) {
    let places: Vec<Pc> = best.code.iter().map(|(pc, _)| pc).collect();
    for pc in places {
        for imm in [0, 1] {
            let src = Operand::Imm(imm);
            let plain = |dst| Insn::Alu { width: Width::W64, op: AluOp::Mov, dst, src };
            let dst = match best.code.get(pc) {
                Some(&Insn::Load { dst, .. } | &Insn::LoadSx { dst, .. }) => dst,
                Some(&Insn::Alu { dst, op, .. }) if op != AluOp::Mov => dst,
                Some(&Insn::Movsx { dst, .. } | &Insn::Endian { dst, .. }) => dst,
                _ => Reg::R10,
            };
            if dst == Reg::R10 {
                continue;
            }
            let mut simpler = best.clone();
            simpler.code.replace(pc, plain(dst));
            if fails(&simpler) {
                *best = simpler;
            }
        }
    }
}

/// The program without some instructions; what led to one of them leads to the next that is left.
fn without(code: &Code, start: usize, count: usize) -> Code {
    let insns: Vec<(Pc, Insn)> = code.iter().map(|(pc, insn)| (pc, *insn)).collect();
    let mut builder = Builder::new();
    let labels: Vec<Label> = insns.iter().map(|_| builder.new_label()).collect();
    for (i, (pc, insn)) in insns.iter().enumerate() {
        builder.label(labels[i]);
        if (start..start + count).contains(&i) {
            continue;
        }
        let offset = insn.jump_offset().or(insn.function_offset());
        let target = offset.and_then(|offset| pc.jump(offset));
        let target = target.and_then(|to| insns.binary_search_by_key(&to, |(pc, _)| *pc).ok());
        match target {
            Some(target) => builder.insn_to(*insn, labels[target]),
            None => builder.insn(*insn),
        };
    }
    // A program that cannot be built is no smaller one.
    builder.build().unwrap_or_else(|_| code.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::draw;
    use crate::generate::{Rules, program};

    #[test]
    fn what_does_not_matter_is_left_out() {
        let has_loop = |case: &Case| {
            case.code.iter().any(|(_, insn)| insn.jump_offset().is_some_and(|offset| offset < 0))
        };
        let bytes = (0..).map(draw::bytes);
        let mut cases = bytes.map(|bytes| program(draw::Draw::new(&bytes), Rules::Rfc));
        let case = cases.find(|case| has_loop(case) && case.code.len() > 50).expect("a loop");
        let smallest = minimise(&case, has_loop);
        assert_eq!((smallest.code.len(), smallest.memory.len()), (1, 0), "{smallest:?}");
    }
}
