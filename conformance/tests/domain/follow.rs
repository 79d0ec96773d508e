//! A program and what our domain says of its registers.

use crate::generate::{REGS, Step};
use crate::log::Place;
use ebpfvm_asm::{
    AluOp, Builder, ByteOrder, Imm64, Insn, JmpOp, Label, Operand, Pc, Reg, Size, Width,
};
use ebpfvm_verifier::domain::{
    Branch, Scalar, alu, branch_taken, endian, fork_sign, linked, load, load_sx, movsx, neg,
    pointer_add, pointer_sub, refine, refine_same,
};
use std::collections::HashMap;

const PRANDOM_U32: u32 = 7;
/// Offset of eight bytes on the stack to store a register.
const SPILL: i16 = -8;
/// Offset of eight bytes on the stack of which nothing is known.
const MISC: i16 = -16;

/// A register state expected in the log.
pub(crate) struct Expected {
    pub(crate) place: Place,
    pub(crate) reg: Reg,
    pub(crate) text: String,
    /// The step and the states before it, for messages.
    pub(crate) of: String,
}

/// A program and the states expected in its log.
#[derive(Default)]
pub(crate) struct Case {
    pub(crate) bytes: Vec<u8>,
    pub(crate) expected: Vec<Expected>,
    /// Those of the second way of a fork, which the log leaves out when they were seen before.
    pub(crate) forks: Vec<Expected>,
    /// Contradictions that the log complains about, in order; those of later instructions may follow.
    pub(crate) violations: Vec<String>,
    /// What is never reached.
    pub(crate) dead: Vec<Place>,
}

/// Puts the program together and follows it.
pub(crate) fn build(steps: &[Step]) -> Case {
    let mut follower = Follower::new();
    for byte in 1..=8 {
        follower.builder.store(Size::B, Reg::R10, MISC + 8 - byte, Reg::R0);
    }
    follower.builder.mov(Reg::R0, 0);
    for step in steps {
        follower.step(*step);
    }
    follower.finish()
}

/// Moves a packet pointer by registers.
pub(crate) fn build_pointer(steps: &[Step], moves: &[(AluOp, Reg)]) -> Case {
    let mut follower = Follower::new();
    for step in steps {
        follower.step(*step);
    }
    follower.builder.load(Size::W, Reg::R2, Reg::R9, 0);
    let mut offset = Scalar::constant(0);
    for (op, reg) in moves {
        let by = follower.states[reg];
        if by.as_const().is_some() {
            // Goes to the fixed part of the offset.
            continue;
        }
        let of = format!("{op:?} {} to {}", by.text(), offset.text());
        offset = match op {
            AluOp::Sub => pointer_sub(offset, by),
            _ => pointer_add(offset, by),
        };
        // As what moves a pointer does behind its checks.
        offset.sync();
        let place = Place::After(follower.pc(), 0);
        follower.builder.alu(Width::W64, *op, Reg::R2, *reg);
        let mut text = String::from("pkt(r=0");
        offset.write_ranges(&mut text, &mut ",").expect("strings take everything");
        text.push(')');
        follower.case.expected.push(Expected { place, reg: Reg::R2, text, of });
    }
    follower.finish()
}

/// Compares one of two registers that differ by a constant; the other one learns from it. The last
/// step is the comparison, of `r6` or of `r7`.
pub(crate) fn build_linked(steps: &[Step], width: Width, delta: i32, comparison: Step) -> Case {
    let mut follower = Follower::new();
    for step in steps {
        follower.step(*step);
    }
    follower.builder.mov(Reg::R0, 0).mov(Reg::R7, Reg::R6);
    let src = Operand::Imm(delta);
    follower.states.insert(Reg::R7, follower.states[&Reg::R6]);
    follower.step(Step::Compute(Insn::Alu { width, op: AluOp::Add, dst: Reg::R7, src }));
    let Step::Compare { dst, .. } = comparison else { unreachable!("a comparison is asked for") };
    let (other, delta) = match dst == Reg::R6 {
        true => (Reg::R7, i64::from(delta)),
        false => (Reg::R6, -i64::from(delta)),
    };
    follower.link = Some((width, other, delta as u64));
    follower.step(comparison);
    follower.finish()
}

/// A jump whose target ends the program.
struct End {
    target: Label,
    from: u32,
    /// The states there; none if it is never taken.
    states: Vec<(Reg, String)>,
    of: String,
}

