//! What carries out each operation.
//!
//! Handlers come in two kinds from one text: `CHECKED` compares every access with the regions of
//! the run, the other trusts the program. Both charge fuel on backward jumps and calls: a backward
//! jump costs the distance it goes, a call the length of the function, so that the instructions
//! executed exceed the fuel used by no more than the length of the program.

use super::op::{self, Access, Op, OpCode, with_ops};
use crate::helper::{Call, Helper};
use crate::memory::MAX_FRAMES;
use crate::run::{Frame, Run, atomic, load_sized, store_sized};
use crate::trap::TrapKind;
use ebpfvm_asm::semantics::{alu32, alu64, jump, movsx, sign_extend};
use ebpfvm_asm::{AluOp, AtomicOp, JmpOp, Size, Width};
use ebpfvm_spec::context::Direction;
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};

/// How often a `may_goto` falls through in one frame (`BPF_MAX_LOOPS`, Linux 6.18).
pub(crate) const MAY_GOTO_LOOPS: u32 = 8 * 1024 * 1024;

/// Why handlers came back to the outermost loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// The program has returned `r0`.
    Return,
    /// The slice of fuel is used up, or the native stack may be deep: go on at [`Run::ip`] if
    /// there is fuel left.
    Pause,
    /// [`Run::trap`] says why the program was stopped at [`Run::ip`].
    Trap,
    /// A function has made a tail call to [`Run::next`]: the program runs with frames of its own,
    /// and what it returns is what the function returns.
    Nest,
}

