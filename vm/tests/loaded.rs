//! Objects on a machine: maps, programs, and that nothing is left when they go.

use ebpfvm::loader::Object;
use ebpfvm::map::struct_ops::StructOpsState;
use ebpfvm::map::{ProgArray, StructOps, UpdateFlags};
use ebpfvm::{Context, DEFAULT_FUEL, LoadOptions, Loaded, LoadedError, Vm};
use ebpfvm_spec::map::{InitialValue, MapOrigin};
use ebpfvm_spec::{MapDef, MapFlags, MapType, ProgType};
use std::sync::Arc;

fn example(name: &str) -> Object {
    let path = format!("{}/../examples/{name}/{name}.bpf.o", env!("CARGO_MANIFEST_DIR"));
    Object::parse(&std::fs::read(&path).unwrap(), &path).unwrap()
}

fn maps(defs: Vec<MapDef>) -> LoadOptions {
    LoadOptions { maps: Some(defs), ..LoadOptions::default() }
}

fn machine() -> Vm {
    Vm::linux().build()
}

#[test]
fn maps_follow_the_object() {
    let loaded = Loaded::new(&machine(), example("xdp_firewall")).unwrap();
    let names = |maps: &mut dyn Iterator<Item = &str>| maps.map(String::from).collect::<Vec<_>>();
    assert_eq!(
        names(&mut loaded.maps().iter().map(|m| m.def().name.as_str())),
        names(&mut loaded.object().maps().iter().map(|m| m.name.as_str()))
    );
    let program = loaded.program(&loaded.object().programs()[0].name.clone()).unwrap();
    assert_eq!(program.maps().len(), loaded.maps().len());
    assert!(program.maps().iter().zip(loaded.maps()).all(|(a, b)| Arc::ptr_eq(a, b)));
    assert!(loaded.map("no such map").is_none());
}

#[test]
fn a_program_is_linked_once() {
    let loaded = Loaded::new(&machine(), example("tail_calls")).unwrap();
    let first = loaded.program("xdp_tcp").unwrap();
    assert!(Arc::ptr_eq(&first, &loaded.program("xdp_tcp").unwrap()));
    let array = loaded.map("per_protocol").unwrap().as_kind::<ProgArray>().unwrap();
    assert!(Arc::ptr_eq(&first, &array.get(6).unwrap()), "the array has the same instance");
    let error = loaded.program("xdp_tpc").unwrap_err();
    assert!(matches!(error, LoadedError::Object(_)), "{error}");
}

#[test]
fn arrays_of_programs_do_not_keep_themselves_alive() {
    let loaded = Loaded::new(&machine(), example("tail_calls")).unwrap();
    // It calls itself through the array that it is in.
    let program = loaded.program("xdp_forever").unwrap();
    let (weak_program, weak_map) = (Arc::downgrade(&program), Arc::downgrade(&loaded.maps()[0]));
    drop(program);
    assert!(weak_program.upgrade().is_some());
    drop(loaded);
    assert!(weak_program.upgrade().is_none());
    assert!(weak_map.upgrade().is_none());
}

#[test]
fn an_instance_that_outlives_the_object_finds_the_array_empty() {
    let loaded = Loaded::new(&machine(), example("tail_calls")).unwrap();
    let program = loaded.program("xdp_dispatch").unwrap();
    drop(loaded);
    let array = program.maps().iter().find_map(|m| m.as_kind::<ProgArray>()).unwrap();
    assert!(array.get(6).is_none());
    let packet = [0; 60];
    let mut context = Context::packet(ProgType::Xdp, &packet).unwrap();
    let outcome = program.run(&mut context, DEFAULT_FUEL).unwrap();
    assert_eq!(outcome.retval, 2, "XDP_PASS");
}

#[test]
fn definitions_can_be_replaced() {
    let object = example("xdp_firewall");
    let mut defs = object.maps().to_vec();
    let place = defs.iter().position(|d| d.map_type == MapType::Hash).unwrap();
    defs[place].max_entries = 2;
    let loaded = Loaded::with(&machine(), object, maps(defs)).unwrap();
    assert_eq!(loaded.maps()[place].def().max_entries, 2);
    let program = loaded.program(&loaded.object().programs()[0].name.clone()).unwrap();
    assert_eq!(program.program().maps[place].max_entries, 2, "the program sees it too");
    let object = example("xdp_firewall");
    let (mut fewer, all) = (object.maps().to_vec(), object.maps().len());
    fewer.pop();
    match Loaded::with(&machine(), object, maps(fewer)) {
        Err(LoadedError::MapCount { given, maps, .. }) => assert_eq!((given + 1, maps), (all, all)),
        other => panic!("{:?}", other.map(|_| "loaded").map_err(|error| error.to_string())),
    }
}

#[test]
fn sizes_are_fitted_to_the_machine() {
    let object = example("ringbuf_events");
    let mut defs = object.maps().to_vec();
    for def in &mut defs {
        match def.map_type {
            MapType::Ringbuf => def.max_entries = 5000,
            MapType::PerfEventArray => assert_eq!(def.max_entries, 0),
            _ => {}
        }
    }
    let vm = Vm::linux().cpus(3).build();
    let loaded = Loaded::with(&vm, object, maps(defs)).unwrap();
    assert_eq!(loaded.map("connections").unwrap().def().max_entries, 8192);
    assert_eq!(loaded.map("samples").unwrap().def().max_entries, 3);
}

