//! The comparison, object by object.

use crate::corpus;
use crate::reference::{Insn, MapFacts, ProgramFacts, Reference, be_quiet, named};
use crate::skip::skipped;
use ebpfvm_loader::{Kconfig, KernelSymbols, LinkOptions, LoadError, Object, Problem, parse_btf};
use std::path::{Path, PathBuf};
use std::process::Command;

const KERNEL_BTF: &str = "/sys/kernel/btf/vmlinux";

/// Programs that libbpf refuses and we link, by object and program (`*`: any rest), and why.
const WE_TAKE_MORE: &[(&str, &str, &str)] = &[
    ("calls_sections.o", "*", "libbpf takes calls to functions in .text only"),
    ("externs.o", "*", "libbpf refuses all programs of an object for one extern"),
    ("legacy.o", "*", "libbpf dropped legacy map definitions in 1.0"),
    ("link_*", "*", "half of an object: libbpf wants what the other half has"),
    ("map_static.o", "*", "libbpf takes no static map definitions"),
    ("only_text.o", "*", "libbpf takes no programs in .text since 1.0"),
    ("struct_ops.o", "*", "libbpf needs the kernel's type of the table to create it"),
    ("no_types.o", "*", "libbpf dropped legacy map definitions in 1.0"),
];

fn take_more(object: &str, program: &str) -> bool {
    let fits = |pattern: &str, name: &str| match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => name == pattern,
    };
    WE_TAKE_MORE.iter().any(|row| fits(row.0, object) && (fits(row.1, program) || program == "*"))
}

fn objects() -> Vec<PathBuf> {
    let mut found = corpus::objects();
    let more = std::env::var_os("EBPFVM_OBJECTS").filter(|d| !d.is_empty()).map(PathBuf::from);
    found.extend(more.iter().flat_map(|dir| corpus::objects_in(dir)));
    found
}

fn ours(object: &Object, name: &str, options: &LinkOptions<'_>) -> Result<Vec<Insn>, LoadError> {
    let program = object.link_for(name, options)?.program;
    let slots = program.code.encode().expect("what was decoded can be encoded");
    Ok(named(slots, |slot| match slot.src {
        5 | 6 => Some((slot.src, program.maps[slot.imm as usize].name.clone())),
        _ => None,
    }))
}

/// Objects whose instructions differ in single numbers, and why.
const DIFFERENT: &[(&str, &str)] =
    &[("core_bitfields_be.o", "libbpf shifts bit fields for the machine that it was built for")];

/// Section names that the libbpf compared with does not have: ours for plain memory, and those of
/// later releases.
const NOT_LIBBPFS: &[&str] =
    &["raw", "tp.s", "tracepoint.s", "raw_tp.s", "raw_tracepoint.s", "tp_btf.s"];

/// What became of one comparison.
enum Verdict {
    Same,
    /// Both refuse the program.
    Refused,
    /// Not the same, as [`WE_TAKE_MORE`] or [`DIFFERENT`] knows.
    Known,
    Different(String),
    NotPermitted,
}

fn compare(
    path: &Path,
    object: &Object,
    program: &str,
    custom: Option<&Path>,
    options: &LinkOptions<'_>,
) -> Verdict {
    let place = format!("{} {program}", corpus::name(path));
    let expected = match Reference::open(path, custom) {
        None => Err("does not open it".to_string()),
        Some(reference) => match reference.prepare(program) {
            Err(-1) => return Verdict::NotPermitted,
            Err(err) => Err(format!("does not prepare it ({err})")),
            Ok(()) => reference.insns(program).ok_or_else(|| "has no such program".into()),
        },
    };
    match (ours(object, program, options), expected) {
        // libbpf looks at no instruction that it does not relocate.
        (Err(err), _) if matches!(*err.problem, Problem::Insn { .. }) => Verdict::Refused,
        (Err(_), Err(_)) => Verdict::Refused,
        (Err(err), Ok(_)) => Verdict::Different(format!("{place}: {err}")),
        (Ok(_), Err(why)) => {
            let object = corpus::name(path);
            match take_more(&object, program) {
                true => Verdict::Known,
                // What the kernel of this machine lacks says nothing about an object of another.
                false if !path.starts_with(corpus::dir()) => {
                    println!("libbpf {why}: {place}");
                    Verdict::Known
                }
                false => Verdict::Different(format!("{place}: links, but libbpf {why}")),
            }
        }
        (Ok(found), Ok(expected)) if found == expected => Verdict::Same,
        (Ok(found), Ok(expected)) => {
            let is_known = DIFFERENT.iter().any(|row| row.0 == corpus::name(path));
            if is_known && found.len() == expected.len() {
                return Verdict::Known;
            }
            let at = found.iter().zip(&expected).position(|(a, b)| a != b);
            let at = at.unwrap_or(found.len().min(expected.len()));
            let (n, m) = (found.len(), expected.len());
            let (a, b) = (found.get(at), expected.get(at));
            let text = format!("{place}: {n} and {m} slots, first difference at {at}: {a:?} {b:?}");
            Verdict::Different(text)
        }
    }
}

