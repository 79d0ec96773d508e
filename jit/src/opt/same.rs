//! Passes keep what units do: random programs give the same before and after them.
//!
//! Programs are drawn as a list of pieces, most of them one instruction, some of them the few that
//! compilers write together. The same pieces are run as a program with checks, as one without them,
//! and, if the verifier accepts them, with its facts.

use super::Given;
use crate::ir::Unit;
use crate::ir::eval::{Input, Stop, checked_unit, run, verified, without_checks};
use ebpfvm_asm::{
    AluOp, AtomicOp, Builder, Code, EndianOp, Insn, JmpOp, Label, Operand, Reg, Size, Width,
};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

/// A few instructions.
#[derive(Clone, Debug)]
enum Piece {
    One(Insn),
    /// The lower part of a register, by two shifts.
    ShiftPair(Reg, u8, u8, AluOp),
    /// `dst = src << n | src >> (bits - n)`
    Rotate(Width, Reg, Reg, u8),
    /// A value from single bytes, from memory in the frame or the window; `true` has the first byte on
    /// top.
    Bytes(Reg, Reg, Reg, i16, u8, bool),
    /// A register that points into the window or the frame, with a computed offset that is inside.
    Indexed {
        dst: Reg,
        by: Reg,
        base: Reg,
        scale: u8,
    },
    /// A jump to another piece, `(place + distance)` of them.
    JumpIf {
        width: Width,
        op: JmpOp,
        dst: Reg,
        src: Operand,
        distance: i8,
    },
    Jump {
        distance: i8,
    },
    MayGoto {
        distance: i8,
    },
    /// `reg -= 1; if reg s> 0 goto`
    Loop {
        reg: Reg,
        back: u8,
    },
    /// A helper, after which arguments are defined again.
    Call(u32),
    /// The second function.
    CallLocal,
}

const DATA: [Reg; 8] = [Reg::R0, Reg::R1, Reg::R2, Reg::R3, Reg::R4, Reg::R5, Reg::R6, Reg::R7];

fn data() -> impl Strategy<Value = Reg> {
    prop::sample::select(&DATA)
}

/// A register that points to memory where offsets from 0 to 32 are inside: the window or the frame.
fn pointer() -> impl Strategy<Value = Reg> {
    prop::sample::select(&[Reg::R8, Reg::R9])
}

fn width() -> impl Strategy<Value = Width> {
    prop::sample::select(&Width::ALL)
}

fn size() -> impl Strategy<Value = Size> {
    prop::sample::select(&Size::ALL)
}

fn number() -> impl Strategy<Value = i32> {
    const EDGES: &[i32] = &[
        0,
        1,
        -1,
        2,
        3,
        4,
        5,
        7,
        8,
        10,
        16,
        24,
        31,
        32,
        48,
        56,
        63,
        64,
        100,
        127,
        128,
        255,
        256,
        0xffff,
        0x10000,
        -128,
        -255,
        -0xffff,
        -0x1_0000,
        i32::MIN,
        i32::MAX,
        i32::MIN + 1,
    ];
    prop_oneof![4 => prop::sample::select(EDGES), 1 => any::<i32>()]
}

fn operand() -> impl Strategy<Value = Operand> {
    prop_oneof![data().prop_map(Operand::Reg), number().prop_map(Operand::Imm)]
}

fn offset() -> impl Strategy<Value = i16> {
    prop_oneof![Just(0), Just(8), 0..24_i16]
}

/// An access: a register with an offset that is inside.
fn place() -> impl Strategy<Value = (Reg, i16)> {
    prop_oneof![(pointer(), offset()), (Just(Reg::R10), (-32..=-8_i16))]
}

