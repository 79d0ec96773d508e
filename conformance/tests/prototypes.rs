//! What helpers take: the table says what the kernel says.
//!
//! For every argument of every helper, programs give it values of several kinds in a call whose
//! other arguments are right. The register that the kernel's message names tells which argument it
//! refused.

use ebpfvm_asm::ByteOrder;
use ebpfvm_asm::text::{Dialect, assemble};
use ebpfvm_kernel::prog::log_level;
use ebpfvm_kernel::{Kernel, LoadRequest, Map, MapRequest, linux_6_18_or_skip};
use ebpfvm_spec::linux::HELPERS;
use ebpfvm_spec::load_flags;
use ebpfvm_spec::{
    Arg, AttachType, DynptrUse, Effect, HelperProto, LookupGives, MapFlags, MapType, MemAccess,
    MemSize, ProgType, Ret,
};

/// Bytes that the maps' values and the initialised part of the stack have.
const BYTES: u32 = 64;
const KEY_BYTES: u32 = 4;

/// Messages that name no register, but are about what one points to.
const MEMORY: &[&str] =
    &["into map forbidden", "access to the packet", "write to dynptr", "access beyond"];

/// What an argument is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Uninitialised,
    Number,
    Zero,
    Stack,
    Context,
    Map,
    Value,
    ReadOnlyValue,
    /// The last four bytes of a value.
    ShortValue,
    Packet,
    Socket,
    Task,
    Dynptr,
}

const KINDS: &[Kind] = &[
    Kind::Uninitialised,
    Kind::Number,
    Kind::Zero,
    Kind::Stack,
    Kind::Context,
    Kind::Map,
    Kind::Value,
    Kind::ReadOnlyValue,
    Kind::ShortValue,
    Kind::Packet,
    Kind::Socket,
    Kind::Task,
    Kind::Dynptr,
];

/// Where programs of a type find the packet and a socket in their context, if they do.
struct Host {
    prog_type: ProgType,
    attach: AttachType,
    packet: Option<(i32, i32)>,
    sock: Option<i32>,
}

const fn plain(prog_type: ProgType, attach: u32) -> Host {
    Host { prog_type, attach: AttachType(attach), packet: None, sock: None }
}

/// Types that load without a function to attach to; those that can give more kinds come first.
const HOSTS: &[Host] = &[
    Host { packet: Some((76, 80)), sock: Some(168), ..plain(ProgType::SchedCls, 0) },
    Host { packet: Some((0, 4)), ..plain(ProgType::Xdp, 0) },
    Host { sock: Some(168), ..plain(ProgType::CgroupSkb, 0) },
    Host { packet: Some((76, 80)), ..plain(ProgType::SkSkb, 0) },
    Host { packet: Some((0, 8)), ..plain(ProgType::SkMsg, 0) },
    plain(ProgType::LwtXmit, 0),
    plain(ProgType::LwtIn, 0),
    plain(ProgType::LwtSeg6local, 0),
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
    plain(ProgType::Syscall, 0),
    plain(ProgType::Tracepoint, 0),
];

impl Host {
    fn has(&self, kind: Kind) -> bool {
        match kind {
            Kind::Packet => self.packet.is_some(),
            Kind::Socket => self.sock.is_some(),
            _ => true,
        }
    }

    /// Registers: r6 the context, r7 a map's value, r8 the packet, r9 what `needs` names.
    fn prologue(&self, needs: &[Kind], bench: &Bench) -> String {
        let mut text = format!("r6 = r1\nr7 = map[fd:{}][0]+0\nr8 = 0\nr9 = 0\n", bench.plain.fd());
        for slot in 1..=BYTES / 8 {
            text += &format!("*(u64 *)(r10 - {}) = 0\n", slot * 8);
        }
        if let (true, Some((start, end))) = (needs.contains(&Kind::Packet), self.packet) {
            let width = if self.prog_type == ProgType::SkMsg { "u64" } else { "u32" };
            text += &format!(
                "r8 = *({width} *)(r1 + {start})\nr2 = *({width} *)(r1 + {end})\nr3 = r8\n\
                 r3 += {BYTES}\nif r3 <= r2 goto +2\nr0 = 0\nexit\n"
            );
        }
        if needs.contains(&Kind::Dynptr) {
            text += "r1 = r7\nr2 = 8\nr3 = 0\nr4 = r10\nr4 += -80\ncall 197\n";
        }
        if let (true, Some(offset)) = (needs.contains(&Kind::Socket), self.sock) {
            text += &format!("r9 = *(u64 *)(r6 + {offset})\nif r9 != 0 goto +2\nr0 = 0\nexit\n");
        }
        if needs.contains(&Kind::Task) {
            text += "call 158\n*(u64 *)(r10 - 104) = r0\n";
        }
        // Leaves no argument register initialised.
        text + "call 7\n"
    }
}

