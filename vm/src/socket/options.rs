//! Options of sockets: which ones programs may set and read, and what becomes of a value
//! (`sol_socket_sockopt` and its like in `net/core/filter.c`, and the functions they call,
//! Linux 6.18 with its defaults).

use super::{AF_INET6, Socket, facts::Fact, facts::Layer, state};
use ebpfvm_spec::Errno;
use std::collections::BTreeMap;

/// Levels of options.
pub const SOL_IP: i32 = 0;
/// `SOL_SOCKET`
pub const SOL_SOCKET: i32 = 1;
/// `SOL_TCP`
pub const SOL_TCP: i32 = 6;
/// `SOL_IPV6`
pub const SOL_IPV6: i32 = 41;

const SO_BINDTODEVICE: i32 = 25;
const TCP_CONGESTION: i32 = 13;
const TCP_SAVED_SYN: i32 = 28;

/// Size of an option that is a number.
const INT_BYTES: usize = 4;
/// The longest name of a congestion control, with its zero byte (`TCP_CA_NAME_MAX`).
const CONGESTION_BYTES: usize = 16;
/// The longest name of a device, with its zero byte (`IFNAMSIZ`).
const DEVICE_BYTES: usize = 16;
/// The algorithms of a kernel that has loaded no others.
const CONGESTION_CONTROLS: [&str; 2] = ["cubic", "reno"];

/// What the options of one socket are.
#[derive(Clone, Debug, Default)]
pub(super) struct Options {
    numbers: BTreeMap<(i32, i32), i32>,
    congestion: Option<Vec<u8>>,
    changes: Vec<OptionChange>,
}

/// An option that was set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OptionChange {
    /// `SOL_SOCKET` and the like.
    pub level: i32,
    /// Its number.
    pub name: i32,
    /// The bytes that were given.
    pub value: Vec<u8>,
}

/// What becomes of a number: what reading gives back, or why not.
type Set = fn(&Socket, i32) -> Result<i32, Errno>;

/// An option that is a number.
struct Number {
    level: i32,
    name: i32,
    /// The value of a socket on which it was not set.
    start: fn(&Socket) -> i32,
    set: Set,
    /// The field of the socket that it is, if programs see it.
    field: Option<&'static str>,
    access: Access,
}

/// Which ways an option goes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Access {
    Both,
    SetOnly,
}

const fn number(level: i32, name: i32, start: fn(&Socket) -> i32, set: Set) -> Number {
    Number { level, name, start, set, field: None, access: Access::Both }
}

const fn shown(level: i32, name: i32, field: &'static str, set: Set) -> Number {
    Number { field: Some(field), ..number(level, name, zero, set) }
}

const fn only_set(level: i32, name: i32, set: Set) -> Number {
    Number { access: Access::SetOnly, ..number(level, name, zero, set) }
}

