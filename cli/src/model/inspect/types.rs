//! Types, variables and externs of an object.

use ebpfvm_loader::Object;
use ebpfvm_loader::btf::{c, value::to_json};
use ebpfvm_spec::btf::{Btf, Kind, KindTag, Linkage, TypeId};
use ebpfvm_spec::map::MapOrigin;
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// What the object's BTF holds.
#[derive(Serialize)]
pub(crate) struct TypesReport {
    pub(crate) types: usize,
    pub(crate) string_bytes: usize,
    /// How many types of each kind.
    pub(crate) kinds: BTreeMap<&'static str, usize>,
}

/// A global variable.
#[derive(Serialize)]
pub(crate) struct Global {
    pub(crate) name: String,
    pub(crate) section: String,
    pub(crate) offset: u32,
    pub(crate) bytes: u32,
    /// As C declares it.
    pub(crate) declaration: String,
    /// Its type, for the text.
    #[serde(skip)]
    pub(crate) type_id: TypeId,
    /// Its initial value; none if it cannot be shown through its type.
    pub(crate) value: Option<Value>,
}

/// Something that the object uses and does not define.
#[derive(Serialize)]
pub(crate) struct Extern {
    pub(crate) name: String,
    /// `.kconfig` or `.ksyms`.
    pub(crate) section: String,
    pub(crate) declaration: String,
}

impl TypesReport {
    pub(crate) fn new(btf: &Btf) -> TypesReport {
        let mut kinds = BTreeMap::new();
        for (_, t) in btf.iter() {
            if t.kind.tag() != KindTag::Void {
                *kinds.entry(t.kind.tag().name()).or_default() += 1;
            }
        }
        TypesReport { types: btf.len() - 1, string_bytes: btf.string_bytes(), kinds }
    }
}

/// The variables of all data sections.
pub(crate) fn globals(object: &Object) -> Vec<Global> {
    let Some(btf) = object.btf() else { return Vec::new() };
    let mut globals = Vec::new();
    for def in object.maps() {
        let MapOrigin::Section { section, data } = &def.origin else { continue };
        let Some(Kind::Datasec { vars, .. }) = def.value_type.and_then(|id| btf.kind(id)) else {
            continue;
        };
        for var in btf.list(vars) {
            if let Some(Kind::Var { linkage: Linkage::Extern, .. }) = btf.kind(var.type_id) {
                continue;
            }
            let name = btf.name(var.type_id).to_string();
            let bytes = data.get(var.offset as usize..).unwrap_or_default();
            globals.push(Global {
                declaration: declaration(btf, var.type_id, &name),
                type_id: match btf.kind(var.type_id) {
                    Some(Kind::Var { type_id, .. }) => type_id,
                    _ => var.type_id,
                },
                value: to_json(btf, var.type_id, bytes, object.byte_order()).ok(),
                name,
                section: section.clone(),
                offset: var.offset,
                bytes: var.bytes,
            });
        }
    }
    globals
}

/// What the virtual sections `.kconfig` and `.ksyms` name.
pub(crate) fn externs(object: &Object) -> Vec<Extern> {
    let Some(btf) = object.btf() else { return Vec::new() };
    let mut externs = Vec::new();
    for (id, t) in btf.iter() {
        let Kind::Datasec { vars, .. } = t.kind else { continue };
        let section = btf.name(id);
        for var in btf.list(vars) {
            let is_extern = match btf.kind(var.type_id) {
                Some(Kind::Var { linkage, .. } | Kind::Func { linkage, .. }) => {
                    linkage == Linkage::Extern
                }
                _ => false,
            };
            if is_extern {
                let name = btf.name(var.type_id).to_string();
                let declaration = declaration(btf, var.type_id, &name);
                externs.push(Extern { name, section: section.into(), declaration });
            }
        }
    }
    externs
}

/// How C declares a variable or function; its name alone if its type is no good.
fn declaration(btf: &Btf, id: TypeId, name: &str) -> String {
    let type_id = match btf.kind(id) {
        Some(Kind::Var { type_id, .. }) => type_id,
        _ => id,
    };
    c::declaration(btf, type_id, name).unwrap_or_else(|_| name.into())
}
