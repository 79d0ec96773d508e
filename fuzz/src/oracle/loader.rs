//! Objects and types give what is in them or an error, soon.

use super::{Failure, Seen, bounded};
use ebpfvm_loader::btf::{c, value};
use ebpfvm_loader::{Object, parse_btf};
use ebpfvm_spec::Platform;
use ebpfvm_spec::btf::Btf;
use std::sync::{Arc, OnceLock};

/// Types that are looked at one by one, at most; the rest is like them.
const MAX_TYPES: usize = 2000;

/// Does with an object whatever can be done.
///
/// # Errors
/// If it takes too long.
pub fn check_object(bytes: &[u8]) -> Result<Seen, Failure> {
    static PLATFORM: OnceLock<Platform> = OnceLock::new();
    let platform = PLATFORM.get_or_init(Platform::linux);
    bounded("object", || {
        let object = match Object::parse(bytes, "fuzz.o") {
            Ok(object) => object,
            Err(error) => {
                drop(error.to_string());
                return "refused";
            }
        };
        for info in object.programs() {
            match object.program(&info.name, platform) {
                Ok(program) => program.code.iter().for_each(|(pc, _)| {
                    program.line(pc);
                    program.func(pc);
                }),
                Err(error) => drop(error.to_string()),
            }
        }
        let Some(btf) = object.btf() else { return "parsed without types" };
        for id in object.maps().iter().flat_map(|map| [map.key_type, map.value_type]).flatten() {
            drop(value::to_json(btf, id, &[0; 4096], object.byte_order()));
        }
        look_at(btf);
        "parsed"
    })
}

/// Does with types whatever can be done, with and without types that they build on.
///
/// # Errors
/// If it takes too long.
pub fn check_btf(bytes: &[u8]) -> Result<Seen, Failure> {
    bounded("types", || match parse_btf(bytes, None) {
        Ok(btf) => {
            look_at(&btf);
            if let Ok(split) = parse_btf(bytes, Some(Arc::new(btf))) {
                look_at(&split);
            }
            "parsed"
        }
        Err(problem) => {
            drop(problem.to_string());
            "refused"
        }
    })
}

fn look_at(btf: &Btf) {
    drop(c::header(btf));
    for (id, _) in btf.iter().take(MAX_TYPES) {
        let _ = btf.size_of(id);
        let _ = btf.align_of(id);
        drop(c::declaration(btf, id, "name"));
        drop(value::to_json(btf, id, &[0x5a; 256], Default::default()));
    }
}
