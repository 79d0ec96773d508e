//! Several objects linked to one.

use ebpfvm_loader::static_linker::{Input, LinkError};
use ebpfvm_loader::{Object, link_objects};
use ebpfvm_spec::btf::{Btf, Kind, KindTag};
use ebpfvm_spec::map::InitialValue;
use ebpfvm_spec::{LineInfo, MapDef, Program};
use proptest::prelude::*;
use std::process::Command;

fn path(name: &str) -> String {
    format!("{}/tests/objects/{name}.o", env!("CARGO_MANIFEST_DIR"))
}

fn bytes(name: &str) -> Vec<u8> {
    std::fs::read(path(name)).unwrap_or_else(|err| panic!("{name}: {err}"))
}

fn link(names: &[&str]) -> Result<Vec<u8>, LinkError> {
    let files: Vec<(String, Vec<u8>)> =
        names.iter().map(|n| (format!("{n}.o"), bytes(n))).collect();
    let inputs: Vec<Input<'_>> = files.iter().map(|(file, bytes)| Input { file, bytes }).collect();
    link_objects(&inputs)
}

fn linked(names: &[&str]) -> Object {
    let bytes = link(names).unwrap_or_else(|err| panic!("{err}"));
    Object::parse(&bytes, "linked.o").unwrap_or_else(|err| panic!("{err}"))
}

fn lines(program: &Program) -> Vec<(&str, u32)> {
    program.lines.iter().map(|l: &LineInfo| (&*l.text, l.line)).collect()
}

#[test]
fn programs_and_maps_of_all_files_are_there() {
    let object = linked(&["link_a", "link_b"]);
    let programs: Vec<&str> = object.programs().iter().map(|p| p.name.as_str()).collect();
    assert_eq!(
        programs,
        ["externs", "weaks", "locals", "maps", "sum", "other", "count", "swap", "typed"]
    );
    let maps: Vec<&str> = object.maps().iter().map(|m| m.name.as_str()).collect();
    assert_eq!(
        maps,
        ["both", "counters", "jumps", "linked.data", "linked.bss", "linked.rodata", ".data.own"]
    );
    assert_eq!(object.license(), "GPL");
    let map = |name: &str| object.maps().iter().find(|m| m.name == name).unwrap();
    let btf = object.btf().unwrap();
    // Both maps have the one type, in which the declaration has become the definition.
    assert_eq!(map("both").value_type, map("counters").value_type);
    let entry = map("both").value_type.unwrap();
    let Some(Kind::Compound { members, .. }) = btf.kind(entry) else { panic!() };
    let owner = btf.list(members)[1].type_id;
    let Some(Kind::Ptr(owner)) = btf.kind(owner) else { panic!() };
    assert_eq!(btf.kind(owner).unwrap().tag(), KindTag::Struct);
    for name in ["u32", "entry", "owner", "xdp_md", "counters"] {
        let types = |id: &_| {
            matches!(
                btf.kind(*id).unwrap().tag(),
                KindTag::Struct | KindTag::Fwd | KindTag::Typedef
            )
        };
        assert_eq!(btf.named(name).filter(types).count(), 1, "{name}");
    }
}

#[test]
fn variables_have_the_offsets_of_their_symbols() {
    let object = linked(&["link_a", "link_b"]);
    let btf = object.btf().unwrap();
    let vars = |section: &str| {
        let id = btf.find(section, KindTag::Datasec).unwrap();
        let Some(Kind::Datasec { bytes, vars }) = btf.kind(id) else { panic!() };
        let vars = btf.list(vars).iter().map(|v| (btf.name(v.type_id), v.offset, v.bytes));
        (bytes, vars.collect::<Vec<_>>())
    };
    // The weak level of link_a.c stays as four bytes without a name.
    assert_eq!(vars(".data"), (12, vec![("factor", 4, 4), ("level", 8, 4)]));
    assert_eq!(vars(".data.own"), (4, vec![("own_section", 0, 4)]));
    assert_eq!(vars(".bss"), (24, vec![("state", 0, 8), ("latest", 8, 8), ("state", 16, 8)]));
    let rodata = vec![("low", 0, 1), ("table", 4, 16), ("text", 20, 10), ("low", 30, 1)];
    assert_eq!(vars(".rodata"), (31, rodata));
    // The second definition of `both` gave way to the first.
    let maps = vec![("both", 0, 32), ("counters", 32, 32), ("jumps", 96, 24)];
    assert_eq!(vars(".maps").1, maps);
    assert_eq!(vars("license"), (4, vec![("license_text", 0, 4)]));
}