#[test]
fn what_cannot_be_created_or_filled_is_named() {
    let object = Arc::new(example("tail_calls"));
    let with = |change: &dyn Fn(&mut MapDef)| {
        let mut defs = object.maps().to_vec();
        change(&mut defs[0]);
        Loaded::with(&machine(), object.clone(), maps(defs)).unwrap_err().to_string()
    };
    let error = with(&|def| def.flags = MapFlags(MapFlags::NO_PREALLOC));
    assert!(error.contains("tail_calls.bpf.o: map 'per_protocol'"), "{error}");
    let error = with(&|def| def.values.push((7, InitialValue::Program("nobody".into()))));
    assert!(error.contains("there is no program 'nobody'"), "{error}");
    let error = with(&|def| def.values.push((999, InitialValue::Program("xdp_tcp".into()))));
    assert!(error.contains("'per_protocol': initial value 999: program 'xdp_tcp'"), "{error}");
    let error = with(&|def| def.values.push((1, InitialValue::Map(0))));
    assert!(error.contains("initial value 1: map 'per_protocol'"), "{error}");
}

#[test]
fn maps_of_maps_hold_the_maps_of_the_object() {
    let path = format!("{}/../loader/tests/objects/maps.o", env!("CARGO_MANIFEST_DIR"));
    let object = Object::parse(&std::fs::read(&path).unwrap(), &path).unwrap();
    let loaded = Loaded::new(&machine(), object).unwrap();
    let outer = loaded.map("outer").unwrap();
    let inner = |index: u32| outer.inner(&index.to_ne_bytes()).map(|map| map.def().name.clone());
    assert_eq!(inner(0).as_deref(), Some("inner_a"));
    assert_eq!((inner(1), inner(2).as_deref()), (None, Some("inner_b")));
    let held = outer.inner(&0u32.to_ne_bytes()).unwrap();
    assert!(Arc::ptr_eq(&held, loaded.map("inner_a").unwrap()));
}

#[test]
fn a_table_of_functions_is_not_written_until_it_is_registered() {
    let path = format!("{}/../loader/tests/objects/struct_ops.o", env!("CARGO_MANIFEST_DIR"));
    let object = Object::parse(&std::fs::read(&path).unwrap(), &path).unwrap();
    let loaded = Loaded::new(&machine(), object).unwrap();
    let table = loaded.map("mine").unwrap();
    let state = || table.as_kind::<StructOps>().unwrap().state();
    assert_eq!((table.def().map_type, state()), (MapType::StructOps, StructOpsState::Init));
    // A header, and the 16 bytes of the table in lines of their own.
    let mut value = table.read(&[0; 4]).unwrap();
    assert_eq!(value, [0; 128]);
    let MapOrigin::Section { data, .. } = &table.def().origin else { panic!() };
    value[64..][..data.len()].copy_from_slice(data);
    table.write(&[0; 4], &value, UpdateFlags::ANY).unwrap();
    assert_eq!(
        (state(), &table.read(&[0; 4]).unwrap()[64..80]),
        (StructOpsState::Ready, &data[..])
    );
    // The definition says which program its member is.
    let [(0, InitialValue::Program(name))] = &table.def().values[..] else { panic!() };
    assert_eq!(name, "do_open");
}

#[test]
fn relocations_about_types_need_a_target() {
    let path = format!("{}/../loader/tests/objects/core.o", env!("CARGO_MANIFEST_DIR"));
    let object = Arc::new(Object::parse(&std::fs::read(&path).unwrap(), &path).unwrap());
    let without = Loaded::new(&machine(), object.clone()).unwrap();
    let error = without.program("fields").unwrap_err().to_string();
    assert!(error.contains("needs the types of a target"), "{error}");
    // Against its own types everything is where the compiler saw it.
    let options = LoadOptions { target_btf: object.btf().cloned(), ..LoadOptions::default() };
    let with = Loaded::with(&machine(), object, options).unwrap();
    let fields = with.program("fields").unwrap();
    assert_eq!(fields.prog_type(), ebpfvm_spec::ProgType::RawTracepoint);
}

#[test]
fn what_the_target_lacks_may_be_there_but_not_be_reached() {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/../loader/tests/objects");
    let read = |name: &str| std::fs::read(format!("{dir}/{name}")).unwrap();
    let object = Object::parse(&read("core_guards.o"), "core_guards.o").unwrap();
    let target = ebpfvm::loader::parse_btf(&read("target.btf"), None).unwrap();
    let options = LoadOptions { target_btf: Some(Arc::new(target)), ..LoadOptions::default() };
    let vm = machine();
    let loaded = Loaded::with(&vm, object, options).unwrap();
    let run = |program: &str| {
        let mut ctx = Context::packet(ProgType::Xdp, &[0; 64]).unwrap();
        loaded.program(program).unwrap().run(&mut ctx, DEFAULT_FUEL)
    };
    assert_eq!(run("guarded").unwrap().retval, 3);
    let trap = run("unguarded").unwrap_err().to_string();
    let why = "the target has no offset of a field for struct shrunken.gone";
    assert!(trap.contains(why), "{trap}");
    let trap = run("unguarded_function").unwrap_err().to_string();
    assert!(trap.contains("the target has no kernel function 'no_such_function'"), "{trap}");
}
