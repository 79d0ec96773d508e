//! The programs of the target `runs` call helpers of every family that a comparison with the kernel
//! can be about.

use ebpfvm::helper;
use ebpfvm_asm::{CallTarget, Insn};
use ebpfvm_fuzz::{Target, draw};
use ebpfvm_spec::linux::helper_name;
use std::collections::{BTreeMap, BTreeSet};

/// A family: its helpers, and why the programs call none of them.
struct Family {
    name: &'static str,
    helpers: &'static str,
    not_called: Option<&'static str>,
}

const fn called(name: &'static str, helpers: &'static str) -> Family {
    Family { name, helpers, not_called: None }
}

const fn not_called(name: &'static str, why: &'static str, helpers: &'static str) -> Family {
    Family { name, helpers, not_called: Some(why) }
}

const NOT_THESE_TYPES: &str = "for program types that the target does not make";

const FAMILIES: &[Family] = &[
    called(
        "maps",
        "map_delete_elem map_lookup_elem map_lookup_percpu_elem map_peek_elem map_pop_elem
         map_push_elem map_update_elem",
    ),
    called("callbacks", "for_each_map_elem loop"),
    called("locks", "spin_lock spin_unlock"),
    called(
        "records",
        "ringbuf_discard ringbuf_output ringbuf_query ringbuf_reserve ringbuf_submit",
    ),
    called(
        "dynptrs",
        "dynptr_data dynptr_from_mem dynptr_read dynptr_write ringbuf_discard_dynptr
         ringbuf_reserve_dynptr ringbuf_submit_dynptr",
    ),
    called("tail calls", "tail_call"),
    called("numbers as text", "strncmp strtol strtoul"),
    called("printing to memory", "snprintf"),
    called(
        "probes",
        "probe_read probe_read_kernel probe_read_kernel_str probe_read_str probe_read_user
         probe_read_user_str copy_from_user",
    ),
    called("checksums", "csum_diff csum_level csum_update l3_csum_replace l4_csum_replace"),
    called(
        "bytes of packets",
        "get_hash_recalc set_hash set_hash_invalid skb_change_type skb_ecn_set_ce skb_load_bytes
         skb_load_bytes_relative skb_pull_data skb_set_tstamp skb_store_bytes",
    ),
    called(
        "shape of packets",
        "skb_adjust_room skb_change_head skb_change_proto skb_change_tail skb_vlan_pop
         skb_vlan_push",
    ),
    called(
        "XDP",
        "xdp_adjust_head xdp_adjust_meta xdp_adjust_tail xdp_get_buff_len xdp_load_bytes
         xdp_store_bytes",
    ),
    called("redirects", "clone_redirect redirect redirect_map redirect_neigh redirect_peer"),
    not_called(
        "time, chance and place",
        "the kernel's results differ from run to run",
        "get_current_cgroup_id get_current_comm get_current_pid_tgid get_current_uid_gid
         get_numa_node_id get_prandom_u32 get_route_realm get_smp_processor_id jiffies64
         ktime_get_boot_ns ktime_get_coarse_ns ktime_get_ns ktime_get_tai_ns",
    ),
    not_called(
        "tasks",
        "the kernel's task is the fuzzer, the machine's is the host's",
        "current_task_under_cgroup get_attach_cookie get_current_ancestor_cgroup_id get_func_ip
         get_ns_current_pid_tgid",
    ),
    not_called(
        "cgroups of packets",
        "the kernel's cgroups are those of the fuzzer",
        "get_cgroup_classid skb_ancestor_cgroup_id skb_cgroup_classid skb_cgroup_id
         skb_under_cgroup",
    ),
    not_called(
        "printing to the trace",
        "every line goes to the trace of the whole system",
        "trace_printk trace_vprintk",
    ),
    not_called("events", "nobody has opened an event for the programs", "perf_event_output"),
    not_called("stacks", "addresses of the kernel", "get_stack get_stackid"),
    not_called("routes", "the kernel's table is the system's", "check_mtu fib_lookup"),
    not_called(
        "timers",
        "the kernel's fire by themselves, in the middle of a comparison",
        "timer_cancel timer_init timer_set_callback timer_start",
    ),
    not_called(
        "drained records",
        "the samples would have to be written anew before each run",
        "user_ringbuf_drain",
    ),
    not_called(
        "tunnels",
        "the packets of a test-run come through none",
        "skb_get_tunnel_key skb_get_tunnel_opt skb_get_xfrm_state skb_set_tunnel_key
         skb_set_tunnel_opt",
    ),
    not_called(
        "sockets",
        "the kernel's are the system's; `conformance/tests/sockets` compares lookups",
        "bind get_listener_sock get_netns_cookie get_socket_cookie get_socket_uid getsockopt
         msg_apply_bytes msg_cork_bytes msg_pop_data msg_pull_data msg_push_data
         msg_redirect_hash msg_redirect_map setsockopt sk_ancestor_cgroup_id sk_assign
         sk_cgroup_id sk_fullsock sk_lookup_tcp sk_lookup_udp sk_redirect_hash sk_redirect_map
         sk_release sk_select_reuseport skc_lookup_tcp sock_hash_update sock_map_update
         sock_ops_cb_flags_set tcp_sock",
    ),
    not_called(
        "storage",
        "it is that of a socket or a cgroup",
        "get_local_storage sk_storage_delete sk_storage_get",
    ),
    not_called(
        "SYN cookies",
        "the kernel's key is a secret",
        "tcp_check_syncookie tcp_gen_syncookie tcp_raw_check_syncookie_ipv4
         tcp_raw_check_syncookie_ipv6 tcp_raw_gen_syncookie_ipv4 tcp_raw_gen_syncookie_ipv6",
    ),
    not_called(
        "system calls of cgroups",
        NOT_THESE_TYPES,
        "get_retval set_retval sysctl_get_current_value sysctl_get_name sysctl_get_new_value
         sysctl_set_new_value",
    ),
    not_called("TCP options", NOT_THESE_TYPES, "load_hdr_opt reserve_hdr_opt store_hdr_opt"),
    not_called(
        "segment routing",
        NOT_THESE_TYPES,
        "lwt_push_encap lwt_seg6_action lwt_seg6_adjust_srh lwt_seg6_store_bytes",
    ),
];

