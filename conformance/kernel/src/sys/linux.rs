//! The calls themselves.

use super::{Attribute, Command};
use ebpfvm_spec::Errno;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr::NonNull;

/// An owned file descriptor.
#[derive(Debug)]
pub(crate) struct Fd(OwnedFd);

impl Fd {
    pub(crate) fn number(&self) -> i32 {
        self.0.as_raw_fd()
    }
}

fn last_error() -> Errno {
    Errno(std::io::Error::last_os_error().raw_os_error().unwrap_or(0))
}

/// Calls `bpf()`. Interrupted loads and runs are tried again, as the kernel asks for.
///
/// # Errors
/// The kernel's error number.
///
/// # Safety
/// Every pointer in `attribute` that the kernel reads or writes for `command` points at memory that
/// lives through the call, is of the length that the attribute (or the map it names) says, and,
/// where the kernel writes, is borrowed mutably by the caller and has exposed provenance.
pub(crate) unsafe fn bpf<A: Attribute>(command: Command, attribute: &mut A) -> Result<i32, Errno> {
    const MAX_TRIES: u32 = 16;
    let mut tries = 1;
    loop {
        // SAFETY: the attribute is plain memory of the size given; its pointers are the caller's
        // promise.
        let result = unsafe {
            libc::syscall(
                libc::SYS_bpf,
                command as u32,
                std::ptr::from_mut(attribute),
                size_of::<A>(),
            )
        };
        if result >= 0 {
            return Ok(result as i32);
        }
        let errno = last_error();
        let again = errno == Errno::EAGAIN && matches!(command, Command::ProgLoad)
            || errno == Errno::EINTR && matches!(command, Command::ProgLoad | Command::ProgTestRun);
        if !again || tries == MAX_TRIES {
            return Err(errno);
        }
        tries += 1;
    }
}

/// As [`bpf`], for commands that return a new file descriptor.
///
/// # Errors
/// As [`bpf`].
///
/// # Safety
/// As [`bpf`]; the command returns a file descriptor.
pub(crate) unsafe fn bpf_fd<A: Attribute>(
    command: Command,
    attribute: &mut A,
) -> Result<Fd, Errno> {
    // SAFETY: the caller's promise.
    let fd = unsafe { bpf(command, attribute) }?;
    // SAFETY: the kernel made this descriptor for us, nobody else has it.
    Ok(Fd(unsafe { OwnedFd::from_raw_fd(fd) }))
}

/// A file descriptor for a task.
///
/// # Errors
/// The kernel's error number: `ESRCH` if there is no such task.
pub(crate) fn pidfd(pid: u32) -> Result<Fd, Errno> {
    // SAFETY: the call takes numbers and touches no memory.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    if fd < 0 {
        return Err(last_error());
    }
    // SAFETY: the kernel made this descriptor for us, nobody else has it.
    Ok(Fd(unsafe { OwnedFd::from_raw_fd(fd as i32) }))
}

/// A socket of IPv4 at a free port of the loopback device, which others may share (`SO_REUSEPORT`).
/// One of streams listens.
///
/// # Errors
/// The kernel's error number.
pub(crate) fn shared_port(stream: bool) -> Result<Fd, Errno> {
    let kind = if stream { libc::SOCK_STREAM } else { libc::SOCK_DGRAM };
    // SAFETY: the call takes numbers and touches no memory.
    let fd = unsafe { libc::socket(libc::AF_INET, kind | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return Err(last_error());
    }
    // SAFETY: the kernel made this descriptor for us, nobody else has it.
    let owned = Fd(unsafe { OwnedFd::from_raw_fd(fd) });
    let done = |result: i32| if result == 0 { Ok(()) } else { Err(last_error()) };
    let on: libc::c_int = 1;
    let bytes = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the option is a number that lives through the call and has the length given.
    done(unsafe {
        libc::setsockopt(fd, libc::SOL_SOCKET, libc::SO_REUSEPORT, (&raw const on).cast(), bytes)
    })?;
    let address = libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: 0,
        sin_addr: libc::in_addr { s_addr: u32::from(std::net::Ipv4Addr::LOCALHOST).to_be() },
        sin_zero: [0; 8],
    };
    let bytes = size_of::<libc::sockaddr_in>() as libc::socklen_t;
    // SAFETY: the address lives through the call and has the length given.
    done(unsafe { libc::bind(fd, (&raw const address).cast(), bytes) })?;
    if stream {
        // SAFETY: the call takes numbers and touches no memory.
        done(unsafe { libc::listen(fd, 1) })?;
    }
    Ok(owned)
}

/// Which accesses a [`Mapping`] allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protection {
    Read,
    ReadWrite,
}

/// Memory shared with the kernel, unmapped when dropped.
///
/// The kernel changes it at any time, so it is accessed through raw pointers only.
#[derive(Debug)]
pub(crate) struct Mapping {
    start: NonNull<u8>,
    bytes: usize,
}