struct Bench {
    kernel: Kernel,
    plain: Map,
    read_only: Map,
}

impl Bench {
    fn new(kernel: Kernel) -> Bench {
        let mut request = MapRequest::new(MapType::Array, KEY_BYTES, BYTES, 1);
        let plain = kernel.map_create(&request).unwrap();
        request.flags = MapFlags::RDONLY_PROG;
        let read_only = kernel.map_create(&request).unwrap();
        read_only.freeze().unwrap();
        Bench { kernel, plain, read_only }
    }

    fn load(&self, register: usize, kind: Kind) -> String {
        let r = format!("r{register}");
        match kind {
            Kind::Uninitialised => String::new(),
            Kind::Number => format!("{r} = 8\n"),
            Kind::Zero => format!("{r} = 0\n"),
            Kind::Stack => format!("{r} = r10\n{r} += -{BYTES}\n"),
            Kind::Context => format!("{r} = r6\n"),
            Kind::Map => format!("{r} = map[fd:{}]\n", self.plain.fd()),
            Kind::Value => format!("{r} = r7\n"),
            Kind::ReadOnlyValue => format!("{r} = map[fd:{}][0]+0\n", self.read_only.fd()),
            Kind::ShortValue => format!("{r} = r7\n{r} += {}\n", BYTES - 4),
            Kind::Packet => format!("{r} = r8\n"),
            Kind::Socket => format!("{r} = r9\n"),
            Kind::Task => format!("{r} = *(u64 *)(r10 - 104)\n"),
            Kind::Dynptr => format!("{r} = r10\n{r} += -80\n"),
        }
    }

    /// A map that the helper takes, if it does not take every map.
    fn map_for(&self, proto: &HelperProto) -> Option<Map> {
        use MapType as M;
        let rows = [
            (M::Array, 4, BYTES, 1),
            (M::Ringbuf, 0, 0, 4096),
            (M::Queue, 0, BYTES, 1),
            (M::PercpuArray, 4, BYTES, 1),
            (M::ProgArray, 4, 4, 1),
            (M::PerfEventArray, 4, 4, 1),
            (M::StackTrace, 4, 80, 1),
            (M::CgroupArray, 4, 4, 1),
            (M::Devmap, 4, 4, 1),
            (M::Sockmap, 4, 4, 1),
            (M::Sockhash, 4, 4, 1),
            (M::ReuseportSockarray, 4, 4, 1),
            (M::CgroupStorage, 8, 8, 0),
        ];
        let (kind, key, value, entries) =
            rows.into_iter().find(|(kind, ..)| proto.maps.always.contains(*kind))?;
        self.kernel.map_create(&MapRequest::new(kind, key, value, entries)).ok()
    }

    /// The kernel's log if it refuses the program.
    fn refusal(&self, host: &Host, text: &str) -> Option<String> {
        self.load_text(host, text, log_level::PATH).err()
    }

    /// The log with the state after every instruction.
    fn full_log(&self, host: &Host, text: &str) -> String {
        self.load_text(host, text, log_level::FULL).unwrap_or_else(|log| log)
    }

    /// The kernel's log; as an error if it refuses the program.
    fn load_text(&self, host: &Host, text: &str, log_level: u32) -> Result<String, String> {
        let code = assemble(text, Dialect::PseudoC).unwrap_or_else(|e| panic!("{e}\n{text}"));
        let bytes = code.to_bytes(ByteOrder::HOST).unwrap();
        let request = LoadRequest {
            log_level,
            expected_attach_type: host.attach,
            flags: if host.prog_type == ProgType::Syscall { load_flags::SLEEPABLE } else { 0 },
            ..LoadRequest::new(host.prog_type, &bytes)
        };
        match self.kernel.prog_load(&request) {
            Ok(prog) => Ok(prog.log().to_string()),
            Err(error) => Err(error.log),
        }
    }
}

