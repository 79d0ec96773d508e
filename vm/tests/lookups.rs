//! Lookups that verified programs make in known maps give what the helper gives: each program runs
//! without checks, where lookups go straight to the map, and with checks, where the helper is called.

use ebpfvm::asm::text::{Dialect, assemble};
use ebpfvm::helper::result;
use ebpfvm::host::Host;
use ebpfvm::map::{Cpu, UpdateFlags};
use ebpfvm::spec::linux::HELPERS;
use ebpfvm::spec::map::{MapDef, MapType};
use ebpfvm::spec::{ProgType, Program};
use ebpfvm::verifier::Options;
use ebpfvm::{Context, DEFAULT_FUEL, Helper, MapRef, Vm};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// A host that says which CPU it is.
#[derive(Default)]
struct OnCpu(AtomicU32);

impl Host for OnCpu {
    fn cpu(&self) -> Cpu {
        Cpu(self.0.load(Relaxed))
    }
}

/// What a program returns, the same with and without checks.
fn run(vm: &Vm, text: &str, maps: &[MapRef]) -> u64 {
    run_as(ProgType::SocketFilter, vm, text, maps)
}

/// As [`run`], for programs of a type.
fn run_as(prog_type: ProgType, vm: &Vm, text: &str, maps: &[MapRef]) -> u64 {
    let code = assemble(text, Dialect::PseudoC).expect("the test's text is a program");
    let mut program = Program::from_code("test", prog_type, code);
    program.maps = maps.iter().map(|map| map.def().clone()).collect();
    let accepted = vm.verify(program, &Options::default()).verdict.expect("it is accepted");
    let instance = vm.link_verified(accepted, maps).expect("it can be linked");
    assert!(instance.is_verified());
    let mut context = Context::packet(prog_type, &[0; 64]).expect("a packet");
    let direct = instance.run(&mut context, DEFAULT_FUEL).expect("it runs");
    let called = instance.run_checked(&mut context, DEFAULT_FUEL).expect("it runs with checks");
    assert_eq!(direct.retval, called.retval, "{text}");
    direct.retval
}

/// A map whose value for the key that ends with byte `n` is `100 + n`, and 1000 more a CPU.
fn filled(vm: &Vm, kind: MapType, key_bytes: u32, keys: &[u8]) -> MapRef {
    let map = vm.create_map(&MapDef::new("m", kind, key_bytes, 8, 8)).expect("a map");
    for n in keys {
        let mut key = vec![0; key_bytes as usize];
        key[0] = *n;
        let lanes = map.host_value_bytes() as u64 / 8;
        let value: Vec<u8> =
            (0..lanes).flat_map(|cpu| (100 + u64::from(*n) + 1000 * cpu).to_ne_bytes()).collect();
        map.write(&key, &value, UpdateFlags::ANY).expect("there is room");
    }
    map
}

const KINDS: &[MapType] = &[
    MapType::Array,
    MapType::PercpuArray,
    MapType::Hash,
    MapType::PercpuHash,
    MapType::LruHash,
    MapType::LruPercpuHash,
];

#[test]
fn values_are_found_in_every_kind_on_every_cpu() {
    let host = Arc::new(OnCpu::default());
    let vm = Vm::linux().host(host.clone()).cpus(3).build();
    for kind in KINDS {
        let is_array = matches!(kind, MapType::Array | MapType::PercpuArray);
        for key_bytes in if is_array { vec![4] } else { vec![1, 3, 4, 8, 12, 16, 64, 72] } {
            let map = filled(&vm, *kind, key_bytes, &[0, 5, 7]);
            for (n, cpu) in
                [0u8, 5, 7, 9, 200].into_iter().flat_map(|n| (0..3).map(move |c| (n, c)))
            {
                host.0.store(cpu, Relaxed);
                let zeros: String =
                    (2..10).map(|word| format!("*(u64 *)(r10 - {}) = 0\n", word * 8)).collect();
                // The key begins where the zeros do.
                let text = format!(
                    "{zeros}*(u8 *)(r10 - 80) = {n}\n*(u64 *)(r10 - 8) = 0\n\
                     r1 = map[idx:0]\nr2 = r10\nr2 += -80\ncall 1\nif r0 == 0 goto out\n\
                     r0 = *(u64 *)(r0 + 0)\nout: exit"
                );
                let there = [0, 5, 7].contains(&n) || (is_array && n < 8);
                let set = [0, 5, 7].contains(&n);
                let lane = if kind.is_percpu() { u64::from(cpu) } else { 0 };
                let expected = match (there, set) {
                    (true, true) => 100 + u64::from(n) + 1000 * lane,
                    _ => 0,
                };
                let text = text.replace("*(u64 *)(r10 - 8) = 0\n", "");
                assert_eq!(
                    run(&vm, &text, std::slice::from_ref(&map)),
                    expected,
                    "{kind:?} {key_bytes} {n}"
                );
            }
        }
    }
}