/// The options that are numbers.
const NUMBERS: &[Number] = &[
    // SO_REUSEADDR, SO_SNDBUF, SO_RCVBUF, SO_KEEPALIVE, SO_PRIORITY, SO_REUSEPORT
    number(SOL_SOCKET, 2, zero, flag),
    number(SOL_SOCKET, 7, |s| if is_stream(s) { 16384 } else { 212_992 }, |_, v| buffer(v, 4608)),
    number(SOL_SOCKET, 8, |s| if is_stream(s) { 131_072 } else { 212_992 }, |_, v| buffer(v, 2304)),
    number(SOL_SOCKET, 9, zero, flag),
    shown(SOL_SOCKET, 12, "priority", any),
    number(SOL_SOCKET, 15, zero, flag),
    // SO_RCVLOWAT, SO_MARK, SO_MAX_PACING_RATE, SO_BINDTOIFINDEX, SO_TXREHASH
    number(SOL_SOCKET, 18, |_| 1, receive_low),
    shown(SOL_SOCKET, 36, "mark", any),
    number(SOL_SOCKET, 47, |_| -1, any),
    shown(SOL_SOCKET, 62, "bound_dev_if", |_, v| between(v, 0, i32::MAX)),
    number(SOL_SOCKET, 74, |_| 1, |_, v| Ok(if between(v, -1, 1)? == 0 { 0 } else { 1 })),
    // SK_BPF_CB_FLAGS
    number(SOL_SOCKET, 1009, zero, |_, v| bits(v, 1)),
    // TCP_NODELAY, TCP_MAXSEG, TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_KEEPCNT, TCP_SYNCNT
    number(SOL_TCP, 1, zero, flag),
    number(SOL_TCP, 2, zero, |_, v| if v == 0 { Ok(0) } else { between(v, 88, 32767) }),
    number(SOL_TCP, 4, |_| 7200, |_, v| between(v, 1, 32767)),
    number(SOL_TCP, 5, |_| 75, |_, v| between(v, 1, 32767)),
    number(SOL_TCP, 6, |_| 9, |_, v| between(v, 1, 127)),
    number(SOL_TCP, 7, |_| 6, |_, v| between(v, 1, 127)),
    // TCP_WINDOW_CLAMP, TCP_THIN_LINEAR_TIMEOUTS, TCP_USER_TIMEOUT, TCP_NOTSENT_LOWAT
    number(SOL_TCP, 10, zero, window_clamp),
    number(SOL_TCP, 16, zero, |_, v| between(v, 0, 1)),
    number(SOL_TCP, 18, zero, |_, v| between(v, 0, i32::MAX)),
    number(SOL_TCP, 25, zero, any),
    // TCP_SAVE_SYN, TCP_RTO_MAX_MS
    number(SOL_TCP, 27, zero, |_, v| between(v, 0, 2)),
    number(SOL_TCP, 44, |_| 120_000, |_, v| between(v, 1000, 120_000)),
    // TCP_BPF_IW, TCP_BPF_SNDCWND_CLAMP, TCP_BPF_DELACK_MAX, TCP_BPF_RTO_MIN
    only_set(SOL_TCP, 1001, |s, v| match s.known("data_segs_out") {
        0 => between(v, 1, i32::MAX).inspect(|v| s.put("snd_cwnd", *v as u64)),
        _ => Err(Errno::EINVAL),
    }),
    only_set(SOL_TCP, 1002, |s, v| {
        between(v, 1, i32::MAX).inspect(|v| s.put("snd_ssthresh", *v as u64))
    }),
    number(SOL_TCP, 1003, |_| 200_000, |_, v| ticks(v)),
    number(SOL_TCP, 1004, |_| 200_000, |_, v| ticks(v)),
    // TCP_BPF_SOCK_OPS_CB_FLAGS
    shown(SOL_TCP, 1008, "bpf_sock_ops_cb_flags", |_, v| bits(v, CALLBACK_FLAGS as i32)),
    // IP_TOS
    number(SOL_IP, 1, zero, type_of_service),
    // IPV6_TCLASS, IPV6_AUTOFLOWLABEL
    number(SOL_IPV6, 67, zero, |s, v| {
        let v = between(v, -1, 0xff)?;
        Ok(keep_ecn(s, if v == -1 { 0 } else { v }, (SOL_IPV6, 67)))
    }),
    number(SOL_IPV6, 70, |_| 1, flag),
];

/// The events that programs of type `sock_ops` can be called for (`BPF_SOCK_OPS_ALL_CB_FLAGS`).
pub(crate) const CALLBACK_FLAGS: u64 = 0x7f;

fn zero(_: &Socket) -> i32 {
    0
}

fn is_stream(socket: &Socket) -> bool {
    const SOCK_STREAM: u64 = 1;
    socket.known("type") == SOCK_STREAM
}

fn any(_: &Socket, value: i32) -> Result<i32, Errno> {
    Ok(value)
}

