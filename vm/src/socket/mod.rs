//! Sockets of the host, as programs see them.
//!
//! A socket is what pointers show of it (`struct bpf_sock`, `struct bpf_tcp_sock`), what only
//! helpers know ([`facts`]) and its options ([`options`]). All of it is set and read by name.

pub mod address;
pub mod facts;
pub mod options;
pub mod query;

use crate::fields::{FieldError, Fields};
use ebpfvm_spec::Platform;
use ebpfvm_spec::context::Pointee;
use facts::{Fact, Facts};
use options::Options;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering::{AcqRel, Relaxed, Release};
use std::sync::atomic::{AtomicU32, AtomicU64};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// `AF_INET`
pub const AF_INET: u64 = 2;
/// `AF_INET6`
pub const AF_INET6: u64 = 10;
/// `IPPROTO_TCP`
pub const IPPROTO_TCP: u64 = 6;
/// `IPPROTO_UDP`
pub const IPPROTO_UDP: u64 = 17;

/// States of sockets that the machine tells apart (`net/tcp_states.h`).
pub mod state {
    /// Connected.
    pub const ESTABLISHED: u64 = 1;
    /// Gone, remembered for a while: no full socket.
    pub const TIME_WAIT: u64 = 6;
    /// Not connected.
    pub const CLOSE: u64 = 7;
    /// Waits for connections.
    pub const LISTEN: u64 = 10;
    /// A request for a connection: no full socket.
    pub const NEW_SYN_RECV: u64 = 12;
}

/// A socket that the host gives to programs. Shared between threads, contexts, maps and runs.
///
/// What programs see of it (`struct bpf_sock`, `struct bpf_tcp_sock`) is copied when they get a
/// pointer to it.
pub struct Socket {
    cookie: u64,
    state: Mutex<State>,
    /// Which maps hold it: in how many places of a `sockmap` or `sockhash` it is, or
    /// [`IN_REUSEPORT_ARRAY`].
    places: AtomicU32,
}

/// Stands for the one place that a socket can have in a `reuseport_sockarray`.
const IN_REUSEPORT_ARRAY: u32 = u32::MAX;

/// What is known of a socket.
#[derive(Clone, Default)]
struct State {
    /// What pointers show, by their kind.
    images: BTreeMap<Pointee, Fields>,
    facts: Facts,
    /// The cgroups that it is in, from the root to its own.
    cgroups: Vec<u64>,
    /// Where a request for a connection came in.
    listener: Option<Arc<Socket>>,
    /// The packet that opened the connection, from its link-layer header on.
    syn: Option<facts::SavedSyn>,
    options: Options,
}

/// Cookies of sockets whose maker chooses none. 1 is the one of test-runs.
static NEXT_COOKIE: AtomicU64 = AtomicU64::new(2);

/// Where a name of a socket belongs.
enum Place {
    Image(Pointee),
    Fact(Fact),
}

impl Place {
    fn of(name: &str) -> Option<Place> {
        let base = name.split('[').next().unwrap_or(name);
        let shows = |pointee: &Pointee| layout(*pointee).field(base).is_some();
        let image = [Pointee::Sock, Pointee::TcpSock, Pointee::XdpSock].into_iter().find(shows);
        image.map(Place::Image).or_else(|| Fact::of(name).map(Place::Fact))
    }
}

impl Socket {
    /// A socket of which nothing is known.
    pub fn new() -> Socket {
        Socket::with_cookie(NEXT_COOKIE.fetch_add(1, Relaxed))
    }

    /// A socket with a cookie that the host chooses, for runs that are to be repeated.
    pub fn with_cookie(cookie: u64) -> Socket {
        Socket { cookie, state: Mutex::default(), places: AtomicU32::new(0) }
    }

