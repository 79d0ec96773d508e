//! Whatever both verifiers accept and packets reach does the same on any packet: in this project's
//! folder of projects, and in one of others, such as the kernel's own tests, that
//! `EBPFVM_OBJECTS=DIR` names.

use super::packets::{self, Numbers, mutate, whole_and_cut};
use super::pair::{Counts, Pair, packet_programs};
use super::{files, runs, seeds};
use ebpfvm_asm::{CallTarget, Insn};
use ebpfvm_conformance::files::{OBJECT, files_below};
use ebpfvm_conformance::object::Input;
use ebpfvm_kernel::{Kernel, linux_6_18_or_skip, report_skip};
use ebpfvm_loader::Object;
use ebpfvm_spec::linux::helper_name;
use ebpfvm_spec::{MapDef, MapType, Platform};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Helpers that give what only one kernel at one time has.
const OWN: &[&str] = &[
    "ktime_get_ns",
    "ktime_get_boot_ns",
    "ktime_get_coarse_ns",
    "ktime_get_tai_ns",
    "jiffies64",
    "get_prandom_u32",
    "get_hash_recalc",
    "get_current_pid_tgid",
    "get_current_uid_gid",
    "get_current_comm",
    "get_current_cgroup_id",
    "get_current_ancestor_cgroup_id",
    "get_socket_cookie",
    "get_netns_cookie",
    "get_socket_uid",
    "skb_cgroup_id",
    "skb_ancestor_cgroup_id",
    "get_cgroup_classid",
    "sk_lookup_tcp",
    "sk_lookup_udp",
    "skc_lookup_tcp",
    "fib_lookup",
    "get_stackid",
    "get_stack",
    "get_ns_current_pid_tgid",
    "tcp_gen_syncookie",
    "tcp_raw_gen_syncookie_ipv4",
    "tcp_raw_gen_syncookie_ipv6",
    // The kernel's fire on their own.
    "timer_start",
];

/// The first helper of a program that nobody else can answer.
fn own(object: &Object, program: &str, platform: &Platform) -> Option<&'static str> {
    let program = object.program(program, platform).ok()?;
    program.code.iter().find_map(|(_, insn)| match insn {
        Insn::Call { target: CallTarget::Helper(id) } => {
            OWN.iter().find(|own| helper_name(*id) == Some(**own)).copied()
        }
        _ => None,
    })
}

#[test]
fn objects_of_a_folder_do_the_same_on_any_packet() {
    const NAME: &str = "objects_of_a_folder_do_the_same_on_any_packet";
    let Some(folder) = std::env::var_os("EBPFVM_OBJECTS") else {
        return report_skip(NAME, "EBPFVM_OBJECTS names no folder of objects");
    };
    let Some(kernel) = linux_6_18_or_skip(NAME) else { return };
    compare(&kernel, &files_below(Path::new(&folder), OBJECT).expect("a folder"));
}

/// The programs in the manner of known projects.
#[test]
fn projects_do_the_same_on_any_packet() {
    let Some(kernel) = linux_6_18_or_skip("projects_do_the_same_on_any_packet") else { return };
    let counts = compare(&kernel, &files("conformance/projects", OBJECT));
    assert!(counts.programs >= 30, "only {} programs were compared", counts.programs);
}

/// The maps, tables with fewer places than their programs ask for: there are three of each, and no
/// comparison fills them.
fn small(object: &Object) -> Vec<MapDef> {
    use MapType::*;
    const PLACES: u32 = 4096;
    // All of them are read after each run.
    const ELEMENTS: u32 = 64;
    let mut defs = object.maps().to_vec();
    for def in &mut defs {
        match def.map_type {
            Hash | PercpuHash | LruHash | LruPercpuHash | LpmTrie => {
                def.max_entries = def.max_entries.min(PLACES);
            }
            Array | PercpuArray => def.max_entries = def.max_entries.min(ELEMENTS),
            _ => {}
        }
    }
    defs
}

/// Compares all programs of these objects that both verifiers accept and that packets reach.
fn compare(kernel: &Kernel, objects: &[PathBuf]) -> Counts {
    let platform = Platform::linux();
    let mut seeds = seeds();
    seeds.extend(packets::more());
    let (mut total, mut differences) = (Counts::default(), Vec::new());
    let mut skipped: BTreeMap<String, usize> = BTreeMap::new();
    for path in objects {
        let bytes = std::fs::read(path).expect("an object");
        let Ok(object) = Object::parse(&bytes, &path.display().to_string()) else { continue };
        let object = Arc::new(object);
        let mut pair = None;
        for program in packet_programs(&object) {
            let what = format!("{}: {program}", object.file());
            let mut skip = |why: String| {
                eprintln!("{what}: left out: {why}");
                *skipped.entry(why.lines().last().unwrap_or_default().into()).or_default() += 1;
            };
            if let Some(own) = own(&object, &program, &platform) {
                skip(format!("calls {own}"));
                continue;
            }
            if pair.is_none() {
                match Pair::try_new(kernel, &object, small(&object)) {
                    Ok(made) => pair = Some(made),
                    Err(why) => skip(why),
                }
            }
            let Some(mut both) = pair.take() else { continue };
            let loaded = both.sides().into_iter().try_for_each(|side| side.load(&program));
            if let Err(why) = loaded {
                skip(why.to_string());
                pair = Some(both);
                continue;
            }
            let (mut counts, mut differs) = (Counts::default(), false);
            let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15 ^ total.programs as u64);
            let mutations = (0..runs()).map(|_| mutate(&mut numbers, &seeds)).collect::<Vec<_>>();
            for (run, packet) in whole_and_cut(&seeds).chain(mutations).enumerate() {
                let input = Input::packet(packet);
                if let Some(found) = both.compare(&program, &input, &mut counts) {
                    let hex: String = input.packet.iter().map(|b| format!("{b:02x}")).collect();
                    eprintln!("{what}: run {run} on {hex}\n{found}");
                    differences.push(what.clone());
                    differs = true;
                    break;
                }
            }
            // Where the maps differ, the next program begins with new ones.
            pair = (!differs).then_some(both);
            total.programs += 1;
            total.runs += counts.runs;
            total.refused += counts.refused;
        }
    }
    for (why, count) in &skipped {
        eprintln!("{count:5} left out: {why}");
    }
    eprintln!(
        "{} programs, {} runs compared, {} inputs refused",
        total.programs, total.runs, total.refused
    );
    assert!(differences.is_empty(), "{} differ: {}", differences.len(), differences.join(", "));
    total
}