struct Follower {
    builder: Builder,
    /// The registers on the way that goes on; none once a jump went the other way.
    states: HashMap<Reg, Scalar>,
    alive: bool,
    ends: Vec<End>,
    /// A register that differs by so much from the one that is compared.
    link: Option<(Width, Reg, u64)>,
    case: Case,
}

impl Follower {
    fn new() -> Follower {
        let mut builder = Builder::new();
        builder.mov(Reg::R9, Reg::R1);
        for reg in REGS {
            builder.call(PRANDOM_U32).mov(reg, Reg::R0);
        }
        let states = REGS.iter().map(|reg| (*reg, Scalar::TOP)).collect();
        Follower {
            builder,
            states,
            alive: true,
            ends: Vec::new(),
            link: None,
            case: Case::default(),
        }
    }

    /// Ends the program here. The kernel links only registers that are read later on.
    fn leave(&mut self) {
        if self.link.is_some() {
            self.builder.mov(Reg::R0, Reg::R6).mov(Reg::R0, Reg::R7);
        }
        self.builder.mov(Reg::R0, 0).exit();
    }

    /// Ends the program and all jumps that leave it.
    fn finish(mut self) -> Case {
        self.leave();
        for End { target, from, states, of } in std::mem::take(&mut self.ends) {
            self.builder.label(target);
            let place = Place::Jump(from, self.pc());
            self.leave();
            self.expect_or_dead(place, states, of);
        }
        let code = self.builder.build().expect("all labels are placed");
        self.case.bytes = code.to_bytes(ByteOrder::HOST).expect("all operands fit");
        self.case
    }

    fn pc(&self) -> u32 {
        let Pc(pc) = self.builder.pc();
        pc
    }

    fn source(&self, src: Operand) -> Scalar {
        match src {
            Operand::Reg(reg) => self.states[&reg],
            Operand::Imm(imm) => Scalar::constant(imm as i64 as u64),
        }
    }

    fn spell(&self, what: &dyn std::fmt::Debug) -> String {
        let states: Vec<_> =
            REGS.iter().map(|reg| format!("{reg}={}", self.states[reg].text())).collect();
        format!("{what:?} of {states:?}")
    }

    fn set(&mut self, pc: u32, reg: Reg, value: Scalar, of: String) {
        let (place, text) = (Place::After(pc, 0), value.text().to_string());
        self.case.expected.push(Expected { place, reg, text, of });
        self.states.insert(reg, value);
    }

    fn step(&mut self, step: Step) {
        let pc = self.pc();
        let of = self.spell(&step);
        match step {
            Step::Compute(insn) => {
                self.builder.insn(insn);
                if self.alive {
                    self.compute(pc, insn, of);
                }
            }
            Step::Reload { size, signed, dst, src } => {
                let low = if cfg!(target_endian = "big") { 8 - size.bytes() as i16 } else { 0 };
                self.builder.store(Size::Dw, Reg::R10, SPILL, src);
                self.load_insn(size, signed, dst, SPILL + low);
                let value = match (size, signed) {
                    (Size::Dw, _) => self.states[&src],
                    (_, true) => self.states[&src].sign_extend(size.bits()),
                    (_, false) => self.states[&src].zero_extend(size.bits()),
                };
                if self.alive {
                    self.set(pc + 1, dst, value, of);
                }
            }
            Step::Load { size, signed, dst } => {
                self.load_insn(size, signed, dst, MISC);
                let value = if signed { load_sx(size) } else { load(size) };
                if self.alive {
                    self.set(pc, dst, value, of);
                }
            }
            Step::Compare { width, op, dst, src, taken } => {
                // One side goes on, the other one ends; no two jumps have one target, so that
                // nothing is pruned.
                let target = self.builder.new_label();
                self.builder.jump_if(width, op, dst, src, target);
                if taken {
                    self.leave();
                    self.builder.label(target);
                }
                if self.alive {
                    self.compare(pc, (width, op, dst, src), taken, target, of);
                } else if !taken {
                    self.ends.push(End { target, from: pc, states: Vec::new(), of });
                }
            }
        }
    }

    fn load_insn(&mut self, size: Size, signed: bool, dst: Reg, offset: i16) {
        match signed {
            true => self.builder.load_sx(size, dst, Reg::R10, offset),
            false => self.builder.load(size, dst, Reg::R10, offset),
        };
    }

