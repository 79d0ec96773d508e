//! Tasks as the owners of storage.

use crate::Kernel;
use crate::sys::{self, Fd};
use ebpfvm_spec::Errno;

/// A process, by a file descriptor.
#[derive(Debug)]
pub struct Task(Fd);

impl Kernel {
    /// The process with this number.
    ///
    /// # Errors
    /// The kernel's error number; `ESRCH` if there is none.
    pub fn task(&self, pid: u32) -> Result<Task, Errno> {
        sys::pidfd(pid).map(Task)
    }
}

impl Task {
    /// The file descriptor, for keys of maps of type `TASK_STORAGE`.
    pub fn fd(&self) -> i32 {
        self.0.number()
    }
}
