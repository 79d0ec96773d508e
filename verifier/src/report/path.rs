//! The log of the paths: instructions, states, forks, calls.

use super::insn::InsnText;
use super::state::StateText;
use crate::explore::{Past, Touched};
use crate::log::Log;
use crate::reject::{FlowReason, Reason};
use crate::state::{State, SubprogId};
use crate::subject::Subject;
use ebpfvm_asm::Pc;
use std::fmt::Display;

/// The least column that states after instructions begin in (`BPF_LOG_ALIGNMENT`).
const STATE_COLUMN: usize = 40;
/// After longer instructions they begin in multiples of this (`BPF_LOG_MIN_ALIGNMENT`).
const COLUMN_STEP: usize = 8;

/// Where the path log stands: what the next line depends on.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cursor {
    /// Where the log ended after the last instruction; what the instruction did goes to its line as
    /// long as nothing was written since (`prev_log_pos`).
    insn_end: Option<usize>,
    /// Bytes of that line (`prev_insn_print_pos`).
    insn_bytes: usize,
    /// Index of the source line that was written last (`prev_linfo`).
    line: Option<usize>,
}

impl Cursor {
    /// The next instruction shows its source line again.
    pub(crate) fn forget_line(&mut self) {
        self.line = None;
    }
}

/// Writes that a function other than the entry is judged.
pub(crate) fn begin(subject: &Subject<'_>, past: &mut Past, subprog: SubprogId) {
    past.log.cursor.forget_line();
    if subprog.0 != 0 {
        let name = &subject.structure.subprog(subprog).name;
        past.log.write(format_args!("Validating {name}() func#{}...\n", subprog.0));
    }
}

/// Writes the instruction that is about to be followed, what changed before it, and its source line.
/// `forked` tells that the path was just taken up, or came back from a function; it is taken note of
/// at level 2.
pub(crate) fn before_insn(
    subject: &Subject<'_>,
    past: &mut Past,
    state: &State,
    forked: &mut bool,
) {
    if !past.log.is_on() {
        return;
    }
    let pc = state.pc;
    if past.log.is_full() && std::mem::take(forked) {
        let text = StateText::of(subject, state);
        past.log.write(format_args!("\n{}:{text}\n", From(state)));
    }
    if past.touched != Touched::NONE {
        changes(subject, past, state, pc);
    }
    source_line(subject, &mut past.log, pc);
    let begin = past.log.position();
    past.log.write(format_args!("{pc}: {}\n", InsnText { subject, pc }));
    let end = past.log.position();
    past.log.cursor.insn_end = Some(end);
    past.log.cursor.insn_bytes = end - begin;
}

/// Writes what a conditional jump at `pc` made of the state of the branch that is followed next.
pub(crate) fn after_jump(subject: &Subject<'_>, past: &mut Past, state: &State, pc: Pc) {
    if past.log.is_on() {
        changes(subject, past, state, pc);
    }
}

/// Writes what was touched (`print_insn_state`): behind the last instruction, or in a line of its
/// own if something was written since.
fn changes(subject: &Subject<'_>, past: &mut Past, state: &State, pc: Pc) {
    let touched = std::mem::replace(&mut past.touched, Touched::NONE);
    let text = StateText::of(subject, state).only(touched);
    let log = &mut past.log;
    match log.cursor.insn_end {
        Some(end) if end == log.position() => {
            log.cut(end - 1);
            let blanks = blanks_after(log.cursor.insn_bytes);
            log.write(format_args!("{:blanks$};{text}\n", ""));
        }
        _ => log.write(format_args!("{pc}:{text}\n")),
    }
}

/// Blanks between an instruction of so many bytes, with the end of its line, and what follows
/// (`vlog_alignment`).
fn blanks_after(bytes: usize) -> usize {
    let column = (bytes + COLUMN_STEP / 2).max(STATE_COLUMN);
    column.next_multiple_of(COLUMN_STEP) - bytes - 1
}

/// Writes the source line of an instruction if it is another one than the last (`verbose_linfo`).
pub(crate) fn source_line(subject: &Subject<'_>, log: &mut Log, pc: Pc) {
    let lines = &subject.program.lines;
    let Some(index) = lines.partition_point(|l| l.pc <= pc).checked_sub(1) else { return };
    let line = &lines[index];
    if let Some(last) = log.cursor.line.and_then(|last| lines.get(last))
        && (last.line, &last.file) == (line.line, &line.file)
    {
        return;
    }
    let file = line.file.rsplit('/').next().unwrap_or_default();
    log.write(format_args!("; {} @ {file}:{}\n", line.text.trim_start(), line.line));
    log.cursor.line = Some(index);
}

/// Writes that the state was seen before.
pub(crate) fn seen_before(past: &mut Past, state: &State, forked: bool) {
    if !past.log.is_on() {
        return;
    }
    if forked {
        past.log.write(format_args!("\n{}: safe\n", From(state)));
    } else {
        past.log.write(format_args!("{}: safe\n", state.pc));
    }
}

/// `from 3 to 7 (speculative execution)`
struct From<'a>(&'a State);

impl Display for From<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let how = if self.0.speculative { " (speculative execution)" } else { "" };
        write!(f, "from {} to {}{how}", self.0.last_pc, self.0.pc)
    }
}

/// Writes that a function was entered: the frame that runs and the one below it.
pub(crate) fn entered(subject: &Subject<'_>, past: &mut Past, state: &State) {
    if !past.log.is_on() {
        return;
    }
    let callee = state.current();
    let [caller, callee] =
        [callee.saturating_sub(1), callee].map(|frame| StateText::of_frame(subject, state, frame));
    past.log.write(format_args!("caller:\n{caller}\ncallee:\n{callee}\n"));
}

/// Writes that the function that runs returns to the frame below it, at `to`; called while both are
/// there.
pub(crate) fn returns(subject: &Subject<'_>, past: &mut Past, state: &State, to: Pc) {
    if !past.log.is_on() {
        return;
    }
    let callee = state.current();
    let [caller, callee] =
        [callee.saturating_sub(1), callee].map(|frame| StateText::of_frame(subject, state, frame));
    past.log
        .write(format_args!("returning from callee:\n{callee}\nto caller at {to}:\n{caller}\n"));
}

/// Writes that a global function is safe.
pub(crate) fn global_is_safe(subject: &Subject<'_>, past: &mut Past, subprog: SubprogId) {
    if past.log.is_on() {
        let name = &subject.structure.subprog(subprog).name;
        let number = subprog.0;
        past.log.write(format_args!(
            "Func#{number} ('{name}') is safe for any args that match its prototype\n"
        ));
    }
}

/// Writes why the program is rejected, or why a speculative path goes no further.
pub(crate) fn end(subject: &Subject<'_>, past: &mut Past, pc: Option<Pc>, reason: &Reason) {
    if past.log.is_off() {
        return;
    }
    if let (Some(pc), Reason::Flow(FlowReason::InfiniteLoop { .. })) = (pc, reason) {
        source_line(subject, &mut past.log, pc);
    }
    past.log.write(format_args!("{reason}\n"));
}
