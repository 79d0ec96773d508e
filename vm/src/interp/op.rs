//! The interpreter's own form of a program: operations with everything resolved.

use super::handler::Handler;
use ebpfvm_asm::{AluOp, JmpOp, Operand, Size, Width};

/// Calls `$callback` with the operations that exist in four forms: 32 and 64 bits, immediate and
/// register; and the memory operations by size. One list serves the code numbers, the lowering and
/// the dispatch loop.
///
/// Jumps have four more forms, in which an addition of an immediate goes before the comparison;
/// loads and stores have forms for the stack frame, whose addresses need no check at run time.
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
                Eq: Jeq32K Jeq32X Jeq64K Jeq64X
                    AddJeq32K AddJeq32X AddJeq64K AddJeq64X;
                Gt: Jgt32K Jgt32X Jgt64K Jgt64X
                    AddJgt32K AddJgt32X AddJgt64K AddJgt64X;
                Ge: Jge32K Jge32X Jge64K Jge64X
                    AddJge32K AddJge32X AddJge64K AddJge64X;
                Set: Jset32K Jset32X Jset64K Jset64X
                    AddJset32K AddJset32X AddJset64K AddJset64X;
                Ne: Jne32K Jne32X Jne64K Jne64X
                    AddJne32K AddJne32X AddJne64K AddJne64X;
                Sgt: Jsgt32K Jsgt32X Jsgt64K Jsgt64X
                    AddJsgt32K AddJsgt32X AddJsgt64K AddJsgt64X;
                Sge: Jsge32K Jsge32X Jsge64K Jsge64X
                    AddJsge32K AddJsge32X AddJsge64K AddJsge64X;
                Lt: Jlt32K Jlt32X Jlt64K Jlt64X
                    AddJlt32K AddJlt32X AddJlt64K AddJlt64X;
                Le: Jle32K Jle32X Jle64K Jle64X
                    AddJle32K AddJle32X AddJle64K AddJle64X;
                Slt: Jslt32K Jslt32X Jslt64K Jslt64X
                    AddJslt32K AddJslt32X AddJslt64K AddJslt64X;
                Sle: Jsle32K Jsle32X Jsle64K Jsle64X
                    AddJsle32K AddJsle32X AddJsle64K AddJsle64X;
            }
            load {
                B: u8 LoadB LoadSxB StoreKB StoreXB LoadFrameB StoreFrameKB StoreFrameXB
                    LoadJeqB LoadJneB;
                H: u16 LoadH LoadSxH StoreKH StoreXH LoadFrameH StoreFrameKH StoreFrameXH
                    LoadJeqH LoadJneH;
                W: u32 LoadW LoadSxW StoreKW StoreXW LoadFrameW StoreFrameKW StoreFrameXW
                    LoadJeqW LoadJneW;
                Dw: u64 LoadDw LoadSxDw StoreKDw StoreXDw LoadFrameDw StoreFrameKDw StoreFrameXDw
                    LoadJeqDw LoadJneDw;
            }
        }
    };
}
pub(crate) use with_ops;

