//! Objects compiled by clang, one for each feature (`tests/objects/*.c`), against what they should
//! come out as.

use ebpfvm_asm::{ByteOrder, CallTarget, Imm64, Insn, Pc};
use ebpfvm_loader::core_relo::CoreProblem;
use ebpfvm_loader::{Kconfig, LinkOptions, Object, POISON_KFUNC, Problem, RelocKind};
use ebpfvm_spec::btf::{BtfBuilder, IntEncoding, Kind, Linkage, Name, Param};
use ebpfvm_spec::map::{InitialValue, MapOrigin};
use ebpfvm_spec::{AttachType, MapFlags, MapType, Platform, ProgType, Program};

fn bytes(name: &str) -> Vec<u8> {
    let path = format!("{}/tests/objects/{name}.o", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).unwrap_or_else(|err| panic!("{path}: {err}"))
}

fn object(name: &str) -> Object {
    Object::parse(&bytes(name), &format!("dir/{name}.o")).unwrap_or_else(|err| panic!("{err}"))
}

/// What a program's 64-bit immediate loads refer to; plain numbers left out.
fn loads(program: &Program) -> Vec<Imm64> {
    let load = |insn: &Insn| match insn {
        Insn::LoadImm { value: Imm64::Value(_), .. } => None,
        Insn::LoadImm { value, .. } => Some(*value),
        _ => None,
    };
    program.code.iter().filter_map(|(_, insn)| load(insn)).collect()
}

fn func_names(program: &Program) -> Vec<&str> {
    program.funcs.iter().map(|f| f.name.as_str()).collect()
}

/// Each function reference of the program: the callee's name.
fn references(program: &Program) -> Vec<(&str, &str)> {
    let mut found = Vec::new();
    for (pc, insn) in program.code.iter() {
        if let Some(offset) = insn.function_offset() {
            let callee = pc.jump(offset).unwrap();
            let f = program.func(callee).unwrap();
            assert_eq!(f.start, callee, "a reference is to a function's start");
            found.push((program.func(pc).unwrap().name.as_str(), f.name.as_str()));
        }
    }
    found
}

#[test]
fn map_definitions_have_all_attributes() {
    let object = object("maps");
    let map = |name: &str| object.maps().iter().find(|m| m.name == name).unwrap();
    let names: Vec<_> = object.maps().iter().map(|m| m.name.as_str()).collect();
    let declared = ["flows", "counters", "events", "bloom", "inner_a", "inner_b", "outer", "jumps"];
    assert_eq!(names.len(), declared.len());
    assert!(declared.iter().all(|d| names.contains(d)), "{names:?}");

    let flows = map("flows");
    assert_eq!((flows.map_type, flows.key_bytes, flows.value_bytes), (MapType::Hash, 8, 16));
    assert_eq!((flows.max_entries, flows.flags, flows.pinned), (1024, MapFlags(5), true));
    let btf = object.btf().unwrap();
    assert_eq!(btf.name(flows.key_type.unwrap()), "key");
    assert_eq!(btf.name(flows.value_type.unwrap()), "value");

    let counters = map("counters");
    assert_eq!((counters.key_bytes, counters.value_bytes, counters.key_type), (4, 8, None));
    assert_eq!(map("events").max_entries, 8192, "rounded up to a power of two of pages");
    assert_eq!((map("bloom").extra, map("bloom").key_bytes), (5, 0));

    let outer = map("outer");
    let inner = outer.inner.as_ref().unwrap();
    assert_eq!((inner.map_type, inner.value_bytes, inner.max_entries), (MapType::Array, 8, 2));
    let index = |name| names.iter().position(|n| *n == name).unwrap() as u32;
    let values =
        [(0, InitialValue::Map(index("inner_a"))), (2, InitialValue::Map(index("inner_b")))];
    assert_eq!(outer.values, values);
    assert_eq!((outer.key_bytes, outer.value_bytes), (4, 4));
    assert_eq!(map("jumps").values, [(5, InitialValue::Program("target".into()))]);
}

