//! Programs find the same sockets, see the same of them and get the same errors as in the kernel.
//!
//! The sockets are real ones on the loopback device, made by the test, and their likenesses in a
//! world of this machine. Queries and packets are random.

mod lookup;
mod program;
mod select;
mod world;

use ebpfvm_kernel::Kernel;

/// The kernel, or a visible skip.
fn kernel(test: &str) -> Option<Kernel> {
    match Kernel::probe() {
        Ok(kernel) if kernel.version() < (6, 18) => {
            ebpfvm_kernel::report_skip(test, format!("Linux {} is too old", kernel.release()));
            None
        }
        Ok(kernel) => Some(kernel),
        Err(e) => {
            ebpfvm_kernel::report_skip(test, e);
            None
        }
    }
}
