//! Maps of sockets.

use ebpfvm::Socket;
use ebpfvm::map::{Map, MapLimits, MapRef, SocketArray, SocketHash, UpdateFlags};
use ebpfvm_spec::{Errno, MapDef, MapType};
use std::sync::Arc;

fn create(kind: MapType, value_bytes: u32) -> MapRef {
    let def = MapDef::new("sockets", kind, 4, value_bytes, 3);
    Map::create(&def, 2, &MapLimits::default()).unwrap()
}

const TCP: [u64; 3] = [2, 1, 6];
const UDP: [u64; 3] = [10, 2, 17];
const ESTABLISHED: u64 = 1;
const CLOSED: u64 = 7;
const LISTENS: u64 = 10;

fn socket([family, kind, protocol]: [u64; 3], state: u64, port: u64) -> Arc<Socket> {
    let socket = Socket::new();
    let fields = [
        ("family", family),
        ("type", kind),
        ("protocol", protocol),
        ("state", state),
        ("src_port", port),
        ("reuseport_group", 1),
    ];
    for (name, value) in fields {
        socket.set_field(name, value).unwrap();
    }
    Arc::new(socket)
}

fn set(map: &Map, key: u32, socket: &Arc<Socket>, flags: u64) -> Result<(), Errno> {
    let set = map.set_socket(&key.to_ne_bytes(), socket.clone(), UpdateFlags(flags));
    set.map_err(|e| e.errno())
}

fn cookie(map: &Map, key: u32) -> Result<u64, Errno> {
    let value = map.read(&key.to_ne_bytes()).map_err(|e| e.errno())?;
    Ok(u64::from_ne_bytes(value.try_into().unwrap()))
}

#[test]
fn sockets_come_go_and_are_found() {
    for kind in [MapType::Sockmap, MapType::Sockhash, MapType::ReuseportSockarray] {
        let map = create(kind, 8);
        let is_hash = kind == MapType::Sockhash;
        let [first, second, third] = [0; 3].map(|_| socket(TCP, LISTENS, 80));
        assert_eq!(set(&map, 1, &first, 2), Err(Errno::ENOENT));
        assert_eq!(set(&map, 1, &first, 1), Ok(()));
        assert_eq!(set(&map, 1, &second, 1), Err(Errno::EEXIST));
        assert_eq!(set(&map, 1, &second, 3), Err(Errno::EINVAL));
        assert_eq!(set(&map, 1, &second, 2), Ok(()));
        assert_eq!(cookie(&map, 1), Ok(second.cookie()));
        assert_eq!(map.socket(&1u32.to_ne_bytes()).unwrap().cookie(), second.cookie());
        assert!(map.socket(&2u32.to_ne_bytes()).is_none());
        assert_eq!(Arc::strong_count(&first), 1, "what is replaced is let go");
        assert_eq!(set(&map, 3, &first, 0), if is_hash { Ok(()) } else { Err(Errno::E2BIG) });
        if is_hash {
            assert_eq!(set(&map, 4, &third, 0), Ok(()));
            assert_eq!(set(&map, 5, &third, 0), Err(Errno::E2BIG), "full");
        }
        let number = 3u64.to_ne_bytes();
        let write = |value: &[u8]| {
            map.write(&1u32.to_ne_bytes(), value, UpdateFlags::ANY).unwrap_err().errno()
        };
        assert_eq!(write(&number), Errno::EBADF);
        assert_eq!(write(&[0xff; 8]), Errno::EINVAL);
        let remove = |key: u32| map.remove(&key.to_ne_bytes()).map_err(|e| e.errno());
        assert_eq!(remove(1), Ok(()));
        let (empty, beyond) = match kind {
            MapType::Sockmap => (Errno::EINVAL, Errno::EINVAL),
            MapType::Sockhash => (Errno::ENOENT, Errno::ENOENT),
            _ => (Errno::ENOENT, Errno::E2BIG),
        };
        assert_eq!((remove(1), remove(9)), (Err(empty), Err(beyond)));
        assert_eq!(cookie(&create(kind, 4), 1), Err(Errno::ENOSPC));
        drop(map);
        assert_eq!(Arc::strong_count(&third), 1, "a map that is gone holds nothing");
    }
}