fn flag(_: &Socket, value: i32) -> Result<i32, Errno> {
    Ok((value != 0).into())
}

fn between(value: i32, min: i32, max: i32) -> Result<i32, Errno> {
    if (min..=max).contains(&value) { Ok(value) } else { Err(Errno::EINVAL) }
}

fn bits(value: i32, known: i32) -> Result<i32, Errno> {
    if value & !known == 0 { Ok(value) } else { Err(Errno::EINVAL) }
}

/// The size of a buffer: cut to what the administrator allows (`wmem_max`, `rmem_max`), then twice
/// that, for what the kernel itself needs.
fn buffer(value: i32, min: i32) -> Result<i32, Errno> {
    const MAX_BYTES: u32 = 4 << 20;
    Ok((2 * (value as u32).min(MAX_BYTES) as i32).max(min))
}

/// Of a stream cut to half of what its buffer may become (`tcp_set_rcvlowat`).
fn receive_low(socket: &Socket, value: i32) -> Result<i32, Errno> {
    const TCP_RMEM_MAX: i32 = 32 << 20;
    let value = if value < 0 { i32::MAX } else { value };
    let buffer = socket.state().options.numbers.get(&(SOL_SOCKET, 8)).copied();
    let cap = buffer.unwrap_or(TCP_RMEM_MAX) / 2;
    Ok(if is_stream(socket) { value.min(cap) } else { value }.max(1))
}

/// Zero only while the socket is not connected (`tcp_set_window_clamp`).
fn window_clamp(socket: &Socket, value: i32) -> Result<i32, Errno> {
    const MIN_BYTES: i32 = 1152;
    match value {
        0 if socket.known("state") != state::CLOSE => Err(Errno::EINVAL),
        0 => Ok(0),
        value => Ok(value.max(MIN_BYTES)),
    }
}

/// Microseconds that are at least two ticks and at most 200 ms, as a number of ticks of 4 ms
/// (`TCP_TIMEOUT_MIN`, `TCP_DELACK_MAX`, `TCP_RTO_MIN`).
fn ticks(value: i32) -> Result<i32, Errno> {
    const TICK_US: u32 = (crate::host::TICK_NS / 1000) as u32;
    let ticks = (value as u32).div_ceil(TICK_US);
    if (2..=50).contains(&ticks) { Ok((ticks * TICK_US) as i32) } else { Err(Errno::EINVAL) }
}

/// A stream keeps its two bits of congestion notification.
fn keep_ecn(socket: &Socket, value: i32, option: (i32, i32)) -> i32 {
    const ECN: i32 = 3;
    let old = socket.state().options.numbers.get(&option).copied().unwrap_or(0);
    if is_stream(socket) { value & !ECN | old & ECN } else { value }
}

/// Changes the priority too, if it changes (`__ip_sock_set_tos`, `rt_tos2priority`).
fn type_of_service(socket: &Socket, value: i32) -> Result<i32, Errno> {
    const PRIORITIES: [u64; 4] = [0, 2, 6, 4];
    let old = socket.state().options.numbers.get(&(SOL_IP, 1)).copied().unwrap_or(0);
    let value = keep_ecn(socket, value, (SOL_IP, 1));
    if value != old {
        socket.put("priority", PRIORITIES[(value >> 3 & 3) as usize]);
    }
    Ok(value & 0xff)
}

/// Whether the socket has options of this level.
fn has_level(socket: &Socket, level: i32) -> bool {
    match level {
        SOL_SOCKET => true,
        SOL_TCP => socket.is_tcp(),
        SOL_IPV6 => socket.known("family") == AF_INET6,
        SOL_IP => {
            const SOCK_RAW: u64 = 3;
            let v6 = socket.known("family") == AF_INET6;
            socket.takes_ip4() && !(v6 && socket.known("type") == SOCK_RAW)
        }
        _ => false,
    }
}

fn number_of(level: i32, name: i32) -> Option<&'static Number> {
    NUMBERS.iter().find(|number| (number.level, number.name) == (level, name))
}

