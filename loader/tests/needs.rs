//! What a kernel must have, told from objects.

use ebpfvm_asm::table::Cpu;
use ebpfvm_loader::Object;
use ebpfvm_loader::needs::{Need, NeedKind, Needs, Site};

fn needs(path: &str) -> Needs {
    let path = format!("{}/{path}", env!("CARGO_MANIFEST_DIR"));
    let bytes = std::fs::read(&path).unwrap_or_else(|err| panic!("{path}: {err}"));
    Object::parse(&bytes, &path).unwrap_or_else(|err| panic!("{err}")).needs()
}

/// Name and release of the things of a kind; optional ones with a question mark.
fn of_kind(needs: &Needs, kind: NeedKind) -> Vec<String> {
    let each = |need: &Need| {
        let since = need.since.map_or("?".into(), |release| release.to_string());
        let mark = if need.optional.is_some() { "?" } else { "" };
        format!("{} {since}{mark}", need.name)
    };
    needs.of_kind(kind).map(each).collect()
}

fn find<'a>(needs: &'a Needs, name: &str) -> &'a Need {
    needs.list.iter().find(|n| n.name == name).unwrap_or_else(|| panic!("{name}: {needs:?}"))
}

#[test]
fn each_kind_of_thing() {
    let needs = needs("tests/objects/needs.o");
    for (kind, expected) in [
        (NeedKind::ProgType, &["sched_cls 4.1", "xdp 4.8", "tracing 5.5"][..]),
        (NeedKind::AttachType, &["trace_fentry 5.5", "xdp 5.9?", "tcx_ingress 6.6?"]),
        (NeedKind::MapType, &["hash 3.19", "prog_array 4.2", "ringbuf 5.8"]),
        (NeedKind::MapFlag, &["NO_PREALLOC 4.6"]),
        (
            NeedKind::Helper,
            &[
                "bpf_map_lookup_elem 3.19",
                "bpf_ktime_get_ns 4.1",
                "bpf_tail_call 4.2",
                "bpf_spin_lock 5.1",
                "bpf_ringbuf_discard 5.8",
                "bpf_dynptr_write 5.19?",
            ],
        ),
        (NeedKind::Kfunc, &["bpf_rcu_read_lock 6.2", "bpf_preempt_disable 6.10?"]),
        (NeedKind::Insns, &["jumps if less 4.14", "32-bit jumps 5.1", "signed division 6.6"]),
        (
            NeedKind::Feature,
            &[
                "bpf-to-bpf calls 4.16",
                "types (BTF) 4.18?",
                "spin locks in map values 5.1",
                "bounded loops 5.3",
                "sleepable programs 5.10",
                "tail calls beside bpf-to-bpf calls 5.10",
                "calls of kernel functions 5.13",
            ],
        ),
    ] {
        assert_eq!(of_kind(&needs, kind), expected, "{}", kind.name());
    }
    assert_eq!(needs.cpu, Cpu::V4);
}

#[test]
fn the_answer_names_what_decides_it_and_where() {
    let needs = needs("tests/objects/needs.o");
    let newest = needs.newest().unwrap();
    assert_eq!(
        (newest.name.as_str(), needs.release().to_string()),
        ("signed division", "6.6".into())
    );
    let Site::Insn { function, section, line: Some((file, line)), .. } = &newest.site else {
        panic!("{newest:?}")
    };
    assert_eq!((function.as_str(), section.as_str()), ("locks", "xdp"));
    let source = include_str!("objects/needs.c");
    assert!(file.ends_with("needs.c"), "{file}");
    assert!(source.lines().nth(*line as usize - 1).unwrap().contains("(s32)ctx->data_end /"));
    assert_eq!(newest.site.to_string(), format!("locks, {file}:{line}"));
    assert_eq!(find(&needs, "ringbuf").site.to_string(), "map events");
    assert_eq!(find(&needs, "tracing").site.to_string(), "program kernel");
}

/// Programs that cannot be linked without a kernel are looked at all the same.
#[test]
fn objects_that_do_not_link() {
    let needs = needs("tests/objects/externs.o");
    assert_eq!(of_kind(&needs, NeedKind::Kfunc), ["kernel_function ?", "weak_function ??"]);
    for name in ["calls of kernel functions", "kernel variables with types"] {
        assert_eq!(find(&needs, name).optional, None, "{name}");
    }
    assert_eq!(needs.release().to_string(), "5.13");
}

#[test]
fn features_of_the_other_objects() {
    for (object, name, since, optional) in [
        ("tests/objects/calls.o", "callbacks", "5.13", false),
        ("tests/objects/arena.o", "arena", "6.9", false),
        ("tests/objects/arena.o", "casts between address spaces", "6.9", false),
        ("tests/objects/core.o", "CO-RE relocations", "5.4", true),
        ("tests/objects/data.o", "global variables", "5.2", false),
        ("tests/objects/calls.o", "global functions", "5.6", true),
        ("tests/objects/struct_ops.o", "struct_ops", "5.6", false),
        ("tests/objects/maps.o", "array_of_maps", "4.12", false),
        ("tests/objects/maps.o", "NUMA_NODE", "4.14", false),
        ("tests/objects/sections.o", "xdp_devmap", "5.8", false),
        ("tests/objects/sections.o", "XDP packets in several buffers", "5.18", false),
        ("../examples/ringbuf_events/ringbuf_events.bpf.o", "ringbuf", "5.8", false),
        ("../examples/xdp_firewall/xdp_firewall.bpf.o", "bpf_map_lookup_elem", "3.19", false),
    ] {
        let needs = needs(object);
        let need = find(&needs, name);
        let found = (need.since.map(|s| s.to_string()), need.optional.is_some());
        assert_eq!(found, (Some(since.into()), optional), "{object}: {name}");
    }
}

/// Instructions of the other byte order are the same instructions.
#[test]
fn both_byte_orders_need_the_same() {
    let names =
        |object| -> Vec<String> { needs(object).list.into_iter().map(|need| need.name).collect() };
    assert_eq!(names("tests/objects/calls.o"), names("tests/objects/calls_be.o"));
    assert_eq!(names("tests/objects/data.o"), names("tests/objects/data_be.o"));
}
