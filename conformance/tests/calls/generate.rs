//! Random programs out of calls.
//!
//! A program is a sequence of calls; most arguments are right ones. Results are kept and become
//! arguments of later calls; callbacks and functions have a few calls of their own and share memory
//! with their caller.

use super::single::right;
use super::values::{HOSTS, Host, KINDS, Kind, MAPS, text};
use ebpfvm_spec::linux::HELPERS;
use ebpfvm_spec::{Arg, Callback, HelperProto, MapType, Ret};

/// Helpers whose order matters: they acquire, release, lock, move packets, look up, call tails.
const STATEFUL: &[&str] = &[
    "map_lookup_elem",
    "map_lookup_elem",
    "map_update_elem",
    "map_delete_elem",
    "map_push_elem",
    "map_peek_elem",
    "map_lookup_percpu_elem",
    "tail_call",
    "spin_lock",
    "spin_lock",
    "spin_unlock",
    "timer_init",
    "timer_start",
    "timer_cancel",
    "ringbuf_reserve",
    "ringbuf_submit",
    "ringbuf_discard",
    "ringbuf_output",
    "ringbuf_reserve_dynptr",
    "ringbuf_submit_dynptr",
    "ringbuf_discard_dynptr",
    "dynptr_from_mem",
    "dynptr_read",
    "dynptr_write",
    "dynptr_data",
    "sk_lookup_tcp",
    "skc_lookup_tcp",
    "sk_release",
    "sk_release",
    "sk_fullsock",
    "tcp_sock",
    "get_listener_sock",
    "sk_assign",
    "tcp_check_syncookie",
    "skb_load_bytes",
    "skb_store_bytes",
    "skb_pull_data",
    "xdp_adjust_head",
    "csum_diff",
    "snprintf",
    "strncmp",
    "strtol",
    "probe_read_str",
    "get_stack",
    "get_smp_processor_id",
    "perf_event_output",
    "loop",
    "loop",
    "loop",
    "for_each_map_elem",
    "for_each_map_elem",
    "timer_set_callback",
    "user_ringbuf_drain",
];
/// Where results are kept beside `r7` and `r8`: below the top of the stack.
const SPILLS: [i32; 3] = [280, 288, 296];

/// A stream of numbers that is the same on every run (splitmix64).
struct Draw(u64);

impl Draw {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, count: usize) -> usize {
        (self.next() % count as u64) as usize
    }

    fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}

/// What an argument gets.
enum Given {
    Made(&'static Kind),
    Map(usize),
    /// What a call before gave.
    Kept(usize),
    /// A register that a function was given something in.
    Register(usize),
}

/// A register or place of the stack that keeps a result.
fn kept(place: usize, register: usize) -> String {
    match place {
        0 | 1 => format!("r{register} = r{}", 7 + place),
        _ => format!("r{register} = *(u64 *)(r10 - {})", SPILLS[(place - 2) % SPILLS.len()]),
    }
}

fn keep(place: usize) -> String {
    match place {
        0 | 1 => format!("r{} = r0", 7 + place),
        _ => format!("*(u64 *)(r10 - {}) = r0", SPILLS[(place - 2) % SPILLS.len()]),
    }
}

/// A map that the helper takes, most of the time.
fn map_for(draw: &mut Draw, proto: &HelperProto) -> usize {
    let is_taken = |index: &usize| {
        let name = MAPS[*index].split(' ').nth(1).unwrap_or_default();
        let kind = MapType::ALL.iter().find(|kind| kind.name() == name);
        kind.is_some_and(|kind| proto.maps.always.contains(*kind))
    };
    let taken: Vec<usize> = (0..MAPS.len()).filter(is_taken).collect();
    if taken.is_empty() || draw.one_in(30) { draw.below(MAPS.len()) } else { *draw.pick(&taken) }
}

/// A function that a program has beside its first.
struct Function {
    /// Its line in a case: name, linkage, types.
    declaration: &'static str,
    /// Who calls it back; none if it is called.
    callback: Option<Callback>,
}

const fn function(declaration: &'static str, callback: Option<Callback>) -> Function {
    Function { declaration, callback }
}

const FUNCTIONS: &[Function] = &[
    function("each static int mem:8 mem:8 mem:8 mem:8", Some(Callback::MapElement)),
    function("round static int u32 mem:8", Some(Callback::Loop)),
    function("later static int mem:8 mem:8 mem:8", Some(Callback::Timer)),
    function("sample static int dynptr mem:8", Some(Callback::UserRingbuf)),
    function("sub static int mem:8", None),
];

impl Function {
    fn name(&self) -> &'static str {
        self.declaration.split(' ').next().unwrap_or_default()
    }

