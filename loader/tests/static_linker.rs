//! Several objects linked to one.

use ebpfvm_loader::static_linker::{Input, LinkError};
use ebpfvm_loader::{Object, link_objects};
use ebpfvm_spec::btf::{Btf, Kind, KindTag};
use ebpfvm_spec::{LineInfo, MapDef, Program};
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
