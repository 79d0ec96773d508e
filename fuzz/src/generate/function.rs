//! A function: its registers, its statements, its control flow.

use super::access::Place;
use super::{Generator, Rules};
use ebpfvm_asm::{AluOp, EndianOp, Imm64, Insn, JmpOp, Operand, Reg, Size, Width};

/// What is known of a function's registers; the same before and after each statement.
#[derive(Clone, Debug)]
pub(super) struct Function {
    /// Its number: it may call the functions after it.
    index: usize,
    /// Registers that hold numbers and may be written.
    pub(super) numbers: Vec<Reg>,
    /// Pointers, with the bytes that are there.
    pub(super) places: Vec<Place>,
    /// Whether `r1` to `r5` may be lost, and time is cheap.
    may_call: bool,
    /// Whether `r1` to `r5` may be lost.
    pub(super) may_lose: bool,
    /// Loops and conditions around the statement.
    depth: u32,
}

/// What calls preserve.
const PRESERVED: [Reg; 4] = [Reg::R6, Reg::R7, Reg::R8, Reg::R9];
pub(super) const SCRATCH: [Reg; 5] = [Reg::R1, Reg::R2, Reg::R3, Reg::R4, Reg::R5];

impl Function {
    /// Writes the start of a function: `r1` points to the memory, in functions other than the
    /// entry `r5` to 16 bytes of the caller's stack.
    pub(super) fn begin(g: &mut Generator<'_>, index: usize) -> Function {
        let may_call = index + 1 < g.starts.len();
        let mut free: Vec<Reg> = PRESERVED.to_vec();
        let mut take = |g: &mut Generator<'_>| free.remove(g.draw.below(free.len()));
        let mut places = Vec::new();

        let memory = if may_call || g.draw.below(2) == 0 { take(g) } else { Reg::R1 };
        if memory != Reg::R1 {
            g.builder.mov(memory, Reg::R1);
        }
        places.push(Place { base: memory, low: 0, high: g.memory_bytes });
        if index > 0 {
            let lent = if may_call { take(g) } else { Reg::R5 };
            if lent != Reg::R5 {
                g.builder.mov(lent, Reg::R5);
            }
            places.push(Place { base: lent, low: 0, high: 16 });
        }
        // Linux allows all frames together 512 bytes.
        let stack = match g.rules {
            Rules::Linux if g.starts.len() > 1 => 32,
            Rules::Linux => g.draw.one(&[64, 16, 8, 256]),
            Rules::Rfc => g.draw.one(&[64, 16, 8, 256, 512]),
        };
        let stack = if may_call { stack.max(16) } else { stack };
        if may_call || g.draw.below(4) > 0 {
            let initial = g.draw.one(&[Size::Dw, Size::W]);
            for offset in (-stack..0).step_by(initial.bytes() as usize) {
                g.builder.store(initial, Reg::R10, offset, offset as i32);
            }
            places.push(Place { base: Reg::R10, low: -stack, high: 0 });
            if g.draw.below(3) == 0 {
                let copy = take(g);
                let back = g.draw.below(stack as usize / 8 + 1) as i16 * 8;
                g.builder.mov(copy, Reg::R10).add(copy, -i32::from(back));
                places.push(Place { base: copy, low: back - stack, high: back });
            }
        }
        let is_number = |reg: &Reg| *reg != Reg::R10 && places.iter().all(|p| p.base != *reg);
        let mut function = Function {
            index,
            numbers: Reg::all().filter(is_number).collect(),
            may_lose: places.iter().all(|place| !SCRATCH.contains(&place.base)),
            places,
            may_call,
            depth: 0,
        };
        // Few registers make more pairs that depend on each other.
        if g.draw.once_in(4) {
            function.numbers.truncate(3);
        }
        for reg in function.numbers.clone() {
            g.fresh(&function, reg);
        }
        function
    }
}

