//! What a kernel must have to load an object's programs, and since which release of Linux it has it.
//!
//! All instructions count, also those behind a check whether the kernel has something: what a
//! program does without them is not known here. What a loader such as libbpf leaves out for kernels
//! that lack it, and what is only in programs that are not loaded unless asked for, is listed as
//! optional and does not count for the release. Fields of contexts have releases too; they are not
//! looked at.

mod code;
mod types;

use crate::functions::Function;
use crate::object::{Object, ProgramInfo};
use code::Reach;
use ebpfvm_asm::table::Cpu;
use ebpfvm_spec::btf::essential_name;
use ebpfvm_spec::linux::{HELPER_NAMES, HELPERS, Release, kfunc_since};
use ebpfvm_spec::map::MapOrigin;
use ebpfvm_spec::{AttachType, Effect, MapDef, MapFlags, ProgType};
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident, $name:literal;)*) => {
        /// What kind of thing is needed.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum NeedKind {
            $($(#[$doc])* $kind,)*
        }

        impl NeedKind {
            /// All kinds.
            pub const ALL: &[NeedKind] = &[$(NeedKind::$kind),*];

            /// The kind in words.
            pub const fn name(self) -> &'static str {
                match self {
                    $(NeedKind::$kind => $name,)*
                }
            }
        }
    };
}

kinds! {
    /// A program type, named as bpftool does.
    ProgType, "program type";
    /// An attach type, named as bpftool does.
    AttachType, "attach type";
    /// A kind of map, named as bpftool does.
    MapType, "map type";
    /// A flag of a map, named without `BPF_F_`.
    MapFlag, "map flag";
    /// A helper, with `bpf_`.
    Helper, "helper";
    /// A function of the kernel.
    Kfunc, "kernel function";
    /// Instructions that the first release did not have.
    Insns, "instruction";
    /// Anything else.
    Feature, "feature";
}

/// Where something is needed first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Site {
    /// In a program as a whole, by name.
    Program(String),
    /// In a map, by name.
    Map(String),
    /// At an instruction.
    Insn {
        /// The function.
        function: String,
        /// Its section.
        section: String,
        /// Offset of the instruction in the section in bytes.
        offset: u32,
        /// Source file and line, if the object has them.
        line: Option<(Arc<str>, u32)>,
    },
    /// In the object as a whole.
    Object,
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Site::Program(name) => write!(f, "program {name}"),
            Site::Map(name) => write!(f, "map {name}"),
            Site::Insn { function, line: Some((file, line)), .. } => {
                write!(f, "{function}, {file}:{line}")
            }
            Site::Insn { function, section, offset, line: None } => {
                write!(f, "{function}, section {section}+{offset:#x}")
            }
            Site::Object => f.write_str("the object"),
        }
    }
}

/// Something that a kernel must have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Need {
    /// What kind of thing.
    pub kind: NeedKind,
    /// Its name.
    pub name: String,
    /// The first release that has it; none if no table here tells.
    pub since: Option<Release>,
    /// Why kernels without it will do; none if they will not.
    pub optional: Option<&'static str>,
    /// Where it is needed first.
    pub site: Site,
}

/// What a kernel must have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Needs {
    /// All things, by kind, then by release and name.
    pub list: Vec<Need>,
    /// The level of the instructions (clang's `-mcpu`).
    pub cpu: Cpu,
    /// The helpers that only programs with a GPL-compatible licence may call.
    pub gpl_helpers: Vec<String>,
}

impl Needs {
    /// The thing that decides which release is the oldest that will do; none if the first has
    /// everything.
    pub fn newest(&self) -> Option<&Need> {
        let counted = self.list.iter().filter(|n| n.optional.is_none() && n.since.is_some());
        // The first of several.
        counted.reduce(|a, b| if b.since > a.since { b } else { a })
    }

    /// The oldest release that has everything that is not optional and has a known age.
    pub fn release(&self) -> Release {
        self.newest().and_then(|need| need.since).unwrap_or(Release::FIRST)
    }

    /// The things of a kind.
    pub fn of_kind(&self, kind: NeedKind) -> impl Iterator<Item = &Need> {
        self.list.iter().filter(move |need| need.kind == kind)
    }
}

/// For programs that are not loaded unless asked for.
const NOT_LOADED: &str = "in programs that are not loaded unless asked for";

/// A list that grows.
#[derive(Default)]
struct Collector {
    list: Vec<Need>,
    /// Index in the list.
    known: HashMap<(NeedKind, String), usize>,
}

