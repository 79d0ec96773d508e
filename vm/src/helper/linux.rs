//! Linux's helpers: which code belongs to which prototype.

use super::{
    Call, Helper, HelperCode, Shortcut, call, callback, cgroup, checksum, dynptr, fib, host, lock,
    lwt, maps, mtu, output, packet_cgroup, print, probe, redirect, result, seg6, skb, skb_shape,
    sock, sock_find, sock_map, sock_options, stack, storage, string, syncookie, tail_call, task,
    tcp_options, timer, tunnel, user_ringbuf, xdp,
};
use crate::trap::TrapKind;
use ebpfvm_spec::linux::HELPERS;
use ebpfvm_spec::{HelperProto, ProgTypeSet};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Pairs names of prototypes with code.
macro_rules! code {
    ($($name:literal => $code:path,)*) => {
        fn code() -> impl Iterator<Item = (&'static str, Arc<HelperCode>)> {
            [$((
                $name,
                Arc::new(|call: &mut Call<'_, '_>| result($code(call))) as Arc<HelperCode>,
            ),)*]
            .into_iter()
        }
    };
}

code! {
    "map_lookup_elem" => maps::lookup,
    "map_update_elem" => maps::update,
    "map_delete_elem" => maps::delete,
    "map_lookup_percpu_elem" => maps::lookup_percpu,
    "map_push_elem" => maps::push,
    "map_pop_elem" => maps::pop,
    "map_peek_elem" => maps::peek,
    "spin_lock" => lock::lock,
    "spin_unlock" => lock::unlock,
    "loop" => callback::call_loop,
    "timer_init" => timer::init,
    "timer_set_callback" => timer::set_callback,
    "timer_start" => timer::start,
    "timer_cancel" => timer::cancel,
    "for_each_map_elem" => callback::for_each,
    "ktime_get_ns" => host::ktime_get,
    "ktime_get_boot_ns" => host::ktime_get_boot,
    "ktime_get_tai_ns" => host::ktime_get_tai,
    "ktime_get_coarse_ns" => host::ktime_get_coarse,
    "jiffies64" => host::jiffies,
    "get_prandom_u32" => host::prandom,
    "get_smp_processor_id" => host::cpu,
    "get_numa_node_id" => host::numa_node,
    "get_current_pid_tgid" => host::pid_tgid,
    "get_current_uid_gid" => host::uid_gid,
    "get_current_comm" => host::comm,
    "get_current_cgroup_id" => host::cgroup_id,
    "sk_storage_get" => storage::sk_get,
    "sk_storage_delete" => storage::sk_delete,
    "get_local_storage" => storage::cgroup,
    "get_route_realm" => host::route_realm,
    "check_mtu" => mtu::check,
    "trace_printk" => print::trace_printk,
    "trace_vprintk" => print::trace_vprintk,
    "snprintf" => print::snprintf,
    "strtol" => string::strtol,
    "strtoul" => string::strtoul,
    "strncmp" => string::strncmp,
    "probe_read" => probe::read,
    "probe_read_str" => probe::read_str,
    "probe_read_kernel" => probe::read_kernel,
    "probe_read_kernel_str" => probe::read_kernel_str,
    "probe_read_user" => probe::read_user,
    "probe_read_user_str" => probe::read_user_str,
    "copy_from_user" => probe::copy_from_user,
    "get_stack" => stack::get_stack,
    "get_stackid" => stack::get_stackid,
    "get_ns_current_pid_tgid" => task::ns_pid_tgid,
    "get_current_ancestor_cgroup_id" => task::ancestor_cgroup_id,
    "current_task_under_cgroup" => task::under_cgroup,
    "get_func_ip" => task::func_ip,
    "get_attach_cookie" => task::attach_cookie,
    "tail_call" => tail_call::tail_call,
    "csum_diff" => checksum::diff,
    "csum_update" => checksum::update,
    "csum_level" => checksum::level,
    "l3_csum_replace" => checksum::l3_replace,
    "l4_csum_replace" => checksum::l4_replace,
    "skb_load_bytes" => skb::load_bytes,
    "skb_load_bytes_relative" => skb::load_bytes_relative,
    "skb_store_bytes" => skb::store_bytes,
    "skb_pull_data" => skb::pull_data,
    "skb_change_type" => skb::change_type,
    "get_hash_recalc" => skb::get_hash,
    "set_hash_invalid" => skb::set_hash_invalid,
    "set_hash" => skb::set_hash,
    "skb_set_tstamp" => skb::set_tstamp,
    "skb_ecn_set_ce" => skb::ecn_set_ce,
    "skb_vlan_push" => skb_shape::vlan_push,
    "skb_vlan_pop" => skb_shape::vlan_pop,
    "skb_change_head" => skb_shape::change_head,
    "skb_change_tail" => skb_shape::change_tail,
    "skb_change_proto" => skb_shape::change_proto,
    "skb_adjust_room" => skb_shape::adjust_room,
    "xdp_adjust_head" => xdp::adjust_head,
    "xdp_adjust_tail" => xdp::adjust_tail,
    "xdp_adjust_meta" => xdp::adjust_meta,
    "xdp_get_buff_len" => xdp::buff_len,
    "xdp_load_bytes" => xdp::load_bytes,
    "xdp_store_bytes" => xdp::store_bytes,
    "get_retval" => cgroup::get_retval,
    "set_retval" => cgroup::set_retval,
    "sysctl_get_name" => cgroup::sysctl_name,
    "sysctl_get_current_value" => cgroup::sysctl_current,
    "sysctl_get_new_value" => cgroup::sysctl_new,
    "sysctl_set_new_value" => cgroup::sysctl_set_new,
    "fib_lookup" => fib::lookup,
    "skb_get_tunnel_key" => tunnel::get_key,
    "skb_set_tunnel_key" => tunnel::set_key,
    "skb_get_tunnel_opt" => tunnel::get_options,
    "skb_set_tunnel_opt" => tunnel::set_options,
    "skb_get_xfrm_state" => tunnel::xfrm_state,
    "skb_under_cgroup" => packet_cgroup::under,
    "skb_cgroup_id" => packet_cgroup::id,
    "skb_ancestor_cgroup_id" => packet_cgroup::ancestor_id,
    "skb_cgroup_classid" => packet_cgroup::classid,
    "get_cgroup_classid" => packet_cgroup::task_classid,
    "lwt_push_encap" => lwt::push_encap,
    "lwt_seg6_store_bytes" => seg6::store_bytes,
    "lwt_seg6_adjust_srh" => seg6::adjust,
    "lwt_seg6_action" => seg6::act,
    "tcp_raw_gen_syncookie_ipv4" => syncookie::raw::make_ipv4,
    "tcp_raw_gen_syncookie_ipv6" => syncookie::raw::make_ipv6,
    "tcp_raw_check_syncookie_ipv4" => syncookie::raw::check_ipv4,
    "tcp_raw_check_syncookie_ipv6" => syncookie::raw::check_ipv6,
    "clone_redirect" => redirect::clone,
    "redirect" => redirect::redirect,
    "redirect_peer" => redirect::redirect_peer,
    "redirect_neigh" => redirect::redirect_neigh,
    "redirect_map" => redirect::redirect_map,
    "sk_lookup_tcp" => sock_find::lookup_tcp,
    "sk_lookup_udp" => sock_find::lookup_udp,
    "skc_lookup_tcp" => sock_find::common_lookup_tcp,
    "sk_release" => sock_find::release,
    "sk_assign" => sock_find::assign,
    "sk_select_reuseport" => sock_find::select_reuseport,
    "sk_fullsock" => sock::full,
    "tcp_sock" => sock::tcp,
    "get_listener_sock" => sock::listener,
    "get_socket_cookie" => sock::cookie,
    "get_socket_uid" => sock::uid,
    "get_netns_cookie" => sock::netns_cookie,
    "sk_cgroup_id" => sock::cgroup_id,
    "sk_ancestor_cgroup_id" => sock::ancestor_cgroup_id,
    "setsockopt" => sock_options::set,
    "getsockopt" => sock_options::get,
    "sock_ops_cb_flags_set" => sock_options::set_callback_flags,
    "bind" => sock_options::bind,
    "sock_map_update" => sock_map::update,
    "sock_hash_update" => sock_map::update,
    "sk_redirect_map" => sock_map::redirect_map,
    "sk_redirect_hash" => sock_map::redirect_hash,
    "msg_redirect_map" => sock_map::redirect_map,
    "msg_redirect_hash" => sock_map::redirect_hash,
    "msg_apply_bytes" => sock_map::apply_bytes,
    "msg_cork_bytes" => sock_map::cork_bytes,
    "msg_pull_data" => sock_map::pull_data,
    "msg_push_data" => sock_map::push_data,
    "msg_pop_data" => sock_map::pop_data,
    "load_hdr_opt" => tcp_options::load,
    "store_hdr_opt" => tcp_options::store,
    "reserve_hdr_opt" => tcp_options::reserve,
    "tcp_check_syncookie" => syncookie::listener::check,
    "tcp_gen_syncookie" => syncookie::listener::generate,
    "perf_event_output" => output::perf_event,
    "ringbuf_output" => output::ringbuf_output,
    "ringbuf_reserve" => output::ringbuf_reserve,
    "ringbuf_submit" => output::ringbuf_submit,
    "ringbuf_discard" => output::ringbuf_discard,
    "ringbuf_query" => output::ringbuf_query,
    "user_ringbuf_drain" => user_ringbuf::drain,
    "ringbuf_reserve_dynptr" => dynptr::reserve,
    "ringbuf_submit_dynptr" => dynptr::submit,
    "ringbuf_discard_dynptr" => dynptr::discard,
    "dynptr_from_mem" => dynptr::from_mem,
    "dynptr_read" => dynptr::read,
    "dynptr_write" => dynptr::write,
    "dynptr_data" => dynptr::data,
}

