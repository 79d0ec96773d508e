//! Things of this process that values can belong to. Their file descriptors are keys of the kernel's
//! maps, and the same numbers those of ours.

use crate::cases::{Case, storage};
use ebpfvm_kernel::{Kernel, Task, report_skip};
use ebpfvm_spec::MapType;
use std::fs::File;
use std::net::{TcpListener, UdpSocket};
use std::os::fd::AsRawFd;
use std::path::Path;

pub(crate) struct Owners {
    listeners: Vec<TcpListener>,
    udp: Vec<UdpSocket>,
    files: Vec<File>,
    tasks: Vec<Task>,
    cgroups: Vec<File>,
}

impl Owners {
    pub(crate) fn new(kernel: &Kernel) -> Owners {
        let here = || (std::net::Ipv4Addr::LOCALHOST, 0);
        let open = |path: &str| File::open(path).unwrap();
        Owners {
            listeners: (0..3).map(|_| TcpListener::bind(here()).unwrap()).collect(),
            udp: (0..2).map(|_| UdpSocket::bind(here()).unwrap()).collect(),
            files: ["/dev/null", "/dev/zero", "/proc/self/maps"].map(open).into(),
            tasks: [1, std::process::id(), std::os::unix::process::parent_id()]
                .iter()
                .filter_map(|pid| kernel.task(*pid).ok())
                .collect(),
            cgroups: cgroups(),
        }
    }

    /// Maps whose values belong to these.
    pub(crate) fn cases(&self) -> Vec<Case> {
        fn fds(owners: &[impl AsRawFd]) -> Vec<i32> {
            owners.iter().map(AsRawFd::as_raw_fd).collect()
        }
        let mut tasks: Vec<i32> = self.tasks.iter().map(Task::fd).collect();
        tasks.dedup();
        let sockets = [fds(&self.listeners), fds(&self.udp)].concat();
        let all = [
            (MapType::SkStorage, sockets),
            (MapType::InodeStorage, fds(&self.files)),
            (MapType::TaskStorage, tasks),
            (MapType::CgrpStorage, fds(&self.cgroups)),
        ];
        let mut cases = Vec::new();
        for (kind, owners) in &all {
            if owners.is_empty() {
                report_skip("the_same_operations_give_the_same", format!("no {}", kind.name()));
                continue;
            }
            cases.extend([1, 12, 200].map(|value_bytes| storage(*kind, value_bytes, owners)));
        }
        cases
    }
}

/// The roots of some cgroup hierarchies.
fn cgroups() -> Vec<File> {
    let root = Path::new("/sys/fs/cgroup");
    let below = std::fs::read_dir(root).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut dirs: Vec<_> = std::iter::once(root.to_path_buf()).chain(below).collect();
    // Directories that are several controllers' are there under several names.
    dirs.retain(|dir| !dir.is_symlink() && dir.join("cgroup.procs").exists());
    dirs.sort();
    dirs.iter().filter_map(|dir| File::open(dir).ok()).take(4).collect()
}