// SAFETY: a mapping belongs to the process, not to a thread, and has no other state.
unsafe impl Send for Mapping {}

impl Mapping {
    /// Maps `bytes` bytes of `fd` from `offset`.
    ///
    /// # Errors
    /// The kernel's error number.
    pub(crate) fn new(
        fd: &Fd,
        offset: usize,
        bytes: usize,
        protection: Protection,
    ) -> Result<Mapping, Errno> {
        let offset = libc::off_t::try_from(offset).map_err(|_| Errno::E2BIG)?;
        let protection = match protection {
            Protection::Read => libc::PROT_READ,
            Protection::ReadWrite => libc::PROT_READ | libc::PROT_WRITE,
        };
        // SAFETY: a new mapping at an address of the kernel's choice touches no existing memory.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes,
                protection,
                libc::MAP_SHARED,
                fd.number(),
                offset,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(last_error());
        }
        let start = NonNull::new(start.cast()).ok_or(Errno::ENOMEM)?;
        Ok(Mapping { start, bytes })
    }

    pub(crate) fn start(&self) -> *mut u8 {
        self.start.as_ptr()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: exactly the mapping that `new` made; nothing borrows from it any more.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.bytes) };
    }
}

/// The size of a page in bytes.
pub(crate) fn page_bytes() -> usize {
    // SAFETY: takes and returns integers.
    let bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(bytes).unwrap_or(4096)
}

/// The kernel's release.
pub(crate) fn release() -> String {
    std::fs::read_to_string("/proc/sys/kernel/osrelease")
        .map(|release| release.trim().to_string())
        .unwrap_or_default()
}

/// The number of possible CPUs (`num_possible_cpus`): how many values the kernel copies for an
/// entry of a per-CPU map.
///
/// # Errors
/// In words, when the list cannot be read.
pub(crate) fn possible_cpus() -> Result<u32, String> {
    const PATH: &str = "/sys/devices/system/cpu/possible";
    let list = std::fs::read_to_string(PATH).map_err(|e| format!("{PATH}: {e}"))?;
    count_cpus(&list).ok_or_else(|| format!("{PATH}: not a list of CPUs: {:?}", list.trim()))
}

/// Keeps the calling thread on the CPU that it runs on, and returns the CPU's number.
///
/// # Errors
/// The kernel's error number.
pub(crate) fn pin_thread() -> Result<u32, Errno> {
    // SAFETY: the call takes no pointers.
    let cpu = u32::try_from(unsafe { libc::sched_getcpu() }).map_err(|_| last_error())?;
    let mut set = [0u64; 16];
    *set.get_mut(cpu as usize / 64).ok_or(Errno::E2BIG)? |= 1 << (cpu % 64);
    // SAFETY: the set is read only and has the size given; `cpu_set_t` is such an array of words.
    let result = unsafe { libc::sched_setaffinity(0, size_of_val(&set), set.as_ptr().cast()) };
    if result == 0 { Ok(cpu) } else { Err(last_error()) }
}

/// Counts the CPUs of a list such as `0-3,8`.
fn count_cpus(list: &str) -> Option<u32> {
    let mut count = 0u32;
    for range in list.trim().split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
        count = count.checked_add(last.checked_sub(first)?.checked_add(1)?)?;
    }
    Some(count)
}

/// `_LINUX_CAPABILITY_VERSION_3`: masks of 64 bits in two halves.
const CAPABILITY_VERSION: u32 = 0x2008_0522;

/// Gives up all capabilities of the calling thread but those of the mask.
pub(crate) fn keep_capabilities(mask: u64) -> Result<(), Errno> {
    /// `struct __user_cap_header_struct`; thread 0 is the calling one.
    #[repr(C)]
    struct Header {
        version: u32,
        thread: i32,
    }
    /// `struct __user_cap_data_struct`
    #[repr(C)]
    struct Half {
        effective: u32,
        permitted: u32,
        inheritable: u32,
    }
    let mut header = Header { version: CAPABILITY_VERSION, thread: 0 };
    let half = |bits: u32| Half { effective: bits, permitted: bits, inheritable: 0 };
    let halves = [half(mask as u32), half((mask >> 32) as u32)];
    // SAFETY: the kernel reads the header and, for this version, two halves; it may write the
    // header, which is borrowed mutably. Only the calling thread is changed.
    let result = unsafe {
        libc::syscall(libc::SYS_capset, std::ptr::from_mut(&mut header), halves.as_ptr())
    };
    if result == 0 { Ok(()) } else { Err(last_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_cpus_are_counted() {
        assert_eq!(count_cpus("0\n"), Some(1));
        assert_eq!(count_cpus("0-3,8,10-11\n"), Some(7));
        assert_eq!(count_cpus("3-0"), None);
        assert_eq!(count_cpus("x"), None);
    }
}