impl Collector {
    /// Adds a thing, once; what is needed somewhere is not optional. `since` is as in the tables;
    /// empty if it is not known.
    fn add(
        &mut self,
        kind: NeedKind,
        name: impl Into<String>,
        since: &str,
        optional: Option<&'static str>,
        site: Site,
    ) {
        let (name, since) = (name.into(), Release::parse(since));
        match self.known.get(&(kind, name.clone())).map(|index| &mut self.list[*index]) {
            Some(need) if need.optional.is_some() && optional.is_none() => {
                (need.optional, need.site) = (None, site);
            }
            Some(_) => {}
            None => {
                self.known.insert((kind, name.clone()), self.list.len());
                self.list.push(Need { kind, name, since, optional, site });
            }
        }
    }

    fn program(&mut self, info: &ProgramInfo) {
        let site = || Site::Program(info.name.clone());
        let optional = (!info.autoload).then_some(NOT_LOADED);
        let Some(prog_type) = info.prog_type.filter(|t| *t != ProgType::Raw) else { return };
        self.add(NeedKind::ProgType, prog_type.name(), prog_type.since(), optional, site());
        let attach = info.attach_type;
        if attach != AttachType::NONE || info.section.contains("cgroup_skb/ingress") {
            let optional = optional.or(left_out(info));
            let name = attach.name().map_or(format!("number {}", attach.0), Into::into);
            let since = attach.since().unwrap_or_default();
            self.add(NeedKind::AttachType, name, since, optional, site());
        }
        if info.is_sleepable() {
            let (name, since) = match prog_type {
                ProgType::Kprobe => ("sleepable uprobes", "6.0"),
                _ => ("sleepable programs", "5.10"),
            };
            self.add(NeedKind::Feature, name, since, optional, site());
        }
        if info.has_frags() {
            let name = "XDP packets in several buffers";
            self.add(NeedKind::Feature, name, "5.18", optional, site());
        }
    }

    fn map(&mut self, object: &Object, def: &MapDef, name: &str) {
        let site = || Site::Map(name.into());
        self.add(NeedKind::MapType, def.map_type.name(), def.map_type.since(), None, site());
        if let MapOrigin::Section { section, .. } = &def.origin
            && !section.starts_with(".struct_ops")
        {
            // Loaders choose the flags of such maps by what the kernel has.
            self.add(NeedKind::Feature, "global variables", "5.2", None, site());
        } else {
            for (flag, name, since) in MapFlags::ALL {
                if def.flags.has(*flag) {
                    self.add(NeedKind::MapFlag, *name, since, None, site());
                }
            }
        }
        let kernel_fields = object.btf().zip(def.value_type).filter(|_| !is_data(def));
        for (name, since) in kernel_fields.iter().flat_map(|(btf, id)| types::special(btf, *id)) {
            self.add(NeedKind::Feature, name, since, None, site());
        }
        if let Some(inner) = &def.inner {
            self.map(object, inner, name);
        }
    }
}

/// Whether the value of a map is a section's variables.
fn is_data(def: &MapDef) -> bool {
    matches!(def.origin, MapOrigin::Section { .. })
}

/// Why a program does without its attach type on kernels that lack it.
fn left_out(info: &ProgramInfo) -> Option<&'static str> {
    match info.attach_type {
        AttachType::XDP => Some("needed by links only; older kernels attach by netlink"),
        AttachType::SK_REUSEPORT_SELECT => Some("older kernels take such programs without it"),
        AttachType::TCX_INGRESS | AttachType::TCX_EGRESS if !info.section.contains("tcx/") => {
            Some("needed by tcx only; older kernels attach it as a classifier")
        }
        _ => None,
    }
}

impl Object {
    /// What a kernel must have to load the programs. It is told from the object alone and does not
    /// depend on a target: programs that cannot be linked here count as well.
    pub fn needs(&self) -> Needs {
        let mut found = Collector::default();
        self.programs().iter().for_each(|info| found.program(info));
        self.maps().iter().for_each(|def| found.map(self, def, &def.name));
        self.symbols_needed(&mut found);
        if self.btf().is_some() {
            let why = "loaders leave the types out for kernels that do not take them";
            found.add(NeedKind::Feature, "types (BTF)", "4.18", Some(why), Site::Object);
        }
        if self.ext.values().any(|records| !records.cores.is_empty()) {
            let why = "any kernel will do whose types are given in a file";
            found.add(NeedKind::Feature, "CO-RE relocations", "5.4", Some(why), Site::Object);
        }
        let cpu = Reach::of(self).collect(&mut found);
        let mut list = found.list;
        list.sort_by(|a, b| (a.kind, a.since, &a.name).cmp(&(b.kind, b.since, &b.name)));
        let gpl_only = |need: &&Need| {
            let name = need.name.strip_prefix("bpf_").unwrap_or(&need.name);
            let proto = HELPERS.iter().find(|h| h.name == name);
            need.kind == NeedKind::Helper && proto.is_some_and(|h| h.effects.has(Effect::GPL_ONLY))
        };
        let gpl_helpers = list.iter().filter(gpl_only).map(|need| need.name.clone()).collect();
        Needs { list, cpu, gpl_helpers }
    }

