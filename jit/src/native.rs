//! Runs units on this machine, for tests.

#![allow(unsafe_code)] // enters code

use crate::ir::Unit;
use crate::link::{Answer, Runtime};
use crate::state::{FRAME_BYTES, MAX_FRAMES, State};
use crate::{Options, emit_unit, exec};

/// A stack of all frames.
#[repr(C, align(16))]
pub(crate) struct Stack(pub(crate) [u8; FRAME_BYTES * MAX_FRAMES]);

/// A run's state and stack.
pub(crate) struct Native {
    program: exec::Program,
    pub(crate) state: State,
    pub(crate) stack: Box<Stack>,
}

impl Native {
    pub(crate) fn new(unit: &Unit, runtime: &Runtime, options: &Options) -> Native {
        let emitted = emit_unit(unit, runtime, options);
        let program = exec::Program::load(&emitted).expect("memory for code");
        // What is there before a run is not what a program may see.
        let stack = Box::new(Stack([0xa5; FRAME_BYTES * MAX_FRAMES]));
        let mut state = new_state();
        state.frame_top = stack.0.as_ptr_range().end as u64;
        Native { program, state, stack }
    }

    /// Enters the program; its result if it returns, else why it stopped.
    pub(crate) fn run(&mut self, args: [u64; 5]) -> Result<u64, u32> {
        self.state.depth = 0;
        // SAFETY: the stack has all frames, and tests access their own memory.
        let result = unsafe { self.program.enter(&mut self.state, args) };
        match self.state.stop {
            State::RETURNED => Ok(result),
            why => Err(why),
        }
    }
}

pub(crate) fn new_state() -> State {
    State {
        fuel: 0,
        unwind: 0,
        frame_top: 0,
        stop: State::RETURNED,
        pc: 0,
        site: 0,
        cpu: 0,
        number: 0,
        cell: 0,
        context: 0,
        window: crate::Region::default(),
        last: crate::Region::default(),
        depth: 0,
        frame_bytes: [0; MAX_FRAMES],
    }
}

extern "C" fn stops(_: u64, _: u64, _: u64, _: u64, _: u64, _: *mut State) -> Answer {
    Answer { value: 0, way: Answer::STOP }
}

extern "C" fn finds_nothing(_: u64, _: u64, _: *mut State) -> u64 {
    0
}

/// A machine that has nothing.
pub(crate) fn nothing() -> Runtime {
    let find = finds_nothing as extern "C" fn(u64, u64, *mut State) -> u64 as usize;
    let stop = stops as extern "C" fn(u64, u64, u64, u64, u64, *mut State) -> Answer as usize;
    Runtime { helper: stop, tail_call: stop, by_number: stop, find, commit: find, packet: stop }
}
