//! Emitted code is read back by two disassemblers: it is what was meant, and nothing lies between.

use super::operations::Draw;
use super::{feature_sets, on_registers, straight};
use crate::features::Features;
use crate::ir::eval::checked_unit_of;
use crate::ir::{Address, Binary, Check, Fill, Op, Operand, Reg, Unit};
use crate::native::{Mode, emitted};
use capstone::prelude::*;
use ebpfvm_asm::{AluOp, AtomicOp, RmwOp, Size, Width};
use iced_x86::{Decoder, DecoderOptions, Formatter, IntelFormatter};

/// The instructions of a unit's code, as one disassembler writes them; the other agrees on where they
/// are.
fn read(unit: &Unit, mode: Mode) -> Vec<String> {
    let emitted = emitted(unit, mode);
    let mut formatter = IntelFormatter::new();
    formatter.options_mut().set_space_after_operand_separator(true);
    let mut lines = Vec::new();
    let mut places = Vec::new();
    for instruction in &mut Decoder::new(64, &emitted.code, DecoderOptions::NONE) {
        assert!(!instruction.is_invalid(), "{unit}\n{:02x?}", emitted.code);
        places.push((instruction.ip(), instruction.len()));
        let mut line = String::new();
        formatter.format(&instruction, &mut line);
        lines.push(line);
    }
    assert_eq!(places.iter().map(|place| place.1).sum::<usize>(), emitted.code.len());
    let capstone = Capstone::new().x86().mode(arch::x86::ArchMode::Mode64).build();
    let instructions = capstone.and_then(|c| {
        let all = c.disasm_all(&emitted.code, 0)?;
        Ok(all.iter().map(|i| (i.address(), i.len())).collect::<Vec<_>>())
    });
    assert_eq!(instructions, Ok(places), "{unit}");
    let starts = emitted.map.iter().map(|(offset, _)| *offset);
    assert!(starts.clone().is_sorted() && starts.max() <= Some(emitted.code.len() as u32));
    lines
}

#[test]
fn all_code_reads_back() {
    let mut draw = Draw::new(2);
    for round in 0..300 {
        let ops: Vec<Op> = (0..20).map(|_| draw.op()).collect();
        let features = feature_sets()[round % 2];
        read(
            &on_registers(&ops),
            Mode { features, is_metered: round % 4 > 1, is_blinded: round % 3 == 0 },
        );
    }
    for text in [
        "r6 = r1\nagain: may_goto out\nr0 = *(u32 *)(r6 + 4)\nr6 += 1\ngoto again\nout: exit",
        "*(u64 *)(r10 - 512) = 1\nr1 = r10\ncall f\ncall 12\nexit\nf: call 7\nr0 = *(u16 *)(r1 - 2)\nexit",
        "r0 = *(u16 *)skb[4]\nr0 s/= r1\nlock *(u64 *)(r10 - 8) += r0\nexit",
    ] {
        for features in feature_sets() {
            read(&checked_unit_of(text), Mode { features, is_metered: true, is_blinded: false });
            read(&checked_unit_of(text), Mode { features, is_metered: false, is_blinded: false });
        }
    }
}

/// One line of code for one operation, before the return.
#[track_caller]
fn is(op: Op, features: Features, expected: &str) {
    let lines = read(&straight([op]), Mode { features, is_metered: false, is_blinded: false });
    let lines: Vec<_> = lines.iter().map(String::as_str).filter(|line| *line != "ret").collect();
    assert_eq!(lines.join("; "), expected);
}