/// A kind that an argument takes, if one can be made here.
fn right(arg: Arg, host: &Host) -> Option<Kind> {
    let kind = match arg {
        Arg::None => Kind::Uninitialised,
        Arg::Anything | Arg::Size { .. } | Arg::AllocSize => Kind::Number,
        Arg::Ctx | Arg::CtxOrNull => Kind::Context,
        Arg::Map => Kind::Map,
        Arg::MapKey | Arg::MapValue(_) | Arg::Mem { .. } => Kind::Stack,
        Arg::MapValueOrNull | Arg::CallbackCtx | Arg::KptrOrNull => Kind::Zero,
        Arg::SocketOrNull | Arg::BtfId { nullable: true, .. } => Kind::Zero,
        Arg::Sock { nullable: true, .. } => Kind::Zero,
        Arg::ConstStr => Kind::ReadOnlyValue,
        Arg::SockCommon | Arg::Sock { released: false, .. } => Kind::Socket,
        Arg::BtfId { name: "task_struct", .. } => Kind::Task,
        Arg::Dynptr(DynptrUse::Read) => Kind::Dynptr,
        Arg::Dynptr(DynptrUse::NewLocal | DynptrUse::NewRingbuf) => Kind::Stack,
        _ => return None,
    };
    host.has(kind).then_some(kind)
}

/// Whether memory of this kind serves for so many bytes.
fn memory(kind: Kind, bytes: u32, access: MemAccess, proto: &HelperProto) -> bool {
    match kind {
        Kind::Stack | Kind::Value => true,
        Kind::ReadOnlyValue => !access.writes(),
        Kind::ShortValue => bytes <= 4,
        Kind::Packet => proto.effects.has(Effect::PACKET_MEMORY),
        // The first member has 8 bytes.
        Kind::Task => !access.writes() && bytes <= 8,
        _ => false,
    }
}

/// Whether the table says that the argument takes the kind.
fn takes(proto: &HelperProto, arg: Arg, kind: Kind) -> bool {
    if arg == Arg::None {
        return true;
    }
    let null = kind == Kind::Zero;
    kind != Kind::Uninitialised
        && match arg {
            Arg::Anything => true,
            Arg::AllocSize | Arg::Size { zero: true } => {
                matches!(kind, Kind::Number | Kind::Zero)
            }
            Arg::Size { zero: false } => kind == Kind::Number,
            Arg::Ctx => kind == Kind::Context,
            Arg::CtxOrNull => kind == Kind::Context || null,
            Arg::Map => kind == Kind::Map,
            // A kernel pointer is no key: the kernel has no MEM_RDONLY there.
            Arg::MapKey => kind != Kind::Task && memory(kind, KEY_BYTES, MemAccess::Read, proto),
            Arg::MapValue(access) => memory(kind, BYTES, access, proto),
            Arg::MapValueOrNull => null || memory(kind, BYTES, MemAccess::Read, proto),
            Arg::Mem { access, size, nullable } => {
                let bytes = match size {
                    MemSize::NextArg => 8,
                    MemSize::Fixed(bytes) | MemSize::FixedAligned(bytes) => bytes,
                };
                nullable && null || memory(kind, bytes, access, proto)
            }
            Arg::ConstStr => kind == Kind::ReadOnlyValue,
            Arg::SockCommon => kind == Kind::Socket,
            Arg::Sock { nullable, released } => {
                nullable && null || !released && kind == Kind::Socket
            }
            Arg::SocketOrNull | Arg::KptrOrNull => null,
            Arg::BtfId { name, nullable } => {
                nullable && null || name == "task_struct" && kind == Kind::Task
            }
            Arg::CallbackCtx => null || matches!(kind, Kind::Stack | Kind::Dynptr),
            Arg::Dynptr(DynptrUse::Read) => kind == Kind::Dynptr,
            Arg::Dynptr(DynptrUse::NewLocal | DynptrUse::NewRingbuf) => kind == Kind::Stack,
            _ => false,
        }
}