#[test]
fn programs_name_maps_by_index() {
    let object = object("maps");
    let program = object.program("entry", &Platform::linux()).unwrap();
    let index = |name| object.maps().iter().position(|m| m.name == name).unwrap() as u32;
    assert_eq!(loads(&program), [Imm64::MapIdx(index("flows")), Imm64::MapIdx(index("jumps"))]);
    assert_eq!(program.prog_type, ProgType::Xdp);
    assert_eq!(program.license, "Dual MIT/GPL");
    assert_eq!(program.maps.len(), object.maps().len());
}

#[test]
fn relocations_are_listed() {
    let object = object("legacy");
    let found: Vec<_> =
        object.relocations().map(|r| (r.section, r.kind, r.symbol, r.home)).collect();
    let one = |symbol: &str| ("xdp".into(), RelocKind::R64_64, symbol.into(), "maps".into());
    assert_eq!(found, [one("second"), one("first")]);
}

#[test]
fn data_sections_are_maps() {
    for (name, order) in [("data", ByteOrder::Little), ("data_be", ByteOrder::Big)] {
        let object = object(name);
        assert_eq!(object.byte_order(), order);
        assert_eq!(object.license(), "GPL");
        assert_eq!(object.version(), Some(0x061200));
        let map = |name: &str| {
            object.maps().iter().find(|m| m.name == name).unwrap_or_else(|| {
                panic!("{name}: {:?}", object.maps().iter().map(|m| &m.name).collect::<Vec<_>>())
            })
        };
        let data = |name: &str| match &map(name).origin {
            MapOrigin::Section { data, .. } => data.clone(),
            other => panic!("{other:?}"),
        };
        let rodata = data(&format!("{name}.rodata"));
        let seven = match order {
            ByteOrder::Little => 7u32.to_le_bytes(),
            ByteOrder::Big => 7u32.to_be_bytes(),
        };
        assert_eq!(rodata[..4], seven);
        assert!(rodata.windows(12).any(|w| w == b"hello, world"));
        assert_eq!(*data(".rodata.table"), [1, 2, 3, 4]);
        assert!(data(&format!("{name}.bss")).iter().all(|b| *b == 0));
        let flags = |n: &str| map(n).flags;
        let (read_only, mmap) = (MapFlags::RDONLY_PROG, MapFlags::MMAPABLE);
        assert_eq!(flags(&format!("{name}.rodata")), MapFlags(read_only | mmap));
        assert_eq!(flags(".data.custom"), MapFlags(mmap));
        let btf = object.btf().unwrap();
        let value_type = map(".data.custom").value_type.unwrap();
        assert_eq!(btf.name(value_type), ".data.custom");
        assert_eq!(btf.size_of(value_type), Ok(4));

        let program = object.program("use", &Platform::linux()).unwrap();
        for load in loads(&program) {
            let Imm64::MapIdxValue { index, offset } = load else { panic!("{load:?}") };
            assert!(offset < object.maps()[index as usize].value_bytes);
        }
    }
}

#[test]
fn a_variable_lies_where_its_symbol_says() {
    let object = object("data");
    let program = object.program("use", &Platform::linux()).unwrap();
    let index = |name| object.maps().iter().position(|m| m.name == name).unwrap() as u32;
    let bss = index("data.bss");
    let in_bss: Vec<u32> = loads(&program)
        .into_iter()
        .filter_map(|l| match l {
            Imm64::MapIdxValue { index, offset } if index == bss => Some(offset),
            _ => None,
        })
        .collect();
    // zeroed is global, zeroed_too static: the one by its symbol, the other by the section's.
    let btf = object.btf().unwrap();
    let datasec = object.maps()[bss as usize].value_type.unwrap();
    let Some(Kind::Datasec { vars, .. }) = btf.kind(datasec) else { panic!() };
    let offset = |name| {
        btf.list(vars).iter().find(|v| btf.name(v.type_id) == name).map(|v| v.offset).unwrap()
    };
    let used = [offset("zeroed"), offset("zeroed") + 8, offset("zeroed_too")];
    assert!(in_bss.iter().all(|o| used.contains(o)), "{in_bss:?} {used:?}");
    assert!(in_bss.contains(&offset("zeroed_too")));
}

