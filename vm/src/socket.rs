//! Sockets of the host, as programs see them.

use crate::fields::{FieldError, Fields};
use ebpfvm_spec::Platform;
use ebpfvm_spec::context::Pointee;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// A socket that the host gives to programs. Shared between threads, contexts, maps and runs.
///
/// What programs see of it (`struct bpf_sock`, `struct bpf_tcp_sock`) is copied when they get a
/// pointer to it.
pub struct Socket {
    cookie: u64,
    state: Mutex<State>,
}

/// What is known of a socket, by the kind of pointer that shows it.
type State = BTreeMap<Pointee, Fields>;

/// Cookies start at 1, as the kernel's.
static NEXT_COOKIE: AtomicU64 = AtomicU64::new(1);

impl Socket {
    /// A socket of which nothing is known.
    pub fn new() -> Socket {
        Socket { cookie: NEXT_COOKIE.fetch_add(1, Relaxed), state: Mutex::default() }
    }

    /// A socket with a cookie that the host chooses, for runs that are to be repeated.
    pub fn with_cookie(cookie: u64) -> Socket {
        Socket { cookie, state: Mutex::default() }
    }

    /// The number that no other socket has (`sock_gen_cookie`).
    pub fn cookie(&self) -> u64 {
        self.cookie
    }

    /// Sets a field of `struct bpf_sock` (`Pointee::Sock`), `struct bpf_tcp_sock`
    /// (`Pointee::TcpSock`, which makes it a TCP socket) or `struct bpf_xdp_sock`.
    ///
    /// # Errors
    /// [`FieldError`] if there is no such field or the value does not fit.
    pub fn set(&self, pointee: Pointee, name: &str, value: u64) -> Result<(), FieldError> {
        let mut state = self.state();
        let fields = state.entry(pointee).or_insert_with(|| Fields::zeroed(layout(pointee)));
        fields.set(name, value)
    }

    /// The value of a field, if the socket has it.
    pub fn get(&self, pointee: Pointee, name: &str) -> Option<u64> {
        self.state().get(&pointee)?.get(name)
    }

    /// What a pointer of this kind shows; none if the socket is no such socket.
    pub(crate) fn image(&self, pointee: Pointee) -> Option<Vec<u8>> {
        let part = if pointee == Pointee::SockCommon { Pointee::Sock } else { pointee };
        match (self.state().get(&part), part) {
            (Some(fields), _) => Some(fields.bytes().to_vec()),
            (None, Pointee::Sock) => Some(vec![0; layout(Pointee::Sock).bytes as usize]),
            (None, _) => None,
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Socket {
    fn default() -> Socket {
        Socket::new()
    }
}

impl std::fmt::Debug for Socket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Socket").field("cookie", &self.cookie).finish_non_exhaustive()
    }
}

/// Linux's layout of what a pointer shows.
pub(crate) fn layout(pointee: Pointee) -> Arc<ebpfvm_spec::ContextDef> {
    static LAYOUTS: OnceLock<BTreeMap<Pointee, Arc<ebpfvm_spec::ContextDef>>> = OnceLock::new();
    let layouts = LAYOUTS.get_or_init(|| {
        let platform = Platform::linux();
        let all = [Pointee::Sock, Pointee::TcpSock, Pointee::XdpSock, Pointee::FlowKeys];
        let layout = |p| Some((p, Arc::new(platform.object(p)?.layout.clone())));
        all.into_iter().filter_map(layout).collect()
    });
    match layouts.get(&pointee) {
        Some(layout) => layout.clone(),
        // Linux has no layout of others: there is nothing to see.
        None => Arc::new(ebpfvm_spec::ContextDef {
            name: pointee.name().into(),
            bytes: 0,
            fields: Default::default(),
            translated: false,
        }),
    }
}
