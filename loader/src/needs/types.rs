//! Fields of map values that the kernel looks after.

use ebpfvm_spec::btf::{Btf, Compound, Kind, TypeId};

/// Structs by name: what they are, since when.
const STRUCTS: &[(&str, &str, &str)] = &[
    // Commits d83525ca62cf, 68134668c17f, f0c5941ff5b2, 9c395c1b99bd, d54730b50bae, d56b63cf0c0f,
    // 0de2046137f9, 38aa7003e369 of the kernel.
    ("bpf_spin_lock", "spin locks in map values", "5.1"),
    ("bpf_timer", "timers in map values", "5.15"),
    ("bpf_list_head", "linked lists in map values", "6.2"),
    ("bpf_rb_root", "trees in map values", "6.3"),
    ("bpf_refcount", "reference counts in map values", "6.4"),
    ("bpf_wq", "work queues in map values", "6.10"),
    ("bpf_res_spin_lock", "resilient spin locks in map values", "6.15"),
    ("bpf_task_work", "task work in map values", "6.18"),
];

/// Tags of pointers to objects of the kernel: commits c0a5a21c25f3 and 36d8bdf75a93.
const TAGS: &[(&str, &str, &str)] = &[
    ("kptr_untrusted", "kernel pointers in map values", "5.19"),
    ("kptr", "kernel pointers in map values", "5.19"),
    ("percpu_kptr", "per-CPU kernel pointers in map values", "6.7"),
];

/// How deep fields are looked for; the kernel looks four deep.
const MAX_DEPTH: usize = 4;
/// The most fields that are looked at.
const MAX_FIELDS: usize = 4096;

/// The fields of a value that the kernel looks after: what, since when.
pub(super) fn special(btf: &Btf, value: TypeId) -> Vec<(&'static str, &'static str)> {
    let (mut found, mut left) = (Vec::new(), MAX_FIELDS);
    let mut pending = vec![(value, 0)];
    while let Some((id, depth)) = pending.pop() {
        let Ok((id, kind)) = btf.resolve(id) else { continue };
        match kind {
            Kind::Compound { compound: Compound::Struct, members, .. } => {
                let known = STRUCTS.iter().find(|(name, ..)| *name == btf.name(id));
                found.extend(known.map(|(_, what, since)| (*what, *since)));
                if known.is_none() && depth < MAX_DEPTH {
                    let members = btf.list(members);
                    let taken = members.len().min(left);
                    left -= taken;
                    pending.extend(members[..taken].iter().map(|m| (m.type_id, depth + 1)));
                }
            }
            Kind::Array { element, .. } if depth < MAX_DEPTH => pending.push((element, depth + 1)),
            Kind::Ptr(to) => {
                if let Some(Kind::TypeTag { .. }) = btf.kind(to) {
                    let tag = btf.name(to);
                    let known = TAGS.iter().find(|(name, ..)| *name == tag);
                    found.extend(known.map(|(_, what, since)| (*what, *since)));
                }
            }
            _ => {}
        }
    }
    found
}