#[test]
fn subprograms_are_linked_in_once() {
    for name in ["calls", "calls_be", "calls_v4"] {
        let object = object(name);
        let first = object.program("first", &Platform::linux()).unwrap();
        assert_eq!(func_names(&first), ["first", "middle", "leaf", "soft", "buried"], "{name}");
        let expected = [
            ("first", "middle"),
            ("first", "soft"),
            ("first", "buried"),
            ("middle", "leaf"),
            ("middle", "leaf"),
        ];
        assert_eq!(references(&first), expected, "{name}");
        let global: Vec<bool> = first.funcs.iter().map(|f| f.is_global).collect();
        assert_eq!(global, [true, true, false, true, false], "{name}: hidden ones are static");

        let second = object.program("second", &Platform::linux()).unwrap();
        assert_eq!(func_names(&second), ["second", "each", "leaf", "step"], "{name}");
        let callbacks = loads(&second).iter().filter(|l| matches!(l, Imm64::Func { .. })).count();
        assert_eq!(callbacks, 2, "{name}");

        let alone = object.program("alone", &Platform::linux()).unwrap();
        assert_eq!(func_names(&alone), ["alone"]);
        assert_eq!(alone.code.len(), 2);
    }
}

#[test]
fn functions_and_lines_follow_the_code() {
    let object = object("calls");
    let btf = object.btf().unwrap();
    let program = object.program("second", &Platform::linux()).unwrap();
    for f in &program.funcs {
        assert_eq!(btf.name(f.type_id.unwrap()), f.name);
        let line = program.line(f.start).unwrap();
        assert_eq!(line.pc, f.start, "a function begins with a line: {}", f.name);
        assert!(line.file.ends_with("calls.c"));
    }
    assert!(program.lines.is_sorted_by_key(|l| l.pc));
    let leaf = program.funcs.iter().find(|f| f.name == "leaf").unwrap();
    let text = |pc: Pc| program.line(pc).unwrap().text.trim().to_string();
    let call = program
        .code
        .iter()
        .find(|(pc, i)| *pc > leaf.start && **i == Insn::Call { target: CallTarget::Helper(5) })
        .unwrap();
    assert_eq!(text(call.0), "return x * 3 + (u32)ktime_get_ns();");
}

#[test]
fn section_names_say_what_a_program_is() {
    let object = object("sections");
    let info = |name: &str| object.programs().iter().find(|p| p.name == name).unwrap();
    assert_eq!(info("xdp_prog").attach_type, AttachType(37));
    assert!(info("xdp_devmap").has_frags());
    assert!(!info("not_loaded").autoload);
    assert_eq!(info("not_loaded").prog_type, Some(ProgType::SchedCls));
    assert_eq!(info("kprobe_prog").attach_target.as_deref(), Some("do_exit"));
    assert!(info("lsm_prog").is_sleepable() && info("lsm_prog").needs_attach_btf);
    assert_eq!(info("tp_prog").attach_target.as_deref(), Some("sched/sched_switch"));
    assert_eq!(info("connect_prog").prog_type, Some(ProgType::CgroupSockAddr));
    assert_eq!(info("raw_prog").prog_type, Some(ProgType::Raw));
    assert_eq!(info("odd_prog").prog_type, None);
    let err = object.program("odd_prog", &Platform::linux()).unwrap_err();
    assert!(matches!(*err.problem, Problem::UnknownSectionName { .. }));
    assert!(err.to_string().contains("'mine/odd'"), "{err}");
    assert_eq!(object.link("odd_prog").unwrap().code.len(), 2);
    let err = object.program("xdp_prg", &Platform::linux()).unwrap_err();
    assert!(err.to_string().contains("'xdp_prog'"), "{err}");
}

