//! Objects linked to one, on the machine: what their programs give tells which definition each
//! reference came to (`loader/tests/objects/link_*.c` says how).

use ebpfvm::loader::Object;
use ebpfvm::loader::static_linker::{Input, link_objects};
use ebpfvm::{Context, DEFAULT_FUEL, Loaded, Vm};
use ebpfvm_spec::ProgType;

fn linked(names: [&str; 2]) -> Object {
    let files = names.map(|name| {
        let path = format!("{}/../loader/tests/objects/{name}.o", env!("CARGO_MANIFEST_DIR"));
        std::fs::read(&path).unwrap_or_else(|err| panic!("{path}: {err}"))
    });
    let inputs = [0, 1].map(|i| Input { file: names[i], bytes: &files[i] });
    Object::parse(&link_objects(&inputs).unwrap(), "linked.o").unwrap()
}

/// Runs programs one after the other and compares what they give.
fn expect(object: Object, expected: &[(&str, u64)]) {
    let loaded = Loaded::new(&Vm::linux().build(), object).unwrap();
    for (name, result) in expected {
        let program = loaded.program(name).unwrap_or_else(|err| panic!("{name}: {err}"));
        let mut packet = Context::packet(ProgType::Xdp, &[0; 64]).unwrap();
        let outcome = program.run(&mut packet, DEFAULT_FUEL);
        assert_eq!(outcome.map(|o| o.retval).ok(), Some(*result), "{name}");
    }
}

#[test]
fn references_come_to_their_definitions() {
    expect(
        linked(["link_a", "link_b"]),
        &[
            ("externs", 21 + 5 + 30 + 6),
            // The strong one of link_b.c, the first of two weak ones, the strong variable.
            ("weaks", 102 + 11 + 2),
            // Static functions and variables of the same names are different ones.
            ("locals", 4 + 3 + 5),
            ("locals", 8 + 3 + 5),
            ("other", (8 + 9 + 2) + (9 + 3 + 5 + 1000) + u64::from(b't')),
            ("maps", 40),
            ("swap", 40),
            ("maps", 42),
        ],
    );
}

#[test]
fn the_first_of_weak_definitions_counts() {
    expect(linked(["link_b", "link_a"]), &[("externs", 62), ("weaks", 102 + 21 + 2)]);
}