#[test]
fn instructions_are_the_shortest() {
    let [none, all] = [Features::NONE, Features::ALL];
    let (r0, r1, r2, r3, r4, r5) =
        (Reg::R0, Reg::R1, Reg::R2, Reg::new(3), Reg::new(4), Reg::new(5));
    let (w32, w64) = (Width::W32, Width::W64);
    let check = Check::None;
    let alu = |op, width, dst, lhs, rhs| Op::Binary { op: Binary::Alu(op), width, dst, lhs, rhs };
    let (reg, imm) = (Operand::Reg, Operand::Imm);
    let near = Address::new(r1, 8);
    for (op, features, expected) in [
        (Op::Const { dst: r2, value: 0 }, none, "xor esi, esi"),
        (Op::Const { dst: r2, value: 0xffff_ffff }, none, "mov esi, 0FFFFFFFFh"),
        (Op::Const { dst: r5, value: u64::MAX }, none, "mov r8, 0FFFFFFFFFFFFFFFFh"),
        (Op::Const { dst: r5, value: 1 << 40 }, none, "mov r8, 10000000000h"),
        (Op::Move { width: w64, dst: r1, src: r1 }, none, ""),
        (Op::Move { width: w32, dst: r1, src: r1 }, none, "mov edi, edi"),
        (alu(AluOp::Add, w64, r1, r1, imm(128)), none, "sub rdi, 0FFFFFFFFFFFFFF80h"),
        (alu(AluOp::Add, w64, r1, r2, imm(-8)), none, "lea rdi, [rsi-8]"),
        (alu(AluOp::Add, w32, r1, r2, reg(r3)), none, "lea edi, [rsi+rdx]"),
        (alu(AluOp::Sub, w64, r1, r2, reg(r1)), none, "neg rdi; add rdi, rsi"),
        (alu(AluOp::Sub, w32, r0, r0, imm(1000)), none, "sub eax, 3E8h"),
        (alu(AluOp::And, w64, r1, r2, imm(0xff)), none, "movzx edi, sil"),
        (alu(AluOp::And, w64, r1, r1, imm(0xfff)), none, "and edi, 0FFFh"),
        (alu(AluOp::Mul, w64, r1, r2, imm(10)), none, "imul rdi, rsi, 0Ah"),
        (alu(AluOp::Mul, w64, r1, r2, imm(9)), none, "lea rdi, [rsi+rsi*8]"),
        (alu(AluOp::Mul, w32, r1, r1, imm(31)), none, "mov r10d, edi; shl edi, 5; sub edi, r10d"),
        (alu(AluOp::Mul, w64, r1, r2, imm(33)), none, "mov rdi, rsi; shl rdi, 5; add rdi, rsi"),
        (alu(AluOp::Lsh, w64, r1, r1, reg(r4)), none, "shl rdi, cl"),
        (alu(AluOp::Lsh, w64, r1, r2, reg(r3)), all, "shlx rdi, rsi, rdx"),
        (alu(AluOp::Rsh, w32, r1, r1, imm(1)), none, "shr edi, 1"),
        (alu(AluOp::Arsh, w64, r5, r2, reg(r4)), all, "sarx r8, rsi, rcx"),
        (
            Op::Binary { op: Binary::Rotl, width: w32, dst: r1, lhs: r2, rhs: imm(8) },
            all,
            "rorx edi, esi, 18h",
        ),
        (
            Op::Binary { op: Binary::AndNot, width: w64, dst: r1, lhs: r2, rhs: reg(r3) },
            all,
            "andn rdi, rdx, rsi",
        ),
        (
            Op::Load { size: Size::H, fill: Fill::Zero, swap: false, check, dst: r0, at: near },
            none,
            "movzx eax, word ptr [rdi+8]",
        ),
        (
            Op::Load { size: Size::W, fill: Fill::Zero, swap: true, check, dst: r0, at: near },
            all,
            "movbe eax, [rdi+8]",
        ),
        (
            Op::Store { size: Size::Dw, swap: false, check, src: imm(-1), at: near },
            none,
            "mov qword ptr [rdi+8], 0FFFFFFFFFFFFFFFFh",
        ),
        (
            Op::Store { size: Size::B, swap: false, check, src: reg(r2), at: near },
            none,
            "mov [rdi+8], sil",
        ),
        (
            Op::Atomic {
                op: AtomicOp::Rmw(RmwOp::Add),
                size: Size::Dw,
                check,
                src: r2,
                at: Address { base: r1, index: Some((r3, 3)), offset: 0 },
            },
            none,
            "lock add [rdi+rdx*8], rsi",
        ),
        (
            Op::Atomic { op: AtomicOp::Cmpxchg, size: Size::W, check, src: r2, at: near },
            none,
            "lock cmpxchg [rdi+8], esi; mov eax, eax",
        ),
    ] {
        is(op, features, expected);
    }
}

#[test]
fn a_result_is_not_compared_with_zero_again() {
    let mode = Mode { features: Features::NONE, is_metered: false, is_blinded: false };
    let tests = |text: &str| {
        let lines = read(&checked_unit_of(text), mode);
        lines.iter().filter(|line| line.starts_with("test")).count()
    };
    assert_eq!(tests("r0 = r1\nr0 &= 1023\nif r0 == 0 goto out\nr0 = 1\nout: exit"), 0);
    assert_eq!(tests("r0 = r1\nr0 -= 1\nif r0 != 0 goto out\nr0 = 1\nout: exit"), 0);
    assert_eq!(tests("r0 = r1\nr0 -= 1\nif r0 s< 0 goto out\nr0 = 1\nout: exit"), 1);
    // One comes here from elsewhere, too.
    let joined = "if r1 > 5 goto on\nr1 -= 1\non: if r1 == 0 goto out\nr0 = 1\nout: exit";
    assert_eq!(tests(joined), 1);
}

#[test]
fn hidden_constants_are_not_in_the_code() {
    let chosen = 0x5a3c_e176_u32.to_le_bytes();
    let unit = checked_unit_of(
        "r0 = 0x5a3ce1765a3ce176 ll\nw1 = 0x5a3ce176\nr0 += 0x5a3ce176\nr0 *= 0x5a3ce176\n\
         r0 /= 0x5a3ce176\nw0 s%= 0x5a3ce176\nr0 &= 0x5a3ce176\nr1 ^= 0x5a3ce176\n\
         *(u32 *)(r10 - 4) = 0x5a3ce176\n*(u64 *)(r10 - 16) = 0x5a3ce176\n\
         if r0 == 0x5a3ce176 goto out\nif w0 & 0x5a3ce176 goto out\nr0 = *(u8 *)skb[0x5a3ce176]\n\
         r0 = *(u8 *)skb[r1 + 0x5a3ce176]\nout: exit",
    );
    for features in feature_sets() {
        for is_blinded in [false, true] {
            let mode = Mode { features, is_metered: false, is_blinded };
            let code = emitted(&unit, mode).code;
            let count = code.windows(4).filter(|window| *window == chosen).count();
            assert_eq!(count == 0, is_blinded, "{count}");
        }
    }
}
