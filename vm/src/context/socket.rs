//! Sockets of contexts: the one that a context is about, whose fields it shows, and the one that a
//! program has chosen.

use super::{Behind, Context, ContextError};
use crate::shown::Shown;
use crate::socket::Socket;
use crate::socket::address::port_of_field;
use ebpfvm_spec::context::Pointee;
use ebpfvm_spec::{FieldKind, ProgType};
use std::sync::Arc;

/// Sockets that belong to a context.
#[derive(Clone, Debug, Default)]
pub(super) struct Sockets {
    /// The one that it is about, even where programs find null.
    about: Option<Arc<Socket>>,
    /// The one that the program has chosen, where no field shows it.
    selected: Option<Arc<Socket>>,
}

/// How a field comes from the socket.
#[derive(Clone, Copy)]
enum From {
    /// As it is.
    Same,
    /// The port of the other end, which `struct bpf_sock` has in the first half.
    Port,
    /// Only while it is a full socket whose lock the caller has (`is_locked_tcp_sock`).
    Locked,
}

/// Types whose fields come from a socket.
type Types = &'static [ProgType];

const ADDR: Types = &[ProgType::CgroupSockAddr];
const OPS: Types = &[ProgType::SockOps];
const REUSEPORT: Types = &[ProgType::SkReuseport];
const PEERS: Types = &[ProgType::SockOps, ProgType::SkMsg, ProgType::SkSkb, ProgType::CgroupSkb];

/// Which fields come from where in the socket. An array takes all elements.
const DERIVED: &[(Types, &str, &str, From)] = &[
    (ADDR, "user_family", "family", From::Same),
    (ADDR, "family", "family", From::Same),
    (ADDR, "type", "type", From::Same),
    (ADDR, "protocol", "protocol", From::Same),
    (PEERS, "family", "family", From::Same),
    (PEERS, "remote_ip4", "dst_ip4", From::Same),
    (PEERS, "local_ip4", "src_ip4", From::Same),
    (PEERS, "remote_ip6", "dst_ip6", From::Same),
    (PEERS, "local_ip6", "src_ip6", From::Same),
    (PEERS, "remote_port", "dst_port", From::Port),
    (PEERS, "local_port", "src_port", From::Same),
    (OPS, "state", "state", From::Same),
    (OPS, "sk_txhash", "sk_txhash", From::Locked),
    (OPS, "bpf_sock_ops_cb_flags", "bpf_sock_ops_cb_flags", From::Locked),
    (REUSEPORT, "ip_protocol", "protocol", From::Same),
    (REUSEPORT, "bind_inany", "bind_inany", From::Same),
];

/// The last operation of `sock_ops` for which the socket is locked
/// (`BPF_SOCK_OPS_WRITE_HDR_OPT_CB`).
pub(crate) const LAST_LOCKED_OP: u64 = 15;

/// What programs at a cgroup may write of `struct bpf_sock`, which is the socket itself.
const WRITTEN: [&str; 3] = ["bound_dev_if", "mark", "priority"];

impl Context {
    /// Puts a socket behind a pointer of the context, or nothing. The socket `sk` is what the
    /// context is about: fields that show its family, addresses, ports and counters take its
    /// values. Programs of type `cgroup_sock` have it as their context.
    ///
    /// # Errors
    /// [`ContextError`] if the field is no such pointer, the socket is not of its kind, or nothing
    /// is given where there must be a socket.
    pub fn set_socket(
        &mut self,
        name: &str,
        socket: Option<Arc<Socket>>,
    ) -> Result<(), ContextError> {
        if self.prog_type == ProgType::CgroupSock && name == "sk" {
            let known = socket.as_ref().is_some_and(|socket| socket.is_full());
            if !known {
                return Err(self.no_socket(name, "a full socket"));
            }
            self.sockets.about = socket;
            self.derive();
            return Ok(());
        }
        let (kind, host, _) = self.locate(name)?;
        let (pointee, nullable) = match kind {
            FieldKind::Pointer(pointee) => (pointee, false),
            FieldKind::PointerOrNull(pointee) => (pointee, true),
            _ => return Err(self.no_socket(name, "no socket")),
        };
        let address = match &socket {
            None if nullable => 0,
            None => return Err(self.no_socket(name, "a socket")),
            // A request is told to programs without a pointer to it.
            Some(socket) if self.prog_type == ProgType::SockOps && !socket.is_full() => 0,
            Some(socket) => match self.shows(pointee, socket) {
                Some(address) => address,
                None => match Shown::socket(pointee, socket.clone()) {
                    None => return Err(self.no_socket(name, "another kind of socket")),
                    Some(Err(_)) => return Err(ContextError::OutOfMemory),
                    Some(Ok(shown)) => self.show(shown),
                },
            },
        };
        self.set_cell(host, 8, address);
        if name == "sk" {
            self.sockets.about = socket;
            self.derive();
        }
        Ok(())
    }

    /// The pointer of this kind that already shows the socket, as it is now.
    fn shows(&self, pointee: Pointee, socket: &Arc<Socket>) -> Option<u64> {
        let is_this = |shown: &&Shown| {
            shown.pointee() == pointee && shown.as_socket().is_some_and(|s| Arc::ptr_eq(s, socket))
        };
        // One that is no longer of the kind is refused with a new one.
        let shown = self.shown.iter().find(is_this).filter(|_| socket.image(pointee).is_some())?;
        shown.refresh(socket);
        Some(shown.address())
    }

