//! Runs units on this machine, for tests: with the memory, the helpers and the outcome that
//! [`eval`] has, so that both can be compared.

#![allow(unsafe_code)] // maps memory and enters code

use crate::features::Features;
use crate::ir::eval::{self, CONSTANTS, FRAMES, Input, MAY_GOTO_ROUNDS, Outcome, Stop, WINDOW};
use crate::ir::{Reg, Unit};
use crate::link::{Answer, Callee, Runtime};
use crate::plan::Plan;
use crate::state::{FRAME_BYTES, MAX_FRAMES, Region, State};
use crate::x86_64::X64;
use crate::{Emitted, emit, exec};
use ebpfvm_asm::Pc;
use std::cell::Cell;
use std::ptr::null_mut;
use std::sync::{Mutex, MutexGuard};

/// Bytes from one of the places of memory to the next that may be used.
const ROOM_BYTES: usize = 4096;

/// An address that is not memory: its loads and stores are done by way of the cell, and stores add one.
pub(crate) const TRANSLATED: u64 = 0x50_0000;

/// Only one run has the memory at a time.
static MEMORY: Mutex<bool> = Mutex::new(false);

/// How a unit is emitted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mode {
    pub(crate) features: Features,
    pub(crate) is_metered: bool,
    pub(crate) is_blinded: bool,
}

/// A run: what code sees of it, and what helpers need.
#[repr(C)]
pub(crate) struct Native {
    pub(crate) state: State,
    window_bytes: u64,
    callees: Vec<Callee>,
    calls: Vec<(Callee, Vec<u64>)>,
    program: exec::Program,
    pub(crate) emitted: Emitted,
    _memory: MutexGuard<'static, bool>,
}

thread_local! {
    /// The run, for functions that are not told.
    static RUN: Cell<*mut Native> = const { Cell::new(null_mut()) };
}

/// The code of a unit.
pub(crate) fn emitted(unit: &Unit, mode: Mode) -> Emitted {
    let runtime = runtime();
    let mut plan = Plan::new(unit, &runtime, mode.is_metered, mode.is_blinded);
    plan.rounds = MAY_GOTO_ROUNDS;
    emit::emit::<X64<'_>, _>(&plan, &unit.blocks, mode.features, true)
}

impl Native {
    pub(crate) fn new(unit: &Unit, mode: Mode) -> Box<Native> {
        let mut unit = unit.clone();
        let callees = unit.callees.clone();
        for callee in &mut unit.callees {
            if let Callee::Direct { address, .. } = callee {
                *address = plain as extern "C" fn() -> u64 as usize;
            }
        }
        let emitted = emitted(&unit, mode);
        Box::new(Native {
            state: new_state(),
            window_bytes: 0,
            callees,
            calls: Vec::new(),
            program: exec::Program::load(&emitted).expect("memory for code"),
            emitted,
            _memory: memory(),
        })
    }

    /// The bytes at an address, as many as there are to the end of their object.
    fn bytes(&self, address: u64, writes: bool) -> Option<(u64, u64)> {
        if let Some(frame) = eval::frame_of(address, self.state.depth as usize) {
            return Some((frame.start, frame.end));
        }
        let window_end = WINDOW + self.window_bytes;
        Some(match address {
            _ if (WINDOW..window_end).contains(&address) => (WINDOW, window_end),
            _ if !writes && (CONSTANTS..CONSTANTS + eval::CONSTANT_BYTES).contains(&address) => {
                (CONSTANTS, CONSTANTS + eval::CONSTANT_BYTES)
            }
            _ => return None,
        })
    }

    /// Runs the first function.
    pub(crate) fn run(&mut self, input: &Input) -> Outcome {
        let result = self.run_with(input, &|_| ());
        let pc = Pc(self.state.pc);
        let result = result.map_err(|why| match why {
            State::STOPPED => Stop::Access(pc),
            State::OUT_OF_FUEL => Stop::OutOfFuel,
            State::CALL_DEPTH => Stop::CallDepth(pc),
            _ => Stop::FellOff,
        });
        let bytes = input.window.len();
        // SAFETY: the memory is mapped, and this run's alone.
        let window = unsafe { std::slice::from_raw_parts(WINDOW as *const u8, bytes) }.to_vec();
        Outcome { result, window, calls: std::mem::take(&mut self.calls), fuel: self.state.fuel }
    }

