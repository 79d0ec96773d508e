//! What each object of the corpus comes out as, in a file that changes are noticed by: its maps, its
//! programs with their relocated instructions, and what became of CO-RE relocations, against the types
//! of the made-up kernel `objects/target.c`.
//!
//! `EBPFVM_BLESS=1 cargo test -p ebpfvm-loader --test golden` rewrites the files.

#[path = "corpus/mod.rs"]
mod corpus;

use ebpfvm_asm::text::{ListedLine, Style, Symbols, listed_lines};
use ebpfvm_asm::{Imm64, Insn, Pc};
use ebpfvm_loader::{Kconfig, KernelSymbols, LinkOptions, LinkedProgram, Object};
use ebpfvm_spec::map::{InitialValue, MapOrigin};
use ebpfvm_spec::{MapDef, Program};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::PathBuf;

/// A configuration with a value of each form.
const CONFIG: &str = "CONFIG_HZ=250\nCONFIG_SMP=y\nCONFIG_BPF_SYSCALL=y\nCONFIG_IPV6=m\n\
    CONFIG_MODULES=y\nCONFIG_LOCALVERSION=\"-longer-than-the-array\"\nCONFIG_NR_CPUS=64\n\
    CONFIG_LOG_BUF_SHIFT=0x12\nCONFIG_ILLEGAL_POINTER_VALUE=0xdead000000000000\n";
const SYMBOLS: &str = "ffffffff81000000 T _stext\nffffffff81000010 T _text\n";

struct Functions<'a>(&'a Program);

impl Symbols for Functions<'_> {
    fn function(&self, pc: Pc) -> Option<(String, Pc)> {
        self.0.func(pc).map(|f| (f.name.clone(), f.start))
    }
}

fn map(out: &mut String, object: &Object, index: usize, def: &MapDef, indent: &str) {
    let type_name = |id: Option<_>| {
        let name = id.zip(object.btf()).map(|(id, btf)| btf.name(id).to_string());
        name.map_or(String::new(), |n| format!(" ({n})"))
    };
    let _ = write!(
        out,
        "{indent}map {index} {}: {}, key {}{}, value {}{}, entries {}, flags {}",
        def.name,
        def.map_type.name(),
        def.key_bytes,
        type_name(def.key_type),
        def.value_bytes,
        type_name(def.value_type),
        def.max_entries,
        def.flags,
    );
    if def.extra != 0 {
        let _ = write!(out, ", extra {:#x}", def.extra);
    }
    if def.numa_node != 0 || def.pinned {
        let _ = write!(out, ", node {}, pinned {}", def.numa_node, def.pinned);
    }
    out.push('\n');
    for (at, value) in &def.values {
        let _ = match value {
            InitialValue::Program(name) => writeln!(out, "{indent}  [{at}] program {name}"),
            InitialValue::Map(i) => writeln!(out, "{indent}  [{at}] map {i}"),
        };
    }
    if let MapOrigin::Section { section, data } = &def.origin {
        let hex: Vec<String> = data.iter().map(|b| format!("{b:02x}")).collect();
        let _ = writeln!(out, "{indent}  {section}: {}", hex.join(" "));
    }
    if let Some(inner) = &def.inner {
        map(out, object, index, inner, &format!("{indent}  inner "));
    }
}

/// The instructions; references to maps by their names.
fn instructions(out: &mut String, program: &Program, with_text: bool) {
    let name = |index: u32| program.maps.get(index as usize).map_or("?", |m| &m.name);
    for ListedLine { pc, label, text } in
        listed_lines(&program.code, Style::PseudoC, &Functions(program))
    {
        if let Some(func) = program.funcs.iter().find(|f| f.start == pc) {
            let kind = if func.is_global { "global" } else { "static" };
            let id = func.type_id.zip(program.btf.as_ref()).map_or("", |(id, btf)| btf.name(id));
            let _ = writeln!(out, "  {kind} {}: type '{id}'", func.name);
        }
        if let Some(label) = label.filter(|l| l.starts_with('L')) {
            let _ = writeln!(out, "  {label}:");
        }
        let note = match program.code.get(pc) {
            Some(Insn::LoadImm { value: Imm64::MapIdx(i), .. }) => format!(" ; {}", name(*i)),
            Some(Insn::LoadImm { value: Imm64::MapIdxValue { index, .. }, .. }) => {
                format!(" ; {}", name(*index))
            }
            _ => String::new(),
        };
        let line = program.lines.iter().find(|l| l.pc == pc);
        let line = line.map_or(String::new(), |l| {
            let text = if with_text { format!(" {}", l.text.trim()) } else { String::new() };
            let file = l.file.rsplit('/').next().unwrap_or(&l.file);
            format!(" @{file}:{}:{}{text}", l.line, l.column)
        });
        let _ = writeln!(out, "{pc:>5} {text}{note}{line}");
    }
}

