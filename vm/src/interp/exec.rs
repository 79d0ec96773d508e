//! The dispatch loop.
//!
//! Two loops come from one text: `CHECKED` compares every access with [`Regions`], the other
//! trusts the program. Both charge fuel on backward jumps and calls: a backward jump costs the
//! distance it goes, a call the length of the function, so that the fuel used is at least the
//! number of instructions executed.

use super::op::{Op, OpCode, with_ops};
use crate::helper::Call;
use crate::instance::Instance;
use crate::memory::{FRAME_BYTES, MAX_FRAMES, Stack};
use crate::run::{Run, load_sized, store_sized};
use crate::trap::{Trap, TrapKind};
use ebpfvm_asm::semantics::{alu32, alu64, immediate, jump, movsx, sign_extend};
use ebpfvm_asm::{AluOp, AtomicOp, JmpOp, Size, Width};
use ebpfvm_spec::context::Direction;
use std::mem::MaybeUninit;
use std::sync::Arc;

/// How often a `may_goto` falls through in one frame (`BPF_MAX_LOOPS`, Linux 6.18).
const MAY_GOTO_LOOPS: u32 = 8 * 1024 * 1024;

/// What a caller needs back when its callee returns.
#[derive(Clone, Copy)]
struct Frame {
    ip: *const Op,
    instance: *const Instance,
    saved: [u64; 4],
    may_goto: u32,
}

