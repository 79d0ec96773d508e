//! The functions of the machine that compiled code calls.
//!
//! All are C functions; none unwinds: a helper's panic is kept in the run until the code has ended.

use super::linking::Table;
use crate::helper::{Call, Helper};
use crate::interp::exec::nest;
use crate::map::{Cpu, Hash};
use crate::memory::Regions;
use crate::run::Run;
use crate::trap::TrapKind;
use ebpfvm_asm::Size;
use ebpfvm_jit::{Answer, Runtime, State};
use ebpfvm_spec::context::Direction;
use std::any::Any;
use std::mem::offset_of;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::NonNull;
use std::sync::OnceLock;

/// Their addresses.
pub(super) fn table() -> &'static Runtime {
    static TABLE: OnceLock<Runtime> = OnceLock::new();
    TABLE.get_or_init(|| Runtime {
        helper: helper as *const () as usize,
        tail_call: tail_call as *const () as usize,
        by_number: by_number as *const () as usize,
        find: find as *const () as usize,
        commit: commit as *const () as usize,
        packet: packet as *const () as usize,
    })
}

/// The run that a state belongs to.
///
/// # Safety
/// The state is that of a [`Run`], and came from a pointer to all of it.
unsafe fn run_of<'a>(state: *mut State) -> &'a mut Run<'static> {
    let offset = offset_of!(Run<'static>, regions) + offset_of!(Regions, state);
    // SAFETY: the caller's promise; compiled code does not touch the state before the call returns.
    unsafe { &mut *state.byte_sub(offset).cast() }
}

/// Stops the run for a reason.
#[cold]
fn stop(run: &mut Run<'_>, kind: TrapKind) -> Answer {
    run.trap = Some(kind);
    Answer { value: 0, way: Answer::STOP }
}

/// Calls a helper. In its callers, so that the arguments go where the helper finds them at once.
#[inline(always)]
fn call(run: &mut Run<'static>, helper: &Helper, args: [u64; 5]) -> Answer {
    // SAFETY: the instance is alive: the entry outlives the run, and those that tail calls have
    // entered are held by it.
    let instance = unsafe { &*run.instance };
    run.fuel_left = run.regions.state.fuel;
    let checked = run.checked;
    // A trap goes to its place in here: room for one would be copied with every result handed out.
    let result = catch_unwind(AssertUnwindSafe(|| {
        let mut call = Call::new(run, instance, &helper.proto, args, checked);
        match (helper.code)(&mut call) {
            Ok(value) => Answer { value, way: Answer::GO_ON },
            Err(kind) => stop(run, kind),
        }
    }));
    run.regions.state.fuel = run.fuel_left;
    result.unwrap_or_else(|panic| panicked(run, panic))
}

/// Keeps a helper's panic until the code has ended.
#[cold]
fn panicked(run: &mut Run<'_>, panic: Box<dyn Any + Send>) -> Answer {
    run.panic = Some(panic);
    Answer { value: 0, way: Answer::STOP }
}

unsafe extern "C" fn helper(
    r1: u64,
    r2: u64,
    r3: u64,
    r4: u64,
    r5: u64,
    state: *mut State,
) -> Answer {
    // SAFETY: compiled code gives the state that it was entered with, see `enter`; the instance is
    // alive, see `call`.
    unsafe {
        let run = run_of(state);
        let helper = &(*run.instance).helpers()[run.regions.state.site as usize];
        call(run, helper, [r1, r2, r3, r4, r5])
    }
}

unsafe extern "C" fn by_number(
    r1: u64,
    r2: u64,
    r3: u64,
    r4: u64,
    r5: u64,
    state: *mut State,
) -> Answer {
    // SAFETY: as in `helper`.
    unsafe {
        let run = run_of(state);
        let number = run.regions.state.number;
        match (*run.instance).helper_by_number(number) {
            Some(helper) => call(run, &helper, [r1, r2, r3, r4, r5]),
            None => stop(run, TrapKind::NoSuchHelper(number)),
        }
    }
}

unsafe extern "C" fn tail_call(
    r1: u64,
    r2: u64,
    r3: u64,
    r4: u64,
    r5: u64,
    state: *mut State,
) -> Answer {
    // SAFETY: as in `helper`; the program that the helper has chosen is as safe to run as this one,
    // for it was accepted itself or runs with checks.
    unsafe {
        let answer = helper(r1, r2, r3, r4, r5, state);
        let run = run_of(state);
        if answer.way != Answer::GO_ON || run.next.is_none() {
            return answer;
        }
        let result = catch_unwind(AssertUnwindSafe(|| nest(run)));
        run.regions.forget_frame();
        run.regions.state.fuel = run.fuel_left;
        match result {
            Ok(Ok(value)) => Answer { value, way: Answer::RETURN },
            Ok(Err(trap)) => {
                run.trapped = Some(trap);
                Answer { value: 0, way: Answer::STOP }
            }
            Err(panic) => panicked(run, panic),
        }
    }
}