#[test]
fn arguments_may_be_set_up_in_every_way() {
    let vm = Vm::linux().build();
    let key = "*(u64 *)(r10 - 8) = 5\n*(u64 *)(r10 - 16) = 7\n";
    let test = "if r0 == 0 goto out\nr0 = *(u64 *)(r0 + 0)\nout: exit";
    for setup in [
        "r2 = r10\nr2 += -8\nr1 = map[idx:0]\ncall 1",
        "r1 = map[idx:0]\nr2 = r10\nr2 += -8\ncall 1",
        // From registers that stay.
        "r6 = map[idx:0]\nr7 = r10\nr7 += -16\nr2 = r7\nr2 += 8\nr1 = r6\ncall 1",
        "r7 = r10\nr7 += -8\nr1 = map[idx:0]\nr2 = r7\ncall 1",
        // The key's address was in the map's register, or in the one for the result.
        "r1 = r10\nr1 += -8\nr2 = r1\nr1 = map[idx:0]\ncall 1",
        "r0 = r10\nr0 += -8\nr1 = map[idx:0]\nr2 = r0\ncall 1",
        // Something between.
        "r1 = map[idx:0]\nr6 = 3\nr2 = r10\nr3 = 4\nr2 += -8\nr6 += r3\ncall 1",
        // More than one addition.
        "r2 = r10\nr2 += -4\nr2 += -4\nr1 = map[idx:0]\ncall 1",
        // The arguments come from two ways.
        "r6 = *(u32 *)(r1 + 0)\nr2 = r10\nr2 += -8\nif r6 == 77 goto both\nr2 = r10\nr2 += -8\n\
         both: r1 = map[idx:0]\ncall 1",
        "r6 = *(u32 *)(r1 + 0)\nr2 = r10\nr2 += -16\nif r6 == 77 goto both\nr2 += 8\n\
         r1 = map[idx:0]\ngoto go\nboth: r1 = map[idx:0]\ngo: call 1",
    ] {
        for kind in [MapType::Hash, MapType::LruHash] {
            let map = filled(&vm, kind, 8, &[5]);
            assert_eq!(run(&vm, &format!("{key}{setup}\n{test}"), &[map]), 105, "{setup}");
        }
    }
}

#[test]
fn every_test_of_the_result_is_the_same() {
    let vm = Vm::linux().build();
    for test in [
        "if r0 == 0 goto out\nr0 = *(u64 *)(r0 + 0)\nout: exit",
        "if r0 != 0 goto found\nr0 = 3\nexit\nfound: r0 = *(u64 *)(r0 + 0)\nexit",
        "r6 = r0\nr0 = 1\nif r6 == 0 goto out\nr0 = *(u64 *)(r6 + 0)\nout: exit",
        "if r0 != 0 goto +2\nr0 = 3\nexit\nr0 = *(u64 *)(r0 + 0)\nexit",
        // What follows is the target of a jump.
        "r6 = 0\ntest: if r0 == 0 goto out\nr0 = *(u64 *)(r0 + 0)\nexit\nout: r0 = r6\nexit",
        // The jump goes back.
        "goto test\nlost: r0 = 9\nexit\ntest: if r0 == 0 goto lost\nr0 = *(u64 *)(r0 + 0)\nexit",
    ] {
        for kind in [MapType::Array, MapType::PercpuArray, MapType::Hash, MapType::PercpuHash] {
            let map = filled(&vm, kind, 4, &[5]);
            for (key, found) in [(5, true), (1 << 20, false)] {
                let text = format!(
                    "*(u32 *)(r10 - 4) = {key}\nr2 = r10\nr2 += -4\nr1 = map[idx:0]\ncall 1\n{test}"
                );
                let result = run(&vm, &text, std::slice::from_ref(&map));
                assert_eq!(result == 105, found, "{kind:?}: {text}");
            }
        }
    }
}