#[test]
fn maps_take_the_sockets_that_the_kernel_takes() {
    let unix = [1, 1, 0];
    for (socket, sockmap, reuseport) in [
        (socket(TCP, ESTABLISHED, 80), Ok(()), Err(Errno::EINVAL)),
        (socket(TCP, LISTENS, 80), Ok(()), Ok(())),
        (socket(TCP, CLOSED, 80), Err(Errno::EOPNOTSUPP), Err(Errno::EINVAL)),
        (socket(UDP, CLOSED, 53), Ok(()), Ok(())),
        (socket(UDP, CLOSED, 0), Err(Errno::EOPNOTSUPP), Err(Errno::EINVAL)),
        (socket(unix, ESTABLISHED, 0), Ok(()), Err(Errno::ENOTSUPP)),
        (socket(unix, CLOSED, 0), Err(Errno::EOPNOTSUPP), Err(Errno::ENOTSUPP)),
        (Arc::new(Socket::bound(17, ([127, 0, 0, 1], 53).into())), Ok(()), Err(Errno::EINVAL)),
        (Arc::default(), Err(Errno::EOPNOTSUPP), Err(Errno::ENOTSUPP)),
    ] {
        for kind in [MapType::Sockmap, MapType::Sockhash] {
            assert_eq!(set(&create(kind, 4), 0, &socket, 0), sockmap);
        }
        assert_eq!(set(&create(MapType::ReuseportSockarray, 4), 0, &socket, 0), reuseport);
    }
    let array = create(MapType::Sockmap, 4);
    let hash = create(MapType::Sockhash, 4);
    for (key, (socket, takes)) in [
        (socket(TCP, ESTABLISHED, 80), true),
        (socket(TCP, LISTENS, 80), false),
        (socket(UDP, CLOSED, 53), false),
    ]
    .into_iter()
    .enumerate()
    {
        set(&array, key as u32, &socket, 0).unwrap();
        set(&hash, key as u32, &socket, 0).unwrap();
        let sockets = array.as_kind::<SocketArray>().unwrap();
        assert_eq!(sockets.redirect_target(key as u32).is_some(), takes);
        let key = (key as u32).to_ne_bytes();
        assert_eq!(hash.as_kind::<SocketHash>().unwrap().redirect_target(&key).is_some(), takes);
    }
}

#[test]
fn a_socket_is_in_one_reuseport_array_only() {
    let [first, second] = [0; 2].map(|_| create(MapType::ReuseportSockarray, 8));
    let socket = socket(UDP, CLOSED, 53);
    assert_eq!(set(&first, 0, &socket, 0), Ok(()));
    for (map, slot) in [(&first, 0), (&first, 1), (&second, 0)] {
        assert_eq!(set(map, slot, &socket, 0), Err(Errno::EBUSY));
    }
    first.remove(&[0; 4]).unwrap();
    assert_eq!(set(&second, 0, &socket, 0), Ok(()));
    drop(second);
    assert_eq!(set(&first, 2, &socket, 0), Ok(()));
    first.as_kind::<SocketArray>().unwrap().forget_socket(socket.cookie());
    assert_eq!(cookie(&first, 2), Err(Errno::ENOENT));
    let hash = create(MapType::Sockhash, 8);
    assert_eq!(set(&hash, 0, &socket, 0), Ok(()));
    assert_eq!(set(&first, 0, &socket, 0), Err(Errno::EBUSY), "it is in a map of the other sort");
    assert_eq!(set(&hash, 1, &socket, 0), Ok(()));
    hash.as_kind::<SocketHash>().unwrap().forget_socket(socket.cookie());
    assert_eq!(hash.next_key(None).unwrap_err().errno(), Errno::ENOENT);
    assert_eq!(Arc::strong_count(&socket), 1);
}
