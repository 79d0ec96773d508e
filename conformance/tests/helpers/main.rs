//! Helpers do here what they do in the kernel.
//!
//! The cases in `cases.txt` run on this machine and on the kernel. What the kernel gave is in
//! `expected.txt`, so that machines without access to the kernel check it as well; the variable
//! `EBPFVM_BLESS=1` writes it anew.

mod allowed;
mod case;
mod kernel;
mod machine;
mod random;

use case::{Case, Outcome};
use ebpfvm::helper::{self, Helper};
use ebpfvm_asm::{CallTarget, Code, Insn};
use ebpfvm_kernel::linux_6_18_or_skip;
use ebpfvm_loader::Object;
use ebpfvm_spec::HelperProto;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/helpers").join(name)
}

fn read(name: &str) -> String {
    std::fs::read_to_string(file(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// Outcomes by name of the case.
fn parse_expected(text: &str) -> BTreeMap<String, String> {
    let parts = text.split("\n=== ").skip(1);
    let pairs = parts.filter_map(|part| part.split_once('\n'));
    pairs.map(|(name, outcome)| (name.into(), outcome.trim().into())).collect()
}

fn render(outcomes: &[(String, Outcome)]) -> String {
    let mut text = "# What Linux gave for the cases in cases.txt.\n\n".to_string();
    for (name, outcome) in outcomes {
        let _ = writeln!(text, "=== {name}\n{outcome}");
    }
    text
}

#[test]
fn helpers_do_what_the_kernel_does() {
    let cases = Case::parse_all(&read("cases.txt"));
    let expected = parse_expected(&read("expected.txt"));
    let mut wrong = Vec::new();
    for case in &cases {
        let got = machine::run(case).map_or_else(|e| e, |outcome| outcome.to_string());
        let got = got.trim();
        match expected.get(&case.name) {
            Some(expected) if expected == got => {}
            Some(expected) => wrong.push(difference(case, expected, got)),
            None => wrong.push(format!("{}: nothing expected; got\n{got}", case.name)),
        }
    }
    assert!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
    assert_eq!(expected.len(), cases.len(), "expected.txt has cases that cases.txt has not");
}

/// The lines in which two outcomes differ.
fn difference(case: &Case, expected: &str, got: &str) -> String {
    let mut text = format!("{}:\n", case.name);
    let (mut expected, mut got) = (expected.lines(), got.lines());
    loop {
        match (expected.next(), got.next()) {
            (None, None) => return text,
            (a, b) if a == b => {}
            (a, b) => {
                let (a, b) = (a.unwrap_or("nothing"), b.unwrap_or("nothing"));
                let _ = writeln!(text, "  the kernel: {a}\n  here:       {b}");
            }
        }
    }
}

#[test]
fn the_expected_outcomes_are_the_kernels() {
    let cases = Case::parse_all(&read("cases.txt"));
    let name = "the_expected_outcomes_are_the_kernels";
    let Some(kernel) = linux_6_18_or_skip(name) else { return };
    let run = |case: &Case| (case.name.clone(), kernel::run(&kernel, case));
    let (good, bad): (Vec<_>, Vec<_>) = cases.iter().map(run).partition(|(_, r)| r.is_ok());
    let bad: Vec<String> = bad.iter().map(|(name, e)| format!("{name}: {e:?}")).collect();
    assert!(bad.is_empty(), "the kernel does not run:\n{}", bad.join("\n"));
    let outcomes: Vec<_> = good.into_iter().filter_map(|(n, r)| Some((n, r.ok()?))).collect();
    let text = render(&outcomes);
    if std::env::var_os("EBPFVM_BLESS").is_some() {
        std::fs::write(file("expected.txt"), text).unwrap();
        return;
    }
    assert!(text == read("expected.txt"), "expected.txt differs; EBPFVM_BLESS=1 writes it anew");
}

/// Helpers whose results the host gives or that act on the host; `vm/tests/helpers.rs` and
/// `vm/tests/tracing_helpers.rs` call them.
const HOSTED: &[&str] = &[
    "ktime_get_ns",
    "ktime_get_boot_ns",
    "ktime_get_tai_ns",
    "ktime_get_coarse_ns",
    "jiffies64",
    "get_prandom_u32",
    "get_smp_processor_id",
    "get_current_pid_tgid",
    "get_current_uid_gid",
    "get_current_comm",
    "get_current_cgroup_id",
    "skb_cgroup_id",
    "skb_ancestor_cgroup_id",
    // Of program types without a test-run.
    "get_retval",
    "set_retval",
    "sysctl_get_name",
    "sysctl_get_current_value",
    "sysctl_get_new_value",
    "sysctl_set_new_value",
    // As these: `vm/tests/segments.rs` calls them.
    "lwt_seg6_store_bytes",
    "lwt_seg6_adjust_srh",
    "lwt_seg6_action",
    // Sockets: `conformance/tests/sockets` compares what a test-run can call, `vm/tests/sockets.rs`
    // calls the rest.
    "sk_lookup_tcp",
    "sk_lookup_udp",
    "skc_lookup_tcp",
    "sk_release",
    "sk_assign",
    "sk_select_reuseport",
    "sk_fullsock",
    "tcp_sock",
    "get_listener_sock",
    "get_socket_cookie",
    "get_socket_uid",
    "sk_cgroup_id",
    "sk_ancestor_cgroup_id",
    "setsockopt",
    "getsockopt",
    "sock_ops_cb_flags_set",
    "bind",
    "sock_map_update",
    "sock_hash_update",
    "sk_redirect_map",
    "sk_redirect_hash",
    "msg_redirect_map",
    "msg_redirect_hash",
    "msg_apply_bytes",
    "msg_cork_bytes",
    "msg_pull_data",
    "msg_push_data",
    "msg_pop_data",
    "load_hdr_opt",
    "store_hdr_opt",
    "reserve_hdr_opt",
    "tcp_check_syncookie",
    "tcp_gen_syncookie",
    "get_current_ancestor_cgroup_id",
    "get_ns_current_pid_tgid",
    "current_task_under_cgroup",
    "get_stack",
    "get_stackid",
    "get_func_ip",
    "get_attach_cookie",
    // Storages belong to sockets and cgroups that a test-run makes anew, and so do the cgroups of its
    // packet; what the host puts into user ring buffers is its own. `vm/tests/storage_helpers.rs`
    // calls these.
    "sk_storage_get",
    "sk_storage_delete",
    "get_local_storage",
    "skb_under_cgroup",
    "user_ringbuf_drain",
    // The same code as probe_read_user, for programs that may sleep.
    "copy_from_user",
    // The same code as probe_read_kernel and its form for strings, for types without a test-run.
    "probe_read",
    "probe_read_str",
];

/// The helpers that a program calls.
fn helpers_called(code: &Code) -> Vec<u32> {
    let helper = |(_, insn): (_, &Insn)| match insn {
        Insn::Call { target: CallTarget::Helper(id) } => Some(*id),
        _ => None,
    };
    code.iter().filter_map(helper).collect()
}

/// The programs that call helpers with functions, and with what only functions have; the tests of
/// objects compare them with the kernel (`tests/objects`).
fn programs_of_objects() -> impl Iterator<Item = Code> {
    ["objects/callbacks", "objects/dynptrs", "objects/timers", "projects/locks"]
        .into_iter()
        .flat_map(|name| {
            let path = file(&format!("../../{name}.bpf.o"));
            let bytes = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            let object = Object::parse(&bytes, name).unwrap_or_else(|e| panic!("{e}"));
            let names: Vec<String> = object.programs().iter().map(|p| p.name.clone()).collect();
            let link = move |name: String| object.link(&name).unwrap_or_else(|e| panic!("{e}"));
            names.into_iter().map(link).map(|program| program.code).collect::<Vec<_>>()
        })
}

#[test]
fn every_helper_has_a_case() {
    let mut called = std::collections::BTreeSet::new();
    for case in Case::parse_all(&read("cases.txt")) {
        called.extend(helpers_called(&case.code()));
    }
    for code in programs_of_objects() {
        called.extend(helpers_called(&code));
    }
    let is_wrong =
        |proto: &HelperProto| !called.contains(&proto.id) && !HOSTED.contains(&&*proto.name);
    let protos: Vec<HelperProto> = helper::linux().map(|Helper { proto, .. }| proto).collect();
    let wrong: Vec<&str> = protos.iter().filter(|p| is_wrong(p)).map(|p| &*p.name).collect();
    assert_eq!(wrong, [""; 0], "one case, or a reason");
}