#[test]
fn a_call_that_has_several_maps_finds_the_right_one() {
    let vm = Vm::linux().build();
    let (one, other) = (filled(&vm, MapType::Hash, 4, &[5]), filled(&vm, MapType::Hash, 4, &[6]));
    for key in [5, 6] {
        let text = format!(
            "*(u32 *)(r10 - 4) = {key}\nr2 = r10\nr2 += -4\nr3 = *(u32 *)(r1 + 0)\nr1 = map[idx:0]\n\
             if r3 < 1000 goto go\nr1 = map[idx:1]\ngo: call 1\nif r0 == 0 goto out\n\
             r0 = *(u64 *)(r0 + 0)\nout: exit"
        );
        // The packet is short, which the verifier does not know.
        assert_eq!(run(&vm, &text, &[one.clone(), other.clone()]), if key == 5 { 105 } else { 0 });
    }
}

#[test]
fn a_lookup_counts_as_use_where_the_least_recently_used_goes() {
    let vm = Vm::linux().build();
    let map = filled(&vm, MapType::LruHash, 8, &[0, 1, 2, 3, 4, 5, 6, 7]);
    let text = "*(u64 *)(r10 - 8) = 0\nr2 = r10\nr2 += -8\nr1 = map[idx:0]\ncall 1\nr0 = 0\nexit";
    run(&vm, text, std::slice::from_ref(&map));
    for n in 10..14u64 {
        map.write(&n.to_ne_bytes(), &[0; 8], UpdateFlags::ANY).expect("another one goes");
    }
    assert!(map.read(&0u64.to_ne_bytes()).is_ok(), "it was looked up");
}

/// A helper of the embedder's in the place of Linux's is called.
#[test]
fn another_helper_with_the_number_is_called() {
    let lookup = HELPERS.iter().find(|proto| proto.name == "map_lookup_elem").expect("it is there");
    let none = Helper::new(lookup.clone(), |_| result(Ok(0)));
    let vm = Vm::linux().helper(none).build();
    let map = filled(&vm, MapType::Hash, 4, &[5]);
    let text = "*(u32 *)(r10 - 4) = 5\nr2 = r10\nr2 += -4\nr1 = map[idx:0]\ncall 1\n\
                if r0 == 0 goto out\nr0 = *(u64 *)(r0 + 0)\nout: exit";
    assert_eq!(run(&vm, text, &[map]), 0);
}

#[test]
fn a_checksum_is_the_same_with_and_without_checks() {
    let vm = Vm::linux().build();
    let side = |reg, at, bytes| match bytes {
        0 => format!("r{reg} = 0\nr{} = 0\n", reg + 1),
        _ => format!("r{reg} = r10\nr{reg} += {at}\nr{} = {bytes}\n", reg + 1),
    };
    let words = "r1 = 0xfedcba9876543210 ll\n*(u64 *)(r10 - 16) = r1\n*(u64 *)(r10 - 24) = r1\n\
        r1 = 0xfffffffefffffffd ll\n*(u64 *)(r10 - 8) = r1\n*(u64 *)(r10 - 32) = r1\n";
    let sizes = [(0, 0), (0, 8), (8, 0), (4, 8), (16, 16), (3, 5), (7, 0), (0, 1), (13, 16)];
    let mut seen = Vec::new();
    for (from, to) in sizes {
        for seed in [0, 1, 0xffff, 0x7fff_ffff, -1, -2] {
            let (from, to) = (side(1, -32, from), side(3, -16, to));
            let text = format!("{words}{from}{to}r5 = {seed}\ncall 28\nexit");
            seen.push(run_as(ProgType::SchedCls, &vm, &text, &[]));
        }
    }
    seen.sort_unstable();
    seen.dedup();
    assert!(seen.len() > 30, "{seen:x?}");
}

#[test]
fn a_program_is_told_its_cpu() {
    let host = Arc::new(OnCpu::default());
    let vm = Vm::linux().cpus(4).host(host.clone()).build();
    for cpu in 0..4 {
        host.0.store(cpu, Relaxed);
        assert_eq!(run(&vm, "r6 = 5\ncall 8\nr0 += r6\nexit", &[]), u64::from(cpu) + 5);
    }
}
