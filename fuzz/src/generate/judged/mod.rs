//! Programs for verifiers: mostly sensible, at the edge of what is accepted, sometimes beyond.
//!
//! They have what a verdict can hang on: numbers of unknown value with bounds on them, pointers to a
//! map value, the stack, a packet and the context with offsets added, spills and fills, branches that
//! join, loops, functions. What a register holds is followed loosely, so that most accesses are near
//! the truth.

mod calls;
mod outside;
mod packets;
mod statement;
mod text;
pub mod world;

use crate::draw::Draw;
use ebpfvm_asm::{AluOp, Builder, Code, Imm64, JmpOp, Label, Operand, Reg, Size, Width};
use ebpfvm_spec::map::MapOrigin;
use ebpfvm_spec::{MapDef, MapFlags, MapType, ProgType};
use std::sync::{Arc, OnceLock};

/// A program for a verifier and how it is loaded.
#[derive(Clone, Debug)]
pub struct Judged {
    /// The program; its maps are [`maps`].
    pub code: Code,
    /// Its type.
    pub prog_type: ProgType,
    /// Flags of the load.
    pub flags: u32,
}

/// Size of a value of the first map in bytes.
const VALUE_BYTES: i16 = 64;

/// Size of the constants that are numbers.
const NUMBERS_BYTES: u32 = 16;

/// Constants behind the numbers: formats, most of them right.
const STRINGS: [&str; 9] =
    ["", "%d", "%u %x", "%lx|%5d", "%c%c", "%px", "%s.", "%pI4,%llu", "=%08X%%%-7ld"];

/// Where the strings begin in the value of the constants.
fn strings() -> [u32; STRINGS.len()] {
    let mut at = NUMBERS_BYTES;
    STRINGS.map(|text| {
        let start = at;
        at += text.len() as u32 + 1;
        start
    })
}

/// The maps of all programs: an array, a hash, and constants.
pub fn maps() -> Arc<[MapDef]> {
    static MAPS: OnceLock<Arc<[MapDef]>> = OnceLock::new();
    let make = || {
        let numbers = (0..NUMBERS_BYTES).map(|i| [7, 0, 0xff, 0x80][i as usize % 4]);
        let strings = STRINGS.iter().flat_map(|text| text.bytes().chain([0]));
        let bytes: Vec<u8> = numbers.chain(strings).collect();
        let mut constants = MapDef::new("constants", MapType::Array, 4, bytes.len() as u32, 1);
        constants.flags = MapFlags(MapFlags::RDONLY_PROG);
        let (section, data) = (".rodata".to_string(), bytes.into());
        constants.origin = MapOrigin::Section { section, data };
        [
            MapDef::new("values", MapType::Array, 4, VALUE_BYTES as u32, 1),
            MapDef::new("entries", MapType::Hash, 4, 48, 4),
            constants,
        ]
        .into()
    };
    MAPS.get_or_init(make).clone()
}

/// What a register or a slot of the stack holds, as far as the generator knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holds {
    Nothing,
    Number,
    Context,
    /// The frame pointer plus a number.
    Stack(i16),
    /// A value of this many bytes, plus a number.
    Value(i16, i16),
    /// Bytes that are known to be there.
    Packet(i16),
    PacketEnd,
}

impl Holds {
    fn is_pointer(self) -> bool {
        !matches!(self, Holds::Nothing | Holds::Number)
    }
}

/// The registers that may be written.
const REGS: [Reg; 10] =
    [Reg::R0, Reg::R1, Reg::R2, Reg::R3, Reg::R4, Reg::R5, Reg::R6, Reg::R7, Reg::R8, Reg::R9];

/// Slots of the stack that are followed, from the top.
const SLOTS: usize = 4;

/// What is known at a place of a function.
#[derive(Clone, Debug)]
struct Known {
    regs: [Holds; 10],
    slots: [Holds; SLOTS],
}

impl Known {
    fn clobber(&mut self) {
        self.regs[1..6].fill(Holds::Nothing);
    }

    /// What is known where two paths join.
    fn join(&mut self, other: &Known) {
        let pairs = self.regs.iter_mut().zip(&other.regs);
        for (one, other) in pairs.chain(self.slots.iter_mut().zip(&other.slots)) {
            if one != other {
                *one = match (*one, *other) {
                    (Holds::Packet(a), Holds::Packet(b)) => Holds::Packet(a.min(b)),
                    _ => Holds::Nothing,
                };
            }
        }
    }
}