fn piece() -> impl Strategy<Value = Piece> {
    let alu_op = prop::sample::select(&AluOp::ALL);
    let alu = (width(), alu_op, data(), operand()).prop_map(|(width, op, dst, src)| Insn::Alu {
        width,
        op,
        dst,
        src,
    });
    let mov = (data(), operand()).prop_map(|(dst, src)| Insn::Alu {
        width: Width::W64,
        op: AluOp::Mov,
        dst,
        src,
    });
    let neg = (width(), data()).prop_map(|(width, dst)| Insn::Neg { width, dst });
    let movsx = (width(), prop::sample::select(&[Size::B, Size::H, Size::W]), data(), data())
        .prop_map(|(width, from, dst, src)| match (width, from) {
            (Width::W32, Size::W) => Insn::Alu { width, op: AluOp::Mov, dst, src: src.into() },
            _ => Insn::Movsx { width, from, dst, src },
        });
    let endian = (
        prop::sample::select(&EndianOp::ALL),
        prop::sample::select(&[Size::H, Size::W, Size::Dw]),
        data(),
    )
        .prop_map(|(op, size, dst)| Insn::Endian { op, size, dst });
    let load = (size(), data(), place(), any::<bool>()).prop_map(|(size, dst, at, signed)| {
        let (base, offset) = at;
        match signed && size != Size::Dw {
            true => Insn::LoadSx { size, dst, base, offset },
            false => Insn::Load { size, dst, base, offset },
        }
    });
    let store = (size(), place(), operand()).prop_map(|(size, (base, offset), src)| Insn::Store {
        size,
        base,
        offset,
        src,
    });
    let atomic = (
        prop::sample::select(&AtomicOp::ALL),
        prop::sample::select(&[Size::W, Size::Dw]),
        pointer(),
        data(),
    )
        .prop_map(|(op, size, base, src)| Insn::Atomic { op, size, base, offset: 8, src });
    let jump = (width(), prop::sample::select(&JmpOp::ALL), data(), operand(), -6..10_i8).prop_map(
        |(width, op, dst, src, distance)| Piece::JumpIf { width, op, dst, src, distance },
    );
    prop_oneof![
        10 => alu.prop_map(Piece::One),
        4 => mov.prop_map(Piece::One),
        1 => neg.prop_map(Piece::One),
        2 => movsx.prop_map(Piece::One),
        2 => endian.prop_map(Piece::One),
        4 => load.prop_map(Piece::One),
        4 => store.prop_map(Piece::One),
        1 => atomic.prop_map(Piece::One),
        1 => (data(), any::<u64>()).prop_map(|(dst, value)| Piece::One(Insn::LoadImm {
            dst,
            value: ebpfvm_asm::Imm64::Value(value),
        })),
        2 => (data(), prop::sample::select(&[32, 48, 56, 24]), prop::sample::select(&[32, 48, 56, 40]),
            prop::sample::select(&[AluOp::Rsh, AluOp::Arsh]))
            .prop_map(|(reg, left, right, op)| Piece::ShiftPair(reg, left, right, op)),
        1 => (width(), data(), data(), 1..63_u8)
            .prop_map(|(width, dst, src, by)| Piece::Rotate(width, dst, src, by)),
        1 => (data(), data(), pointer(), offset(), prop::sample::select(&[2, 4, 8]), any::<bool>())
            .prop_map(|(dst, by, base, at, bytes, first_on_top)| {
                Piece::Bytes(dst, by, base, at, bytes, first_on_top)
            }),
        1 => (data(), data(), pointer(), 0..4_u8)
            .prop_map(|(dst, by, base, scale)| Piece::Indexed { dst, by, base, scale }),
        6 => jump,
        1 => (-4..8_i8).prop_map(|distance| Piece::Jump { distance }),
        1 => (-4..8_i8).prop_map(|distance| Piece::MayGoto { distance }),
        1 => (data(), 1..6_u8).prop_map(|(reg, back)| Piece::Loop { reg, back }),
        1 => prop::sample::select(&[7, 5, 12, 100]).prop_map(Piece::Call),
        1 => Just(Piece::CallLocal),
    ]
}

/// What `r9` points to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Memory {
    /// The memory that the program gets.
    Window,
    /// The stack frame, which every program can read and write.
    Frame,
}

/// Defined values in all registers, of both functions.
fn begin(b: &mut Builder, memory: Memory) {
    match memory {
        Memory::Window => b.mov(Reg::R9, Reg::R1),
        Memory::Frame => b.mov(Reg::R9, Reg::R10).alu(Width::W64, AluOp::Add, Reg::R9, -160),
    };
    b.mov(Reg::R8, Reg::R10).alu(Width::W64, AluOp::Add, Reg::R8, -96);
    if memory == Memory::Frame {
        for at in 1..=20 {
            b.store(Size::Dw, Reg::R10, -8 * at, i32::from(at));
        }
    }
    for (reg, value) in DATA.iter().zip([3, -1, 0x7fff_ffff, 0, 1, 100, 5, 0]) {
        b.mov(*reg, value);
    }
}

