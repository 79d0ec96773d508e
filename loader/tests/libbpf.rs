//! Relocated instructions are those that libbpf hands to the kernel.
//!
//! Runs with `--features libbpf` on a machine with libelf and zlib; needs the right to create maps,
//! without which it is skipped. libbpf prepares the objects: it creates maps and relocates, and loads
//! no program. `EBPFVM_OBJECTS` names a directory with more objects to compare.

use ebpfvm_asm::Slot;
use ebpfvm_loader::{Kconfig, LinkOptions, LoadError, Object, Problem, parse_btf};
use ebpfvm_spec::btf::Btf;
use libbpf_sys as sys;
use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::path::{Path, PathBuf};
use std::process::Command;

/// An instruction with the map it names, if any.
type Insn = (Slot, Option<String>);

/// An object that libbpf opened.
struct Reference(*mut sys::bpf_object);

impl Drop for Reference {
    fn drop(&mut self) {
        // SAFETY: the pointer is an open object and is not used again.
        unsafe { sys::bpf_object__close(self.0) };
    }
}

fn text(pointer: *const std::ffi::c_char) -> String {
    // SAFETY: libbpf's names are NUL-terminated and live as long as the object.
    unsafe { CStr::from_ptr(pointer) }.to_string_lossy().into_owned()
}

impl Reference {
    fn open(path: &Path) -> Option<Reference> {
        let path = CString::new(path.to_str()?).ok()?;
        // SAFETY: the path is NUL-terminated, and no options are given.
        let object = unsafe { sys::bpf_object__open_file(path.as_ptr(), std::ptr::null()) };
        (!object.is_null()).then_some(Reference(object))
    }

    fn programs(&self) -> Vec<*mut sys::bpf_program> {
        let next = |previous| {
            // SAFETY: the object is open and `previous` is null or one of its programs.
            let next = unsafe { sys::bpf_object__next_program(self.0, previous) };
            (!next.is_null()).then_some(next)
        };
        std::iter::successors(next(std::ptr::null_mut()), |p| next(*p)).collect()
    }

    fn maps(&self) -> Vec<*mut sys::bpf_map> {
        let next = |previous: *const sys::bpf_map| {
            // SAFETY: the object is open and `previous` is null or one of its maps.
            let next = unsafe { sys::bpf_object__next_map(self.0, previous) };
            (!next.is_null()).then_some(next)
        };
        std::iter::successors(next(std::ptr::null()), |m| next(*m)).collect()
    }

    /// Prepares only this program; maps are not pinned.
    fn prepare(&self, name: &str) -> Result<(), i32> {
        for program in self.programs() {
            // SAFETY: the program is of the open object.
            unsafe {
                let is_it = text(sys::bpf_program__name(program)) == name;
                sys::bpf_program__set_autoload(program, is_it);
            }
        }
        for map in self.maps() {
            // SAFETY: the map is of the open object; null means no pinning.
            unsafe { sys::bpf_map__set_pin_path(map, std::ptr::null()) };
        }
        // SAFETY: the object is open and not yet prepared.
        match unsafe { sys::bpf_object__prepare(self.0) } {
            0 => Ok(()),
            err => Err(err),
        }
    }

    fn insns(&self, name: &str) -> Vec<Insn> {
        let names: HashMap<i32, String> = self
            .maps()
            .into_iter()
            // SAFETY: the map is of the open object.
            .map(|m| unsafe { (sys::bpf_map__fd(m), text(sys::bpf_map__name(m))) })
            .collect();
        // SAFETY: the programs are of the open object.
        let program = self
            .programs()
            .into_iter()
            .find(|p| text(unsafe { sys::bpf_program__name(*p) }) == name)
            .expect("the program is there");
        // SAFETY: libbpf gives the instructions with their number; they live as long as the object.
        let insns = unsafe {
            let count = sys::bpf_program__insn_cnt(program) as usize;
            std::slice::from_raw_parts(sys::bpf_program__insns(program), count)
        };
        let slots = insns.iter().map(|i| Slot {
            opcode: i.code,
            dst: i.dst_reg(),
            src: i.src_reg(),
            offset: i.off,
            imm: i.imm,
        });
        named(slots, |slot| match slot.src {
            1 | 2 => names.get(&slot.imm).cloned().map(|n| (slot.src + 4, n)),
            _ => None,
        })
    }
}

/// Replaces what names a map by the map's name.
fn named(
    slots: impl IntoIterator<Item = Slot>,
    name: impl Fn(&Slot) -> Option<(u8, String)>,
) -> Vec<Insn> {
    slots
        .into_iter()
        .map(|slot| match (slot.opcode == 0x18).then(|| name(&slot)).flatten() {
            Some((src, name)) => (Slot { src, imm: 0, ..slot }, Some(name)),
            None => (slot, None),
        })
        .collect()
}

fn ours(object: &Object, name: &str, target: &Btf) -> Result<Vec<Insn>, LoadError> {
    let options = LinkOptions { target_btf: Some(target) };
    let program = object.link_for(name, &options)?.program;
    let slots = program.code.encode().expect("what was decoded can be encoded");
    Ok(named(slots, |slot| match slot.src {
        5 | 6 => Some((slot.src, program.maps[slot.imm as usize].name.clone())),
        _ => None,
    }))
}