unsafe extern "C" fn find(address: u64, access: u64, state: *mut State) -> u64 {
    let (bytes, writes, is_plain) = (access & 0xffff, access & 1 << 16 != 0, access & 1 << 17 != 0);
    let direction = if writes { Direction::Write } else { Direction::Read };
    // SAFETY: as in `helper`.
    let (run, instance) = unsafe {
        let run = run_of(state);
        let instance = &*run.instance;
        (run, instance)
    };
    let size = Size::from_bits(bytes as u32 * 8);
    if let Some(size) = size.filter(|_| !is_plain) {
        let result = match direction {
            Direction::Read => run.load_context(address, size).map(|loaded| {
                // The code may rely on it that loads of one or two bytes give no more.
                let all = if bytes < 4 { (1 << (8 * bytes)) - 1 } else { u64::MAX };
                loaded.map(|value| run.regions.state.cell = value & all)
            }),
            Direction::Write => run.is_in_context(address, size).then(|| {
                run.pending = Some((address, size));
                Ok(())
            }),
        };
        match result {
            // SAFETY: a field of the state.
            Some(Ok(())) => return unsafe { (&raw mut (*state).cell) as u64 },
            Some(Err(kind)) => {
                stop(run, kind);
                return 0;
            }
            None => {}
        }
    }
    match run.find(instance, address, bytes, direction) {
        Ok(()) => address,
        Err(kind) => {
            stop(run, kind);
            0
        }
    }
}

unsafe extern "C" fn commit(state: *mut State) -> u64 {
    // SAFETY: as in `helper`.
    let run = unsafe { run_of(state) };
    let value = run.regions.state.cell;
    let Some((address, size)) = run.pending.take() else { return 1 };
    match run.store_context(address, size, value) {
        Some(Ok(())) | None => 1,
        Some(Err(kind)) => {
            stop(run, kind);
            0
        }
    }
}

unsafe extern "C" fn packet(offset: u64, bytes: u64, state: *mut State) -> Answer {
    // SAFETY: as in `helper`.
    let run = unsafe { run_of(state) };
    match run.load_packet(offset as u32 as i32, bytes as u32) {
        Ok(Some(value)) => Answer { value, way: Answer::GO_ON },
        Ok(None) => Answer { value: 0, way: Answer::RETURN },
        Err(kind) => stop(run, kind),
    }
}

/// The address of the lookup in hash tables with such keys.
pub(super) fn lookup(key_bytes: u32, percpu: bool) -> usize {
    let function: unsafe extern "C" fn(&Table, *const u8) -> u64 = match (key_bytes, percpu) {
        (8, false) => find_double_word,
        (4, false) => find_word,
        _ => find_any,
    };
    function as *const () as usize
}

fn address(found: Option<NonNull<u8>>) -> u64 {
    found.map_or(0, |value| value.as_ptr() as u64)
}

/// # Safety
/// The table's map is alive, as the instance holds it whose code calls.
unsafe fn hash(table: &Table) -> &Hash {
    // SAFETY: the caller's promise.
    unsafe { &*(table.hash as *const Hash) }
}

unsafe extern "C" fn find_double_word(table: &Table, key: *const u8) -> u64 {
    // SAFETY: the verifier has seen that the key's memory is readable; the map is alive, see `hash`.
    unsafe { address(hash(table).find_word(key.cast::<u64>().read_unaligned(), || Cpu(0))) }
}

unsafe extern "C" fn find_word(table: &Table, key: *const u8) -> u64 {
    // SAFETY: as in `find_double_word`.
    unsafe { address(hash(table).find_word(key.cast::<u32>().read_unaligned().into(), || Cpu(0))) }
}

unsafe extern "C" fn find_any(table: &Table, key: *const u8) -> u64 {
    // SAFETY: as in `find_double_word`. Longer keys are copied first: they may lie where others write.
    unsafe {
        let (hash, cpu) = (hash(table), || table.vm.host().cpu());
        address(match table.key_bytes {
            8 => hash.find_word(key.cast::<u64>().read_unaligned(), cpu),
            4 => hash.find_word(key.cast::<u32>().read_unaligned().into(), cpu),
            bytes => {
                let mut copy = [0; Hash::MAX_DIRECT_KEY_BYTES];
                let copy = &mut copy[..bytes as usize];
                crate::memory::copy_from(key as u64, copy);
                hash.find_key(copy, cpu())
            }
        })
    }
}