impl Generator<'_> {
    /// Gives a register some number.
    pub(super) fn fresh(&mut self, function: &Function, reg: Reg) {
        let offset = self.draw.below(self.memory_bytes as usize / 8) as i16 * 8;
        match self.draw.below(3) {
            0 => self.builder.load(Size::Dw, reg, function.places[0].base, offset),
            1 => {
                let value = Imm64::Value(self.draw.number());
                self.builder.load_imm(reg, value)
            }
            _ => {
                let imm = self.imm();
                self.builder.mov(reg, imm)
            }
        };
    }

    pub(super) fn statement(&mut self, function: &mut Function) {
        self.left = self.left.saturating_sub(1);
        if self.has_idioms && self.draw.below(5) > 1 {
            return self.idiom(function);
        }
        match self.draw.below(16) {
            0..5 => self.compute(function),
            5..8 => self.access(function),
            8..12 => self.pair(function),
            12..14 if function.depth < 3 => self.condition(function),
            14 if function.depth < 3 && function.numbers.len() > 2 => self.repeat(function),
            15 if function.may_call => {
                let later = function.index + 1..self.starts.len();
                let callee = later.start + self.draw.below(later.len());
                self.call(function, callee);
            }
            15 if function.index == 0 && function.depth < 3 => self.may_goto(function),
            _ => self.compute(function),
        }
    }

    /// Something that control flow goes around.
    fn body(&mut self, function: &Function) {
        let mut inner = Function { depth: function.depth + 1, ..function.clone() };
        for _ in 0..=self.draw.below(5) {
            if self.left > 0 {
                self.statement(&mut inner);
            }
        }
    }

    /// Arithmetic on registers.
    pub(super) fn compute(&mut self, function: &Function) {
        let insn = self.arithmetic(function);
        self.builder.insn(insn);
    }

    fn arithmetic(&mut self, function: &Function) -> Insn {
        let width = self.width();
        let dst = self.draw.one(&function.numbers);
        let src = self.draw.one(&function.numbers);
        match self.draw.below(10) {
            0 => Insn::Neg { width, dst },
            1 => {
                let sizes: &[Size] = match width {
                    Width::W32 => &[Size::B, Size::H],
                    Width::W64 => &[Size::B, Size::H, Size::W],
                };
                Insn::Movsx { width, from: self.draw.one(sizes), dst, src }
            }
            2 => {
                let size = self.draw.one(&[Size::H, Size::W, Size::Dw]);
                Insn::Endian { op: self.draw.one(&EndianOp::ALL), size, dst }
            }
            3 => Insn::LoadImm { dst, value: Imm64::Value(self.draw.number()) },
            _ => self.alu(function, width, dst),
        }
    }

    /// A two-operand operation on a register.
    pub(super) fn alu(&mut self, function: &Function, width: Width, dst: Reg) -> Insn {
        let op = self.draw.one(&AluOp::ALL);
        let src = match (self.rules, op, self.operand(function)) {
            // Defined, but refused by Linux.
            (
                Rules::Linux,
                AluOp::Div | AluOp::Sdiv | AluOp::Mod | AluOp::Smod,
                Operand::Imm(0),
            ) => Operand::Imm(3),
            (Rules::Linux, AluOp::Lsh | AluOp::Rsh | AluOp::Arsh, Operand::Imm(count)) => {
                Operand::Imm(count & (width.bits() as i32 - 1))
            }
            (_, _, src) => src,
        };
        Insn::Alu { width, op, dst, src }
    }

    /// Jumps forward: over something, or to one of two.
    fn condition(&mut self, function: &Function) {
        let over = self.builder.new_label();
        let (width, op) = (self.width(), self.draw.one(&JmpOp::ALL));
        let (dst, src) = (self.draw.one(&function.numbers), self.operand(function));
        self.builder.jump_if(width, op, dst, src, over);
        self.body(function);
        match self.draw.below(4) {
            0 | 1 => {
                let end = self.builder.new_label();
                match self.draw.below(2) {
                    0 => self.builder.jump(end),
                    _ => self.builder.jump_far(end),
                };
                self.builder.label(over);
                self.body(function);
                self.builder.label(end);
            }
            2 if function.numbers.contains(&Reg::R0) => {
                self.builder.exit().label(over);
            }
            _ => {
                self.builder.label(over);
            }
        }
    }

    fn may_goto(&mut self, function: &Function) {
        let over = self.builder.new_label();
        self.builder.may_goto(over);
        self.body(function);
        self.builder.label(over);
    }

    /// A loop that counts in a register of its own, downward or upward.
    fn repeat(&mut self, function: &Function) {
        let mut inner = function.clone();
        let counter = inner.numbers.remove(self.draw.below(inner.numbers.len()));
        let times = 1 + self.draw.below(6) as i32;
        // Calls take time and scratch registers.
        inner.may_lose &= PRESERVED.contains(&counter);
        inner.may_call &= times <= 2 && PRESERVED.contains(&counter) && function.depth == 0;
        let head = self.builder.new_label();
        let width = self.width();
        let (first, step, (goes_on, ends), bound) = match self.draw.below(4) {
            0 => (times, -1, (JmpOp::Ne, JmpOp::Eq), 0),
            1 => (times, -1, (JmpOp::Sgt, JmpOp::Sle), 0),
            2 => (0, 1, (JmpOp::Lt, JmpOp::Ge), times),
            _ => (-times, 1, (JmpOp::Slt, JmpOp::Sge), 0),
        };
        let first = if width == Width::W32 { i64::from(first as u32) } else { first.into() };
        match i32::try_from(first) {
            Ok(first) => self.builder.mov(counter, first),
            Err(_) => self.builder.mov32(counter, first as i32),
        };
        // Compilers often write the test first and jump over it.
        if self.has_idioms && self.draw.once_in(4) {
            let (test, out) = (self.builder.new_label(), self.builder.new_label());
            self.builder.jump(head).label(test).alu(width, AluOp::Add, counter, step);
            self.builder.jump_if(width, ends, counter, bound, out).label(head);
            self.body(&inner);
            self.builder.jump(test).label(out);
            return;
        }
        // The head may be the second of a pair.
        if self.draw.below(2) == 0 {
            self.compute(&inner);
        }
        self.builder.label(head);
        self.body(&inner);
        self.builder.alu(width, AluOp::Add, counter, step);
        self.builder.jump_if(width, goes_on, counter, bound, head);
    }

    /// Calls another function with the memory, numbers, and some stack.
    pub(super) fn call(&mut self, function: &Function, callee: usize) {
        let Some(stack) = function.places.iter().find(|p| p.base == Reg::R10).copied() else {
            return;
        };
        self.builder.mov(Reg::R1, function.places[0].base);
        for reg in [Reg::R2, Reg::R3, Reg::R4] {
            if !function.numbers.contains(&reg) {
                self.fresh(function, reg);
            }
        }
        let lent = match self.rules {
            Rules::Rfc => self.draw.below((-stack.low - 15) as usize) as i16,
            Rules::Linux => self.draw.below((-stack.low / 8 - 1) as usize) as i16 * 8,
        };
        self.builder.mov(Reg::R5, Reg::R10).add(Reg::R5, i32::from(stack.low + lent));
        self.builder.call_local(self.starts[callee]);
        self.called[callee] = true;
        // What the callee left in r1 to r5 is defined here, but Linux hides it.
        let leave = self.rules == Rules::Rfc && self.draw.once_in(8);
        for reg in SCRATCH {
            if function.numbers.contains(&reg) && !leave {
                self.fresh(function, reg);
            }
        }
    }
}
