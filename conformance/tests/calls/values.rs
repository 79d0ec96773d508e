//! Values that arguments can be given, and the maps that programs have.

use ebpfvm_spec::{AttachType, ProgType};

/// Lines of a case: the maps by index.
pub(crate) const MAPS: &[&str] = &[
    "plain array 4 64 1",
    "read_only array 4 64 1 rodata=25640a0000000000256c6c640000000061626300000000000000000000000000313233343536373831323334353637383132333435363738313233343536373a",
    "locks array 4 64 1 bpf_spin_lock@0",
    "timers hash 4 64 4 bpf_timer@16",
    "records ringbuf 0 0 4096",
    "programs prog_array 4 4 2",
    "table hash 4 64 4",
    "events perf_event_array 4 4 2",
    "queue queue 0 64 4",
    "sockets sockmap 4 4 2",
    "stacks stack_trace 4 80 4",
    "cgroups cgroup_array 4 4 2",
    "devices devmap 4 4 2",
    "filter bloom_filter 0 64 4",
    "percpu percpu_array 4 64 4",
    "outer array_of_maps 4 4 2 inner=timers",
    "write_only array 4 64 1 flags=256",
    "reuseport reuseport_sockarray 4 4 2",
    "xsk xskmap 4 4 2",
    "no_write hash 4 64 4 flags=128",
    "samples user_ringbuf 0 0 4096",
];

