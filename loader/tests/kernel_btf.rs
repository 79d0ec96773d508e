//! The running kernel's own types: the largest BTF there is. Skipped, visibly, where there are none.

mod skip;

use ebpfvm_loader::parse_btf;
use ebpfvm_spec::btf::{Kind, KindTag};
use skip::skipped;
use std::time::Instant;

#[test]
fn the_kernels_types_are_read() {
    const PATH: &str = "/sys/kernel/btf/vmlinux";
    let Ok(bytes) = std::fs::read(PATH) else {
        skipped("the_kernels_types_are_read", &format!("cannot read {PATH}"));
        return;
    };
    let start = Instant::now();
    let btf = parse_btf(&bytes, None).unwrap();
    let parsed = start.elapsed();
    let start = Instant::now();
    let task = btf.find("task_struct", KindTag::Struct).unwrap();
    println!(
        "{} bytes, {} types: read in {parsed:?}, first look-up {:?}",
        bytes.len(),
        btf.len(),
        start.elapsed()
    );

    let Some(Kind::Compound { members, bytes: size, .. }) = btf.kind(task) else { panic!() };
    assert_eq!(btf.size_of(task), Ok(size.into()));
    assert_eq!(btf.align_of(task).unwrap() % 8, 0);
    assert!(btf.list(members).iter().any(|m| btf.str(m.name) == "pid"));
    let int = btf.find("int", KindTag::Int).unwrap();
    assert_eq!(btf.size_of(int), Ok(4));
    // Structs end where their last member does, or later.
    for (id, t) in btf.iter() {
        let Kind::Compound { members, bytes, .. } = t.kind else { continue };
        for m in btf.list(members).iter().filter(|m| m.bitfield_bits == 0) {
            let end = u64::from(m.bit_offset / 8) + btf.size_of(m.type_id).unwrap();
            assert!(end <= bytes.into(), "{} [{}]", btf.name(id), id.0);
        }
    }
}
