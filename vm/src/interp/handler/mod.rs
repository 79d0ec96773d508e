//! What carries out each operation.
//!
//! Handlers come in two kinds from one text: `CHECKED` compares every access with the regions of
//! the run, the other trusts the program. Both charge fuel on backward jumps and calls: a backward
//! jump costs the distance it goes, a call the length of the function, so that the instructions
//! executed exceed the fuel used by no more than the length of the program.
//!
//! Here is what all of them share; [`table`] has those that come from the list of operations, and
//! gives the handler for a code.

use super::op::Op;
use crate::run::Run;
use crate::trap::TrapKind;
use ebpfvm_spec::context::Direction;

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
        unsafe { memory::search(self.ip, self.regs, self.run, self.fuel, self.base, self.len) }
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

// After the macros, which they use. Handlers are named as their codes.
#[allow(non_snake_case)]
mod call;
#[allow(non_snake_case)]
mod lookup;
#[allow(non_snake_case)]
mod memory;
mod table;

pub(crate) use call::leave_call;
pub(crate) use table::handler;

/// Stops the run for the reason in [`Run::trap`].
#[cold]
unsafe fn stopped(run: *mut Run<'static>, ip: *const Op) -> Exit {
    // SAFETY: as in `stop`.
    unsafe { (*run).ip = ip };
    Exit::Trap
}
