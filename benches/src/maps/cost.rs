//! What a lookup costs a program, with and without the loop around it.

use super::home::{HOMES, machine};
use super::program::{Ours, Theirs, Work, fill, kernel_map};
use super::{Action, BATCH, KINDS, Kind, measure};
use ebpfvm_kernel::Kernel;
use std::hint::black_box;

/// Nanoseconds for a lookup.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// With the loop that draws keys.
    pub whole: f64,
    /// Without it.
    pub map: f64,
}

impl Cost {
    /// In a program of ours.
    pub fn ours(kind: &Kind) -> Cost {
        let (_, vm) = machine();
        let map = vm.create_map(&kind.def()).expect("a map");
        fill(kind, &map);
        let time = |work| {
            let program = Ours::new(&vm, kind, work, &map);
            measure(1, &|_| {
                black_box(program.batch());
            })
        };
        let whole = time(Work::On(Action::Lookup));
        Cost { whole, map: whole - time(Work::Nothing) }
    }

    /// In a program in the kernel, which measures itself.
    ///
    /// # Errors
    /// What the kernel refuses.
    pub fn kernels(kernel: &Kernel, kind: &Kind) -> Result<Cost, String> {
        let map = kernel_map(kernel, kind)?;
        let time = |work| {
            let program = Theirs::new(kernel, kind, work, &map)?;
            let (found, once) = program.run(16);
            if found != BATCH {
                return Err(format!("{found} of {BATCH} keys were found"));
            }
            // Rounds of two milliseconds.
            let repeat = (2_000_000 / once.max(1)).max(1);
            let best = (0..200).map(|_| program.run(repeat).1).min();
            Ok(f64::from(best.unwrap_or_default()) / BATCH as f64)
        };
        let whole = time(Work::On(Action::Lookup))?;
        Ok(Cost { whole, map: whole - time(Work::Nothing)? })
    }

    /// An element of a native array through a function call, without the loop: nanoseconds.
    pub fn native() -> Option<f64> {
        let home = HOMES.iter().find(|home| home.name == "native")?;
        let batch = (home.prepare)(KINDS.first()?, Action::Lookup, None).ok()?;
        let nothing = |seed| {
            let mut keys = super::Keys::new(seed, 16);
            for _ in 0..BATCH {
                black_box(keys.draw());
            }
        };
        Some(measure(1, batch.as_ref()) - measure(1, &nothing))
    }
}