/// A type of programs, and where its context has a packet and a socket.
pub(crate) struct Host {
    pub(crate) prog_type: ProgType,
    pub(crate) attach: AttachType,
    packet: Option<(&'static str, i32, i32)>,
    sock: Option<i32>,
}

const fn plain(prog_type: ProgType, attach: u32) -> Host {
    Host { prog_type, attach: AttachType(attach), packet: None, sock: None }
}

/// Types that load without a function to attach to.
pub(crate) const HOSTS: &[Host] = &[
    Host { packet: Some(("u32", 76, 80)), sock: Some(168), ..plain(ProgType::SchedCls, 0) },
    Host { packet: Some(("u32", 0, 4)), ..plain(ProgType::Xdp, 0) },
    Host { packet: Some(("u32", 76, 80)), sock: Some(168), ..plain(ProgType::CgroupSkb, 0) },
    Host { packet: Some(("u32", 76, 80)), ..plain(ProgType::SkSkb, 0) },
    Host { packet: Some(("u64", 0, 8)), ..plain(ProgType::SkMsg, 0) },
    Host { packet: Some(("u32", 76, 80)), ..plain(ProgType::LwtXmit, 0) },
    Host { packet: Some(("u32", 76, 80)), ..plain(ProgType::LwtIn, 0) },
    Host { packet: Some(("u32", 76, 80)), ..plain(ProgType::LwtSeg6local, 0) },
    plain(ProgType::SocketFilter, 0),
    plain(ProgType::SockOps, 0),
    plain(ProgType::CgroupSockAddr, 10),
    plain(ProgType::CgroupSock, 2),
    plain(ProgType::CgroupSockopt, 22),
    plain(ProgType::CgroupSysctl, 18),
    plain(ProgType::SkLookup, 36),
    plain(ProgType::SkReuseport, 39),
    plain(ProgType::PerfEvent, 0),
    plain(ProgType::Kprobe, 0),
    plain(ProgType::Kprobe, 42),
    plain(ProgType::Tracepoint, 0),
    plain(ProgType::RawTracepoint, 0),
    plain(ProgType::FlowDissector, 0),
];

/// Something that an argument can be given: what must be done before, and how a register gets it.
///
/// `{r}` is the register. What is made before lies in the stack at an offset that only it has.
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    before: &'static str,
    load: &'static str,
    needs: Needs,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Needs {
    Nothing,
    Packet,
    Sock,
    /// A helper that only programs of the network have.
    Network,
}

const fn kind(name: &'static str, load: &'static str) -> Kind {
    Kind { name, before: "", load, needs: Needs::Nothing }
}

const fn made(name: &'static str, before: &'static str, load: &'static str) -> Kind {
    Kind { name, before, load, needs: Needs::Nothing }
}

#[rustfmt::skip] // a table is read by its columns
pub(crate) const KINDS: &[Kind] = &[
    kind("uninitialised", ""),
    kind("8", "{r} = 8"),
    kind("0", "{r} = 0"),
    kind("1", "{r} = 1"),
    kind("64", "{r} = 64"),
    kind("-1", "{r} = -1"),
    kind("huge", "{r} = 0x100000008 ll"),
    made("any number", "call get_prandom_u32\nr0 <<= 32\n*(u64 *)(r10 - 136) = r0", "{r} = *(u64 *)(r10 - 136)"),
    made("u32", "call get_prandom_u32\nw0 = w0\n*(u64 *)(r10 - 224) = r0", "{r} = *(u64 *)(r10 - 224)"),
    made("up to 7", "call get_prandom_u32\nr0 &= 7\n*(u64 *)(r10 - 160) = r0", "{r} = *(u64 *)(r10 - 160)"),
    made("1 to 8", "call get_prandom_u32\nr0 &= 7\nr0 += 1\n*(u64 *)(r10 - 168) = r0", "{r} = *(u64 *)(r10 - 168)"),
    kind("stack", "{r} = r10\n{r} += -64"),
    kind("stack, last bytes", "{r} = r10\n{r} += -8"),
    kind("stack, odd", "{r} = r10\n{r} += -61"),
    kind("stack, unused", "{r} = r10\n{r} += -320"),
    kind("stack, half used", "{r} = r10\n{r} += -324"),
    kind("stack, below", "{r} = r10\n{r} += -520"),
    kind("stack, above", "{r} = r10"),
    made("stack, moved", "call get_prandom_u32\nr0 &= 7\nr0 += -64\n*(u64 *)(r10 - 176) = r0", "{r} = *(u64 *)(r10 - 176)\n{r} += r10"),
    kind("context", "{r} = r6"),
    kind("context, moved", "{r} = r6\n{r} += 4"),
    kind("array", "{r} = map[idx:0]"),
    kind("value", "{r} = map[idx:0][0]+0"),
    kind("value, last bytes", "{r} = map[idx:0][0]+60"),
    made("value, moved", "call get_prandom_u32\nr0 &= 7\nr1 = map[idx:0][0]+0\nr1 += r0\n*(u64 *)(r10 - 184) = r1", "{r} = *(u64 *)(r10 - 184)"),
    kind("read-only value", "{r} = map[idx:1][0]+0"),
    kind("read-only text", "{r} = map[idx:1][0]+16"),
    kind("read-only text without end", "{r} = map[idx:1][0]+32"),
    kind("write-only value", "{r} = map[idx:16][0]+0"),
    kind("lock", "{r} = map[idx:2][0]+0"),
    kind("beside a lock", "{r} = map[idx:2][0]+4"),
    made("value or null", "*(u64 *)(r10 - 8) = 0\nr1 = map[idx:6]\nr2 = r10\nr2 += -8\ncall map_lookup_elem\n*(u64 *)(r10 - 128) = r0", "{r} = *(u64 *)(r10 - 128)"),
    made("timer", "*(u64 *)(r10 - 8) = 0\nr1 = map[idx:3]\nr2 = r10\nr2 += -8\ncall map_lookup_elem\nif r0 != 0 goto +2\nr0 = 0\nexit\n*(u64 *)(r10 - 192) = r0", "{r} = *(u64 *)(r10 - 192)\n{r} += 16"),
    made("inner map", "*(u64 *)(r10 - 8) = 0\nr1 = map[idx:15]\nr2 = r10\nr2 += -8\ncall map_lookup_elem\nif r0 != 0 goto +2\nr0 = 0\nexit\n*(u64 *)(r10 - 200) = r0", "{r} = *(u64 *)(r10 - 200)"),
    made("record", "r1 = map[idx:4]\nr2 = 64\nr3 = 0\ncall ringbuf_reserve\nif r0 != 0 goto +2\nr0 = 0\nexit\n*(u64 *)(r10 - 120) = r0", "{r} = *(u64 *)(r10 - 120)"),
    made("record or null", "r1 = map[idx:4]\nr2 = 64\nr3 = 0\ncall ringbuf_reserve\n*(u64 *)(r10 - 208) = r0", "{r} = *(u64 *)(r10 - 208)"),
    made("dynptr", "r1 = map[idx:0][0]+0\nr2 = 8\nr3 = 0\nr4 = r10\nr4 += -80\ncall dynptr_from_mem", "{r} = r10\n{r} += -80"),
    made("dynptr, second half", "r1 = map[idx:0][0]+0\nr2 = 8\nr3 = 0\nr4 = r10\nr4 += -80\ncall dynptr_from_mem", "{r} = r10\n{r} += -72"),
    made("record dynptr", "r1 = map[idx:4]\nr2 = 64\nr3 = 0\nr4 = r10\nr4 += -96\ncall ringbuf_reserve_dynptr", "{r} = r10\n{r} += -96"),
    made("dynptr data", "r1 = map[idx:0][0]+0\nr2 = 64\nr3 = 0\nr4 = r10\nr4 += -256\ncall dynptr_from_mem\nr1 = r10\nr1 += -256\nr2 = 0\nr3 = 32\ncall dynptr_data\nif r0 != 0 goto +2\nr0 = 0\nexit\n*(u64 *)(r10 - 264) = r0", "{r} = *(u64 *)(r10 - 264)"),
    Kind { name: "packet", before: "", load: "{r} = *(u64 *)(r10 - 144)", needs: Needs::Packet },
    Kind { name: "packet's end", before: "", load: "{r} = *(u64 *)(r10 - 152)", needs: Needs::Packet },
    Kind { name: "sock_common", before: "", load: "{r} = *(u64 *)(r10 - 104)", needs: Needs::Sock },
    Kind { name: "sock_common or null", before: "", load: "{r} = *(u64 *)(r10 - 112)", needs: Needs::Sock },
    Kind { name: "socket", before: "*(u64 *)(r10 - 8) = 0\n*(u64 *)(r10 - 16) = 0\nr1 = r6\nr2 = r10\nr2 += -16\nr3 = 12\nr4 = 0\nr5 = 0\ncall sk_lookup_tcp\nif r0 != 0 goto +2\nr0 = 0\nexit\n*(u64 *)(r10 - 216) = r0", load: "{r} = *(u64 *)(r10 - 216)", needs: Needs::Network },
    Kind { name: "socket or null", before: "*(u64 *)(r10 - 8) = 0\n*(u64 *)(r10 - 16) = 0\nr1 = r6\nr2 = r10\nr2 += -16\nr3 = 12\nr4 = 0\nr5 = 0\ncall sk_lookup_udp\n*(u64 *)(r10 - 272) = r0", load: "{r} = *(u64 *)(r10 - 272)", needs: Needs::Network },
];

impl Host {
    /// Whether programs of the type can have values of the kind.
    pub(crate) fn has(&self, kind: &Kind) -> bool {
        match kind.needs {
            Needs::Nothing => true,
            Needs::Packet => self.packet.is_some(),
            Needs::Sock => self.sock.is_some(),
            Needs::Network => {
                use ProgType::{CgroupSkb, SchedCls, SkSkb, Xdp};
                matches!(self.prog_type, SchedCls | Xdp | CgroupSkb | SkSkb)
            }
        }
    }

