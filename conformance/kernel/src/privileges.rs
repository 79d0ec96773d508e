//! What a load is allowed by: capabilities of the calling thread.

use crate::{Kernel, sys};
use ebpfvm_spec::Errno;

/// Capabilities that the verifier asks about. Root has all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// `CAP_BPF`
    pub bpf: bool,
    /// `CAP_PERFMON`
    pub perfmon: bool,
    /// `CAP_NET_ADMIN`
    pub net_admin: bool,
}

impl Capabilities {
    /// What root has.
    pub const ALL: Capabilities = Capabilities { bpf: true, perfmon: true, net_admin: true };
}

/// Numbers of the capabilities (`include/uapi/linux/capability.h`).
const NET_ADMIN: u32 = 12;
const PERFMON: u32 = 38;
const BPF: u32 = 39;

impl Kernel {
    /// Does `work` on a thread that has only these capabilities and not even those of
    /// `CAP_SYS_ADMIN`; on this one if they are those of root.
    ///
    /// # Errors
    /// The kernel's error number, if capabilities cannot be given up.
    pub fn with_capabilities<T: Send>(
        &self,
        keep: Capabilities,
        work: impl FnOnce() -> T + Send,
    ) -> Result<T, Errno> {
        if keep == Capabilities::ALL {
            return Ok(work());
        }
        let bit = |kept: bool, number: u32| u64::from(kept) << number;
        let mask = bit(keep.bpf, BPF) | bit(keep.perfmon, PERFMON) | bit(keep.net_admin, NET_ADMIN);
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                sys::keep_capabilities(mask)?;
                Ok(work())
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{LoadRequest, kernel_or_skip};
    use ebpfvm_spec::ProgType;

    #[test]
    fn a_thread_without_capabilities_may_not_load() {
        let Some(kernel) = kernel_or_skip("a_thread_without_capabilities_may_not_load") else {
            return;
        };
        let insns = [[0xb7u8, 0, 0, 0, 0, 0, 0, 0], [0x95, 0, 0, 0, 0, 0, 0, 0]];
        let load = |prog_type| {
            kernel.prog_load(&LoadRequest::new(prog_type, insns.as_flattened())).map(drop)
        };
        let keep = |bpf, net_admin| Capabilities { bpf, perfmon: false, net_admin };
        let refused = kernel.with_capabilities(keep(true, false), || load(ProgType::Xdp)).unwrap();
        assert_eq!(refused.unwrap_err().errno, Errno::EPERM);
        let taken = kernel.with_capabilities(keep(true, true), || load(ProgType::Xdp)).unwrap();
        assert!(taken.is_ok());
        assert!(load(ProgType::Xdp).is_ok(), "other threads keep theirs");
    }
}