/// What a call leaves in its arguments is not defined.
fn arguments(b: &mut Builder) {
    for (number, reg) in DATA.iter().enumerate().take(6).skip(1) {
        b.mov(*reg, number as i32);
    }
}

/// A function; registers in `shown` matter at its end.
fn body(b: &mut Builder, pieces: &[Piece], shown: u8, function: Option<Label>, memory: Memory) {
    begin(b, memory);
    let labels: Vec<Label> = (0..=pieces.len()).map(|_| b.new_label()).collect();
    let target = |place: usize, distance: i8| {
        labels[(place as i64 + i64::from(distance)).rem_euclid(labels.len() as i64) as usize]
    };
    for (place, piece) in pieces.iter().enumerate() {
        b.label(labels[place]);
        write(b, piece, place, &target, function);
    }
    b.label(labels[pieces.len()]);
    for (number, reg) in
        DATA.iter().enumerate().skip(1).filter(|(number, _)| shown >> number & 1 == 1)
    {
        b.alu(Width::W64, AluOp::Mul, Reg::R0, 2 * number as i32 + 1);
        b.alu(Width::W64, AluOp::Xor, Reg::R0, *reg);
    }
    b.exit();
}

fn write(
    b: &mut Builder,
    piece: &Piece,
    place: usize,
    target: &impl Fn(usize, i8) -> Label,
    function: Option<Label>,
) {
    let w64 = Width::W64;
    match *piece {
        Piece::One(insn) => {
            b.insn(insn);
        }
        Piece::ShiftPair(reg, left, right, op) => {
            b.alu(w64, AluOp::Lsh, reg, i32::from(left)).alu(w64, op, reg, i32::from(right));
        }
        Piece::Rotate(width, dst, src, by) => {
            let by = i32::from(by) % width.bits() as i32;
            b.alu(width, AluOp::Mov, dst, src).alu(width, AluOp::Lsh, dst, by);
            b.alu(width, AluOp::Rsh, src, width.bits() as i32 - by);
            b.alu(width, AluOp::Or, dst, src);
        }
        Piece::Bytes(dst, by, base, at, bytes, first_on_top) => {
            for byte in 0..i16::from(bytes) {
                let order = if first_on_top { i16::from(bytes) - 1 - byte } else { byte };
                let to = if byte == 0 { dst } else { by };
                b.load(Size::B, to, base, at + byte);
                if order != 0 {
                    b.alu(w64, AluOp::Lsh, to, i32::from(order) * 8);
                }
                if byte != 0 {
                    b.alu(w64, AluOp::Or, dst, by);
                }
            }
        }
        Piece::Indexed { dst, by, base, scale } => {
            b.alu(w64, AluOp::And, by, 3).mov(dst, by);
            b.alu(w64, AluOp::Lsh, dst, i32::from(scale)).alu(w64, AluOp::Add, dst, base);
            b.load(Size::W, by, dst, 4).store(Size::H, dst, 2, by);
            // No pointer is left behind, for the verifier.
            b.mov(dst, 1);
        }
        Piece::JumpIf { width, op, dst, src, distance } => {
            b.jump_if(width, op, dst, src, target(place, distance));
        }
        Piece::Jump { distance } => {
            b.jump(target(place, distance));
        }
        Piece::MayGoto { distance } => {
            b.may_goto(target(place, distance));
        }
        Piece::Loop { reg, back } => {
            b.alu(w64, AluOp::Sub, reg, 1);
            b.jump_if(w64, JmpOp::Sgt, reg, 0, target(place, -i8::try_from(back).unwrap_or(1)));
        }
        Piece::Call(number) => {
            if number == 100 {
                b.mov(Reg::R2, Reg::R10).alu(w64, AluOp::Add, Reg::R2, -24);
                b.mov(Reg::R3, Reg::R8);
            }
            b.call(number);
            arguments(b);
        }
        Piece::CallLocal => {
            if let Some(function) = function {
                b.mov(Reg::R1, Reg::R9).call_local(function);
                arguments(b);
            }
        }
    }
}

/// Functions: their pieces, and the registers whose values they return together.
#[derive(Clone, Debug)]
struct Drawn {
    first: (Vec<Piece>, u8),
    second: (Vec<Piece>, u8),
}