/// Why the machine will not have a helper, and which.
pub const REFUSED: &[(&str, &[&str])] = &[
    (
        "it would act on other processes of the host",
        &["send_signal", "send_signal_thread", "probe_write_user", "copy_from_user_task"],
    ),
    (
        "it returns a structure of the kernel, of which there is none here",
        &[
            "get_current_task",
            "get_current_task_btf",
            "task_pt_regs",
            "find_vma",
            "d_path",
            "sock_from_file",
            "skc_to_tcp6_sock",
            "skc_to_tcp_sock",
            "skc_to_tcp_timewait_sock",
            "skc_to_tcp_request_sock",
            "skc_to_udp6_sock",
            "skc_to_unix_sock",
            "skc_to_mptcp_sock",
            "kallsyms_lookup_name",
            "btf_find_by_name_kind",
        ],
    ),
    (
        "it takes a structure of the kernel, of which there is none here",
        &[
            "get_task_stack",
            "tcp_send_ack",
            "seq_printf",
            "seq_write",
            "seq_printf_btf",
            "xdp_output",
            "skb_output",
            "inode_storage_get",
            "inode_storage_delete",
            "task_storage_get",
            "task_storage_delete",
            "cgrp_storage_get",
            "cgrp_storage_delete",
            "kptr_xchg",
        ],
    ),
    ("it shows a value by the types of the kernel, which is not here", &["snprintf_btf"]),
    (
        "it is for programs that are attached to a function of the kernel by its type",
        &["get_func_arg", "get_func_ret", "get_func_arg_cnt"],
    ),
    ("it takes a variable of the kernel", &["per_cpu_ptr", "this_cpu_ptr"]),
    ("it calls the kernel's bpf() for the program", &["sys_bpf", "sys_close"]),
    (
        "it reads or changes what only the kernel or the hardware has",
        &[
            "perf_event_read",
            "perf_event_read_value",
            "perf_prog_read_value",
            "read_branch_records",
            "get_branch_snapshot",
            "override_return",
            "bprm_opts_set",
            "ima_inode_hash",
            "ima_file_hash",
            "rc_repeat",
            "rc_keydown",
            "rc_pointer_rel",
        ],
    ),
];