/// Runs a program from its first instruction.
///
/// # Errors
/// The trap that stopped it.
///
/// # Safety
/// Without `CHECKED` the program must be safe to run on this context: accepted by the verifier, or
/// seen to run without a trap in checked mode on the very same memory.
pub(crate) unsafe fn exec<const CHECKED: bool>(
    run: &mut Run<'_>,
    entry: &Instance,
) -> Result<u64, Trap> {
    let mut stack = Stack([MaybeUninit::uninit(); FRAME_BYTES * MAX_FRAMES]);
    run.regions.set_stack(stack.0.as_mut_ptr() as u64);
    // Sixteen, so that a register field cut to four bits is always an index.
    let mut regs = [0u64; 16];
    (regs[1], regs[2]) = run.ctx.registers();

    let start = Frame { ip: std::ptr::null(), instance: entry, saved: [0; 4], may_goto: 0 };
    let mut frames = [start; MAX_FRAMES];
    let mut depth = 0;
    let mut may_goto = MAY_GOTO_LOOPS;
    let mut fuel = run.fuel;

    let mut instance: *const Instance = entry;
    let mut ip: *const Op = entry.lowered().ops.as_ptr();

    macro_rules! instance {
        () => {
            // SAFETY: `entry` outlives this call, and an instance that a tail call entered is kept
            // alive by `run.held` until the run ends.
            unsafe { &*instance }
        };
    }
    macro_rules! trap {
        ($kind:expr) => {{
            let kind = $kind;
            let instance = instance!();
            // SAFETY: `ip` is one past an operation of this instance.
            let index = unsafe { ip.offset_from(instance.lowered().ops.as_ptr()) } as usize - 1;
            return Err(instance.trap(index, kind));
        }};
    }
    macro_rules! try_trap {
        ($result:expr) => {
            match $result {
                Ok(value) => value,
                Err(kind) => trap!(kind),
            }
        };
    }
    macro_rules! charge {
        ($cost:expr) => {{
            fuel -= $cost;
            if fuel < 0 {
                trap!(TrapKind::OutOfFuel(run.fuel as u64));
            }
        }};
    }
    macro_rules! enter {
        () => {{
            run.regions.enter_frame(depth);
            let base = run.regions.frame_base(depth);
            // SAFETY: the frame lies in `stack`.
            unsafe { (base as *mut u8).write_bytes(0, FRAME_BYTES) };
            regs[10] = base + FRAME_BYTES as u64;
        }};
    }
    enter!();

    loop {
        // SAFETY: lowering has checked every target, and the last operation never falls through.
        let op = unsafe { *ip };
        // SAFETY: as above; one past the last operation is still in range for a pointer.
        ip = unsafe { ip.add(1) };

        macro_rules! dst {
            () => {
                regs[(op.dst & 15) as usize]
            };
        }
        macro_rules! src {
            () => {
                regs[(op.src & 15) as usize]
            };
        }
        macro_rules! at {
            ($base:expr) => {
                $base.wrapping_add(op.off as i64 as u64)
            };
        }
        macro_rules! go {
            ($taken:expr) => {
                if $taken {
                    // SAFETY: lowering has checked the target.
                    ip = unsafe { ip.offset(op.off as isize) };
                    if op.off < 0 {
                        charge!(-i64::from(op.off));
                    }
                }
            };
        }
        macro_rules! load {
            ($size:ident, $ty:ty) => {{
                let addr = at!(src!());
                let bytes = size_of::<$ty>() as u64;
                if CHECKED && !run.regions.hit(addr, bytes, Direction::Read) {
                    try_trap!(run.load_slow(instance!(), addr, Size::$size))
                } else {
                    // SAFETY: checked, or promised by the caller of an unchecked run.
                    unsafe { (addr as *const $ty).read_unaligned() as u64 }
                }
            }};
        }
        macro_rules! store {
            ($size:ident, $ty:ty, $value:expr) => {{
                let addr = at!(dst!());
                let bytes = size_of::<$ty>() as u64;
                let value: u64 = $value;
                if CHECKED && !run.regions.hit(addr, bytes, Direction::Write) {
                    try_trap!(run.store_slow(instance!(), addr, Size::$size, value));
                } else {
                    // SAFETY: as for loads.
                    unsafe { (addr as *mut $ty).write_unaligned(value as $ty) };
                }
            }};
        }
        macro_rules! atomic {
            ($size:expr) => {{
                let addr = at!(dst!());
                let atomic = AtomicOp::ALL[op.imm as usize];
                if CHECKED {
                    try_trap!(run.find_plain(instance!(), addr, $size, Direction::Write));
                }
                // SAFETY: as for loads.
                let old = unsafe { crate::run::atomic(atomic, $size, addr, src!(), regs[0]) };
                match atomic {
                    AtomicOp::Rmw(_) => {}
                    AtomicOp::Fetch(_) | AtomicOp::Xchg => src!() = old,
                    AtomicOp::Cmpxchg => regs[0] = old,
                }
            }};
        }
        macro_rules! call_helper {
            ($helper:expr) => {{
                let helper = $helper;
                let args = [regs[1], regs[2], regs[3], regs[4], regs[5]];
                let mut call = Call::new(run, instance!(), &helper.proto, args, CHECKED);
                regs[0] = try_trap!((helper.code)(&mut call));
            }};
        }
        macro_rules! dispatch {
            (
                alu { $($alu:ident: $a32k:ident $a32x:ident $a64k:ident $a64x:ident;)* }
                jump { $($jmp:ident: $j32k:ident $j32x:ident $j64k:ident $j64x:ident;)* }
                load { $($size:ident: $load:ident $loadsx:ident $storek:ident $storex:ident $ty:ty;)* }
            ) => {
                match op.code {
                    $(
                        OpCode::$a32k => dst!() = alu32(AluOp::$alu, dst!() as u32, op.imm as u32).into(),
                        OpCode::$a32x => dst!() = alu32(AluOp::$alu, dst!() as u32, src!() as u32).into(),
                        OpCode::$a64k => dst!() = alu64(AluOp::$alu, dst!(), op.imm as u64),
                        OpCode::$a64x => dst!() = alu64(AluOp::$alu, dst!(), src!()),
                    )*
                    $(
                        OpCode::$j32k => go!(jump(Width::W32, JmpOp::$jmp, dst!(), op.imm as u64)),
                        OpCode::$j32x => go!(jump(Width::W32, JmpOp::$jmp, dst!(), src!())),
                        OpCode::$j64k => go!(jump(Width::W64, JmpOp::$jmp, dst!(), op.imm as u64)),
                        OpCode::$j64x => go!(jump(Width::W64, JmpOp::$jmp, dst!(), src!())),
                    )*
                    $(
                        OpCode::$load => dst!() = load!($size, $ty),
                        OpCode::$loadsx => dst!() = sign_extend(Size::$size, load!($size, $ty)),
                        OpCode::$storek => store!($size, $ty, op.imm as u64),
                        OpCode::$storex => store!($size, $ty, src!()),
                    )*
                    OpCode::Neg32 => dst!() = (dst!() as u32).wrapping_neg().into(),
                    OpCode::Neg64 => dst!() = dst!().wrapping_neg(),
                    OpCode::Movsx8To32 => dst!() = movsx(Width::W32, Size::B, src!()),
                    OpCode::Movsx16To32 => dst!() = movsx(Width::W32, Size::H, src!()),
                    OpCode::Movsx8To64 => dst!() = movsx(Width::W64, Size::B, src!()),
                    OpCode::Movsx16To64 => dst!() = movsx(Width::W64, Size::H, src!()),
                    OpCode::Movsx32To64 => dst!() = movsx(Width::W64, Size::W, src!()),
                    OpCode::Zext16 => dst!() = dst!() as u16 as u64,
                    OpCode::Zext32 => dst!() = dst!() as u32 as u64,
                    OpCode::Swap16 => dst!() = (dst!() as u16).swap_bytes().into(),
                    OpCode::Swap32 => dst!() = (dst!() as u32).swap_bytes().into(),
                    OpCode::Swap64 => dst!() = dst!().swap_bytes(),
                    OpCode::LoadImm => dst!() = op.imm as u64,
                    OpCode::AtomicW => atomic!(Size::W),
                    OpCode::AtomicDw => atomic!(Size::Dw),
                    OpCode::LoadAcquire => {
                        let (addr, size) = (at!(src!()), size_of_op(op));
                        if CHECKED {
                            try_trap!(run.find_plain(instance!(), addr, size, Direction::Read));
                        }
                        // SAFETY: as for loads.
                        dst!() = unsafe { load_sized(addr, size) };
                        std::sync::atomic::fence(std::sync::atomic::Ordering::Acquire);
                    }
                    OpCode::StoreRelease => {
                        let (addr, size) = (at!(dst!()), size_of_op(op));
                        if CHECKED {
                            try_trap!(run.find_plain(instance!(), addr, size, Direction::Write));
                        }
                        std::sync::atomic::fence(std::sync::atomic::Ordering::Release);
                        // SAFETY: as for loads.
                        unsafe { store_sized(addr, size, src!()) };
                    }
                    OpCode::LoadAbs | OpCode::LoadInd => {
                        let index = if op.code == OpCode::LoadInd { src!() as u32 } else { 0 };
                        let offset = (op.imm as u32).wrapping_add(index) as i32;
                        match try_trap!(run.load_packet(offset, op.off as u32)) {
                            Some(value) => regs[0] = value,
                            // Out of range ends the program, from any frame.
                            None => {
                                run.use_fuel(fuel);
                                return Ok(0);
                            }
                        }
                    }
                    OpCode::Jump => go!(true),
                    OpCode::MayGoto => {
                        if may_goto == 0 {
                            go!(true);
                        } else {
                            may_goto -= 1;
                        }
                    }
                    OpCode::CallHelper => {
                        call_helper!(&instance!().helpers()[op.imm as usize]);
                    }
                    OpCode::TailCall => {
                        call_helper!(&instance!().helpers()[op.imm as usize]);
                        if let Some(next) = run.next.take() {
                            charge!(next.lowered().ops.len() as i64);
                            instance = Arc::as_ptr(&next);
                            ip = next.lowered().ops.as_ptr();
                            run.held.push(next);
                            run.regions.forget_last();
                            may_goto = MAY_GOTO_LOOPS;
                            (regs[1], regs[2]) = run.ctx.registers();
                        }
                    }
                    OpCode::CallReg => {
                        let Some(helper) = instance!().helper_by_number(dst!()) else {
                            trap!(TrapKind::NoSuchHelper(dst!()));
                        };
                        call_helper!(helper);
                    }
                    OpCode::CallLocal => {
                        if depth + 1 == MAX_FRAMES {
                            trap!(TrapKind::CallDepth);
                        }
                        charge!(op.imm);
                        let saved = [regs[6], regs[7], regs[8], regs[9]];
                        frames[depth] = Frame { ip, instance, saved, may_goto };
                        depth += 1;
                        may_goto = MAY_GOTO_LOOPS;
                        enter!();
                        // SAFETY: lowering has checked the target.
                        ip = unsafe { ip.offset(op.off as isize) };
                    }
                    OpCode::Exit => {
                        if depth == 0 {
                            run.use_fuel(fuel);
                            return Ok(regs[0]);
                        }
                        depth -= 1;
                        let frame = frames[depth];
                        (ip, instance, may_goto) = (frame.ip, frame.instance, frame.may_goto);
                        [regs[6], regs[7], regs[8], regs[9]] = frame.saved;
                        run.regions.enter_frame(depth);
                        regs[10] = run.regions.frame_base(depth) + FRAME_BYTES as u64;
                    }
                    OpCode::FellOff => trap!(TrapKind::FellOff),
                }
            };
        }
        with_ops!(dispatch);
    }
}

/// The size of an access whose width in bytes is the operation's immediate.
fn size_of_op(op: Op) -> Size {
    Size::from_bits(op.imm as u32 * 8).unwrap_or(Size::Dw)
}

const _: () = assert!(immediate(-1) == u64::MAX, "immediates are lowered sign-extended");