/// Functions of a program besides the first, at most.
const FUNCTIONS: usize = 3;
/// Functions that helpers call, at most.
const CALLBACKS: usize = 2;

/// A function that a program may have.
#[derive(Clone, Copy, Debug)]
struct Function {
    start: Label,
    is_callback: bool,
    /// Registers 1 to 4 at its start, if it is called.
    args: Option<[Holds; 4]>,
}

/// What programs may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scope {
    /// What verdicts hang on, and what may make one differ.
    Verdict,
    /// All that has the same outcome wherever it runs, with the maps of [`world`].
    Run,
}

/// A program for verifiers alone.
pub fn judged(draw: Draw<'_>) -> Judged {
    write(draw, Scope::Verdict)
}

/// A program to be run, with the maps of [`world`].
pub fn runnable(draw: Draw<'_>) -> Judged {
    write(draw, Scope::Run)
}

fn write(mut draw: Draw<'_>, scope: Scope) -> Judged {
    const TYPES: [ProgType; 4] =
        [ProgType::SocketFilter, ProgType::Xdp, ProgType::SchedCls, ProgType::CgroupSkb];
    let prog_type = draw.one(&TYPES);
    let flags = match draw.below(8) {
        0 | 1 => 1 << 3, // BPF_F_TEST_STATE_FREQ: pruning wherever it is possible
        2 => 1 << 0,     // BPF_F_STRICT_ALIGNMENT
        _ => 0,
    };
    let mut builder = Builder::new();
    let callbacks = if scope == Scope::Run { CALLBACKS } else { 0 };
    let mut function = |is_callback| {
        let start = builder.new_label();
        Function { start, is_callback, args: None }
    };
    let mut functions: Vec<Function> = (0..FUNCTIONS).map(|_| function(false)).collect();
    functions.extend((0..callbacks).map(|_| function(true)));
    let sum = builder.new_label();
    let out = builder.new_label();
    let mut writer = Writer {
        draw,
        builder,
        prog_type,
        scope,
        functions,
        sum,
        is_summing: false,
        out,
        index: 0,
        left: 0,
        loops: 0,
        known: Known { regs: [Holds::Nothing; 10], slots: [Holds::Nothing; SLOTS] },
    };
    writer.program();
    let code = writer.builder.build().unwrap_or_default();
    Judged { code, prog_type, flags }
}

struct Writer<'a> {
    draw: Draw<'a>,
    builder: Builder,
    prog_type: ProgType,
    scope: Scope,
    functions: Vec<Function>,
    /// A callback that adds up what it is shown, and whether it is there.
    sum: Label,
    is_summing: bool,
    /// Where the current function ends with 0.
    out: Label,
    index: usize,
    /// Statements that may still be written in this function.
    left: usize,
    /// Loops around the statement.
    loops: u32,
    known: Known,
}

