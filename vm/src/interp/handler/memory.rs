//! Accesses to memory that are not the usual ones: those that need a search, atomic and ordered
//! ones, and legacy packet loads.

use super::call::leave_with_zero;
use super::{Exit, Machine, stop, stopped};
use crate::interp::op::{self, Access, Op};
use crate::run::{Run, atomic, load_sized, store_sized};
use ebpfvm_asm::semantics::sign_extend;
use ebpfvm_asm::{AtomicOp, Size};
use ebpfvm_spec::context::Direction;
use std::sync::atomic::{Ordering, fence};

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

/// Carries out an access of which the usual regions do not have the address. Memory that is found
/// is the region found last, so the operation is carried out anew; an access to the context is
/// translated and done here.
#[cold]
#[inline(never)]
pub(super) unsafe fn search(
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

/// Checks an access to plain memory; false leaves the reason in [`Run::trap`].
unsafe fn find_plain(run: *mut Run<'static>, addr: u64, size: Size, direction: Direction) -> bool {
    // SAFETY: as in `load_slow`.
    let (run, instance) = unsafe { (&mut *run, &*(*run).instance) };
    run.find_plain(instance, addr, size, direction).map_err(|kind| run.trap = Some(kind)).is_ok()
}

/// The size of an access whose width in bytes is the operation's immediate.
fn size_of_op(op: &Op) -> Size {
    Size::from_bits(op.imm as u32 * 8).unwrap_or(Size::Dw)
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
