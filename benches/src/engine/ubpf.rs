//! ubpf, through the crate libubpf-sys: its interpreter, which checks every access, and its JIT, which
//! checks nothing. Both as they come, constants not blinded. Maps are helpers of the host's.

use super::Prepared;
use crate::bench_program::BenchProgram;
use crate::host::{HELPERS, HostMaps};
use crate::workload::Workload;
use libubpf_sys as c;
use std::ffi::{CStr, c_char, c_void};
use std::ops::Range;
use std::ptr::{NonNull, null_mut};

/// A machine with a program.
struct Machine(NonNull<c::ubpf_vm>);

impl Machine {
    /// A machine with these instructions and the host's helpers.
    fn new(instructions: &[u8]) -> Result<Machine, String> {
        let bytes = u32::try_from(instructions.len()).map_err(|error| error.to_string())?;
        // SAFETY: the function asks nothing of its caller.
        let vm = unsafe { c::ubpf_create() };
        let machine = Machine(NonNull::new(vm).ok_or("no memory")?);
        for helper in HELPERS {
            // SAFETY: the machine is alive; the name is a C string that lives for ever, and the
            // function takes what programs call this number with.
            let failed = unsafe {
                c::ubpf_register(vm, helper.number, c"helper".as_ptr(), Some(helper.in_c))
            };
            if failed != 0 {
                return Err(format!("helper {} cannot be registered", helper.number));
            }
        }
        let mut error = null_mut();
        // SAFETY: the machine is alive; the instructions are copied.
        let failed =
            unsafe { c::ubpf_load(vm, instructions.as_ptr().cast(), bytes, &raw mut error) };
        if failed == 0 { Ok(machine) } else { Err(text(error)) }
    }

    /// The program as machine code, which the machine owns.
    fn compile(&self) -> Result<unsafe extern "C" fn(*mut c_void, usize) -> u64, String> {
        let mut error = null_mut();
        // SAFETY: the machine is alive and has a program.
        let compiled = unsafe { c::ubpf_compile(self.0.as_ptr(), &raw mut error) };
        compiled.ok_or_else(|| text(error))
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // SAFETY: `ubpf_create` made the machine and nobody else destroys it.
        unsafe { c::ubpf_destroy(self.0.as_ptr()) }
    }
}

/// The text of an error of ubpf's, which is given away with it. It is never freed: a few words.
fn text(error: *mut c_char) -> String {
    if error.is_null() {
        return "ubpf fails without a reason".into();
    }
    // SAFETY: an error that is not null is a C string.
    unsafe { CStr::from_ptr(error) }.to_string_lossy().trim().to_owned()
}

struct Ubpf {
    machine: Machine,
    /// None: interpreted.
    compiled: Option<unsafe extern "C" fn(*mut c_void, usize) -> u64>,
    memory: Vec<u8>,
    /// Where values of maps lie, in a place that the machine knows.
    _values: Box<Vec<Range<u64>>>,
    _maps: HostMaps,
}

/// Compiles instructions and throws the code away.
pub(crate) fn compile(instructions: &[u8]) -> Result<(), String> {
    Machine::new(instructions)?.compile().map(drop)
}

pub(super) fn interpreter(workload: &Workload) -> Result<Box<dyn Prepared>, String> {
    Ok(Box::new(prepare(workload)?))
}

pub(super) fn jit(workload: &Workload) -> Result<Box<dyn Prepared>, String> {
    let mut ubpf = prepare(workload)?;
    interpreter(workload)?.run()?;
    ubpf.compiled = Some(ubpf.machine.compile()?);
    Ok(Box::new(ubpf))
}

fn prepare(workload: &Workload) -> Result<Ubpf, String> {
    let (program, memory) = (BenchProgram::plain(workload)?, (workload.memory)());
    let maps = HostMaps::new(workload, &program.maps)?;
    // ubpf gives programs the memory's length in r2 of its own.
    let machine = Machine::new(&program.with_addresses(&[], &maps.addresses())?)?;
    let mut values: Box<Vec<Range<u64>>> = Box::new(maps.values().collect());
    // SAFETY: the machine is alive, and the ranges live in a box of their own as long as it does.
    let failed = unsafe {
        let ranges = (&raw mut *values).cast();
        c::ubpf_register_data_bounds_check(machine.0.as_ptr(), ranges, Some(is_value))
    };
    if failed != 0 {
        return Err("the memory of maps cannot be registered".into());
    }
    Ok(Ubpf { machine, compiled: None, memory, _values: values, _maps: maps })
}

/// Whether memory outside stack and input is a value of a map.
extern "C" fn is_value(ranges: *mut c_void, address: u64, bytes: u64) -> bool {
    // SAFETY: `prepare` registered the ranges with this function, for the life of the machine.
    let ranges = unsafe { &*ranges.cast::<Vec<Range<u64>>>() };
    let end = address.saturating_add(bytes);
    ranges.iter().any(|range| range.start <= address && end <= range.end)
}

impl Prepared for Ubpf {
    fn run(&mut self) -> Result<u64, String> {
        let (at, bytes) = (self.memory.as_mut_ptr().cast(), self.memory.len());
        if let Some(compiled) = self.compiled {
            // SAFETY: the interpreter, which checks, has run the program on equal memory and maps
            // without a complaint, and what a bench program does depends on them alone.
            return Ok(unsafe { compiled(at, bytes) });
        }
        let mut answer = 0;
        // SAFETY: the machine is alive and has a program; the memory is this long.
        match unsafe { c::ubpf_exec(self.machine.0.as_ptr(), at, bytes, &raw mut answer) } {
            0 => Ok(answer),
            _ => Err("ubpf stops the program".into()),
        }
    }

    fn memory(&self) -> Vec<u8> {
        self.memory.clone()
    }
}