/// The registers of the call; none if an argument before cannot be made.
fn call(
    bench: &Bench,
    host: &Host,
    proto: &HelperProto,
    probe: Option<(usize, Kind)>,
) -> Option<String> {
    let mut kinds = Vec::new();
    for (i, arg) in proto.args.iter().enumerate() {
        let after_null = probe.is_some_and(|(at, kind)| at + 1 == i && kind == Kind::Zero);
        kinds.push(match (probe, right(*arg, host)) {
            (Some((at, kind)), _) if at == i => kind,
            (Some(_), _) if after_null && *arg == (Arg::Size { zero: true }) => Kind::Zero,
            (_, Some(kind)) => kind,
            // What comes after the argument in question is looked at after it.
            (Some((at, _)), None) if i > at => Kind::Zero,
            (_, None) => return None,
        });
    }
    let mut text = host.prologue(&kinds, bench);
    for (i, kind) in kinds.iter().enumerate() {
        text += &bench.load(i + 1, *kind);
    }
    Some(text + &format!("call {}\n", proto.id))
}

/// The argument register that the last line of a log names first.
fn named(log: &str) -> Option<usize> {
    let line = log.lines().rev().find(|line| !line.starts_with("processed "))?;
    let after = line.split_once('R')?.1;
    after.chars().next()?.to_digit(10).map(|digit| digit as usize)
}

fn hosts(proto: &HelperProto) -> impl Iterator<Item = &'static Host> {
    let sleeps = proto.effects.has(Effect::MAY_SLEEP);
    HOSTS
        .iter()
        .filter(move |host| proto.allows(host.prog_type, host.attach))
        .filter(move |host| !sleeps || host.prog_type == ProgType::Syscall)
}