/// Why the machine will not have the helper with this name; none if it has it or may have it later.
pub fn refusal(name: &str) -> Option<&'static str> {
    REFUSED.iter().find(|(_, names)| names.contains(&name)).map(|(why, _)| *why)
}

/// Linux's helpers, those with code.
pub fn linux() -> impl Iterator<Item = Helper> {
    code().filter_map(|(name, code)| {
        let shortcut = match name {
            "map_lookup_elem" => Some(Shortcut::MapLookup),
            "csum_diff" => Some(Shortcut::Trusting(call::csum_diff)),
            "get_smp_processor_id" => Some(Shortcut::Cpu),
            _ => None,
        };
        Some(Helper { proto: helper_proto(name)?.clone(), code, shortcut })
    })
}

/// Linux's helpers that have no code here: a call stops the run and says why. So a program that
/// rarely calls one can be run all the same.
pub(crate) fn absent() -> impl Iterator<Item = Helper> {
    let have: BTreeSet<u32> = linux().map(|helper| helper.proto.id).collect();
    // Of several prototypes the first: what is never called needs no arguments.
    let first = |proto: &&HelperProto| helper_proto(&proto.name).is_some_and(|p| &p == proto);
    HELPERS.iter().filter(move |p| !have.contains(&p.id)).filter(first).map(|proto| {
        // A call that is never reached stops no program, whatever its type.
        let proto = HelperProto { allowed: ProgTypeSet::ALL, attach: &[], ..proto.clone() };
        let (name, why) = (proto.name.to_string(), refusal(&proto.name));
        Helper::new(proto, move |_| Err(TrapKind::NoHelperCode { name: name.clone(), why }))
    })
}