    fn no_socket(&self, name: &str, expected: &'static str) -> ContextError {
        ContextError::NoSocket { context: self.context_name(), field: name.into(), expected }
    }

    /// The socket behind a pointer of the context now: `sk` is the one that the context is about,
    /// or the one that the program has assigned (`bpf_sk_assign`). What programs of type
    /// `cgroup_sock` write to their context is written to the socket.
    pub fn socket(&self, name: &str) -> Option<Arc<Socket>> {
        if name == "sk" {
            let socket = self.sockets.about.clone()?;
            if self.prog_type == ProgType::CgroupSock {
                for name in WRITTEN {
                    socket.put(name, self.field(name).unwrap_or(0));
                }
            }
            return Some(socket);
        }
        let address = self.field(name).ok().filter(|address| *address != 0)?;
        let shown = self.shown.iter().find(|shown| shown.address() == address)?;
        shown.as_socket().cloned()
    }

    /// The socket that the program has chosen for the packet: with `sk_select_reuseport`, or with
    /// `sk_assign` in `sk_lookup`.
    pub fn selected_socket(&self) -> Option<Arc<Socket>> {
        match self.prog_type {
            ProgType::SkLookup => self.sockets.about.clone(),
            _ => self.sockets.selected.clone(),
        }
    }

    /// Records what the program has chosen.
    pub(crate) fn select(&mut self, socket: Option<Arc<Socket>>) {
        self.sockets.selected = socket;
    }

    /// Forgets what a program has chosen.
    pub(super) fn forget_selected(&mut self) {
        self.sockets.selected = None;
    }

    /// Gives the context of a test-run's packet the socket that the kernel gives it.
    pub(super) fn set_socket_of_test_run(&mut self) -> Result<(), ContextError> {
        let has = |(kind, _, _): (FieldKind, u32, u32)| kind != FieldKind::Scalar;
        match self.locate("sk").is_ok_and(has) {
            true => self.set_socket("sk", Some(Socket::of_test_run())),
            false => Ok(()),
        }
    }

    /// Sets the fields that show the socket.
    fn derive(&mut self) {
        let Some(socket) = self.sockets.about.clone() else { return };
        if self.prog_type == ProgType::CgroupSock {
            let Some(def) = self.def.clone() else { return };
            def.fields.iter().for_each(|field| self.copy(&field.name, &socket, &field.name));
            return;
        }
        let locked = socket.is_full() && self.field("op").unwrap_or(0) <= LAST_LOCKED_OP;
        for (types, field, of, from) in DERIVED {
            if !types.contains(&self.prog_type) {
                continue;
            }
            match from {
                From::Same => self.copy(field, &socket, of),
                From::Port => {
                    let [high, low] = port_of_field(socket.known(of)).to_be_bytes();
                    self.put(field, u32::from_ne_bytes([0, 0, high, low]).into());
                }
                From::Locked => self.put(field, if locked { socket.known(of) } else { 0 }),
            }
        }
        if self.prog_type == ProgType::SockOps {
            self.put("is_fullsock", socket.is_full().into());
            let tcp = crate::socket::layout(Pointee::TcpSock);
            for field in tcp.fields.iter() {
                self.put(&field.name, if locked { socket.known(&field.name) } else { 0 });
            }
        }
        if self.prog_type == ProgType::SkReuseport {
            const ETH_IP: u16 = 0x0800;
            const ETH_IPV6: u16 = 0x86dd;
            let v6 = socket.known("family") == crate::socket::AF_INET6;
            let protocol: u16 = if v6 { ETH_IPV6 } else { ETH_IP };
            self.put("eth_protocol", protocol.to_be().into());
        }
    }

    /// Copies a field, all elements of an array, from the socket.
    fn copy(&mut self, field: &str, socket: &Socket, of: &str) {
        let elements = self.def.as_ref().and_then(|def| def.field(field));
        match elements.map_or(1, |field| field.bytes / field.unit) {
            1 => self.put(field, socket.known(of)),
            count => {
                for i in 0..count {
                    let value = socket.known(&format!("{of}[{i}]"));
                    if let Ok((_, host, bytes)) = self.locate(&format!("{field}[{i}]")) {
                        self.set_cell(host, bytes, value);
                    }
                }
            }
        }
    }

    /// Shows the socket as it is now, after a helper has changed it.
    pub(crate) fn refresh_socket(&mut self, socket: &Arc<Socket>) {
        self.shown.iter().for_each(|shown| shown.refresh(socket));
        if self.sockets.about.as_ref().is_some_and(|about| Arc::ptr_eq(about, socket)) {
            self.derive();
        }
    }

    /// Divides the message of a program of type `sk_msg` into parts of these lengths, the rest into
    /// a last: programs see the first until they pull more.
    ///
    /// # Errors
    /// [`ContextError::Size`] if it has fewer bytes or would have more than 17 parts.
    pub fn divide_message(&mut self, lengths: &[usize]) -> Result<(), ContextError> {
        let divided = match &mut self.behind {
            Behind::Message(message) => message.divide(lengths),
            _ => false,
        };
        self.sync();
        let got = lengths.iter().fold(0, |sum: usize, n| sum.saturating_add(*n));
        let expected = || "a message of at most 17 parts with as many bytes".into();
        let prog_type = self.prog_type.name();
        if divided {
            Ok(())
        } else {
            Err(ContextError::Size { prog_type, expected: expected(), got })
        }
    }
}