#[test]
fn arguments_are_taken_as_the_kernel_takes_them() {
    let Some(kernel) = linux_6_18_or_skip("arguments_are_taken_as_the_kernel_takes_them") else {
        return;
    };
    let bench = Bench::new(kernel);
    let (mut wrong, mut left_out, mut asked) = (Vec::new(), Vec::new(), 0);
    for proto in HELPERS {
        let Some(host) = hosts(proto).next() else {
            left_out.push(format!("{} (no program to call it from)", proto.name));
            continue;
        };
        for (i, arg) in proto.args.iter().enumerate() {
            for kind in KINDS.iter().filter(|kind| host.has(**kind)) {
                let Some(text) = call(&bench, host, proto, Some((i, *kind))) else {
                    left_out.push(format!("{} argument {}", proto.name, i + 1));
                    break;
                };
                asked += 1;
                let log = bench.refusal(host, &(text + "r0 = 0\nexit\n"));
                let expected = takes(proto, *arg, *kind);
                let refused = log.as_ref().is_some_and(|log| match named(log) {
                    Some(register) => register == i + 1,
                    None => MEMORY.iter().any(|about| log.contains(about)) || !expected,
                });
                let early = log.as_ref().and_then(|log| named(log)).is_some_and(|r| r <= i);
                if refused == expected || early {
                    let log = log.unwrap_or_default();
                    let last = log.lines().rev().find(|line| !line.starts_with("processed "));
                    wrong.push(format!(
                        "{} ({}) argument {} {arg:?}, {kind:?}: {}",
                        proto.name,
                        host.prog_type.name(),
                        i + 1,
                        last.unwrap_or("accepted"),
                    ));
                }
            }
        }
    }
    eprintln!("{asked} calls; not asked: {}", left_out.join(", "));
    assert!(wrong.is_empty(), "{} of {asked}:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn packets_change_where_the_kernel_says_so() {
    let Some(kernel) = linux_6_18_or_skip("packets_change_where_the_kernel_says_so") else {
        return;
    };
    let bench = Bench::new(kernel);
    let (mut wrong, mut asked) = (Vec::new(), 0);
    for proto in HELPERS {
        let Some(host) = hosts(proto).find(|host| host.packet.is_some()) else { continue };
        let Some(text) = call(&bench, host, proto, None) else { continue };
        // The call alone has to pass, with the packet looked at before.
        let needs = [Kind::Packet, Kind::Socket, Kind::Task, Kind::Dynptr];
        let prologue = |kinds: &[Kind]| host.prologue(kinds, &bench);
        let used: Vec<Kind> = proto.args.iter().filter_map(|arg| right(*arg, host)).collect();
        let with: Vec<Kind> =
            needs.iter().copied().filter(|k| *k == Kind::Packet || used.contains(k)).collect();
        let text = text.replace(&prologue(&used), &prologue(&with));
        if bench.refusal(host, &format!("{text}r0 = 0\nexit\n")).is_some() {
            continue;
        }
        asked += 1;
        let changed =
            bench.refusal(host, &format!("{text}r0 = *(u8 *)(r8 + 0)\nr0 = 0\nexit\n")).is_some();
        if changed != proto.effects.has(Effect::CHANGES_PACKET) {
            wrong.push(format!("{}: the kernel says {changed}", proto.name));
        }
    }
    assert!(asked > 60, "only {asked} helpers could be called");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The state of `r0` after the last call of the helper, as the log shows it; none if the register is
/// not initialised.
fn result_state(log: &str, id: u32) -> Option<String> {
    let call = |line: &&str| {
        let insn = line.split(';').next().unwrap_or_default().trim_end();
        insn.contains("(85) call bpf_") && insn.ends_with(&format!("#{id}"))
    };
    let lines: Vec<&str> = log.lines().collect();
    let at = lines.iter().rposition(call)?;
    // The state stands beside the call, or before the next instruction; lines about precision may
    // come between.
    let next = lines[at + 1..].iter().find(|line| !line.starts_with("mark_precise"));
    let state = match lines[at].split_once(';') {
        Some((_, state)) => state,
        None => next?,
    };
    let (_, after) = state.split_once(" R0=")?;
    let end = after.find(')').map_or(after.len(), |at| at + 1);
    Some(after[..end].to_string())
}

/// Whether the state is the table's result.
fn is_result(ret: Ret, references: bool, state: Option<&str>) -> bool {
    let Some(state) = state else { return matches!(ret, Ret::Void | Ret::TailCall) };
    let begins = |start: &str| state.starts_with(start);
    let pointer = |trusted: bool, nullable: bool, name: &str| {
        let trust = if trusted { "trusted_" } else { "" };
        let null = if nullable { "or_null_" } else { "" };
        begins(&format!("{trust}ptr_{null}{name}("))
    };
    let kind = match ret {
        Ret::Void | Ret::TailCall => false,
        Ret::Integer => state == "scalar()",
        Ret::SizeOrErrno => begins("scalar(smin=smin32=-4095,smax=smax32="),
        Ret::Cpu => begins("scalar(smin=0,smax=") || begins("scalar(smin=smin32=0,smax="),
        Ret::MapValue => begins("map_value(map="),
        Ret::MapValueOrNull => begins("map_value_or_null(id=") || begins("map_value(map="),
        Ret::RingbufRecordOrNull => begins("ringbuf_mem_or_null("),
        Ret::DynptrMemOrNull => begins("mem_or_null("),
        Ret::SocketOrNull => begins("sock_or_null("),
        Ret::TcpSockOrNull => begins("tcp_sock_or_null("),
        Ret::SockCommonOrNull => begins("sock_common_or_null("),
        Ret::BtfId { name, nullable, trusted } => pointer(trusted, nullable, name),
        Ret::KptrOrNull | Ret::PerCpu { .. } => false,
    };
    kind && state.contains("ref_obj_id=") == references
}

#[test]
fn results_are_what_the_kernel_says() {
    let Some(kernel) = linux_6_18_or_skip("results_are_what_the_kernel_says") else { return };
    let bench = Bench::new(kernel);
    let (mut wrong, mut asked, mut left_out) = (Vec::new(), 0, Vec::new());
    for proto in HELPERS {
        let text = hosts(proto).find_map(|h| Some((h, call(&bench, h, proto, None)?)));
        let Some((host, text)) = text else {
            left_out.push(proto.name.to_string());
            continue;
        };
        // A map of a kind that the helper takes.
        let (plain, map) = (format!("map[fd:{}]\n", bench.plain.fd()), bench.map_for(proto));
        let text = match &map {
            Some(map) => text.replace(&plain, &format!("map[fd:{}]\n", map.fd())),
            None => text,
        };
        let log = bench.full_log(host, &(text + "r1 = 0\nr0 = 0\nexit\n"));
        if log.contains("cannot pass map_type") || !log.contains("(b7) r1 = 0 ") {
            left_out.push(proto.name.to_string());
            continue;
        }
        asked += 1;
        let state = result_state(&log, proto.id);
        if !is_result(proto.ret, proto.effects.has(Effect::ACQUIRES), state.as_deref()) {
            wrong.push(format!(
                "{} in {}: {:?}, {state:?}",
                proto.name,
                host.prog_type.name(),
                proto.ret
            ));
        }
    }
    println!("{asked} results; not asked: {}", left_out.join(", "));
    assert!(asked > 120, "{asked}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A socket that is a reference is cast: the result shares the reference where the table says so.
#[test]
fn casts_share_the_reference() {
    let Some(kernel) = linux_6_18_or_skip("casts_share_the_reference") else { return };
    let bench = Bench::new(kernel);
    let host = HOSTS.iter().find(|host| host.prog_type == ProgType::SchedCls).unwrap();
    let (mut wrong, mut asked) = (Vec::new(), 0);
    for proto in HELPERS.iter().filter(|p| p.allows(host.prog_type, host.attach)) {
        let takes_socket = matches!(
            proto.args[0],
            Arg::SockCommon | Arg::Sock { nullable: false, released: false }
        );
        if !takes_socket || proto.args[1] != Arg::None || proto.ret == Ret::Integer {
            continue;
        }
        asked += 1;
        let text = format!(
            "r6 = r1\n*(u64 *)(r10 - 8) = 0\n*(u64 *)(r10 - 16) = 0\nr2 = r10\nr2 += -16\nr3 = 12\n\
             r4 = 0\nr5 = 0\ncall 84\nif r0 != 0 goto +1\nexit\nr1 = r0\ncall {}\nr0 = 0\nexit\n",
            proto.id
        );
        let state = result_state(&bench.full_log(host, &text), proto.id);
        if !is_result(proto.ret, proto.effects.has(Effect::CASTS), state.as_deref()) {
            wrong.push(format!("{}: {:?}, {state:?}", proto.name, proto.ret));
        }
    }
    assert!(asked >= 10, "{asked}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What a lookup gives, once it is known not to be null.
#[test]
fn lookups_give_what_the_kernel_says() {
    let Some(kernel) = linux_6_18_or_skip("lookups_give_what_the_kernel_says") else { return };
    let bench = Bench::new(kernel);
    let host = HOSTS.iter().find(|host| host.prog_type == ProgType::SchedCls).unwrap();
    for kind in [
        MapType::Hash,
        MapType::Devmap,
        MapType::Sockmap,
        MapType::Sockhash,
        MapType::Xskmap,
        MapType::ArrayOfMaps,
        MapType::HashOfMaps,
    ] {
        let mut request = MapRequest::new(kind, 4, 4, 1);
        if matches!(kind, MapType::ArrayOfMaps | MapType::HashOfMaps) {
            request.inner_map = Some(&bench.plain);
        }
        let map = bench.kernel.map_create(&request).unwrap();
        let text = format!(
            "*(u32 *)(r10 - 4) = 0\nr2 = r10\nr2 += -4\nr1 = map[fd:{}]\ncall 1\n\
             if r0 == 0 goto +1\nr1 = r0\nr0 = 0\nexit\n",
            map.fd()
        );
        let log = bench.full_log(host, &text);
        // The list of live registers names the instruction too, without state.
        let copied = log.lines().filter(|line| line.contains("(bf) r1 = r0"));
        let state = copied.filter_map(|line| Some(line.split_once(" R1=")?.1)).next();
        let state = state.unwrap_or_else(|| panic!("{log}"));
        let (what, is_reference) = match kind.lookup_gives() {
            LookupGives::Value => ("map_value(", false),
            LookupGives::Map => ("map_ptr(", false),
            LookupGives::Socket => ("sock(", true),
            LookupGives::XdpSock => ("xdp_sock(", false),
        };
        assert!(state.starts_with(what), "{}: {state}", kind.name());
        assert_eq!(state.contains("ref_obj_id="), is_reference, "{}: {state}", kind.name());
    }
}