    fn compute(&mut self, pc: u32, insn: Insn, of: String) {
        if let Insn::Alu { width, op, dst, src } = insn
            && let src = self.source(src)
            && let Some((ones, zero)) = fork_sign(op, self.states[&dst], src)
        {
            // The kernel puts the value zero aside and comes back to this instruction.
            let after = alu(width, op, zero, src);
            for (place, value) in [(Place::Jump(pc, pc), zero), (Place::After(pc, 1), after)] {
                let text = value.text().to_string();
                self.case.forks.push(Expected { place, reg: dst, text, of: of.clone() });
            }
            self.states.insert(dst, ones);
        }
        let states = &self.states;
        let (dst, mut value) = match insn {
            Insn::Alu { width, op, dst, src } => {
                (dst, alu(width, op, states[&dst], self.source(src)))
            }
            Insn::Neg { width, dst } => (dst, neg(width, states[&dst])),
            Insn::Movsx { width, from, dst, src } => (dst, movsx(width, from, states[&src])),
            Insn::Endian { op, size, dst } => {
                (dst, endian(ByteOrder::HOST, op, size, states[&dst]))
            }
            Insn::LoadImm { dst, value: Imm64::Value(value) } => (dst, Scalar::constant(value)),
            other => unreachable!("{other:?} is not generated"),
        };
        if let Some(violation) = value.settle() {
            self.case.violations.push(format!("(alu): {violation}"));
        }
        self.set(pc, dst, value, of);
    }

    fn compare(
        &mut self,
        pc: u32,
        (width, op, dst, src): (Width, JmpOp, Reg, Operand),
        goes_on: bool,
        target: Label,
        of: String,
    ) {
        let (a, b) = (self.states[&dst], self.source(src));
        let known = branch_taken(width, op, &a, &b);
        let mut side = |taken: bool| {
            let decided = if taken { Branch::Always } else { Branch::Never };
            if known != Branch::Unknown {
                return (known == decided).then_some((a, b));
            }
            let refined = match src == Operand::Reg(dst) {
                true => refine_same(width, op, taken, a),
                false => refine(width, op, taken, a, b),
            };
            for (i, violation) in refined.violations.iter().enumerate() {
                if let Some(violation) = violation {
                    let name = format!("({taken}_reg{})", i + 1);
                    self.case.violations.push(format!("{name}: {violation}"));
                }
            }
            Some((refined.dst, refined.src))
        };
        let (on_jump, on_next) = (side(true), side(false));
        // On a way that is known, the log shows no states.
        let told = |pair: Option<(Scalar, Scalar)>| {
            let Some((x, y)) = pair.filter(|_| known == Branch::Unknown) else {
                return Vec::new();
            };
            let mut told = vec![(dst, x.text().to_string())];
            if let Operand::Reg(src) = src {
                told.push((src, y.text().to_string()));
            }
            told
        };
        let (mut jump, next) = (told(on_jump), told(on_next));
        // The log shows it where it shows all registers.
        if let (Some((width, other, delta)), Some((x, _))) = (self.link, on_jump)
            && !jump.is_empty()
        {
            jump.push((other, linked(width, x, delta).text().to_string()));
        }
        if next.is_empty() {
            if on_next.is_none() && self.case.forks.is_empty() {
                self.case.dead.push(Place::After(pc + 1, 0));
            }
        } else {
            self.expect_or_dead(Place::After(pc, 0), next, of.clone());
        }
        if goes_on {
            let place = Place::Jump(pc, self.pc());
            self.expect_or_dead(place, jump, of);
        } else {
            self.ends.push(End { target, from: pc, states: jump, of });
        }
        match if goes_on { on_jump } else { on_next } {
            None => self.alive = false,
            Some((x, y)) => {
                if let Operand::Reg(src) = src {
                    self.states.insert(src, y);
                }
                self.states.insert(dst, x);
            }
        }
    }

    /// The states at a place, which is never reached if there are none.
    fn expect_or_dead(&mut self, place: Place, states: Vec<(Reg, String)>, of: String) {
        // The other way of a fork may come by.
        if states.is_empty() && self.case.forks.is_empty() {
            self.case.dead.push(place);
        }
        for (reg, text) in states {
            self.case.expected.push(Expected { place, reg, text, of: of.clone() });
        }
    }
}
