//! What stands for the system calls where there is no Linux: nothing can be made, so nothing is
//! ever called. It keeps the crate building everywhere.

use super::{Attribute, Command};
use ebpfvm_spec::Errno;
use std::convert::Infallible;

#[derive(Debug)]
pub(crate) struct Fd(Infallible);

impl Fd {
    pub(crate) fn number(&self) -> i32 {
        match self.0 {}
    }
}

/// # Safety
/// None is needed here: nothing is called. The other machine's asks for it.
pub(crate) unsafe fn bpf<A: Attribute>(_: Command, _: &mut A) -> Result<i32, Errno> {
    Err(Errno::ENOSYS)
}

/// # Safety
/// As [`bpf`].
pub(crate) unsafe fn bpf_fd<A: Attribute>(_: Command, _: &mut A) -> Result<Fd, Errno> {
    Err(Errno::ENOSYS)
}

pub(crate) fn pidfd(_: u32) -> Result<Fd, Errno> {
    Err(Errno::ENOSYS)
}

pub(crate) fn shared_port(_: bool) -> Result<Fd, Errno> {
    Err(Errno::ENOSYS)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protection {
    Read,
    ReadWrite,
}

#[derive(Debug)]
pub(crate) struct Mapping(Infallible);

impl Mapping {
    pub(crate) fn new(_: &Fd, _: usize, _: usize, _: Protection) -> Result<Mapping, Errno> {
        Err(Errno::ENOSYS)
    }

    pub(crate) fn start(&self) -> *mut u8 {
        match self.0 {}
    }

    pub(crate) fn bytes(&self) -> usize {
        match self.0 {}
    }
}

pub(crate) fn page_bytes() -> usize {
    4096
}

pub(crate) fn release() -> String {
    String::new()
}

pub(crate) fn possible_cpus() -> Result<u32, String> {
    Err("this is not Linux".into())
}

pub(crate) fn pin_thread() -> Result<u32, Errno> {
    Err(Errno::ENOSYS)
}

pub(crate) fn keep_capabilities(_mask: u64) -> Result<(), Errno> {
    Err(Errno::ENOSYS)
}
