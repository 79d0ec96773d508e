//! The builder: labels in both directions and what it refuses.

use ebpfvm_asm::text::{Dialect, assemble};
use ebpfvm_asm::{
    AluOp, AtomicOp, BuildError, Builder, EncodeError, EndianOp, Imm64, Insn, JmpOp, Pc, Reg,
    RmwOp, Size, Width,
};

#[test]
fn it_builds_what_the_assembler_reads() {
    let mut b = Builder::new();
    let (top, out, function) = (b.new_label(), b.new_label(), b.new_label());
    b.mov(Reg::R0, 10)
        .mov32(Reg::R1, Reg::R0)
        .load_imm(Reg::R2, Imm64::Value(1 << 40))
        .load_function(Reg::R3, function)
        .label(top)
        .alu(Width::W64, AluOp::Sub, Reg::R0, 1)
        .add(Reg::R2, Reg::R0)
        .neg(Width::W32, Reg::R1)
        .movsx(Width::W64, Size::B, Reg::R1, Reg::R2)
        .endian(EndianOp::ToBe, Size::H, Reg::R1)
        .store(Size::Dw, Reg::R10, -8, Reg::R2)
        .store(Size::B, Reg::R10, -8, -1)
        .load(Size::W, Reg::R4, Reg::R10, -8)
        .load_sx(Size::H, Reg::R4, Reg::R10, -8)
        .atomic(AtomicOp::Fetch(RmwOp::Add), Size::Dw, Reg::R10, -8, Reg::R2)
        .jump_if(Width::W64, JmpOp::Ne, Reg::R0, 0, top)
        .jump(out)
        .jump_far(top)
        .may_goto(1)
        .call(5)
        .call_local(function)
        .label(out)
        .exit()
        .label(function)
        .exit();
    let text = "r0 = 10; w1 = w0; r2 = 0x10000000000 ll; r3 = subprog[function]
        top: r0 -= 1; r2 += r0; w1 = -w1; r1 = (s8)r2; r1 = be16 r1
        *(u64 *)(r10 - 8) = r2; *(u8 *)(r10 - 8) = -1
        r4 = *(u32 *)(r10 - 8); r4 = *(s16 *)(r10 - 8)
        r2 = atomic_fetch_add((u64 *)(r10 - 8), r2)
        if r0 != 0 goto top; goto out; gotol top; may_goto +1; call 5; call function
        out: exit; function: exit";
    assert_eq!(b.build(), Ok(assemble(text, Dialect::PseudoC).expect("a sound text")));
    assert_eq!((b.place_of(top), b.pc()), (Some(Pc(6)), Pc(24)));
}

#[test]
fn it_refuses_what_cannot_be() {
    let mut b = Builder::new();
    let label = b.new_label();
    b.exit().jump(label);
    assert_eq!(b.build(), Err(BuildError::Unplaced { label, pc: Pc(1) }));
    b.label(label).exit().label(label);
    let twice = BuildError::PlacedTwice { label, first: Pc(2), second: Pc(3) };
    assert_eq!(b.build(), Err(twice));
    assert_eq!(twice.pc(), Pc(3));

    let mut b = Builder::new();
    b.exit().insn_to(Insn::Exit, 1);
    assert_eq!(b.build(), Err(BuildError::NoTarget { pc: Pc(1), insn: Insn::Exit }));

    let mut b = Builder::new();
    b.exit().jump(40_000);
    assert_eq!(b.build(), Err(BuildError::TooFar { pc: Pc(1), offset: 40_000 }));
    let mut b = Builder::new();
    assert!(b.jump_far(40_000).build().is_ok());

    let insn = Insn::LoadSx { size: Size::Dw, dst: Reg::R1, base: Reg::R2, offset: 0 };
    let mut b = Builder::new();
    b.exit().insn(insn);
    let error = EncodeError::NoSuchForm(insn);
    assert_eq!(b.build(), Err(BuildError::Encode { pc: Pc(1), error }));
}

#[test]
fn forms_that_do_not_exist_have_no_encoding() {
    let (dst, src, base, offset) = (Reg::R1, Reg::R2, Reg::R3, 0);
    let rmw = AtomicOp::Rmw(RmwOp::Add);
    for insn in [
        Insn::Movsx { width: Width::W32, from: Size::W, dst, src },
        Insn::Movsx { width: Width::W64, from: Size::Dw, dst, src },
        Insn::Endian { op: EndianOp::ToLe, size: Size::B, dst },
        Insn::LoadSx { size: Size::Dw, dst, base, offset },
        Insn::Atomic { op: rmw, size: Size::B, base, offset, src },
        Insn::Atomic { op: rmw, size: Size::H, base, offset, src },
        Insn::LoadAbs { size: Size::Dw, offset: 0 },
        Insn::LoadInd { size: Size::Dw, index: src, offset: 0 },
        Insn::AddrSpaceCast { dst, src, to: 0, from: 0 },
        Insn::AddrSpaceCast { dst, src, to: 1, from: 1 },
        Insn::AddrSpaceCast { dst, src, to: 2, from: 0 },
    ] {
        assert_eq!(ebpfvm_asm::encode(&insn), Err(EncodeError::NoSuchForm(insn)));
    }
    let far = Insn::Jump { reach: ebpfvm_asm::Reach::Near, offset: 40_000 };
    assert_eq!(ebpfvm_asm::encode(&far), Err(EncodeError::JumpTooFar(40_000)));
}
