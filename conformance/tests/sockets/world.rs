//! Real sockets and their likenesses.

use ebpfvm::host::World;
use ebpfvm::host::world::Sockets;
use ebpfvm::socket::{IPPROTO_TCP, IPPROTO_UDP};
use ebpfvm::{Engine, Socket, Vm};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;

/// A real socket, open as long as this is there.
#[expect(dead_code, reason = "they are held open")]
enum Open {
    Listener(TcpListener),
    Stream(TcpStream),
    Datagrams(UdpSocket),
}

/// Sockets in the kernel and here, in the same order.
pub(crate) struct Pairs {
    open: Vec<Open>,
    pub(crate) here: Vec<Arc<Socket>>,
    pub(crate) fds: Vec<RawFd>,
}

impl Pairs {
    /// Listeners, connections and datagram sockets of both families.
    pub(crate) fn make() -> Pairs {
        let mut pairs = Pairs { open: Vec::new(), here: Vec::new(), fds: Vec::new() };
        for at in ["127.0.0.1:0", "0.0.0.0:0", "[::1]:0", "[::]:0"] {
            let listener = TcpListener::bind(at).expect("a port of loopback");
            let local = listener.local_addr().expect("its address");
            let to: SocketAddr = match at.starts_with('[') {
                true => ([0, 0, 0, 0, 0, 0, 0, 1], local.port()).into(),
                false => ([127, 0, 0, 1], local.port()).into(),
            };
            pairs.connect(&listener, to);
            if at == "[::]:0" {
                pairs.connect(&listener, ([127, 0, 0, 1], local.port()).into());
            }
            pairs.listener(listener, local);
        }
        // The same port on one address and on all of them.
        let one = TcpListener::bind("127.0.0.2:0").expect("a port of loopback");
        let local = one.local_addr().expect("its address");
        pairs.listener(one, local);
        for at in ["127.0.0.1:0", "0.0.0.0:0", "[::1]:0", "[::]:0"] {
            let socket = UdpSocket::bind(at).expect("a port of loopback");
            let local = socket.local_addr().expect("its address");
            let peer = UdpSocket::bind(if at.starts_with('[') { "[::1]:0" } else { "127.0.0.1:0" });
            let peer = peer.expect("a port of loopback");
            peer.connect((if at.starts_with('[') { "::1" } else { "127.0.0.1" }, local.port()))
                .expect("a connection");
            let (own, far) = (peer.local_addr(), peer.peer_addr());
            let likeness =
                Socket::connected(IPPROTO_UDP, own.expect("its address"), far.expect("its peer"));
            pairs.add(peer.as_raw_fd(), Open::Datagrams(peer), likeness);
            let likeness = Socket::bound(IPPROTO_UDP, local);
            pairs.add(socket.as_raw_fd(), Open::Datagrams(socket), likeness);
        }
        pairs
    }

    fn listener(&mut self, listener: TcpListener, local: SocketAddr) {
        let likeness = Socket::bound(IPPROTO_TCP, local);
        self.add(listener.as_raw_fd(), Open::Listener(listener), likeness);
    }

    fn connect(&mut self, listener: &TcpListener, to: SocketAddr) {
        let client = TcpStream::connect(to).expect("a connection");
        let (server, _) = listener.accept().expect("its other end");
        for (stream, accepted) in [(client, false), (server, true)] {
            let (own, far) = (stream.local_addr(), stream.peer_addr());
            let (own, far) = (own.expect("its address"), far.expect("its peer"));
            let likeness = match accepted {
                true => Socket::accepted(own, far),
                false => Socket::connected(IPPROTO_TCP, own, far),
            };
            self.add(stream.as_raw_fd(), Open::Stream(stream), likeness);
        }
    }

    fn add(&mut self, fd: RawFd, open: Open, likeness: Socket) {
        self.open.push(open);
        self.fds.push(fd);
        self.here.push(Arc::new(likeness));
    }

    /// The machines in whose world they are, that interpret and that compile.
    pub(crate) fn vms(&self) -> [Vm; 2] {
        [Engine::Interpreter, Engine::Jit].map(|engine| self.vm(engine))
    }

    fn vm(&self, engine: Engine) -> Vm {
        let mut sockets = Sockets::default();
        self.here.iter().for_each(|socket| sockets.add(socket.clone()));
        let world = World::new().sockets(sockets);
        Vm::linux().host(Arc::new(world)).engine(engine).build()
    }
}

/// Numbers for a test, the same at every run.
pub(crate) struct Random(ebpfvm::host::Random);

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        Random(ebpfvm::host::Random::new(seed))
    }

    pub(crate) fn below(&self, end: usize) -> usize {
        self.0.next_u32() as usize % end
    }

    pub(crate) fn of<T: Clone>(&self, all: &[T]) -> T {
        all[self.below(all.len())].clone()
    }

    pub(crate) fn bytes(&self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.0.next_u32() as u8).collect()
    }
}