fn listing(object: &Object, options: &LinkOptions<'_>) -> String {
    let mut out = String::new();
    let order = object.byte_order();
    let _ =
        writeln!(out, "license '{}', version {:?}, {order:?}", object.license(), object.version());
    for (index, def) in object.maps().iter().enumerate() {
        map(&mut out, object, index, def, "");
    }
    for info in object.programs() {
        let _ = writeln!(
            out,
            "\nprogram {}: section '{}', type {}, attach type {}, target {:?}, load {}, flags {:#x}",
            info.name,
            info.section,
            info.prog_type.map_or("unknown", |t| t.name()),
            info.attach_type.0,
            info.attach_target.as_deref().unwrap_or(""),
            info.autoload,
            info.flags,
        );
        match object.link_for(&info.name, options) {
            Ok(LinkedProgram { program, core, .. }) => {
                instructions(&mut out, &program, object.file().starts_with("lines"));
                for c in &core {
                    let after = c.after.map_or("absent".into(), |n| format!("{n:#x}"));
                    let _ = writeln!(
                        out,
                        "  {}+{:#x} {} of {}: {:#x} -> {after}",
                        c.section, c.offset, c.kind, c.access, c.before
                    );
                }
            }
            Err(err) => {
                let _ = writeln!(out, "  refused: {err}");
            }
        }
    }
    out
}

fn golden_dir() -> PathBuf {
    corpus::dir().join("../golden")
}

#[test]
fn objects_come_out_as_recorded() {
    let bless = std::env::var_os("EBPFVM_BLESS").is_some_and(|v| v == "1");
    let (target, symbols) = (corpus::target(), KernelSymbols::parse(SYMBOLS));
    let options = LinkOptions { target_btf: Some(&target), symbols: Some(&symbols) };
    let config = Kconfig::parse(CONFIG);
    let (mut names, mut wrong) = (BTreeSet::new(), Vec::new());
    for path in corpus::objects_in(&corpus::dir()) {
        let name = corpus::name(&path).replace(".o", ".txt");
        let golden = golden_dir().join(&name);
        let found = match corpus::open(&path) {
            Ok(mut object) => {
                object.set_kconfig(&config).unwrap();
                listing(&object, &options)
            }
            Err(err) => format!("refused: {err}\n"),
        };
        if bless {
            std::fs::write(&golden, &found).unwrap();
        }
        let expected = std::fs::read_to_string(&golden).unwrap_or_default();
        if found != expected {
            let pairs = found.lines().zip(expected.lines()).zip(1..);
            let first = pairs
                .filter(|((a, b), _)| a != b)
                .map(|((a, b), line)| format!("{name}:{line}: found\n  {a}\nexpected\n  {b}"));
            let lengths = format!("{name}: {} and {} bytes", found.len(), expected.len());
            wrong.push(first.take(1).next().unwrap_or(lengths));
        }
        names.insert(name);
    }
    for entry in std::fs::read_dir(golden_dir()).unwrap() {
        let name = corpus::name(&entry.unwrap().path());
        if !names.contains(&name) {
            wrong.push(format!("{name}: there is no such object"));
        }
    }
    assert!(names.len() >= 90, "{} objects", names.len());
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn the_corpus_has_every_kind_of_relocation_program_and_map() {
    use ebpfvm_loader::core_relo::CoreKind;
    use ebpfvm_loader::section_name;
    let (target, symbols) = (corpus::target(), KernelSymbols::parse(SYMBOLS));
    let options = LinkOptions { target_btf: Some(&target), symbols: Some(&symbols) };
    let (mut kinds, mut sections, mut maps) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for path in corpus::objects() {
        let Ok(object) = corpus::open(&path) else { continue };
        maps.extend(object.maps().iter().map(|m| m.map_type));
        for info in object.programs() {
            sections.extend(section_name::meaning(&info.section).row.map(|r| r.pattern));
            if let Ok(linked) = object.link_for(&info.name, &options) {
                kinds.extend(linked.core.iter().map(|c| c.kind.to_string()));
            }
        }
    }
    let all = (0..).map_while(CoreKind::from_number);
    let missing: Vec<String> = all.map(|k| k.to_string()).filter(|k| !kinds.contains(k)).collect();
    assert!(missing.is_empty(), "kinds of relocations: {missing:?}");
    let patterns = section_name::TABLE.iter().map(|r| r.pattern);
    let missing: Vec<&str> = patterns.filter(|p| !sections.contains(p)).collect();
    assert!(missing.is_empty(), "section names: {missing:?}");
    let all = ebpfvm_spec::MapType::ALL.iter();
    let missing: Vec<_> = all.filter(|t| !maps.contains(t)).collect();
    assert!(missing.is_empty(), "map types: {missing:?}");
}
