//! Maps of sockets (`net/core/sock_map.c`, `kernel/bpf/reuseport_array.c`).
//!
//! User space stores file descriptors in them. This machine has none: the host stores
//! [sockets](Socket) through [`Map::set_socket`](super::Map::set_socket) and says what they are in
//! their fields `family`, `type`, `protocol`, `state`, `src_port` and `reuseport_group`; by these the
//! kernel's rules say which of them a map takes. A socket stays in a map until it is removed: the host says when one is
//! closed.

use super::array::{existing, index_of, indices, next_index};
use super::handles::{HandleTable, slot_bytes};
use super::kind::Shape;
use super::memory::{OutOfMemory, slots};
use super::{MapOps, UpdateFlags};
use crate::socket::facts::Fact;
use crate::socket::{AF_INET, AF_INET6, IPPROTO_TCP, IPPROTO_UDP, Socket, state};
use arc_swap::ArcSwapOption;
use ebpfvm_spec::context::Pointee;
use ebpfvm_spec::{Errno, MapType};
use std::sync::{Arc, Mutex, PoisonError};

const AF_UNIX: u64 = 1;
const SOCK_STREAM: u64 = 1;
const SOCK_DGRAM: u64 = 2;

/// What a socket is, as far as the rules ask.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Nature {
    Tcp { listens: bool, established: bool },
    Udp { bound: bool, connected: bool },
    Unix { stream: bool, connected: bool },
    Other,
}

fn nature(socket: &Socket) -> Nature {
    let field = |name| socket.get(Pointee::Sock, name).unwrap_or(0);
    let (listens, connected) =
        (field("state") == state::LISTEN, field("state") == state::ESTABLISHED);
    match (field("family"), field("type"), field("protocol")) {
        (AF_INET | AF_INET6, SOCK_STREAM, IPPROTO_TCP) => {
            Nature::Tcp { listens, established: connected }
        }
        (AF_INET | AF_INET6, SOCK_DGRAM, IPPROTO_UDP) => {
            Nature::Udp { bound: field("src_port") != 0, connected }
        }
        (AF_UNIX, kind @ (SOCK_STREAM | SOCK_DGRAM), 0) => {
            Nature::Unix { stream: kind == SOCK_STREAM, connected }
        }
        _ => Nature::Other,
    }
}

/// Whether `sockmap` and `sockhash` take a socket (`sock_map_sk_is_suitable`,
/// `sock_map_sk_state_allowed`).
fn check_suitable(socket: &Socket) -> Result<(), Errno> {
    let suitable = match nature(socket) {
        Nature::Tcp { listens, established } => listens || established,
        Nature::Udp { bound, .. } => bound,
        Nature::Unix { stream, connected } => connected || !stream,
        Nature::Other => false,
    };
    if suitable { Ok(()) } else { Err(Errno::EOPNOTSUPP) }
}

/// Whether data can be redirected to a socket (`sock_map_redirect_allowed`).
fn takes_redirects(socket: &Socket) -> bool {
    match nature(socket) {
        Nature::Tcp { listens, .. } => !listens,
        Nature::Udp { connected, .. } | Nature::Unix { connected, .. } => connected,
        Nature::Other => false,
    }
}

/// Whether a `reuseport_sockarray` takes a socket (`reuseport_array_update_check`).
fn check_reuseport(socket: &Socket) -> Result<(), Errno> {
    let shares = socket.fact(Fact::Group) != 0;
    match nature(socket) {
        Nature::Tcp { listens: true, .. } | Nature::Udp { bound: true, .. } if shares => Ok(()),
        Nature::Tcp { .. } | Nature::Udp { .. } => Err(Errno::EINVAL),
        Nature::Unix { .. } | Nature::Other => Err(Errno::ENOTSUPP),
    }
}

/// What a map does with a socket that comes and goes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sort {
    Redirect,
    Reuseport,
}

/// The place of a socket in a map, which it leaves when this is dropped.
struct Place {
    socket: Arc<Socket>,
    sort: Sort,
}