#[test]
fn functions_keep_their_lines_and_types() {
    let object = linked(&["link_a", "link_b"]);
    let program = object.link("externs").unwrap();
    let names: Vec<&str> = program.funcs.iter().map(|f| f.name.as_str()).collect();
    assert_eq!(names, ["externs", "triple"]);
    let lines = lines(&program);
    assert!(lines.iter().any(|(text, _)| text.contains("return triple(opaque(7)) + factor")));
    assert!(lines.iter().any(|(text, _)| text.contains("return opaque(x) * 3;")));
    let btf = object.btf().unwrap();
    for f in &program.funcs {
        assert_eq!(btf.name(f.type_id.unwrap()), f.name);
    }
    // Each file's own function of the name.
    let local = |program: &str| {
        let program = object.link(program).unwrap();
        let local = program.funcs.iter().find(|f| f.name == "local").unwrap();
        program.line(local.start).unwrap().line
    };
    assert_ne!(local("locals"), local("other"));
}

#[test]
fn what_is_only_declared_stays_an_extern() {
    let half = link(&["link_a"]).unwrap();
    let error = Object::parse(&half, "half.o").unwrap_err().to_string();
    assert!(error.contains("map 'counters': the linkage is extern"), "{error}");
    // Linking the result with what was missing is linking all.
    let inputs = [
        Input { file: "half.o", bytes: &half },
        Input { file: "link_b.o", bytes: &bytes("link_b") },
    ];
    let whole = link_objects(&inputs).unwrap();
    assert_eq!(
        shown(&Object::parse(&whole, "linked.o").unwrap()),
        shown(&linked(&["link_a", "link_b"]))
    );
}

#[test]
fn linking_one_object_changes_nothing_that_matters() {
    for name in [
        "calls", "calls_be", "calls_v4", "core", "data", "data_be", "maps", "sections", "values",
        "legacy",
    ] {
        let object = Object::parse(&bytes(name), "linked.o").unwrap();
        assert_eq!(shown(&linked(&[name])), shown(&object), "{name}");
        let once = link(&[name]).unwrap();
        let again = link_objects(&[Input { file: "once.o", bytes: &once }]).unwrap();
        assert_eq!(shown(&Object::parse(&again, "linked.o").unwrap()), shown(&object), "{name}");
    }
}

#[test]
fn the_committed_result_is_the_linkers() {
    // `rebuild.sh` links it; other tests open it with libbpf.
    assert!(
        link(&["link_b", "link_a"]).unwrap() == bytes("linked"),
        "run tests/objects/rebuild.sh"
    );
}

#[test]
fn externs_of_the_kernel_are_one_and_maps_name_what_the_other_file_has() {
    let object = linked(&["link_outer_a", "link_outer_b"]);
    let btf = object.btf().unwrap();
    for (section, name) in [(".kconfig", "LINUX_KERNEL_VERSION"), (".ksyms", "kernel_function")] {
        let Some(Kind::Datasec { bytes: 0, vars }) =
            btf.kind(btf.find(section, KindTag::Datasec).unwrap())
        else {
            panic!()
        };
        let names: Vec<&str> = btf.list(vars).iter().map(|v| btf.name(v.type_id)).collect();
        assert_eq!(names, [name]);
    }
    let index = |name: &str| object.maps().iter().position(|m| m.name == name).unwrap();
    let values = |name: &str| object.maps()[index(name)].values.clone();
    assert_eq!(values("programs"), [(2, InitialValue::Program("target".into()))]);
    assert_eq!(values("tables"), [(1, InitialValue::Map(index("inner") as u32))]);
    // One each of the tags on the struct, its member, the variable and the parameter.
    let mut tags: Vec<&str> = btf
        .iter()
        .filter(|(_, t)| t.kind.tag() == KindTag::DeclTag)
        .map(|(_, t)| btf.str(t.name))
        .collect();
    tags.sort_unstable();
    assert_eq!(tags, ["member", "parameter", "struct", "variable"]);
    assert_eq!(object.version(), Some(0x061200));
    for program in ["dispatch", "target"] {
        let program = object.link(program).unwrap();
        assert!(program.funcs.iter().any(|f| f.name == "shared"));
    }
}

