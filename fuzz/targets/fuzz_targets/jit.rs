#![no_main]

use ebpfvm_fuzz::Target;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| Target::Jit.fuzz(bytes));