fn code(drawn: &Drawn, memory: Memory) -> Option<Code> {
    let mut b = Builder::new();
    let (first, second) = (&drawn.first, &drawn.second);
    let calls = first.0.iter().any(|piece| matches!(piece, Piece::CallLocal));
    let function = calls.then(|| b.new_label());
    body(&mut b, &first.0, first.1, function, memory);
    if let Some(function) = function {
        b.label(function);
        body(&mut b, &second.0, second.1, None, memory);
    }
    b.build().ok()
}

/// What units are run on.
pub(crate) fn inputs() -> [Input; 2] {
    let window = |salt: u8| (0..64).map(|byte: u8| byte.wrapping_mul(salt) ^ salt).collect();
    [
        Input { window: window(0), fuel: 400, salt: 1 },
        Input { window: window(0xb7), fuel: 3000, salt: 2 },
    ]
}

/// Compares what a unit does before and after; with different garbage in what is not defined.
fn compare(before: &Unit, given: &Given<'_>, pass: &dyn Fn(&mut Unit, &Given<'_>)) {
    let mut after = before.clone();
    pass(&mut after, given);
    for input in inputs() {
        let expected = run(before, &input);
        if matches!(expected.result, Err(Stop::Wild(_))) {
            continue;
        }
        let mut got = run(&after, &Input { salt: input.salt + 100, ..input });
        // Where the spare register is free, fuel is not counted.
        if given.has_spare {
            if [&expected, &got].iter().any(|outcome| outcome.result == Err(Stop::OutOfFuel)) {
                continue;
            }
            got.fuel = expected.fuel;
        }
        assert!(
            expected == got,
            "before:\n{before}\nafter:\n{after}\nexpected {expected:?}\ngot {got:?}"
        );
    }
}

fn all_units(drawn: &Drawn, each: &dyn Fn(&Unit, &Given<'_>)) {
    for memory in [Memory::Window, Memory::Frame] {
        let Some(code) = code(drawn, memory) else { continue };
        for has_spare in [true, false] {
            let unknown = Given { facts: None, has_spare };
            let unit = checked_unit(code.clone());
            each(&unit, &unknown);
            each(&without_checks(unit), &unknown);
        }
        if let Some((program, unit)) = verified(code) {
            let given = Given { facts: Some(program.facts()), has_spare: true };
            each(&unit, &given);
        }
    }
}

/// Fails if random programs do something else after the pass. `PROPTEST_CASES` says how many.
pub(crate) fn keeps_meaning(pass: &dyn Fn(&mut Unit, &Given<'_>)) {
    random_units(&|unit, given| compare(unit, given, pass));
}

/// Gives random programs, with checks and without. `PROPTEST_CASES` says how many.
pub(crate) fn random_units(each: &dyn Fn(&Unit, &Given<'_>)) {
    let function = |pieces| (prop::collection::vec(piece(), pieces), any::<u8>());
    let programs = (function(1..40), function(1..10));
    let config = Config { failure_persistence: None, ..Config::default() };
    let result = TestRunner::new(config).run(&programs, |(first, second)| {
        all_units(&Drawn { first, second }, each);
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}

/// What a unit looks like after passes: its operations and ends, without the numbers of its blocks.
pub(crate) fn text_after(mut unit: Unit, passes: &[fn(&mut Unit, &Given<'_>)]) -> String {
    for pass in passes {
        pass(&mut unit, &Given { facts: None, has_spare: true });
    }
    let text: String = unit.blocks.iter().map(crate::ir::Block::to_string).collect();
    // Where control would run over the end.
    let lines = text.lines().map(str::trim).filter(|line| *line != "stop");
    lines.collect::<Vec<_>>().join("|")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::{Binary, Op};

    #[test]
    #[should_panic(expected = "before:")]
    fn a_pass_that_errs_is_found_out() {
        keeps_meaning(&|unit, _| {
            for inst in unit.blocks.iter_mut().flat_map(|block| &mut block.insts) {
                if let Op::Binary { op: op @ Binary::Alu(_), .. } = &mut inst.op {
                    *op = Binary::Alu(AluOp::Or);
                }
            }
        });
    }

    #[test]
    fn programs_do_not_depend_on_what_is_not_defined() {
        keeps_meaning(&|_, _| {});
    }
}