/// A text up to its zero byte.
fn text(value: &[u8]) -> &[u8] {
    value.split(|byte| *byte == 0).next().unwrap_or_default()
}

impl Socket {
    /// Sets an option as a program does (`bpf_setsockopt`); `device` gives the number of a device
    /// by its name.
    ///
    /// # Errors
    /// `EINVAL` for an option that programs may not set on this socket, or a size or value that it
    /// does not take; `ENOENT` and `ENOTSUPP` for congestion controls, `ENODEV` for devices,
    /// `ENOPROTOOPT` for what can only be read.
    pub fn set_option(
        &self,
        level: i32,
        name: i32,
        value: &[u8],
        device: impl Fn(&str) -> Option<u32>,
    ) -> Result<(), Errno> {
        if !self.is_full() || !has_level(self, level) {
            return Err(Errno::EINVAL);
        }
        match (level, name) {
            (SOL_SOCKET, SO_BINDTODEVICE) => {
                let name = text(&value[..value.len().min(DEVICE_BYTES - 1)]);
                let index = match name {
                    [] => Some(0),
                    name => std::str::from_utf8(name).ok().and_then(device),
                };
                self.put("bound_dev_if", index.ok_or(Errno::ENODEV)?.into());
            }
            (SOL_TCP, TCP_CONGESTION) => self.set_congestion(value)?,
            (SOL_TCP, TCP_SAVED_SYN) => {
                let set = if value.is_empty() { Errno::EINVAL } else { Errno::ENOPROTOOPT };
                return Err(set);
            }
            _ => {
                let number = number_of(level, name).ok_or(Errno::EINVAL)?;
                let given: [u8; INT_BYTES] = value.try_into().map_err(|_| Errno::EINVAL)?;
                let value = (number.set)(self, i32::from_ne_bytes(given))?;
                match number.field {
                    Some(field) => self.put(field, (value as u32).into()),
                    None => {
                        self.state().options.numbers.insert((level, name), value);
                    }
                }
            }
        }
        let change = OptionChange { level, name, value: value.to_vec() };
        self.state().options.changes.push(change);
        Ok(())
    }

    fn set_congestion(&self, value: &[u8]) -> Result<(), Errno> {
        if value.len() < 2 {
            return Err(Errno::EINVAL);
        }
        let name = text(&value[..value.len().min(CONGESTION_BYTES - 1)]);
        if text(&value[..value.len().min(3)]) == &b"cdg"[..value.len().min(3)] {
            return Err(Errno::ENOTSUPP);
        }
        if !CONGESTION_CONTROLS.iter().any(|known| known.as_bytes() == name) {
            return Err(Errno::ENOENT);
        }
        self.state().options.congestion = Some(name.to_vec());
        Ok(())
    }

    /// Reads an option as a program does (`bpf_getsockopt`) into `out`, of which the rest becomes
    /// zero.
    ///
    /// # Errors
    /// `EINVAL` for an option that programs may not read of this socket, or a size that it does not
    /// have; all of `out` is zero then.
    pub fn option(&self, level: i32, name: i32, out: &mut [u8]) -> Result<(), Errno> {
        let value = self.option_bytes(level, name, out.len());
        out.fill(0);
        let value = value?;
        let bytes = value.len().min(out.len());
        out[..bytes].copy_from_slice(&value[..bytes]);
        Ok(())
    }

