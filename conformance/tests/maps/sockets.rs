//! Maps of sockets: the kernel's with sockets of this process, ours with sockets that are described
//! like them.

use crate::cases::Numbers;
use crate::judge::{ours, present, request, theirs};
use crate::operations::OPERATIONS;
use ebpfvm::Socket;
use ebpfvm::map::{Map, MapLimits, MapRef, UpdateFlags};
use ebpfvm_kernel::{Kernel, Map as KernelMap, linux_6_18_or_skip};
use ebpfvm_spec::{MapDef, MapType};
use std::any::Any;
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::sync::Arc;

/// A socket on both sides.
struct Both {
    fd: i32,
    ours: Arc<Socket>,
    /// Keeps the descriptor open.
    _open: Box<dyn Any>,
}

const TCP: [u64; 3] = [2, 1, 6];
const UDP: [u64; 3] = [2, 2, 17];
const ESTABLISHED: u64 = 1;
const CLOSED: u64 = 7;
const LISTENS: u64 = 10;

fn both(
    open: Box<dyn Any>,
    fd: i32,
    [family, kind, protocol]: [u64; 3],
    state: u64,
    group: u64,
) -> Both {
    let socket = Socket::new();
    // All of these that have ports are bound.
    let port = if family == 2 { 1 } else { 0 };
    for (name, value) in [
        ("family", family),
        ("type", kind),
        ("protocol", protocol),
        ("state", state),
        ("src_port", port),
        ("reuseport_group", group),
    ] {
        socket.set_field(name, value).unwrap();
    }
    Both { fd, ours: Arc::new(socket), _open: open }
}

fn sockets(kernel: &Kernel) -> Vec<Both> {
    let here = (Ipv4Addr::LOCALHOST, 0);
    let mut all = Vec::new();
    for _ in 0..2 {
        let shared = kernel.shared_listener().unwrap();
        let fd = shared.fd();
        all.push(both(Box::new(shared), fd, TCP, LISTENS, 1));
        let shared = kernel.shared_udp().unwrap();
        let fd = shared.fd();
        all.push(both(Box::new(shared), fd, UDP, CLOSED, 1));
        let listener = TcpListener::bind(here).unwrap();
        let connected = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let fd = connected.as_raw_fd();
        let listens = listener.try_clone().unwrap();
        all.push(both(Box::new((connected, listener)), fd, TCP, ESTABLISHED, 0));
        let fd = listens.as_raw_fd();
        all.push(both(Box::new(listens), fd, TCP, LISTENS, 0));
        let (one, other) = UnixStream::pair().unwrap();
        let fd = one.as_raw_fd();
        all.push(both(Box::new((one, other)), fd, [1, 1, 0], ESTABLISHED, 0));
        let (one, other) = UnixDatagram::pair().unwrap();
        let fd = one.as_raw_fd();
        all.push(both(Box::new((one, other)), fd, [1, 2, 0], ESTABLISHED, 0));
        let udp = UdpSocket::bind(here).unwrap();
        udp.connect(udp.local_addr().unwrap()).unwrap();
        let fd = udp.as_raw_fd();
        all.push(both(Box::new(udp), fd, UDP, ESTABLISHED, 0));
    }
    all
}

/// A value of the kernel's: the number of a descriptor.
fn number(fd: u64, bytes: u32) -> Vec<u8> {
    if bytes == 4 { (fd as u32).to_ne_bytes().to_vec() } else { fd.to_ne_bytes().to_vec() }
}

fn follow(maps: &[(MapRef, KernelMap)], sockets: &[Both], numbers: &mut Numbers) {
    // Cookies are the kernel's own: those of the same socket are the same.
    let mut cookies = std::collections::BTreeMap::new();
    for step in 0..OPERATIONS * maps.len() as u32 {
        let (our, their) = &maps[numbers.below(maps.len())];
        let def = our.def();
        let key = (numbers.below(7) as u32).to_ne_bytes();
        let flags = [0, 0, 0, 0, 1, 2, 3, 1 << 40][numbers.below(8)];
        let what = format!("{} of {}, step {step}", def.map_type.name(), def.value_bytes);
        match numbers.below(8) {
            0..3 => {
                let socket = &sockets[numbers.below(sockets.len())];
                let got = ours(our.set_socket(&key, socket.ours.clone(), UpdateFlags(flags)));
                let value = number(socket.fd as u64, def.value_bytes);
                let expected = theirs(their.update(&key, &value, flags));
                assert_eq!(got, expected, "{what}: {key:?}, flags {flags}, fd {}", socket.fd);
            }
            3 => {
                let none = [1 << 20, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff][numbers.below(4)];
                let value = number(none, def.value_bytes);
                let got = ours(our.write(&key, &value, UpdateFlags(flags)));
                let expected = theirs(their.update(&key, &value, flags));
                assert_eq!(got, expected, "{what}: number {none:x}, flags {flags}");
            }
            4 | 5 => {
                let got = ours(our.read(&key));
                let expected = present(theirs(their.lookup(&key)));
                match (got, expected) {
                    (Ok(got), Ok(expected)) => {
                        assert_eq!(*cookies.entry(got).or_insert(expected.clone()), expected);
                    }
                    (got, expected) => assert_eq!(got, expected, "{what}: lookup {key:?}"),
                }
            }
            6 => {
                let expected = theirs(their.delete(&key));
                assert_eq!(ours(our.remove(&key)), expected, "{what}: delete {key:?}");
            }
            _ if def.map_type == MapType::Sockhash => {
                let got = ours(our.next_key(None)).map(|key| key.len());
                let expected = present(theirs(their.next_key(None))).map(|key| key.len());
                assert_eq!(got, expected, "{what}: first key");
            }
            _ => {
                let expected = present(theirs(their.next_key(Some(&key))));
                assert_eq!(ours(our.next_key(Some(&key))), expected, "{what}: next key {key:?}");
            }
        }
    }
    let kept = maps.iter().any(|(our, _)| our.def().value_bytes == 8);
    assert!(!kept || cookies.len() > 1, "nothing was found");
}

#[test]
fn maps_of_sockets_hold_the_same() {
    let Some(kernel) = linux_6_18_or_skip("maps_of_sockets_hold_the_same") else { return };
    let mut numbers = Numbers(0x5851_f42d_4c95_7f2d);
    let mut follow = |kinds: &[(MapType, u32)]| {
        // A map that is gone lets its sockets go a while later.
        let sockets = sockets(&kernel);
        let create = |(kind, value_bytes): &(MapType, u32)| {
            let def = MapDef::new("sockets", *kind, 4, *value_bytes, 5);
            let our = Map::create(&def, kernel.possible_cpus(), &MapLimits::default()).unwrap();
            (our, kernel.map_create(&request(&def)).unwrap())
        };
        follow(&kinds.iter().map(create).collect::<Vec<_>>(), &sockets, &mut numbers);
    };
    use MapType::{ReuseportSockarray, Sockhash, Sockmap};
    for value_bytes in [4, 8] {
        for kind in [Sockmap, Sockhash, ReuseportSockarray] {
            follow(&[(kind, value_bytes)]);
        }
    }
    // What is in a map of one sort is not for the other.
    follow(&[
        (Sockmap, 8),
        (Sockmap, 4),
        (Sockhash, 8),
        (ReuseportSockarray, 8),
        (ReuseportSockarray, 4),
    ]);
}