    /// Runs the first function, with a state that is changed before: its result, or why it stopped.
    pub(crate) fn run_with(
        &mut self,
        input: &Input,
        prepare: &dyn Fn(&mut Native),
    ) -> Result<u64, u32> {
        let bytes = input.window.len();
        self.window_bytes = bytes as u64;
        self.state = new_state();
        self.state.fuel = input.fuel;
        self.state.frame_top = eval::frame_top(0);
        self.state.window =
            Region { base: WINDOW, read_bytes: self.window_bytes, write_bytes: self.window_bytes };
        self.calls.clear();
        // SAFETY: the memory is mapped, and this run's alone.
        unsafe {
            (WINDOW as *mut u8).copy_from_nonoverlapping(input.window.as_ptr(), bytes);
            // What was there before a run is not what a program may see.
            (FRAMES as *mut u8).write_bytes(0xa5, FRAME_BYTES * MAX_FRAMES);
        }
        prepare(self);
        let args = [WINDOW, self.window_bytes, 0, 0, 0];
        let this: *mut Native = self;
        RUN.set(this);
        // SAFETY: a run is its state and what follows it. Tests enter code that accesses the memory
        // of the run only: it is checked, or has run in `eval`.
        let result = unsafe { (*this).program.enter(this.cast(), args) };
        self.outcome(result)
    }

    fn outcome(&self, result: u64) -> Result<u64, u32> {
        match self.state.stop {
            State::RETURNED => Ok(result),
            why => Err(why),
        }
    }

    /// Runs a function as a helper does that calls back, in the second frame.
    pub(crate) fn call_back(&mut self, number: usize, args: [u64; 5]) -> Option<Result<u64, u32>> {
        (self.state.depth, self.state.frame_top) = (1, eval::frame_top(1));
        let this: *mut Native = self;
        // SAFETY: as in `run_with`.
        let result = unsafe { (*this).program.enter_function(number, this.cast(), args) }?;
        Some(self.outcome(result))
    }

    /// Carries out a call as `eval` does.
    fn call(&mut self, callee: Callee, args: [u64; 5]) -> Answer {
        let mut seen = Vec::new();
        for reg in callee.uses().iter() {
            let value = match callee {
                Callee::ByNumber { register }
                    if reg == register && !(1..6).contains(&reg.index()) =>
                {
                    self.state.number
                }
                _ => args[reg.index() - 1],
            };
            seen.push(value);
            if let Some((_, end)) = self.bytes(value, false) {
                // SAFETY: the memory of the run.
                seen.extend((value..end).map(|at| u64::from(unsafe { *(at as *const u8) })));
            }
        }
        let (result, byte) = eval::call_result(&seen);
        if callee.uses().has(Reg::new(3)) && self.bytes(args[2], true).is_some() {
            // SAFETY: as above.
            unsafe { *(args[2] as *mut u8) = byte };
        }
        self.calls.push((callee, seen));
        let returns = matches!(callee, Callee::TailCall { .. }) && result & 1 == 0;
        Answer { value: result, way: if returns { Answer::RETURN } else { Answer::GO_ON } }
    }

    fn callee(&self, is: impl Fn(&Callee) -> bool) -> Callee {
        *self.callees.iter().find(|callee| is(callee)).expect("a callee of the unit")
    }
}

pub(crate) fn new_state() -> State {
    State { depth: 0, ..State::default() }
}