/// Carries out the operation at the first argument, then those that follow. The others: the
/// registers; the state of the run; the fuel left in the slice; address and length of the memory
/// that loads find first.
///
/// # Safety
/// The operation belongs to the run's current instance, and the registers have
/// [`Reg::COUNT`](ebpfvm_asm::Reg::COUNT) places. Without checks the program is safe to run.
pub(crate) type Handler = unsafe fn(*const Op, *mut u64, *mut Run<'static>, i64, u64, u64) -> Exit;

/// The handler of an operation that has none yet.
pub(crate) unsafe fn unbound(
    ip: *const Op,
    _regs: *mut u64,
    run: *mut Run<'static>,
    _fuel: i64,
    _base: u64,
    _len: u64,
) -> Exit {
    // SAFETY: the caller's promise.
    unsafe { stop(run, ip, TrapKind::FellOff) }
}

/// Stops the run.
#[cold]
unsafe fn stop(run: *mut Run<'static>, ip: *const Op, kind: TrapKind) -> Exit {
    // SAFETY: the handler's caller promises that `run` is valid and not otherwise in use.
    unsafe {
        (*run).ip = ip;
        (*run).trap = Some(kind);
    }
    Exit::Trap
}

/// Goes back to the outermost loop, to go on at `ip` with what is left of the fuel.
#[cold]
unsafe fn pause(run: *mut Run<'static>, ip: *const Op, fuel: i64) -> Exit {
    // SAFETY: as in `stop`.
    unsafe {
        (*run).ip = ip;
        (*run).fuel_left += fuel;
    }
    Exit::Pause
}

/// Defines a handler. In its body the first name is the operation, the second the rest of the
/// arguments. A body after `->` says itself where it goes on; others go on with the next operation.
macro_rules! handler {
    ($name:ident, |$op:ident, $m:ident| $body:block) => {
        handler!($name, |$op, $m| -> {
            $body
            $m.next()
        });
    };
    ($name:ident, |$op:ident, $m:ident| -> $body:block) => {
        #[allow(unused_mut)] // not every body writes
        pub(super) unsafe fn $name<const CHECKED: bool>(
            ip: *const Op,
            regs: *mut u64,
            run: *mut Run<'static>,
            fuel: i64,
            base: u64,
            len: u64,
        ) -> Exit {
            // SAFETY: the contract of `Handler`: the operation, the registers and the run are
            // valid, lowering has checked register numbers and targets, and accesses are checked
            // in the body or promised by the caller of an unchecked run.
            unsafe {
                let $op = &*ip;
                let mut $m = Machine { ip, regs, run, fuel, base, len };
                $body
            }
        }
    };
}

/// The arguments of a handler.
#[derive(Clone, Copy)]
struct Machine {
    ip: *const Op,
    regs: *mut u64,
    run: *mut Run<'static>,
    fuel: i64,
    base: u64,
    len: u64,
}

impl Machine {
    /// The register with this number.
    #[inline(always)]
    unsafe fn reg(&mut self, number: u8) -> &mut u64 {
        // SAFETY: lowering takes register fields from `Reg`, below the number of places.
        unsafe { &mut *self.regs.add(number as usize) }
    }

    /// Goes on with the next operation.
    #[inline(always)]
    unsafe fn next(self) -> Exit {
        // SAFETY: the last operation of a program never goes on.
        unsafe { self.go_on(self.ip.add(1)) }
    }

    /// Goes on with the operation at `ip`.
    #[inline(always)]
    unsafe fn go_on(self, ip: *const Op) -> Exit {
        // SAFETY: the contract of `Handler`.
        unsafe { ((*ip).run)(ip, self.regs, self.run, self.fuel, self.base, self.len) }
    }

    /// Goes on at the target of the operation, for a cost if it lies behind.
    #[inline(always)]
    unsafe fn take(mut self, op: &Op, cost: i64) -> Exit {
        // SAFETY: lowering has checked the target.
        unsafe {
            let target = self.ip.offset(op.off as isize + 1);
            if op.off < 0 {
                self.fuel -= cost;
                if self.fuel < 0 {
                    return pause(self.run, target, self.fuel);
                }
            }
            self.go_on(target)
        }
    }

    /// Whether a load can be done without searching.
    #[inline(always)]
    unsafe fn may_load(&self, addr: u64, bytes: u64) -> bool {
        // SAFETY: the contract of `Handler`.
        addr.wrapping_sub(self.base) < self.len
            || unsafe { (*self.run).regions.hit(addr, bytes, Direction::Read) }
    }

    /// Whether a store can be done without searching.
    #[inline(always)]
    unsafe fn may_store(&self, addr: u64, bytes: u64) -> bool {
        // SAFETY: the contract of `Handler`.
        unsafe { (*self.run).regions.hit(addr, bytes, Direction::Write) }
    }

    /// Goes on with an access that needs a search: the last thing a handler does, so that it has
    /// nothing to keep.
    #[inline(always)]
    unsafe fn search(self) -> Exit {
        // SAFETY: the contract of `Handler`.
        unsafe { search(self.ip, self.regs, self.run, self.fuel, self.base, self.len) }
    }

    /// Takes the window anew, after something that may have changed it.
    #[inline(always)]
    unsafe fn reload_window(&mut self) {
        // SAFETY: the contract of `Handler`.
        (self.base, self.len) = unsafe { (*self.run).regions.any_load() };
    }
}

/// Unwraps a result, or stops the run.
macro_rules! check {
    ($m:ident, $result:expr) => {
        match $result {
            Ok(value) => value,
            Err(kind) => return stop($m.run, $m.ip, kind),
        }
    };
}

/// Loads from an address, checked or not.
macro_rules! load {
    ($m:ident, $size:ident, $ty:ty, $addr:expr) => {{
        let addr = $addr;
        if CHECKED && !$m.may_load(addr, size_of::<$ty>() as u64) {
            return $m.search();
        }
        (addr as *const $ty).read_unaligned() as u64
    }};
}

/// Stores to an address, checked or not.
macro_rules! store {
    ($m:ident, $op:ident, $ty:ty, $value:expr) => {{
        let addr = $m.reg($op.dst).wrapping_add($op.off as i64 as u64);
        let value: u64 = $value;
        if CHECKED && !$m.may_store(addr, size_of::<$ty>() as u64) {
            return $m.search();
        }
        (addr as *mut $ty).write_unaligned(value as $ty);
    }};
}

/// Carries out an access of which the usual regions do not have the address. Memory that is found
/// is the region found last, so the operation is carried out anew; an access to the context is
/// translated and done here.
#[cold]
#[inline(never)]
unsafe fn search(
    ip: *const Op,
    regs: *mut u64,
    run: *mut Run<'static>,
    fuel: i64,
    base: u64,
    len: u64,
) -> Exit {
    // SAFETY: the contract of `Handler`; the instance is alive, see `exec`.
    unsafe {
        let op = &*ip;
        let mut m = Machine { ip, regs, run, fuel, base, len };
        let (size, access) = op::access(op.code);
        let addr = match access {
            Access::Load | Access::LoadSx => m.reg(op.src).wrapping_add(op.off as i64 as u64),
            Access::LoadJeq | Access::LoadJne => m.reg(op.src).wrapping_add(op.extra()),
            Access::StoreK | Access::StoreX => m.reg(op.dst).wrapping_add(op.off as i64 as u64),
        };
        if let Access::StoreK | Access::StoreX = access {
            let value = if access == Access::StoreK { op.imm as u64 } else { *m.reg(op.src) };
            match (*run).store_context(addr, size, value) {
                Some(Ok(())) => return m.next(),
                Some(Err(kind)) => return stop(run, ip, kind),
                None if find_plain(run, addr, size, Direction::Write) => return m.go_on(ip),
                None => return stopped(run, ip),
            }
        }
        let value = match (*run).load_context(addr, size) {
            Some(Ok(value)) => value,
            Some(Err(kind)) => return stop(run, ip, kind),
            None if find_plain(run, addr, size, Direction::Read) => return m.go_on(ip),
            None => return stopped(run, ip),
        };
        *m.reg(op.dst) = if access == Access::LoadSx { sign_extend(size, value) } else { value };
        match access {
            Access::LoadJeq if value == op.compare() => m.take(op, op.fused_cost()),
            Access::LoadJne if value != op.compare() => m.take(op, op.fused_cost()),
            _ => m.next(),
        }
    }
}

/// Stops the run for the reason in [`Run::trap`].
#[cold]
unsafe fn stopped(run: *mut Run<'static>, ip: *const Op) -> Exit {
    // SAFETY: as in `stop`.
    unsafe { (*run).ip = ip };
    Exit::Trap
}

/// Checks an access to plain memory; false leaves the reason in [`Run::trap`].
unsafe fn find_plain(run: *mut Run<'static>, addr: u64, size: Size, direction: Direction) -> bool {
    // SAFETY: as in `load_slow`.
    let (run, instance) = unsafe { (&mut *run, &*(*run).instance) };
    run.find_plain(instance, addr, size, direction).map_err(|kind| run.trap = Some(kind)).is_ok()
}

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
            handler!(AtomicW, |op, m| {
                if !atomic_op::<CHECKED>(op, &mut m, Size::W) {
                    return stopped(m.run, m.ip);
                }
            });
            handler!(AtomicDw, |op, m| {
                if !atomic_op::<CHECKED>(op, &mut m, Size::Dw) {
                    return stopped(m.run, m.ip);
                }
            });
            handler!(LoadAcquire, |op, m| {
                let addr = m.reg(op.src).wrapping_add(op.off as i64 as u64);
                let size = size_of_op(op);
                if CHECKED && !find_plain(m.run, addr, size, Direction::Read) {
                    return stopped(m.run, m.ip);
                }
                *m.reg(op.dst) = load_sized(addr, size);
                fence(Ordering::Acquire);
            });
            handler!(StoreRelease, |op, m| {
                let addr = m.reg(op.dst).wrapping_add(op.off as i64 as u64);
                let size = size_of_op(op);
                if CHECKED && !find_plain(m.run, addr, size, Direction::Write) {
                    return stopped(m.run, m.ip);
                }
                fence(Ordering::Release);
                store_sized(addr, size, *m.reg(op.src));
            });
            handler!(LoadAbs, |op, m| {
                match check!(m, (*m.run).load_packet(op.imm as i32, op.off as u32)) {
                    Some(value) => *m.reg(0) = value,
                    None => return leave_with_zero(m),
                }
            });
            handler!(LoadInd, |op, m| {
                let offset = (op.imm as u32).wrapping_add(*m.reg(op.src) as u32);
                match check!(m, (*m.run).load_packet(offset as i32, op.off as u32)) {
                    Some(value) => *m.reg(0) = value,
                    None => return leave_with_zero(m),
                }
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
            handler!(CallHelper, |op, m| {
                if !call_helper::<CHECKED>(&mut m, op.imm as usize) {
                    return stopped(m.run, m.ip);
                }
                m.reload_window();
            });
            handler!(TailCall, |op, m| {
                if !call_helper::<CHECKED>(&mut m, op.imm as usize) {
                    return stopped(m.run, m.ip);
                }
                m.reload_window();
                if (*m.run).next.is_some() && (*m.run).depth != 0 {
                    pause(m.run, m.ip, m.fuel);
                    return super::Exit::Nest;
                }
                if let Some(ip) = enter_next(&mut m) {
                    if m.fuel < 0 {
                        return pause(m.run, ip, m.fuel);
                    }
                    return m.go_on(ip);
                }
            });
            handler!(CallReg, |op, m| {
                if !call_by_number::<CHECKED>(&mut m, op.dst) {
                    return stopped(m.run, m.ip);
                }
                m.reload_window();
            });
            handler!(CallLocal, |op, m| -> {
                if !enter_call(&mut m, op.imm as u32) {
                    return stop(m.run, m.ip, TrapKind::CallDepth);
                }
                let target = m.ip.offset(op.off as isize + 1);
                m.fuel -= op.cost();
                if m.fuel < 0 {
                    return pause(m.run, target, m.fuel);
                }
                m.go_on(target)
            });
            handler!(Exit, |op, m| -> {
                let _ = op;
                leave(m)
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
                OpCode::AtomicW => each::AtomicW::<CHECKED>,
                OpCode::AtomicDw => each::AtomicDw::<CHECKED>,
                OpCode::LoadAcquire => each::LoadAcquire::<CHECKED>,
                OpCode::StoreRelease => each::StoreRelease::<CHECKED>,
                OpCode::LoadAbs => each::LoadAbs::<CHECKED>,
                OpCode::LoadInd => each::LoadInd::<CHECKED>,
                OpCode::Jump => each::Jump::<CHECKED>,
                OpCode::MayGoto => each::MayGoto::<CHECKED>,
                OpCode::CallHelper => each::CallHelper::<CHECKED>,
                OpCode::TailCall => each::TailCall::<CHECKED>,
                OpCode::CallReg => each::CallReg::<CHECKED>,
                OpCode::CallLocal => each::CallLocal::<CHECKED>,
                OpCode::Exit => each::Exit::<CHECKED>,
                OpCode::FellOff => each::FellOff::<CHECKED>,
                OpCode::Pause => each::Pause::<CHECKED>,
            }
        }
    };
}
with_ops!(define);

/// The size of an access whose width in bytes is the operation's immediate.
fn size_of_op(op: &Op) -> Size {
    Size::from_bits(op.imm as u32 * 8).unwrap_or(Size::Dw)
}

/// A legacy packet load out of range returns 0 from the function that makes it, as the
/// instructions do that Linux puts in its place (`bpf_gen_ld_abs`).
unsafe fn leave_with_zero(mut m: Machine) -> Exit {
    // SAFETY: the contract of `Handler`.
    unsafe {
        *m.reg(0) = 0;
        leave(m)
    }
}

/// Returns from a function or ends the program.
#[inline(always)]
unsafe fn leave(m: Machine) -> Exit {
    // SAFETY: the contract of `Handler`.
    unsafe {
        match leave_call(m.run, m.regs) {
            Some(ip) => m.go_on(ip),
            None => {
                (*m.run).fuel_left += m.fuel;
                Exit::Return
            }
        }
    }
}

/// An atomic operation; false leaves the reason in [`Run::trap`].
#[inline(never)]
unsafe fn atomic_op<const CHECKED: bool>(op: &Op, m: &mut Machine, size: Size) -> bool {
    // SAFETY: the contract of `Handler`; the access is checked here or promised.
    unsafe {
        let addr = m.reg(op.dst).wrapping_add(op.off as i64 as u64);
        if CHECKED && !find_plain(m.run, addr, size, Direction::Write) {
            return false;
        }
        let operation = AtomicOp::ALL[op.imm as usize];
        let old = atomic(operation, size, addr, *m.reg(op.src), *m.reg(0));
        match operation {
            AtomicOp::Rmw(_) => {}
            AtomicOp::Fetch(_) | AtomicOp::Xchg => *m.reg(op.src) = old,
            AtomicOp::Cmpxchg => *m.reg(0) = old,
        }
        true
    }
}

/// Calls a helper of the instance's list; false leaves the reason in [`Run::trap`].
#[inline(never)]
unsafe fn call_helper<const CHECKED: bool>(m: &mut Machine, index: usize) -> bool {
    // SAFETY: the contract of `Handler`; the instance is alive, see `exec`.
    unsafe {
        let instance = &*(*m.run).instance;
        call::<CHECKED>(m, &instance.helpers()[index])
    }
}

/// Calls the helper whose number is in a register; false leaves the reason in [`Run::trap`].
#[inline(never)]
unsafe fn call_by_number<const CHECKED: bool>(m: &mut Machine, register: u8) -> bool {
    // SAFETY: as in `call_helper`.
    unsafe {
        let number = *m.reg(register);
        match (*(*m.run).instance).helper_by_number(number) {
            Some(helper) => call::<CHECKED>(m, helper),
            None => {
                (*m.run).trap = Some(TrapKind::NoSuchHelper(number));
                false
            }
        }
    }
}

unsafe fn call<const CHECKED: bool>(m: &mut Machine, helper: &Helper) -> bool {
    // SAFETY: as in `call_helper`. The run is borrowed for the call only.
    unsafe {
        let args = [*m.reg(1), *m.reg(2), *m.reg(3), *m.reg(4), *m.reg(5)];
        let run: &mut Run<'static> = &mut *m.run;
        let instance = &*run.instance;
        match (helper.code)(&mut Call::new(run, instance, &helper.proto, args, CHECKED)) {
            Ok(value) => {
                *m.reg(0) = value;
                true
            }
            Err(kind) => {
                (*m.run).trap = Some(kind);
                false
            }
        }
    }
}

/// Enters the program that a tail call has chosen, in the frame of its caller: where it starts.
#[inline(never)]
unsafe fn enter_next(m: &mut Machine) -> Option<*const Op> {
    // SAFETY: the contract of `Handler`.
    unsafe {
        let run = &mut *m.run;
        let next = run.next.take()?;
        run.instance = Arc::as_ptr(&next);
        // A program that was not verified keeps its checks, whoever called it.
        let lowered = next.form(run.trust, run.memory_bytes);
        let (ip, bytes) = (lowered.ops.as_ptr(), lowered.stack_bytes);
        m.fuel -= i64::from(lowered.pcs.len() as u32);
        run.may_goto = MAY_GOTO_LOOPS;
        run.regions.pop_frame();
        (*m.reg(1), *m.reg(2)) = run.ctx.registers();
        *m.reg(10) = run.enter_frame(bytes);
        // `lowered` must not be used after this moves its owner.
        run.held.push(next);
        Some(ip)
    }
}

/// Enters a function with this much stack; false if the frames are used up.
#[inline(always)]
unsafe fn enter_call(m: &mut Machine, stack_bytes: u32) -> bool {
    // SAFETY: the contract of `Handler`; `depth` is below `MAX_FRAMES`.
    unsafe {
        let run = &mut *m.run;
        if run.depth + 1 == MAX_FRAMES {
            return false;
        }
        let saved = [*m.reg(6), *m.reg(7), *m.reg(8), *m.reg(9)];
        let (ip, instance, may_goto) = (m.ip.add(1), run.instance, run.may_goto);
        (*run.frames.add(run.depth)).write(Frame { ip, instance, saved, may_goto });
        run.depth += 1;
        run.may_goto = MAY_GOTO_LOOPS;
        *m.reg(10) = run.enter_frame(stack_bytes);
        true
    }
}

/// Returns from a function: where its caller goes on, or none from the entry.
///
/// # Safety
/// `regs` has the registers of the run.
#[inline(always)]
pub(crate) unsafe fn leave_call(run: *mut Run<'_>, regs: *mut u64) -> Option<*const Op> {
    // SAFETY: the caller's promise; frames below `depth` are written.
    unsafe {
        let run = &mut *run;
        run.depth = run.depth.checked_sub(1)?;
        let frame = (*run.frames.add(run.depth)).assume_init();
        [*regs.add(6), *regs.add(7), *regs.add(8), *regs.add(9)] = frame.saved;
        (run.instance, run.may_goto) = (frame.instance, frame.may_goto);
        *regs.add(10) = run.regions.pop_frame();
        Some(frame.ip)
    }
}
