//! The current task of a given world.

use crate::host::{FIRST_NETNS_COOKIE, PidTgid};

/// A cgroup (version 2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cgroup {
    /// Its number.
    pub id: u64,
    /// Its path from the root: `/system.slice/nginx.service`.
    pub path: String,
}

impl Cgroup {
    /// The number of the root.
    pub const ROOT_ID: u64 = 1;
}

/// What the current task is called in a namespace of process numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PidNamespace {
    /// Device of the namespace's file, as the kernel encodes it for user space.
    pub dev: u64,
    /// Number of the namespace's file.
    pub ino: u64,
    /// The task's numbers in it.
    pub id: PidTgid,
}

/// The task that programs find as the current one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// Its numbers.
    pub id: PidTgid,
    /// Its user.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// Its name, of which programs see 15 bytes.
    pub comm: String,
    /// Its cgroup, the last, and the ancestors of that, the root first. None at all is the root.
    pub cgroups: Vec<Cgroup>,
    /// The number of its network namespace.
    pub netns_cookie: u64,
    /// Its namespace of process numbers, if programs may ask for it.
    pub pid_namespace: Option<PidNamespace>,
}

impl Default for Task {
    /// The first process of a system.
    fn default() -> Task {
        Task::new(1, "init")
    }
}

impl Task {
    /// The main thread of a process of the superuser.
    pub fn new(tgid: u32, comm: &str) -> Task {
        Task {
            id: PidTgid { pid: tgid, tgid },
            uid: 0,
            gid: 0,
            comm: comm.into(),
            cgroups: Vec::new(),
            netns_cookie: FIRST_NETNS_COOKIE,
            pid_namespace: None,
        }
    }

    /// Sets the thread.
    pub fn thread(mut self, pid: u32) -> Task {
        self.id.pid = pid;
        self
    }

    /// Sets user and group.
    pub fn user(mut self, uid: u32, gid: u32) -> Task {
        (self.uid, self.gid) = (uid, gid);
        self
    }

    /// Puts the task into the last of these cgroups, whose ancestors are the others, the root first;
    /// they are numbered from 1.
    pub fn cgroups<'a>(mut self, paths: impl IntoIterator<Item = &'a str>) -> Task {
        let numbered = (Cgroup::ROOT_ID..).zip(paths);
        self.cgroups = numbered.map(|(id, path)| Cgroup { id, path: path.into() }).collect();
        self
    }

    /// Sets the number of the network namespace.
    pub fn netns_cookie(mut self, cookie: u64) -> Task {
        self.netns_cookie = cookie;
        self
    }

    /// Sets what the task is called in its namespace of process numbers.
    pub fn pid_namespace(mut self, namespace: PidNamespace) -> Task {
        self.pid_namespace = Some(namespace);
        self
    }
}