impl Place {
    /// # Errors
    /// `EBUSY` if the socket is in a map of the other sort, or in a `reuseport_sockarray` already.
    fn enter(socket: Arc<Socket>, sort: Sort) -> Result<Arc<Place>, Errno> {
        let entered = match sort {
            Sort::Redirect => socket.enter_sockmap(),
            Sort::Reuseport => socket.enter_reuseport_array(),
        };
        if entered { Ok(Arc::new(Place { socket, sort })) } else { Err(Errno::EBUSY) }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        match self.sort {
            Sort::Redirect => self.socket.leave_sockmap(),
            Sort::Reuseport => self.socket.leave_reuseport_array(),
        }
    }
}

fn socket_in(slot: &ArcSwapOption<Place>) -> Option<Arc<Socket>> {
    slot.load().as_ref().map(|place| place.socket.clone())
}

/// An update with a number in place of a socket, which no number is.
fn write_number(value: &[u8]) -> Errno {
    let number = match *value {
        [a, b, c, d] => u32::from_ne_bytes([a, b, c, d]).into(),
        _ => value.first_chunk().map_or(u64::MAX, |bytes| u64::from_ne_bytes(*bytes)),
    };
    if number > i32::MAX as u64 { Errno::EINVAL } else { Errno::EBADF }
}

/// What the host reads: the cookie, if values have room for it.
fn cookie(value_bytes: usize, socket: Option<Arc<Socket>>) -> Result<Vec<u8>, Errno> {
    if value_bytes != size_of::<u64>() {
        return Err(Errno::ENOSPC);
    }
    socket.map(|socket| socket.cookie().to_ne_bytes().to_vec()).ok_or(Errno::ENOENT)
}

/// `sockmap` and `reuseport_sockarray`.
pub struct SocketArray {
    slots: Box<[ArcSwapOption<Place>]>,
    value_bytes: usize,
    sort: Sort,
    /// Held while a slot changes.
    changing: Mutex<()>,
}

impl SocketArray {
    pub(super) fn needed(shape: &Shape<'_>) -> Option<u64> {
        Some(slot_bytes::<Place>(shape.def.max_entries as usize))
    }

    pub(super) fn build(shape: &Shape<'_>) -> Result<Box<dyn MapOps>, OutOfMemory> {
        Ok(Box::new(SocketArray {
            slots: slots(shape.def.max_entries as usize, ArcSwapOption::empty)?,
            value_bytes: shape.def.value_bytes as usize,
            sort: match shape.def.map_type {
                MapType::ReuseportSockarray => Sort::Reuseport,
                _ => Sort::Redirect,
            },
            changing: Mutex::new(()),
        }))
    }

    /// The socket in a slot that data can be redirected to (`bpf_sk_redirect_map`,
    /// `bpf_msg_redirect_map`).
    pub fn redirect_target(&self, index: u32) -> Option<Arc<Socket>> {
        self.socket(&index.to_ne_bytes()).filter(|socket| takes_redirects(socket))
    }

    /// Says that a socket is closed: it leaves the map.
    pub fn forget_socket(&self, cookie: u64) {
        for slot in &self.slots {
            let _only = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
            if socket_in(slot).is_some_and(|socket| socket.cookie() == cookie) {
                slot.store(None);
            }
        }
    }

    fn slot(&self, key: &[u8]) -> Option<&ArcSwapOption<Place>> {
        Some(&self.slots[existing(self.slots.len() as u32, key)?])
    }
}

impl MapOps for SocketArray {
    fn socket(&self, key: &[u8]) -> Option<Arc<Socket>> {
        socket_in(self.slot(key)?)
    }

    fn set_socket(&self, key: &[u8], socket: Arc<Socket>, flags: UpdateFlags) -> Result<(), Errno> {
        // Each kind asks in its own order.
        let redirect = self.sort == Sort::Redirect;
        if redirect {
            check_suitable(&socket)?;
        }
        flags.check()?;
        let slot = self.slot(key).ok_or(Errno::E2BIG)?;
        let mut place =
            if redirect { Some(Place::enter(socket.clone(), self.sort)?) } else { None };
        let _only = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        match (slot.load().is_some(), flags) {
            (true, UpdateFlags::NOEXIST) => return Err(Errno::EEXIST),
            (false, UpdateFlags::EXIST) => return Err(Errno::ENOENT),
            _ => {}
        }
        if !redirect {
            check_reuseport(&socket)?;
            place = Some(Place::enter(socket, self.sort)?);
        }
        slot.store(place);
        Ok(())
    }

