//! libbpf, as far as the comparison needs it.

use ebpfvm_asm::Slot;
use libbpf_sys as sys;
use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::path::Path;

/// An instruction with the map it names, if any.
pub(crate) type Insn = (Slot, Option<String>);

/// An object that libbpf opened.
pub(crate) struct Reference(*mut sys::bpf_object);

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

/// Keeps libbpf from printing, unless `EBPFVM_LIBBPF_SAYS` is set.
pub(crate) fn be_quiet() {
    if std::env::var_os("EBPFVM_LIBBPF_SAYS").is_some() {
        return;
    }
    // SAFETY: no print function is a valid choice.
    unsafe { sys::libbpf_set_print(None) };
}

impl Reference {
    /// Opens an object; its CO-RE relocations ask the types in `target`, or the running kernel's.
    pub(crate) fn open(path: &Path, target: Option<&Path>) -> Option<Reference> {
        let text = |p: &Path| CString::new(p.to_str()?).ok();
        let path = text(path)?;
        let target = target.map(|t| text(t).expect("the path is text"));
        let opts = sys::bpf_object_open_opts {
            sz: size_of::<sys::bpf_object_open_opts>() as _,
            btf_custom_path: target.as_ref().map_or(std::ptr::null(), |t| t.as_ptr()),
            ..Default::default()
        };
        // SAFETY: the paths are NUL-terminated, and the options, of the size that they say, live
        // through the call; libbpf copies what it keeps.
        let object = unsafe { sys::bpf_object__open_file(path.as_ptr(), &opts) };
        (!object.is_null()).then_some(Reference(object))
    }

    pub(crate) fn programs(&self) -> Vec<*mut sys::bpf_program> {
        let next = |previous| {
            // SAFETY: the object is open and `previous` is null or one of its programs.
            let next = unsafe { sys::bpf_object__next_program(self.0, previous) };
            (!next.is_null()).then_some(next)
        };
        std::iter::successors(next(std::ptr::null_mut()), |p| next(*p)).collect()
    }

    pub(crate) fn maps(&self) -> Vec<*mut sys::bpf_map> {
        let next = |previous: *const sys::bpf_map| {
            // SAFETY: the object is open and `previous` is null or one of its maps.
            let next = unsafe { sys::bpf_object__next_map(self.0, previous) };
            (!next.is_null()).then_some(next)
        };
        std::iter::successors(next(std::ptr::null()), |m| next(*m)).collect()
    }

    /// Prepares only this program; maps are not pinned.
    pub(crate) fn prepare(&self, name: &str) -> Result<(), i32> {
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

    /// The instructions of a prepared program; none if libbpf has no such program.
    pub(crate) fn insns(&self, name: &str) -> Option<Vec<Insn>> {
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
            .find(|p| text(unsafe { sys::bpf_program__name(*p) }) == name)?;
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
        Some(named(slots, |slot| match slot.src {
            1 | 2 => names.get(&slot.imm).cloned().map(|n| (slot.src + 4, n)),
            _ => None,
        }))
    }
}

/// Replaces what names a map by the map's name.
pub(crate) fn named(
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

/// What libbpf and the loader say of a map: name, type, key, value, entries, flags, extra.
pub(crate) type MapFacts = (String, u32, u32, u32, u32, u32, u64);

/// Name, type, attach type, whether it is loaded by default.
pub(crate) type ProgramFacts = (String, u32, u32, bool);

impl Reference {
    pub(crate) fn map_facts(&self) -> Vec<MapFacts> {
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

    pub(crate) fn program_facts(&self) -> Vec<ProgramFacts> {
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
