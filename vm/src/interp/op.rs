//! The interpreter's own form of a program: 16-byte operations with everything resolved.

use ebpfvm_asm::{AluOp, JmpOp, Operand, Size, Width};

/// Calls `$callback` with the operations that exist in four forms: 32 and 64 bits, immediate and
/// register. One list serves the code numbers, the lowering and the dispatch loop.
macro_rules! with_ops {
    ($callback:ident) => {
        $callback! {
            alu {
                Add: Add32K Add32X Add64K Add64X;
                Sub: Sub32K Sub32X Sub64K Sub64X;
                Mul: Mul32K Mul32X Mul64K Mul64X;
                Div: Div32K Div32X Div64K Div64X;
                Sdiv: Sdiv32K Sdiv32X Sdiv64K Sdiv64X;
                Or: Or32K Or32X Or64K Or64X;
                And: And32K And32X And64K And64X;
                Lsh: Lsh32K Lsh32X Lsh64K Lsh64X;
                Rsh: Rsh32K Rsh32X Rsh64K Rsh64X;
                Mod: Mod32K Mod32X Mod64K Mod64X;
                Smod: Smod32K Smod32X Smod64K Smod64X;
                Xor: Xor32K Xor32X Xor64K Xor64X;
                Mov: Mov32K Mov32X Mov64K Mov64X;
                Arsh: Arsh32K Arsh32X Arsh64K Arsh64X;
            }
            jump {
                Eq: Jeq32K Jeq32X Jeq64K Jeq64X;
                Gt: Jgt32K Jgt32X Jgt64K Jgt64X;
                Ge: Jge32K Jge32X Jge64K Jge64X;
                Set: Jset32K Jset32X Jset64K Jset64X;
                Ne: Jne32K Jne32X Jne64K Jne64X;
                Sgt: Jsgt32K Jsgt32X Jsgt64K Jsgt64X;
                Sge: Jsge32K Jsge32X Jsge64K Jsge64X;
                Lt: Jlt32K Jlt32X Jlt64K Jlt64X;
                Le: Jle32K Jle32X Jle64K Jle64X;
                Slt: Jslt32K Jslt32X Jslt64K Jslt64X;
                Sle: Jsle32K Jsle32X Jsle64K Jsle64X;
            }
            load {
                B: LoadB LoadSxB StoreKB StoreXB u8;
                H: LoadH LoadSxH StoreKH StoreXH u16;
                W: LoadW LoadSxW StoreKW StoreXW u32;
                Dw: LoadDw LoadSxDw StoreKDw StoreXDw u64;
            }
        }
    };
}
pub(crate) use with_ops;

macro_rules! define {
    (
        alu { $($alu:ident: $a32k:ident $a32x:ident $a64k:ident $a64x:ident;)* }
        jump { $($jmp:ident: $j32k:ident $j32x:ident $j64k:ident $j64x:ident;)* }
        load { $($size:ident: $load:ident $loadsx:ident $storek:ident $storex:ident $ty:ty;)* }
    ) => {
        /// What an operation does; the operand columns are those of [`Op`].
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub(crate) enum OpCode {
            $($a32k, $a32x, $a64k, $a64x,)*
            $($j32k, $j32x, $j64k, $j64x,)*
            $($load, $loadsx, $storek, $storex,)*
            /// `dst = -dst`
            Neg32,
            Neg64,
            /// `dst = extended low part of src`; 32-bit forms zero the upper half.
            Movsx8To32,
            Movsx16To32,
            Movsx8To64,
            Movsx16To64,
            Movsx32To64,
            /// `dst = low part of dst`
            Zext16,
            Zext32,
            /// `dst = swapped low part of dst`
            Swap16,
            Swap32,
            Swap64,
            /// `dst = imm`
            LoadImm,
            /// Atomic number `imm` of `AtomicOp::ALL` on `*(dst + off)` with `src`.
            AtomicW,
            AtomicDw,
            /// `imm` is the size in bytes.
            LoadAcquire,
            StoreRelease,
            /// `imm` is the constant offset, `off` the size in bytes.
            LoadAbs,
            LoadInd,
            /// Unconditional.
            Jump,
            MayGoto,
            /// Helper number `imm` of the instance's list.
            CallHelper,
            /// As `CallHelper`, for a helper that may enter another program.
            TailCall,
            /// Function at `off`; costs `imm` of fuel.
            CallLocal,
            /// Helper whose number is in `dst`.
            CallReg,
            Exit,
            /// After the last instruction and where no instruction is.
            FellOff,
        }

        /// The code of a two-operand operation.
        pub(crate) fn alu(op: AluOp, width: Width, src: Operand) -> OpCode {
            match (op, width, src) {
                $(
                    (AluOp::$alu, Width::W32, Operand::Imm(_)) => OpCode::$a32k,
                    (AluOp::$alu, Width::W32, Operand::Reg(_)) => OpCode::$a32x,
                    (AluOp::$alu, Width::W64, Operand::Imm(_)) => OpCode::$a64k,
                    (AluOp::$alu, Width::W64, Operand::Reg(_)) => OpCode::$a64x,
                )*
            }
        }

        /// The code of a conditional jump.
        pub(crate) fn jump(op: JmpOp, width: Width, src: Operand) -> OpCode {
            match (op, width, src) {
                $(
                    (JmpOp::$jmp, Width::W32, Operand::Imm(_)) => OpCode::$j32k,
                    (JmpOp::$jmp, Width::W32, Operand::Reg(_)) => OpCode::$j32x,
                    (JmpOp::$jmp, Width::W64, Operand::Imm(_)) => OpCode::$j64k,
                    (JmpOp::$jmp, Width::W64, Operand::Reg(_)) => OpCode::$j64x,
                )*
            }
        }

        /// The code of a zero-extending load.
        pub(crate) fn load(size: Size) -> OpCode {
            match size { $(Size::$size => OpCode::$load,)* }
        }

        /// The code of a sign-extending load.
        pub(crate) fn load_sx(size: Size) -> OpCode {
            match size { $(Size::$size => OpCode::$loadsx,)* }
        }

        /// The code of a store.
        pub(crate) fn store(size: Size, src: Operand) -> OpCode {
            match (size, src) {
                $(
                    (Size::$size, Operand::Imm(_)) => OpCode::$storek,
                    (Size::$size, Operand::Reg(_)) => OpCode::$storex,
                )*
            }
        }
    };
}
with_ops!(define);

/// One operation.
///
/// Jump offsets count operations from the next one; lowering has checked that every target is an
/// operation of the same list.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct Op {
    pub(crate) code: OpCode,
    pub(crate) dst: u8,
    pub(crate) src: u8,
    pub(crate) off: i32,
    pub(crate) imm: i64,
}

const _: () = assert!(size_of::<Op>() == 16);