#[test]
fn legacy_map_definitions_are_read() {
    let object = object("legacy");
    let maps: Vec<_> = object
        .maps()
        .iter()
        .map(|m| {
            (m.name.as_str(), m.map_type, m.key_bytes, m.value_bytes, m.max_entries, m.flags.0)
        })
        .collect();
    let first = ("first", MapType::Hash, 4, 8, 100, 1);
    let second = ("second", MapType::Array, 4, 16, 2, 0);
    assert_eq!(maps, [first, second]);
    let program = object.program("prog", &Platform::linux()).unwrap();
    assert_eq!(loads(&program), [Imm64::MapIdx(1), Imm64::MapIdx(0)]);
}

#[test]
fn externs_are_named_only_where_they_are_used() {
    let object = object("externs");
    for (program, symbol, what) in [
        ("variable", "jiffies", "kernel variable"),
        ("function", "kernel_function", "kernel function"),
        ("strong", "CONFIG_HZ", "configuration"),
    ] {
        let err = object.program(program, &Platform::linux()).unwrap_err();
        assert!(matches!(&*err.problem, Problem::Extern { symbol: s, .. } if s == symbol), "{err}");
        assert!(err.to_string().contains(what), "{err}");
        assert_eq!(err.place.as_ref().unwrap().section, "xdp");
    }
    object.program("plain", &Platform::linux()).unwrap();
}

#[test]
fn configuration_values_are_a_map() {
    let mut object = object("externs");
    let content = |object: &Object| {
        let map = object.maps().iter().find(|m| m.name == "externs.kconfig").unwrap();
        assert_eq!(map.flags, MapFlags(MapFlags::RDONLY_PROG | MapFlags::MMAPABLE));
        let MapOrigin::Section { data, .. } = &map.origin else { panic!() };
        data.clone()
    };
    // By alignment, size and name: CONFIG_HZ, LINUX_KERNEL_VERSION, CONFIG_CC, CONFIG_SMP.
    let data = content(&object);
    assert_eq!(data.len(), 4 + 4 + 1 + 8);
    assert_eq!(data[4..8], 0x061200u32.to_le_bytes());
    let program = object.program("config", &Platform::linux()).unwrap();
    let kconfig = object.maps().iter().position(|m| m.name == "externs.kconfig").unwrap() as u32;
    assert_eq!(loads(&program), [Imm64::MapIdxValue { index: kconfig, offset: 4 }]);

    let text = "# comment\nCONFIG_HZ=0x3e8\nCONFIG_SMP=y\nCONFIG_CC=\"clang version 19\"\n";
    object.set_kconfig(&Kconfig::parse(text)).unwrap();
    let data = content(&object);
    assert_eq!(data[..4], 1000u32.to_le_bytes());
    assert_eq!(data[8], 1);
    assert_eq!(&data[9..], b"clang v\0");
    object.program("strong", &Platform::linux()).unwrap();

    let err = object.set_kconfig(&Kconfig::parse("CONFIG_SMP=perhaps")).unwrap_err();
    assert!(
        err.to_string().contains("extern 'CONFIG_SMP': the value perhaps is not y or n"),
        "{err}"
    );
}

#[test]
fn weak_externs_may_be_absent() {
    let object = object("externs");
    let target = BtfBuilder::new().finish().unwrap();
    let options = LinkOptions { target_btf: Some(&target), ..LinkOptions::default() };
    let program = object.link_for("soft", &options).unwrap().program;
    let poison = program.code.iter().find_map(|(_, insn)| match insn {
        Insn::Call { target: CallTarget::Helper(n) } => Some(*n),
        _ => None,
    });
    assert!(poison.is_some_and(|n| n >= POISON_KFUNC as u32));
    let err = object.link_for("function", &options).unwrap_err();
    assert!(err.to_string().contains("the target has no such kernel function"), "{err}");
}