/// Maps the memory of runs, once.
fn memory() -> MutexGuard<'static, bool> {
    let mut is_mapped = MEMORY.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if !*is_mapped {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE;
        for place in [WINDOW, CONSTANTS, FRAMES] {
            let (at, access) = (place as *mut libc::c_void, libc::PROT_READ | libc::PROT_WRITE);
            // SAFETY: a mapping where there is none touches no memory.
            let mapped = unsafe { libc::mmap(at, ROOM_BYTES, access, flags, -1, 0) };
            assert_eq!(mapped, at, "memory at {place:#x}");
        }
        let constants = eval::constants();
        // SAFETY: mapped above.
        unsafe {
            (CONSTANTS as *mut u8).copy_from_nonoverlapping(constants.as_ptr(), constants.len());
        }
        *is_mapped = true;
    }
    is_mapped
}

fn run_of<'a>(state: *mut State) -> &'a mut Native {
    // SAFETY: code gives back the state that it was entered with, which begins the run.
    unsafe { &mut *state.cast() }
}

extern "C" fn plain() -> u64 {
    // SAFETY: set before code is entered.
    let run = unsafe { &mut *RUN.get() };
    let callee = run.callee(|callee| matches!(callee, Callee::Direct { .. }));
    // It may overwrite all of these.
    run.call(callee, [0; 5]).value
}

type Helper = extern "C" fn(u64, u64, u64, u64, u64, *mut State) -> Answer;

extern "C" fn helper(r1: u64, r2: u64, r3: u64, r4: u64, r5: u64, state: *mut State) -> Answer {
    let run = run_of(state);
    let site = run.state.site;
    run.call(Callee::Helper { site, args: 5, takes_unnamed: false }, [r1, r2, r3, r4, r5])
}

extern "C" fn tail_call(r1: u64, r2: u64, r3: u64, r4: u64, r5: u64, state: *mut State) -> Answer {
    let run = run_of(state);
    let site = run.state.site;
    run.call(Callee::TailCall { site, args: 5 }, [r1, r2, r3, r4, r5])
}

extern "C" fn by_number(r1: u64, r2: u64, r3: u64, r4: u64, r5: u64, state: *mut State) -> Answer {
    let run = run_of(state);
    let callee = run.callee(|callee| matches!(callee, Callee::ByNumber { .. }));
    run.call(callee, [r1, r2, r3, r4, r5])
}

extern "C" fn find(address: u64, access: u64, state: *mut State) -> u64 {
    let run = run_of(state);
    let (bytes, writes) = (access & 0xffff, access >> 16 & 1 != 0);
    if address == TRANSLATED && access >> 17 & 1 == 0 {
        return &raw const run.state.cell as u64;
    }
    match run.bytes(address, writes) {
        Some((base, end)) if end - address >= bytes => {
            let write_bytes = if run.bytes(address, true).is_some() { end - base } else { 0 };
            run.state.last = Region { base, read_bytes: end - base, write_bytes };
            address
        }
        _ => 0,
    }
}

extern "C" fn commit(state: *mut State) -> u64 {
    run_of(state).state.cell += 1;
    1
}

extern "C" fn packet(offset: u64, bytes: u64, state: *mut State) -> Answer {
    let run = run_of(state);
    let at = WINDOW.wrapping_add(i64::from(offset as i32) as u64);
    let Some((_, end)) =
        run.bytes(at, false).filter(|(base, end)| *base == WINDOW && end - at >= bytes)
    else {
        return Answer { value: 0, way: Answer::RETURN };
    };
    debug_assert!(end <= WINDOW + run.window_bytes);
    // SAFETY: the memory of the run.
    let byte = |at: u64| u64::from(unsafe { *(at as *const u8) });
    let value = (at..at + bytes).fold(0, |value, at| value << 8 | byte(at));
    Answer { value, way: Answer::GO_ON }
}

fn runtime() -> Runtime {
    Runtime {
        helper: helper as Helper as usize,
        tail_call: tail_call as Helper as usize,
        by_number: by_number as Helper as usize,
        find: find as extern "C" fn(u64, u64, *mut State) -> u64 as usize,
        commit: commit as extern "C" fn(*mut State) -> u64 as usize,
        packet: packet as extern "C" fn(u64, u64, *mut State) -> Answer as usize,
    }
}
