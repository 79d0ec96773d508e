//! The example `examples/tracing`: programs of each tracing type, accepted and run without checks.

use ebpfvm::host::Space;
use ebpfvm::host::world::Task;
use ebpfvm::loader::Object;
use ebpfvm::verifier::Options;
use ebpfvm::{Context, DEFAULT_FUEL, MapRef, Vm, World};
use std::sync::Arc;

const NAME: u64 = 0x7ffe_0000_1000;

/// Runs a program of the example; the value returned, the context, and the maps by name.
fn run(
    program: &str,
    data: &[u8],
    fields: &[(&str, u64)],
) -> (i32, Context, Vec<(String, MapRef)>) {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/tracing/tracing.bpf.o");
    let object = Object::parse(&std::fs::read(path).expect("the object"), "tracing").expect("ELF");
    let world =
        World::new().task(Task::new(4711, "cat")).memory(Space::User, NAME, *b"/etc/hostname\0");
    let vm = Vm::linux().host(Arc::new(world)).build();
    let program = object.link(program).expect("a program");
    let (prog_type, defs) = (program.prog_type, program.maps.to_vec());
    let accepted = vm.verify(program, &Options::default()).verdict.expect("it is accepted");
    let maps: Vec<MapRef> = defs.iter().map(|def| vm.create_map(def).expect("a map")).collect();
    let instance = vm.link_verified(accepted, &maps).expect("it can be linked");
    assert!(instance.is_verified());
    let mut context = vm.context(prog_type, data).expect("a context");
    fields.iter().for_each(|(name, value)| context.set_field(name, *value).expect("a field"));
    let outcome = instance.run(&mut context, DEFAULT_FUEL).expect("it runs");
    let maps = defs.iter().map(|def| def.name.clone()).zip(maps).collect();
    (outcome.retval as i32, context, maps)
}

fn value(maps: &[(String, MapRef)], name: &str, key: &[u8]) -> Vec<u8> {
    let (_, map) = maps.iter().find(|(known, _)| known == name).expect("the map");
    map.read(key).expect("a value")
}

#[test]
fn names_of_files_are_read_from_the_process() {
    let record: Vec<u8> =
        [0, 257, 3, NAME].iter().flat_map(|word: &u64| word.to_le_bytes()).collect();
    let runs = [
        run("on_open", &[], &[("si", NAME)]),
        run("on_fopen", &[], &[("di", NAME)]),
        run("on_enter", &record, &[]),
    ];
    for (retval, _, maps) in runs {
        assert_eq!(retval, 14);
        let last = value(&maps, "last_opened", &[0; 4]);
        assert_eq!(last[..4], 4711_u32.to_le_bytes());
        assert_eq!(&last[8..24], b"/etc/hostname\0\0\0");
        assert_eq!(&last[24..28], b"cat\0");
    }
    assert_eq!(run("on_open", &[], &[("si", 8)]).0, -14);
}

#[test]
fn the_others_use_what_they_are_given() {
    assert_eq!(run("on_raw_enter", &[], &[("args[1]", 257)]).0, 1);
    let (_, _, maps) = run("on_sample", &[], &[("ip", 0x40_1000), ("sample_period", 99)]);
    assert_eq!(value(&maps, "samples", &0x40_1000_u64.to_le_bytes()), 99_u64.to_le_bytes());
    let request = [6_u32.to_le_bytes(), 7_u32.to_le_bytes(), [0; 4], [0; 4]].concat();
    let (_, context, _) = run("multiply", &request, &[]);
    assert_eq!(context.data_out()[8..], 42_u64.to_le_bytes());
}
