//! What can be told without the kernel; `conformance/tests/tables/contracts.rs` asks it about
//! hundreds of declarations.

use super::*;
use ebpfvm_spec::btf::{BtfBuilder, IntEncoding, Linkage};
use ebpfvm_spec::{Platform, ProgType};

struct Declared {
    btf: Btf,
    func: TypeId,
}

/// `f` with one pointer to a struct of this name (4 bytes), with these tags.
fn with_pointer(name: &str, tags: &[&str]) -> Declared {
    let mut b = BtfBuilder::new();
    let int_name = b.intern("int");
    let encoding = IntEncoding::default();
    let int = b.push(int_name, Kind::Int { bytes: 4, encoding, bit_offset: 0, bits: 32 });
    let name = b.intern(name);
    let compound = ebpfvm_spec::btf::Compound::Struct;
    let to = b.push(name, Kind::Compound { compound, bytes: 4, members: Default::default() });
    let pointer = b.push(Default::default(), Kind::Ptr(to));
    let params = b.span([Param { name: Default::default(), type_id: pointer }]);
    let proto = b.push(Default::default(), Kind::FuncProto { ret: int, params });
    let f = b.intern("f");
    let func = b.push(f, Kind::Func { proto, linkage: Linkage::Global });
    for tag in tags {
        let tag = b.intern(tag);
        let kind = Kind::DeclTag { type_id: func, component: Some(0), attribute: false };
        b.push(tag, kind);
    }
    Declared { btf: b.finish().unwrap(), func }
}

fn asked(declared: &Declared, scope: Scope) -> Result<Vec<ArgContract>, ContractError> {
    let types = Platform::linux().context_types(ProgType::Xdp);
    let host = Host { context: &types, attach_type: AttachType::NONE };
    contract(&declared.btf, declared.func, host, scope).map(|contract| contract.args)
}

#[test]
fn pointers_are_memory_context_or_objects_of_the_kernel() {
    let global = |name, tags: &[&str]| asked(&with_pointer(name, tags), Scope::Global);
    let mem = |nullable| Ok(vec![ArgContract::Mem { bytes: 4, nullable }]);
    assert_eq!(global("pair", &[]), mem(true));
    assert_eq!(global("pair", &["arg:nonnull"]), mem(false));
    assert_eq!(global("xdp_md", &[]), Ok(vec![ArgContract::Ctx]));
    assert_eq!(global("bpf_dynptr", &[]), Ok(vec![ArgContract::Dynptr]));
    assert_eq!(global("pair", &["arg:arena"]), Ok(vec![ArgContract::Arena]));
    let objects = global("task_struct___mine", &["arg:trusted", "arg:nullable"]).unwrap();
    let ArgContract::Kernel { name, trust, nullable, .. } = &objects[0] else { panic!() };
    assert_eq!((name.as_str(), *trust, *nullable), ("task_struct", Trust::Trusted, true));
    assert!(objects[0].needs_kernel_types());
}

#[test]
fn static_functions_have_no_memory_and_no_tags() {
    let in_static = |name, tags: &[&str]| asked(&with_pointer(name, tags), Scope::Static);
    assert_eq!(in_static("pair", &[]), Err(ContractError::Silent));
    assert_eq!(in_static("xdp_md", &[]), Ok(vec![ArgContract::Ctx]));
    assert_eq!(in_static("pair", &["arg:nonnull"]), Err(ContractError::StaticTag { arg: 0 }));
}

#[test]
fn messages_are_the_kernels() {
    let message = |name, tags: &[&str]| {
        asked(&with_pointer(name, tags), Scope::Global).unwrap_err().to_string()
    };
    assert_eq!(message("pair", &["arg:ctx"]), "arg#0 should be `struct xdp_md *`");
    assert_eq!(message("pair", &["arg:what"]), "arg#0 has unsupported set of tags");
    let both = message("xdp_md", &["arg:nonnull"]);
    assert_eq!(both, "arg#0 has invalid combination of tags");
}

/// An embedder's context is known by the name of its layout.
#[test]
fn contexts_of_embedders_have_the_names_of_their_layouts() {
    let mut platform = Platform::empty();
    let mut def = Platform::linux().prog_type(ProgType::Xdp).unwrap().clone();
    def.context.as_mut().unwrap().name = "frame".into();
    platform.add_prog_type(def);
    let types = platform.context_types(ProgType::Xdp);
    let host = Host { context: &types, attach_type: AttachType::NONE };
    let declared = with_pointer("frame", &[]);
    let contract = contract(&declared.btf, declared.func, host, Scope::Global).unwrap();
    assert_eq!(contract.args, [ArgContract::Ctx]);
}
