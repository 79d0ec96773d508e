//! Programs from bytes.
//!
//! [`program`] makes programs that end and touch only their own memory: arithmetic of all kinds,
//! jumps forward, loops with a bound, memory and stack through every kind of pointer, local calls.
//! [`compiled`] adds what optimisers know, [`wild`] makes anything that can be encoded, [`judged`](fn@judged) what verifiers have to think about.

mod access;
mod function;
mod idiom;
mod judged;
mod outside;
mod pair;
mod wild;

pub use judged::{Judged, judged, maps, runnable, world};
pub use outside::{BLEND, MIX, STOP_IF_ODD, tables};
pub use wild::wild;

use crate::draw::Draw;
use access::Place;
use ebpfvm_asm::{AluOp, Builder, Code, Label, Operand, Reg, Width};
use function::Function;

/// A program and the memory that it is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// The program.
    pub code: Code,
    /// The memory.
    pub memory: Vec<u8>,
}

/// What programs may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rules {
    /// All that RFC 9669 gives a result.
    Rfc,
    /// What Linux 6.18 accepts. Its known faults (see the vectors' README) are left out.
    Linux,
}

/// A well-formed program that ends, and memory for it.
pub fn program(draw: Draw<'_>, rules: Rules) -> Case {
    make(Generator::new(draw, rules))
}

/// A program for a compiler: what [`program`] makes, with what optimisers know, and with calls of
/// helpers and lookups in the maps of [`tables`]. Verifiers accept most of them.
pub fn compiled(mut draw: Draw<'_>) -> Case {
    let rules = if draw.once_in(8) { Rules::Rfc } else { Rules::Linux };
    make(Generator { has_idioms: true, ..Generator::new(draw, rules) })
}

fn make(mut generator: Generator<'_>) -> Case {
    let bytes = match generator.rules {
        Rules::Rfc => generator.draw.one(&[64, 8, 16, 40, 256, 1024]),
        Rules::Linux => 64,
    };
    let memory = (0..bytes / 8).flat_map(|_| generator.draw.number().to_ne_bytes()).collect();
    generator.memory_bytes = bytes as i16;
    generator.functions();
    let code = generator.builder.build().expect("all labels are placed within reach");
    Case { code, memory }
}

/// Functions of one program, at most: the entry and what it may call.
const MAX_FUNCTIONS: usize = 8;
/// Statements of one function, at most.
const MAX_STATEMENTS: usize = 400;

struct Generator<'a> {
    draw: Draw<'a>,
    rules: Rules,
    /// Whether there are statements that optimisers know, and helpers and maps.
    has_idioms: bool,
    builder: Builder,
    memory_bytes: i16,
    /// Where functions start; each calls only later ones.
    starts: Vec<Label>,
    /// Which of them are called so far; Linux refuses a function that is not.
    called: Vec<bool>,
    /// Statements that may still be made in this function.
    left: usize,
}

impl<'a> Generator<'a> {
    fn new(draw: Draw<'a>, rules: Rules) -> Generator<'a> {
        let builder = Builder::new();
        Generator {
            draw,
            rules,
            has_idioms: false,
            builder,
            memory_bytes: 0,
            starts: Vec::new(),
            called: Vec::new(),
            left: 0,
        }
    }

    fn functions(&mut self) {
        let count = match self.draw.below(if self.has_idioms { 8 } else { 4 }) {
            0 => 1 + self.draw.below(MAX_FUNCTIONS),
            1 => 2,
            _ => 1,
        };
        self.starts = (0..count).map(|_| self.builder.new_label()).collect();
        self.called = vec![false; count];
        for index in 0..count {
            self.function(index);
        }
    }

    fn function(&mut self, index: usize) {
        self.builder.label(self.starts[index]);
        self.left = match self.draw.below(16) {
            _ if self.has_idioms => 1 + self.draw.below(9),
            0 if index == 0 => MAX_STATEMENTS,
            1..4 => 60,
            _ => 16,
        };
        let mut function = Function::begin(self, index);
        while self.left > 0 && !self.draw.is_empty() {
            self.statement(&mut function);
        }
        if self.called.get(index + 1) == Some(&false) {
            self.call(&function, index + 1);
        }
        if index == 0 {
            self.hash(&function);
        } else if !function.numbers.contains(&Reg::R0) {
            self.builder.mov(Reg::R0, 1);
        }
        self.builder.exit();
    }

    /// Mixes what the entry function has computed into `r0`.
    fn hash(&mut self, function: &Function) {
        if !function.numbers.contains(&Reg::R0) {
            self.builder.mov(Reg::R0, 0);
        }
        let mix = |builder: &mut Builder, src: Reg| {
            builder.alu(Width::W64, AluOp::Mul, Reg::R0, 31).add(Reg::R0, src);
        };
        let others: Vec<Reg> =
            function.numbers.iter().copied().filter(|reg| *reg != Reg::R0).collect();
        for reg in &others {
            mix(&mut self.builder, *reg);
        }
        let Some(temporary) = others.first() else { return };
        // The memory itself is compared.
        let skipped = usize::from(self.has_idioms);
        for place in &function.places[skipped..] {
            for offset in (place.low..place.high).step_by(8).take(8) {
                let size = ebpfvm_asm::Size::Dw;
                self.builder.load(size, *temporary, place.base, offset);
                mix(&mut self.builder, *temporary);
            }
        }
    }

    fn width(&mut self) -> Width {
        self.draw.one(&Width::ALL)
    }

    fn imm(&mut self) -> i32 {
        self.draw.number() as i32
    }

    fn operand(&mut self, function: &Function) -> Operand {
        match self.draw.below(2) {
            0 => Operand::Reg(self.draw.one(&function.numbers)),
            _ => Operand::Imm(self.imm()),
        }
    }
}
