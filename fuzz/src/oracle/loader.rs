//! Objects and types give what is in them or an error, soon.

use super::{Failure, Seen, bounded};
use ebpfvm_asm::ByteOrder;
use ebpfvm_loader::btf::{c, dedup, value};
use ebpfvm_loader::static_linker::Input;
use ebpfvm_loader::{Object, encode_btf, link_objects, parse_btf};
use ebpfvm_spec::Platform;
use ebpfvm_spec::btf::{Btf, TypeId};
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
    let object = match bounded("object", || Object::parse(bytes, "fuzz.o"))? {
        Ok(object) => object,
        Err(error) => {
            drop(error.to_string());
            return Ok("refused");
        }
    };
    for info in object.programs() {
        match bounded("program", || object.program(&info.name, platform))? {
            Ok(program) => program.code.iter().for_each(|(pc, _)| {
                program.line(pc);
                program.func(pc);
            }),
            Err(error) => drop(error.to_string()),
        }
    }
    let Some(btf) = object.btf() else { return Ok("parsed without types") };
    for id in object.maps().iter().flat_map(|map| [map.key_type, map.value_type]).flatten() {
        show(btf, id, &[0; 4096], object.byte_order())?;
    }
    look_at(btf)?;
    Ok("parsed")
}

/// Links two objects and looks at the result.
///
/// # Errors
/// If it takes too long, or linking the result once more, alone, does not work.
pub fn check_link(first: &[u8], second: &[u8]) -> Result<Seen, Failure> {
    let link = |files: &[&[u8]]| {
        let inputs: Vec<Input<'_>> =
            files.iter().map(|bytes| Input { file: "fuzz.o", bytes }).collect();
        bounded("link", || link_objects(&inputs))
    };
    match link(&[first, second])? {
        Ok(linked) => {
            check_object(&linked)?;
            match link(&[&linked])? {
                Ok(_) => Ok("linked"),
                Err(error) => Err(Failure::new("relink", error.to_string())),
            }
        }
        Err(error) => {
            drop(error.to_string());
            Ok("refused")
        }
    }
}

/// Does with types whatever can be done, with and without types that they build on.
///
/// # Errors
/// If it takes too long.
pub fn check_btf(bytes: &[u8]) -> Result<Seen, Failure> {
    match bounded("types", || parse_btf(bytes, None))? {
        Ok(btf) => {
            look_at(&btf)?;
            if let Ok(split) = bounded("split types", || parse_btf(bytes, Some(Arc::new(btf))))? {
                look_at(&split)?;
            }
            Ok("parsed")
        }
        Err(problem) => {
            drop(problem.to_string());
            Ok("refused")
        }
    }
}

fn look_at(btf: &Btf) -> Result<(), Failure> {
    bounded("header", || drop(c::header(btf)))?;
    if let Ok(merged) = bounded("merge", || dedup::merge(&[btf, btf]))? {
        let bytes = bounded("write", || encode_btf(&merged.btf, ByteOrder::HOST))?;
        let again = bytes.map(|bytes| parse_btf(&bytes, None).map(|btf| btf.len()));
        if !matches!(again, Ok(Ok(types)) if types == merged.btf.len()) {
            return Err(Failure::new("write", format!("written types give {again:?}")));
        }
    }
    for (id, _) in btf.iter().take(MAX_TYPES) {
        bounded("layout", || (btf.size_of(id).ok(), btf.align_of(id).ok()))?;
        bounded("declaration", || drop(c::declaration(btf, id, "name")))?;
        show(btf, id, &[0x5a; 256], ByteOrder::HOST)?;
    }
    Ok(())
}

/// A value may have a million members, so each has a time of its own.
fn show(btf: &Btf, id: TypeId, bytes: &[u8], order: ByteOrder) -> Result<(), Failure> {
    bounded("value", || drop(value::to_json(btf, id, bytes, order)))
}
