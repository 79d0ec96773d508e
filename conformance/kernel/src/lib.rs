//! The Linux kernel's eBPF machine as a library: a safe interface to the `bpf()` system call.
//!
//! The kernel is the judge that ebpfvm is compared with: [`Kernel::prog_load`] gives verdict and
//! log, [`Prog::test_run`] results and times, [`Map`] the contents of maps. Programs are loaded
//! and test-run only: this crate attaches nothing, pins nothing and knows no object files.
//!
//! Everything starts with [`Kernel::probe`], which says why when the kernel cannot be used: no
//! permission, no such system call, not Linux. Tests start with [`linux_6_18_or_skip`], which skips
//! visibly then. The crate builds on every
//! operating system; elsewhere `probe` always reports [`Unavailable`].
//!
//! - [`prog`]: loading and running programs
//! - [`map`]: creating and accessing maps
//! - [`ring`]: consuming a ring buffer
//! - [`btf`]: loading type information
//! - [`user_ring`]: producing into a ring buffer of user space
//! - [`socket`]: sockets that share a port
//! - [`task`]: processes as owners of storage
//! - [`stats`]: the verifier's statistics, as read from its log
//!
//! Layouts and numbers are those of `include/uapi/linux/bpf.h` of Linux 6.18.

pub mod btf;
pub mod map;
mod privileges;
pub mod prog;
pub mod ring;
mod skip;
pub mod socket;
pub mod stats;
mod sys;
pub mod task;
pub mod user_ring;

pub use btf::Btf;
pub use map::{Map, MapError, MapRequest};
pub use privileges::Capabilities;
pub use prog::{LoadError, LoadRequest, Prog, ProgInfo, TestRun, TestRunResult};
pub use ring::RingBuffer;
pub use skip::{kernel_or_skip, linux_6_18_or_skip, report_skip};
pub use stats::VerifierStats;
pub use task::Task;
pub use user_ring::UserRingBuffer;

use ebpfvm_spec::{Errno, ProgType};
use std::sync::Arc;

/// Access to the running kernel's `bpf()` system call.
///
/// Its existence says that a trivial program could be loaded. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Kernel {
    possible_cpus: u32,
    release: Arc<str>,
}

/// Why the kernel cannot be used here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the kernel's bpf() cannot be used: {why}")]
pub struct Unavailable {
    /// The reason, for a person.
    pub why: String,
}

impl Kernel {
    /// Finds out whether programs can be loaded, by loading one of two instructions.
    ///
    /// # Errors
    /// [`Unavailable`] with the reason. A caller that can do without reports it and goes on.
    pub fn probe() -> Result<Kernel, Unavailable> {
        let kernel = Kernel::assume()?;
        // r0 = 0; exit, in the byte order of the host. Neither has registers, offset or immediate.
        // Socket filters may be open to everybody, with a stricter verifier; XDP never is.
        let program = [[0xb7u8, 0, 0, 0, 0, 0, 0, 0], [0x95, 0, 0, 0, 0, 0, 0, 0]];
        let request = LoadRequest::new(ProgType::Xdp, program.as_flattened());
        match kernel.prog_load(&request) {
            Ok(_) => Ok(kernel),
            Err(e) => {
                let hint = match e.errno {
                    Errno::EPERM => " (needs root, or CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON)",
                    Errno::ENOSYS => " (no such system call)",
                    _ => "",
                };
                Err(Unavailable { why: format!("loading a program failed: {}{hint}", e.errno) })
            }
        }
    }

    /// The number of possible CPUs: how many values an entry of a per-CPU map has.
    pub fn possible_cpus(&self) -> u32 {
        self.possible_cpus
    }

    /// Access without a load that shows that it works, for processes that may load only some types
    /// of programs.
    ///
    /// # Errors
    /// [`Unavailable`] where there is no such kernel at all.
    pub fn assume() -> Result<Kernel, Unavailable> {
        if !cfg!(target_os = "linux") {
            return Err(Unavailable { why: "this is not Linux".into() });
        }
        let possible_cpus = sys::possible_cpus().map_err(|why| Unavailable { why })?;
        Ok(Kernel { possible_cpus, release: sys::release().into() })
    }

    /// Keeps the calling thread on the CPU that it runs on, so that all its test runs use the same
    /// values of per-CPU maps. Returns the CPU's number.
    ///
    /// # Errors
    /// The kernel's error number.
    pub fn pin_thread(&self) -> Result<u32, Errno> {
        sys::pin_thread()
    }

    /// The kernel's release as `uname -r` prints it, such as `6.18.1`.
    pub fn release(&self) -> &str {
        &self.release
    }

    /// Major and minor number of the release, such as (6, 18).
    pub fn version(&self) -> (u32, u32) {
        let mut numbers =
            self.release.split(|c: char| !c.is_ascii_digit()).map(|n| n.parse().unwrap_or(0));
        (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
    }
}

/// A name in an attribute: at most 15 characters of the kernel's `bpf_obj_name_cpy` alphabet; others
/// become `_`, since a name only serves people.
fn object_name(name: &str) -> [u8; 16] {
    let mut field = [0; 16];
    for (to, from) in field.iter_mut().take(15).zip(name.bytes()) {
        *to =
            if from.is_ascii_alphanumeric() || from == b'_' || from == b'.' { from } else { b'_' };
    }
    field
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_the_kernels_alphabet() {
        assert_eq!(&object_name("a-b c.d")[..8], b"a_b_c.d\0");
        assert_eq!(object_name("0123456789abcdefXYZ")[15], 0);
    }

    #[test]
    fn a_pinned_thread_stays() {
        let Some(kernel) = kernel_or_skip("a_pinned_thread_stays") else { return };
        let cpu = kernel.pin_thread().unwrap();
        assert!(cpu < kernel.possible_cpus());
        std::thread::yield_now();
        assert_eq!(kernel.pin_thread(), Ok(cpu));
    }

    #[test]
    fn probe_tells_version_and_cpus_or_why_not() {
        match Kernel::probe() {
            Ok(k) => {
                assert!(k.possible_cpus() >= 1);
                assert!(k.version().0 >= 4, "{}", k.release());
            }
            Err(e) => assert!(!e.why.is_empty()),
        }
    }
}