#[test]
fn byte_orders_follow_the_files() {
    let object = linked(&["link_a_be", "link_b_be"]);
    assert_eq!(object.byte_order(), ebpfvm_asm::ByteOrder::Big);
    let little = linked(&["link_a", "link_b"]);
    // The other one asks about the kernel's types.
    for info in object.programs().iter().filter(|p| p.section == "xdp") {
        let insns = |o: &Object| {
            let program = o.link(&info.name).unwrap();
            program.code.iter().map(|(_, i)| format!("{i:?}")).collect::<Vec<_>>()
        };
        assert_eq!(insns(&object), insns(&little), "{}", info.name);
    }
}

#[test]
fn what_does_not_fit_together_is_named_with_both_files() {
    let cases: [(&[&str], &str); 9] = [
        (&[], "no files to link, expected at least one"),
        (
            &["link_b", "link_b"],
            "'triple' is defined in link_b.o and in link_b.o; make one of them weak or static",
        ),
        (&["link_a", "link_b_be"], "link_a.o is little endian, link_b_be.o big: expected the same"),
        (
            &["link_b", "link_wrong_1"],
            "'factor': the size in bytes of 'unsigned int' is 4 in link_b.o, but 8 in link_wrong_1.o",
        ),
        (
            &["link_wrong_2", "link_b"],
            "'triple': the number of parameters is 1 in link_b.o, but 2 in link_wrong_2.o",
        ),
        (
            &["link_b", "link_wrong_3"],
            "'counters': max_entries is 4 in link_b.o, but 5 in link_wrong_3.o",
        ),
        (
            &["link_b", "link_wrong_4"],
            "'factor': its kind is VAR in link_b.o, but FUNC in link_wrong_4.o",
        ),
        (
            &["link_b", "link_wrong_5"],
            "section 'license' is \"GPL\" in link_b.o, but \"BSD\" in link_wrong_5.o",
        ),
        (&["sections", "sections"], "is defined in sections.o and in sections.o"),
    ];
    for (names, expected) in cases {
        let error = link(names).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains(expected), "{names:?}\n found: {error}\n wants: {expected}");
    }
    let text = Input { file: "a.c", bytes: b"int main(void);" };
    let error = link_objects(&[text]).unwrap_err().to_string();
    assert_eq!(error, "a.c: not an ELF file: it does not begin with 7f 'ELF'");
}

fn attempt(first: &[u8], second: &[u8]) {
    let inputs = [Input { file: "a.o", bytes: first }, Input { file: "b.o", bytes: second }];
    let Ok(result) = link_objects(&inputs) else { return };
    let Ok(object) = Object::parse(&result, "linked.o") else { return };
    for program in object.programs() {
        let _ = object.link(&program.name);
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 1500,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn changed_bytes_do_no_harm(
        names in prop::sample::select(vec![["link_a", "link_b"], ["link_b", "link_a"], ["link_outer_a", "link_outer_b"]]),
        in_first in any::<bool>(),
        // Headers and tables of sections, symbols and types come last in these files.
        from_end in any::<bool>(),
        changes in prop::collection::vec((0usize..6000, prop::sample::select(vec![0u8, 1, 2, 8, 0x7f, 0x80, 0xff])), 1..8),
    ) {
        let mut files = names.map(bytes);
        let file = &mut files[usize::from(!in_first)];
        for (at, byte) in changes {
            let at = at % file.len();
            let at = if from_end { file.len() - 1 - at } else { at };
            file[at] = byte;
        }
        attempt(&files[0], &files[1]);
    }

    #[test]
    fn changed_types_do_no_harm(
        section in prop::sample::select(vec![".BTF", ".BTF.ext", ".symtab", ".relxdp", ".rel.text", ".rel.maps"]),
        name in prop::sample::select(vec!["link_b", "link_outer_a"]),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        use object::{Object as _, ObjectSection as _};
        let mut first = bytes(name);
        let range = object::File::parse(&*first).unwrap().section_by_name(section).and_then(|s| s.file_range());
        let Some((start, size)) = range else { return Ok(()) };
        for (at, byte) in changes {
            first[start as usize + at.index(size as usize)] = byte;
        }
        attempt(&first, &bytes("link_a"));
        attempt(&bytes("link_outer_b"), &first);
    }
}

#[test]
fn claims_about_sizes_and_alignment_are_checked() {
    let inputs = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut changed = bytes("link_b");
        change(&mut changed);
        let first = bytes("link_a");
        let inputs = [Input { file: "a.o", bytes: &first }, Input { file: "b.o", bytes: &changed }];
        link_objects(&inputs).map(|_| ()).unwrap_err().to_string()
    };
    let header = |bytes: &[u8], name: &str| {
        use object::{Object as _, ObjectSection as _};
        let file = object::File::parse(bytes).unwrap();
        let index = file.section_by_name(name).unwrap().index().0;
        let table = u64::from_le_bytes(bytes[0x28..0x30].try_into().unwrap()) as usize;
        table + 64 * index
    };
    let put = |bytes: &mut Vec<u8>, at: usize, value: u64| {
        bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
    };
    let error = inputs(&|b| {
        let at = header(b, ".data");
        put(b, at + 48, 24);
    });
    assert_eq!(
        error,
        "b.o: section '.data' is aligned to 24 bytes, expected a power of two up to 65536"
    );
    let error = inputs(&|b| {
        let at = header(b, ".data");
        put(b, at + 8, 2);
    });
    assert_eq!(error, "section '.data': the set of flags is 0x2 in b.o, but 0x3 in a.o");
    let error = inputs(&|b| {
        let at = header(b, ".bss");
        put(b, at + 32, u64::MAX);
    });
    assert!(error.starts_with("the number of bytes of a section would be"), "{error}");
    let error = inputs(&|b| {
        let at = header(b, ".rodata");
        b[at + 4] = 7;
    });
    assert_eq!(error, "b.o: section '.rodata' is of type 7, expected data (1) or zeros (8)");
    // Types that claim to be memory are types all the same.
    let mut changed = bytes("link_b");
    let at = header(&changed, ".BTF.ext");
    put(&mut changed, at + 8, 2);
    let changed = link_objects(&[Input { file: "linked.o", bytes: &changed }]).unwrap();
    assert!(changed == link(&["link_b"]).unwrap());
}