    /// The arguments that are memory, and the one that is shared with the caller, if any.
    fn memory(&self) -> (&'static [usize], Option<usize>) {
        match self.callback {
            Some(Callback::MapElement) => (&[2, 3, 4], Some(4)),
            Some(Callback::Timer) => (&[2, 3], None),
            None => (&[1], Some(1)),
            _ => (&[2], Some(2)),
        }
    }
}

/// A program that is being made.
struct Draft {
    draw: Draw,
    host: &'static Host,
    /// What the first function must make before.
    used: Vec<&'static Kind>,
    /// The functions, in the order in which they are needed.
    functions: Vec<&'static Function>,
    labels: usize,
}

/// Where calls are made: the first function, or another one.
struct Place {
    /// Registers with memory that the function was given.
    given: Vec<usize>,
    is_first: bool,
    end: String,
    results: Vec<(usize, Ret)>,
    code: Vec<String>,
}

impl Place {
    fn add(&mut self, line: impl Into<String>) {
        self.code.push(line.into());
    }
}

/// A program that is the same for every `seed`.
pub(super) fn program(seed: u64) -> String {
    let mut draw = Draw(seed);
    // The first types have most helpers.
    let hosts = if draw.one_in(4) { HOSTS } else { &HOSTS[..4] };
    let host = draw.pick(hosts);
    let mut draft = Draft { draw, host, used: Vec::new(), functions: Vec::new(), labels: 0 };
    let mut first = draft.place(true, &[]);
    for _ in 0..2 + draft.draw.below(6) {
        draft.statement(&mut first);
    }
    draft.give_back(&mut first);
    let mut code = host.prologue(&draft.used);
    code.extend(["r7 = 0", "r8 = 0", "r9 = r10", "r9 += -304"].map(String::from));
    code.push("*(u64 *)(r10 - 304) = 0".into());
    code.extend(SPILLS.iter().map(|offset| format!("*(u64 *)(r10 - {offset}) = 0")));
    code.append(&mut first.code);
    code.extend([format!("{}:", first.end), "r0 = 0".into(), "exit".into()]);
    let mut at = 0;
    // A function may need others.
    while let Some(function) = draft.functions.get(at) {
        code.extend(draft.function(function));
        at += 1;
    }
    let mut program = text(host, &code);
    if !draft.functions.is_empty() {
        let mut lines = "func main static int mem:8\n".to_string();
        for function in &draft.functions {
            lines += &format!("func {}\n", function.declaration);
        }
        let head = host.head().len();
        program.insert_str(head, &lines);
    }
    program
}

impl Draft {
    fn place(&mut self, is_first: bool, given: &[usize]) -> Place {
        self.labels += 1;
        let end = format!("end{}", self.labels);
        Place { given: given.to_vec(), is_first, end, results: Vec::new(), code: Vec::new() }
    }