    /// What the extern symbols need. Kernel variables without a type need nothing: loaders put
    /// their addresses in.
    fn symbols_needed(&self, found: &mut Collector) {
        use crate::externs::ExternKind::{Config, Function, Unknown, Variable};
        /// Loaders make null of them.
        const WEAK: &str = "weak: there may be none";
        for e in &self.externs.list {
            let optional = e.is_weak.then_some(WEAK);
            match e.kind {
                Function { .. } => {
                    let name = essential_name(&e.name);
                    let since = kfunc_since(name).unwrap_or_default();
                    found.add(NeedKind::Kfunc, name, since, optional, Site::Object);
                    let what = "calls of kernel functions";
                    found.add(NeedKind::Feature, what, "5.13", optional, Site::Object);
                }
                Variable { type_id: Some(_) } => {
                    let what = "kernel variables with types";
                    found.add(NeedKind::Feature, what, "5.10", optional, Site::Object);
                }
                Config { .. } => {
                    let what = "values of the kernel's configuration (as global variables)";
                    found.add(NeedKind::Feature, what, "5.2", None, Site::Object);
                }
                Variable { type_id: None } | Unknown => {}
            }
        }
    }

    /// The place of an instruction of a function.
    fn site(&self, function: &Function, slot: u32) -> Site {
        let section = self.section_names[function.section].clone();
        let bytes = |slot: u32| slot * ebpfvm_asm::slot::SLOT_BYTES as u32;
        let (offset, start) = (bytes(slot), bytes(function.start));
        let lines = self.ext.get(&section).map_or(&[][..], |records| &records.lines);
        let after = lines.partition_point(|line| line.offset <= offset);
        let line = lines[..after].last().filter(|line| line.offset >= start);
        let line = line.map(|line| (line.file.clone(), line.line));
        Site::Insn { function: function.name.clone(), section, offset, line }
    }
}

/// The name of a helper with `bpf_`, and its first release.
fn helper(id: u32) -> (String, &'static str) {
    let known = id.checked_sub(1).and_then(|index| HELPER_NAMES.get(index as usize));
    known.map_or((format!("helper {id}"), ""), |(name, since)| (format!("bpf_{name}"), since))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn helpers_have_names_or_numbers() {
        assert_eq!(helper(1), ("bpf_map_lookup_elem".into(), "3.19"));
        assert_eq!(helper(211), ("bpf_cgrp_storage_delete".into(), "6.2"));
        assert_eq!(helper(0), ("helper 0".into(), ""));
        assert_eq!(helper(212), ("helper 212".into(), ""));
    }

    #[test]
    fn a_need_is_listed_once_and_as_needed() {
        let mut found = Collector::default();
        let site = |name: &str| Site::Program(name.into());
        found.add(NeedKind::Helper, "a", "5.8", Some("why"), site("first"));
        found.add(NeedKind::Helper, "a", "5.8", None, site("second"));
        found.add(NeedKind::Helper, "a", "5.8", Some("why"), site("third"));
        let [need] = &found.list[..] else { panic!("{:?}", found.list) };
        assert_eq!((need.optional, &need.site), (None, &site("second")));
    }

    #[test]
    fn the_newest_need_counts_unless_it_is_optional() {
        let mut found = Collector::default();
        found.add(NeedKind::Helper, "old", "4.20", None, Site::Object);
        found.add(NeedKind::Helper, "first", "5.10", None, Site::Object);
        found.add(NeedKind::Helper, "second", "5.10", None, Site::Object);
        found.add(NeedKind::Helper, "optional", "6.1", Some("why"), Site::Object);
        found.add(NeedKind::Helper, "unknown", "", None, Site::Object);
        let needs = Needs { list: found.list, cpu: Cpu::V1, gpl_helpers: Vec::new() };
        assert_eq!(needs.newest().map(|need| need.name.as_str()), Some("first"));
        assert_eq!(needs.release().to_string(), "5.10");
        let none = Needs { list: Vec::new(), cpu: Cpu::V1, gpl_helpers: Vec::new() };
        assert_eq!((none.newest(), none.release()), (None, Release::FIRST));
    }
}