impl Writer<'_> {
    fn program(&mut self) {
        self.known.regs[1] = Holds::Context;
        self.fill_stack();
        self.mov(Reg::R6, Reg::R1);
        let value = self.draw.one(&[0, 8, 56, 63]);
        self.load_value(Reg::R7, value);
        self.builder.load(Size::Dw, Reg::R8, Reg::R7, -value);
        self.set(Reg::R8, Holds::Number);
        self.builder.mov(Reg::R9, 0);
        self.set(Reg::R9, Holds::Number);
        self.body();
        for index in 0..self.functions.len() {
            let Function { start, args: Some(args), .. } = self.functions[index] else { continue };
            self.builder.label(start);
            self.index = index + 1;
            self.out = self.builder.new_label();
            self.known = Known { regs: [Holds::Nothing; 10], slots: [Holds::Nothing; SLOTS] };
            self.known.regs[1..5].copy_from_slice(&args);
            self.fill_stack();
            self.body();
        }
        if self.is_summing {
            self.sum();
        }
        // What is not called must not be there, but its label has to be somewhere.
        let absent = self.functions.iter().filter(|function| function.args.is_none());
        let absent =
            absent.map(|function| function.start).chain((!self.is_summing).then_some(self.sum));
        for label in absent {
            self.builder.label(label);
        }
    }

    /// Whether a mistake is made: once in `n` times, and rarely in programs that are to run.
    fn slips(&mut self, n: usize) -> bool {
        let n = if self.scope == Scope::Run { 8 * n } else { n };
        self.draw.once_in(n)
    }

    /// Whether something is not as the generator believes: once in `n` times, and never in programs
    /// that are to run, which would tell addresses.
    fn errs(&mut self, n: usize) -> bool {
        self.scope == Scope::Verdict && self.draw.once_in(n)
    }

    fn body(&mut self) {
        self.left = match self.draw.below(8) {
            0 => 60,
            1..4 => 25,
            _ => 10,
        };
        while self.left > 0 && !self.draw.is_empty() {
            self.statement(0);
        }
        let most = if self.prog_type == ProgType::CgroupSkb { 2 } else { 256 };
        let is_callback =
            self.index.checked_sub(1).is_some_and(|index| self.functions[index].is_callback);
        match (self.holding(|holds| holds == Holds::Number), self.index) {
            (Some(reg), _) if is_callback => {
                self.builder.mov(Reg::R0, reg).alu(Width::W64, AluOp::And, Reg::R0, 1);
            }
            (Some(reg), 0) if self.scope == Scope::Run || self.draw.below(3) > 0 => {
                let mask = self.draw.one(&[most - 1, 1, 3]);
                self.builder.mov(Reg::R0, reg);
                self.builder.alu(Width::W64, AluOp::And, Reg::R0, mask);
            }
            (Some(reg), _) => {
                self.builder.mov(Reg::R0, reg);
            }
            (None, _) => {
                self.builder.mov(Reg::R0, 0);
            }
        }
        // Linux refuses code that nothing leads to.
        self.builder.jump_if(Width::W64, JmpOp::Eq, Reg::R0, 77, self.out);
        self.builder.exit();
        self.builder.label(self.out).mov(Reg::R0, 0).exit();
    }

    fn set(&mut self, reg: Reg, holds: Holds) {
        if let Some(known) = self.known.regs.get_mut(reg.index()) {
            *known = holds;
        }
    }

    fn get(&self, reg: Reg) -> Holds {
        self.known.regs.get(reg.index()).copied().unwrap_or(Holds::Stack(0))
    }

    fn mov(&mut self, dst: Reg, src: Reg) {
        self.builder.mov(dst, src);
        self.set(dst, self.get(src));
    }

    fn load_value(&mut self, dst: Reg, offset: i16) {
        let value = Imm64::MapIdxValue { index: 0, offset: offset as u32 };
        self.builder.load_imm(dst, value);
        self.set(dst, Holds::Value(VALUE_BYTES, offset));
    }

    /// A register that holds such a thing; now and then any register.
    fn holding(&mut self, wanted: impl Fn(Holds) -> bool) -> Option<Reg> {
        if self.errs(100) {
            return Some(self.draw.one(&REGS));
        }
        let all = REGS.into_iter().filter(|reg| wanted(self.get(*reg)));
        let all: Vec<Reg> = all.collect();
        (!all.is_empty()).then(|| self.draw.one(&all))
    }

    /// A register that may be written: rarely one of those that the start has set.
    fn target(&mut self) -> Reg {
        match self.draw.below(4) {
            0 => self.draw.one(&[Reg::R7, Reg::R8, Reg::R9]),
            _ => self.draw.one(&[Reg::R0, Reg::R1, Reg::R2, Reg::R3, Reg::R4, Reg::R5]),
        }
    }

    fn number(&mut self) -> Option<Reg> {
        self.holding(|holds| holds == Holds::Number)
    }

    /// A number near which verdicts change.
    fn edge(&mut self) -> i32 {
        const EDGES: [i32; 20] =
            [0, 1, -1, 2, 3, 7, 8, 15, 16, 31, 32, 55, 56, 57, 63, 64, 65, 255, i32::MIN, i32::MAX];
        match self.draw.below(8) {
            0 => self.draw.number() as i32,
            1 => -self.draw.one(&EDGES[..16]),
            _ => self.draw.one(&EDGES),
        }
    }

    /// A number of the program, or an immediate.
    fn operand(&mut self) -> Operand {
        match (self.draw.below(3), self.number()) {
            (0, Some(reg)) => Operand::Reg(reg),
            _ => Operand::Imm(self.edge()),
        }
    }
}