macro_rules! define {
    (
        alu { $($alu:ident: $a32k:ident $a32x:ident $a64k:ident $a64x:ident;)* }
        jump {
            $($jmp:ident: $j32k:ident $j32x:ident $j64k:ident $j64x:ident
                $aj32k:ident $aj32x:ident $aj64k:ident $aj64x:ident;)*
        }
        load {
            $($size:ident: $ty:ident $load:ident $loadsx:ident $storek:ident $storex:ident
                $loadf:ident $storefk:ident $storefx:ident $loadjeq:ident $loadjne:ident;)*
        }
    ) => {
        /// What an operation does; the operand columns are those of [`Op`].
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub(crate) enum OpCode {
            $($a32k, $a32x, $a64k, $a64x,)*
            $($j32k, $j32x, $j64k, $j64x, $aj32k, $aj32x, $aj64k, $aj64x,)*
            $(
                $load, $loadsx, $storek, $storex, $loadf, $storefk, $storefx,
                $loadjeq, $loadjne,
            )*
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
            /// As `CallHelper`, for a helper that may call functions of the program.
            CallBack,
            /// Address of the value of the key at `src +` the key offset, or 0, in `r0`, for a map that
            /// is known: see [`lookup`](super::lookup). The others go to `off` if it is 0, or if not.
            LookupArray,
            LookupArrayJeq,
            LookupArrayJne,
            LookupPercpuArray,
            LookupPercpuArrayJeq,
            LookupPercpuArrayJne,
            LookupHash,
            LookupHashJeq,
            LookupHashJne,
            LookupPercpuHash,
            LookupPercpuHashJeq,
            LookupPercpuHashJne,
            /// Function at `off`; the high half of `imm` is the cost, the low half the stack in bytes.
            CallLocal,
            /// Helper whose number is in `dst`.
            CallReg,
            Exit,
            /// After the last instruction and where no instruction is.
            FellOff,
            /// Goes on with the next operation from the outside: see `exec`.
            Pause,
            /// Ends what a helper has called.
            Return,
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

        /// The code of a conditional jump after an addition, from the code of the jump.
        pub(crate) fn add_jump(jump: OpCode) -> Option<OpCode> {
            match jump {
                $(
                    OpCode::$j32k => Some(OpCode::$aj32k),
                    OpCode::$j32x => Some(OpCode::$aj32x),
                    OpCode::$j64k => Some(OpCode::$aj64k),
                    OpCode::$j64x => Some(OpCode::$aj64x),
                )*
                _ => None,
            }
        }

        /// The width of a plain conditional jump, and whether it compares with an immediate.
        pub(crate) fn jump_form(jump: OpCode) -> Option<(Width, bool)> {
            match jump {
                $(
                    OpCode::$j32k => Some((Width::W32, true)),
                    OpCode::$j32x => Some((Width::W32, false)),
                    OpCode::$j64k => Some((Width::W64, true)),
                    OpCode::$j64x => Some((Width::W64, false)),
                )*
                _ => None,
            }
        }

        /// The width of a two-operand operation, and whether its operand is an immediate.
        pub(crate) fn alu_form(alu: OpCode) -> Option<(Width, bool)> {
            match alu {
                $(
                    OpCode::$a32k => Some((Width::W32, true)),
                    OpCode::$a32x => Some((Width::W32, false)),
                    OpCode::$a64k => Some((Width::W64, true)),
                    OpCode::$a64x => Some((Width::W64, false)),
                )*
                _ => None,
            }
        }

        /// The size of a plain zero-extending load, and its forms that jump if the value is equal
        /// and if it is not.
        pub(crate) fn load_jumps(load: OpCode) -> Option<(Size, OpCode, OpCode)> {
            match load {
                $(OpCode::$load => Some((Size::$size, OpCode::$loadjeq, OpCode::$loadjne)),)*
                _ => None,
            }
        }

        impl OpCode {
            /// Whether it is a conditional jump, plain or fused.
            fn is_conditional_jump(self) -> bool {
                match self {
                    $(
                        OpCode::$j32k | OpCode::$j32x | OpCode::$j64k | OpCode::$j64x
                        | OpCode::$aj32k | OpCode::$aj32x | OpCode::$aj64k | OpCode::$aj64x => true,
                    )*
                    $(OpCode::$loadjeq | OpCode::$loadjne => true,)*
                    _ => false,
                }
            }
        }

        /// The size and kind of a checked access.
        ///
        /// # Panics
        /// If the operation is none.
        pub(crate) fn access(code: OpCode) -> (Size, Access) {
            match code {
                $(
                    OpCode::$load => (Size::$size, Access::Load),
                    OpCode::$loadsx => (Size::$size, Access::LoadSx),
                    OpCode::$storek => (Size::$size, Access::StoreK),
                    OpCode::$storex => (Size::$size, Access::StoreX),
                    OpCode::$loadjeq => (Size::$size, Access::LoadJeq),
                    OpCode::$loadjne => (Size::$size, Access::LoadJne),
                )*
                _ => unreachable!("{code:?} is no checked access"),
            }
        }

        /// The form of a load or store for the stack frame.
        pub(crate) fn in_frame(code: OpCode) -> Option<OpCode> {
            match code {
                $(
                    OpCode::$load => Some(OpCode::$loadf),
                    OpCode::$storek => Some(OpCode::$storefk),
                    OpCode::$storex => Some(OpCode::$storefx),
                )*
                _ => None,
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

/// What a checked access does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    Load,
    LoadSx,
    StoreK,
    StoreX,
    LoadJeq,
    LoadJne,
}

/// One operation.
///
/// Registers are below [`Reg::COUNT`](ebpfvm_asm::Reg::COUNT). What the fields mean:
///
/// | operation | |
/// |---|---|
/// | two operands | `dst = lhs op imm` or `dst = lhs op src` |
/// | memory | address `src + off` or, in stores and atomics, `dst + off` |
/// | conditional jump | compares `dst` with `src` or the low half of `imm`; the high half is the cost |
/// | addition and jump | `dst = lhs + ` third quarter of `imm`, then as above; the highest quarter is the cost |
/// | lookup | `imm` is the address of its [`Lookup`](super::lookup::Lookup) |
/// | load and jump | loads from `src + ` third quarter of `imm`, then as above |
///
/// Jump offsets count operations from the next one; lowering has checked that every target is an
/// operation of the same list.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct Op {
    /// What carries it out; [`handler`](super::handler::handler) gives it for the code.
    pub(crate) run: Handler,
    pub(crate) imm: i64,
    pub(crate) off: i32,
    pub(crate) code: OpCode,
    pub(crate) dst: u8,
    pub(crate) src: u8,
    pub(crate) lhs: u8,
}

const _: () = assert!(size_of::<Op>() <= 24);

impl OpCode {
    /// Whether [`Op::off`] is where control may go.
    pub(crate) fn jumps(self) -> bool {
        matches!(self, OpCode::Jump | OpCode::MayGoto | OpCode::CallLocal)
            || self.is_conditional_jump()
            || super::lookup::jumps(self)
    }
}

impl Op {
    /// An operation without operands.
    pub(crate) fn blank(code: OpCode) -> Op {
        Op { run: super::handler::unbound, imm: 0, off: 0, code, dst: 0, src: 0, lhs: 0 }
    }

    /// The immediate of a jump: what it compares with, and what it costs when it goes backward.
    pub(crate) const fn jump_imm(compare: i32, cost: u32) -> i64 {
        (cost as i64) << 32 | compare as u32 as i64
    }

    /// The immediate of a fused jump, with what is added before or the offset of the load.
    pub(crate) const fn fused_imm(compare: i32, extra: i16, cost: u16) -> i64 {
        (cost as i64) << 48 | (extra as u16 as i64) << 32 | compare as u32 as i64
    }

    /// What a jump compares with.
    #[inline(always)]
    pub(crate) const fn compare(self) -> u64 {
        self.imm as i32 as i64 as u64
    }

    /// What a plain jump costs.
    #[inline(always)]
    pub(crate) const fn cost(self) -> i64 {
        self.imm >> 32
    }

    /// What a fused jump costs.
    #[inline(always)]
    pub(crate) const fn fused_cost(self) -> i64 {
        (self.imm as u64 >> 48) as i64
    }

    /// What a fused jump adds, or the offset of its load.
    #[inline(always)]
    pub(crate) const fn extra(self) -> u64 {
        (self.imm >> 32) as i16 as i64 as u64
    }
}