#[test]
fn kernel_functions_are_found_in_the_target() {
    let object = object("externs");
    let mut b = BtfBuilder::new();
    let name = b.intern("int");
    let encoding = IntEncoding { signed: true, ..IntEncoding::default() };
    let int = b.push(name, Kind::Int { bytes: 4, encoding, bit_offset: 0, bits: 32 });
    let params = b.span([Param { name: Name::EMPTY, type_id: int }]);
    let proto = b.push(Name::EMPTY, Kind::FuncProto { ret: int, params });
    let name = b.intern("kernel_function");
    let func = b.push(name, Kind::Func { proto, linkage: Linkage::Static });
    let target = b.finish().unwrap();
    let options = LinkOptions { target_btf: Some(&target), ..LinkOptions::default() };
    let program = object.link_for("function", &options).unwrap().program;
    let call = Insn::Call { target: CallTarget::Kfunc { btf_id: func.0 as i32, btf_index: 0 } };
    assert!(program.code.iter().any(|(_, insn)| *insn == call));
}

#[test]
fn globals_can_be_set_by_name() {
    let mut object = object("data");
    object.set_global("limit", &serde_json::json!("0x10")).unwrap();
    object.set_global("zeroed", &serde_json::json!([1, 2])).unwrap();
    let data = |object: &Object, name: &str| {
        let map = object.maps().iter().find(|m| m.name == name).unwrap();
        let MapOrigin::Section { data, .. } = &map.origin else { panic!() };
        data.clone()
    };
    assert_eq!(data(&object, "data.rodata")[..4], 16u32.to_le_bytes());
    assert_eq!(data(&object, "data.bss").iter().filter(|b| **b != 0).count(), 2);
    let err = object.set_global("counter", &serde_json::json!(-1)).unwrap_err();
    assert!(err.to_string().contains("global variable 'counter': found -1"), "{err}");
    let err = object.set_global("conter", &serde_json::json!(1)).unwrap_err();
    assert!(err.to_string().contains("no global variable 'conter'"), "{err}");
}

#[test]
fn arena_globals_are_at_the_start_of_the_arena() {
    let object = object("arena");
    let program = object.link("prog").unwrap();
    let arena = object.maps().iter().position(|m| m.map_type == MapType::Arena).unwrap() as u32;
    let found = loads(&program);
    assert!(found.contains(&Imm64::MapIdxValue { index: arena, offset: 0 }), "{found:?}");
    assert_eq!(object.maps()[arena as usize].extra, 1 << 44);
}

#[test]
fn the_exception_callback_is_linked_in() {
    let program = object("callback").link("prog").unwrap();
    assert_eq!(func_names(&program), ["prog", "handler"]);
}

#[test]
fn core_relocations_are_named_only_where_they_are_used() {
    let object = object("core");
    let err = object.link("fields").unwrap_err();
    assert!(matches!(*err.problem, Problem::Core { problem: CoreProblem::NoTarget, .. }), "{err}");
    assert!(err.to_string().contains("task_struct"), "{err}");
    object.program("untouched", &Platform::linux()).unwrap();
}

#[test]
fn the_examples_link() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples");
    let mut linked = 0;
    for dir in
        std::fs::read_dir(root).unwrap().filter_map(|d| std::fs::read_dir(d.ok()?.path()).ok())
    {
        for path in
            dir.map(|e| e.unwrap().path()).filter(|p| p.extension().is_some_and(|e| e == "o"))
        {
            let object =
                Object::parse(&std::fs::read(&path).unwrap(), path.to_str().unwrap()).unwrap();
            assert!(!object.programs().is_empty());
            for info in object.programs() {
                let program = object.link(&info.name).unwrap();
                assert!(!program.lines.is_empty());
                linked += 1;
            }
        }
    }
    assert!(linked > 5, "{linked}");
}

#[test]
fn tables_of_functions_are_listed() {
    let object = object("struct_ops");
    let map = object.maps().iter().find(|m| m.name == "mine").unwrap();
    assert_eq!(
        (map.map_type, map.value_bytes, map.flags),
        (MapType::StructOps, 16, MapFlags(1 << 13))
    );
    let MapOrigin::Section { section, data } = &map.origin else { panic!() };
    assert_eq!((section.as_str(), data[8..12].to_vec()), (".struct_ops.link", vec![5, 0, 0, 0]));
    assert_eq!(object.btf().unwrap().name(map.value_type.unwrap()), "table");
    assert_eq!(object.programs()[0].prog_type, Some(ProgType::StructOps));
}