    fn delete(&self, key: &[u8]) -> Result<(), Errno> {
        let (out_of_range, empty) = match self.sort {
            Sort::Reuseport => (Errno::E2BIG, Errno::ENOENT),
            Sort::Redirect => (Errno::EINVAL, Errno::EINVAL),
        };
        let slot = self.slot(key).ok_or(out_of_range)?;
        let _only = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        slot.swap(None).map(drop).ok_or(empty)
    }

    fn next_key(&self, key: Option<&[u8]>) -> Result<Vec<u8>, Errno> {
        next_index(self.slots.len() as u32, key)
    }

    fn keys(&self) -> Box<dyn Iterator<Item = Vec<u8>> + '_> {
        Box::new(indices(self.slots.len() as u32))
    }

    fn read(&self, key: &[u8]) -> Result<Vec<u8>, Errno> {
        cookie(self.value_bytes, self.socket(key))
    }

    fn write(&self, key: &[u8], value: &[u8], flags: UpdateFlags) -> Result<(), Errno> {
        if self.sort == Sort::Redirect {
            return Err(write_number(value));
        }
        flags.check()?;
        self.slot(key).ok_or(Errno::E2BIG)?;
        // A number of 4 bytes may be negative.
        Err(if index_of(value).is_some() { Errno::EBADF } else { write_number(value) })
    }
}

/// `sockhash`.
pub struct SocketHash {
    places: HandleTable<Place>,
    value_bytes: usize,
}

impl SocketHash {
    pub(super) fn needed(shape: &Shape<'_>) -> Option<u64> {
        HandleTable::<Place>::needed(shape)
    }

    pub(super) fn build(shape: &Shape<'_>) -> Result<Box<dyn MapOps>, OutOfMemory> {
        let places = HandleTable::new(shape)?;
        Ok(Box::new(SocketHash { places, value_bytes: shape.def.value_bytes as usize }))
    }

    /// The socket of a key that data can be redirected to (`bpf_sk_redirect_hash`,
    /// `bpf_msg_redirect_hash`).
    pub fn redirect_target(&self, key: &[u8]) -> Option<Arc<Socket>> {
        self.socket(key).filter(|socket| takes_redirects(socket))
    }

    /// Says that a socket is closed: it leaves the map.
    pub fn forget_socket(&self, cookie: u64) {
        let is_it = |key: &Vec<u8>| self.socket(key).is_some_and(|s| s.cookie() == cookie);
        let keys: Vec<_> = self.places.keys().filter(is_it).collect();
        for key in keys {
            // A program may have removed it.
            let _ = self.delete(&key);
        }
    }
}

impl MapOps for SocketHash {
    fn socket(&self, key: &[u8]) -> Option<Arc<Socket>> {
        self.places.get(key, |place| place.socket.clone())
    }

    fn set_socket(&self, key: &[u8], socket: Arc<Socket>, flags: UpdateFlags) -> Result<(), Errno> {
        check_suitable(&socket)?;
        flags.check()?;
        self.places.set(key, Place::enter(socket, Sort::Redirect)?, flags)
    }

    fn delete(&self, key: &[u8]) -> Result<(), Errno> {
        self.places.delete(key)
    }

    fn next_key(&self, key: Option<&[u8]>) -> Result<Vec<u8>, Errno> {
        self.places.next_key(key)
    }

    fn keys(&self) -> Box<dyn Iterator<Item = Vec<u8>> + '_> {
        Box::new(self.places.keys())
    }

    fn read(&self, key: &[u8]) -> Result<Vec<u8>, Errno> {
        cookie(self.value_bytes, self.socket(key))
    }

    fn write(&self, _key: &[u8], value: &[u8], _flags: UpdateFlags) -> Result<(), Errno> {
        Err(write_number(value))
    }
}