/// How often each helper is called in the programs of the first seeds.
fn calls(programs: u64) -> BTreeMap<&'static str, usize> {
    let mut calls = BTreeMap::new();
    for seed in 0..programs {
        let judged = Target::Runs.judged(&draw::bytes(seed)).expect("runs has programs");
        for (_, insn) in judged.code.iter() {
            if let Insn::Call { target: CallTarget::Helper(id) } = insn {
                *calls.entry(helper_name(*id).expect("a helper of Linux")).or_default() += 1;
            }
        }
    }
    calls
}

#[test]
fn every_helper_belongs_to_one_family() {
    let mut listed = BTreeSet::new();
    for family in FAMILIES {
        for name in family.helpers.split_whitespace() {
            assert!(listed.insert(name.to_string()), "{name} is listed twice");
        }
    }
    let available: BTreeSet<String> =
        helper::linux().map(|helper| helper.proto.name.to_string()).collect();
    let unlisted: Vec<_> = available.difference(&listed).collect();
    let unknown: Vec<_> = listed.difference(&available).collect();
    assert!(
        unlisted.is_empty() && unknown.is_empty(),
        "not listed {unlisted:?}, no helpers {unknown:?}"
    );
}

#[test]
fn programs_call_helpers_of_every_family() {
    let calls = calls(3000);
    for Family { name, helpers, not_called } in FAMILIES {
        let count: usize = helpers.split_whitespace().filter_map(|helper| calls.get(helper)).sum();
        match not_called {
            None => assert!(count > 0, "no program calls a helper of the family {name}"),
            Some(why) => assert_eq!(count, 0, "{name} is called, and no exception any more: {why}"),
        }
    }
}