    fn option_bytes(&self, level: i32, name: i32, bytes: usize) -> Result<Vec<u8>, Errno> {
        if !self.is_full() || !has_level(self, level) {
            return Err(Errno::EINVAL);
        }
        match (level, name) {
            (SOL_TCP, TCP_CONGESTION) => {
                let name = self.state().options.congestion.clone();
                let name = name.unwrap_or_else(|| CONGESTION_CONTROLS[0].into());
                // The last byte is kept for the zero of a text.
                let room = bytes.checked_sub(1).filter(|room| *room > 0).ok_or(Errno::EINVAL)?;
                Ok(name[..name.len().min(room)].to_vec())
            }
            (SOL_TCP, TCP_SAVED_SYN) => {
                let start = match self.option_number(SOL_TCP, 27) {
                    Some(2) => Layer::Link,
                    _ => Layer::Network,
                };
                let syn = self.syn(start).ok_or(Errno::EINVAL)?;
                let part = (bytes > 0).then(|| syn.get(..bytes)).flatten();
                Ok(part.ok_or(Errno::EINVAL)?.to_vec())
            }
            _ => {
                let number = number_of(level, name).ok_or(Errno::EINVAL)?;
                if number.access == Access::SetOnly || bytes != INT_BYTES {
                    return Err(Errno::EINVAL);
                }
                let value = match (number.field, self.option_number(level, name)) {
                    (Some(field), _) => self.known(field) as i32,
                    (None, Some(value)) => value,
                    (None, None) => (number.start)(self),
                };
                Ok(self.segment_size(level, name, value).to_ne_bytes().to_vec())
            }
        }
    }

    /// `TCP_MAXSEG` of a connection is what was agreed on, not what was set.
    fn segment_size(&self, level: i32, name: i32, value: i32) -> i32 {
        const DEFAULT_BYTES: i32 = 536;
        if (level, name) != (SOL_TCP, 2) {
            return value;
        }
        let unconnected = matches!(self.known("state"), state::CLOSE | state::LISTEN);
        match (value, self.known("mss_cache") as i32) {
            (set @ 1.., _) if unconnected => set,
            (_, 0) => DEFAULT_BYTES,
            (_, agreed) => agreed,
        }
    }

    fn option_number(&self, level: i32, name: i32) -> Option<i32> {
        self.state().options.numbers.get(&(level, name)).copied()
    }

    /// The options that were set, in order.
    pub fn option_changes(&self) -> Vec<OptionChange> {
        self.state().options.changes.clone()
    }

