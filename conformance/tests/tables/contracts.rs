//! What functions take, as their types say: for many declarations and types of programs the state
//! in which the kernel begins to verify the function, or its message.

use crate::bench::{Host, Types, refusal};
use ebpfvm_asm::text::{Dialect, assemble};
use ebpfvm_asm::{ByteOrder, Pc};
use ebpfvm_kernel::prog::{FuncRecord, LineRecord, log_level};
use ebpfvm_kernel::{Kernel, LoadRequest, MapRequest, linux_6_18_or_skip};
use ebpfvm_spec::btf::{BtfBuilder, Compound, Kind, Linkage, Param, TypeId};
use ebpfvm_spec::{AttachType, FuncInfo, LineInfo, MapType, Platform, ProgType, Program};
use ebpfvm_verifier::contract::{self, ArgContract, ContractError, Scope, Trust, contract};
use ebpfvm_verifier::{Options, verify};

/// A parameter: its type in the words below, and its tags.
#[derive(Clone, Copy, Debug)]
struct P(&'static str, &'static [&'static str]);

/// Builds a type from a word: `struct x`, `union x`, `fwd x`, `int`, `long`, `void`, `char[8]`,
/// `enum`, `float`, `u64`, `func`, with `*`, `const`, `typedef x` before it.
fn build(types: &mut Types, word: &str) -> TypeId {
    let name = |types: &mut Types, name: &str, kind| types.push(name, kind);
    if let Some(to) = word.strip_prefix("* ") {
        let to = build(types, to);
        return name(types, "", Kind::Ptr(to));
    }
    if let Some(to) = word.strip_prefix("const ") {
        let to = build(types, to);
        return name(types, "", Kind::Const(to));
    }
    if let Some(rest) = word.strip_prefix("typedef ") {
        let (alias, to) = rest.split_once(' ').unwrap();
        let to = build(types, to);
        return name(types, alias, Kind::Typedef(to));
    }
    let compound = |types: &mut Types, tag: &str, compound| {
        let kind = Kind::Compound { compound, bytes: 8, members: Default::default() };
        types.push(tag, kind)
    };
    match word.split_once(' ').unwrap_or((word, "")) {
        ("struct", tag) => compound(types, tag, Compound::Struct),
        ("union", tag) => compound(types, tag, Compound::Union),
        ("fwd", tag) => name(types, tag, Kind::Fwd(Compound::Struct)),
        ("enum", _) => {
            let a = types.builder.intern("A");
            let values = types.builder.span([ebpfvm_spec::btf::EnumValue { name: a, value: 1 }]);
            name(types, "e", Kind::Enum { is_64: false, bytes: 4, signed: false, values })
        }
        ("int", _) => types.int,
        ("long", _) => types.long,
        ("void", _) => TypeId::VOID,
        ("float", _) => name(types, "float", Kind::Float { bytes: 4 }),
        ("array", _) => {
            let int = types.int;
            types.array(int, 7)
        }
        ("func", _) => {
            let params = Default::default();
            name(types, "", Kind::FuncProto { ret: TypeId(1), params })
        }
        other => panic!("{other:?}"),
    }
}

struct Case {
    host: Host,
    ret: &'static str,
    params: &'static [P],
}

impl Case {
    fn what(&self) -> String {
        format!("{} {} f({:?})", self.host.prog_type.name(), self.ret, self.params)
    }
}

const fn case(prog_type: ProgType, params: &'static [P]) -> Case {
    Case { host: Host::new(prog_type), ret: "int", params }
}

fn cases() -> Vec<Case> {
    use ProgType as T;
    const CTX: &[&str] = &["arg:ctx"];
    const NONE: &[&str] = &[];
    let mut all = vec![
        case(T::SchedCls, &[P("int", NONE), P("long", NONE), P("enum", NONE)]),
        case(T::SchedCls, &[]),
        case(T::SchedCls, &[P("const typedef number const int", NONE)]),
        case(T::SchedCls, &[P("* int", NONE)]),
        case(T::SchedCls, &[P("* const int", NONE), P("* array", &["arg:nonnull"])]),
        case(T::SchedCls, &[P("* * int", NONE), P("* typedef p * int", NONE)]),
        case(T::SchedCls, &[P("* struct x", NONE), P("* union x", &["arg:nonnull"])]),
        case(T::SchedCls, &[P("* void", NONE)]),
        case(T::SchedCls, &[P("* const void", NONE)]),
        case(T::SchedCls, &[P("* fwd x", NONE)]),
        case(T::SchedCls, &[P("* func", NONE)]),
        case(T::SchedCls, &[P("* enum", NONE), P("* float", NONE)]),
        case(T::SchedCls, &[P("struct x", NONE)]),
        case(T::SchedCls, &[P("int", NONE), P("float", NONE)]),
        case(T::SchedCls, &[P("int", &["arg:nonnull"])]),
        case(T::SchedCls, &[P("int", CTX)]),
        case(T::SchedCls, &[P("* int", &["arg:nullable"])]),
        case(T::SchedCls, &[P("* int", &["arg:nonnull", "arg:nonnull"])]),
        case(T::SchedCls, &[P("* int", &["arg:strange"])]),
        case(T::SchedCls, &[P("* int", &["other"])]),
        case(T::SchedCls, &[P("* struct bpf_dynptr", NONE), P("* const fwd bpf_dynptr", NONE)]),
        case(T::SchedCls, &[P("* struct bpf_dynptr", &["arg:nonnull"])]),
        case(T::SchedCls, &[P("* union bpf_dynptr", NONE)]),
        case(T::SchedCls, &[P("* void", &["arg:arena"]), P("* int", &["arg:arena"])]),
        case(T::SchedCls, &[P("* void", &["arg:arena", "arg:nonnull"])]),
        case(T::SchedCls, &[P("* struct task_struct", &["arg:trusted"])]),
        case(T::SchedCls, &[P("* const struct task_struct___x", &["arg:trusted", "arg:nullable"])]),
        case(T::SchedCls, &[P("* struct task_struct", &["arg:trusted", "arg:nonnull"])]),
        case(T::SchedCls, &[P("* struct task_struct", &["arg:untrusted"])]),
        case(T::SchedCls, &[P("* struct task_struct", &["arg:untrusted", "arg:nullable"])]),
        case(T::SchedCls, &[P("* int", &["arg:untrusted"]), P("* void", &["arg:untrusted"])]),
        case(T::SchedCls, &[P("* enum", &["arg:untrusted"])]),
        case(T::SchedCls, &[P("* struct __sk_buff", NONE), P("* const struct sk_buff", NONE)]),
        case(T::SchedCls, &[P("* typedef c struct __sk_buff", NONE), P("* union __sk_buff", NONE)]),
        case(T::SchedCls, &[P("* fwd __sk_buff", NONE)]),
        case(T::SchedCls, &[P("* struct __sk_buff", &["arg:nonnull"])]),
        case(T::SchedCls, &[P("* struct __sk_buff", &["arg:ctx", "arg:nonnull"])]),
        case(T::SchedCls, &[P("* struct __sk_buff", CTX), P("* void", CTX)]),
        case(T::SchedCls, &[P("* struct sk_buff", CTX)]),
        case(T::SchedCls, &[P("* struct xdp_md", CTX)]),
        case(T::SchedCls, &[P("* fwd __sk_buff", CTX)]),
        case(T::SchedCls, &[P("* * void", CTX)]),
        case(T::SchedCls, &[P("* long", CTX)]),
        case(T::Xdp, &[P("* struct xdp_md", NONE), P("* struct xdp_buff", NONE)]),
        case(T::Xdp, &[P("* struct __sk_buff", NONE)]),
        case(T::Xdp, &[P("* struct xdp_buff", CTX)]),
    ];
    let contexts: &[&[P]] = &[
        &[P("* struct pt_regs", NONE)],
        &[P("* struct user_pt_regs", NONE)],
        &[P("* const typedef bpf_user_pt_regs_t struct pt_regs", NONE)],
        &[P("* typedef bpf_user_pt_regs_t int", NONE)],
        &[P("* typedef bpf_user_pt_regs_t int", CTX)],
        &[P("* typedef other typedef bpf_user_pt_regs_t int", CTX)],
        &[P("* struct pt_regs", CTX)],
        &[P("* struct user_pt_regs", CTX)],
        &[P("* struct bpf_perf_event_data", NONE)],
        &[P("* struct bpf_perf_event_data", CTX)],
        &[P("* struct bpf_raw_tracepoint_args", NONE)],
        &[P("* struct bpf_raw_tracepoint_args", CTX)],
        &[P("* struct bpf_sock", NONE)],
        &[P("* struct bpf_sock", CTX)],
        &[P("* struct bpf_sock_addr", NONE)],
        &[P("* struct bpf_sock_ops", NONE)],
        &[P("* struct bpf_sockopt", NONE)],
        &[P("* struct bpf_sysctl", NONE)],
        &[P("* struct bpf_cgroup_dev_ctx", NONE)],
        &[P("* struct sk_msg_md", NONE)],
        &[P("* struct sk_reuseport_md", NONE)],
        &[P("* struct bpf_sk_lookup", NONE)],
        &[P("* struct bpf_nf_ctx", NONE)],
        &[P("* struct __u64", NONE)],
        &[P("* long", NONE)],
        &[P("* long", CTX)],
        &[P("* int", CTX)],
        &[P("* void", CTX)],
        &[P("* struct anything", CTX)],
        &[P("* struct __sk_buff", NONE)],
        &[P("* struct xdp_md", CTX)],
    ];
    let hosts = [
        Host::new(T::SocketFilter),
        Host::new(T::Xdp),
        Host::new(T::Kprobe),
        Host::new(T::PerfEvent),
        Host::new(T::Tracepoint),
        Host::new(T::RawTracepoint),
        Host::new(T::RawTracepointWritable),
        Host::new(T::Syscall),
        Host::new(T::SockOps),
        Host::new(T::SkMsg),
        Host::new(T::SkSkb),
        Host::new(T::FlowDissector),
        Host::new(T::LwtXmit),
        Host::new(T::CgroupDevice),
        Host::new(T::CgroupSysctl),
        Host::at(T::CgroupSock, AttachType::CGROUP_INET_SOCK_CREATE),
        Host::at(T::CgroupSockAddr, AttachType::CGROUP_INET4_BIND),
        Host::at(T::CgroupSockopt, AttachType::CGROUP_GETSOCKOPT),
        Host::at(T::SkLookup, AttachType::SK_LOOKUP),
        Host::at(T::SkReuseport, AttachType::SK_REUSEPORT_SELECT),
        Host::at(T::Netfilter, AttachType::NETFILTER),
    ];
    for host in hosts {
        all.extend(contexts.iter().map(|params| Case { host, ret: "int", params }));
    }
    for ret in ["long", "enum", "typedef t const int", "void", "* int", "struct x", "float"] {
        all.push(Case { host: Host::new(T::SchedCls), ret, params: &[P("int", NONE)] });
    }
    let six = &[P("int", NONE); 6];
    all.push(Case { host: Host::new(T::SchedCls), ret: "int", params: six });
    all
}

/// A main function and `f`, with the tags.
fn declare(case: &Case, linkage: Linkage) -> (Types, TypeId, TypeId) {
    let mut types = Types::new();
    let void = TypeId::VOID;
    let pointer = types.push("", Kind::Ptr(void));
    let int = types.int;
    let main = function(&mut types, "main", int, &[pointer], Linkage::Global);
    let ret = build(&mut types, case.ret);
    let params: Vec<TypeId> = case.params.iter().map(|p| build(&mut types, p.0)).collect();
    let f = function(&mut types, "f", ret, &params, linkage);
    for (i, P(_, tags)) in case.params.iter().enumerate() {
        for tag in *tags {
            let component = Some(i as u32);
            types.push(tag, Kind::DeclTag { type_id: f, component, attribute: false });
        }
    }
    (types, main, f)
}

fn function(
    types: &mut Types,
    name: &str,
    ret: TypeId,
    params: &[TypeId],
    linkage: Linkage,
) -> TypeId {
    let named = |(i, type_id): (usize, &TypeId), builder: &mut BtfBuilder| Param {
        name: builder.intern(&format!("arg{i}")),
        type_id: *type_id,
    };
    let params: Vec<Param> =
        params.iter().enumerate().map(|p| named(p, &mut types.builder)).collect();
    let params = types.builder.span(params);
    let proto = types.push("", Kind::FuncProto { ret, params });
    types.push(name, Kind::Func { proto, linkage })
}

/// Calls `f` with arguments that it takes, or anything if it has no contract.
fn text(contract: &Result<contract::Contract, ContractError>, map: i32, args: usize) -> String {
    let mut text = String::from("r6 = r1\n");
    let has_dynptr =
        contract.as_ref().is_ok_and(|contract| contract.args.contains(&ArgContract::Dynptr));
    if has_dynptr {
        text +=
            &format!("r1 = map[fd:{map}][0]+0\nr2 = 8\nr3 = 0\nr4 = r10\nr4 += -16\ncall 197\n");
    }
    text += "*(u64 *)(r10 - 64) = 0\n*(u64 *)(r10 - 56) = 0\n\
             *(u64 *)(r10 - 48) = 0\n*(u64 *)(r10 - 40) = 0\n";
    for arg in 1..=args.min(5) {
        let given = contract.as_ref().map_or(&ArgContract::Scalar, |c| &c.args[arg - 1]);
        text += &match given {
            ArgContract::Ctx => format!("r{arg} = r6\n"),
            ArgContract::Mem { .. } => format!("r{arg} = r10\nr{arg} += -64\n"),
            ArgContract::Dynptr => format!("r{arg} = r10\nr{arg} += -16\n"),
            _ => format!("r{arg} = 0\n"),
        };
    }
    text + "call pc+2\nr0 = 1\nexit\nr0 = 1\nexit\n"
}

/// How the kernel shows an argument when it begins to verify the function.
fn shown(arg: &ArgContract) -> String {
    match arg {
        ArgContract::Scalar | ArgContract::Arena => "scalar()".into(),
        ArgContract::Ctx => "ctx()".into(),
        ArgContract::Mem { bytes, nullable: true } => format!("mem_or_null(id=,sz={bytes})"),
        ArgContract::Mem { bytes, nullable: false } => format!("mem(sz={bytes})"),
        ArgContract::UntrustedMem => "rdonly_untrusted_mem(sz=0)".into(),
        ArgContract::Dynptr => "dynptr_ptr(id=,type=local)".into(),
        ArgContract::Kernel { name, trust, nullable, .. } => {
            let trust = if *trust == Trust::Trusted { "trusted" } else { "untrusted" };
            let null = if *nullable { "or_null_" } else { "" };
            format!("{trust}_ptr_{null}{name}(id=)")
        }
    }
}

/// The state of argument `r` in the line after `Validating f()`.
fn state(log: &str, r: usize) -> Option<String> {
    let line = log.lines().skip_while(|line| !line.starts_with("Validating f()")).nth(1)?;
    let (_, after) = line.split_once(&format!(" R{r}="))?;
    let end = after.find(')')? + 1;
    let state = &after[..end];
    // Ids are given in order of creation.
    let mut text = String::new();
    let mut rest = state;
    while let Some((before, after)) = rest.split_once("id=") {
        text += before;
        text += "id=";
        rest = after.trim_start_matches(|c: char| c.is_ascii_digit());
    }
    Some(text + rest)
}

/// The log of a load at level 2.
fn log(kernel: &Kernel, case: &Case, types: &Types, funcs: &[FuncRecord], text: &str) -> String {
    let code = assemble(text, Dialect::PseudoC).unwrap_or_else(|e| panic!("{e}\n{text}"));
    let bytes = code.to_bytes(ByteOrder::HOST).unwrap();
    let btf = types.load(kernel);
    let request = LoadRequest {
        log_level: log_level::FULL,
        expected_attach_type: case.host.attach,
        flags: case.host.flags,
        btf: Some(&btf),
        func_info: funcs,
        ..LoadRequest::new(case.host.prog_type, &bytes)
    };
    match kernel.prog_load(&request) {
        Ok(prog) => prog.log().to_string(),
        Err(error) => error.log,
    }
}

fn slots(text: &str) -> u32 {
    assemble(text, Dialect::PseudoC).unwrap().to_bytes(ByteOrder::HOST).unwrap().len() as u32 / 8
}

#[test]
fn global_functions_take_what_the_kernel_thinks() {
    let test = "global_functions_take_what_the_kernel_thinks";
    let Some(kernel) = linux_6_18_or_skip(test) else { return };
    let platform = Platform::linux();
    let map = kernel.map_create(&MapRequest::new(MapType::Array, 4, 64, 1)).unwrap();
    // Types that are not configured do not load.
    let loads = |host: Host| refusal(&kernel, host, "r0 = 1\nexit\n").is_none();
    let (mut wrong, mut asked) = (Vec::new(), 0);
    for case in cases() {
        if !loads(case.host) {
            ebpfvm_kernel::report_skip(test, case.host.prog_type.name());
            continue;
        }
        let (types, main, f) = declare(&case, Linkage::Global);
        let context = platform.context_types(case.host.prog_type);
        let host = contract::Host { context: &context, attach_type: case.host.attach };
        let contract = contract(types.builder.so_far(), f, host, Scope::Global);
        let text = text(&contract, map.fd(), case.params.len());
        let funcs = [
            FuncRecord { insn_offset: 0, type_id: main.0 },
            FuncRecord { insn_offset: slots(&text) - 2, type_id: f.0 },
        ];
        let log = log(&kernel, &case, &types, &funcs, &text);
        asked += 1;
        let what = case.what();
        match contract {
            Ok(contract) => {
                for (i, arg) in contract.args.iter().enumerate() {
                    let (found, expected) = (state(&log, i + 1), shown(arg));
                    // What the caller gives cannot be a kernel object: the call is refused.
                    let refused = found.is_none() && log.contains("Caller passes invalid args");
                    let kernel_type = arg.needs_kernel_types();
                    if found.as_ref() != Some(&expected) && !(refused && kernel_type) {
                        wrong.push(format!("{what}: {i}: {expected}, kernel {found:?}\n{log}"));
                    }
                }
            }
            Err(error) => {
                let message = error.to_string();
                if message.is_empty() || !log.lines().any(|line| line == message) {
                    wrong.push(format!("{what}: {message}\n{log}"));
                }
            }
        }
    }
    println!("{asked} declarations");
    let shown: Vec<&str> = wrong.iter().take(12).map(String::as_str).collect();
    assert!(wrong.is_empty(), "{} of {asked}:\n{}", wrong.len(), shown.join("\n"));
}

/// Of a static function only messages are seen: the caller's values are followed into it anyway.
#[test]
fn static_functions_bring_the_kernels_messages() {
    let test = "static_functions_bring_the_kernels_messages";
    let Some(kernel) = linux_6_18_or_skip(test) else { return };
    let platform = Platform::linux();
    let map = kernel.map_create(&MapRequest::new(MapType::Array, 4, 64, 1)).unwrap();
    // Said of the main function, whose argument is declared as no context.
    const MAIN: &str = "arg#0 reference type('UNKNOWN ') size cannot be determined: -22";
    let (mut wrong, mut silent) = (Vec::new(), 0);
    for case in cases().iter().filter(|case| case.host.prog_type == ProgType::SchedCls) {
        let (types, main, f) = declare(case, Linkage::Static);
        let context = platform.context_types(case.host.prog_type);
        let host = contract::Host { context: &context, attach_type: case.host.attach };
        let contract = contract(types.builder.so_far(), f, host, Scope::Static);
        let text = text(&contract, map.fd(), case.params.len());
        let funcs = [
            FuncRecord { insn_offset: 0, type_id: main.0 },
            FuncRecord { insn_offset: slots(&text) - 2, type_id: f.0 },
        ];
        let log = log(&kernel, case, &types, &funcs, &text);
        let about = |line: &&str| {
            let starts = ["arg#", "Arg#", "Global", "R1 is not", "R2 is not"];
            starts.iter().any(|start| line.starts_with(start)) && *line != MAIN
        };
        let found: Vec<&str> = log.lines().filter(about).collect();
        let expected = match contract {
            Ok(_) => String::new(),
            Err(error) => error.to_string(),
        };
        silent += usize::from(expected.is_empty());
        let same = match found.as_slice() {
            [] => expected.is_empty(),
            [line] => *line == expected,
            _ => false,
        };
        if !same {
            wrong.push(format!("{}: {expected:?}, kernel {found:?}", case.what()));
        }
    }
    assert!(silent > 10, "{silent}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What the verifier says of code with these functions and lines: the message, empty if it accepts.
fn said(types: &Types, text: &str, funcs: &[(u32, TypeId)], lines: &[u32]) -> String {
    let code = assemble(text, Dialect::PseudoC).unwrap();
    let mut program = Program::from_code("main", ProgType::SocketFilter, code);
    let func = |(slot, type_id): &(u32, TypeId)| FuncInfo {
        start: Pc(*slot),
        name: format!("f{slot}"),
        type_id: Some(*type_id),
        is_global: *slot == 0,
    };
    program.funcs = funcs.iter().map(func).collect();
    let line = |slot: &u32| LineInfo {
        pc: Pc(*slot),
        file: "file.c".into(),
        text: "file.c".into(),
        line: 1,
        column: 0,
    };
    program.lines = lines.iter().map(line).collect();
    program.btf = Some(types.builder.so_far().clone().into());
    let judgement = verify(program, &Platform::linux(), &Options::default());
    judgement.verdict.err().map(|rejection| rejection.reason.to_string()).unwrap_or_default()
}

/// A main function, one that it calls, and a load of 16 bytes in the main function.
const TWO: &str = "r0 = 5 ll\ncall pc+1\nexit\nr0 = 1\nexit\n";
const TWO_STARTS: [u32; 2] = [0, 4];

#[test]
fn records_of_functions_are_judged_as_in_the_kernel() {
    let test = "records_of_functions_are_judged_as_in_the_kernel";
    let Some(kernel) = linux_6_18_or_skip(test) else { return };
    let case = case(ProgType::SocketFilter, &[]);
    let mut types = Types::new();
    let (int, pointer) = (types.int, types.push("", Kind::Ptr(TypeId::VOID)));
    let main = function(&mut types, "main", int, &[pointer], Linkage::Global);
    let f = function(&mut types, "f", int, &[], Linkage::Static);
    let nothing = function(&mut types, "g", TypeId::VOID, &[], Linkage::Static);
    let legacy = "r0 = 5 ll\ncall pc+1\nexit\nr6 = r1\nr0 = *(u8 *)skb[0]\nexit\n";
    let lists: &[&[(u32, TypeId)]] = &[
        &[(0, main), (4, f)],
        &[(0, main), (4, nothing)],
        &[(1, main), (4, f)],
        &[(0, main), (0, f)],
        &[(0, main), (4, int)],
        &[(0, main), (4, TypeId(0))],
        &[(0, main), (4, TypeId(999))],
        &[(0, main)],
        &[(0, main), (3, f)],
        &[(0, main), (4, f), (5, f)],
        &[],
    ];
    let mut wrong = Vec::new();
    for (text, starts, has_legacy_load) in [(TWO, TWO_STARTS, false), (legacy, TWO_STARTS, true)] {
        for list in lists {
            let records: Vec<contract::FuncRecord> = list
                .iter()
                .map(|(slot, type_id)| contract::FuncRecord { slot: *slot, type_id: *type_id })
                .collect();
            let subprogs: Vec<contract::SubprogFacts> = starts
                .iter()
                .map(|start| contract::SubprogFacts {
                    start: *start,
                    has_legacy_load: has_legacy_load && *start != 0,
                    has_tail_call: false,
                })
                .collect();
            let btf = types.builder.so_far();
            let expected = contract::check_func_info(btf, &records)
                .and_then(|()| contract::check_func_layout(Some(btf), &records, &subprogs))
                .map_err(|e| e.to_string());
            let funcs: Vec<FuncRecord> = list
                .iter()
                .map(|(slot, id)| FuncRecord { insn_offset: *slot, type_id: id.0 })
                .collect();
            let log = log(&kernel, &case, &types, &funcs, text);
            let agrees = match &expected {
                Ok(()) => log.contains("Live regs before insn"),
                Err(message) => log.contains(message.as_str()),
            };
            if !agrees {
                wrong.push(format!("{list:?}: {expected:?}\n{log}"));
            }
            let said = said(&types, text, list, &[]);
            if said != expected.as_ref().err().cloned().unwrap_or_default() {
                wrong.push(format!("{list:?}: {expected:?}, but verify says '{said}'"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn records_of_lines_are_judged_as_in_the_kernel() {
    let test = "records_of_lines_are_judged_as_in_the_kernel";
    let Some(kernel) = linux_6_18_or_skip(test) else { return };
    let mut types = Types::new();
    let (int, pointer) = (types.int, types.push("", Kind::Ptr(TypeId::VOID)));
    let main = function(&mut types, "main", int, &[pointer], Linkage::Global);
    let f = function(&mut types, "f", int, &[], Linkage::Static);
    let file = types.builder.intern("file.c");
    let btf = types.load(&kernel);
    let code = assemble(TWO, Dialect::PseudoC).unwrap().to_bytes(ByteOrder::HOST).unwrap();
    let funcs = TWO_STARTS
        .iter()
        .zip([main, f])
        .map(|(slot, id)| FuncRecord { insn_offset: *slot, type_id: id.0 })
        .collect::<Vec<_>>();
    let subprogs = TWO_STARTS.map(|start| contract::SubprogFacts {
        start,
        has_legacy_load: false,
        has_tail_call: false,
    });
    let lists: &[&[u32]] = &[
        &[0, 4],
        &[0, 2, 3, 4, 5],
        &[],
        &[0],
        &[4],
        &[2, 4],
        &[0, 4, 4],
        &[0, 4, 3],
        &[0, 1, 4],
        &[0, 4, 6],
        &[0, 5],
        &[0, 2],
        &[1000],
    ];
    let mut wrong = Vec::new();
    for list in lists {
        for names in [true, false] {
            let at = |slot: &u32| contract::LineRecord { slot: *slot, has_names: names };
            let lines: Vec<contract::LineRecord> = list.iter().map(at).collect();
            let expected =
                contract::check_line_info(&lines, &subprogs, code.len() as u32 / 8, |s| s != 1);
            let records: Vec<LineRecord> = list
                .iter()
                .map(|slot| LineRecord {
                    insn_offset: *slot,
                    file_name_offset: if names { file.0 } else { u32::MAX },
                    line_offset: file.0,
                    line_column: 1024,
                })
                .collect();
            let request = LoadRequest {
                log_level: log_level::PATH,
                btf: Some(&btf),
                func_info: &funcs,
                line_info: &records,
                ..LoadRequest::new(ProgType::SocketFilter, &code)
            };
            let found = kernel.prog_load(&request).map(drop).map_err(|e| e.log);
            let agrees = match (&expected, &found) {
                (Ok(()), Ok(())) => true,
                (Err(message), Err(log)) => log.contains(&message.to_string()),
                _ => false,
            };
            if !agrees {
                wrong.push(format!("{list:?}: {expected:?}, {found:?}"));
            }
            // A program of ours has names, not offsets that may be wrong.
            let said = names.then(|| said(&types, TWO, &[(0, main), (4, f)], list));
            let message = expected.err().map(|e| e.to_string()).unwrap_or_default();
            if said.as_ref().is_some_and(|said| *said != message) {
                wrong.push(format!("{list:?}: '{message}', but verify says {said:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