    /// The socket of packets in the kernel's test-run: of no family, not connected
    /// (`bpf_prog_test_run_skb`).
    pub(crate) fn of_test_run() -> Arc<Socket> {
        static SOCKET: OnceLock<Arc<Socket>> = OnceLock::new();
        let make = || {
            let socket = Socket::with_cookie(1);
            socket.put("state", state::CLOSE);
            socket.put("rx_queue_mapping", u32::MAX.into());
            Arc::new(socket)
        };
        SOCKET.get_or_init(make).clone()
    }

    /// The number that no other socket has (`sock_gen_cookie`).
    pub fn cookie(&self) -> u64 {
        self.cookie
    }

    /// Sets what the socket is known for, by name: a field of `struct bpf_sock`, `struct
    /// bpf_tcp_sock` (which makes it a TCP socket) or `struct bpf_xdp_sock`, or a [`Fact`].
    /// Addresses and ports are as programs read them; [`Socket::set_local`] takes them as one.
    ///
    /// # Errors
    /// [`FieldError`] if there is no such name or the value does not fit.
    pub fn set_field(&self, name: &str, value: u64) -> Result<(), FieldError> {
        match Place::of(name) {
            Some(Place::Image(pointee)) => self.set(pointee, name, value),
            Some(Place::Fact(fact)) => self.state().facts.set(fact, value),
            None => Err(FieldError::Unknown {
                layout: "socket".into(),
                field: name.into(),
                known: Socket::names().join(", "),
            }),
        }
    }

    /// What [`Socket::set_field`] has set; 0 if nothing, none if there is no such name.
    pub fn field(&self, name: &str) -> Option<u64> {
        match Place::of(name)? {
            Place::Image(pointee) => self.get(pointee, name).or(Some(0)),
            Place::Fact(fact) => Some(self.fact(fact)),
        }
    }

    /// The names that [`Socket::set_field`] takes.
    pub fn names() -> Vec<String> {
        let images = [Pointee::Sock, Pointee::TcpSock, Pointee::XdpSock].map(layout);
        let fields = images.iter().flat_map(|layout| layout.fields.iter());
        let fields = fields.map(|field| field.name.to_string());
        fields.chain(Fact::ALL.iter().map(|fact| fact.name().to_string())).collect()
    }

    /// Sets a field of `struct bpf_sock` (`Pointee::Sock`), `struct bpf_tcp_sock`
    /// (`Pointee::TcpSock`, which makes it a TCP socket) or `struct bpf_xdp_sock`.
    ///
    /// # Errors
    /// [`FieldError`] if there is no such field or the value does not fit.
    pub fn set(&self, pointee: Pointee, name: &str, value: u64) -> Result<(), FieldError> {
        let mut state = self.state();
        let fields = state.image_mut(pointee);
        fields.set(name, value)?;
        if pointee == Pointee::TcpSock && state.sock("protocol") == 0 {
            const SOCK_STREAM: u64 = 1;
            let sock = state.image_mut(Pointee::Sock);
            sock.set("protocol", IPPROTO_TCP)?;
            sock.set("type", SOCK_STREAM)?;
        }
        Ok(())
    }

    /// The value of a field, if the socket has it.
    pub fn get(&self, pointee: Pointee, name: &str) -> Option<u64> {
        self.state().images.get(&pointee)?.get(name)
    }

    /// What is known and no pointer shows.
    pub fn fact(&self, fact: Fact) -> u64 {
        self.state().facts.get(fact)
    }

    /// Whether it is a full socket: neither a request nor the rest of a connection (`sk_fullsock`).
    pub fn is_full(&self) -> bool {
        !matches!(self.known("state"), state::TIME_WAIT | state::NEW_SYN_RECV)
    }

    /// Whether it is a full socket of TCP.
    pub fn is_tcp(&self) -> bool {
        self.is_full() && self.known("protocol") == IPPROTO_TCP
    }

    /// Whether it is a full socket of UDP.
    pub fn is_udp(&self) -> bool {
        self.is_full() && self.known("protocol") == IPPROTO_UDP
    }

    /// Whether it takes part in lookups: it has a port (`sk_hashed`).
    pub fn is_bound(&self) -> bool {
        self.known("src_port") != 0
    }

