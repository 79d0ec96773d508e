//! Sockets that share a port, which the standard library cannot make.

use crate::Kernel;
use crate::sys::{self, Fd};
use ebpfvm_spec::Errno;

/// A socket of IPv4 at a port of its own of the loopback device, with `SO_REUSEPORT`.
#[derive(Debug)]
pub struct SharedPort(Fd);

impl Kernel {
    /// A TCP socket that listens.
    ///
    /// # Errors
    /// The kernel's error number.
    pub fn shared_listener(&self) -> Result<SharedPort, Errno> {
        sys::shared_port(true).map(SharedPort)
    }

    /// A UDP socket.
    ///
    /// # Errors
    /// The kernel's error number.
    pub fn shared_udp(&self) -> Result<SharedPort, Errno> {
        sys::shared_port(false).map(SharedPort)
    }
}

impl SharedPort {
    /// The file descriptor, for values of maps.
    pub fn fd(&self) -> i32 {
        self.0.number()
    }
}