    /// The index of a function in the program; it is added if it is not there.
    fn needs(&mut self, function: &'static Function) -> &'static str {
        if !self.functions.iter().any(|f| f.name() == function.name()) {
            self.functions.push(function);
        }
        function.name()
    }

    /// The code of a function.
    fn function(&mut self, function: &'static Function) -> Vec<String> {
        let (memory, shared) = function.memory();
        let mut place = self.place(false, &[6, 9]);
        place.add(format!("{}:", function.name()));
        place.add(format!("r6 = r{}", memory[self.draw.below(memory.len())]));
        place.add(format!("r9 = r{}", shared.unwrap_or(memory[0])));
        place.add("r7 = 0");
        place.add("r8 = 0");
        for slot in 1..=8 {
            place.add(format!("*(u64 *)(r10 - {}) = 0", slot * 8));
        }
        for offset in SPILLS {
            place.add(format!("*(u64 *)(r10 - {offset}) = 0"));
        }
        for _ in 0..self.draw.below(4) {
            self.statement(&mut place);
        }
        if !self.draw.one_in(3) {
            self.give_back(&mut place);
        }
        place.add(format!("{}:", place.end));
        match self.draw.below(8) {
            0 => place.add("call get_prandom_u32"),
            1 => place.add("r0 = 2"),
            2 | 3 => place.add("r0 = 1"),
            _ => place.add("r0 = 0"),
        }
        place.add("exit");
        place.code
    }

    /// One call and what is done with its result.
    fn statement(&mut self, place: &mut Place) {
        if self.draw.one_in(8) {
            self.share(place);
        }
        // Functions call no others, so that programs end.
        if place.is_first && self.draw.one_in(12) {
            let name = self.needs(&FUNCTIONS[FUNCTIONS.len() - 1]);
            place.add("r1 = r9");
            place.add(format!("call {name}"));
            return;
        }
        let proto = self.helper(place);
        for (i, arg) in proto.args.iter().enumerate().filter(|(_, arg)| **arg != Arg::None) {
            if let Arg::Callback(callback) = arg {
                let called = FUNCTIONS.iter().find(|f| f.callback == Some(*callback));
                let name = called.map(|f| self.needs(f)).unwrap_or_default();
                place.add(format!("r{} = subprog[{name}]", i + 1));
                continue;
            }
            match self.argument(place, proto, *arg) {
                Given::Made(kind) => {
                    if place.is_first {
                        self.used.push(kind);
                    }
                    place.code.extend(kind.load(i + 1));
                }
                Given::Map(map) => place.add(format!("r{} = map[idx:{map}]", i + 1)),
                Given::Kept(at) => place.add(kept(at, i + 1)),
                Given::Register(register) => place.add(format!("r{} = r{register}", i + 1)),
            }
        }
        place.add(format!("call {}", proto.id));
        if !matches!(proto.ret, Ret::Void | Ret::TailCall) {
            self.keep_result(place, proto.ret);
        }
    }

    /// A helper that the place may call, as far as callbacks may have callbacks.
    fn helper(&mut self, place: &Place) -> &'static HelperProto {
        let host = self.host;
        let allowed = |name: &&&str| {
            HELPERS.iter().find(|p| p.name == ***name && p.allows(host.prog_type, host.attach))
        };
        let calls_back =
            |p: &&HelperProto| p.args.iter().any(|arg| matches!(arg, Arg::Callback(_)));
        let all: Vec<&'static HelperProto> = STATEFUL
            .iter()
            .filter_map(|name| allowed(&name))
            .filter(|p| place.is_first || !calls_back(p))
            .collect();
        all[self.draw.below(all.len())]
    }

    /// Puts a result into the memory that is shared, or takes it from there.
    fn share(&mut self, place: &mut Place) {
        let at = self.draw.below(2 + SPILLS.len());
        if self.draw.one_in(2) {
            place.add(kept(at, 1));
            place.add("*(u64 *)(r9 + 0) = r1");
        } else {
            place.add("r0 = *(u64 *)(r9 + 0)");
            place.add(keep(at));
            let known = [Ret::Integer, Ret::RingbufRecordOrNull, Ret::SocketOrNull];
            let ret = *self.draw.pick(&known);
            place.results.retain(|r| r.0 != at);
            place.results.push((at, ret));
        }
    }

    fn keep_result(&mut self, place: &mut Place, ret: Ret) {
        let at = self.draw.below(2 + SPILLS.len());
        place.results.retain(|r| r.0 != at);
        place.results.push((at, ret));
        place.add(keep(at));
        let is_pointer = !matches!(ret, Ret::Integer | Ret::Cpu | Ret::SizeOrErrno);
        let end = place.end.clone();
        match self.draw.below(8) {
            0 => {}
            1 if is_pointer => place.add(format!("if r0 != 0 goto {end}")),
            2..=5 if is_pointer => place.add(format!("if r0 == 0 goto {end}")),
            6 if is_pointer => {
                place.add(format!("if r0 == 0 goto {end}"));
                place.add("r0 = *(u32 *)(r0 + 0)");
            }
            2..=3 => place.add(format!("if r0 s> {} goto {end}", self.draw.below(16))),
            _ => {}
        }
    }