/// The first prototype with this name.
fn helper_proto(name: &str) -> Option<&'static HelperProto> {
    HELPERS.iter().find(|proto| proto.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ebpfvm_spec::linux::{HELPER_NAMES, helper_id};
    use std::fmt::Write as _;

    #[test]
    fn code_has_a_prototype_and_no_helper_is_refused_that_has_code() {
        let declared: BTreeSet<&str> = HELPERS.iter().map(|proto| &*proto.name).collect();
        let with_code: BTreeSet<&str> = code().map(|(name, _)| name).collect();
        assert!(with_code.is_subset(&declared));
        assert_eq!(linux().chain(absent()).count(), HELPER_NAMES.len());
        for name in REFUSED.iter().flat_map(|(_, names)| *names) {
            assert!(helper_id(name).is_some() && !with_code.contains(name), "{name}");
        }
    }

    fn document() -> String {
        let mut text = "# Helpers\n\n\
            The helpers of Linux 6.18, and which of them programs may call here. This table is generated from the \
            prototypes in\n\
            `spec/src/linux/helpers` and the code in `vm/src/helper`; \
            `EBPFVM_BLESS=1 cargo test -p ebpfvm helper`\nwrites it anew.\n\n\
            | id | name | since | status |\n|---:|---|---|---|\n"
            .to_string();
        for (i, (name, since)) in HELPER_NAMES.iter().enumerate() {
            let status = match (code().any(|(known, _)| known == *name), refusal(name)) {
                (true, _) => "available".into(),
                (false, Some(why)) => format!("refused: {why}"),
                (false, None) => "not yet".into(),
            };
            let _ = writeln!(text, "| {} | `{name}` | {since} | {status} |", i + 1);
        }
        text
    }

    #[test]
    fn the_document_lists_them() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/helpers.md");
        if std::env::var_os("EBPFVM_BLESS").is_some() {
            std::fs::write(path, document()).unwrap();
        }
        let written = std::fs::read_to_string(path).unwrap_or_default();
        assert!(written == document(), "docs/helpers.md differs; EBPFVM_BLESS=1 writes it anew");
    }
}