/// Opens an object; one that does not open must be one that libbpf does not open either.
fn opened(path: &Path) -> Result<Object, LoadError> {
    let object = corpus::open(path);
    if let Err(error) = &object {
        assert!(Reference::open(path, None).is_none(), "{error}");
        println!("nor does libbpf open: {error}");
    }
    object
}

/// Compares all programs of the objects. Gives how many are the same.
fn compare_all(
    test: &str,
    paths: &[PathBuf],
    custom: Option<&Path>,
    options: &LinkOptions<'_>,
    config: &Kconfig,
) -> usize {
    be_quiet();
    let (mut same, mut refused, mut more, mut different) = (0, 0, 0, Vec::new());
    for path in paths {
        let Ok(mut object) = opened(path) else { continue };
        object.set_kconfig(config).unwrap();
        for info in object.programs() {
            match compare(path, &object, &info.name, custom, options) {
                Verdict::Same => same += 1,
                Verdict::Refused => refused += 1,
                Verdict::Known => more += 1,
                Verdict::Different(text) => different.push(text),
                Verdict::NotPermitted => {
                    skipped(test, "not permitted to create maps");
                    return 0;
                }
            }
        }
    }
    println!("{test}: {same} programs the same, {refused} refused by both, {more} known to differ");
    assert!(different.is_empty(), "{} differ:\n{}", different.len(), different.join("\n"));
    same
}

/// The running kernel's configuration, from where libbpf reads it.
fn kconfig() -> Kconfig {
    let config = Command::new("zcat").arg("/proc/config.gz").output();
    let text = config.map(|o| String::from_utf8_lossy(&o.stdout).into_owned()).unwrap_or_default();
    Kconfig::parse(&text)
}

#[test]
fn instructions_for_the_running_kernel_are_libbpfs() {
    const TEST: &str = "instructions_for_the_running_kernel_are_libbpfs";
    let Ok(bytes) = std::fs::read(KERNEL_BTF) else {
        return skipped(TEST, "no kernel BTF");
    };
    let target = parse_btf(&bytes, None).unwrap();
    let symbols = std::fs::read_to_string("/proc/kallsyms").unwrap_or_default();
    let symbols = KernelSymbols::parse(&symbols);
    let options = LinkOptions { target_btf: Some(&target), symbols: Some(&symbols) };
    let same = compare_all(TEST, &objects(), None, &options, &kconfig());
    assert!(same == 0 || same > 300, "{same}");
}

#[test]
fn instructions_for_another_kernel_are_libbpfs() {
    const TEST: &str = "instructions_for_another_kernel_are_libbpfs";
    let target = corpus::target();
    let options = LinkOptions { target_btf: Some(&target), ..LinkOptions::default() };
    let is_core = |p: &PathBuf| corpus::name(p).starts_with("core_");
    let paths: Vec<PathBuf> = corpus::objects().into_iter().filter(is_core).collect();
    let custom = corpus::dir().join("target.btf");
    let same = compare_all(TEST, &paths, Some(&custom), &options, &Kconfig::default());
    assert!(same == 0 || same > 200, "{same}");
}

#[test]
fn maps_and_programs_are_libbpfs() {
    be_quiet();
    let (mut compared, mut different) = (0, Vec::new());
    for path in objects() {
        let name = corpus::name(&path);
        let Ok(object) = opened(&path) else { continue };
        let Some(reference) = Reference::open(&path, None) else {
            assert!(take_more(&name, "*"), "libbpf does not open {name}");
            continue;
        };
        let maps: Vec<MapFacts> = object
            .maps()
            .iter()
            .map(|m| {
                let kind = m.map_type as u32;
                let (name, flags) = (m.name.clone(), m.flags.0);
                (name, kind, m.key_bytes, m.value_bytes, m.max_entries, flags, m.extra)
            })
            .collect();
        let expected = reference.map_facts();
        compared += maps.len();
        if maps != expected {
            let pairs = maps.iter().zip(&expected).find(|(a, b)| a != b);
            let (n, m) = (maps.len(), expected.len());
            different.push(format!("{name}: {n} and {m} maps, first difference: {pairs:?}"));
        }
        let programs: Vec<ProgramFacts> = object
            .programs()
            .iter()
            .map(|p| {
                let kind = p.prog_type.map_or(0, |t| t as u32);
                (p.name.clone(), kind, p.attach_type.0, p.autoload)
            })
            .collect();
        for expected in reference.program_facts() {
            compared += 1;
            let found = programs.iter().find(|p| p.0 == expected.0);
            let section = found.and_then(|f| object.programs().iter().find(|p| p.name == f.0));
            let is_ours = section.is_some_and(|p| NOT_LIBBPFS.contains(&p.section.as_str()));
            if found != Some(&expected) && !is_ours {
                different.push(format!("{name}: {found:?} and {expected:?}"));
            }
        }
    }
    println!("{compared} maps and programs compared");
    assert!(different.is_empty(), "{}", different.join("\n"));
}