    /// Sets which events call programs of type `sock_ops`; returns the bits that there are not
    /// (`bpf_sock_ops_cb_flags_set`).
    pub(crate) fn set_callback_flags(&self, flags: u32) -> u32 {
        let known = CALLBACK_FLAGS as u32;
        self.put(Fact::CallbackFlags.name(), (flags & known).into());
        flags & !known
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(text: &str) -> Socket {
        Socket::connected(6, text.parse().unwrap(), text.parse().unwrap())
    }

    fn set(socket: &Socket, level: i32, name: i32, value: i32) -> Result<i32, Errno> {
        socket.set_option(level, name, &value.to_ne_bytes(), |_| None)?;
        let mut out = [0; 4];
        socket.option(level, name, &mut out)?;
        Ok(i32::from_ne_bytes(out))
    }

    #[test]
    fn numbers_are_read_back_as_the_kernel_keeps_them() {
        let socket = tcp("10.0.0.1:80");
        for (level, name, value, expected) in [
            (SOL_SOCKET, 7, 1, Ok(4608)),
            (SOL_SOCKET, 7, 100_000, Ok(200_000)),
            (SOL_SOCKET, 7, -1, Ok(8 << 20)),
            (SOL_SOCKET, 8, 0, Ok(2304)),
            (SOL_SOCKET, 18, 1 << 20, Ok(1152)),
            (SOL_SOCKET, 18, 0, Ok(1)),
            (SOL_SOCKET, 9, 7, Ok(1)),
            (SOL_SOCKET, 36, -2, Ok(-2)),
            (SOL_SOCKET, 62, -1, Err(Errno::EINVAL)),
            (SOL_SOCKET, 62, 9, Ok(9)),
            (SOL_SOCKET, 74, -1, Ok(1)),
            (SOL_SOCKET, 74, 2, Err(Errno::EINVAL)),
            (SOL_SOCKET, 3, 1, Err(Errno::EINVAL)),
            (SOL_TCP, 1, 5, Ok(1)),
            (SOL_TCP, 4, 0, Err(Errno::EINVAL)),
            (SOL_TCP, 4, 32767, Ok(32767)),
            (SOL_TCP, 7, 128, Err(Errno::EINVAL)),
            (SOL_TCP, 10, 0, Err(Errno::EINVAL)),
            (SOL_TCP, 10, 5, Ok(1152)),
            (SOL_TCP, 1004, 5_000, Ok(8_000)),
            (SOL_TCP, 1004, 300_000, Err(Errno::EINVAL)),
            (SOL_TCP, 1008, 0x80, Err(Errno::EINVAL)),
            (SOL_TCP, 1008, 0x41, Ok(0x41)),
            (SOL_TCP, 1001, 10, Err(Errno::EINVAL)),
            (SOL_IP, 1, 0x1b, Ok(0x18)),
            (SOL_IPV6, 67, 1, Err(Errno::EINVAL)),
        ] {
            assert_eq!(set(&socket, level, name, value), expected, "{level} {name} {value}");
        }
        // IW is set but not read; IP_TOS has set the priority.
        assert_eq!((socket.known("snd_cwnd"), socket.known("priority")), (10, 4));
        assert_eq!(socket.option_changes().len(), 17);
    }

    #[test]
    fn options_belong_to_their_protocol() {
        let v6 = tcp("[2001:db8::1]:80");
        assert_eq!(set(&v6, SOL_IPV6, 67, 0x21), Ok(0x20));
        assert_eq!(set(&v6, SOL_IPV6, 67, 0x100), Err(Errno::EINVAL));
        assert_eq!(set(&v6, SOL_IP, 1, 8), Ok(8));
        v6.put("ipv6_only", 1);
        assert_eq!(set(&v6, SOL_IP, 1, 8), Err(Errno::EINVAL));
        let udp = Socket::bound(17, "0.0.0.0:53".parse().unwrap());
        assert_eq!(set(&udp, SOL_TCP, 1, 1), Err(Errno::EINVAL));
        assert_eq!(set(&udp, SOL_IP, 1, 0x1b), Ok(0x1b));
        assert_eq!(udp.option(SOL_SOCKET, 7, &mut [0; 8]), Err(Errno::EINVAL));
        let request = tcp("10.0.0.1:80");
        request.put("state", state::NEW_SYN_RECV);
        assert_eq!(set(&request, SOL_SOCKET, 36, 1), Err(Errno::EINVAL));
    }

    #[test]
    fn texts_are_known_names() {
        let socket = tcp("10.0.0.1:80");
        let congestion = |value: &[u8]| socket.set_option(SOL_TCP, 13, value, |_| None);
        assert_eq!(congestion(b"reno\0"), Ok(()));
        assert_eq!(congestion(b"vegas"), Err(Errno::ENOENT));
        assert_eq!(congestion(b"cdg"), Err(Errno::ENOTSUPP));
        assert_eq!(congestion(b"r"), Err(Errno::EINVAL));
        let mut out = [7; 8];
        assert_eq!(socket.option(SOL_TCP, 13, &mut out), Ok(()));
        assert_eq!(&out, b"reno\0\0\0\0");
        let mut short = [7; 4];
        assert_eq!(socket.option(SOL_TCP, 13, &mut short), Ok(()));
        assert_eq!(&short, b"ren\0");
        let device = |value: &[u8]| {
            socket.set_option(SOL_SOCKET, 25, value, |name| (name == "eth0").then_some(3))
        };
        assert_eq!((device(b"eth0\0"), socket.known("bound_dev_if")), (Ok(()), 3));
        assert_eq!(device(b"eth1"), Err(Errno::ENODEV));
        assert_eq!((device(b"\0"), socket.known("bound_dev_if")), (Ok(()), 0));
    }
}
