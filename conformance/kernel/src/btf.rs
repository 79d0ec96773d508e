//! Loading type information.

use crate::Kernel;
use crate::prog::with_log;
use crate::sys::{self, BtfLoadAttr, Command, Fd, address, address_mut, length};
use ebpfvm_spec::Errno;

/// A loaded BTF object. It is released when dropped.
#[derive(Debug)]
pub struct Btf {
    fd: Fd,
    log: String,
}

/// Why type information was not loaded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the kernel refuses the BTF: {errno}")]
pub struct BtfError {
    /// The kernel's error number.
    pub errno: Errno,
    /// The kernel's log, empty at log level 0.
    pub log: String,
}

impl Btf {
    /// The file descriptor.
    pub fn fd(&self) -> i32 {
        self.fd.number()
    }

    /// The kernel's log, empty at log level 0.
    pub fn log(&self) -> &str {
        &self.log
    }
}

impl Kernel {
    /// Checks and loads BTF, the whole blob with its header (`BPF_BTF_LOAD`).
    ///
    /// # Errors
    /// [`BtfError`] with the kernel's error number and, at a log level above 0, its log.
    pub fn btf_load(&self, btf: &[u8], log_level: u32) -> Result<Btf, BtfError> {
        let bytes = length(btf.len()).map_err(|errno| BtfError { errno, log: String::new() })?;
        let loaded = with_log(log_level != 0, |log| {
            let mut attr = BtfLoadAttr {
                btf: address(btf),
                log_bytes: log.len() as u32,
                log: address_mut(log),
                btf_bytes: bytes,
                log_level,
                log_true_bytes: 0,
            };
            // SAFETY: BTF and log live through the call and have the lengths given; only the log
            // is written, and it is borrowed mutably.
            let result = unsafe { sys::bpf_fd(Command::BtfLoad, &mut attr) };
            (result, attr.log_true_bytes)
        });
        match loaded {
            Ok((fd, log)) => Ok(Btf { fd, log }),
            Err((errno, log)) => Err(BtfError { errno, log }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel_or_skip;

    #[test]
    fn btf_is_judged() {
        let Some(kernel) = kernel_or_skip("btf_is_judged") else { return };
        // A header (magic, version 1, flags 0, length 24), one INT of 4 bytes, strings "\0int\0".
        let words: [u32; 10] = [0x0001_eb9f, 24, 0, 16, 16, 5, 1, 0x0100_0000, 4, 0x0100_0020];
        let mut btf: Vec<u8> = words.iter().flat_map(|w| w.to_ne_bytes()).collect();
        btf.extend(b"\0int\0");
        let loaded = kernel.btf_load(&btf, 1).unwrap();
        assert!(loaded.fd() >= 0);
        assert!(loaded.log().contains("INT int"), "{}", loaded.log());
        btf[0] = 0;
        assert_eq!(kernel.btf_load(&btf, 0).unwrap_err().errno, Errno::EINVAL);
    }
}