fn objects() -> Vec<PathBuf> {
    let mut dirs = vec![PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/objects")];
    dirs.extend(std::env::var_os("EBPFVM_OBJECTS").map(PathBuf::from));
    let mut found: Vec<PathBuf> = dirs
        .iter()
        .flat_map(|d| std::fs::read_dir(d).unwrap())
        .map(|entry| entry.unwrap().path())
        .filter(|p| p.extension().is_some_and(|e| e == "o"))
        .collect();
    found.sort();
    found
}

#[test]
fn relocated_instructions_are_libbpfs() {
    // SAFETY: no print function is a valid choice.
    unsafe { sys::libbpf_set_print(None) };
    let Ok(bytes) = std::fs::read("/sys/kernel/btf/vmlinux") else {
        println!("skipped: relocated_instructions_are_libbpfs (no kernel BTF)");
        return;
    };
    let target = parse_btf(&bytes, None).unwrap();
    // libbpf reads the running kernel's configuration from the same file.
    let config = Command::new("zcat").arg("/proc/config.gz").output();
    let config = config.map(|o| String::from_utf8_lossy(&o.stdout).into_owned());
    let config = Kconfig::parse(&config.unwrap_or_default());
    let (mut same, mut refused, mut different) = (0, 0, Vec::new());
    for path in objects() {
        let bytes = std::fs::read(&path).unwrap();
        let mut object = match Object::parse(&bytes, path.to_str().unwrap()) {
            Ok(object) => object,
            Err(error) => {
                assert!(Reference::open(&path).is_none(), "{error}");
                println!("nor does libbpf open: {error}");
                continue;
            }
        };
        object.set_kconfig(&config).unwrap();
        for info in object.programs() {
            let place = format!("{} {}", path.file_name().unwrap().display(), info.name);
            let Some(reference) = Reference::open(&path) else {
                refused += 1;
                println!("libbpf does not open: {place}");
                continue;
            };
            if let Err(err) = reference.prepare(&info.name) {
                if err == -1 {
                    println!("skipped: relocated_instructions_are_libbpfs (not permitted)");
                    return;
                }
                refused += 1;
                println!("libbpf does not prepare ({err}): {place}");
                continue;
            }
            let expected = reference.insns(&info.name);
            match ours(&object, &info.name, &target) {
                // libbpf looks at no instruction that it does not relocate.
                Err(err) if matches!(*err.problem, Problem::Insn { .. }) => {
                    println!("no instructions: {err}");
                }
                Err(err) => different.push(format!("{place}: {err}")),
                Ok(found) if found == expected => same += 1,
                Ok(found) => {
                    let at = found.iter().zip(&expected).position(|(a, b)| a != b);
                    let at = at.unwrap_or(found.len().min(expected.len()));
                    different.push(format!(
                        "{place}: {} and {} slots, first difference at {at}: {:?} and {:?}",
                        found.len(),
                        expected.len(),
                        found.get(at),
                        expected.get(at)
                    ));
                }
            }
        }
    }
    println!("{same} programs the same, {refused} not prepared by libbpf");
    assert!(same > 10);
    assert!(different.is_empty(), "{}", different.join("\n"));
}

/// What libbpf and the loader say of a map: name, type, key, value, entries, flags, extra.
type MapFacts = (String, u32, u32, u32, u32, u32, u64);

/// Name, type, attach type, whether it is loaded by default.
type ProgramFacts = (String, u32, u32, bool);

impl Reference {
    fn map_facts(&self) -> Vec<MapFacts> {
        let facts = |m: *mut sys::bpf_map| {
            // SAFETY: the map is of the open object.
            unsafe {
                (
                    text(sys::bpf_map__name(m)),
                    sys::bpf_map__type(m),
                    sys::bpf_map__key_size(m),
                    sys::bpf_map__value_size(m),
                    sys::bpf_map__max_entries(m),
                    sys::bpf_map__map_flags(m),
                    sys::bpf_map__map_extra(m),
                )
            }
        };
        self.maps().into_iter().map(facts).collect()
    }

    fn program_facts(&self) -> Vec<ProgramFacts> {
        let facts = |p: *mut sys::bpf_program| {
            // SAFETY: the program is of the open object.
            unsafe {
                (
                    text(sys::bpf_program__name(p)),
                    sys::bpf_program__type(p),
                    sys::bpf_program__expected_attach_type(p),
                    sys::bpf_program__autoload(p),
                )
            }
        };
        self.programs().into_iter().map(facts).collect()
    }
}

#[test]
fn maps_and_programs_are_libbpfs() {
    // SAFETY: no print function is a valid choice.
    unsafe { sys::libbpf_set_print(None) };
    let (mut compared, mut different) = (0, Vec::new());
    for path in objects() {
        let name = path.file_name().unwrap().display();
        let Some(reference) = Reference::open(&path) else {
            println!("libbpf does not open: {name}");
            continue;
        };
        let object = Object::parse(&std::fs::read(&path).unwrap(), path.to_str().unwrap()).unwrap();
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
            // SEC("raw") is not libbpf's.
            if found != Some(&expected) && found.is_none_or(|p| p.1 != 63) {
                different.push(format!("{name}: {found:?} and {expected:?}"));
            }
        }
    }
    println!("{compared} maps and programs compared");
    assert!(different.is_empty(), "{}", different.join("\n"));
}