    /// The lines of a case before its code.
    pub(crate) fn head(&self) -> String {
        let mut text =
            format!("=== calls\ntype {}\nattach {}\n", self.prog_type.name(), self.attach.0);
        for map in MAPS {
            text += &format!("map {map}\n");
        }
        text
    }

    /// The code that makes values of these kinds; `r6` is the context.
    pub(crate) fn prologue(&self, kinds: &[&Kind]) -> Vec<String> {
        let mut code = vec!["r6 = r1".to_string()];
        code.extend((1..=8).map(|slot| format!("*(u64 *)(r10 - {}) = 0", slot * 8)));
        let mut done: Vec<&str> = Vec::new();
        for kind in kinds {
            if !kind.before.is_empty() && !done.contains(&kind.before) {
                done.push(kind.before);
                code.extend(kind.before.lines().map(str::to_string));
            }
        }
        let needs = |needs| kinds.iter().any(|kind| kind.needs == needs);
        if let (true, Some(offset)) = (needs(Needs::Sock), self.sock) {
            code.extend([
                format!("r0 = *(u64 *)(r6 + {offset})"),
                "*(u64 *)(r10 - 112) = r0".into(),
                format!("r0 = *(u64 *)(r6 + {offset})"),
                "if r0 != 0 goto +2".into(),
                "r0 = 0".into(),
                "exit".into(),
                "*(u64 *)(r10 - 104) = r0".into(),
            ]);
        }
        if let (true, Some((width, start, end))) = (needs(Needs::Packet), self.packet) {
            code.extend([
                format!("r1 = *({width} *)(r6 + {start})"),
                format!("r2 = *({width} *)(r6 + {end})"),
                "r3 = r1".into(),
                "r3 += 64".into(),
                "if r3 <= r2 goto +2".into(),
                "r0 = 0".into(),
                "exit".into(),
                "*(u64 *)(r10 - 144) = r1".into(),
                "*(u64 *)(r10 - 152) = r2".into(),
            ]);
        }
        // Leaves no argument register initialised.
        code.push("call get_prandom_u32".into());
        code
    }
}

impl Kind {
    /// Whether every function can make values of the kind, whatever it was given.
    pub(crate) fn is_plain(&self) -> bool {
        self.needs == Needs::Nothing && self.before.is_empty() && !self.load.contains("r6")
    }

    /// The code that gives a register a value of the kind.
    pub(crate) fn load(&self, register: usize) -> impl Iterator<Item = String> {
        let r = format!("r{register}");
        self.load.lines().map(move |line| line.replace("{r}", &r)).collect::<Vec<_>>().into_iter()
    }

    /// The kind with this name.
    pub(crate) fn named(name: &str) -> &'static Kind {
        KINDS.iter().find(|kind| kind.name == name).unwrap_or_else(|| panic!("no kind {name}"))
    }
}

/// The text of a case; lines that end with a colon are labels.
pub(crate) fn text(host: &Host, code: &[String]) -> String {
    let mut text = host.head();
    for line in code {
        let indent = if line.ends_with(':') { "" } else { "    " };
        text += &format!("{indent}{line}\n");
    }
    text
}
