//! Objects that the project's own linker made (`loader/tests/objects/link_*.c` says what is in them).

use super::pair::{Counts, Pair, open};
use super::root;
use ebpfvm_asm::ByteOrder;
use ebpfvm_conformance::object::Input;
use ebpfvm_kernel::linux_6_18_or_skip;
use ebpfvm_loader::btf::dedup::merge;
use ebpfvm_loader::{Object, encode_btf};
use ebpfvm_spec::btf::Btf;

#[test]
fn linked_programs_do_the_same_on_the_kernel() {
    let Some(kernel) = linux_6_18_or_skip("linked_programs_do_the_same_on_the_kernel") else {
        return;
    };
    let object = open(&root().join("loader/tests/objects/linked.o"));
    let mut pair = Pair::new(&kernel, &object, object.maps().to_vec());
    let mut counts = Counts::default();
    let mut verdicts = Vec::new();
    for program in ["externs", "weaks", "locals", "locals", "other", "maps", "swap", "maps"] {
        let before = counts.verdicts.clone();
        let difference = pair.compare(program, &Input::packet([0; 64]), &mut counts);
        assert_eq!(difference, None, "{program}");
        let is_new = |(v, n): &(&u32, &usize)| before.get(v) != Some(n);
        verdicts.extend(counts.verdicts.iter().filter(is_new).map(|(v, _)| *v));
    }
    let other = 19 + 1017 + u32::from(b't');
    assert_eq!(verdicts, [62, 125, 12, 16, other, 40, 40, 42]);
}

#[test]
fn the_kernel_takes_merged_types() {
    let Some(kernel) = linux_6_18_or_skip("the_kernel_takes_merged_types") else { return };
    let objects = root().join("loader/tests/objects");
    let open = |name: &str| open(&objects.join(name));
    let linked = open("linked.o");
    let parts: Vec<_> = ["calls.o", "maps.o", "values.o", "data.o"].map(open).into();
    let sets: Vec<&Btf> =
        parts.iter().filter_map(|o: &std::sync::Arc<Object>| Some(&**o.btf()?)).collect();
    let merged = merge(&sets).unwrap().btf;
    for (what, btf) in [("linked", &**linked.btf().unwrap()), ("merged", &merged)] {
        let bytes = encode_btf(btf, ByteOrder::Little).unwrap();
        let taken = kernel.btf_load(&bytes, 0);
        assert!(taken.is_ok(), "{what}: {:?}", kernel.btf_load(&bytes, 1).err());
    }
}
