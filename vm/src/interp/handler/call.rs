//! Calls of functions and helpers, and the ways back.

use super::{Exit, MAY_GOTO_LOOPS, Machine, pause, stop, stopped};
use crate::helper::{Call, Helper};
use crate::interp::op::Op;
use crate::memory::MAX_FRAMES;
use crate::run::{Frame, Run};
use crate::trap::TrapKind;
use std::sync::Arc;

handler!(CallHelper, |op, m| {
    if !call_helper::<CHECKED>(&mut m, op.imm as usize) {
        return stopped(m.run, m.ip);
    }
    m.reload_window();
});
handler!(CallBack, |op, m| {
    // What is called pays from the same budget.
    (*m.run).fuel_left += m.fuel;
    if !call_helper::<CHECKED>(&mut m, op.imm as usize) {
        return stopped(m.run, m.ip);
    }
    m.fuel = (*m.run).take_fuel(m.fuel);
    m.reload_window();
});
handler!(TailCall, |op, m| {
    if !call_helper::<CHECKED>(&mut m, op.imm as usize) {
        return stopped(m.run, m.ip);
    }
    m.reload_window();
    if (*m.run).next.is_some() && (*m.run).depth != 0 {
        pause(m.run, m.ip, m.fuel);
        return Exit::Nest;
    }
    if let Some(ip) = enter_next(&mut m) {
        if m.fuel < 0 {
            return pause(m.run, ip, m.fuel);
        }
        return m.go_on(ip);
    }
});
handler!(CallReg, |op, m| {
    (*m.run).fuel_left += m.fuel;
    if !call_by_number::<CHECKED>(&mut m, op.dst) {
        return stopped(m.run, m.ip);
    }
    m.fuel = (*m.run).take_fuel(m.fuel);
    m.reload_window();
});
handler!(Return, |op, m| -> {
    let _ = op;
    (*m.run).fuel_left += m.fuel;
    Exit::Return
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

/// A legacy packet load out of range returns 0 from the function that makes it, as the
/// instructions do that Linux puts in its place (`bpf_gen_ld_abs`).
pub(super) unsafe fn leave_with_zero(mut m: Machine) -> Exit {
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
            Some(helper) => call::<CHECKED>(m, &helper),
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
        let lowered = next.form(run.trust, &run.room);
        let (ip, bytes) = (lowered.ops.as_ptr(), lowered.stack_bytes);
        m.fuel -= next.program().code.len() as i64;
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