    /// Whether the kernel counts references to it (`sk_is_refcounted`): to listeners and sockets of
    /// UDP it does not.
    pub fn is_counted(&self) -> bool {
        let listens = self.known("state") == state::LISTEN;
        !self.is_full() || !(listens || self.is_udp())
    }

    /// The socket behind it that is full: of a request its listener, of a full one itself
    /// (`sk_to_full_sk`).
    pub fn full(self: &Arc<Socket>) -> Option<Arc<Socket>> {
        match self.known("state") {
            state::NEW_SYN_RECV => self.listener(),
            state::TIME_WAIT => None,
            _ => Some(self.clone()),
        }
    }

    /// Where a request for a connection came in.
    pub fn listener(&self) -> Option<Arc<Socket>> {
        self.state().listener.clone()
    }

    /// Says where a request for a connection came in, which makes the socket such a request.
    pub fn set_listener(&self, listener: Arc<Socket>) {
        self.state().listener = Some(listener);
        self.put("state", state::NEW_SYN_RECV);
    }

    /// The numbers of the cgroups that it is in, from the root to its own.
    pub fn cgroups(&self) -> Vec<u64> {
        self.state().cgroups.clone()
    }

    /// Sets the numbers of the cgroups, from the root to its own.
    pub fn set_cgroups(&self, ids: &[u64]) {
        self.state().cgroups = ids.to_vec();
    }

    /// What a pointer of this kind shows; none if the socket is no such socket.
    pub(crate) fn image(&self, pointee: Pointee) -> Option<Vec<u8>> {
        let is_that = match pointee {
            Pointee::SockCommon => true,
            Pointee::Sock => self.is_full(),
            Pointee::TcpSock => self.is_tcp(),
            _ => false,
        };
        let part = if pointee == Pointee::SockCommon { Pointee::Sock } else { pointee };
        match self.state().images.get(&part) {
            Some(fields) if is_that || pointee == Pointee::XdpSock => Some(fields.bytes().to_vec()),
            None if is_that => Some(vec![0; layout(part).bytes as usize]),
            _ => None,
        }
    }

    /// A field of `struct bpf_sock` or [`Fact`] by a name that there is; 0 if nothing has set it.
    pub(crate) fn known(&self, name: &str) -> u64 {
        self.field(name).unwrap_or(0)
    }

    /// Sets a field by a name that there is to a value that fits.
    pub(crate) fn put(&self, name: &str, value: u64) {
        let set = self.set_field(name, value);
        debug_assert!(set.is_ok(), "{set:?}");
    }

    /// Says that the socket is in a `reuseport_sockarray` from now on; false if it is in one or in a
    /// map of another sort (`sk_user_data`).
    pub(crate) fn enter_reuseport_array(&self) -> bool {
        self.places.compare_exchange(0, IN_REUSEPORT_ARRAY, AcqRel, Relaxed).is_ok()
    }

    /// Says that the socket is in no `reuseport_sockarray` any more.
    pub(crate) fn leave_reuseport_array(&self) {
        self.places.store(0, Release);
    }

    /// Says that the socket is in one more place of a `sockmap` or `sockhash`; false if it is in a
    /// `reuseport_sockarray`.
    pub(crate) fn enter_sockmap(&self) -> bool {
        let more = |places: u32| places.checked_add(1).filter(|sum| *sum < IN_REUSEPORT_ARRAY);
        self.places.fetch_update(AcqRel, Relaxed, more).is_ok()
    }

    /// Says that the socket is in one place less.
    pub(crate) fn leave_sockmap(&self) {
        self.places.fetch_sub(1, AcqRel);
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn image_mut(&mut self, pointee: Pointee) -> &mut Fields {
        self.images.entry(pointee).or_insert_with(|| Fields::zeroed(layout(pointee)))
    }

    /// A field of `struct bpf_sock`.
    fn sock(&self, name: &str) -> u64 {
        self.images.get(&Pointee::Sock).and_then(|fields| fields.get(name)).unwrap_or(0)
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