/// Everything that an object says, types by their names.
fn shown(object: &Object) -> Vec<String> {
    let btf = object.btf().map(|b| &**b);
    let mut all = vec![object.license().to_string(), format!("{:?}", object.version())];
    all.extend(object.maps().iter().map(|m| map(btf, m)));
    for info in object.programs() {
        all.push(format!("{info:?}"));
        let program = match object.link(&info.name) {
            Ok(program) => program,
            Err(error) => {
                all.push(error.to_string());
                continue;
            }
        };
        all.extend(program.code.iter().map(|(pc, insn)| format!("{pc:?} {insn:?}")));
        for f in &program.funcs {
            all.push(format!("{} {:?} {}", f.name, f.start, named(btf, f.type_id)));
        }
        all.extend(program.lines.iter().map(|l| format!("{l:?}")));
    }
    if let Some(btf) = btf {
        let mut types: Vec<String> =
            ebpfvm_loader::btf::c::header(btf).unwrap().split("\n\n").map(String::from).collect();
        types.sort();
        types.dedup();
        all.extend(types);
    }
    all
}

fn named(btf: Option<&Btf>, id: Option<ebpfvm_spec::btf::TypeId>) -> String {
    let name = btf.zip(id).map(|(b, id)| (b.kind(id).unwrap().tag(), b.name(id)));
    format!("{name:?}")
}

fn map(btf: Option<&Btf>, m: &MapDef) -> String {
    let (key, value) = (named(btf, m.key_type), named(btf, m.value_type));
    let inner = m.inner.as_ref().map(|m| map(btf, m));
    let plain = MapDef { key_type: None, value_type: None, inner: None, ..m.clone() };
    format!("{plain:?} {key} {value} {inner:?}")
}

#[test]
fn the_result_is_bpftools() {
    // bpftool 7.1 leaves the offset of a declaration that a definition replaces, so the file with the
    // definitions comes first.
    let names = ["link_b", "link_a"];
    let directory = std::env::temp_dir().join(format!("ebpfvm-link-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let output = directory.join("linked.o");
    let run =
        Command::new("bpftool").args(["gen", "object"]).arg(&output).args(names.map(path)).output();
    let theirs = std::fs::read(&output);
    let _ = std::fs::remove_dir_all(&directory);
    match run {
        Err(error) => println!("skipped: the_result_is_bpftools (no bpftool: {error})"),
        Ok(run) => {
            assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
            let theirs = Object::parse(&theirs.unwrap(), "linked.o").unwrap();
            let ours = linked(&names);
            for (ours, theirs) in shown(&ours).iter().zip(&shown(&theirs)) {
                assert_eq!(ours, theirs);
            }
            assert_eq!(shown(&ours).len(), shown(&theirs).len());
            assert!(ours.btf().unwrap().len() <= theirs.btf().unwrap().len());
        }
    }
}
