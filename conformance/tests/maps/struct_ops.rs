//! Tables of functions before they are written: what the kernel takes beyond that, it registers.

use crate::cases::{Numbers, storage_types};
use crate::judge::{ours, present, request, theirs};
use crate::operations::OPERATIONS;
use ebpfvm::map::{Map, MapLimits, UpdateFlags};
use ebpfvm_asm::ByteOrder;
use ebpfvm_kernel::{MapRequest, linux_6_18_or_skip, report_skip};
use ebpfvm_loader::{encode_btf, parse_btf};
use ebpfvm_spec::btf::{Kind, KindTag};
use ebpfvm_spec::{Errno, MapDef, MapFlags, MapType};

#[test]
fn tables_of_functions_are_read_and_refused_alike() {
    let test = "tables_of_functions_are_read_and_refused_alike";
    let Some(kernel) = linux_6_18_or_skip(test) else { return };
    let Some((id, bytes)) = dummy_ops() else {
        report_skip(test, "the kernel has no bpf_dummy_ops");
        return;
    };
    let types = storage_types(8);
    let types = encode_btf(&types, ByteOrder::HOST).unwrap();
    let types = kernel.btf_load(&types, 0).unwrap();
    let create = |def: &MapDef, id| {
        let request =
            MapRequest { btf: Some(&types), btf_vmlinux_value_type_id: id, ..request(def) };
        kernel.map_create(&request)
    };
    let base = MapDef::new("ops", MapType::StructOps, 4, bytes, 1);
    let limits = MapLimits::default();
    for bit in [13, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 17, 18, 19, 31] {
        let def = MapDef { flags: MapFlags(1 << bit), ..base.clone() };
        let got = Map::bytes_needed(&def, 1, &limits).map(drop).map_err(|e| e.errno());
        assert_eq!(got, create(&def, id).map(drop), "flag {bit}");
    }
    for (key_bytes, max_entries, extra) in [(4, 1, 0), (8, 1, 0), (0, 1, 0), (4, 2, 0), (4, 1, 1)] {
        let def = MapDef { key_bytes, max_entries, extra, ..base.clone() };
        let got = Map::bytes_needed(&def, 1, &limits).map(drop).map_err(|e| e.errno());
        assert_eq!(got, create(&def, id).map(drop), "{def:?}");
    }
    let mut numbers = Numbers(0x2545_f491_4f6c_dd1d);
    for link in [0, MapFlags::LINK] {
        let def = MapDef { flags: MapFlags(link), ..base.clone() };
        let our = Map::create(&def, 1, &limits).unwrap();
        let their = create(&def, id).unwrap();
        for step in 0..OPERATIONS {
            let key = (numbers.below(2) as u32).to_ne_bytes();
            match numbers.below(5) {
                0 | 1 => {
                    let flags = numbers.below(6) as u64;
                    let mut value = vec![0; bytes as usize];
                    // One or the other is wrong, or both.
                    if flags == 0 && key == [0; 4] {
                        value[numbers.below(8)] = 1 + numbers.below(255) as u8;
                    }
                    let got = ours(our.write(&key, &value, UpdateFlags(flags)));
                    let expected = theirs(their.update(&key, &value, flags));
                    assert_eq!(got, expected, "step {step}: update {key:?} flags {flags}");
                }
                2 => {
                    let expected = present(theirs(their.lookup(&key)));
                    assert_eq!(ours(our.read(&key)), expected, "step {step}: lookup {key:?}");
                }
                3 => {
                    let expected = theirs(their.delete(&key));
                    assert_eq!(ours(our.remove(&key)), expected, "step {step}: delete {key:?}");
                }
                _ => {
                    let from = [None, Some(key.as_slice())][numbers.below(2)];
                    let expected = present(theirs(their.next_key(from)));
                    assert_eq!(ours(our.next_key(from)), expected, "step {step}: next {from:?}");
                }
            }
        }
        assert_eq!(ours(our.take(&[0; 4])), Err(Errno::ENOTSUPP));
    }
}

/// The type and size in bytes of a table that nothing is ever registered from.
fn dummy_ops() -> Option<(u32, u32)> {
    let types = parse_btf(&std::fs::read("/sys/kernel/btf/vmlinux").ok()?, None).ok()?;
    let id = types.find("bpf_struct_ops_bpf_dummy_ops", KindTag::Struct)?;
    match types.kind(id)? {
        Kind::Compound { bytes, .. } => Some((id.0, bytes)),
        _ => None,
    }
}