    /// Gives back some of what is held.
    fn give_back(&mut self, place: &mut Place) {
        for (at, ret) in std::mem::take(&mut place.results) {
            let (lines, helper): (&[&str], _) = match ret {
                Ret::RingbufRecordOrNull => (&["r2 = 0"], "ringbuf_discard"),
                Ret::SocketOrNull | Ret::SockCommonOrNull => (&[], "sk_release"),
                _ => continue,
            };
            if self.draw.one_in(4) {
                continue;
            }
            place.add(kept(at, 1));
            place.add(format!("if r1 == 0 goto +{}", 1 + lines.len()));
            place.code.extend(lines.iter().map(|line| line.to_string()));
            place.add(format!("call {helper}"));
        }
    }

    /// What goes well with an argument, most of the time.
    fn argument(&mut self, place: &Place, proto: &HelperProto, arg: Arg) -> Given {
        let (draw, host) = (&mut self.draw, self.host);
        let possible = |kind: &&'static Kind| {
            if place.is_first { host.has(kind) } else { kind.is_plain() }
        };
        if draw.one_in(25) {
            let kinds: Vec<&'static Kind> = KINDS.iter().filter(possible).collect();
            return Given::Made(kinds[draw.below(kinds.len())]);
        }
        let fitting: Vec<usize> =
            place.results.iter().filter(|r| fits(r.1, arg)).map(|r| r.0).collect();
        if !fitting.is_empty() && !draw.one_in(3) {
            return Given::Kept(*draw.pick(&fitting));
        }
        let is_memory = matches!(arg, Arg::MapKey | Arg::MapValue(_) | Arg::Mem { .. });
        if !place.given.is_empty() && is_memory && draw.one_in(3) {
            return Given::Register(*draw.pick(&place.given));
        }
        if arg == Arg::Map {
            return Given::Map(map_for(draw, proto));
        }
        let choices: &[&str] = match arg {
            Arg::CallbackCtx if !draw.one_in(4) => return Given::Register(9),
            _ if is_memory => &[
                "stack",
                "stack",
                "value",
                "stack, moved",
                "value, moved",
                "packet",
                "dynptr data",
            ],
            Arg::Size { .. } => &["8", "1 to 8", "up to 7", "1", "64"],
            Arg::AllocSize => &["8", "64", "0"],
            Arg::SpinLock => &["lock", "lock", "lock", "beside a lock"],
            Arg::Anything => &["0", "0", "1", "8", "up to 7", "any number"],
            _ => &[],
        };
        let name = if choices.is_empty() { right(arg) } else { *draw.pick(choices) };
        let kind = Kind::named(name);
        Given::Made(if possible(&kind) { kind } else { Kind::named("0") })
    }
}

/// Whether what a call gave goes well with an argument.
fn fits(ret: Ret, arg: Arg) -> bool {
    match arg {
        Arg::RingbufRecord => ret == Ret::RingbufRecordOrNull,
        Arg::SockCommon | Arg::Sock { .. } | Arg::SocketOrNull => {
            matches!(ret, Ret::SocketOrNull | Ret::SockCommonOrNull | Ret::TcpSockOrNull)
        }
        Arg::MapKey | Arg::MapValue(_) | Arg::Mem { .. } => {
            matches!(ret, Ret::MapValueOrNull | Ret::RingbufRecordOrNull | Ret::DynptrMemOrNull)
        }
        Arg::Map | Arg::SpinLock | Arg::Timer => ret == Ret::MapValueOrNull,
        Arg::Anything | Arg::Size { .. } => {
            matches!(ret, Ret::Integer | Ret::Cpu | Ret::SizeOrErrno)
        }
        _ => false,
    }
}
