//! The handlers that come from the list of operations, the short ones, and the handler for each code.

use super::{Exit, Handler, Machine, call, lookup, memory, pause, stop};
use crate::interp::op::{Op, OpCode, with_ops};
use crate::run::{Run, load_sized, store_sized};
use crate::trap::TrapKind;
use ebpfvm_asm::semantics::{alu32, alu64, jump, movsx, sign_extend};
use ebpfvm_asm::{AluOp, JmpOp, Size, Width};

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
        /// One handler an operation, named as its code.
        #[allow(non_snake_case)]
        mod each {
            use super::*;

            $(
                handler!($a32k, |op, m| {
                    *m.reg(op.dst) = alu32(AluOp::$alu, *m.reg(op.lhs) as u32, op.imm as u32).into();
                });
                handler!($a32x, |op, m| {
                    let (lhs, src) = (*m.reg(op.lhs) as u32, *m.reg(op.src) as u32);
                    *m.reg(op.dst) = alu32(AluOp::$alu, lhs, src).into();
                });
                handler!($a64k, |op, m| {
                    *m.reg(op.dst) = alu64(AluOp::$alu, *m.reg(op.lhs), op.imm as u64);
                });
                handler!($a64x, |op, m| {
                    let (lhs, src) = (*m.reg(op.lhs), *m.reg(op.src));
                    *m.reg(op.dst) = alu64(AluOp::$alu, lhs, src);
                });
            )*
            $(
                handler!($j32k, |op, m| {
                    if jump(Width::W32, JmpOp::$jmp, *m.reg(op.dst), op.compare()) {
                        return m.take(op, op.cost());
                    }
                });
                handler!($j32x, |op, m| {
                    let (dst, src) = (*m.reg(op.dst), *m.reg(op.src));
                    if jump(Width::W32, JmpOp::$jmp, dst, src) {
                        return m.take(op, op.cost());
                    }
                });
                handler!($j64k, |op, m| {
                    if jump(Width::W64, JmpOp::$jmp, *m.reg(op.dst), op.compare()) {
                        return m.take(op, op.cost());
                    }
                });
                handler!($j64x, |op, m| {
                    let (dst, src) = (*m.reg(op.dst), *m.reg(op.src));
                    if jump(Width::W64, JmpOp::$jmp, dst, src) {
                        return m.take(op, op.cost());
                    }
                });
                handler!($aj32k, |op, m| {
                    let dst = m.reg(op.lhs).wrapping_add(op.extra()) as u32 as u64;
                    *m.reg(op.dst) = dst;
                    if jump(Width::W32, JmpOp::$jmp, dst, op.compare()) {
                        return m.take(op, op.fused_cost());
                    }
                });
                handler!($aj32x, |op, m| {
                    let dst = m.reg(op.lhs).wrapping_add(op.extra()) as u32 as u64;
                    *m.reg(op.dst) = dst;
                    if jump(Width::W32, JmpOp::$jmp, dst, *m.reg(op.src)) {
                        return m.take(op, op.fused_cost());
                    }
                });
                handler!($aj64k, |op, m| {
                    let dst = m.reg(op.lhs).wrapping_add(op.extra());
                    *m.reg(op.dst) = dst;
                    if jump(Width::W64, JmpOp::$jmp, dst, op.compare()) {
                        return m.take(op, op.fused_cost());
                    }
                });
                handler!($aj64x, |op, m| {
                    let dst = m.reg(op.lhs).wrapping_add(op.extra());
                    *m.reg(op.dst) = dst;
                    if jump(Width::W64, JmpOp::$jmp, dst, *m.reg(op.src)) {
                        return m.take(op, op.fused_cost());
                    }
                });
            )*
            $(
                handler!($load, |op, m| {
                    let addr = m.reg(op.src).wrapping_add(op.off as i64 as u64);
                    *m.reg(op.dst) = load!(m, $size, $ty, addr);
                });
                handler!($loadsx, |op, m| {
                    let addr = m.reg(op.src).wrapping_add(op.off as i64 as u64);
                    *m.reg(op.dst) = sign_extend(Size::$size, load!(m, $size, $ty, addr));
                });
                handler!($storek, |op, m| {
                    store!(m, op, $ty, op.imm as u64);
                });
                handler!($storex, |op, m| {
                    store!(m, op, $ty, *m.reg(op.src));
                });
                // Lowering has found these to lie in the frame.
                handler!($loadf, |op, m| {
                    let addr = m.reg(10).wrapping_add(op.off as i64 as u64);
                    *m.reg(op.dst) = load_sized(addr, Size::$size);
                });
                handler!($storefk, |op, m| {
                    let addr = m.reg(10).wrapping_add(op.off as i64 as u64);
                    store_sized(addr, Size::$size, op.imm as u64);
                });
                handler!($storefx, |op, m| {
                    let addr = m.reg(10).wrapping_add(op.off as i64 as u64);
                    store_sized(addr, Size::$size, *m.reg(op.src));
                });
                handler!($loadjeq, |op, m| {
                    let addr = m.reg(op.src).wrapping_add(op.extra());
                    let dst = load!(m, $size, $ty, addr);
                    *m.reg(op.dst) = dst;
                    if dst == op.compare() {
                        return m.take(op, op.fused_cost());
                    }
                });
                handler!($loadjne, |op, m| {
                    let addr = m.reg(op.src).wrapping_add(op.extra());
                    let dst = load!(m, $size, $ty, addr);
                    *m.reg(op.dst) = dst;
                    if dst != op.compare() {
                        return m.take(op, op.fused_cost());
                    }
                });
            )*
            handler!(Neg32, |op, m| {
                *m.reg(op.dst) = (*m.reg(op.dst) as u32).wrapping_neg().into();
            });
            handler!(Neg64, |op, m| {
                *m.reg(op.dst) = m.reg(op.dst).wrapping_neg();
            });
            handler!(Movsx8To32, |op, m| {
                *m.reg(op.dst) = movsx(Width::W32, Size::B, *m.reg(op.src));
            });
            handler!(Movsx16To32, |op, m| {
                *m.reg(op.dst) = movsx(Width::W32, Size::H, *m.reg(op.src));
            });
            handler!(Movsx8To64, |op, m| {
                *m.reg(op.dst) = movsx(Width::W64, Size::B, *m.reg(op.src));
            });
            handler!(Movsx16To64, |op, m| {
                *m.reg(op.dst) = movsx(Width::W64, Size::H, *m.reg(op.src));
            });
            handler!(Movsx32To64, |op, m| {
                *m.reg(op.dst) = movsx(Width::W64, Size::W, *m.reg(op.src));
            });
            handler!(Zext16, |op, m| {
                *m.reg(op.dst) = *m.reg(op.dst) as u16 as u64;
            });
            handler!(Zext32, |op, m| {
                *m.reg(op.dst) = *m.reg(op.dst) as u32 as u64;
            });
            handler!(Swap16, |op, m| {
                *m.reg(op.dst) = (*m.reg(op.dst) as u16).swap_bytes().into();
            });
            handler!(Swap32, |op, m| {
                *m.reg(op.dst) = (*m.reg(op.dst) as u32).swap_bytes().into();
            });
            handler!(Swap64, |op, m| {
                *m.reg(op.dst) = m.reg(op.dst).swap_bytes();
            });
            handler!(LoadImm, |op, m| {
                *m.reg(op.dst) = op.imm as u64;
            });
            handler!(Jump, |op, m| -> {
                m.take(op, op.cost())
            });
            handler!(MayGoto, |op, m| {
                let run = &mut *m.run;
                if run.may_goto == 0 {
                    return m.take(op, op.cost());
                }
                run.may_goto -= 1;
            });
            handler!(FellOff, |op, m| -> {
                let _ = op;
                stop(m.run, m.ip, TrapKind::FellOff)
            });
            handler!(Pause, |op, m| -> {
                let _ = op;
                pause(m.run, m.ip.add(1), m.fuel)
            });
        }

        /// The handler of an operation.
        pub(crate) fn handler<const CHECKED: bool>(code: OpCode) -> Handler {
            match code {
                $(
                    OpCode::$a32k => each::$a32k::<CHECKED>,
                    OpCode::$a32x => each::$a32x::<CHECKED>,
                    OpCode::$a64k => each::$a64k::<CHECKED>,
                    OpCode::$a64x => each::$a64x::<CHECKED>,
                )*
                $(
                    OpCode::$j32k => each::$j32k::<CHECKED>,
                    OpCode::$j32x => each::$j32x::<CHECKED>,
                    OpCode::$j64k => each::$j64k::<CHECKED>,
                    OpCode::$j64x => each::$j64x::<CHECKED>,
                    OpCode::$aj32k => each::$aj32k::<CHECKED>,
                    OpCode::$aj32x => each::$aj32x::<CHECKED>,
                    OpCode::$aj64k => each::$aj64k::<CHECKED>,
                    OpCode::$aj64x => each::$aj64x::<CHECKED>,
                )*
                $(
                    OpCode::$load => each::$load::<CHECKED>,
                    OpCode::$loadsx => each::$loadsx::<CHECKED>,
                    OpCode::$storek => each::$storek::<CHECKED>,
                    OpCode::$storex => each::$storex::<CHECKED>,
                    OpCode::$loadf => each::$loadf::<CHECKED>,
                    OpCode::$storefk => each::$storefk::<CHECKED>,
                    OpCode::$storefx => each::$storefx::<CHECKED>,
                    OpCode::$loadjeq => each::$loadjeq::<CHECKED>,
                    OpCode::$loadjne => each::$loadjne::<CHECKED>,
                )*
                OpCode::Neg32 => each::Neg32::<CHECKED>,
                OpCode::Neg64 => each::Neg64::<CHECKED>,
                OpCode::Movsx8To32 => each::Movsx8To32::<CHECKED>,
                OpCode::Movsx16To32 => each::Movsx16To32::<CHECKED>,
                OpCode::Movsx8To64 => each::Movsx8To64::<CHECKED>,
                OpCode::Movsx16To64 => each::Movsx16To64::<CHECKED>,
                OpCode::Movsx32To64 => each::Movsx32To64::<CHECKED>,
                OpCode::Zext16 => each::Zext16::<CHECKED>,
                OpCode::Zext32 => each::Zext32::<CHECKED>,
                OpCode::Swap16 => each::Swap16::<CHECKED>,
                OpCode::Swap32 => each::Swap32::<CHECKED>,
                OpCode::Swap64 => each::Swap64::<CHECKED>,
                OpCode::LoadImm => each::LoadImm::<CHECKED>,
                OpCode::AtomicW => memory::AtomicW::<CHECKED>,
                OpCode::AtomicDw => memory::AtomicDw::<CHECKED>,
                OpCode::LoadAcquire => memory::LoadAcquire::<CHECKED>,
                OpCode::StoreRelease => memory::StoreRelease::<CHECKED>,
                OpCode::LoadAbs => memory::LoadAbs::<CHECKED>,
                OpCode::LoadInd => memory::LoadInd::<CHECKED>,
                OpCode::Jump => each::Jump::<CHECKED>,
                OpCode::MayGoto => each::MayGoto::<CHECKED>,
                OpCode::CallHelper => call::CallHelper::<CHECKED>,
                OpCode::TailCall => call::TailCall::<CHECKED>,
                OpCode::CallBack => call::CallBack::<CHECKED>,
                OpCode::Return => call::Return::<CHECKED>,
                OpCode::LookupArray => lookup::LookupArray::<CHECKED>,
                OpCode::LookupArrayJeq => lookup::LookupArrayJeq::<CHECKED>,
                OpCode::LookupArrayJne => lookup::LookupArrayJne::<CHECKED>,
                OpCode::LookupPercpuArray => lookup::LookupPercpuArray::<CHECKED>,
                OpCode::LookupPercpuArrayJeq => lookup::LookupPercpuArrayJeq::<CHECKED>,
                OpCode::LookupPercpuArrayJne => lookup::LookupPercpuArrayJne::<CHECKED>,
                OpCode::LookupHash => lookup::LookupHash::<CHECKED>,
                OpCode::LookupHashJeq => lookup::LookupHashJeq::<CHECKED>,
                OpCode::LookupHashJne => lookup::LookupHashJne::<CHECKED>,
                OpCode::LookupPercpuHash => lookup::LookupPercpuHash::<CHECKED>,
                OpCode::LookupPercpuHashJeq => lookup::LookupPercpuHashJeq::<CHECKED>,
                OpCode::LookupPercpuHashJne => lookup::LookupPercpuHashJne::<CHECKED>,
                OpCode::CallReg => call::CallReg::<CHECKED>,
                OpCode::CallLocal => call::CallLocal::<CHECKED>,
                OpCode::Exit => call::Exit::<CHECKED>,
                OpCode::FellOff => each::FellOff::<CHECKED>,
                OpCode::Pause => each::Pause::<CHECKED>,
            }
        }
    };
}
with_ops!(define);
